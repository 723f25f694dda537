//! Text as nobody writes it: it is refused after bounded work, or read, and nothing panics.
//!
//! No test here looks at a clock. What had no bound would not end, or would take more memory than there is.

use std::fmt::Write as _;
use std::path::Path;

use fastrand::Rng;

use crate::{Node, NodeKind, Problems, closest, parse, slip};

/// Texts that are tried; each is the same in every run.
const TEXTS: u64 = 4_000;

fn read(text: &str) -> (Option<Node>, String) {
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("test.yaml"), text);
    let node = parse(file, text, &mut problems);
    assert!(
        node.is_some() || problems.has_errors(),
        "it is refused without a reason"
    );
    (node, problems.render(false))
}

fn refused(text: &str, reason: &str) {
    let (node, report) = read(text);
    assert!(node.is_none(), "it was taken");
    assert!(report.contains(reason), "{reason} is not in\n{report}");
    assert!(report.contains("= hint: "), "{report}");
    assert!(report.len() < 2_000, "{} bytes are told", report.len());
}

const BUDGET: &str = "the file is refused: ";

#[test]
fn aliases_that_multiply_are_refused() {
    let bomb = |width: usize, item: &str| {
        (1..30).fold(format!("a0: &a0 {item}\n"), |mut text, level| {
            let items = vec![format!("*a{}", level - 1); width].join(", ");
            let _ = writeln!(text, "a{level}: &a{level} [{items}]");
            text
        })
    };
    refused(&bomb(10, "[x, x, x, x, x, x, x, x, x, x]"), BUDGET);
    refused(&bomb(2, "lol"), BUDGET);
    // Of a few long texts as well.
    let mut long = format!("a: &a {}\nb:\n", "x".repeat(1_000_000));
    long.push_str(&"  - *a\n".repeat(99));
    refused(&long, BUDGET);
    // Merged keys are aliases too: what is taken in from many is told apart by its keys, and still counted.
    let merged = (1..200).fold(String::from("a0: &a0 {k: v}\n"), |mut text, level| {
        let _ = writeln!(
            text,
            "a{level}: &a{level} {{<<: [*a{0}, *a{0}], k{level}: v}}",
            level - 1
        );
        text
    });
    refused(&merged, "error: ");
    refused("a: &a [*a]\n", "error: ");
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{a: ", "- ", "? ", "[{a: ", "!!seq [", "- [", "&a ["] {
        refused(&open.repeat(100_000), "error: ");
    }
    let deep = |depth: usize| {
        (0..depth).fold(String::new(), |mut text, level| {
            let _ = writeln!(text, "{}a:", " ".repeat(level));
            text
        })
    };
    refused(&deep(10_000), "error: ");
    let (node, report) = read(&deep(40));
    assert!(node.is_some(), "{report}");
}

#[test]
fn long_scalars_are_read_or_refused_and_told_briefly() {
    for scalar in [
        "x".repeat(3_000_000),
        format!("\"{}\"", "\\u00e9".repeat(500_000)),
        "9".repeat(1_000_000),
        format!("1e{}", "9".repeat(1_000_000)),
        format!("|\n  {}\n", "y".repeat(3_000_000)),
    ] {
        let (node, report) = read(&format!("a: {scalar}"));
        let node = node.unwrap_or_else(|| panic!("{report}"));
        assert!(node.get("a").is_some(), "{report}");
    }
    // One without an end.
    refused(&format!("a: \"{}", "x".repeat(3_000_000)), "error: ");
    refused(&format!("a: !{} x", "t".repeat(1_000_000)), "error: ");
    refused(&format!("a: *{}", "t".repeat(1_000_000)), "error: ");
    let key = "k".repeat(1_000);
    let (_, report) = read(&format!("\"{key}\": 1\n\"{key}\": 2\n"));
    assert!(report.contains("stands twice"), "{report}");
    assert!(report.len() < 2_000, "{} bytes are told", report.len());
    let key = "k".repeat(1_000_000);
    let (_, report) = read(&format!("? {key}\n: 1\n? {key}\n: 2\n"));
    assert!(report.len() < 2_000, "{} bytes are told", report.len());
}

#[test]
fn a_long_name_is_compared_with_nothing() {
    let name = "x".repeat(30_000_000);
    assert_eq!(closest(&name, ["brokers", &name]), None);
    assert_eq!(slip(&name, ["brokers", &name]), None);
}

/// What YAML has a meaning for.
const PIECES: [&str; 32] = [
    "&a",
    "*a",
    "<<: *a",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "? ",
    "|",
    ">-",
    "\"",
    "'",
    "#",
    "!!int",
    "!x",
    "~",
    "null",
    "-0x1",
    "1e999",
    ".nan",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\t",
    "\u{feff}",
    "\0",
    "\r",
    "\n  ",
    "\u{2028}",
    "ü€😀",
];

const SAMPLE: &str = "\
# A line.
mapping: &m filling
for_each: {line: 1..40, plc: [a, b]}
tags:
  status: {node: \"nsu=urn:plant;s=L{line}\", values: isa95-job-state}
  good:
    node: 'it''s'
    counter: {width: 32, max: 0x7fff_ffff}
  text: |
    two
    lines
events:
  - {type: Printed, trigger: status, when: \"good > 1.5e3\"}
  - *m
";

/// The text with some places changed, cut or put elsewhere.
fn spoil(text: &str, random: &mut Rng) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.usize(..4) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..30)).min(bytes.len());
        let piece = PIECES[random.usize(..PIECES.len())].bytes();
        match random.u8(..4) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, piece)),
            2 => bytes.insert(at, random.u8(..)),
            _ => drop(bytes.splice(at..end, piece)),
        }
    }
    bytes
}

/// Bytes and words without any order.
fn noise(random: &mut Rng) -> Vec<u8> {
    let length = random.usize(..200);
    (0..length).fold(Vec::new(), |mut bytes, _| {
        if random.bool() {
            bytes.push(random.u8(..));
        } else {
            bytes.extend(PIECES[random.usize(..PIECES.len())].bytes());
        }
        bytes
    })
}

/// What is read has places that are in the text.
fn check_places(node: &Node, text: &str) {
    let start = usize::try_from(node.span.offset).expect("a place");
    let end = start + usize::try_from(node.span.len).expect("a length");
    assert!(end <= text.len(), "{:?} is beyond {}", node.span, text.len());
    if let NodeKind::List(items) = &node.kind {
        for item in items {
            check_places(item, text);
        }
    }
    for (_, _, value) in node.entries() {
        check_places(value, text);
    }
}

#[test]
fn no_text_is_too_strange() {
    let mut taken = 0;
    for number in 0..TEXTS {
        let mut random = Rng::with_seed(number);
        let bytes = if number % 4 == 0 {
            noise(&mut random)
        } else {
            spoil(SAMPLE, &mut random)
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let read = std::panic::catch_unwind(|| {
            let (node, report) = read(&text);
            if let Some(node) = &node {
                check_places(node, &text);
            }
            (node.is_some(), report)
        });
        let (is_taken, report) = read.unwrap_or_else(|_| panic!("text {number}:\n{text}"));
        assert!(is_taken || report.contains("error: "), "text {number}: {report}");
        taken += u64::from(is_taken);
    }
    let usual = TEXTS / 20..TEXTS * 19 / 20;
    assert!(usual.contains(&taken), "{taken} of {TEXTS} were taken");
}
