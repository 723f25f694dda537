//! What dies in between: the gateway, the broker, the PLC. Nothing that was taken in is lost, nothing is told twice, and
//! where something may have been missed it is said.

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Kafka, OpcUaServer, Patience, Reader, Record, until};
use serde_json::json;

use crate::counting::{COUNTER, compare, known, read_to, told, written};
use crate::plant::{Plant, topic};

#[test]
fn a_killed_gateway_loses_nothing() -> Result<()> {
    const LAST: i64 = 1_500;
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    plant.plc.count_up(COUNTER, 1, LAST, 4)?;
    for kill_at in [200, 700] {
        // The events around the kill are in every stage between the PLC and the broker.
        written(&mut plant, kill_at)?;
        plant.gateway.kill()?;
        plant.gateway.start()?;
    }
    let records = read_to(&mut reader, LAST)?;
    let delivery = Delivery::of(records)?;
    let gaps = compare(&delivery.accepted, &(1..=LAST))?;
    assert!(gaps <= 2, "{gaps} gaps of two kills");
    // What the earlier process sent was looked for on the log.
    let doubtful = |record: &Record| record.has_header("floorgate_possible_duplicate");
    assert!(!records.iter().any(doubtful));
    Ok(())
}

/// How long the broker is away: two seconds, or what the environment says (`AWAY_SECONDS`).
fn away() -> Result<i64> {
    match std::env::var("AWAY_SECONDS") {
        Ok(seconds) => seconds.parse().context("AWAY_SECONDS is no number"),
        Err(_) => Ok(2),
    }
}

#[test]
fn a_broker_that_is_away_for_a_while_gets_everything_later() -> Result<()> {
    let away = away()?;
    // Of an hour fewer changes a second, so that all of its records have room in this process.
    let interval_ms: u32 = if away > 60 { 40 } else { 4 };
    let back = 100 + away * 1_000 / i64::from(interval_ms);
    let last = back + 900;
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    plant.plc.count_up(COUNTER, 1, last, interval_ms)?;
    written(&mut plant, 100)?;
    kafka.stop()?;
    for number in (100..back).step_by(250).chain([back]) {
        written(&mut plant, number)?;
    }
    let depth = "floorgate_outbox_depth";
    plant.gateway.wait_for_metric(depth, 100.0.., Patience::Short)?;
    assert_eq!(
        plant.gateway.get("/readyz")?.status,
        200,
        "the outbox takes events in without a broker"
    );
    kafka.resume()?;
    written(&mut plant, back + 400)?;
    kafka.kill()?;
    written(&mut plant, last)?;
    kafka.resume()?;
    let delivery = Delivery::of(read_to(&mut reader, last)?)?;
    assert_eq!(
        compare(&delivery.accepted, &(1..=last))?,
        0,
        "the floor was never out of sight"
    );
    plant.gateway.wait_for_metric(depth, 0.0..=0.0, Patience::Long)
}

#[test]
fn what_a_broker_refuses_for_good_is_set_aside_and_what_follows_comes_in_order() -> Result<()> {
    const LAST: i64 = 300;
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let dead_letters = topic(plant.site(), "dead-letters");
    let settings = plant.settings()?;
    plant.gateway.write(
        "floorgate.yaml",
        &settings.replace("topics: {", &format!("topics: {{dead_letters: {dead_letters}, ")),
    )?;
    // No record of these is small enough, not even the stub: the lane is held.
    let topic = topic(plant.site(), "production-count");
    kafka.create_topic(&topic, 3)?;
    kafka.set_topic(&topic, "max.message.bytes", "200")?;
    plant.gateway.start()?;
    // The other topics are not held up.
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, LAST, 4)?;
    until("a held lane in /readyz", Patience::Long, || {
        let page = plant.gateway.get("/readyz")?.body;
        Ok(page.contains("is held at sequence 1").then_some(()))
    })?;
    written(&mut plant, LAST)?;
    kafka.set_topic(&topic, "max.message.bytes", "1048588")?;
    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut reader, LAST)?)?;
    let (stub, counts) = delivery.accepted.split_first().context("nothing came")?;
    assert_eq!(compare(counts, &(2..=LAST))?, 0);
    assert_eq!(
        (stub.header("floorgate_lane_sequence")?, stub.value.len()),
        ("1", 0)
    );
    assert!(
        stub.header("floorgate_dead_letter")?.contains("too large"),
        "{stub:?}"
    );
    // The event itself is kept, and a copy is where it was asked for.
    let kept = "floorgate_dead_letters";
    plant.gateway.wait_for_metric(kept, 1.0..=1.0, Patience::Short)?;
    let mut reader = Reader::new(&kafka.bootstrap(), &dead_letters)?;
    let copies = reader.at_least(1, Patience::Long)?;
    compare(copies, &(1..=1))?;
    assert_eq!(copies[0].header("floorgate_dead_letter_topic")?, topic);
    assert_eq!(copies[0].header("ce_id")?, stub.header("ce_id")?);
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Long)
}

#[test]
fn what_was_stored_without_a_broker_survives_a_kill() -> Result<()> {
    let mut kafka = Kafka::start()?;
    kafka.stop()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    // Ready, although there has never been a broker.
    plant.gateway.start()?;
    let stored = |name: &str| format!("floorgate_events_total{{type=\"{name}\"}}");
    plant
        .gateway
        .wait_for_metric(&stored("EquipmentStateChanged"), 2.0.., Patience::Long)?;
    plant.plc.set(COUNTER, 1)?;
    plant
        .gateway
        .wait_for_metric(&stored("ProductionCountRecorded"), 1.0.., Patience::Short)?;
    plant.gateway.kill()?;
    plant.plc.count_up(COUNTER, 2, 4, 4)?;
    written(&mut plant, 4)?;
    plant.gateway.spawn()?;
    // From its first answer on it says what waits.
    let waiting = until("an answer", Patience::Long, || {
        Ok(plant.gateway.metric("floorgate_outbox_depth").ok().flatten())
    })?;
    assert!(waiting >= 3.0, "{waiting} wait");
    plant.gateway.wait_ready()?;
    kafka.resume()?;
    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut reader, 4)?)?;
    let gaps = compare(&delivery.accepted, &(1..=4))?;
    assert!(gaps <= 1, "{gaps} gaps of one kill");
    Ok(())
}

#[test]
fn a_restart_tells_only_what_changed_meanwhile() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.set("Line1.State", 6)?;
    plant.reader("equipment-state")?.at_least(3, Patience::Short)?;
    let (status, _) = plant.gateway.stop()?;
    assert!(status.success(), "{status}");
    plant.plc.set("Line2.State", 6)?;
    plant.gateway.start()?;
    let mut reader = plant.reader("equipment-state")?;
    reader.at_least(4, Patience::Long)?;
    // A change of line 1 afterwards, so that an event too many would lie before it.
    plant.plc.set("Line1.State", 11)?;
    let records = reader.until("the last change", Patience::Short, |records| {
        records
            .iter()
            .any(|record| record.json().is_ok_and(|data| data["state"] == "Held"))
    })?;
    let delivery = Delivery::of(records)?;
    let told: Vec<_> = delivery
        .accepted
        .iter()
        .map(|record| {
            let data = record.json()?;
            let line = record.key.clone().unwrap_or_default().contains("line2");
            Ok(json!([line, data["state"], data["previousState"], data["gap"]]))
        })
        .collect::<Result<_>>()?;
    let of_line = |line: bool| {
        told.iter()
            .filter(|event| event[0] == line)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of_line(false),
        [
            json!([false, "Idle", null, null]),
            json!([false, "Execute", "Idle", null]),
            // Between stop and start nobody looked: the state may have changed and changed back.
            json!([false, "Held", "Execute", true])
        ]
    );
    assert_eq!(
        of_line(true),
        [
            json!([true, "Idle", null, null]),
            json!([true, "Execute", "Idle", true])
        ]
    );
    Ok(())
}

/// Messages of a subscription that get lost while the connection stands: they are asked for again, and where the server has them no more, that
/// is a gap.
#[test]
fn a_message_that_does_not_arrive_is_asked_for_again() -> Result<()> {
    const LOSSES: u32 = 5;
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, i64::from(u32::MAX), 4)?;
    for messages in 1..=LOSSES {
        told(&plant.gateway, plant.site(), 20)?;
        let before = plant.plc.republished()?;
        plant.plc.hold_back(messages, false)?;
        until("a message that is asked for", Patience::Long, || {
            let asked = plant.plc.republished()? - before;
            Ok((asked >= u64::from(messages)).then_some(()))
        })?;
    }
    told(&plant.gateway, plant.site(), 20)?;
    assert_eq!(
        plant.plc.counts()?.sessions_ever,
        1,
        "the connection did not stand"
    );
    let last = plant.plc.progress(COUNTER)?.context("nothing was counted")?;
    let mut reader = plant.reader("production-count")?;
    read_to(&mut reader, last)?;
    let whole = reader.records().len();

    plant.plc.hold_back(1, true)?;
    let records = reader.until("a gap", Patience::Long, |records| {
        records[whole..]
            .iter()
            .any(|record| record.json().is_ok_and(|data| data["gap"] == true))
    })?;
    let has_gap = |record: &Record| record.json().map(|data| data["gap"] == true);
    let first = records.iter().position(|record| has_gap(record).unwrap_or(true));
    ensure!(
        first >= Some(whole),
        "record {first:?} says that something is missing"
    );
    let last = plant.plc.stop_counting(COUNTER)?;
    let delivery = Delivery::of(read_to(&mut reader, last)?)?;
    assert_eq!(delivery.repeated, 0, "records came twice");
    assert_eq!(compare(&delivery.accepted, &(1..=last))?, 1);
    Ok(())
}

#[test]
fn a_restarted_plc_comes_back_by_itself() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut sources = plant.reader("source-connection")?;
    let states = |records: &[Record]| -> Vec<String> {
        let state = |record: &Record| Some(record.json().ok()?["state"].as_str()?.to_owned());
        records.iter().filter_map(state).collect()
    };
    sources.until("Online", Patience::Short, |records| states(records) == ["Online"])?;
    plant.plc.kill();
    sources.until("Offline", Patience::Long, |records| {
        states(records) == ["Online", "Offline"]
    })?;
    let up = "floorgate_source_up{source=\"plc\"}";
    assert_eq!(plant.gateway.metric(up)?, Some(0.0));
    let page = plant.gateway.get("/readyz")?;
    assert_eq!(page.status, 200, "a lost source is no reason to be restarted");
    assert!(page.body.contains("source plc: not connected"), "{}", page.body);

    // It comes back with its namespaces in another order: an index that was kept would name another node.
    plant
        .plc
        .options()
        .namespaces_before
        .push("urn:floorgate:test:intruder");
    plant.plc.resume()?;
    sources.until("Online again", Patience::Long, |records| {
        states(records) == ["Online", "Offline", "Online"]
    })?;
    let mut reader = plant.reader("production-count")?;
    until("the lines in sight", Patience::Long, || {
        Ok((plant.plc.monitored_items()? >= 12).then_some(()))
    })?;
    plant.plc.set(COUNTER, 1)?;
    plant.plc.set(COUNTER, 2)?;
    let delivery = Delivery::of(read_to(&mut reader, 2)?)?;
    compare(&delivery.accepted, &(1..=2))?;
    Ok(())
}

#[test]
fn a_connection_that_breaks_costs_nothing() -> Result<()> {
    const LAST: i64 = 600;
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    // Half a second of changes fits into the queue that the server keeps for a session without a connection.
    plant.plc.count_up(COUNTER, 1, LAST, 20)?;
    written(&mut plant, 100)?;
    plant.plc.drop_connections()?;
    let delivery = Delivery::of(read_to(&mut reader, LAST)?)?;
    assert_eq!(
        compare(&delivery.accepted, &(1..=LAST))?,
        0,
        "what was on its way on the broken connection was not asked for again"
    );
    Ok(())
}
