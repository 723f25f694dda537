//! Servers of others that give the subscriptions of a gateway that is gone over to the next one: what was counted meanwhile is told, each once and in order.

use anyhow::{Result, ensure};
use floorgate_tests::{Delivery, Gateway, Kafka, NodePeer, OpcUaServer, Patience, Reader, until};
use serde_json::{Value, json};

use crate::counting::{compare, read_to};
use crate::milo::{COUNTING, Cell};
use crate::outage::holds;
use crate::plant::{settings, topic, unique_site};

/// Has a server count from one number to another.
type Count<'a, S> = &'a dyn Fn(&mut S, u32, u32) -> Result<()>;

/// A gateway is stopped, and one is killed, while its server counts on: nothing is missed.
fn goes_on<S: OpcUaServer>(
    server: &mut S,
    gateway: &mut Gateway,
    counts: &mut Reader,
    items: u64,
    count: Count<'_, S>,
) -> Result<()> {
    count(server, 1, 50)?;
    read_to(counts, 50)?;
    let (status, _) = gateway.stop()?;
    ensure!(status.success(), "{status}");
    count(server, 51, 150)?;
    gateway.start()?;
    read_to(counts, 150)?;
    count(server, 151, 200)?;
    read_to(counts, 200)?;
    gateway.kill()?;
    count(server, 201, 300)?;
    gateway.start()?;
    read_to(counts, 300)?;
    count(server, 301, 350)?;
    let delivery = Delivery::of(read_to(counts, 350)?)?;
    assert_eq!(compare(&delivery.accepted, &(1..=350))?, 0);
    let made = gateway.output()?.matches("made a subscription").count();
    assert_eq!(made, 1, "{}", gateway.output()?);
    holds(server, 1, items).map(drop)
}

#[test]
fn a_server_of_milo_gives_a_subscription_over() -> Result<()> {
    let login = "\n    login: {user: line-gateway, password_file: plc.password}\n    queue_size: 5000";
    let mut cell = Cell::counting(Some(("line-gateway", "s3cret")), login)?;
    let mut counts = cell.reader("production-count")?;
    goes_on(
        &mut cell.plc,
        &mut cell.gateway,
        &mut counts,
        2,
        &|plc, first, last| {
            plc.count_up("Good", first, last, 2)?;
            until("the last number", Patience::Long, || {
                Ok((plc.progress("Good")? == u64::from(last)).then_some(()))
            })
        },
    )
}

#[test]
fn a_server_of_node_opcua_gives_a_subscription_over() -> Result<()> {
    let mut plc = NodePeer::with(None, json!({"serverCapabilities": {"minSupportedSampleRate": 0}}))?;
    plc.add_unsampled("Good", "UInt32", 0)?;
    plc.add_unsampled("Mode", "Int32", 1)?;
    let (site, bootstrap) = (unique_site(), Kafka::shared()?.bootstrap());
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    trust_any_server_certificate: true\n    publishing_interval: 50ms\n    \
         sampling_interval: 0ms\n    queue_size: 5000\n    session_timeout: 8s\n    reconnect_limit: 1s",
        plc.url()
    );
    let mapping = format!("mapping: cell\nsource: plc\nequipment: acme/{site}/node/cell{COUNTING}");
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("cell.yaml", &mapping)])?;
    let mut counts = Reader::new(&bootstrap, &topic(&site, "production-count"))?;
    gateway.start()?;
    Reader::new(&bootstrap, &topic(&site, "mode-seen"))?.at_least(1, Patience::Long)?;
    goes_on(&mut plc, &mut gateway, &mut counts, 2, &|plc, first, last| {
        let numbers: Vec<Value> = (first..=last).map(Value::from).collect();
        plc.set_all("Good", &numbers)
    })
}
