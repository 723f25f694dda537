//! A server that has not all of the nodes that are asked of it.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Gateway, Kafka, OpcUaOptions, OpcUaPeer, Patience, Reader, Record};
use serde_json::Value;

use crate::outage::{TIMES, WITHIN, holds};
use crate::plant::{NO_SECURITY, settings, topic, unique_site};

const NODES: u32 = 1_000;
/// How many of the tags have no node: each twentieth.
const MISSING: usize = 50;

/// `BadNodeIdUnknown`.
const UNKNOWN: &str = "0x80340000";

fn is_missing(number: u32) -> bool {
    number.is_multiple_of(20)
}

fn node(number: u32) -> String {
    format!("N{number}")
}

/// The mapping of so many machines, each with a node.
fn hall(site: &str, count: u32) -> String {
    let instances: Vec<String> = (0..count).map(|number| format!("{{n: {number}}}")).collect();
    format!(
        "mapping: hall\nfor_each: [{}]\nsource: plc\nequipment: acme/{site}/hall/cell/m{{n}}\ntags:\n  \
         value: {{node: \"nsu={};s=N{{n}}\", unit: CEL}}\nevents:\n  - {{type: MeasurementRecorded, trigger: value}}\n",
        instances.join(", "),
        OpcUaPeer::NAMESPACE
    )
}

/// A gateway that is to read all of the nodes.
fn gateway(site: &str, bootstrap: &str, url: &str) -> Result<Gateway> {
    let source = format!(
        "adapter: opcua\n    endpoint: {url}\n    {NO_SECURITY}\n    {TIMES}\n    retry_refused_nodes: 1s\n    reconnect_limit: 1s"
    );
    let mapping = hall(site, NODES);
    Gateway::new(&settings(site, bootstrap, &source), &[("hall.yaml", &mapping)])
}

/// What records tell, by the number of their machine; each has one.
fn told(records: &[Record]) -> Result<BTreeMap<u32, Value>> {
    let mut told = BTreeMap::new();
    for record in records {
        let key = record.key.as_deref().context("a key")?;
        let number = key.rsplit("/m").next().and_then(|number| number.parse().ok());
        let number = number.with_context(|| format!("no number in {key}"))?;
        let mut data = record.json()?;
        data["emission"] = record.header("ce_emission")?.into();
        ensure!(told.insert(number, data).is_none(), "{key} twice");
    }
    Ok(told)
}

/// The events after the first `before`, of which there are so many.
fn next(reader: &mut Reader, before: usize, count: usize) -> Result<BTreeMap<u32, Value>> {
    told(&reader.at_least(before + count, Patience::Long)?[before..])
}

/// The tags that `floorgate tags` shows as bad, with their status.
fn bad_tags(gateway: &Gateway) -> Result<BTreeMap<String, String>> {
    let output = gateway.command(&["tags", "--json"])?.output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{errors}");
    let mut bad = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let tag: Value = serde_json::from_str(line)?;
        if tag["quality"] == "bad" {
            let text = |of: &str| tag[of].as_str().map(str::to_owned).context("a text");
            bad.insert(text("tag")?, text("status")?);
        }
    }
    Ok(bad)
}

#[test]
fn of_a_thousand_nodes_of_which_fifty_are_not_there_the_others_flow() -> Result<()> {
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    let (missing, there): (Vec<u32>, Vec<u32>) = (0..NODES).partition(|number| is_missing(*number));
    assert_eq!(missing.len(), MISSING);
    for number in &there {
        plc.add(&node(*number), "Double", f64::from(*number))?;
    }
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let mut gateway = gateway(&site, &bootstrap, &plc.url())?;
    let mut reader = Reader::new(&bootstrap, &topic(&site, "measurement"))?;
    gateway.start()?;

    let first = next(&mut reader, 0, NODES as usize)?;
    for (number, data) in &first {
        let told = (
            &data["value"],
            &data["quality"]["class"],
            &data["quality"]["statusCode"],
        );
        if is_missing(*number) {
            let status: Value = UNKNOWN.into();
            assert_eq!(told, (&Value::Null, &"bad".into(), &status), "{number}: {data}");
        } else {
            assert_eq!((told.0, told.1), (&f64::from(*number).into(), &"good".into()));
        }
    }
    // By name, where an operator looks; the log has the first of them.
    let bad = bad_tags(&gateway)?;
    let status = UNKNOWN.to_owned();
    let named = missing
        .iter()
        .map(|number| (format!("hall/{number}/value"), status.clone()));
    assert_eq!(bad, named.collect());
    let log = gateway.output()?;
    assert!(
        log.contains("hall/0/value") && log.contains("the server refuses 30 more tags"),
        "{log}"
    );
    let failed = "floorgate_source_failed_tags{source=\"plc\"}";
    gateway.wait_for_metric(failed, 50.0..=50.0, Patience::Short)?;
    let output = gateway.command(&["sources"])?.output()?;
    let table = String::from_utf8(output.stdout)?;
    ensure!(
        table.contains("50 failed")
            && table.contains("refused tags are tried again ")
            && table.contains(" (see opcua-node-refused)"),
        "{table}"
    );

    // The others flow.
    let values: Vec<(String, Value)> = there
        .iter()
        .map(|number| (node(*number), (f64::from(*number) + 0.5).into()))
        .collect();
    let by_name = values.iter().map(|(node, value)| (&**node, value.clone()));
    plc.set_all(&by_name.collect::<Vec<_>>())?;
    let then = next(&mut reader, NODES as usize, there.len())?;
    assert!(then.keys().eq(&there), "{:?}", then.keys());
    for (number, data) in &then {
        assert_eq!(data["value"], f64::from(*number) + 0.5, "{data}");
        assert!(data["gap"].is_null(), "{data}");
    }

    // The program that has the rest is loaded.
    for number in &missing {
        plc.add(&node(*number), "Double", 7.5)?;
    }
    let ended = Instant::now();
    gateway.wait_for_metric(failed, 0.0..=0.0, Patience::Long)?;
    let took = ended.elapsed();
    eprintln!("all are back after {took:.2?}");
    assert!(took < WITHIN, "it took {took:?}");
    let last = next(&mut reader, NODES as usize + there.len(), MISSING)?;
    assert!(last.keys().eq(&missing), "{:?}", last.keys());
    for data in last.values() {
        assert_eq!(
            (&data["value"], &data["emission"]),
            (&7.5.into(), &"initial".into()),
            "{data}"
        );
    }
    assert_eq!(bad_tags(&gateway)?, BTreeMap::new());
    holds(&mut plc, 1, u64::from(NODES)).map(drop)
}

/// Nodes are named by the URI of their namespace, which a server may come to have while it runs: after a download into its PLC, for one.
#[test]
fn a_namespace_that_comes_later_is_found_where_it_is_subscribed_and_where_it_is_polled() -> Result<()> {
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    let url = plc.url();
    let source = |mode: &str| {
        format!(
            "adapter: opcua\n    endpoint: {url}\n    {NO_SECURITY}\n    {TIMES}\n    retry_refused_nodes: 1s\n    mode: {mode}"
        )
    };
    let sources = format!("{}\n  polled:\n    {}", source("subscribe"), source("poll"));
    let mapping = |name: &str, source: &str| {
        format!(
            "mapping: {name}\nsource: {source}\nequipment: acme/{site}/hall/cell/{name}\ntags:\n  \
             value: {{node: \"nsu=urn:late;s=Level\", unit: CEL}}\nevents:\n  - {{type: MeasurementRecorded, trigger: value}}\n"
        )
    };
    let mappings = [
        ("a.yaml", mapping("heard", "plc")),
        ("b.yaml", mapping("read", "polled")),
    ];
    let mappings = mappings.each_ref().map(|(file, text)| (*file, &**text));
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &sources), &mappings)?;
    let mut reader = Reader::new(&bootstrap, &topic(&site, "measurement"))?;
    gateway.start()?;
    for source in ["plc", "polled"] {
        let failed = format!("floorgate_source_failed_tags{{source=\"{source}\"}}");
        gateway.wait_for_metric(&failed, 1.0..=1.0, Patience::Short)?;
    }
    let log = gateway.output()?;
    assert_eq!(
        log.matches("the server has no namespace `urn:late`").count(),
        2,
        "{log}"
    );
    plc.add_elsewhere("urn:late", "Level", 41)?;
    let values = reader.at_least(4, Patience::Long)?;
    let values: Vec<Value> = values
        .iter()
        .map(|record| Ok(record.json()?["value"].take()))
        .collect::<Result<_>>()?;
    let late = values.iter().filter(|value| **value == 41).count();
    assert_eq!(late, 2, "{values:?}");
    Ok(())
}

/// The first request is too large, and the tag whose node is not even asked for is told all the same.
#[test]
fn a_missing_namespace_is_told_beside_a_request_that_was_too_large() -> Result<()> {
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    for number in 0..20 {
        plc.add(&node(number), "Double", f64::from(number))?;
    }
    plc.limit_requests(10)?;
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    {NO_SECURITY}\n    mode: poll",
        plc.url()
    );
    let mapping = hall(&site, 20);
    let missing = format!(
        "mapping: absent\nsource: plc\nequipment: acme/{site}/hall/cell/absent\ntags:\n  \
         value: {{node: \"nsu=urn:absent;s=Level\", unit: CEL}}\nevents:\n  - {{type: MeasurementRecorded, trigger: value}}\n"
    );
    let mappings = [("absent.yaml", &*missing), ("hall.yaml", &*mapping)];
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &mappings)?;
    let mut reader = Reader::new(&bootstrap, &topic(&site, "measurement"))?;
    gateway.start()?;
    let records = reader.at_least(21, Patience::Long)?;
    let good = |record: &Record| record.json().is_ok_and(|data| data["quality"]["class"] == "good");
    assert_eq!(records.iter().filter(|record| good(record)).count(), 20);
    let bad = BTreeMap::from([("absent/value".to_owned(), UNKNOWN.to_owned())]);
    assert_eq!(bad_tags(&gateway)?, bad);
    Ok(())
}

/// A server that refuses the whole of a request for one of its nodes: that one is found, and costs neither the others nor the connection.
#[test]
fn a_node_over_which_a_server_refuses_the_whole_of_a_poll_is_found_and_the_others_flow() -> Result<()> {
    /// `BadInternalError`.
    const INTERNAL: &str = "0x80020000";
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    for number in 0..20 {
        plc.add(&node(number), "Double", f64::from(number))?;
    }
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    {NO_SECURITY}\n    mode: poll\n    poll_interval: 50ms\n    retry_refused_nodes: 1s",
        plc.url()
    );
    let mapping = hall(&site, 20);
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("hall.yaml", &mapping)])?;
    let mut reader = Reader::new(&bootstrap, &topic(&site, "measurement"))?;
    gateway.start()?;
    next(&mut reader, 0, 20)?;
    plc.fail_reads(Some("N7"))?;
    assert_eq!(next(&mut reader, 20, 1)?[&7]["quality"]["statusCode"], INTERNAL);
    let bad = BTreeMap::from([("hall/7/value".to_owned(), INTERNAL.to_owned())]);
    assert_eq!(bad_tags(&gateway)?, bad);
    // The others are read on.
    plc.set("N8", 80.5)?;
    assert_eq!(next(&mut reader, 21, 1)?[&8]["value"], 80.5);
    let log = gateway.output()?;
    assert!(!log.contains("the source is offline"), "{log}");

    plc.fail_reads(None)?;
    let back = next(&mut reader, 22, 1)?;
    assert_eq!(
        (&back[&7]["value"], &back[&7]["gap"]),
        (&7.0.into(), &true.into()),
        "nobody saw what it was meanwhile: {back:?}"
    );
    Ok(())
}
