//! Modbus equipment on the way to the broker.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{
    Delivery, Framing, Gateway, Kafka, ModbusPeer, Patience, Reader, Record, Table, until,
};
use serde_json::{Value, json};

use crate::plant::{settings, topic, unique_site};

const MAPPING: &str = r"
mapping: conveyor
source: plc
equipment: acme/{site}/packaging/line1/conveyor
tags:
  state:   {holding: 100, values: packml-state}
  total:   {input: 200, type: u32, counter: {width: 32}}
  running: {coil: 5}
  speed:   {holding: 110, type: f32, word_order: CDAB, scale: 2, unit: MTS, unit_id: 2}
events:
  - {type: EquipmentStateChanged, trigger: state}
  - {type: ProductionCountRecorded, trigger: total, kind: total}
  - {type: MeasurementRecorded, trigger: speed}
  - {type: ConveyorSwitched, trigger: running, data: {running: running}}
";

/// A conveyor, its gateway, and where its events are.
pub struct Conveyor {
    pub gateway: Gateway,
    pub plc: ModbusPeer,
    site: String,
    bootstrap: String,
}

impl Conveyor {
    /// The gateway knows it.
    pub fn start(framing: Framing) -> Result<Self> {
        let bootstrap = Kafka::shared()?.bootstrap();
        let site = unique_site();
        let mut plc = ModbusPeer::start(framing, &[1, 2])?;
        plc.set_registers(1, Table::Holding, 100, &[4])?;
        let scheme = framing.scheme();
        let source = format!(
            "adapter: modbus\n    connect: {scheme}://127.0.0.1:{}\n    poll_interval: 20ms\n    backoff_max: 1s",
            plc.port()
        );
        let mapping = MAPPING.replace("{site}", &site);
        let mut gateway = Gateway::new(
            &settings(&site, &bootstrap, &source),
            &[("conveyor.yaml", &mapping)],
        )?;
        gateway.start()?;
        let conveyor = Self {
            gateway,
            plc,
            site,
            bootstrap,
        };
        conveyor.reader("equipment-state")?.at_least(1, Patience::Long)?;
        Ok(conveyor)
    }

    pub fn reader(&self, entity: &str) -> Result<Reader> {
        Reader::new(&self.bootstrap, &topic(&self.site, entity))
    }

    /// Waits for the last of the expected states, and compares all of them.
    fn expect_states(&self, expected: &[&str]) -> Result<()> {
        let state = |record: &Record| {
            record
                .json()
                .map(|data| data["state"].as_str().unwrap_or_default().to_owned())
        };
        let mut reader = self.reader("equipment-state")?;
        let records = reader.at_least(expected.len(), Patience::Long)?;
        let found: Vec<_> = Delivery::of(records)?
            .accepted
            .iter()
            .map(state)
            .collect::<Result<_>>()?;
        assert_eq!(found, expected);
        Ok(())
    }
}

#[test]
fn a_change_in_every_table_is_on_the_broker() -> Result<()> {
    for framing in [Framing::Tcp, Framing::Udp, Framing::Rtu, Framing::Ascii] {
        let mut conveyor = Conveyor::start(framing)?;
        conveyor.plc.set_registers(1, Table::Holding, 100, &[6])?;
        // 70,000 over two registers, the high word first.
        conveyor.plc.set_registers(1, Table::Input, 200, &[1, 4_464])?;
        conveyor.plc.set_bits(1, Table::Coil, 5, &[true])?;
        // 1.5 (0x3FC00000) with its words swapped, on another unit.
        conveyor
            .plc
            .set_registers(2, Table::Holding, 110, &[0x0000, 0x3FC0])?;
        conveyor.expect_states(&["Idle", "Execute"])?;

        let mut reader = conveyor.reader("production-count")?;
        let count = reader.at_least(1, Patience::Short)?[0].json()?;
        assert_eq!(
            (&count["delta"], &count["rawValue"]),
            (&json!(70_000), &json!(70_000)),
            "{framing:?}"
        );
        assert_eq!(count["timeBasis"], "received", "Modbus has no times of its own");
        assert_eq!(count["timestamps"]["source"], json!(null));

        let mut reader = conveyor.reader("measurement")?;
        let speed = |record: &Record| {
            record
                .json()
                .is_ok_and(|data| data["value"] == 3.0 && data["unit"] == "MTS")
        };
        reader.until("the speed", Patience::Short, |records| records.iter().any(speed))?;

        let mut reader = conveyor.reader("conveyor-switched")?;
        let on = |record: &Record| record.json().is_ok_and(|data| data["running"] == true);
        reader.until("the switch", Patience::Short, |records| records.iter().any(on))?;
        let (status, _) = conveyor.gateway.stop()?;
        assert!(status.success(), "{status}");
    }
    Ok(())
}

#[test]
fn a_restarted_device_comes_back_by_itself() -> Result<()> {
    let mut conveyor = Conveyor::start(Framing::Tcp)?;
    conveyor.plc.kill();
    let up = "floorgate_source_up{source=\"plc\"}";
    conveyor.gateway.wait_for_metric(up, 0.0..=0.0, Patience::Long)?;
    conveyor.plc.resume()?;
    conveyor.gateway.wait_for_metric(up, 1.0..=1.0, Patience::Long)?;
    conveyor.plc.set_registers(1, Table::Holding, 100, &[6])?;
    let mut reader = conveyor.reader("equipment-state")?;
    let executing = |record: &Record| record.json().is_ok_and(|data| data["state"] == "Execute");
    let records = reader.until("the change", Patience::Long, |records| {
        records.iter().any(executing)
    })?;
    Delivery::of(records).map(drop)
}

#[test]
fn a_late_answer_is_never_taken_for_anothers() -> Result<()> {
    let mut conveyor = Conveyor::start(Framing::Rtu)?;
    // Longer than the gateway waits: the answer comes when the next request is out.
    conveyor.plc.delay(1, 1.5)?;
    let errors = "floorgate_source_errors_total{kind=\"timeout\",source=\"plc\"}";
    conveyor.gateway.wait_for_metric(errors, 2.0.., Patience::Long)?;
    conveyor.plc.delay(1, 0.0)?;
    conveyor.plc.set_registers(1, Table::Holding, 100, &[6])?;
    let mut reader = conveyor.reader("equipment-state")?;
    let executing = |record: &Record| record.json().is_ok_and(|data| data["state"] == "Execute");
    let records = reader.until("the change", Patience::Long, |records| {
        records.iter().any(executing)
    })?;
    for record in records {
        let state = record.json()?["state"].clone();
        // The register never held anything but 4 and 6; what is unknown may be said to be.
        assert!(
            ["Idle", "Execute", "unknown"]
                .map(|known| json!(known))
                .contains(&state),
            "{state}"
        );
    }
    Ok(())
}

/// A device that answers more slowly than it is polled: what is late is left out and counted, and never made up for.
#[test]
fn polls_that_are_late_are_left_out_and_counted() -> Result<()> {
    const LATE: &str = "floorgate_source_errors_total{kind=\"late\",source=\"plc\"}";
    const EVERY: Duration = Duration::from_millis(20);
    let site = unique_site();
    let mut plc = ModbusPeer::start(Framing::Tcp, &[1])?;
    let source = format!(
        "adapter: modbus\n    connect: tcp://127.0.0.1:{}\n    poll_interval: {}ms",
        plc.port(),
        EVERY.as_millis()
    );
    let mapping = format!(
        "mapping: oven\nsource: plc\nequipment: acme/{site}/baking/line1/oven\ntags: {{heat: {{holding: 100, unit: CEL}}}}\n\
         events:\n  - {{type: MeasurementRecorded, trigger: heat}}\n"
    );
    let settings = settings(&site, &Kafka::shared()?.bootstrap(), &source);
    let mut gateway = Gateway::new(&settings, &[("oven.yaml", &mapping)])?;
    let begun = Instant::now();
    gateway.start()?;
    gateway.wait_for_metric("floorgate_source_up{source=\"plc\"}", 1.0..=1.0, Patience::Long)?;
    let late = |gateway: &Gateway| Ok::<_, anyhow::Error>(gateway.metric(LATE)?.unwrap_or(0.0));

    // Each answer takes as long as five polls: the next one is sent when it is there, and four were late.
    plc.delay(1, 5.0 * EVERY.as_secs_f64())?;
    let (late_before, asked_before) = (late(&gateway)?, plc.requests()?);
    gateway.wait_for_metric(LATE, late_before + 40.0.., Patience::Long)?;
    let asked = plc.requests()? - asked_before;
    let left_out = late(&gateway)? - late_before;
    // Of the first two, one may have been on its way before.
    #[allow(clippy::cast_precision_loss)] // few
    let least = asked.saturating_sub(2) as f64 * 4.0;
    assert!(left_out >= least, "{left_out} left out beside {asked} asked");

    // Each place in time has one poll, which was asked or left out.
    plc.delay(1, 0.0)?;
    let before = plc.requests()?;
    until("polls as before", Patience::Long, || {
        Ok((plc.requests()? >= before + 20).then_some(()))
    })?;
    let all = late(&gateway)? + f64::from(u32::try_from(plc.requests()?)?);
    let places = begun.elapsed().as_secs_f64() / EVERY.as_secs_f64() + 1.0;
    assert!(all <= places, "{all} polls asked and left out at {places} places");
    Ok(())
}

/// What `floorgate tags` says of a tag.
fn told_of(gateway: &Gateway, tag: &str) -> Result<Value> {
    let output = gateway.command(&["tags", tag, "--json"])?.output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{errors}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn a_register_that_is_not_there_is_reported_by_its_tags_name() -> Result<()> {
    let site = unique_site();
    let mut plc = ModbusPeer::start(Framing::Tcp, &[1])?;
    plc.set_registers(1, Table::Holding, 100, &[7])?;
    let source = format!(
        "adapter: modbus\n    connect: tcp://127.0.0.1:{}\n    poll_interval: 20ms",
        plc.port()
    );
    // The server has 2,000 registers.
    let mapping = format!(
        "mapping: oven\nsource: plc\nequipment: acme/{site}/baking/line1/oven\ntags:\n  heat: {{holding: 100, unit: CEL}}\n  \
         ghost: {{holding: 5000, unit: CEL}}\nevents:\n  - {{type: MeasurementRecorded, trigger: heat}}\n  - {{type: MeasurementRecorded, \
         trigger: ghost}}\n"
    );
    let settings = settings(&site, &Kafka::shared()?.bootstrap(), &source);
    let mut gateway = Gateway::new(&settings, &[("oven.yaml", &mapping)])?;
    gateway.start()?;
    let failed = "floorgate_source_failed_tags{source=\"plc\"}";
    gateway.wait_for_metric(failed, 1.0..=1.0, Patience::Long)?;

    let refusal = "the device refuses a tag";
    gateway.process()?.wait_for_output(refusal, Patience::Long)?;
    let log = gateway.output()?;
    let line = log
        .lines()
        .find(|line| line.contains(refusal))
        .context("a line")?;
    for part in [
        "WARN",
        "unit=1",
        "tag=\"oven/ghost\"",
        "see=\"modbus-tag-refused\"",
    ] {
        assert!(line.contains(part), "no {part}: {line}");
    }
    until("both tags are told", Patience::Long, || {
        let (heat, ghost) = (told_of(&gateway, "oven/heat")?, told_of(&gateway, "oven/ghost")?);
        Ok((heat["quality"] == "good" && ghost["quality"] == "bad").then_some(()))
    })?;
    let heat = told_of(&gateway, "oven/heat")?;
    let facts = ["value", "reason", "see"];
    assert_eq!(
        facts.map(|fact| &heat[fact]),
        [&json!(7), &Value::Null, &Value::Null]
    );
    let ghost = told_of(&gateway, "oven/ghost")?;
    assert_eq!(
        facts.map(|fact| &ghost[fact]),
        [
            &Value::Null,
            &json!("refused: there is no such register (exception 02 or 03)"),
            &json!("modbus-tag-refused")
        ]
    );
    Ok(())
}
