//! Partitions that are added to a topic while events flow.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Kafka, Patience, Reader, Record, until};

use crate::counting::{COUNTER, compare, written};
use crate::plant::{Plant, topic};

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

#[test]
fn partitions_that_are_added_get_nothing_and_are_told() -> Result<()> {
    const LAST: i64 = 300;
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let each: Vec<String> = (1..=LINES).map(|line| format!("{{line: {line}}}")).collect();
    let mapping = MAPPING
        .replace("{site}", plant.site())
        .replace("{each}", &each.join(", "));
    plant.gateway.write("mappings/filling.yaml", &mapping)?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(LINES, Patience::Long)?;
    let counts = topic(plant.site(), "production-count");
    let told = format!("topic {counts} has 6 partitions where it had 3; the first 3 stay in use");

    plant.plc.count_up(COUNTER, 1, 100, 4)?;
    written(&mut plant, 50)?;
    kafka.add_partitions(&counts, 6)?;
    written(&mut plant, 100)?;
    until("/readyz that tells it", Patience::Long, || {
        let page = plant.gateway.get("/readyz")?;
        ensure!(
            page.status == 200,
            "it is no reason not to be ready: {}",
            page.body
        );
        Ok(page.body.contains(&told).then_some(()))
    })?;
    let status = plant.gateway.command(&["outbox", "status"])?.output()?;
    let status = String::from_utf8(status.stdout)?;
    ensure!(status.contains(&told), "{status}");
    plant.plc.count_up(COUNTER, 101, 200, 4)?;
    all_to(&mut plant.reader("production-count")?, 200)?;
    // Another process, whose client never knew fewer partitions.
    plant.gateway.stop()?;
    plant.gateway.start()?;
    plant.plc.count_up(COUNTER, 201, LAST, 4)?;

    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(all_to(&mut reader, LAST)?)?;
    ensure!(delivery.repeated == 0, "{} came twice", delivery.repeated);
    let mut lines: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in delivery.accepted {
        ensure!(record.partition < 3, "in a partition that was added: {record:?}");
        let key = record.key.clone().context("no key")?;
        lines.entry(key).or_default().push(record);
    }
    ensure!(lines.len() == LINES, "{:?}", lines.keys());
    for (key, records) in &lines {
        let place = records[0].partition;
        ensure!(
            records.iter().all(|record| record.partition == place),
            "{key} changed its partition"
        );
        let gaps = compare(records, &(1..=LAST)).with_context(|| key.clone())?;
        ensure!(gaps <= 1, "{key}: {gaps} gaps of one restart");
    }
    until("/readyz that tells it after a restart", Patience::Short, || {
        let page = plant.gateway.get("/readyz")?.body;
        Ok(page.contains(&told).then_some(()))
    })
}
