//! `floorgate test` and `floorgate diff`: mappings without a gateway.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use floorgate_tests::{Folder, binary, repository};
use serde_json::Value;

/// What the program printed, and its exit code.
struct Said {
    out: String,
    errors: String,
    code: Option<i32>,
}

fn floorgate(folder: &Path, words: &[&str]) -> Result<Said> {
    let output = Command::new(binary("floorgate")?)
        .args(words)
        .current_dir(folder)
        .output()?;
    Ok(Said {
        out: String::from_utf8(output.stdout)?,
        errors: String::from_utf8(output.stderr)?,
        code: output.status.code(),
    })
}

const MAPPING: &str = r#"mapping: press
source: plc
equipment: acme/busan/pressing/press1
tags:
  mode:   {node: "ns=2;s=Mode", values: packml-mode}
  leaves: {node: "ns=2;s=Leaves"}
  force:  {node: "ns=2;s=Force", unit: NEW, deadband: 0.5}
  alarms: {node: "ns=2;s=Alarms", bits: {0: {code: STOP}, 1: {code: HOT}}}
events:
  - {type: PartMade, trigger: leaves, edge: rising, when: "mode == 'Produce'"}
  - {type: MeasurementRecorded, trigger: force}
  - {type: Alarm, trigger: alarms}
"#;

const TESTS: &str = r"mapping: press.yaml
tests:
  - name: parts and force
    steps:
      - {at: 1s, plc: {mode: 1, leaves: false, force: 2.0, alarms: 0}}
      - {at: 2s, plc: {leaves: true, force: 3.0}}
      - {at: 3s, plc: {force: 3.6, alarms: 1}}
    expect:
      - {at: 1s, type: MeasurementRecorded, initial: true, data: {value: 2.0}}
      - {at: 2s, type: PartMade, key: acme/busan/pressing/press1}
      - {at: 2s, type: MeasurementRecorded, data: {name: force, value: 3.0, unit: NEW}}
      - {at: 3s, type: MeasurementRecorded, data: {value: 3.6}}
      - {at: 3s, type: AlarmRaised, data: {code: STOP}}
";

fn press(name: &str) -> Result<Folder> {
    let folder = Folder::new(name)?;
    folder.write("press.yaml", MAPPING)?;
    folder.write("press.test.yaml", TESTS)?;
    Ok(folder)
}

#[test]
fn the_shipped_mappings_have_tests_that_pass_and_reach_every_rule() -> Result<()> {
    let folder = Folder::new("shipped")?;
    let report = folder.path().join("report.xml");
    let report = report.to_string_lossy();
    let said = floorgate(
        &repository(),
        &["test", "mappings", "--json", "--coverage", "--junit", &report],
    )?;
    assert_eq!((said.code, said.errors.as_str()), (Some(0), ""), "{}", said.out);
    let json: Value = serde_json::from_str(&said.out)?;
    assert_eq!(json["failed"], 0);
    let counts = &json["coverage"]["counts"];
    assert_eq!(counts["rules"], counts["all_rules"], "{json:#}");
    for file in ["filling-line", "conveyor", "examples/guard"] {
        let file = format!("mappings/{file}.test.yaml");
        let tests = json["tests"].as_array().context("no tests")?;
        let of_file = tests.iter().filter(|test| test["file"] == *file).count();
        assert!(of_file > 0, "no test of {file}");
        let report = fs::read_to_string(&*report)?;
        let suite = format!(
            "<testsuite name=\"{file}\" tests=\"{of_file}\" disabled=\"0\" errors=\"0\" failures=\"0\""
        );
        assert!(report.contains(&suite), "no {suite} in\n{report}");
    }
    Ok(())
}

#[test]
fn a_changed_mapping_turns_its_test_red_and_the_difference_says_where() -> Result<()> {
    let folder = press("red")?;
    let said = floorgate(folder.path(), &["test", "."])?;
    assert_eq!(
        (said.code, said.out.as_str()),
        (
            Some(0),
            "ok      ./press.test.yaml:3  parts and force\n1 test: 1 passed, 0 failed\n"
        )
    );
    let changed = MAPPING
        .replace("unit: NEW, deadband: 0.5", "unit: KGM, deadband: 0.7")
        .replace("code: STOP", "code: E-STOP")
        .replace("  - {type: PartMade", "  - {type: PartLeft");
    folder.write("press.yaml", &changed)?;
    let said = floorgate(
        folder.path(),
        &["test", "press.test.yaml", "--junit", "report.xml"],
    )?;
    assert_eq!(said.code, Some(1));
    let expected = r"FAILED  press.test.yaml:3  parts and force
        1 event as expected
        press.test.yaml:10:9: it did not come:
        - - at: 2s
        -   type: PartMade
        -   key: acme/busan/pressing/press1
        not expected:
        + - at: 2s
        +   type: PartLeft
        +   subject: equipment/acme/busan/pressing/press1
        +   data: {}
        press.test.yaml:11:9: another event:
          - at: 2s
            type: MeasurementRecorded
            data:
              name: force
              value: 3.0
        -     unit: NEW
        +     unit: KGM
        press.test.yaml:12:9: it did not come:
        - - at: 3s
        -   type: MeasurementRecorded
        -   data:
        -     value: 3.6
        press.test.yaml:13:9: another event:
          - at: 3s
            type: AlarmRaised
            data:
        -     code: STOP
        +     code: E-STOP
1 test: 0 passed, 1 failed
";
    assert_eq!(said.out, expected);
    let report = fs::read_to_string(folder.path().join("report.xml"))?;
    assert!(report.contains("failures=\"1\""), "{report}");
    assert!(
        report.contains("press.test.yaml:10:9: it did not come:"),
        "{report}"
    );
    Ok(())
}

#[test]
fn the_test_that_the_page_of_the_language_shows_passes() -> Result<()> {
    let page = fs::read_to_string(repository().join("mappings/README.md"))?;
    let (_, section) = page.split_once("## Test a mapping").context("no section")?;
    let (_, shown) = section.split_once("```yaml\n").context("no test")?;
    let (shown, _) = shown.split_once("```").context("no end of it")?;
    let folder = Folder::new("shown")?;
    fs::copy(
        repository().join("mappings/filling-line.yaml"),
        folder.path().join("filling-line.yaml"),
    )?;
    folder.write("filling-line.test.yaml", shown)?;
    let said = floorgate(folder.path(), &["test", "."])?;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.errors);
    assert!(said.out.ends_with("1 test: 1 passed, 0 failed\n"), "{}", said.out);
    Ok(())
}

#[test]
fn coverage_tells_what_no_test_reaches() -> Result<()> {
    let folder = press("coverage")?;
    let said = floorgate(folder.path(), &["test", "press.test.yaml", "--coverage"])?;
    assert_eq!(said.code, Some(0), "{}", said.errors);
    let lines: Vec<&str> = said
        .out
        .lines()
        .filter(|line| line.starts_with("press.yaml:"))
        .collect();
    assert_eq!(
        lines,
        [
            "press.yaml:10  PartMade.leaves: `when` is never false",
            "press.yaml:12  Alarm.alarms: alarms never raised: HOT; alarms never cleared: STOP, HOT",
        ],
        "{}",
        said.out
    );
    // Of a guard that held a part back nothing is missing, and a rule without an event is named.
    let more = TESTS.replace(
        "{at: 2s, plc: {leaves: true, force: 3.0}}",
        "{at: 2s, plc: {mode: 2, leaves: true}}",
    );
    folder.write("press.test.yaml", &more)?;
    let said = floorgate(folder.path(), &["test", "press.test.yaml", "--coverage"])?;
    assert_eq!(said.code, Some(1));
    assert!(
        said.out
            .contains("press.yaml:10  PartMade.leaves: no test makes an event of it; `when` is never true\n"),
        "{}",
        said.out
    );
    Ok(())
}

#[test]
fn what_came_is_written_into_a_test_that_expects_nothing_yet() -> Result<()> {
    let folder = press("write")?;
    let (head, _) = TESTS.split_once("    expect:").context("no expectation")?;
    folder.write("press.test.yaml", head)?;
    let words = ["test", "press.test.yaml"];
    let said = floorgate(folder.path(), &words)?;
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("it has no `expect`"), "{}", said.out);
    assert_eq!(
        fs::read_to_string(folder.path().join("press.test.yaml"))?,
        head,
        "it was only shown"
    );
    floorgate(folder.path(), &["test", "press.test.yaml", "--write"])?;
    let written = fs::read_to_string(folder.path().join("press.test.yaml"))?;
    assert!(written.starts_with(head), "{written}");
    let said = floorgate(folder.path(), &words)?;
    assert_eq!(said.code, Some(0), "{}{}\n{written}", said.out, said.errors);
    Ok(())
}

/// Each mistake: what is wrong, what is in its place, and what is said of it.
const MISTAKES: [(&str, &str, &str); 10] = [
    (
        "press.yaml",
        "pres.yaml",
        "press.test.yaml:1:10: error: file pres.yaml cannot be read",
    ),
    (
        "tests:",
        "test:",
        "press.test.yaml:2:1: error: unknown key `test`",
    ),
    (
        "name: parts and force",
        "name: [1]",
        "press.test.yaml:3:11: error: ",
    ),
    ("at: 1s, plc", "at: 1, plc", "press.test.yaml:5:14: error: "),
    (
        "at: 2s, plc",
        "at: 0s, plc",
        "press.test.yaml:6:9: error: the step is earlier than the one before it",
    ),
    (
        "plc: {mode: 1",
        "plcc: {mode: 1",
        "press.test.yaml:5:18: error: there is no source `plcc`",
    ),
    (
        "{mode: 1",
        "{mod: 1",
        "press.test.yaml:5:24: error: the source has no tag `mod`",
    ),
    (
        "type: PartMade",
        "typ: PartMade",
        "press.test.yaml:10:18: error: unknown key `typ`",
    ),
    (
        "type: PartMade",
        "type: SourceConnectionChanged",
        "press.test.yaml:10:9: error: the test does not look at `SourceConnectionChanged`",
    ),
    (
        "{leaves: true, force: 3.0}",
        "{leaves: true}, read: {plc: failed}",
        "press.test.yaml:6:46: error: nothing is read here",
    ),
];

#[test]
fn each_mistake_in_a_file_of_tests_is_told_where_it_stands() -> Result<()> {
    let folder = press("mistakes")?;
    for (right, wrong, told) in MISTAKES {
        assert!(TESTS.contains(right), "{right}");
        folder.write("press.test.yaml", &TESTS.replacen(right, wrong, 1))?;
        let said = floorgate(folder.path(), &["test", "press.test.yaml"])?;
        assert_eq!(said.code, Some(3), "{wrong}: {}{}", said.out, said.errors);
        let (_, report) = said
            .errors
            .split_once(told)
            .with_context(|| format!("{wrong}: no {told} in\n{}", said.errors))?;
        let report = report.split("\n\n").next().unwrap_or_default();
        assert!(report.contains("= hint: "), "{wrong}: {}", said.errors);
    }
    let said = floorgate(folder.path(), &["test", "nothing-here.test.yaml"])?;
    assert_eq!(said.code, Some(3), "{}", said.errors);
    let said = floorgate(folder.path(), &["test", "press.yaml"])?;
    assert_eq!(said.code, Some(3));
    assert!(
        said.errors
            .contains("press.yaml:3:1: error: press.yaml is a mapping, and no file of tests of one"),
        "{}",
        said.errors
    );
    fs::create_dir(folder.path().join("empty"))?;
    let said = floorgate(folder.path(), &["test", "empty"])?;
    assert_eq!(said.code, Some(3));
    assert!(
        said.errors.contains("no file below empty ends in .test.yaml"),
        "{}",
        said.errors
    );
    Ok(())
}

#[test]
fn settings_give_topics_and_sources_where_they_are_named() -> Result<()> {
    let folder = press("settings")?;
    folder.write(
        "floorgate.yaml",
        "gateway: g\nmappings: ['*.yaml']\nsources: {plc: {adapter: opcua, endpoint: 'opc.tcp://a:1', security: {policy: none, mode: none}}}\n\
         kafka: {brokers: ['a:1'], security: {protocol: plaintext}, topics: {overrides: {Alarm: plant.alarms}}}\n",
    )?;
    let tests = TESTS.replace("type: AlarmRaised,", "type: AlarmRaised, topic: plant.alarms,");
    folder.write("press.test.yaml", &tests)?;
    let words = ["test", "press.test.yaml"];
    let said = floorgate(folder.path(), &words)?;
    assert_eq!(said.code, Some(1), "without them it is the standard's topic");
    assert!(
        said.out.contains("+   topic: acme.busan.mes.alarm.v1\n"),
        "{}",
        said.out
    );
    let said = floorgate(
        folder.path(),
        &[&words[..], &["--config", "floorgate.yaml"]].concat(),
    )?;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.errors);
    Ok(())
}

#[test]
fn what_changes_for_consumers_is_told_apart_from_what_is_inside() -> Result<()> {
    let folder = press("diff")?;
    let mapping = MAPPING
        .replace("equipment:", "for_each: {press: 1..3}\nequipment:")
        .replace("press1", "press{press}");
    folder.write("old.yaml", &mapping)?;
    let diff = |new: &str, more: &[&str]| -> Result<Said> {
        folder.write("new.yaml", new)?;
        floorgate(folder.path(), &[&["diff", "old.yaml", "new.yaml"], more].concat())
    };
    let said = diff(&format!("# another version\n{mapping}"), &["--exit-code"])?;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "no difference\n"),
        "{}",
        said.errors
    );

    let inside = mapping
        .replace("deadband: 0.5", "deadband: 1, debounce: 2s")
        .replace("s=Leaves", "s=Left")
        .replace("== 'Produce'", "!= 'Maintenance'");
    let expected = "consumers see no difference: rules, topics, keys, types and fields are the same

rules changed (! is seen by consumers)
press.1.PartMade.leaves (and 2 other instances)  old.yaml:11 → new.yaml:11
    tag leaves: address: {node: \"ns=2;s=Leaves\"} → {node: \"ns=2;s=Left\"}
    when: mode == 'Produce' → mode != 'Maintenance'
press.1.MeasurementRecorded.force (and 2 other instances)  old.yaml:12 → new.yaml:12
    tag force: deadband: 0.5 → 1
    tag force: debounce: added, 2s
";
    let said = diff(&inside, &[])?;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), expected),
        "{}",
        said.errors
    );

    let outside = mapping
        .replace("code: HOT", "code: HOT, severity: 900")
        .replace(
            "trigger: force",
            "trigger: force, topic: plant.forces, key: mode, data: {by: {mode: mode, of: 1}}",
        )
        .replace("  - {type: PartMade", "  - {type: PartLeft");
    let expected = "consumers see a difference: fields, key, rules, topic

topics that nothing went to before
+ acme.busan.mes.part-left.v1
+ plant.forces

topics that nothing goes to any more
- acme.busan.mes.measurement.v1
- acme.busan.mes.part-made.v1

rules added
+ press.1.PartLeft.leaves (and 2 other instances)  new.yaml:11  PartLeft to acme.busan.mes.part-left.v1

rules removed
- press.1.PartMade.leaves (and 2 other instances)  old.yaml:11  PartMade to acme.busan.mes.part-made.v1

rules changed (! is seen by consumers)
press.1.MeasurementRecorded.force (and 2 other instances)  old.yaml:12 → new.yaml:12
  ! field by.mode: added, mode, packml-mode
  ! field by.of: added, constant 1
  ! key: acme/busan/pressing/press1 → the value of mode
  ! topic: acme.busan.mes.measurement.v1 → plant.forces
    tag mode: address: added, {node: \"ns=2;s=Mode\"}
    tag mode: initial: added, compare
    tag mode: source: added, plc
    tag mode: values: added, packml-mode
press.1.Alarm.alarms (and 2 other instances)  old.yaml:13 → new.yaml:13
  ! field code HOT: severity 500 → severity 900
";
    let said = diff(&outside, &["--exit-code"])?;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(1), expected),
        "{}",
        said.errors
    );
    let json: Value = serde_json::from_str(&diff(&outside, &["--json"])?.out)?;
    assert_eq!(
        json["consumers_see"],
        serde_json::json!(["fields", "key", "rules", "topic"])
    );
    assert_eq!(json["changed"][0]["instances"], 3);
    assert_eq!(json["changed"][0]["changes"][2]["what"], "key");

    // What is wrong is told where it stands, of both.
    folder.write("old.yaml", &mapping.replace("trigger: leaves", "trigger: leafs"))?;
    let said = diff(
        &mapping.replace("kind", "").replace("unit: NEW", "unti: NEW"),
        &[],
    )?;
    assert_eq!(said.code, Some(3), "{}", said.out);
    for place in ["old.yaml:11:", "new.yaml:8:"] {
        assert!(said.errors.contains(place), "no {place} in\n{}", said.errors);
    }
    Ok(())
}

#[test]
fn settings_are_compared_by_their_mappings_and_files_of_tests_are_none() -> Result<()> {
    let folder = press("diff-settings")?;
    let settings = "gateway: g\nmappings: ['*.yaml']\nsources: {plc: {adapter: opcua, endpoint: 'opc.tcp://a:1', security: {policy: none, mode: none}}}\n\
         kafka: {brokers: ['a:1'], security: {protocol: plaintext}}\n";
    fs::create_dir(folder.path().join("conf"))?;
    for (name, text) in [
        ("conf/old.yml", settings.replace("'*.yaml'", "'../*.yaml'")),
        (
            "conf/new.yml",
            settings.replace("'*.yaml'", "'../*.yaml'").replace(
                "plaintext}",
                "plaintext}, topics: {overrides: {Alarm: plant.alarms}}",
            ),
        ),
    ] {
        folder.write(name, &text)?;
    }
    let said = floorgate(folder.path(), &["diff", "conf/old.yml", "conf/new.yml"])?;
    assert_eq!(said.code, Some(0), "{}", said.errors);
    assert!(
        said.out.starts_with("consumers see a difference: topic\n"),
        "{}",
        said.out
    );
    let changed = "press.Alarm.alarms  conf/../press.yaml:12 → conf/../press.yaml:12\n  ! topic: acme.busan.mes.alarm.v1 → plant.alarms\n";
    assert!(said.out.contains(changed), "{}", said.out);
    // The folder has a file of tests too, which the pattern passes over.
    let said = floorgate(folder.path(), &["check", "--config", "conf/old.yml"])?;
    assert_eq!(said.code, Some(0), "{}", said.errors);
    Ok(())
}
