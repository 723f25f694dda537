//! How long large configurations take to check. Nothing is asserted of times, which are another machine's tomorrow; to
//! see them: `cargo test --release -p floorgate-config --test speed -- --ignored --nocapture --test-threads 1`.

mod adapters;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use adapters::{Modbus, OpcUa};
use floorgate_config::load_with;
use floorgate_yaml::{Problems, parse};

const SETTINGS: &str = "gateway: g\nmappings: [line.yaml]\nkafka: {brokers: [\"a:1\"], security: {protocol: plaintext}}\n\
                        sources: {plc: {adapter: opcua, endpoint: \"opc.tcp://a:1\"}}\n";

/// Checks a mapping; tags, rules, errors and warnings.
fn check(name: &str, mapping: &str) -> [usize; 4] {
    let folder = std::env::temp_dir().join(format!("floorgate-speed-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("floorgate.yaml"), SETTINGS).expect("a file");
    fs::write(folder.join("line.yaml"), mapping).expect("a file");
    let started = Instant::now();
    let mut problems = Problems::default();
    let file = problems.add_file(&folder, mapping);
    assert!(parse(file, mapping, &mut problems).is_some(), "it is YAML");
    let parsed = started.elapsed();
    let started = Instant::now();
    let (loaded, problems) = load_with(
        &folder.join("floorgate.yaml"),
        &[&OpcUa, &Modbus],
        BTreeMap::new(),
    );
    let took = started.elapsed();
    let started = Instant::now();
    let report = problems.render(false);
    println!(
        "{name}: {} KiB, parsed in {parsed:?}, checked in {took:?}, told in {:?} ({} KiB)",
        mapping.len() / 1024,
        started.elapsed(),
        report.len() / 1024
    );
    fs::remove_dir_all(&folder).expect("the folder of the test");
    let (tags, rules) = loaded.map_or((0, 0), |loaded| (loaded.plan.tags.len(), loaded.plan.rules.len()));
    let errors = problems.error_count();
    [tags, rules, errors, problems.list().len() - errors]
}

/// A mapping of so many tags, each written out, with what its events are.
fn written_out(tags: usize, tag: impl Fn(usize) -> String, event: impl Fn(usize) -> String) -> String {
    let mut text = String::from("mapping: m\nsource: plc\nequipment: a/b/line\ntags:\n");
    for number in 0..tags {
        let _ = writeln!(text, "  t{number}: {{{}}}", tag(number));
    }
    text.push_str("events:\n");
    for number in 0..tags {
        let _ = writeln!(text, "  - {{{}}}", event(number));
    }
    text
}

fn node(number: usize) -> String {
    format!("node: \"ns=2;s=Line.T{number}\", deadband: 0.5, at_least_every: 10s")
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_tags_that_are_written_out() {
    let mapping = written_out(100_000, node, |number| {
        format!("type: MeasurementRecorded, trigger: t{number}")
    });
    assert_eq!(check("written-out", &mapping), [100_000, 100_000, 0, 0]);
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_tags_of_a_template() {
    for (name, event) in [
        ("template", ""),
        // What differs between instances is made for each of them.
        (
            "template-constants",
            ", when: \"t0 > 1.0 && t1 < 5.0\", data: {line: {constant: \"{line}\"}, sum: \"= t0 + t1\"}",
        ),
    ] {
        let mut mapping = String::from(
            "mapping: m\nfor_each: {line: 1..10000}\nsource: plc\nequipment: a/b/line{line}\ntags:\n",
        );
        let mut events = String::from("events:\n");
        for tag in 0..10 {
            let _ = writeln!(
                mapping,
                "  t{tag}: {{node: \"ns=2;s=L{{line}}.T{tag}\", deadband: 0.5}}"
            );
            let _ = writeln!(
                events,
                "  - {{type: MeasurementRecorded, trigger: t{tag}{event}}}"
            );
        }
        assert_eq!(check(name, &(mapping + &events)), [100_000, 100_000, 0, 0]);
    }
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand_instances_that_are_all_overridden() {
    for (name, change) in [
        ("addresses", "{tags: {t3: {node: \"ns=2;s=Other{line}\"}}}"),
        (
            "meanings",
            "{tags: {t3: {deadband: 1}, t4: null}, events: {MeasurementRecorded.t4: null}}",
        ),
    ] {
        let mut mapping = String::from(
            "mapping: m\nfor_each: {line: 1..10000}\nsource: plc\nequipment: a/b/line{line}\ntags:\n",
        );
        let mut events = String::from("events:\n");
        for tag in 0..10 {
            let _ = writeln!(mapping, "  t{tag}: {{node: \"ns=2;s=L{{line}}.T{tag}\"}}");
            let _ = writeln!(events, "  - {{type: MeasurementRecorded, trigger: t{tag}}}");
        }
        mapping.push_str("overrides:\n");
        for line in 1..=10_000 {
            let _ = writeln!(mapping, "  {line}: {change}");
        }
        let rows = if name == "addresses" { 100_000 } else { 90_000 };
        assert_eq!(check(name, &(mapping + &events)), [rows, rows, 0, 0]);
    }
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_mistakes() {
    let mapping = written_out(
        100_000,
        |number| format!("node: \"ns=2;s=Line.T{number}\", deadbnd: 0.5"),
        |number| format!("type: MeasurementRecorded, trigger: x{number}"),
    );
    assert_eq!(check("mistakes", &mapping), [0, 0, 200_000, 0]);
}

#[test]
#[ignore = "a measurement"]
fn guards_of_their_own() {
    let mapping = written_out(20_000, node, |number| {
        format!("type: MeasurementRecorded, trigger: t{number}, when: \"t{number} > 1.0\"")
    });
    assert_eq!(check("guards", &mapping), [20_000, 20_000, 0, 0]);
}

#[test]
#[ignore = "a measurement"]
fn what_would_fill_the_memory_is_refused() {
    let head = "source: plc\nequipment: a/b/l{a}\ntags:\n  t: {node: \"ns=2;s={a}\"}\nevents:\n  - {type: MeasurementRecorded, trigger: t}\n";
    let wide: String = (0..1_000).fold(String::new(), |mut text, number| {
        let _ = write!(text, ", p{number}: x");
        text
    });
    let long = "x".repeat(1_000_000);
    let mut overrides = String::from("overrides:\n");
    for number in 1..=3_000 {
        let _ = writeln!(overrides, "  {number}: {{tags: {{t: {{unit: CEL}}}}}}");
    }
    let text = head.replace(
        "\"ns=2;s={a}\"}",
        &format!("\"ns=2;s={{a}}\", x: {}}}", "x".repeat(100_000)),
    );
    let text = format!("mapping: m\nfor_each: {{a: 1..3000}}\n{text}{overrides}");
    let [tags, _, errors, _] = check("overrides", &text);
    assert_eq!((tags, errors), (0, 2), "overrides");
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

#[test]
#[ignore = "a measurement"]
fn hostile_texts_are_refused() {
    let bomb = (1..30).fold(
        String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"),
        |mut text, level| {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            let _ = writeln!(text, "a{level}: &a{level} [{items}]");
            text
        },
    );
    let deep = (0..10_000).fold(String::new(), |mut text, level| {
        let _ = writeln!(text, "{}a:", " ".repeat(level));
        text
    });
    let long = "x".repeat(1_000_000);
    for (name, text) in [
        ("alias bomb", bomb),
        (
            "aliases of a long text",
            format!("a: &a {long}\nb:\n{}", "  - *a\n".repeat(99)),
        ),
        ("brackets", "[".repeat(10_000)),
        ("braces", "{a: ".repeat(10_000)),
        ("lists", "- ".repeat(10_000)),
        ("indentation", deep),
        ("a text without an end", format!("a: \"{long}")),
        ("a long tag", format!("a: !{long} x")),
        ("a long alias", format!("a: *{long}")),
    ] {
        let mut problems = Problems::default();
        let file = problems.add_file(Path::new("x.yaml"), text.as_str());
        let started = Instant::now();
        let is_taken = parse(file, &text, &mut problems).is_some();
        let report = problems.render(false);
        println!(
            "{name}: {} KiB, refused in {:?}",
            text.len() / 1024,
            started.elapsed()
        );
        assert!(!is_taken && report.len() < 2_000, "{name}: {report}");
    }
}
