//! What brokers do to what they are sent: lose the answer, hand a partition over, refuse a topic or a record, take their time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Folder, Kafka, Patience, Proxy, Reader, until};

use crate::counting::{COUNTER, compare, known, published, read_to, told, written};
use crate::kill_loop::kills;
use crate::plant::{Plant, topic, unique_site};
use crate::takeover::{by_counter, count, gateway, simulator};

/// Answers that are lost on the way: the broker has the records, the gateway does not know it.
#[test]
fn what_a_broker_took_and_could_not_say_is_on_the_log_once() -> Result<()> {
    const LOSSES: usize = 6;
    let proxy = Proxy::new()?;
    let kafka = Kafka::start_behind(&proxy)?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, i64::from(u32::MAX), 4)?;
    for loss in 0..LOSSES {
        told(&plant.gateway, plant.site(), 20)?;
        proxy.lose_an_answer();
        until("a lost answer", Patience::Long, || {
            Ok((proxy.lost() > loss).then_some(()))
        })?;
        if loss % 2 == 1 {
            // Nor does its successor, before it has looked.
            plant.gateway.kill()?;
            plant.gateway.start()?;
        }
    }
    told(&plant.gateway, plant.site(), 20)?;
    let last = plant.plc.stop_counting(COUNTER)?;
    let mut reader = plant.reader("production-count")?;
    let records = read_to(&mut reader, last)?;
    let delivery = Delivery::of(records)?;
    assert_eq!(delivery.repeated, 0, "records came twice");
    let gaps = compare(&delivery.accepted, &(1..=last))?;
    ensure!(gaps <= LOSSES / 2, "{gaps} gaps of {} kills", LOSSES / 2);
    Ok(())
}

/// A broker that takes a burst after the other in its own time: what it has not taken is in the store, and not in memory.
#[test]
fn a_slow_broker_slows_and_costs_no_memory() -> Result<()> {
    const COUNTERS: usize = 4;
    const RATE: usize = 400;
    const WAITING: f64 = 3_000.0;
    let proxy = Proxy::new()?;
    let kafka = Kafka::start_behind(&proxy)?;
    let folder = Folder::new("plant")?;
    let (_plant, url) = simulator(&folder, COUNTERS, RATE)?;
    let site = unique_site();
    let mut gateway = gateway(&site, &url, &kafka, COUNTERS)?;
    gateway.start()?;
    told(&gateway, &site, 1_000)?;
    let before = gateway.process()?.memory()?;
    proxy.delay_records(Duration::from_secs(5));
    let depth = "floorgate_outbox_depth";
    gateway.wait_for_metric(depth, WAITING.., Patience::Long)?;
    let after = gateway.process()?.memory()?;
    // What is at hand to be sent has its bound (8 MiB), and so has what the client has.
    ensure!(after < before + 30_000_000, "{after} bytes after {before}");
    assert_eq!(gateway.get("/readyz")?.status, 200);
    proxy.delay_records(Duration::ZERO);
    gateway.wait_for_metric(depth, ..100.0, Patience::Long)?;
    gateway.stop()?;
    let mut reader = Reader::new(&kafka.bootstrap(), &topic(&site, "production-count"))?;
    let delivery = Delivery::of(reader.to_end()?)?;
    assert_eq!(delivery.repeated, 0, "records came twice");
    for (key, records) in by_counter(&delivery.accepted) {
        let last = records.last().map_or(0, count);
        assert_eq!(compare(&records, &(count(&records[0])..=last))?, 0, "{key}");
    }
    Ok(())
}

/// The node that leads a partition dies under load, again and again: another one takes its place. Three nodes are much for a small machine: it
/// is for those who ask for kills (`KILLS`).
#[test]
fn a_leader_that_dies_under_load_costs_nothing() -> Result<()> {
    if std::env::var_os("KILLS").is_none() {
        return Ok(());
    }
    let deaths = (kills()? / 25).max(1);
    let mut nodes = Kafka::cluster(3)?;
    let brokers: Vec<String> = nodes.iter().map(Kafka::bootstrap).collect();
    let mut plant = Plant::new(&brokers.join(","))?;
    let settings = plant
        .settings()?
        .replace(&brokers.join(","), &brokers.join("\", \""))
        .replace("replication: 1", "replication: 3");
    plant.gateway.write("floorgate.yaml", &settings)?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, i64::from(u32::MAX), 4)?;
    let counts = topic(plant.site(), "production-count");
    let mut reader = plant.reader("production-count")?;
    let partition = reader.at_least(1, Patience::Long)?[0].partition;
    for _ in 0..deaths {
        let leader = nodes[0].leader(&counts, partition)?.context("nobody leads")?;
        let before = published(&plant.gateway, plant.site()).unwrap_or_default();
        nodes[leader].kill()?;
        // More than were on their way.
        until("counts that another node has", Patience::Long, || {
            let now = published(&plant.gateway, plant.site());
            Ok(now.filter(|now| *now > before + 500.0).map(drop))
        })?;
        nodes[leader].resume()?;
    }
    let last = plant.plc.stop_counting(COUNTER)?;
    let delivery = Delivery::of(read_to(&mut reader, last)?)?;
    assert_eq!(delivery.repeated, 0, "records came twice");
    assert_eq!(compare(&delivery.accepted, &(1..=last))?, 0);
    Ok(())
}

/// A topic whose older records vanish by key is no place for events: they wait until it is one.
#[test]
fn a_compacted_topic_is_refused_and_holds_up_only_itself() -> Result<()> {
    const LAST: i64 = 50;
    const POLICY: &str = "cleanup.policy";
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let counts = topic(plant.site(), "production-count");
    kafka.create_topic(&counts, 3)?;
    kafka.set_topic(&counts, POLICY, "compact")?;
    plant.gateway.start()?;
    // The other topics are made by the gateway, whatever policy the broker gives to those of which nothing is said.
    known(&plant)?;
    let states = topic(plant.site(), "equipment-state");
    assert_eq!(kafka.topic_setting(&states, POLICY)?.as_deref(), Some("delete"));
    plant.plc.count_up(COUNTER, 1, LAST, 4)?;
    let told = format!("topic {counts} has cleanup.policy=compact");
    until("the refused topic in /readyz", Patience::Long, || {
        let page = plant.gateway.get("/readyz")?;
        ensure!(page.status == 200, "its events wait: {}", page.body);
        Ok(page.body.contains(&told).then_some(()))
    })?;
    written(&mut plant, LAST)?;
    let mut reader = plant.reader("production-count")?;
    assert!(reader.to_end()?.is_empty(), "{:?}", reader.records());

    kafka.set_topic(&counts, POLICY, "delete")?;
    let delivery = Delivery::of(read_to(&mut reader, LAST)?)?;
    assert_eq!(compare(&delivery.accepted, &(1..=LAST))?, 0);
    until("a good word in /readyz", Patience::Short, || {
        Ok((!plant.gateway.get("/readyz")?.body.contains(&told)).then_some(()))
    })
}
