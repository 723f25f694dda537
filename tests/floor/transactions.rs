//! Publication in transactions: who reads committed records only has each event once without looking at its number.
//! The readers of these tests read committed records, as librdkafka does unless it is told otherwise.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Gateway, Kafka, Patience, Record, until};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

use crate::counting::{COUNTER, compare, known, read_to, written};
use crate::plant::{Plant, topic};

/// How often the gateway is killed.
const KILLS: i64 = 12;
/// The numbers between two kills, at most: one each 4 ms.
const STEP: i64 = 200;

/// Has a gateway publish in transactions.
pub fn use_transactions(gateway: &Gateway) -> Result<()> {
    let settings = std::fs::read_to_string(gateway.config())?;
    let special = "kafka:\n  transactions: true\n  request_timeout: 1s\n";
    gateway
        .write("floorgate.yaml", &settings.replace("kafka:\n", special))
        .map(drop)
}

fn plant(kafka: &Kafka) -> Result<Plant> {
    let plant = Plant::new(&kafka.bootstrap())?;
    use_transactions(&plant.gateway)?;
    Ok(plant)
}

/// Each count once, as they lie on the log; returns the gaps.
fn each_once(records: &[Record], last: i64) -> Result<usize> {
    let delivery = Delivery::of(records)?;
    ensure!(delivery.repeated == 0, "{} came twice", delivery.repeated);
    let marked = |record: &Record| record.has_header("floorgate_possible_duplicate");
    ensure!(!records.iter().any(marked), "sent on suspicion");
    compare(&delivery.accepted, &(1..=last))
}

/// A gateway that dies in the middle of transactions; then one without transactions goes on behind what was left of the last.
#[test]
fn a_gateway_that_is_killed_in_transactions_doubles_nothing_for_who_reads_committed() -> Result<()> {
    let mut random = fastrand::Rng::new();
    let moments: Vec<i64> = (0..KILLS)
        .scan(0, |at, _| {
            *at += random.i64(1..=STEP);
            Some(*at)
        })
        .collect();
    let last = moments.last().copied().unwrap_or_default() + STEP;
    let mut plant = plant(Kafka::shared()?)?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    let published = format!(
        "floorgate_published_total{{topic=\"{}\"}}",
        topic(plant.site(), "production-count")
    );
    // The plant counts on while the gateway comes up, but not so far ahead that it would only ever be killed on its way up.
    let mut next = 1;
    for (kill, moment) in (1..).zip(moments) {
        plant.plc.count_up(COUNTER, next, moment, 4)?;
        next = moment + 1;
        if kill % 3 == 1 {
            plant.gateway.wait_ready()?;
            plant.gateway.wait_for_metric(&published, 1.0.., Patience::Long)?;
        }
        written(&mut plant, moment)?;
        plant.gateway.kill()?;
        if kill == KILLS {
            let settings = plant.settings()?;
            plant.gateway.write(
                "floorgate.yaml",
                &settings.replace("transactions: true", "transactions: false"),
            )?;
        }
        plant.gateway.spawn()?;
    }
    plant.plc.count_up(COUNTER, next, last, 4)?;
    plant.gateway.wait_ready()?;
    let records =
        read_to(&mut reader, last).with_context(|| format!("the kills of seed {}", random.get_seed()))?;
    let gaps = each_once(records, last)?;
    ensure!(gaps <= usize::try_from(KILLS)?, "{gaps} gaps of {KILLS} kills");
    let sent_in_transactions = |record: &&Record| record.has_header("floorgate_transactional");
    let number = records.iter().filter(sent_in_transactions).count();
    ensure!(
        number > 0 && number < records.len(),
        "{number} of {} in transactions",
        records.len()
    );
    Ok(())
}

/// Longer than a transaction may take: the broker takes it back by itself, and everything in it goes out again.
#[test]
fn a_broker_that_is_away_for_longer_than_a_transaction_may_take_gets_each_event_once() -> Result<()> {
    const LAST: i64 = 4_000;
    let mut kafka = Kafka::start()?;
    let mut plant = plant(&kafka)?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    plant.plc.count_up(COUNTER, 1, LAST, 4)?;
    written(&mut plant, 200)?;
    kafka.pause()?;
    written(&mut plant, 3_200)?;
    kafka.go_on()?;
    written(&mut plant, 3_500)?;
    kafka.kill()?;
    kafka.resume()?;
    let gaps = each_once(read_to(&mut reader, LAST)?, LAST)?;
    assert_eq!(gaps, 0, "the floor was never out of sight");
    let (status, _) = plant.gateway.stop()?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

/// A transaction has all topics in it: the one that refuses a record is found, and holds up no other.
#[test]
fn a_topic_that_refuses_records_holds_up_no_other_topics_transactions() -> Result<()> {
    const LAST: i64 = 200;
    let kafka = Kafka::shared()?;
    let mut plant = plant(kafka)?;
    let counts = topic(plant.site(), "production-count");
    kafka.create_topic(&counts, 3)?;
    kafka.set_topic(&counts, "max.message.bytes", "200")?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, LAST, 4)?;
    let set_aside = "floorgate_dead_letters";
    plant
        .gateway
        .wait_for_metric(set_aside, 1.0..=1.0, Patience::Long)?;
    plant.plc.set("Line2.State", 6)?;
    let mut states = plant.reader("equipment-state")?;
    states.until("a state while the counts are held", Patience::Long, |records| {
        let executes = |record: &Record| record.json().is_ok_and(|data| data["state"] == "Execute");
        records.iter().any(executes)
    })?;
    written(&mut plant, LAST)?;
    kafka.set_topic(&counts, "max.message.bytes", "1048588")?;
    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut reader, LAST)?)?;
    assert_eq!(delivery.repeated, 0);
    let (stub, rest) = delivery.accepted.split_first().context("nothing came")?;
    ensure!(stub.has_header("floorgate_dead_letter"), "{stub:?}");
    compare(rest, &(2..=LAST))?;
    Ok(())
}

/// A record that is too large takes the others of its burst and of its transaction down with it: they come when it is set aside.
#[test]
fn only_the_record_that_is_too_large_is_set_aside() -> Result<()> {
    const ORDERS: i64 = 30;
    const LARGE: i64 = 15;
    let kafka = Kafka::shared()?;
    let mut plant = plant(kafka)?;
    let orders = topic(plant.site(), "work-order");
    kafka.create_topic(&orders, 1)?;
    // The name stands four times in an event, and twice in the stub that takes its place.
    kafka.set_topic(&orders, "max.message.bytes", "16000")?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, 200, 4)?;
    let name = |number: i64| match number {
        LARGE => "X".repeat(5_000),
        number => format!("WO-{number}"),
    };
    for number in 1..=ORDERS {
        let status = json!(3 + number % 2);
        plant.plc.set_all(&[
            ("Line1.WorkOrderId", json!(name(number))),
            ("Line1.Status", status),
        ])?;
    }
    let mut reader = plant.reader("work-order")?;
    let of = |record: &Record| {
        record
            .json()
            .map(|data| data["workOrderId"].clone())
            .unwrap_or_default()
    };
    let records = reader.until("the last order", Patience::Long, |records| {
        records.iter().any(|record| of(record) == json!(name(ORDERS)))
    })?;
    let delivery = Delivery::of(records)?;
    assert_eq!(delivery.repeated, 0);
    let stubs = delivery
        .accepted
        .iter()
        .filter(|record| record.has_header("floorgate_dead_letter"));
    assert_eq!(stubs.count(), 1);
    let told: Vec<_> = delivery.accepted.iter().map(of).collect();
    for number in (1..=ORDERS).filter(|number| *number != LARGE) {
        ensure!(
            told.contains(&json!(name(number))),
            "{number} is not told: {told:?}"
        );
    }
    each_once(read_to(&mut plant.reader("production-count")?, 200)?, 200)?;
    Ok(())
}

/// Another program's transaction hides what was committed after it began: it is waited for, and nothing is sent on suspicion.
#[test]
fn another_programs_open_transaction_is_waited_for() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plant = plant(kafka)?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, 50, 4)?;
    let mut reader = plant.reader("production-count")?;
    let partition = read_to(&mut reader, 50)?[0].partition;

    let counts = topic(plant.site(), "production-count");
    let other: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("transactional.id", format!("other-{}", plant.site()))
        .create()?;
    let patience = Duration::from_secs(30);
    other.init_transactions(patience)?;
    other.begin_transaction()?;
    let record = BaseRecord::<(), str>::to(&counts)
        .partition(partition)
        .payload("open");
    other.send(record).map_err(|(error, _)| error)?;
    other.flush(patience)?;
    // These are committed behind it, and cannot be read by who reads committed records.
    plant.plc.count_up(COUNTER, 51, 100, 4)?;
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Long)?;
    written(&mut plant, 100)?;
    plant.gateway.kill()?;
    plant.gateway.spawn()?;
    until("the open transaction in /readyz", Patience::Long, || {
        let page = plant
            .gateway
            .get("/readyz")
            .map(|page| page.body)
            .unwrap_or_default();
        Ok(page
            .contains("a transaction that is not ended hides")
            .then_some(()))
    })?;
    other.abort_transaction(patience)?;
    plant.plc.count_up(COUNTER, 101, 120, 4)?;
    each_once(read_to(&mut reader, 120)?, 120)?;
    Ok(())
}
