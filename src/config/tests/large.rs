//! What is found in mappings of many lines. How long it takes is measured by the benchmark `check`.

mod adapters;
mod mappings_of_size;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use adapters::{Modbus, OpcUa};
use floorgate_config::load_with;
use mappings_of_size::{Folder, gated, guarded, mistaken, of_template, written_out};

/// Checks a mapping; tags, rules, errors and warnings.
fn check(name: &str, mapping: &str) -> [usize; 4] {
    let folder = Folder::new(name, mapping);
    let (loaded, problems) = load_with(&folder.settings(), &[&OpcUa, &Modbus], BTreeMap::new());
    let (tags, rules) = loaded.map_or((0, 0), |loaded| (loaded.plan.tags.len(), loaded.plan.rules.len()));
    let errors = problems.error_count();
    [tags, rules, errors, problems.list().len() - errors]
}

#[test]
fn tags_that_are_written_out_are_all_taken() {
    assert_eq!(check("written-out", &written_out(5_000)), [5_000, 5_000, 0, 0]);
}

#[test]
fn tags_of_a_template_are_all_taken() {
    let event = ", when: \"t0 > 1.0 && t1 < 5.0\", data: {line: {constant: \"{line}\"}, sum: \"= t0 + t1\"}";
    for (name, event) in [("template", ""), ("template-constants", event)] {
        assert_eq!(check(name, &of_template(500, event)), [5_000, 5_000, 0, 0]);
    }
}

#[test]
fn every_mistake_is_told() {
    assert_eq!(check("mistakes", &mistaken(5_000)), [0, 0, 10_000, 0]);
}

#[test]
fn guards_of_their_own_are_all_taken() {
    assert_eq!(check("guards", &guarded(1_000)), [1_000, 1_000, 0, 0]);
}

#[test]
fn tags_that_hold_while_another_says_so_are_all_taken() {
    assert_eq!(check("gated", &gated(5_000)), [5_000, 5_000, 0, 0]);
}

#[test]
fn what_would_fill_the_memory_is_refused() {
    let head = "source: plc\nequipment: a/b/l{a}\ntags:\n  t: {node: \"ns=2;s={a}\"}\nevents:\n  - {type: MeasurementRecorded, trigger: t}\n";
    let wide: String = (0..1_000).fold(String::new(), |mut text, number| {
        let _ = write!(text, ", p{number}: x");
        text
    });
    let long = "x".repeat(1_000_000);
    for (name, for_each) in [
        ("product", "{a: 1..1000, b: 1..1000, c: 1..1000}".to_owned()),
        ("range", "{a: 1..9000000000000000000}".to_owned()),
        ("parameters", format!("{{a: 1..200000{wide}}}")),
        ("values", format!("{{a: 1..200000, b: {long}}}")),
    ] {
        let [tags, _, errors, _] = check(name, &format!("mapping: m\nfor_each: {for_each}\n{head}"));
        assert_eq!((tags, errors), (0, 1), "{name}");
    }
    let text = head.replace("{a}\"}", &format!("{{a}}{long}\"}}"));
    let [tags, _, errors, _] = check("text", &format!("mapping: m\nfor_each: {{a: 1..200000}}\n{text}"));
    assert_eq!((tags, errors), (0, 1), "text");
}
