use std::path::Path;

use unicode_width::UnicodeWidthStr;

use super::*;
use crate::FileId;

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

/// A span of `len` bytes at `offset` of the first line.
fn span(file: FileId, offset: usize, len: usize) -> Span {
    let number = |number: usize| u32::try_from(number).expect("short");
    Span {
        file,
        line: 1,
        column: number(offset + 1),
        offset: number(offset),
        len: number(len),
    }
}

/// The lines of the report on one span: the excerpt and the marker.
fn excerpt(text: &str, offset: usize, len: usize) -> (String, String) {
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("x"), text);
    problems.error(span(file, offset, len), "here");
    let report = problems.render(false);
    let mut lines = report.lines().skip(1).map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    (next(), next())
}

#[test]
fn a_long_line_is_cropped_around_the_marker() {
    let text = format!("{}X{}", "-".repeat(500), "-".repeat(500));
    let (line, marker) = excerpt(&text, 500, 1);
    assert!(line.width() < 120, "{line}");
    assert!(line.contains("| …--") && line.ends_with("--…"), "{line}");
    let place = |text: &str, sign| text.split(sign).next().map(UnicodeWidthStr::width);
    assert_eq!(place(&line, 'X'), place(&marker, '^'), "{line}\n{marker}");

    // What is wide on a terminal is cropped by its width, and the marker ends where the excerpt does.
    let text = format!("{}{}", "공".repeat(300), "x".repeat(300));
    let (line, marker) = excerpt(&text, 900, 300);
    assert!(line.width() < 120, "{line}");
    assert_eq!(place(&line, 'x'), place(&marker, '^'), "{line}\n{marker}");
    assert_eq!(marker.width() + 1, line.width(), "{line}\n{marker}");
    let (line, marker) = excerpt(&text, 0, 3);
    assert!(line.contains("| 공") && line.ends_with("공…"), "{line}");
    assert!(marker.ends_with("| ^^"), "{marker}");
}

#[test]
fn tabs_take_one_column_and_a_span_over_lines_marks_the_first() {
    let (line, marker) = excerpt("a:\t{b: \"c\r\n  d\"}\n", 7, 9);
    assert_eq!(line, "    1 | a: {b: \"c");
    assert_eq!(marker, "      |        ^^");
}

/// Work that grew with the line for each problem would take minutes here.
#[test]
fn a_thousand_problems_in_one_very_long_line_are_told() {
    let mut problems = Problems::default();
    let text = "é, ".repeat(3_000_000);
    let file = problems.add_file(Path::new("x"), text);
    for number in 0..1_000 {
        problems.error(span(file, number * 8_000, 2), "the same");
    }
    let report = problems.render(false);
    assert_eq!(report.matches("the same").count(), 1_000);
    assert!(report.len() < 1_000 * 400, "{}", report.len());
}
