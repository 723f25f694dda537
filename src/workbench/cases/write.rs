//! Writes what tests expect into their file, of those that do not say it.

use std::fs;
use std::io;
use std::path::Path;

use floorgate_yaml::{FileId, Node, NodeKind, Problems, parse};
use serde_json::Value as Json;

use super::run::{Outcome, Suite};

/// Writes the events that came as the expectation of each test that has none. The tests whose form does not allow it are returned by
/// name: to those their events have to be pasted.
pub fn write(suite: &Suite) -> io::Result<Vec<String>> {
    let mut text = fs::read_to_string(&suite.path)?;
    let mut left = Vec::new();
    // From the last one on, so that lines above stay where they are.
    for run in suite.results.iter().rev() {
        let Outcome::Unwritten(events) = &run.outcome else {
            continue;
        };
        match with_expectation(&text, &run.name, events) {
            Some(longer) => text = longer,
            None => left.push(run.name.clone()),
        }
    }
    replace(&suite.path, &text)?;
    Ok(left)
}

/// A file is there whole, as it was or as it is to be.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

/// The text with the events below the steps of a test; `None` where that would not read back as what is meant.
fn with_expectation(text: &str, name: &str, events: &str) -> Option<String> {
    let before = tree(text)?;
    let (key, steps) = test_of(&before, name)?.entry("steps")?;
    let indent = " ".repeat(usize::try_from(key.column).ok()?.checked_sub(1)?);
    let block = if events.is_empty() {
        format!("{indent}expect: []\n")
    } else {
        let lines = events.lines().flat_map(|line| {
            [
                &*indent, "  ", line, "
",
            ]
        });
        let lines: String = lines.collect();
        format!("{indent}expect:\n{lines}")
    };
    let last = usize::try_from(last_line(steps)).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    let (head, tail) = lines.split_at_checked(last)?;
    let ended = |lines: &[&str]| {
        lines
            .iter()
            .flat_map(|line| {
                [
                    *line, "
",
                ]
            })
            .collect::<String>()
    };
    let longer = [ended(head), block, ended(tail)].concat();
    let after = tree(&longer)?;
    let written = Json::from(test_of(&after, name)?.get("expect")?);
    let meant = if events.is_empty() {
        Json::Array(Vec::new())
    } else {
        Json::from(&tree(events)?)
    };
    let mut rest = Json::from(&after);
    let place = tests(&after).iter().position(|test| is_named(test, name))?;
    rest["tests"][place].as_object_mut()?.shift_remove("expect");
    (written == meant && rest == Json::from(&before)).then_some(longer)
}

fn tree(text: &str) -> Option<Node> {
    let mut problems = Problems::default();
    let node = parse(FileId::default(), text, &mut problems);
    node.filter(|_| !problems.has_errors())
}

fn tests(file: &Node) -> &[Node] {
    match file.get("tests").map(|tests| &tests.kind) {
        Some(NodeKind::List(tests)) => tests,
        _ => &[],
    }
}

fn is_named(test: &Node, name: &str) -> bool {
    test.get("name").and_then(Node::as_text) == Some(name)
}

fn test_of<'n>(file: &'n Node, name: &str) -> Option<&'n Node> {
    tests(file).iter().find(|test| is_named(test, name))
}

/// The last line on which something of a value begins.
fn last_line(node: &Node) -> u32 {
    let inner = match &node.kind {
        NodeKind::List(items) => items.iter().map(last_line).max(),
        NodeKind::Map(entries) => entries
            .iter()
            .map(|(_, key, value)| key.line.max(last_line(value)))
            .max(),
        _ => None,
    };
    inner.unwrap_or_default().max(node.span.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = "- at: 1s\n  type: X\n  data:\n    a: 1\n";

    #[test]
    fn what_came_stands_below_the_steps_and_nothing_else_changes() {
        let text = "mapping: m.yaml # of a press\ntests:\n  - name: a\n    steps:\n      - {at: 1s, plc: {x: 1}}\n\n  - name: b\n    steps: [{at: 1s}]\n    expect: []\n";
        let written = with_expectation(text, "a", EVENTS);
        let expected = "mapping: m.yaml # of a press\ntests:\n  - name: a\n    steps:\n      - {at: 1s, plc: {x: 1}}\n    expect:\n      - at: 1s\n        type: X\n        data:\n          a: 1\n\n  - name: b\n    steps: [{at: 1s}]\n    expect: []\n";
        assert_eq!(written.as_deref(), Some(expected));
    }

    #[test]
    fn a_form_that_has_no_place_for_it_is_left_alone() {
        let text = "mapping: m.yaml\ntests: [{name: a, steps: [{at: 1s}]}]\n";
        assert_eq!(with_expectation(text, "a", EVENTS), None);
        let text =
            "mapping: m.yaml\ntests:\n  - name: a\n    steps: [\n      {at: 1s, plc: {x: 1}\n      }]\n";
        assert_eq!(with_expectation(text, "a", EVENTS), None);
    }
}
