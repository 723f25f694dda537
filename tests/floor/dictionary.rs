//! Structures of a server that has a type dictionary in place of definitions, as those before OPC UA 1.04 have.

use anyhow::Result;
use floorgate_tests::{Gateway, Kafka, OpcUaOptions, OpcUaPeer, Patience, Reader};
use serde_json::{Value, json};

use crate::plant::{NO_SECURITY, settings, topic, unique_site};

const MAPPING: &str = r#"
tags:
  batch: {node: "nsu=urn:floorgate:test:plant;s=Batch"}
  id: {node: "nsu=urn:floorgate:test:plant;s=Batch", field: Id}
  seconds: {node: "nsu=urn:floorgate:test:plant;s=Batch", field: Main.Seconds}
  second: {node: "nsu=urn:floorgate:test:plant;s=Batch", field: "Steps[1].Seconds"}
events:
  - {type: BatchSeen, trigger: id, data: {batch: batch, seconds: seconds, second: second}}
"#;

#[test]
fn structures_of_a_type_dictionary_become_events() -> Result<()> {
    let bootstrap = Kafka::shared()?.bootstrap();
    let site = unique_site();
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    let one = json!({
        "Id": "B-1", "Title": "Lemonade", "Main": {"Name": "mix", "Seconds": 1.5},
        "Steps": [{"Name": "fill", "Seconds": 2.5}, {"Name": "cap", "Seconds": 0.25}], "Speeds": [1.0, 2.5], "Done": false,
    });
    let two = json!({
        "Id": "B-2", "Title": "Limonäde", "Main": {"Name": "", "Seconds": -1.0},
        "Steps": [{"Name": "a", "Seconds": 1.0}, {"Name": "b", "Seconds": 8.0}, {"Name": "c", "Seconds": 3.0}], "Speeds": [], "Done": true,
    });
    plc.add_batch(&one)?;
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    {NO_SECURITY}\n    publishing_interval: 10ms\n    sampling_interval: 0ms",
        plc.url()
    );
    let mapping = format!("mapping: cell\nsource: plc\nequipment: acme/{site}/mixing/cell{MAPPING}");
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("cell.yaml", &mapping)])?;
    let mut reader = Reader::new(&bootstrap, &topic(&site, "batch-seen"))?;
    gateway.start()?;
    let seen = |reader: &mut Reader, count: usize| -> Result<Value> {
        let event = reader.at_least(count, Patience::Long)?[count - 1].json()?;
        Ok(json!([event["batch"], event["seconds"], event["second"]]))
    };
    assert_eq!(seen(&mut reader, 1)?, json!([one, 1.5, 0.25]));
    plc.set_batch(&two)?;
    assert_eq!(seen(&mut reader, 2)?, json!([two, -1.0, 8.0]));
    Ok(())
}
