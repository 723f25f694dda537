//! Events that no broker takes: kept, with a stub in their place, and sent again by order.

use anyhow::{Result, ensure};
use floorgate_tests::{Delivery, Kafka, Patience, Record};
use serde_json::json;

use crate::counting::known;
use crate::operator::ask;
use crate::plant::{Plant, topic};

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
    let records = reader.until("the last order", Patience::Long, |records| {
        Delivery::of_refused(records)
            .is_ok_and(|delivery| delivery.accepted.iter().any(|record| has(ORDERS)(record)))
    })?;
    let delivery = Delivery::of_refused(records)?;
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
