//! The builder from events against the one through serde, before the latter is removed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::{FileId, Node, NodeKind, Problems};

type Parse = fn(FileId, &str, &mut Problems) -> Option<Node>;

fn read(parse: Parse, text: &str) -> (Option<Node>, Vec<(u32, u32, u32, String)>) {
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("t"), text);
    let node = parse(file, text, &mut problems);
    let told = problems
        .by_place()
        .into_iter()
        .map(|p| {
            let s = p.span.unwrap_or_default();
            (s.line, s.column, s.offset, p.message.clone())
        })
        .collect();
    (node, told)
}

const SCALARS: &[&str] = &[
    "a",
    "b",
    "c",
    "key",
    "7",
    "07",
    "0x7",
    "-7",
    "+7",
    "0o17",
    "0b11",
    "1_000",
    "1.5",
    "1e3",
    "1e999",
    "-1e999",
    ".5",
    "5.",
    "-.5",
    ".inf",
    "-.INF",
    "+.inf",
    ".nan",
    ".NaN",
    "null",
    "Null",
    "NULL",
    "~",
    "nULL",
    "",
    "true",
    "True",
    "TRUE",
    "tRue",
    "false",
    "False",
    "yes",
    "no",
    "on",
    "off",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "-9223372036854775809",
    "0xffffffffffffffff",
    "0x1ffffffffffffffff",
    "-0",
    "+0",
    "00",
    "0",
    "-00",
    "0.0",
    "00.5",
    "-01.5",
    "0x",
    "0xg",
    "12:30",
    "2001-01-01",
    "inf",
    "nan",
    "infinity",
    "e5",
    "1e",
    "--1",
    "+-1",
    "-+1",
    "- 1",
    "+",
    "-",
    ".",
    "..",
    "\"7\"",
    "'7'",
    "\"a\\nb\"",
    "'it''s'",
    "\"\\u00e9\"",
    "\"<<\"",
    "<<",
    "wört",
    "a b",
    "a: b",
    "a #b",
    "\"\"",
    "''",
    "|",
    ">",
    "{}",
    "[]",
    "{line}",
    "*x",
    "1e5_0",
    "0x7fff_ffff",
    "_1",
    "1__0",
    "0_7",
    "\t7",
    "7\t",
    "=",
    "\"true\"",
    "'null'",
    "1E+3",
    "1e-3",
    "+1.",
    "٣",
];

const TAGS: &[&str] = &[
    "!!str ",
    "!!int ",
    "!!float ",
    "!!bool ",
    "!!null ",
    "!!seq ",
    "!!map ",
    "! ",
    "!x ",
    "!str ",
    "!int ",
    "!!x ",
    "!!timestamp ",
    "!<tag:yaml.org,2002:str> ",
    "!!omap ",
    "!!set ",
    "!include ",
    "!null ",
];

struct Writer<'r> {
    random: &'r mut Rng,
    anchors: usize,
}

impl Writer<'_> {
    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.random.usize(..list.len())]
    }

    fn properties(&mut self, out: &mut String) {
        if self.random.u8(..12) == 0 {
            out.push_str(self.pick(TAGS));
        }
        if self.random.u8(..8) == 0 {
            self.anchors += 1;
            let name = self.random.usize(..4);
            let _ = write!(out, "&n{name} ");
        }
    }

    fn key(&mut self, out: &mut String) {
        match self.random.u8(..40) {
            0 => {
                let name = self.random.usize(..4);
                let _ = write!(out, "*n{name} ");
            }
            1 => out.push_str("? "),
            2..5 => out.push_str("<<"),
            5 => {
                let p = self.pick(TAGS);
                out.push_str(p);
                out.push('k');
            }
            6 => {
                let name = self.random.usize(..4);
                let _ = write!(out, "&n{name} k");
            }
            7..20 => out.push_str(self.pick(SCALARS)),
            _ => {
                let number = self.random.u8(..30);
                let _ = write!(out, "k{number}");
            }
        }
    }

    fn flow(&mut self, out: &mut String, depth: usize) {
        self.properties(out);
        match self.random.u8(..10) {
            0 if depth > 0 => {
                out.push('[');
                for _ in 0..self.random.usize(..4) {
                    self.flow(out, depth - 1);
                    out.push_str(", ");
                }
                out.push(']');
            }
            1 | 2 if depth > 0 => {
                out.push('{');
                for _ in 0..self.random.usize(..4) {
                    self.key(out);
                    out.push_str(": ");
                    self.flow(out, depth - 1);
                    out.push_str(", ");
                }
                out.push('}');
            }
            3 => {
                let name = self.random.usize(..4);
                let _ = write!(out, "*n{name}");
            }
            _ => out.push_str(self.pick(SCALARS)),
        }
    }

    fn block(&mut self, out: &mut String, depth: usize, indent: usize) {
        let pad = " ".repeat(indent);
        let is_list = self.random.u8(..3) == 0;
        let base = self.anchors > 0 && self.random.u8(..4) == 0;
        if base && !is_list {
            let a = self.random.usize(..4);
            let b = self.random.usize(..4);
            let _ = match self.random.u8(..4) {
                0 => writeln!(out, "{pad}<<: [*n{a}, *n{b}]"),
                1 => writeln!(out, "{pad}? <<\n{pad}: *n{a}"),
                _ => writeln!(out, "{pad}<<: *n{a}"),
            };
        }
        for _ in 0..self.random.usize(1..5) {
            if self.random.u8(..20) == 0 {
                let _ = writeln!(out, "{pad}# a comment");
            }
            out.push_str(&pad);
            if is_list {
                out.push('-');
            } else {
                self.key(out);
                out.push(':');
            }
            match self.random.u8(..10) {
                0..3 if depth > 0 => {
                    let mut properties = String::new();
                    self.properties(&mut properties);
                    let _ = writeln!(out, " {}", properties.trim_end());
                    let step = self.random.usize(1..4);
                    self.block(out, depth - 1, indent + step);
                }
                3 => {
                    let _ = writeln!(out, " |\n{pad}    text\n{pad}    more");
                }
                _ => {
                    out.push(' ');
                    self.flow(out, 2);
                    if self.random.u8(..20) == 0 {
                        out.push_str(" # c");
                    }
                    out.push('\n');
                }
            }
        }
    }
}

fn document(random: &mut Rng) -> String {
    let mut out = String::new();
    if random.u8(..10) == 0 {
        out.push_str("---\n");
    }
    if random.u8(..30) == 0 {
        out.push('\u{feff}');
    }
    let mut writer = Writer { random, anchors: 0 };
    writer.block(&mut out, 3, 0);
    if writer.random.u8(..20) == 0 {
        out.push_str("...\n");
    }
    if writer.random.u8(..40) == 0 {
        out.push_str("---\n");
    }
    if writer.random.u8(..5) == 0 {
        out = out.replace('\n', "\r\n");
    }
    out
}

/// Valid more often: few keys that are wrong.
fn mild(random: &mut Rng) -> String {
    let mut out = String::new();
    let mut anchors = 0;
    for number in 0..random.usize(1..8) {
        let s = SCALARS[random.usize(..SCALARS.len())];
        let _ = match random.u8(..8) {
            0 => {
                anchors += 1;
                writeln!(out, "k{number}: &n{anchors} {{a: {s}, b{number}: 2, 7: x}}")
            }
            1 => {
                anchors += 1;
                writeln!(
                    out,
                    "k{number}: &n{anchors}\n  x: [1, {{y: {s}}}]\n  z{number}: |\n   t"
                )
            }
            2 | 3 if anchors > 0 => {
                let a = random.usize(1..=anchors);
                let b = random.usize(1..=anchors);
                match random.u8(..4) {
                    0 => writeln!(out, "k{number}: [*n{a}, *n{b}, {s}]"),
                    1 => writeln!(out, "k{number}: {{a: 1, <<: [*n{a}, *n{b}], q: {s}}}"),
                    2 => {
                        anchors += 1;
                        writeln!(
                            out,
                            "k{number}: &n{anchors}\n  <<: *n{a}\n  r{number}: {s}\n  <<: *n{b}"
                        )
                    }
                    _ => writeln!(out, "k{number}: *n{a}"),
                }
            }
            4 => writeln!(out, "k{number}: !!str {s}"),
            5 => writeln!(out, "\"q{number}\": !!float {s}"),
            _ => writeln!(out, "k{}: {s}", random.u8(..12)),
        };
    }
    out
}

fn repository(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            repository(&path, files);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
}

const PIECES: &[&str] = &[
    "&a ",
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
    "!!int ",
    "!x ",
    "!!str ",
    "~",
    "null",
    "-0x1",
    "1e999",
    ".nan",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "%TAG !e! tag:yaml.org,2002:\n---\n",
    "!e!int ",
    "\t",
    "\u{feff}",
    "\0",
    "\r",
    "\n  ",
    "\n",
    "\u{2028}",
    "ü€😀",
    ",",
    "  ",
];

fn spoil(text: &str, random: &mut Rng) -> String {
    // A part, so that mistakes are not all at one place.
    let mut bytes = text.as_bytes().to_vec();
    if bytes.len() > 3_000 {
        let from = random.usize(..bytes.len() - 2_000);
        let line = bytes[from..]
            .iter()
            .position(|b| *b == b'\n')
            .map_or(0, |at| from + at + 1);
        bytes = bytes[line..(line + 2_000).min(bytes.len())].to_vec();
    }
    for _ in 0..=random.usize(..3) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..20)).min(bytes.len());
        let piece = PIECES[random.usize(..PIECES.len())].bytes();
        match random.u8(..5) {
            0 => drop(bytes.drain(at..end)),
            1 | 2 => drop(bytes.splice(at..at, piece)),
            3 => bytes.insert(at, random.u8(..)),
            _ => drop(bytes.splice(at..end, piece)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kinds(node: &Node) -> String {
    match &node.kind {
        NodeKind::List(items) => format!("[{}]", items.iter().map(kinds).collect::<Vec<_>>().join(",")),
        NodeKind::Map(entries) => {
            format!(
                "{{{}}}",
                entries
                    .iter()
                    .map(|(k, _, v)| format!("{k:?}:{}", kinds(v)))
                    .collect::<Vec<_>>()
                    .join(",")
            )
        }
        kind => format!("{kind:?}"),
    }
}

#[test]
fn both_builders_agree() {
    let count: u64 = std::env::var("DOCUMENTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(2_000);
    let seed: u64 = std::env::var("SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let mut files = Vec::new();
    repository(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut files);
    let texts: Vec<String> = files
        .iter()
        .filter_map(|f| std::fs::read_to_string(f).ok())
        .collect();
    let mut counts: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    for text in &texts {
        let (old, new) = (read(crate::old::parse, text), read(crate::parse, text));
        assert_eq!(format!("{old:?}"), format!("{new:?}"), "{text}");
    }
    for number in 0..count {
        let mut random = Rng::with_seed(seed * 1_000_000_000 + number);
        let (sort, text) = match number % 4 {
            0 => ("grammar", document(&mut random)),
            1 | 2 => ("mild", mild(&mut random)),
            _ => {
                let at = random.usize(..texts.len());
                ("mutated", spoil(&texts[at], &mut random))
            }
        };
        let (old, old_told) = read(crate::old::parse, &text);
        let (new, new_told) = read(crate::parse, &text);
        let mut note = |what: String| {
            let entry = counts.entry(what).or_default();
            entry.0 += 1;
            if entry.1.len() < 2 || text.len() < entry.1[1].len() {
                let sample = format!("{text}\n  OLD {old:?} {old_told:?}\n  NEW {new:?} {new_told:?}");
                if entry.1.len() < 2 {
                    entry.1.push(sample)
                } else {
                    entry.1[1] = sample
                }
            }
        };
        match (&old, &new) {
            (Some(a), Some(b)) => {
                if format!("{a:?}") == format!("{b:?}") {
                    if old_told == new_told {
                        note(format!(
                            "= {sort}: same tree{}",
                            if old_told.is_empty() {
                                ""
                            } else {
                                " and duplicates"
                            }
                        ));
                    } else {
                        note("! other duplicates".into());
                    }
                } else if kinds(a) == kinds(b) {
                    note("! other places".into());
                } else {
                    note("! other values".into());
                }
            }
            (None, None) => {
                let (a, b) = (
                    &old_told.last(),
                    &new_told.iter().rev().find(|t| !t.3.contains("stands twice")),
                );
                let (Some(a), Some(b)) = (a, b) else {
                    panic!("no reason {text}")
                };
                if a == b {
                    note(format!("= {sort}: same error"));
                } else {
                    let short = |m: &str| m.split('`').step_by(2).collect::<Vec<_>>().join("`");
                    let place = if (a.0, a.1, a.2) == (b.0, b.1, b.2) {
                        ""
                    } else {
                        " ELSEWHERE"
                    };
                    note(format!("~ {} -> {}{place}", short(&a.3), short(&b.3)));
                }
            }
            (None, Some(_)) => note(format!(
                "! taken now: {}",
                old_told[0].3.split('`').step_by(2).collect::<Vec<_>>().join("`")
            )),
            (Some(_), None) => note(format!(
                "! refused now: {}",
                new_told
                    .last()
                    .map_or("", |t| &t.3)
                    .split('`')
                    .step_by(2)
                    .collect::<Vec<_>>()
                    .join("`")
            )),
        }
    }
    let verbose = std::env::var_os("VERBOSE").is_some();
    for (what, (count, samples)) in &counts {
        println!("{count:8} {what}");
        if verbose && !what.starts_with('=') {
            println!("-------\n{}\n-------", samples.last().map_or("", |s| s));
        }
    }
}
