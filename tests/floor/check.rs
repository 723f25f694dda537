//! `floorgate check`.

use std::io::ErrorKind;
use std::net::TcpListener;

use anyhow::{Context, Result};
use floorgate_tests::{Gateway, free_port};

use crate::plant::settings;

const SETTINGS: &str = r#"gateway: press shop
state_dir: "{state}"
mappings: ["mappings/*.yaml"]
sources:
  plc:
    adapter: opcua
    endpoint: "http://plc:4840/"
    publishing_interval: 10 parsecs
  press: {adapter: modbus, connect: "ftp://press", timeout: soon}
  oven: {adapter: modbuss, connect: "tcp://oven"}
kafka:
  brokers: ["kafka"]
  lingr: 5ms
  topics: {partitions: 0}
"#;

const MAPPING: &str = r#"mapping: filling
source: plc
equipment: acme/busan/filling/line1/filler
tags:
  status: {node: "nsu=urn:plant;s=Status", values: isa95-job-stat}
  good: {node: "nsu=urn:plant;s=Good", counter: {width: 33}}
  temp: {node: "nsu=urn:plant;s=Temp", deadband: warm}
events:
  - {type: WorkOrderStatusChanged, trigger: statuss, order: status}
  - {type: ProductionCountRecorded, trigger: good, kind: good}
  - {type: MeasurementRecorded, trigger: temp}
"#;

/// Each mistake: the file, and the wrong text in it.
const MISTAKES: [(&str, &str, &str); 12] = [
    ("floorgate.yaml", SETTINGS, "press shop"),
    // A value that cannot be read hides no other mistake of its source.
    ("floorgate.yaml", SETTINGS, "\"http://plc:4840/"),
    ("floorgate.yaml", SETTINGS, "10 parsecs"),
    ("floorgate.yaml", SETTINGS, "\"ftp://press"),
    ("floorgate.yaml", SETTINGS, "soon"),
    ("floorgate.yaml", SETTINGS, "modbuss"),
    ("floorgate.yaml", SETTINGS, "\"kafka\""),
    ("floorgate.yaml", SETTINGS, "lingr"),
    ("floorgate.yaml", SETTINGS, "0}"),
    ("filling.yaml", MAPPING, "isa95-job-stat}"),
    ("filling.yaml", MAPPING, "warm"),
    ("filling.yaml", MAPPING, "statuss"),
];

/// Line and column, both from 1, of a text in a file.
fn place(text: &str, wrong: &str) -> Result<(usize, usize)> {
    let at = text.find(wrong).with_context(|| format!("no {wrong}"))?;
    let before = &text[..at];
    let column = at - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
    Ok((before.matches('\n').count() + 1, column))
}

#[test]
fn each_mistake_is_a_report_with_a_hint() -> Result<()> {
    let gateway = Gateway::new(SETTINGS, &[("filling.yaml", MAPPING)])?;
    let check = gateway.check()?;
    assert_eq!(check.code, Some(3), "{}", check.output);
    // A report begins with `path:line:column: error`.
    for (file, text, wrong) in MISTAKES {
        let (line, column) = place(text, wrong)?;
        let head = format!("{file}:{line}:{column}: error: ");
        let (_, report) = check
            .output
            .split_once(&head)
            .with_context(|| format!("no {head}{wrong} in\n{}", check.output))?;
        let report = report.split("\n\n").next().unwrap_or_default();
        assert!(
            report.contains(wrong.trim_matches(['"', '}'])),
            "{wrong} is not shown in\n{report}"
        );
        assert!(report.contains("= hint: "), "no hint in\n{report}");
    }
    let count = format!("\n{} errors", MISTAKES.len());
    assert!(check.output.contains(&count), "no {count:?} in\n{}", check.output);
    Ok(())
}

#[test]
fn a_right_configuration_passes_without_a_socket() -> Result<()> {
    // Where the broker and the PLC would be, somebody listens, to whom nobody comes.
    let listen = || -> Result<(TcpListener, u16)> {
        let listener = TcpListener::bind(("127.0.0.1", free_port()?))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    let (broker, of_broker) = listen()?;
    let (server, of_server) = listen()?;
    let source = format!("adapter: opcua\n    endpoint: opc.tcp://127.0.0.1:{of_server}");
    let mapping = MAPPING
        .replace("job-stat}", "job-state}")
        .replace("width: 33", "width: 32")
        .replace("warm", "0.5")
        .replace("statuss", "status");
    let settings = settings("checked", &format!("127.0.0.1:{of_broker}"), &source);
    let gateway = Gateway::new(&settings, &[("filling.yaml", &mapping)])?;
    let check = gateway.check()?;
    assert_eq!(check.code, Some(0), "{}", check.output);
    // The kernel takes a connection that a listener has not accepted yet: one that was tried is here.
    for (listener, name) in [(broker, "the broker"), (server, "the PLC")] {
        let tried = listener.accept().map_err(|error| error.kind());
        assert_eq!(tried.err(), Some(ErrorKind::WouldBlock), "{name}");
    }
    assert!(!gateway.state().exists(), "check writes nothing");
    Ok(())
}

#[test]
fn a_machine_that_reads_the_log_gets_a_record_for_each_mistake() -> Result<()> {
    let gateway = Gateway::new(SETTINGS, &[("filling.yaml", MAPPING)])?;
    let output = gateway.command(&["--log-format", "json", "run"])?.output()?;
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr)?;
    let records: Vec<serde_json::Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| format!("not only records:\n{text}"))?;
    for (file, text, wrong) in MISTAKES {
        let (line, column) = place(text, wrong)?;
        let told = records.iter().any(|record| {
            record["level"] == "ERROR"
                && record["file"].as_str().is_some_and(|path| path.ends_with(file))
                && record["line"] == line
                && record["column"] == column
                && record["hint"].is_string()
        });
        assert!(told, "{file}:{line}:{column} is not in {records:#?}");
    }

    let gateway = Gateway::new(&SETTINGS.replace("press shop", "press-shop"), &[])?;
    let output = gateway.command(&["--log-format", "journal", "run"])?.output()?;
    let text = String::from_utf8(output.stderr)?;
    assert!(text.lines().all(|line| line.starts_with("<3>")), "{text}");
    Ok(())
}

/// What an adapter knows of a tag's type is held against what its mapping makes of it.
#[test]
fn text_is_no_counter() -> Result<()> {
    const SETTINGS: &str = r#"gateway: plant
state_dir: "{state}"
mappings: ["mappings/*.yaml"]
sources:
  conveyor: {adapter: modbus, connect: "tcp://127.0.0.1"}
kafka: {brokers: ["localhost:9092"], security: {protocol: plaintext}}
"#;
    const MAPPING: &str = "mapping: conveyor
source: conveyor
equipment: acme/busan/conveyor
tables:
  words: {values: {RUN: Execute}}
tags:
  count: {holding: 0, type: string, length: 8, counter: {width: 16}}
  state: {holding: 4, values: words}
  speed: {holding: 5, type: f32, counter: {width: 16}}
events:
  - {type: ProductionCountRecorded, trigger: count, kind: good}
  - {type: ProductionCountRecorded, trigger: speed, kind: total}
  - {type: EquipmentStateChanged, trigger: state}
";
    let gateway = Gateway::new(SETTINGS, &[("conveyor.yaml", MAPPING)])?;
    let check = gateway.check()?;
    assert_eq!(check.code, Some(3), "{}", check.output);
    for (wrong, message) in [
        (
            "{width: 16}",
            "error: tag `count` (`string`) is text, and has `counter`",
        ),
        (
            "words}",
            "error: tag `state` (`u16`) is a number, and table `words` has words",
        ),
        (
            "{width: 16}}\nevents",
            "warning: tag `speed` (`f32`) may have a fraction, and has `counter`",
        ),
    ] {
        let (line, column) = place(MAPPING, wrong)?;
        let head = format!("conveyor.yaml:{line}:{column}: {message}");
        assert!(check.output.contains(&head), "no {head:?} in\n{}", check.output);
    }
    assert!(check.output.contains("\n2 errors, 1 warning"), "{}", check.output);
    Ok(())
}
