//! Problems as text for people: one block each, first line in the form that editors and compilers share.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use crate::{Problem, Problems, Severity, Span};

/// Longest excerpt of a line, in characters.
const EXCERPT: usize = 100;

impl Problems {
    /// All problems, ordered by file and place, each with an excerpt and its hint, and a last line that
    /// counts them. Empty where there are none. `color` adds ANSI colours.
    ///
    /// ```text
    /// config/floorgate.yaml:3:5: error: unknown key `brokres`
    ///     3 |     brokres: localhost:9092
    ///       |     ^^^^^^^
    ///       = hint: did you mean `brokers`?
    /// ```
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for problem in self.by_place() {
            self.render_one(problem, color, &mut out);
            out.push('\n');
        }
        let errors = self.error_count();
        let warnings = self.list().len() - errors;
        let count =
            |number: usize, name: &str| format!("{number} {name}{}", if number == 1 { "" } else { "s" });
        match (errors, warnings) {
            (0, 0) => {}
            (_, 0) => out.push_str(&count(errors, "error")),
            (0, _) => out.push_str(&count(warnings, "warning")),
            _ => out.extend([
                count(errors, "error"),
                ", ".to_owned(),
                count(warnings, "warning"),
            ]),
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out
    }

    fn render_one(&self, problem: &Problem, color: bool, out: &mut String) {
        let (word, paint) = match problem.severity {
            Severity::Error => ("error", "\u{1b}[1;31m"),
            Severity::Warning => ("warning", "\u{1b}[1;33m"),
        };
        let style = |code: &'static str| if color { code } else { "" };
        let (paint, bold, dim, reset) = (
            style(paint),
            style("\u{1b}[1m"),
            style("\u{1b}[2m"),
            style("\u{1b}[0m"),
        );
        if let Some(span) = problem.span {
            let path = self
                .file(span.file)
                .map_or_else(String::new, |(path, _)| path.display().to_string());
            if span.line > 0 {
                let _ = write!(out, "{bold}{path}:{}:{}:{reset} ", span.line, span.column);
            } else {
                let _ = write!(out, "{bold}{path}:{reset} ");
            }
        }
        let _ = writeln!(
            out,
            "{paint}{word}:{reset} {bold}{}{reset}",
            printable(&problem.message)
        );
        let mut gutter = 1;
        if let Some((line, marker, width)) = problem.span.and_then(|span| self.excerpt(span)) {
            let number = problem.span.map(|span| span.line.to_string()).unwrap_or_default();
            gutter = number.len().max(5);
            let _ = writeln!(out, "{dim}{number:>gutter$} |{reset} {line}");
            let marks = "^".repeat(width);
            let _ = writeln!(
                out,
                "{dim}{:>gutter$} |{reset} {:marker$}{paint}{marks}{reset}",
                "", ""
            );
        }
        if let Some(hint) = &problem.hint {
            let _ = writeln!(out, "{dim}{:>gutter$} ={reset} hint: {}", "", printable(hint));
        }
    }

    /// The line of a span, where in it the marker begins, and how wide the marker is.
    fn excerpt(&self, span: Span) -> Option<(String, usize, usize)> {
        let (_, text) = self.file(span.file)?;
        let start = usize::try_from(span.offset).ok().filter(|_| span.line > 0)?;
        // The place in the text, not the line number, finds the line: large files have many lines.
        let line_start = text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(line_start..)?.lines().next()?;
        let before = text.get(line_start..start)?.chars().count();
        let covered = usize::try_from(span.len).ok()?;
        let covered = text.get(start..start + covered).unwrap_or_default();
        let covered = printable(covered.lines().next().unwrap_or_default().trim_end());
        let skip = if before > EXCERPT * 3 / 4 {
            before - EXCERPT / 2
        } else {
            0
        };
        let shown: String = line.chars().skip(skip).take(EXCERPT).map(visible).collect();
        if shown.trim().is_empty() {
            return None;
        }
        // A terminal gives some characters two columns and some none.
        let part = |text: &str, most: usize| text.chars().take(most).collect::<String>().width();
        let marker = part(&shown, before - skip);
        let wide = part(&covered, EXCERPT - (before - skip)).max(1);
        Some((shown.trim_end().to_owned(), marker, wide))
    }
}

/// A character that moves no cursor, so that a file cannot write on the terminal.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_problem_shows_place_excerpt_marker_and_hint() {
        let mut problems = Problems::default();
        let file = problems.add_file(
            Path::new("a/b.yaml"),
            "größe: 1\nkafka:\n  brokres: x\n".to_owned(),
        );
        let span = Span {
            file,
            line: 3,
            column: 3,
            offset: 20,
            len: 7,
        };
        problems
            .error(span, "unknown key `brokres`")
            .hint("did you mean `brokers`?");
        problems.warning(
            Span {
                file,
                line: 1,
                column: 1,
                offset: 0,
                len: 7,
            },
            "odd",
        );
        problems.error(None, "variable FLOORGATE_X is unknown");
        assert_eq!(
            problems.render(false),
            "error: variable FLOORGATE_X is unknown\n\n\
             a/b.yaml:1:1: warning: odd\n    1 | größe: 1\n      | ^^^^^\n\n\
             a/b.yaml:3:3: error: unknown key `brokres`\n    3 |   brokres: x\n      |   ^^^^^^^\n      \
             = hint: did you mean `brokers`?\n\n2 errors, 1 warning\n"
        );
        assert!(problems.render(true).contains("\u{1b}[1;31merror:"));
    }

    #[test]
    fn a_file_writes_no_control_characters_on_the_terminal() {
        let mut problems = Problems::default();
        let file = problems.add_file(Path::new("x"), "a\u{1b}[2Jb".to_owned());
        problems.error(
            Span {
                file,
                line: 1,
                column: 1,
                offset: 0,
                len: 1,
            },
            "bad \u{7}",
        );
        assert!(!problems.render(false).contains(['\u{1b}', '\u{7}']));
    }

    #[test]
    fn a_marker_stands_under_what_a_terminal_shows() {
        let mut problems = Problems::default();
        let text = "a: {공정: x, é: y}\n";
        let file = problems.add_file(Path::new("f.yaml"), text.to_owned());
        let mut mark = |word: &str| {
            let offset = text.find(word).expect("it is there");
            let span = Span {
                file,
                line: 1,
                column: 1,
                offset: u32::try_from(offset).expect("short"),
                len: u32::try_from(word.len()).expect("short"),
            };
            problems.error(span, word);
        };
        mark("공정");
        mark("y");
        let report = problems.render(false);
        let marks: Vec<&str> = report.lines().filter(|line| line.contains('^')).collect();
        assert_eq!(
            marks,
            ["      |     ^^^^", "      |                 ^"],
            "{report}"
        );
    }

    #[test]
    fn a_long_line_is_cropped_around_the_marker() {
        let mut problems = Problems::default();
        let text = format!("{}X{}", "-".repeat(500), "-".repeat(500));
        let file = problems.add_file(Path::new("x"), text);
        problems.error(
            Span {
                file,
                line: 1,
                column: 501,
                offset: 500,
                len: 1,
            },
            "here",
        );
        let report = problems.render(false);
        let lines: Vec<_> = report.lines().collect();
        assert!(lines[1].len() < 120, "{report}");
        assert_eq!(lines[1].find('X'), lines[2].find('^'), "{report}");
    }
}
