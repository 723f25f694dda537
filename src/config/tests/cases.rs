//! Every folder of `cases/` is a configuration, and `expected.txt` in it is what `check` says of it: empty where
//! all is well. `FLOORGATE_WRITE_EXPECTED=1` writes the files anew; read the difference before it is committed.

mod adapters;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use adapters::{Modbus, OpcUa};
use floorgate_config::{Loaded, load_with};
use floorgate_yaml::Problems;

fn load(path: &Path, variables: &[(&str, &str)]) -> (Option<Loaded>, Problems) {
    let variables: BTreeMap<_, _> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    load_with(path, &[&OpcUa, &Modbus], variables)
}

/// Reports name files relative to the case, so that they are the same on every machine.
fn report(folder: &Path, problems: &Problems) -> String {
    problems
        .render(false)
        .replace(&format!("{}/", folder.display()), "")
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

#[test]
fn every_case_says_what_is_expected() {
    let mut folders: Vec<PathBuf> = fs::read_dir(here())
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    let mut wrong = String::new();
    for folder in folders {
        let (loaded, problems) = load(&folder.join("floorgate.yaml"), &[]);
        let report = report(&folder, &problems);
        assert!(
            problems.list().iter().all(|problem| problem.hint.is_some()),
            "{}: something has no hint:\n{report}",
            folder.display()
        );
        assert_eq!(
            loaded.is_none(),
            problems.has_errors(),
            "{}:\n{report}",
            folder.display()
        );
        let expected = folder.join("expected.txt");
        if std::env::var_os("FLOORGATE_WRITE_EXPECTED").is_some() {
            fs::write(&expected, &report).expect("a writable folder");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != report {
            let _ = write!(wrong, "--- {}\n{report}\n", folder.display());
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{wrong}");
}

#[test]
fn ten_mistakes_are_ten_errors() {
    let (_, problems) = load(&here().join("ten-mistakes/floorgate.yaml"), &[]);
    assert_eq!(problems.error_count(), 10, "{}", problems.render(false));
    assert!(
        problems
            .list()
            .iter()
            .all(|problem| problem.hint.is_some() && problem.span.is_some())
    );
}

#[test]
fn the_shipped_files_are_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/floorgate.yaml");
    let (loaded, problems) = load(&path, &[]);
    assert_eq!(problems.render(false), "");
    let loaded = loaded.expect("a valid configuration");
    assert_eq!((loaded.plan.sources.len(), loaded.plan.equipment.len()), (2, 8));
    assert_eq!(
        (loaded.plan.tags.len(), loaded.plan.rules.len()),
        (6 * 9 + 2 * 5, 6 * 7 + 2 * 5)
    );
    let rule = &loaded.plan.rules[7];
    assert_eq!(&*rule.id, "filling-line.2.WorkOrderStatusChanged.status");
    assert_eq!(&*rule.topic, "acme.busan.mes.work-order.v1");
    assert_eq!(
        &*loaded.plan.tags[rule.inputs[0].index()].key,
        "filling-line/2/status"
    );
    assert!(
        std::sync::Arc::ptr_eq(&rule.spec, &loaded.plan.rules[0].spec),
        "instances share their rules' form"
    );
    assert_eq!(
        &*loaded.plan.sources[1].topic,
        "acme.busan.mes.source-connection.v1"
    );
}

#[test]
fn each_instance_has_the_source_that_it_names() {
    let (loaded, problems) = load(&here().join("well/floorgate.yaml"), &[]);
    let plan = loaded
        .unwrap_or_else(|| panic!("{}", problems.render(false)))
        .plan;
    for tag in &plan.tags {
        let source = &*plan.sources[tag.source.index()].name;
        let expected = if tag.key.contains("/1-") { "left" } else { "right" };
        assert_eq!(source, expected, "{}", tag.key);
    }
}

#[test]
fn the_environment_lies_over_the_file_and_errors_name_the_variable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/floorgate.yaml");
    let (loaded, problems) = load(
        &path,
        &[
            ("FLOORGATE_KAFKA__BROKERS", "[a:1, b:2]"),
            ("FLOORGATE_SOURCES__FILLER_PLC__ENDPOINT", "opc.tcp://plc:4840"),
            ("FLOORGATE_CONFIG", "is of the command line"),
        ],
    );
    let loaded = loaded.unwrap_or_else(|| panic!("{}", problems.render(false)));
    let brokers: Vec<_> = loaded
        .settings
        .kafka
        .brokers
        .iter()
        .map(|broker| broker.as_str())
        .collect();
    assert_eq!(brokers, ["a:1", "b:2"]);

    let (loaded, problems) = load(
        &path,
        &[
            ("FLOORGATE_KAFKA__LINGER", "9"),
            ("FLOORGATE_HTTP__LISTN", "127.0.0.1:1"),
        ],
    );
    assert!(loaded.is_none());
    assert_eq!(
        problems.render(false),
        "$FLOORGATE_HTTP__LISTN: error: unknown key `listn`\n  = hint: did you mean `listen`?\n\n\
         $FLOORGATE_KAFKA__LINGER: error: `linger`: 9 has no unit\n  = hint: write 9ms, 9s or 9m\n\n2 errors\n"
    );
}

#[test]
fn only_what_a_reload_cannot_take_over_needs_a_restart() {
    let folder = std::env::temp_dir().join(format!("floorgate-reload-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let source = "sources:\n  plc: {adapter: opcua, endpoint: \"opc.tcp://a:1\"}\n";
    let settings = |head: &str, kafka: &str, tail: &str| {
        let text = format!(
            "{head}gateway: g\nmappings: []\nkafka:\n  brokers: [\"a:1\"]\n  \
             security: {{protocol: plaintext}}\n{kafka}{tail}"
        );
        fs::write(folder.join("floorgate.yaml"), text).expect("a file");
        let (loaded, problems) = load(&folder.join("floorgate.yaml"), &[]);
        loaded
            .unwrap_or_else(|| panic!("{}", problems.render(false)))
            .settings
    };
    let running = settings("", "", source);
    let other_topics = "  topics: {overrides: {Alarm: plant.alarms}}\n";
    let moved = settings(source, other_topics, "http: {listen: \"127.0.0.1:9464\"}\n");
    assert_eq!(moved.that_need_a_restart(&running), [""; 0]);
    let changed = settings(
        "",
        "  compression: lz4\n",
        "limits: {stop_within: 9s}\nsources: {}\n",
    );
    assert_eq!(changed.that_need_a_restart(&running), ["kafka", "limits"]);
    fs::remove_dir_all(&folder).expect("the folder of the test");
}

/// Of three instances the second is changed: only its changed rows are of their own. A part counts for the version.
#[test]
fn a_tag_that_an_override_moves_still_holds_only_while_another_says_so() {
    let folder = std::env::temp_dir().join(format!("floorgate-moved-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
    write(
        "floorgate.yaml",
        "gateway: g\nmappings: [line.yml]\nsources: {plc: {adapter: opcua, endpoint: \"opc.tcp://a:1\"}}\n\
         kafka: {brokers: [\"a:1\"], security: {protocol: plaintext}}\n",
    );
    write(
        "line.yml",
        "mapping: m\nfor_each: {line: 1..2}\nsource: plc\nequipment: a/b/line{line}\n\
         tags:\n  holds: {node: \"ns=2;s=H{line}\"}\n  weight: {node: \"ns=2;s=W{line}\", valid: holds}\n\
         events:\n  - {type: MeasurementRecorded, trigger: weight}\n\
         overrides:\n  2:\n    tags: {weight: {node: \"ns=2;s=Other\"}}\n",
    );
    let (loaded, problems) = load(&folder.join("floorgate.yaml"), &[]);
    fs::remove_dir_all(&folder).expect("the folder of the test");
    let plan = loaded
        .unwrap_or_else(|| panic!("{}", problems.render(false)))
        .plan;
    let gates: Vec<_> = plan.tags.iter().map(|tag| (&*tag.key, tag.valid)).collect();
    let gate_of = |key: &str| {
        gates
            .iter()
            .find(|(name, _)| *name == key)
            .and_then(|(_, gate)| *gate)
    };
    for line in [1, 2] {
        let gate = gate_of(&format!("m/{line}/weight")).unwrap_or_else(|| panic!("line {line}: {gates:?}"));
        assert_eq!(*plan.tags[gate.index()].key, *format!("m/{line}/holds"));
    }
}

#[test]
fn only_what_an_override_changes_is_not_shared() {
    let folder = std::env::temp_dir().join(format!("floorgate-overrides-{}", std::process::id()));
    fs::create_dir_all(folder.join("parts")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
    write(
        "floorgate.yaml",
        "gateway: g\nmappings: [\"*.yml\"]\nsources: {plc: {adapter: opcua, endpoint: \"opc.tcp://a:1\"}}\n\
         kafka: {brokers: [\"a:1\"], security: {protocol: plaintext}}\n",
    );
    write(
        "line.yml",
        "include: parts/part.yml\nmapping: m\nfor_each: {line: 1..3}\nsource: plc\nequipment: a/b/line{line}\n\
         overrides:\n  2:\n    tags: {t1: {node: \"ns=2;s=Other\"}, t2: {unit: KGM}, t4: null}\n    \
         events: {three: {trigger: t1}, four: null}\n",
    );
    let part = "tags:\n  t1: {node: \"ns=2;s=1\"}\n  t2: {node: \"ns=2;s=2\"}\n  t3: {node: \"ns=2;s=3\"}\n  \
                t4: {node: \"ns=2;s=4\"}\nevents:\n  - {type: MeasurementRecorded, trigger: t1}\n  \
                - {type: MeasurementRecorded, trigger: t2}\n  - {type: MeasurementRecorded, trigger: t3, name: three}\n  \
                - {type: MeasurementRecorded, trigger: t4, name: four}\n";
    let read = |part: &str| {
        write("parts/part.yml", part);
        let (loaded, problems) = load(&folder.join("floorgate.yaml"), &[]);
        assert_eq!(problems.error_count(), 0, "{}", problems.render(false));
        loaded.expect("a valid configuration")
    };
    let loaded = read(part);
    let other = read(&part.replace("s=1", "s=1.1"));
    fs::remove_dir_all(&folder).expect("the folder of the test");

    assert_eq!(loaded.mappings, [folder.join("line.yml")]);
    let plan = &loaded.plan;
    let keys: Vec<&str> = plan.tags.iter().map(|tag| &*tag.key).collect();
    assert_eq!(keys[4..7], ["m/2/t1", "m/2/t2", "m/2/t3"]);
    assert_eq!(keys[7..], ["m/3/t1", "m/3/t2", "m/3/t3", "m/3/t4"]);
    let ids: Vec<&str> = plan.rules.iter().map(|rule| &*rule.id).collect();
    let of_the_second = [
        "m.2.MeasurementRecorded.t1",
        "m.2.MeasurementRecorded.t2",
        "m.2.three",
    ];
    assert_eq!(ids[4..7], of_the_second);
    assert_eq!(plan.rules[6].inputs[..], plan.rules[4].inputs[..]);

    let tag = |place: usize| &plan.tags[place].spec;
    let rule = |place: usize| &plan.rules[place].spec;
    let is_shared = |one: usize, other: usize| {
        (
            std::sync::Arc::ptr_eq(tag(one), tag(other)),
            std::sync::Arc::ptr_eq(rule(one), rule(other)),
        )
    };
    assert_eq!(is_shared(0, 4), (true, true), "only its address is another");
    assert_eq!(is_shared(1, 5), (false, false), "its unit is another");
    assert_eq!(is_shared(2, 6), (true, false), "only the event is another");
    for place in 0..4 {
        assert_eq!(
            is_shared(place, place + 7),
            (true, true),
            "the third is as the first"
        );
    }
    assert_ne!(rule(0).version, other.plan.rules[0].spec.version);
}

/// A template of 10 tags for 10,000 machines.
#[test]
fn a_hundred_thousand_tags_load() {
    let folder = std::env::temp_dir().join(format!("floorgate-config-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let settings = "gateway: g\nmappings: [line.yaml]\nsources: {plc: {adapter: opcua, endpoint: \"opc.tcp://a:1\"}}\n\
                    kafka: {brokers: [\"a:1\"], security: {protocol: plaintext}}\n";
    fs::write(folder.join("floorgate.yaml"), settings).expect("a file");
    let mut template = String::from(
        "mapping: m\nfor_each: {line: 1..10000}\nsource: plc\nequipment: a/b/line{line}\ntags:\n",
    );
    let mut events = String::from("events:\n");
    for tag in 0..10 {
        let _ = writeln!(
            template,
            "  t{tag}: {{node: \"ns=2;s=Line{{line}}.T{tag}\", deadband: 0.5}}"
        );
        let _ = writeln!(events, "  - {{type: MeasurementRecorded, trigger: t{tag}}}");
    }
    {
        fs::write(folder.join("line.yaml"), template + &events).expect("a file");
        let started = std::time::Instant::now();
        let (loaded, problems) = load(&folder.join("floorgate.yaml"), &[]);
        let took = started.elapsed();
        println!("loaded in {took:?}");
        let loaded = loaded.unwrap_or_else(|| panic!("{}", problems.render(false)));
        assert_eq!(
            (loaded.plan.tags.len(), loaded.plan.rules.len()),
            (100_000, 100_000)
        );
        assert!(took.as_secs() < 60, "took {took:?} without optimisation");
    }
    fs::remove_dir_all(&folder).expect("the folder of the test");
}

/// Every key of the shipped files is in the schemas, so that editors know it.
#[test]
fn the_schemas_know_every_key_of_the_shipped_files() {
    let adapters: [&dyn floorgate_adapter_api::Adapter; 2] = [&OpcUa, &Modbus];
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let settings = parse(&floorgate_config::settings_schema(&adapters));
    for key in [
        "gateway",
        "state_dir",
        "mappings",
        "sources",
        "kafka",
        "events",
        "http",
        "limits",
    ] {
        assert!(settings["properties"][key].is_object(), "{key} in {settings:#}");
    }
    let sources = &settings["properties"]["sources"]["additionalProperties"]["oneOf"];
    assert_eq!(sources[1]["properties"]["adapter"]["const"], "modbus");
    assert!(sources[1]["properties"]["connect"].is_object(), "{sources:#}");
    let mapping = parse(&floorgate_config::mapping_schema(&adapters));
    let tags = &mapping["properties"]["tags"]["additionalProperties"]["anyOf"];
    for key in ["node", "values", "deadband", "counter", "bits", "at_least_every"] {
        assert!(tags[0]["properties"][key].is_object(), "{key} in {tags:#}");
    }
    let reference = floorgate_config::reference(&adapters);
    for row in [
        "| `kafka.security.password_file` |",
        "| `sources.NAME (modbus).connect` |",
        "| `events[].trigger` |",
    ] {
        assert!(reference.contains(row), "{row} in\n{reference}");
    }
}
