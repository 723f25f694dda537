//! Partitions that are added to a topic while events flow.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Kafka, OpcUaOptions, Patience, Reader, Record, until};
use serde_json::Value;

use crate::counting::{COUNTER, compare, written};
use crate::plant::{NO_SECURITY, Plant, topic};

/// Equipment that counts the same, each under a key of its own.
const LINES: usize = 12;

const MAPPING: &str = r#"
mapping: filling
for_each: [{each}]
source: plc
equipment: acme/{site}/filling/line{line}/filler
tags:
  state: {node: "nsu=urn:floorgate:test:plant;s=Line1.State", values: packml-state}
  good:  {node: "nsu=urn:floorgate:test:plant;s=Line1.Good", counter: {width: 32}}
events:
  - {type: EquipmentStateChanged, trigger: state}
  - {type: ProductionCountRecorded, trigger: good, kind: good}
"#;

/// Reads until each line has counted up to a number.
fn all_to(reader: &mut Reader, value: i64) -> Result<&[Record]> {
    let reached = |record: &&Record| record.json().is_ok_and(|data| data["rawValue"] == value);
    reader.until("each line's last count", Patience::Long, |records| {
        records.iter().filter(reached).count() >= LINES
    })
}

/// A plant with its gateway at work.
fn start(mut plant: Plant) -> Result<Plant> {
    let each: Vec<String> = (1..=LINES).map(|line| format!("{{line: {line}}}")).collect();
    let mapping = MAPPING
        .replace("{site}", plant.site())
        .replace("{each}", &each.join(", "));
    plant.gateway.write("mappings/filling.yaml", &mapping)?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(LINES, Patience::Long)?;
    Ok(plant)
}

/// The events of each line, as a consumer takes them.
fn lines(records: &[Record]) -> Result<BTreeMap<String, Vec<Record>>> {
    let delivery = Delivery::of(records)?;
    ensure!(delivery.repeated == 0, "{} came twice", delivery.repeated);
    let mut lines: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in delivery.accepted {
        let key = record.key.clone().context("no key")?;
        lines.entry(key).or_default().push(record);
    }
    ensure!(lines.len() == LINES, "{:?}", lines.keys());
    Ok(lines)
}

/// Waits until `/readyz` says something of a topic's partitions, or nothing any more.
fn told(plant: &Plant, text: &str, is_told: bool) -> Result<()> {
    until(
        &format!("/readyz, whether it says {text}"),
        Patience::Long,
        || {
            let page = plant.gateway.get("/readyz")?;
            ensure!(
                page.status == 200,
                "it is no reason not to be ready: {}",
                page.body
            );
            Ok((page.body.contains(text) == is_told).then_some(()))
        },
    )
}

#[test]
fn partitions_that_are_added_get_nothing_and_are_told() -> Result<()> {
    const LAST: i64 = 300;
    let kafka = Kafka::shared()?;
    let mut plant = start(Plant::new(&kafka.bootstrap())?)?;
    let counts = topic(plant.site(), "production-count");
    let text = format!("topic {counts} has 6 partitions where it had 3; the first 3 stay in use");

    plant.plc.count_up(COUNTER, 1, 100, 4)?;
    written(&mut plant, 50)?;
    kafka.add_partitions(&counts, 6)?;
    written(&mut plant, 100)?;
    told(&plant, &text, true)?;
    let status = plant.gateway.command(&["outbox", "status"])?.output()?;
    let status = String::from_utf8(status.stdout)?;
    ensure!(status.contains(&text), "{status}");
    plant.plc.count_up(COUNTER, 101, 200, 4)?;
    all_to(&mut plant.reader("production-count")?, 200)?;
    // Another process, whose client never knew fewer partitions.
    plant.gateway.stop()?;
    plant.gateway.start()?;
    plant.plc.count_up(COUNTER, 201, LAST, 4)?;

    let mut reader = plant.reader("production-count")?;
    for (key, records) in &lines(all_to(&mut reader, LAST)?)? {
        let place = records[0].partition;
        ensure!(place < 3, "in a partition that was added: {key}");
        ensure!(
            records.iter().all(|record| record.partition == place),
            "{key} changed its partition"
        );
        let gaps = compare(records, &(1..=LAST)).with_context(|| key.clone())?;
        ensure!(gaps <= 1, "{key}: {gaps} gaps of one restart");
    }
    told(&plant, &text, true)
}

/// What waits for the partition count, as the operator is shown it.
fn waiting(plant: &Plant, topic: &str) -> Result<u64> {
    let output = plant.gateway.command(&["outbox", "status", "--json"])?.output()?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let lanes = status["lanes"].as_array().context("no lanes")?.iter();
    let mut waiting = lanes.filter(|lane| lane["topic"] == topic && lane["partition"].is_null());
    Ok(waiting
        .next()
        .and_then(|lane| lane["waiting"].as_u64())
        .unwrap_or(0))
}

fn repartition(plant: &Plant, topic: &str) -> Result<String> {
    let output = plant
        .gateway
        .command(&["outbox", "repartition", topic])?
        .output()?;
    let told = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(told)
}

/// Once while events flow, and once with a broker that stands still and a gateway that dies before anything could be delivered.
#[test]
fn added_partitions_are_used_once_that_is_ordered_and_no_key_loses_its_order() -> Result<()> {
    const LAST: i64 = 500;
    let mut kafka = Kafka::start()?;
    // By its name the keys have places in each third of the partitions.
    let mut plant = start(Plant::at(
        "rouen",
        &kafka.bootstrap(),
        OpcUaOptions::default(),
        NO_SECURITY,
    )?)?;
    let counts = topic(plant.site(), "production-count");
    plant.plc.count_up(COUNTER, 1, 100, 4)?;
    all_to(&mut plant.reader("production-count")?, 100)?;
    // So that records say in which order the partitions got them.
    kafka.set_topic(&counts, "message.timestamp.type", "LogAppendTime")?;
    kafka.add_partitions(&counts, 6)?;
    told(
        &plant,
        &format!("topic {counts} has 6 partitions where it had 3"),
        true,
    )?;
    plant.plc.count_up(COUNTER, 101, 200, 10)?;
    written(&mut plant, 120)?;
    repartition(&plant, &counts)?;
    told(&plant, &format!("topic {counts}"), false)?;
    written(&mut plant, 200)?;
    plant.plc.count_up(COUNTER, 201, 300, 4)?;
    all_to(&mut plant.reader("production-count")?, 300)?;

    kafka.add_partitions(&counts, 9)?;
    told(
        &plant,
        &format!("topic {counts} has 9 partitions where it had 6"),
        true,
    )?;
    kafka.pause()?;
    plant.plc.count_up(COUNTER, 301, 400, 4)?;
    written(&mut plant, 350)?;
    repartition(&plant, &counts)?;
    until("events that wait for the partitions", Patience::Long, || {
        Ok((waiting(&plant, &counts)? > 0).then_some(()))
    })?;
    plant.gateway.kill()?;
    plant.gateway.start()?;
    written(&mut plant, 400)?;
    kafka.go_on()?;
    plant.plc.count_up(COUNTER, 401, LAST, 4)?;

    let mut reader = plant.reader("production-count")?;
    let mut used = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    for (key, records) in &mut lines(all_to(&mut reader, LAST)?)? {
        // In the order in which the broker took them; what has one time is of one partition.
        records.sort_by_key(|record| record.time);
        let gaps = compare(records, &(1..=LAST)).with_context(|| key.clone())?;
        ensure!(gaps <= 1, "{key}: {gaps} gaps of one restart");
        for record in records {
            let value = record.json()?["rawValue"].as_i64().context("no value")?;
            let part = [100, 300, LAST]
                .iter()
                .position(|last| value <= *last)
                .context("beyond the last")?;
            used[part].insert(record.partition);
        }
    }
    ensure!(used[0].iter().all(|partition| *partition < 3), "{used:?}");
    ensure!(
        used[1].iter().any(|partition| (3..6).contains(partition)),
        "{used:?}"
    );
    ensure!(used[1].iter().all(|partition| *partition < 6), "{used:?}");
    ensure!(
        used[2].iter().any(|partition| (6..9).contains(partition)),
        "{used:?}"
    );
    told(&plant, &format!("topic {counts}"), false)?;
    let error = repartition(&plant, "acme.nothing")
        .err()
        .context("nobody knows that topic")?;
    ensure!(
        error
            .to_string()
            .contains("the outbox knows no topic acme.nothing"),
        "{error}"
    );
    plant.gateway.stop()?;
    let said = repartition(&plant, &counts)?;
    ensure!(
        said.contains("wait until the 0 before them are delivered once the gateway runs"),
        "{said}"
    );
    plant.gateway.start()?;
    plant.plc.count_up(COUNTER, LAST + 1, LAST + 1, 4)?;
    all_to(&mut plant.reader("production-count")?, LAST + 1).map(drop)
}
