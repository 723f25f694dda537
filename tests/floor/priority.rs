//! A nearly full outbox keeps what matters most.

use anyhow::Result;
use floorgate_tests::{Delivery, Kafka, Patience, Record, until};

use crate::counting::{COUNTER, written};
use crate::plant::Plant;

/// A measurement whose events are large, so that few of them fill an outbox.
const MAPPING: &str = r#"
mapping: filling
source: plc
equipment: acme/{site}/filling/line1/filler
tags:
  order:  {node: "nsu=urn:floorgate:test:plant;s=Line1.WorkOrderId"}
  status: {node: "nsu=urn:floorgate:test:plant;s=Line1.Status", values: isa95-job-state}
  state:  {node: "nsu=urn:floorgate:test:plant;s=Line1.State", values: packml-state}
  level:  {node: "nsu=urn:floorgate:test:plant;s=Line1.Good"}
events:
  - {type: WorkOrderStatusChanged, trigger: status}
  - {type: EquipmentStateChanged, trigger: state}
  - {type: MeasurementRecorded, trigger: level, data: {trace: {constant: "{trace}"}}}
"#;

#[test]
fn what_matters_most_is_stored_longest() -> Result<()> {
    /// 20 kB each are twice what the outbox may have.
    const LAST: i64 = 7_000;
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let mapping = MAPPING
        .replace("{site}", plant.site())
        .replace("{trace}", &"0123456789".repeat(2_000));
    plant.gateway.write("mappings/filling.yaml", &mapping)?;
    let settings = plant.settings()?;
    plant
        .gateway
        .write("floorgate.yaml", &format!("{settings}outbox: {{max_mib: 64}}\n"))?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(1, Patience::Long)?;
    kafka.kill()?;
    plant.plc.count_up(COUNTER, 1, LAST, 2)?;
    let shed = "floorgate_shed_changes_total{priority=\"low\"}";
    plant.gateway.wait_for_metric(shed, 1.0.., Patience::Long)?;
    // It was told when that would be.
    let hours = "floorgate_outbox_hours_until_full";
    plant
        .gateway
        .wait_for_metric(hours, 0.0..f64::INFINITY, Patience::Short)?;
    let orders = "floorgate_events_total{type=\"WorkOrderStatusChanged\"}";
    let before = plant.gateway.metric(orders)?.unwrap_or_default();
    plant.plc.set("Line1.Status", 3)?;
    plant
        .gateway
        .wait_for_metric(orders, before + 1.0.., Patience::Short)?;
    let ready = plant.gateway.get("/readyz")?;
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(ready.body.contains("nearly full"), "{}", ready.body);
    written(&mut plant, LAST)?;

    kafka.resume()?;
    let depth = "floorgate_outbox_depth";
    plant.gateway.wait_for_metric(depth, 0.0..=0.0, Patience::Long)?;
    let mut reader = plant.reader("measurement")?;
    let records = reader.until("the last value", Patience::Long, |records| {
        let last = records.iter().rev().find_map(|record| record.json().ok());
        last.is_some_and(|data| data["value"] == LAST)
    })?;
    let delivery = Delivery::of(records)?;
    let mut steps = delivery.accepted.iter().map(Record::json);
    let mut value = steps.next().map_or(Ok(0.into()), |first| first)?["value"].as_i64();
    let mut left_out = 0;
    for step in steps {
        let data = step?;
        let next = data["value"].as_i64();
        let skipped = next.zip(value).map_or(0, |(next, value)| next - value - 1);
        assert!(skipped <= 0 || data["gap"] == true, "{skipped} before {next:?}");
        left_out += skipped.max(0);
        value = next;
    }
    assert!(left_out > 0, "something was left out");
    until(
        "the log that says that there is room again",
        Patience::Short,
        || {
            Ok(plant
                .gateway
                .output()?
                .contains("the outbox has room again")
                .then_some(()))
        },
    )
}
