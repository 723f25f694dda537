//! How the parts of a source stand that can be away by themselves.

use anyhow::{Context, Result};
use floorgate_tests::{Framing, Gateway, Kafka, ModbusPeer, Patience, until};
use serde_json::{Value, json};

use crate::plant::{settings, unique_site};

const UNITS: &str = r"
mapping: hall
source: plc
equipment: acme/{site}/filling/line1/filler
tags:
  first: {holding: 100, unit_id: 1, unit: CEL}
  other: {holding: 100, unit_id: 7, unit: CEL}
events:
  - {type: MeasurementRecorded, trigger: first}
  - {type: MeasurementRecorded, trigger: other}
";

#[test]
fn units_on_one_line_are_told_each_by_itself() -> Result<()> {
    let mut line = ModbusPeer::start(Framing::Tcp, &[1, 7])?;
    let site = unique_site();
    let source = format!(
        "adapter: modbus\n    connect: tcp://{}\n    poll_interval: 20ms\n    timeout: 200ms\n    backoff_max: 1h",
        line.address()
    );
    let settings = settings(&site, &Kafka::shared()?.bootstrap(), &source);
    let gateway = Gateway::new(&settings, &[("hall.yaml", &UNITS.replace("{site}", &site))])?;
    let mut hall = Line { gateway };
    hall.gateway.start()?;
    let up = |unit: u8| format!("floorgate_source_station_up{{source=\"plc\",station=\"unit {unit}\"}}");
    for unit in [1, 7] {
        hall.gateway
            .wait_for_metric(&up(unit), 1.0..=1.0, Patience::Long)?;
    }
    line.delay(7, 5.0)?;
    hall.gateway.wait_for_metric(&up(7), 0.0..=0.0, Patience::Long)?;
    assert_eq!(hall.gateway.metric(&up(1))?, Some(1.0));
    let page: Value = serde_json::from_str(&hall.gateway.get("/status")?.body)?;
    let stations = &page["sources"][0]["stations"];
    assert_eq!(
        (&stations[0]["station"], &stations[0]["state"]),
        (&json!("unit 1"), &json!("online"))
    );
    assert_eq!(
        (&stations[1]["station"], &stations[1]["state"]),
        (&json!("unit 7"), &json!("offline"))
    );
    let error = stations[1]["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("no answer within 200ms"), "{stations}");
    assert_eq!(stations[1]["see"], "modbus-no-answer");
    assert!(stations[1]["next_attempt"]["at"].is_string(), "{stations}");
    assert!(
        stations[1]["next_attempt"]["pause_s"].as_f64() > Some(0.0),
        "{stations}"
    );
    let table = hall.table()?;
    let told = table
        .lines()
        .find(|line| line.starts_with("  unit 7"))
        .context("no unit 7")?;
    assert!(
        told.contains("offline") && told.contains(&format!("{error} (see modbus-no-answer)")),
        "{table}"
    );
    assert!(
        !table.contains("  unit 1 "),
        "what is there is not listed: {table}"
    );

    // The whole line.
    line.kill();
    until("the next attempt at the source", Patience::Long, || {
        let table = hall.table()?;
        let source = table
            .lines()
            .find(|line| line.starts_with("plc"))
            .context("no plc")?;
        let is_told = source.contains("offline") && source.contains("next attempt in ");
        Ok(is_told.then_some(()))
    })
}

/// A gateway that reads one line.
struct Line {
    gateway: Gateway,
}

impl Line {
    fn table(&self) -> Result<String> {
        let output = self.gateway.command(&["sources"])?.output()?;
        Ok(String::from_utf8(output.stdout)?)
    }
}
