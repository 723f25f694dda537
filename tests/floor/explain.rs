//! Why an event was made, as the tool tells it.

use anyhow::{Result, ensure};
use floorgate_tests::{Kafka, Patience};
use serde_json::{Value, json};

use crate::plant::Plant;

#[test]
fn an_event_is_explained_by_its_rule_its_inputs_its_times_and_where_it_is() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    let mut orders = plant.reader("work-order")?;
    orders.at_least(2, Patience::Long)?;
    plant.plc.set("Line1.Good", 12)?;
    plant.reader("production-count")?.at_least(1, Patience::Long)?;
    plant.plc.set("Line1.Status", 3)?;
    let record = orders.at_least(3, Patience::Long)?[2].clone();
    let id = record.header("ce_id")?.to_owned();
    let explain = |plant: &Plant, words: &[&str]| -> Result<String> {
        let mut all = vec!["explain", &id];
        all.extend(words);
        let output = plant.gateway.command(&all)?.output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    };
    let told: Value = serde_json::from_str(&explain(&plant, &["--json"])?)?;
    let trace = &told["event"][0]["trace"];
    ensure!(
        trace["cause"] == "value" && trace["before"] == 2 && trace["now"] == 3,
        "{told}"
    );
    ensure!(trace["inputs"] == json!({"order": "WO-1", "good": 12}), "{told}");
    ensure!(
        told["rule"]["rule"] == "filling.1.WorkOrderStatusChanged.status",
        "{told}"
    );
    let delivery = &told["deliveries"][0];
    ensure!(
        delivery["offset"] == record.offset && delivery["partition"] == record.partition,
        "{told}"
    );
    let text = explain(&plant, &[])?;
    for line in [
        "mappings/filling.yaml:14:",
        "filling/1/status changed from 2 (AllowedToStart) to 3 (Running)",
        "beside it: order = \"WO-1\", good = 12",
        "by the device",
        "recorded",
        "sequence",
    ] {
        ensure!(text.contains(line), "no {line:?} in\n{text}");
    }
    // Another mapping by now, and nobody runs.
    plant.gateway.stop()?;
    let path = plant.gateway.folder().join("mappings/filling.yaml");
    let mapping = std::fs::read_to_string(&path)?.replace("deadband: 0.5", "deadband: 0.25");
    std::fs::write(&path, mapping)?;
    let text = explain(&plant, &["--without-kafka"])?;
    ensure!(text.contains("the mapping is another now"), "{text}");
    let output = plant.gateway.command(&["explain", "ffffffff-none"])?.output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && told.contains("no event whose id begins with ffffffff-none"),
        "{told}"
    );
    Ok(())
}
