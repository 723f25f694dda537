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
