//! Queues at servers of others: too short for what happens between two publishings, or with more than one message may hold; and small changes that a server
//! holds back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Gateway, Kafka, NodePeer, Patience, Reader, Record};
use serde_json::{Value, json};

use crate::milo::Cell;
use crate::outage::holds;
use crate::plant::{NO_SECURITY, settings, topic, unique_site};

/// What a step shows: its number, and whether something may be missing before it.
type Step = (u64, bool);

/// Reads until a step with this number came: those from the first one on.
fn read_to(reader: &mut Reader, last: u64, step: impl Fn(&Record) -> Result<Step>) -> Result<Vec<Step>> {
    let is_last = |record: &Record| step(record).is_ok_and(|(number, _)| number == last);
    let records = reader.until(&format!("step {last}"), Patience::Long, |records| {
        records.iter().any(is_last)
    })?;
    records.iter().map(&step).collect()
}

/// Checks that steps come in order, and that a gap is told wherever some are left out. Returns where that is.
fn left_out(steps: &[Step]) -> Result<Vec<u64>> {
    let (mut before, mut left_out) = (0, Vec::new());
    for (number, gap) in steps {
        ensure!(*number > before, "{number} after {before}: {steps:?}");
        if *number > before + 1 {
            ensure!(*gap, "no gap before {number}: {steps:?}");
            left_out.push(*number);
        }
        before = *number;
    }
    Ok(left_out)
}

/// Where gaps are told.
fn gaps_of(steps: &[Step]) -> Vec<u64> {
    steps
        .iter()
        .filter(|(_, gap)| *gap)
        .map(|(number, _)| *number)
        .collect()
}

/// Of more events than the queue holds the server keeps the last ones and says that there were others: a gap.
#[test]
fn events_that_a_queue_did_not_hold_are_a_gap() -> Result<()> {
    const MAPPING: &str = r"
tags:
  message: {events: i=2253, event_type: i=2130, field: Message, queue_size: 2, publishing_interval: 300ms}
  severity: {events: i=2253, event_type: i=2130, field: Severity, queue_size: 2, publishing_interval: 300ms}
events:
  - {type: Told, trigger: message, data: {message: message, severity: severity}}
";
    let mut cell = Cell::new(&[], MAPPING)?;
    let mut reader = cell.reader("told")?;
    cell.gateway.start()?;
    cell.is_alone(1)?;
    let step = |record: &Record| -> Result<Step> {
        let data = record.json()?;
        assert_eq!(
            (&data["severity"], record.header("ce_emission")?),
            (&json!(700), "live")
        );
        let number = data["message"].as_str().context("a message")?.parse()?;
        Ok((number, data["gap"] == true))
    };
    let mut tell = |numbers: RangeInclusive<u64>| -> Result<Vec<Step>> {
        let last = *numbers.end();
        let messages: Vec<String> = numbers.map(|number| number.to_string()).collect();
        cell.plc.tell(&messages, 700)?;
        read_to(&mut reader, last, step)
    };
    assert_eq!(tell(1..=1)?, [(1, false)]);
    // Wherever a publishing falls, the queue of two is too short for six.
    let steps = tell(2..=7)?;
    let left_out = left_out(&steps)?;
    ensure!(!left_out.is_empty(), "{steps:?}");
    assert_eq!(gaps_of(&tell(8..=8)?), left_out, "and nowhere else");
    let output = cell.gateway.output()?;
    let why = [
        "the server lost events: its queue was full",
        "message",
        "opcua-changes-missed",
    ];
    let says_why = |line: &str| why.iter().all(|word| line.contains(word));
    ensure!(output.lines().any(says_why), "{output}");
    Ok(())
}

/// Of more changes than the queue holds the server keeps the last ones and marks where others were: a gap.
#[test]
fn changes_that_a_queue_did_not_hold_are_a_gap() -> Result<()> {
    const MAPPING: &str = r#"
tags:
  good: {node: "nsu=urn:floorgate:test:plant;s=Good", counter: {width: 32}, queue_size: 2, publishing_interval: 300ms}
  mode: {node: "nsu=urn:floorgate:test:plant;s=Mode"}
events:
  - {type: ProductionCountRecorded, trigger: good, kind: good}
  - {type: ModeSeen, trigger: mode}
"#;
    let variables = [("Good", "UInt32", json!(0)), ("Mode", "Int32", json!(1))];
    let mut cell = Cell::new(&variables, MAPPING)?;
    let mut reader = cell.reader("production-count")?;
    cell.gateway.start()?;
    holds(&mut cell.plc, 2, 2)?;
    let step = |record: &Record| -> Result<Step> {
        let data = record.json()?;
        let number = data["rawValue"].as_u64().context("a count")?;
        Ok((number, data["gap"] == true))
    };
    let mut count = |numbers: RangeInclusive<u64>| -> Result<Vec<Step>> {
        let last = *numbers.end();
        cell.plc
            .set_all("Good", &numbers.map(Value::from).collect::<Vec<_>>())?;
        read_to(&mut reader, last, step)
    };
    assert_eq!(count(1..=1)?, [(1, false)]);
    let steps = count(2..=7)?;
    ensure!(!left_out(&steps)?.is_empty(), "{steps:?}");
    // It marks each that is in the place of another, and no more.
    assert_eq!(count(8..=8)?, [steps, vec![(8, false)]].concat());
    Ok(())
}

/// Changes that are smaller than the server was asked to tell are not told, in units and in parts of the range that it says a value has.
#[test]
fn small_changes_are_held_back_by_the_server() -> Result<()> {
    const MAPPING: &str = r#"
mapping: tank
source: plc
equipment: acme/{site}/hall/cell/tank
tags:
  each: {node: "nsu=urn:floorgate:test:plant;s=Level"}
  units: {node: "nsu=urn:floorgate:test:plant;s=Level", server_deadband: 5}
  parts: {node: "nsu=urn:floorgate:test:plant;s=Level", server_deadband: 10%}
events:
  - {type: EachSeen, trigger: each, data: {value: each}}
  - {type: UnitsSeen, trigger: units, data: {value: units}}
  - {type: PartsSeen, trigger: parts, data: {value: parts}}
"#;
    let mut plc = NodePeer::start(None)?;
    plc.add_in_range("Level", "Double", 0.0, (0.0, 200.0))?;
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    {NO_SECURITY}\n    publishing_interval: 50ms\n    sampling_interval: 10ms",
        plc.url()
    );
    let mapping = MAPPING.replace("{site}", &site);
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("tank.yaml", &mapping)])?;
    let reader = |entity: &str| Reader::new(&bootstrap, &topic(&site, entity));
    let (mut each, mut units, mut parts) =
        (reader("each-seen")?, reader("units-seen")?, reader("parts-seen")?);
    gateway.start()?;
    // Each is seen before the next one comes.
    for reader in [&mut each, &mut units, &mut parts] {
        reader.at_least(1, Patience::Long)?;
    }
    let levels = [3.0, 15.0, 25.0, 28.0, 10.0, 50.0];
    for (place, level) in levels.into_iter().enumerate() {
        plc.set("Level", level)?;
        each.at_least(2 + place, Patience::Long)?;
    }
    let values = |reader: &mut Reader| -> Result<Vec<f64>> {
        let value = |record: &Record| record.json()?["value"].as_f64().context("a level");
        let is_last = |record: &Record| record.json().is_ok_and(|data| data["value"] == 50.0);
        let records = reader.until("the last level", Patience::Long, |records| {
            records.iter().any(is_last)
        })?;
        records.iter().map(value).collect()
    };
    assert_eq!(values(&mut each)?, [&[0.0], &levels[..]].concat());
    assert_eq!(values(&mut units)?, [0.0, 15.0, 25.0, 10.0, 50.0]);
    assert_eq!(values(&mut parts)?, [0.0, 25.0, 50.0]);
    Ok(())
}

/// More changes than a message may hold come in several of one publishing, each change once and in its order.
#[test]
fn more_changes_than_a_message_holds_come_in_several() -> Result<()> {
    const TAGS: usize = 6_000;
    const CHANGES: [i64; 2] = [1, 2];
    let names: Vec<String> = (0..TAGS).map(|number| format!("V{number}")).collect();
    let variables: Vec<_> = names.iter().map(|name| (&**name, "Int32", json!(0))).collect();
    let mut mapping = String::from("\ntags:\n");
    for name in &names {
        writeln!(
            mapping,
            "  {name}: {{node: \"nsu=urn:floorgate:test:plant;s={name}\", publishing_interval: 2s}}"
        )?;
    }
    mapping.push_str("events:\n");
    for name in &names {
        writeln!(
            mapping,
            "  - {{type: ValueSeen, trigger: {name}, data: {{of: {{constant: {name}}}, value: {name}}}}}"
        )?;
    }
    let mut cell = Cell::new(&variables, &mapping)?;
    let mut reader = cell.reader("value-seen")?;
    cell.gateway.start()?;
    reader.at_least(TAGS, Patience::Long)?;
    cell.plc.set_every(&CHANGES.map(Value::from))?;
    reader.at_least(TAGS * (1 + CHANGES.len()), Patience::Long)?;
    let delivery = Delivery::of(reader.records())?;
    assert_eq!(delivery.repeated, 0);
    let (mut told, mut received) = (BTreeMap::<String, Vec<i64>>::new(), Vec::new());
    for record in &delivery.accepted {
        let data = record.json()?;
        ensure!(data["gap"].is_null(), "{data}");
        let of = data["of"].as_str().context("no name")?.to_owned();
        let value = data["value"].as_i64().context("no value")?;
        told.entry(of).or_default().push(value);
        if CHANGES.contains(&value) {
            let at = data["timestamps"]["received"].as_str().context("no time")?;
            received.push(at.parse::<jiff::Timestamp>()?);
        }
    }
    assert_eq!(told.len(), TAGS);
    for (name, values) in told {
        assert_eq!(values, [&[0], &CHANGES[..]].concat(), "{name}");
    }
    // A message holds 5,000, so that one at each publishing would take two intervals of two seconds.
    received.sort_unstable();
    let (first, last) = (
        received.first().context("none")?,
        received.last().context("none")?,
    );
    let took = last.duration_since(*first);
    ensure!(took < jiff::SignedDuration::from_secs(3), "{took:?}");
    Ok(())
}
