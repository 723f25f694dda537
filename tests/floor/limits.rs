//! A server that takes few nodes in one request, and says so: no request of the gateway's has more. It is slow as well, which is shown.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use floorgate_tests::{Gateway, Kafka, NodePeer, OpcUaServer, Patience, Reader, Record, until};
use serde_json::{Value, json};

use crate::plant::{NO_SECURITY, settings, topic, unique_site};

const NODES: u32 = 7;
const MAPPING: &str = r#"
mapping: hall
for_each: [{n: 0}, {n: 1}, {n: 2}, {n: 3}, {n: 4}, {n: 5}, {n: 6}]
source: plc
equipment: acme/{site}/hall/cell/m{n}
tags:
  value: {node: "nsu=urn:floorgate:test:plant;s=N{n}", unit: CEL}
events:
  - {type: MeasurementRecorded, trigger: value}
"#;

/// A server with as many nodes as the mapping has, and with these limits.
fn server(limits: &Value) -> Result<NodePeer> {
    let mut plc = NodePeer::with(None, json!({"serverCapabilities": {"operationLimits": limits}}))?;
    for number in 0..NODES {
        plc.add(&format!("N{number}"), "Double", 20.5)?;
    }
    Ok(plc)
}

#[test]
fn no_request_has_more_nodes_than_the_server_takes() -> Result<()> {
    let mut plc = server(&json!({"maxMonitoredItemsPerCall": 3, "maxNodesPerHistoryReadData": 2}))?;
    for number in 0..NODES {
        plc.keep_history(&format!("N{number}"))?;
    }
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    {NO_SECURITY}\n    publishing_interval: 10ms\n    sampling_interval: 10ms\n    \
         session_timeout: 1s\n    keep_alive: 500ms\n    backfill: 1h",
        plc.url()
    );
    let mapping = MAPPING.replace("{site}", &site);
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("hall.yaml", &mapping)])?;
    let mut reader = Reader::new(&bootstrap, &topic(&site, "measurement"))?;
    gateway.start()?;
    reader.at_least(7, Patience::Long)?;
    assert_eq!(plc.largest("CreateMonitoredItemsRequest")?, 3);
    // What it gives less of than it was asked for is shown.
    let table = gateway.command(&["sources"])?.output()?.stdout;
    let table = String::from_utf8_lossy(&table).into_owned();
    let told = "slowest publishing 50 ms, the settings say 10 ms; slowest sampling 50 ms, the settings say 10 ms (see opcua-intervals-revised)";
    assert!(table.contains(told), "{table}");
    for number in 0..NODES {
        plc.set(&format!("N{number}"), 25.5)?;
    }
    reader.at_least(14, Patience::Long)?;

    gateway.kill()?;
    until("the end of the subscription", Patience::Long, || {
        Ok((plc.counts()?.subscriptions == 0).then_some(()))
    })?;
    for number in 0..NODES {
        plc.set(&format!("N{number}"), 30.5)?;
    }
    gateway.start()?;
    let told = &reader.at_least(21, Patience::Long)?[14..];
    let from_history = |record: &Record| -> Result<String> {
        let (data, emission) = (record.json()?, record.header("ce_emission")?.to_owned());
        assert_eq!((&data["value"], &*emission), (&json!(30.5), "backfill"), "{data}");
        record.key.clone().context("a key")
    };
    let keys: BTreeSet<String> = told.iter().map(from_history).collect::<Result<_>>()?;
    assert_eq!(keys.len(), 7, "{keys:?}");
    assert_eq!(plc.largest("HistoryReadRequest")?, 2);
    Ok(())
}

#[test]
fn no_request_reads_or_browses_more_nodes_than_the_server_takes() -> Result<()> {
    let mut plc = server(&json!({"maxNodesPerRead": 5, "maxNodesPerBrowse": 4}))?;
    plc.set_order("Recipe", "R-1", &[1.5])?;
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    {NO_SECURITY}\n    mode: poll\n    poll_interval: 50ms",
        plc.url()
    );
    // A structure, so that the server is asked for its types as well.
    let mapping = MAPPING.replace("{site}", &site).replace(
        "events:\n",
        "  recipe: {node: \"nsu=urn:floorgate:test:plant;s=Recipe\", field: JobOrderID}\nevents:\n  - {type: RecipeChanged, trigger: recipe}\n",
    );
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("hall.yaml", &mapping)])?;
    let mut values = Reader::new(&bootstrap, &topic(&site, "measurement"))?;
    let mut recipes = Reader::new(&bootstrap, &topic(&site, "recipe"))?;
    gateway.start()?;
    values.at_least(7, Patience::Long)?;
    recipes.at_least(7, Patience::Long)?;
    for number in 0..NODES {
        plc.set(&format!("N{number}"), 25.5)?;
    }
    values.at_least(14, Patience::Long)?;
    assert_eq!(plc.largest("ReadRequest")?, 5);
    assert!(plc.largest("BrowseRequest")? <= 4, "for types");
    gateway.kill()?;

    let found = gateway
        .command(&["browse", "--source", "plc", "--path", "Objects", "--json"])?
        .output()?;
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(found.status.success(), "{said}");
    let found = String::from_utf8(found.stdout)?;
    for number in 0..NODES {
        assert!(found.contains(&format!(";s=N{number}\"")), "N{number} in {found}");
    }
    assert_eq!(
        (plc.largest("ReadRequest")?, plc.largest("BrowseRequest")?),
        (5, 4)
    );
    Ok(())
}
