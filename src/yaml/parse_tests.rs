use std::path::Path;

use super::*;

fn read(text: &str) -> (Option<Node>, String) {
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("test.yaml"), text.to_owned());
    let node = parse(file, text, &mut problems);
    (node, problems.render(false))
}

fn refused(text: &str) -> String {
    let (node, report) = read(text);
    assert!(node.is_none(), "{text} was taken");
    report
}

#[test]
fn values_keep_line_column_and_length() {
    let (node, report) = read("a: 1\nwörter:\n  - x: \"two\"\n    y: {z: [3.5, ~]}\n");
    let node = node.expect(&report);
    let (key, list) = node.entry("wörter").expect("the key");
    assert_eq!((key.line, key.column, key.offset, key.len), (2, 1, 5, 7));
    let NodeKind::List(items) = &list.kind else {
        panic!("a list is expected, not {list:?}")
    };
    let (key, x) = items[0].entry("x").expect("x");
    assert_eq!((key.line, key.column), (3, 5));
    assert_eq!((x.span.line, x.span.column, x.as_text()), (3, 8, Some("two")));
    let z = items[0].get("y").and_then(|y| y.get("z")).expect("z");
    let NodeKind::List(items) = &z.kind else {
        panic!("a list is expected, not {z:?}")
    };
    assert_eq!(items[0].kind, NodeKind::Float(3.5));
    assert_eq!((items[0].span.line, items[0].span.column), (4, 13));
    assert_eq!(items[1].kind, NodeKind::Null);
}

#[test]
fn words_of_yaml_1_1_are_text() {
    let (node, report) = read("[on, off, yes, no, y, 0755, 1_000, 12:30, true, 0x10, -7]");
    let NodeKind::List(items) = node.expect(&report).kind else {
        panic!("a list is expected")
    };
    let (text, rest) = items.split_at(8);
    assert!(text.iter().all(|item| item.as_text().is_some()), "{text:?}");
    let rest: Vec<_> = rest.iter().map(|item| item.kind.clone()).collect();
    assert_eq!(rest, [NodeKind::Bool(true), NodeKind::Int(16), NodeKind::Int(-7)]);
}

#[test]
fn an_empty_file_is_nothing() {
    let (node, report) = read("# only a comment\n");
    assert_eq!(node.expect(&report).kind, NodeKind::Null);
}

#[test]
fn an_alias_stands_where_it_is_used() {
    let (node, report) = read("a: &x {b: 1}\nc: *x\n");
    let node = node.expect(&report);
    assert_eq!(node.get("c").map(|c| (c.span.line, c.span.column)), Some((2, 4)));
    assert_eq!(
        node.get("c").and_then(|c| c.get("b")).map(|b| &b.kind),
        Some(&NodeKind::Int(1))
    );
}

#[test]
fn all_duplicate_keys_are_told_and_the_first_values_kept() {
    let (node, report) = read("a: 1\nb: {c: 1, 7: 2, c: 3, 07: 4}\na: {d: 1, d: 2}\n");
    let places: Vec<_> = report
        .lines()
        .filter_map(|line| line.split_once(": error: key ").map(|(place, _)| place))
        .collect();
    assert_eq!(
        places,
        [
            "test.yaml:2:17",
            "test.yaml:2:23",
            "test.yaml:3:1",
            "test.yaml:3:11"
        ],
        "{report}"
    );
    assert!(report.contains("key `c` stands twice"), "{report}");
    let node = node.expect("the rest of the file");
    assert_eq!(node.get("a").map(|a| &a.kind), Some(&NodeKind::Int(1)));
    assert_eq!(node.get("b").map(|b| b.entries().len()), Some(2));
}

#[test]
fn broken_syntax_has_a_place_and_a_hint() {
    let report = refused("a:\n  b: [1, 2\nc: 3\n");
    assert!(report.contains("error: not readable as YAML: "), "{report}");
    assert!(report.contains("hint: look for a missing"), "{report}");
    let report = refused("a:\n\tb: 1\n");
    assert!(report.contains("hint: indent with spaces"), "{report}");
    let report = refused("--- 1\n--- 2\n");
    assert!(report.contains("more than one document"), "{report}");
}

/// The kind of a flow or plain value, as it is shown for debugging.
fn kind(text: &str) -> String {
    let (node, report) = read(&format!("[{text}]"));
    let NodeKind::List(items) = node.unwrap_or_else(|| panic!("{text}: {report}")).kind else {
        panic!("a list is expected")
    };
    format!("{:?}", items[0].kind)
}

#[test]
fn plain_scalars_are_what_the_core_schema_says() {
    for (texts, expected) in [
        ("~ null Null NULL", "Null"),
        ("true True TRUE", "Bool(true)"),
        ("false False FALSE", "Bool(false)"),
        ("7 +7 0x7 0X7 0o7 0b111", "Int(7)"),
        ("0 -0 +0", "Int(0)"),
        ("-0x10", "Int(-16)"),
        ("18446744073709551615", "Int(18446744073709551615)"),
        ("-9223372036854775808", "Int(-9223372036854775808)"),
        // Beyond 64 bits.
        ("-9223372036854775809", "Float(-9.223372036854776e18)"),
        ("1.5 +1.5 15e-1 1.50 01.5", "Float(1.5)"),
        (".5 5e-1 0.5", "Float(0.5)"),
        ("5. 5.0", "Float(5.0)"),
        (".inf .Inf .INF +.inf 1e999", "Float(inf)"),
        ("-.inf -1e999", "Float(-inf)"),
        (".nan .NaN .NAN", "Float(NaN)"),
    ] {
        for text in texts.split(' ') {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
    for text in "nULL tRue yes off 07 -07 00 1_000 0x7fff_ffff 0x 0xg 1e inf nan infinity +-1 --1 12:30 2001-01-01 . =".split(' ') {
        assert_eq!(kind(text), format!("Text({text:?})"));
    }
    for text in ["\"7\"", "'7'", "!!str 7", "! 7", "!str 7"] {
        assert_eq!(kind(text), "Text(\"7\")", "{text}");
    }
    assert_eq!(kind("\"\""), "Text(\"\")");
}

#[test]
fn a_tag_says_what_a_value_is() {
    for (text, expected) in [
        ("!!int \"7\"", "Int(7)"),
        ("!!int 1_000", "Int(1000)"),
        ("!!float 7", "Float(7.0)"),
        ("!!bool 'true'", "Bool(true)"),
        ("!!null whatever", "Null"),
        ("!!str ~", "Text(\"~\")"),
        ("!<tag:yaml.org,2002:int> 7", "Int(7)"),
        ("!!seq []", "List([])"),
        ("! {}", "Map([])"),
    ] {
        assert_eq!(kind(text), expected, "{text}");
    }
    for text in ["!!int x", "!!int 07", "!!float x", "!!bool yes", "!!merge <<"] {
        let report = refused(&format!("a: {text}"));
        assert!(report.contains("test.yaml:1:"), "{report}");
        assert!(report.contains("the value is not what its tag says"), "{report}");
    }
    for text in [
        "!!seq x",
        "!!map []",
        "!!str {}",
        "!x y",
        "!!binary aGk=",
        "!!set {}",
        "!include x",
    ] {
        let report = refused(&format!("a: {text}"));
        let tag = text.split(' ').next().unwrap_or_default();
        assert!(report.contains(&format!("tag `{tag}` is unknown")), "{report}");
    }
}

#[test]
fn keys_are_text_whatever_they_look_like() {
    let (node, report) = read("{7: a, true: b, \"~\": c, !!str null: d, &k e: f, 1.5: g, <: h}");
    let node = node.expect(&report);
    let keys: Vec<_> = node.entries().iter().map(|(key, ..)| key.as_str()).collect();
    assert_eq!(keys, ["7", "true", "~", "null", "e", "1.5", "<"]);
    let (node, report) = read("a: &k name\n*k : 1\n");
    assert!(node.expect(&report).get("name").is_some());
    for text in [
        "~: 1",
        "[a]: 1",
        "{a: b}: 1",
        "? \n: 1",
        "!!int 7: 1",
        "a: &l [1]\n*l : 1",
    ] {
        let report = refused(text);
        assert!(report.contains("a key is text, and this one "), "{report}");
    }
}

#[test]
fn what_is_merged_comes_after_what_is_there_and_gives_way_to_it() {
    let (node, report) = read(
        "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2, 7: 2}\nc:\n  <<: [*a, *b]\n  z: 3\n  <<: {w: 4, 07: 4}\n  <<: ~\nd:\n  \"<<\": *a\n",
    );
    let node = node.expect(&report);
    let merged: Vec<_> = node.get("c").map_or(&[][..], Node::entries).iter().collect();
    let merged: Vec<_> = merged
        .iter()
        .map(|(key, span, value)| (key.as_str(), span.line, span.column, &value.kind))
        .collect();
    assert_eq!(
        merged,
        [
            ("z", 5, 3, &NodeKind::Int(3)),
            // What an alias brings in stands where the alias does.
            ("x", 4, 8, &NodeKind::Int(1)),
            ("y", 4, 8, &NodeKind::Int(1)),
            ("7", 4, 12, &NodeKind::Int(2)),
            ("w", 6, 8, &NodeKind::Int(4)),
        ]
    );
    // In quotes it is a key as any other.
    assert!(node.get("d").and_then(|d| d.get("<<")).is_some());
    let report = refused("<<: 7\n");
    assert!(report.contains("`<<` takes in a mapping"), "{report}");
}

#[test]
fn aliases_have_bounds() {
    // One value may be used often.
    let used = |times: usize| format!("a: &a 1\nb: [{}]\n", "*a, ".repeat(times));
    assert!(read(&used(9_000)).0.is_some());
    let report = refused(&used(10_001));
    assert!(report.contains("more than 10000 aliases"), "{report}");
    // A large one seldom.
    let large = |times: usize| format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1_000), "*a, ".repeat(times));
    assert!(read(&large(15)).0.is_some());
    let report = refused(&large(25));
    assert!(report.contains("aliases multiply"), "{report}");
    let report = refused(&format!("a: &a [{}]\nb: *a\n", "x, ".repeat(30_000)));
    assert!(report.contains("aliases multiply"), "{report}");
    let report = refused(&"- &a x\n".repeat(10_001));
    assert!(report.contains("more than 10000 anchors"), "{report}");
    // What stands behind an alias is as deep as it is there.
    let deep = format!(
        "a: &a {}{}\nb: {}*a{}\n",
        "[".repeat(30),
        "]".repeat(30),
        "[".repeat(30),
        "]".repeat(30)
    );
    let report = refused(&deep);
    assert!(report.contains("nested deeper than 48"), "{report}");
    // Of what many anchors name, each keeps its own copy.
    let nested = format!("{}{}{}", "&a [".repeat(40), "x, ".repeat(19_000), "]".repeat(40));
    let report = refused(&format!("a: {nested}\nb: {nested}\n"));
    assert!(report.contains("its anchors name too much"), "{report}");
}
