//! Problems as text for people: one block each, first line in the form that editors and compilers share.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{Problem, Problems, Severity, Span};

/// Widest excerpt of a line, in columns of a terminal.
const EXCERPT: usize = 100;

/// Bytes of a line that are looked at before and after a span. A line may be as long as its file, and a thousand
/// problems may stand in it: what is not shown is not read.
const WINDOW: usize = 4 * EXCERPT;

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
            let _ = write!(out, "{bold}{}:{reset} ", self.place(span));
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

    /// The line of a span, where in it the marker begins, and how wide the marker is. Of a line that is too wide
    /// the part around the span, and of a span over several lines the first one.
    fn excerpt(&self, span: Span) -> Option<(String, usize, usize)> {
        let (_, text) = self.file(span.file)?;
        let start = usize::try_from(span.offset).ok().filter(|_| span.line > 0)?;
        // The place in the text, not the line number, finds the line: large files have many lines.
        let before = text.get(..start)?;
        let nearest = &before[before.ceil_char_boundary(start.saturating_sub(WINDOW))..];
        let (before, mut is_cut) = match nearest.rfind('\n') {
            Some(newline) => (&nearest[newline + 1..], false),
            None => (nearest, nearest.len() < start),
        };
        let before = printable(before);
        let skipped = if is_cut || before.width() > EXCERPT * 3 / 4 {
            let room = EXCERPT / 2;
            let kept = columns(before.chars().rev(), room);
            before.len() - before.chars().rev().take(kept).map(char::len_utf8).sum::<usize>()
        } else {
            0
        };
        is_cut |= skipped > 0;
        let before = &before[skipped..];
        let mut line = String::from(if is_cut { "…" } else { "" });
        line.push_str(before);
        let marker = line.width();

        let rest = text.get(start..)?;
        let end = rest.floor_char_boundary(WINDOW);
        let nearest = &rest[..end];
        let is_whole = end == rest.len() || nearest.contains('\n');
        let nearest = nearest.lines().next().unwrap_or_default();
        let length = nearest.floor_char_boundary(usize::try_from(span.len).ok()?);
        let covered = printable(nearest[..length].trim_end());
        let rest = printable(nearest.trim_end());
        let kept = columns(rest.chars(), EXCERPT.saturating_sub(marker));
        let shown: String = rest.chars().take(kept).collect();
        line.push_str(&shown);
        if line.trim().is_empty() {
            return None;
        }
        let covered = covered.width().min(shown.width()).max(1);
        if shown.len() < rest.len() || !is_whole {
            line.push('…');
        }
        // A terminal gives some characters two columns and some none.
        Some((line.trim_end().to_owned(), marker, covered))
    }
}

/// How many of the characters fit into so many columns.
fn columns(characters: impl Iterator<Item = char>, most: usize) -> usize {
    let mut taken = 0;
    characters
        .take_while(|character| {
            taken += character.width().unwrap_or(0);
            taken <= most
        })
        .count()
}

/// A character that moves no cursor and turns no direction, so that a file cannot write on the terminal.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
