//! What brokers do to what they are sent: lose the answer, hand a partition over, refuse a topic or a record, take their time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Folder, Kafka, Patience, Proxy, Reader, Record, until};
use serde_json::json;

use crate::counting::{COUNTER, compare, known, published, read_to, told, written};
use crate::kill_loop::kills;
use crate::operator::ask;
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

/// One event that the broker never takes, and one that cannot even be made a record: both are kept, their stubs have their places, and what is
/// around them comes. Sent again by order, the one comes once, and the other is set aside again.
#[test]
fn what_cannot_be_published_leaves_a_stub_and_comes_once_when_it_is_sent_again() -> Result<()> {
    const ORDERS: i64 = 20;
    const LARGE: i64 = 10;
    const BROKEN: i64 = 5;
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let orders = topic(plant.site(), "work-order");
    kafka.create_topic(&orders, 1)?;
    // All of them wait, until the gateway is down and something is done to the store.
    kafka.set_topic(&orders, "cleanup.policy", "compact")?;
    plant.gateway.start()?;
    known(&plant)?;
    // The name stands four times in an event, and twice in the stub that takes its place.
    let name = |number: i64| match number {
        LARGE => "X".repeat(5_000),
        number => format!("WO-{number}"),
    };
    for number in 1..=ORDERS {
        let status = json!(3 + number % 2);
        let order = json!(name(number));
        plant
            .plc
            .set_all(&[("Line1.WorkOrderId", order), ("Line1.Status", status)])?;
    }
    let stored = "floorgate_events_total{type=\"WorkOrderStatusChanged\"}";
    let all = 2.0 + f64::from(i32::try_from(ORDERS)?);
    plant
        .gateway
        .wait_for_metric(stored, all..=all, Patience::Short)?;
    plant.gateway.kill()?;
    let changed = rusqlite::Connection::open(plant.gateway.state().join("outbox.db"))?.execute(
        "UPDATE event SET headers = headers || 'no header' WHERE instr(CAST(value AS TEXT), ?1)",
        [format!("\"{}\"", name(BROKEN))],
    )?;
    assert_eq!(changed, 1);
    // The policy is the broker's again.
    kafka.set_topic(&orders, "max.message.bytes", "16000")?;
    plant.gateway.start()?;

    let told = |record: &Record| -> Option<String> {
        let data = record.json().ok()?;
        Some(data["workOrderId"].as_str()?.to_owned())
    };
    let has = |number: i64| move |record: &Record| told(record) == Some(name(number));
    let mut reader = plant.reader("work-order")?;
    // What follows a record that is refused can be on the log before its stub, and comes again behind it.
    let records = reader.until("the last order", Patience::Long, |records| {
        Delivery::of(records).is_ok_and(|delivery| delivery.accepted.iter().any(|record| has(ORDERS)(record)))
    })?;
    let delivery = Delivery::of(records)?;
    assert_eq!(delivery.repeated, 0);
    let of_line: Vec<&Record> = delivery
        .accepted
        .iter()
        .filter(|record| record.key.as_ref().is_some_and(|key| key.contains("line1")))
        .collect();
    let mut stubs = Vec::new();
    for (number, record) in (0..=ORDERS).zip(&of_line) {
        if [LARGE, BROKEN].contains(&number) {
            let reason = record.header("floorgate_dead_letter")?;
            let word = if number == LARGE { "too large" } else { "no header" };
            ensure!(
                reason.contains(word) && record.value.is_empty(),
                "{number}: {record:?}"
            );
            stubs.push(record.header("ce_id")?.to_owned());
        } else {
            let expected = if number == 0 { 1 } else { number };
            assert_eq!(told(record), Some(name(expected)));
        }
    }
    assert_eq!(of_line.len(), 21);
    let letters = |plant: &Plant| ask(&plant.gateway, &["dlq", "list", "--json"])?.rows();
    let set_aside = letters(&plant)?;
    assert_eq!(set_aside.len(), 2, "{set_aside:?}");

    // Now it is taken, and a process that dies right then changes nothing of that.
    kafka.set_topic(&orders, "max.message.bytes", "1048588")?;
    for letter in &set_aside {
        ask(&plant.gateway, &["dlq", "replay", &letter["number"].to_string()])?;
    }
    plant.gateway.kill()?;
    plant.gateway.start()?;
    let replayed = |records: &[Record]| -> Vec<(String, bool)> {
        let again = records
            .iter()
            .filter(|record| record.has_header("floorgate_replayed"));
        again
            .filter_map(|record| {
                let id = record.header("ce_id").ok()?;
                Some((id.to_owned(), record.has_header("floorgate_dead_letter")))
            })
            .collect()
    };
    let id = |number: usize| stubs[number].clone();
    let expected = [(id(0), true), (id(1), false)];
    reader.until("both again", Patience::Long, |records| {
        replayed(records).len() >= 2
    })?;
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Long)?;
    let mut again = replayed(reader.to_end()?);
    again.sort_by_key(|(_, is_stub)| !is_stub);
    assert_eq!(again, expected);
    assert_eq!(letters(&plant)?.len(), 1, "{:?}", letters(&plant)?);
    Ok(())
}
