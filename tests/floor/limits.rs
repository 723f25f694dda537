//! A server that takes few nodes in one request, and says so: no request of the gateway's has more. It is slow as well, which is shown. And one that has no
//! room for all items or subscriptions: what has none is bad, by name, and is tried again now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
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
    with_capabilities(&json!({"operationLimits": limits}))
}

/// The same with these capabilities.
fn with_capabilities(capabilities: &Value) -> Result<NodePeer> {
    let mut plc = NodePeer::with(None, json!({"serverCapabilities": capabilities}))?;
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

/// Refused tags are tried again so often.
const RETRY: Duration = Duration::from_secs(1);

/// The tags that `floorgate tags` shows as not good, with their status, in the order of their names.
fn not_good(gateway: &Gateway) -> Result<Vec<(String, String)>> {
    let output = gateway.command(&["tags", "--json"])?.output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut tags = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let tag: Value = serde_json::from_str(line)?;
        let text = |of: &str| {
            tag[of]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {of}: {tag}"))
        };
        if tag["quality"] != "good" {
            tags.insert(text("tag")?, text("status")?);
        }
    }
    Ok(tags.into_iter().collect())
}

/// A server has room for so many tags alone: the others are bad for this reason until it has more.
fn the_others_flow(
    mut plc: NodePeer,
    placed: usize,
    special: &str,
    status: &str,
    room: &Value,
) -> Result<()> {
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    {NO_SECURITY}\n    publishing_interval: 50ms\n    sampling_interval: 10ms\n    \
         retry_refused_nodes: 1s{special}",
        plc.url()
    );
    let mapping = MAPPING.replace("{site}", &site);
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("hall.yaml", &mapping)])?;
    let mut reader = Reader::new(&bootstrap, &topic(&site, "measurement"))?;
    gateway.start()?;
    let all = NODES as usize;
    reader.at_least(all, Patience::Long)?;
    let expected: Vec<(String, String)> = (placed..all)
        .map(|number| (format!("hall/{number}/value"), status.to_owned()))
        .collect();
    let seen = not_good(&gateway)?;
    assert_eq!(seen, expected, "{}", gateway.output()?);

    // It is tried again, and no more often than was said.
    let attempts = |plc: &mut NodePeer, more: u64| -> Result<()> {
        let before = plc.requests("CreateSubscriptionRequest")?;
        until("attempts", Patience::Long, || {
            Ok((plc.requests("CreateSubscriptionRequest")? >= before + more).then_some(()))
        })
    };
    attempts(&mut plc, 1)?;
    let (begun, before) = (Instant::now(), plc.requests("CreateMonitoredItemsRequest")?);
    attempts(&mut plc, 2)?;
    assert!(begun.elapsed() > RETRY * 3 / 2, "{:?}", begun.elapsed());
    let asked = plc.requests("CreateMonitoredItemsRequest")? - before;
    // Two for each of the three that may be among them: for all, and for one alone.
    assert!(asked <= 6, "{asked} requests");
    assert_eq!(plc.counts()?.items, placed as u64);
    // Those that have room are told, and nothing more of the others.
    plc.set("N0", 25.5)?;
    plc.set(&format!("N{}", all - 1), 25.5)?;
    let told = &reader.at_least(all + 1, Patience::Long)?[all..];
    assert_eq!(told[0].json()?["value"], 25.5);
    assert_eq!(told.len(), 1);

    plc.set_capabilities(room)?;
    let told = &reader.at_least(all + 1 + all - placed, Patience::Long)?[all + 1..];
    for record in told {
        let data = record.json()?;
        assert_eq!(data["quality"]["class"], "good", "{data}");
    }
    assert_eq!(not_good(&gateway)?, []);
    assert_eq!(plc.counts()?.items, u64::from(NODES));
    Ok(())
}

const TOO_MANY_ITEMS: &str = "0x80DB0000";
const TOO_MANY_SUBSCRIPTIONS: &str = "0x80770000";

#[test]
fn what_a_server_has_no_room_for_is_bad_by_name_and_the_others_flow() -> Result<()> {
    let plc = with_capabilities(&json!({"maxMonitoredItems": 5}))?;
    the_others_flow(plc, 5, "", TOO_MANY_ITEMS, &json!({"maxMonitoredItems": 100}))
}

#[test]
fn a_server_that_refuses_a_request_as_a_whole_is_filled_as_far_as_it_goes() -> Result<()> {
    let mut plc = with_capabilities(&json!({"maxMonitoredItems": 5}))?;
    plc.refuse_whole()?;
    the_others_flow(plc, 5, "", TOO_MANY_ITEMS, &json!({"maxMonitoredItems": 100}))
}

#[test]
fn a_server_that_takes_one_subscription_is_filled_as_far_as_it_goes() -> Result<()> {
    let plc = with_capabilities(&json!({"maxSubscriptions": 1}))?;
    let special = "\n    items_per_subscription: 3";
    the_others_flow(
        plc,
        3,
        special,
        TOO_MANY_SUBSCRIPTIONS,
        &json!({"maxSubscriptions": 3}),
    )
}
