//! The gateway's configuration for a load.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::plant::Addresses;
use crate::record::TAGS_PER_EQUIPMENT;
use crate::scenario::{Access, POLL_MS, PUBLISH_MS, Scenario};

/// Registers of a load tag (the simulator's README).
const REGISTERS: usize = 4;

/// The settings of the daemon, with `{state}` and `{http}` still to be filled in.
pub fn settings(scenario: &Scenario, plant: &Addresses, broker: &str, partitions: i32) -> String {
    let opcua = format!(
        "adapter: opcua\n    endpoint: \"{}\"\n    security: {{policy: none, mode: none}}",
        plant.opcua
    );
    let source = match scenario.access {
        Access::OpcUa => {
            format!("{opcua}\n    publishing_interval: {PUBLISH_MS}ms\n    sampling_interval: 0ms")
        }
        Access::OpcUaDefaults => opcua,
        Access::Modbus => format!(
            "adapter: modbus\n    connect: tcp://{}\n    unit: 100\n    poll_interval: {POLL_MS}ms",
            plant.modbus
        ),
    };
    let transactions = scenario.transactions;
    format!(
        r#"gateway: bench
state_dir: "{{state}}"
mappings: ["mappings/*.yaml"]
sources:
  plant:
    {source}
kafka:
  brokers: ["{broker}"]
  security: {{protocol: plaintext}}
  topics: {{partitions: {partitions}, replication: 1}}
  transactions: {transactions}
http: {{listen: "127.0.0.1:{{http}}"}}
"#
    )
}

/// The mappings: file names and texts. Each tag is a measurement of its own, every change of it an event.
pub fn mappings(scenario: &Scenario, namespace: &str, topic: &str) -> Result<Vec<(String, String)>> {
    let machines = scenario.tags / TAGS_PER_EQUIPMENT;
    match scenario.access {
        Access::OpcUa | Access::OpcUaDefaults => {
            let tag = |place| format!("{{node: \"nsu={namespace};s=Load.T{{a}}{{b}}{{c}}{{d}}{place:02}\"}}");
            let for_each = digits(machines)?;
            let head = format!(
                "mapping: load\nfor_each: {for_each}\ninstance: \"{{a}}{{b}}{{c}}{{d}}\"\nsource: plant\n\
                 equipment: bench/plant/hall/line{{a}}{{b}}{{c}}{{d}}\n"
            );
            Ok(vec![("load.yaml".to_owned(), mapping(head, tag, topic))])
        }
        // Addresses are numbers, which a template cannot reckon: a file for each machine.
        Access::Modbus => Ok((0..machines)
            .map(|machine| {
                let register = |place| (machine * TAGS_PER_EQUIPMENT + place) * REGISTERS;
                let tag = |place| format!("{{holding: {}, type: i64}}", register(place));
                let head = format!(
                    "mapping: load{machine:04}\nsource: plant\nequipment: bench/plant/hall/line{machine:04}\n"
                );
                (format!("load{machine:04}.yaml"), mapping(head, tag, topic))
            })
            .collect()),
    }
}

fn mapping(head: String, tag: impl Fn(usize) -> String, topic: &str) -> String {
    let mut text = head;
    text.push_str("tags:\n");
    for place in 0..TAGS_PER_EQUIPMENT {
        let _ = writeln!(text, "  t{place:02}: {}", tag(place));
    }
    text.push_str("events:\n");
    for place in 0..TAGS_PER_EQUIPMENT {
        let _ = writeln!(
            text,
            "  - {{type: MeasurementRecorded, trigger: t{place:02}, topic: {topic}}}"
        );
    }
    text
}

/// Parameters of so many instances, numbered by four digits: a parameter for each digit.
fn digits(instances: usize) -> Result<&'static str> {
    Ok(match instances {
        1 => "{a: 0, b: 0, c: 0, d: 0}",
        10 => "{a: 0, b: 0, c: 0, d: 0..9}",
        100 => "{a: 0, b: 0, c: 0..9, d: 0..9}",
        1_000 => "{a: 0, b: 0..9, c: 0..9, d: 0..9}",
        _ => bail!("{instances} is no number of instances that digits make"),
    })
}
