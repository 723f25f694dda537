//! What is said to be another when a configuration is read again.

mod adapters;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use adapters::{Modbus, OpcUa};
use floorgate_config::{Difference, Outline, load_with};

const SETTINGS: &str = "gateway: g
mappings: ['*.map.yaml']
sources:
  plc: {adapter: opcua, endpoint: 'opc.tcp://a:1'}
  press: {adapter: opcua, endpoint: 'opc.tcp://b:1'}
kafka: {brokers: ['a:1'], security: {protocol: plaintext}}
";
const FILLING: &str = "mapping: filling
for_each: {line: 1..2}
source: plc
equipment: acme/busan/filling/line{line}
tags:
  good: {node: 'ns=2;s={line}.good', counter: {width: 32}}
  state: {node: 'ns=2;s={line}.state', values: packml-state}
events:
  - {type: ProductionCountRecorded, trigger: good, kind: good, data: {shift: 1}}
  - {type: EquipmentStateChanged, trigger: state}
";
const PRESSING: &str = "mapping: pressing
source: press
equipment: acme/busan/pressing
tags:
  temp: {node: 'ns=2;s=temp', unit: CEL, deadband: 0.5}
events:
  - {type: MeasurementRecorded, trigger: temp}
";

const COUNTS: [&str; 2] = [
    "filling.1.ProductionCountRecorded.good",
    "filling.2.ProductionCountRecorded.good",
];

/// What a configuration of these files comes to.
fn outline(files: &[(&str, &str)]) -> Outline {
    // The folder is a part of what a source is told.
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let folder: PathBuf = std::env::temp_dir().join(format!("floorgate-difference-{process}-{thread:?}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    for (name, text) in files {
        fs::write(folder.join(name), text).expect("a file");
    }
    let path = folder.join("floorgate.yaml");
    let (loaded, problems) = load_with(&path, &[&OpcUa, &Modbus], BTreeMap::new());
    let loaded = loaded.unwrap_or_else(|| panic!("{}", problems.render(false)));
    fs::remove_dir_all(&folder).expect("the folder of the test");
    loaded.outline
}

fn both(settings: &str, filling: &str, pressing: &str) -> Outline {
    outline(&[
        ("floorgate.yaml", settings),
        ("filling.map.yaml", filling),
        ("pressing.map.yaml", pressing),
    ])
}

/// What is another after a word of the filling lines' mapping was replaced by another.
fn after(word: &str, other: &str) -> Difference {
    let before = both(SETTINGS, FILLING, PRESSING);
    assert!(FILLING.contains(word), "{word}");
    both(SETTINGS, &FILLING.replace(word, other), PRESSING).difference(&before)
}

fn names(of: &[std::sync::Arc<str>]) -> Vec<&str> {
    of.iter().map(|name| &**name).collect()
}

fn changed(difference: &Difference) -> Vec<&str> {
    assert_eq!(
        (&difference.rules_added, &difference.rules_removed),
        (&Vec::new(), &Vec::new())
    );
    names(&difference.rules_changed)
}

#[test]
fn another_version_of_a_file_and_other_numbers_are_no_difference() {
    // The file comes first, so that all numbers move by its tags.
    let more = PRESSING.replace("pressing", "before");
    let before = both(SETTINGS, FILLING, PRESSING);
    let settings = SETTINGS.replace(
        "  plc:",
        "  aaa: {endpoint: 'opc.tcp://c:1', adapter: opcua}\n  plc:",
    );
    let more = more.replace("source: press", "source: aaa");
    let now = outline(&[
        ("floorgate.yaml", &settings),
        ("a.map.yaml", &more),
        ("filling.map.yaml", &format!("# another version\n{FILLING}")),
        ("pressing.map.yaml", PRESSING),
    ]);
    let difference = now.difference(&before);
    assert_eq!(
        names(&difference.rules_added),
        ["before.MeasurementRecorded.temp"]
    );
    assert_eq!(names(&difference.sources_added), ["aaa"]);
    assert_eq!(names(&difference.sources_kept), ["plc", "press"]);
    let nothing = Difference {
        rules_added: difference.rules_added.clone(),
        sources_added: difference.sources_added.clone(),
        sources_kept: difference.sources_kept.clone(),
        ..Difference::default()
    };
    assert_eq!(difference, nothing);
    let back = before.difference(&now);
    assert_eq!(names(&back.rules_removed), ["before.MeasurementRecorded.temp"]);
    assert_eq!(names(&back.sources_removed), ["aaa"]);
    assert_eq!(names(&back.sources_kept), ["plc", "press"]);
}

#[test]
fn a_rule_whose_form_is_another_leaves_its_source_alone() {
    let all = [
        COUNTS[0],
        "filling.1.EquipmentStateChanged.state",
        COUNTS[1],
        "filling.2.EquipmentStateChanged.state",
    ];
    for (word, other, rules) in [
        ("shift: 1", "shift: 2", &COUNTS[..]),
        ("width: 32", "width: 16", &COUNTS),
        ("/filling/", "/bottling/", &all),
    ] {
        let difference = after(word, other);
        assert_eq!(changed(&difference), rules, "{word}");
        assert_eq!(names(&difference.sources_kept), ["plc", "press"], "{word}");
    }
    let event = "  - {type: EquipmentStateChanged, trigger: state}\n";
    let more = format!("{event}  - {{type: StateSeen, trigger: state}}\n");
    let difference = after(event, &more);
    assert_eq!(difference.rules_added.len(), 2, "{difference:?}");
    assert_eq!(difference.rules_changed, []);
    assert_eq!(names(&difference.sources_kept), ["plc", "press"]);
}

#[test]
fn a_tag_that_is_another_to_its_adapter_makes_its_source_another() {
    for (word, other) in [
        (".good", ".gut"),
        ("counter: {width: 32}", "counter: {width: 32}, heartbeat: 5s"),
        ("counter: {width: 32}", "counter: {width: 32}, valid: state"),
    ] {
        let difference = after(word, other);
        assert_eq!(changed(&difference), COUNTS, "{other}");
        assert_eq!(names(&difference.sources_kept), ["press"], "{other}");
        assert_eq!(names(&difference.sources_changed), ["plc"], "{other}");
    }
}

#[test]
fn another_setting_of_a_source_is_a_difference_of_that_source_alone() {
    let before = both(SETTINGS, FILLING, PRESSING);
    let settings = SETTINGS.replace("opc.tcp://b:1", "opc.tcp://b:2");
    let difference = both(&settings, FILLING, PRESSING).difference(&before);
    assert_eq!(changed(&difference), [""; 0]);
    assert_eq!(names(&difference.sources_kept), ["plc"]);
    assert_eq!(names(&difference.sources_changed), ["press"]);
    let settings = SETTINGS.replace("brokers: ['a:1']", "brokers: ['b:1']");
    let difference = both(&settings, FILLING, PRESSING).difference(&before);
    assert_eq!(names(&difference.sources_kept), ["plc", "press"]);
}
