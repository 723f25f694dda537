//! What a plan says of tags that each for itself is right.

use std::path::Path;

use floorgate_adapter_api::{Adapter, SourceSpec, TagSpec};
use floorgate_sample::TagId;
use floorgate_yaml::{Node, Problems, Severity, parse};

use crate::Modbus;

/// The problems of a source whose tags stand one in each line of a file, `a: {holding: 1}`.
fn problems(settings: &str, tags: &str) -> Problems {
    let mut problems = Problems::default();
    let mut read = |name: &str, text: &str| -> Node {
        let file = problems.add_file(Path::new(name), text);
        parse(file, text, &mut problems).unwrap_or_else(|| panic!("{}", problems.render(false)))
    };
    let (settings, tags) = (read("settings.yaml", settings), read("line.yaml", tags));
    let spec = SourceSpec {
        snapshots: Vec::new(),
        name: "press",
        settings: &settings,
        tags: (0..)
            .zip(tags.entries())
            .map(|(id, (name, _, address))| TagSpec {
                id: TagId(id),
                name,
                address,
                on_demand: false,
            })
            .collect(),
        base: Path::new(""),
        state: Path::new(""),
    };
    assert!(
        Modbus.plan(spec, &mut problems).is_some(),
        "{}",
        problems.render(false)
    );
    assert!(
        problems
            .list()
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    );
    problems
}

const TCP: &str = "connect: tcp://127.0.0.1";

#[test]
fn registers_that_are_read_as_different_things_are_a_warning() {
    let tags = "speed: {holding: 1, type: u32}\ntorque: {holding: 2}\n";
    assert_eq!(
        problems(TCP, tags).render(false),
        "line.yaml:2:19: warning: tag `torque` reads holding 2 as u16, and tag `speed` (line.yaml:1:18) reads \
         holding 1 to 2 as u32\n    2 | torque: {holding: 2}\n      |                   ^\n      \
         = hint: correct one of the addresses, or a `type` that is wider than the device's value\n\n1 warning\n"
    );
    let tags = "speed: {holding: 1}\ntorque: {holding: 1, type: i16}\n";
    assert_eq!(
        problems(&format!("{TCP}\nbase: 1"), tags).render(false),
        "line.yaml:2:19: warning: tag `torque` reads holding 1 as i16, and tag `speed` (line.yaml:1:18) reads \
         holding 1 as u16\n    2 | torque: {holding: 1, type: i16}\n      |                   ^\n      \
         = hint: give both the same `type`, or correct an address\n\n1 warning\n"
    );
}

#[test]
fn what_is_legitimate_says_nothing() {
    for tags in [
        // One word twice, also scaled.
        "a: {holding: 1}\nb: {holding: 1}\nc: {holding: 1, scale: 0.1}\n",
        "a: {holding: 1, type: f32}\nb: {holding: 1, type: f32}\n",
        // Side by side.
        "a: {holding: 1, type: u32}\nb: {holding: 3}\nc: {holding: 0}\n",
        // Other tables, other units.
        "a: {holding: 1, type: u32}\nb: {input: 2}\n",
        "a: {holding: 1, type: u32}\nb: {holding: 2, unit_id: 2}\n",
        // Single bits of a word.
        "a: {holding: 1, type: u32}\nb: {holding: 2, bit: 3}\nc: {holding: 2, bit: 4}\n",
        "a: {coil: 1}\nb: {coil: 1}\n",
    ] {
        assert_eq!(problems(TCP, tags).render(false), "", "{tags}");
    }
}

#[test]
fn each_tag_is_told_once() {
    for (tags, lines) in [
        (
            "a: {holding: 1, type: u64}\nb: {holding: 2}\nc: {holding: 4}\nd: {holding: 5}\n",
            vec![2, 3],
        ),
        // A short one in between hides nothing that reaches farther.
        (
            "a: {holding: 1, type: u64}\nb: {holding: 2}\nc: {holding: 3, type: u32}\n",
            vec![2, 3],
        ),
        (
            "a: {holding: 1, type: string, length: 20}\nb: {holding: 9, type: f32}\n",
            vec![2],
        ),
        (
            "a: {holding: 1, type: u32}\nb: {holding: 2, type: u32}\nc: {holding: 3, type: u32}\n",
            vec![2, 3],
        ),
        (
            "a: {holding: 1, type: f32}\nb: {holding: 1, type: u32}\nc: {holding: 1, type: u32}\n",
            vec![1],
        ),
    ] {
        let found = problems(TCP, tags);
        let told: Vec<u32> = found
            .by_place()
            .iter()
            .filter_map(|problem| problem.span)
            .map(|span| span.line)
            .collect();
        assert_eq!(told, lines, "{tags}{}", found.render(false));
    }
}

/// All pairs would be ten thousand million.
#[test]
fn a_hundred_thousand_tags_that_overlap_are_told_in_time() {
    let tags: String = (0..100_000).fold(String::new(), |mut tags, number| {
        use std::fmt::Write as _;
        let _ = writeln!(
            tags,
            "t{number}: {{holding: {}, type: string, length: 250}}",
            number % 60_000
        );
        tags
    });
    let found = problems(TCP, &tags);
    assert_eq!(
        found.list().len(),
        59_999,
        "all but the first, each register once"
    );
}
