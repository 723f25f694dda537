//! Once and in order, whatever happens to the broker, to a topic or to the outbox.

use std::ffi::OsStr;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Folder, Kafka, Patience, Record, until};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::copies::copy_outbox;
use crate::counting::{COUNTER, compare, known, read_to, told, written};
use crate::operator::waiting_counts;
use crate::plant::{Plant, topic};

/// The records of the lanes' newest epoch.
fn newest_epoch(records: &[Record]) -> Result<Vec<Record>> {
    let epoch = |record: &Record| -> Result<u64> { Ok(record.header("floorgate_lane_epoch")?.parse()?) };
    let mut newest = 0;
    for record in records {
        newest = newest.max(epoch(record)?);
    }
    let mut kept = Vec::new();
    for record in records {
        if epoch(record)? == newest {
            kept.push(record.clone());
        }
    }
    Ok(kept)
}

/// A broker that stands still for longer than the client waits for any answer, and than the gateway's place in its group lasts (10 s): the
/// records were perhaps taken, perhaps not.
#[test]
fn a_broker_that_stands_still_gets_each_event_once() -> Result<()> {
    /// What the plant counts in 20 s.
    const WAITING: f64 = 5_000.0;
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let settings = plant
        .settings()?
        .replace("kafka:\n", "kafka:\n  request_timeout: 1s\n");
    plant.gateway.write("floorgate.yaml", &settings)?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, i64::from(u32::MAX), 4)?;
    told(&plant.gateway, plant.site(), 50)?;
    kafka.pause()?;
    plant
        .gateway
        .wait_for_metric("floorgate_kafka_up", 0.0..=0.0, Patience::Long)?;
    // What was on its way is given up together with its connection.
    let process = plant.gateway.process()?;
    process.wait_for_output("Timed out ProduceRequest in flight", Patience::Long)?;
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", WAITING.., Patience::Long)?;
    kafka.go_on()?;
    let last = plant.plc.stop_counting(COUNTER)?;
    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut reader, last)?)?;
    assert_eq!(compare(&delivery.accepted, &(1..=last))?, 0);
    assert_eq!(delivery.repeated, 0, "records came twice");
    Ok(())
}

/// Where a lane begins in a topic that many share is found by the time, not by reading all that others have sent.
#[test]
fn a_lane_that_was_never_acknowledged_is_not_looked_for_in_what_is_older() -> Result<()> {
    const OTHERS: usize = 20_000;
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let counts = topic(plant.site(), "production-count");
    kafka.create_topic(&counts, 1)?;
    let yesterday = SystemTime::now() - Duration::from_hours(24);
    fill(&kafka, &counts, OTHERS, yesterday)?;

    plant.gateway.start()?;
    known(&plant)?;
    kafka.stop()?;
    plant.plc.set(COUNTER, 1)?;
    let stored = "floorgate_events_total{type=\"ProductionCountRecorded\"}";
    plant.gateway.wait_for_metric(stored, 1.0.., Patience::Short)?;
    plant.gateway.kill()?;
    let before = Folder::new("before")?;
    copy_outbox(&plant.gateway.state(), before.path())?;
    kafka.resume()?;
    plant.gateway.start()?;
    let mut reader = plant.reader("production-count")?;
    let records = reader.until("the count", Patience::Long, |records| records.len() > OTHERS)?;
    let read = plant.gateway.metric("floorgate_reconciliation_records_total")?;
    // Another lane's few, and the last thousand, in case that they are of later epochs.
    ensure!(
        read.is_some_and(|read| (1.0..=1_100.0).contains(&read)),
        "{read:?} records were read"
    );
    let own = Delivery::of(&records[OTHERS..])?;
    assert_eq!(compare(&own.accepted, &(1..=1))?, 0);

    // The same once more, when the count is on the log and others have followed: it is found there.
    plant.gateway.kill()?;
    copy_outbox(before.path(), &plant.gateway.state())?;
    fill(&kafka, &counts, 1_500, SystemTime::now())?;
    plant.gateway.start()?;
    let settled = "floorgate_reconciliations_total{result=\"settled\"}";
    plant.gateway.wait_for_metric(settled, 1.0.., Patience::Long)?;
    plant.plc.set(COUNTER, 2)?;
    let records = reader.until("the next count", Patience::Long, |records| {
        records.len() > OTHERS + 1_501
    })?;
    let own = |record: &&Record| record.has_header("floorgate_lane_sequence");
    let own: Vec<Record> = records.iter().filter(own).cloned().collect();
    let delivery = Delivery::of(&own)?;
    assert_eq!((own.len(), delivery.repeated), (2, 0), "it was sent again");
    compare(&delivery.accepted, &(1..=2))?;
    Ok(())
}

/// What would tell how far an earlier process came has expired.
#[test]
fn what_may_have_expired_on_the_log_is_sent_again_and_says_so() -> Result<()> {
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let counts = topic(plant.site(), "production-count");
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.set(COUNTER, 1)?;
    read_to(&mut plant.reader("production-count")?, 1)?;
    kafka.stop()?;
    plant.plc.set(COUNTER, 2)?;
    let stored = "floorgate_events_total{type=\"ProductionCountRecorded\"}";
    plant.gateway.wait_for_metric(stored, 2.0.., Patience::Short)?;
    plant.gateway.kill()?;
    let before = Folder::new("before")?;
    copy_outbox(&plant.gateway.state(), before.path())?;
    kafka.resume()?;
    plant.gateway.start()?;
    read_to(&mut plant.reader("production-count")?, 2)?;

    // As if it had died before it stored that the second is delivered.
    plant.gateway.kill()?;
    copy_outbox(before.path(), &plant.gateway.state())?;
    kafka.expire(&counts)?;
    plant.gateway.start()?;
    let expired = "floorgate_reconciliations_total{result=\"expired\"}";
    plant.gateway.wait_for_metric(expired, 1.0.., Patience::Long)?;
    plant.plc.set(COUNTER, 3)?;
    let mut reader = plant.reader("production-count")?;
    let mut told = Vec::new();
    for record in read_to(&mut reader, 3)? {
        let value = record.json()?["rawValue"].as_i64();
        told.push((value, record.has_header("floorgate_possible_duplicate")));
    }
    assert_eq!(told, [(Some(2), true), (Some(3), false)]);
    Ok(())
}

/// Lets another program send so many records to a topic.
fn fill(kafka: &Kafka, topic: &str, records: usize, time: SystemTime) -> Result<()> {
    let time = i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
    let others: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()?;
    for _ in 0..records {
        let record = BaseRecord::to(topic).key("k").payload("v").timestamp(time);
        others.send(record).map_err(|(error, _)| error)?;
    }
    others.flush(Duration::from_secs(30))?;
    Ok(())
}

/// A plant whose first fifty counts are on the log, and their topic.
fn with_fifty_counts(kafka: &Kafka) -> Result<(Plant, String)> {
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let counts = topic(plant.site(), "production-count");
    plant.plc.count_up(COUNTER, 1, 50, 4)?;
    read_to(&mut plant.reader("production-count")?, 50)?;
    Ok((plant, counts))
}

/// Those that a consumer may have had before say so.
fn are_marked(records: &[Record]) -> Result<()> {
    let mut records = records.iter();
    let marked = records.all(|record| record.has_header("floorgate_possible_duplicate"));
    ensure!(marked, "sent again without a mark");
    Ok(())
}

const TRUNCATED: &str = "floorgate_reconciliations_total{result=\"truncated\"}";

/// What the broker had acknowledged is gone with the topic: all that is kept goes out again, and says so.
#[test]
fn a_topic_that_is_made_anew_gets_all_that_is_kept() -> Result<()> {
    let kafka = Kafka::shared()?;
    let (mut plant, counts) = with_fifty_counts(kafka)?;
    kafka.delete_topic(&counts)?;
    plant.plc.count_up(COUNTER, 51, 100, 4)?;
    plant.gateway.wait_for_metric(TRUNCATED, 1.0.., Patience::Long)?;
    let mut reader = plant.reader("production-count")?;
    reader.until("all counts in one epoch", Patience::Long, |records| {
        newest_epoch(records)
            .and_then(|newest| compare(&Delivery::of(&newest)?.accepted, &(1..=100)))
            .is_ok()
    })?;
    let newest = newest_epoch(reader.to_end()?)?;
    let delivery = Delivery::of(&newest)?;
    assert_eq!(compare(&delivery.accepted, &(1..=100))?, 0);
    are_marked(&newest[..50])
}

/// The same where nothing follows: what is gone is noticed by itself.
#[test]
fn a_topic_that_is_made_anew_while_nothing_is_sent_gets_all_that_is_kept() -> Result<()> {
    let kafka = Kafka::shared()?;
    let (plant, counts) = with_fifty_counts(kafka)?;
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Long)?;

    kafka.delete_topic(&counts)?;
    plant.gateway.wait_for_metric(TRUNCATED, 1.0.., Patience::Long)?;
    let mut reader = plant.reader("production-count")?;
    let records = reader.until("all counts", Patience::Long, |records| records.len() >= 50)?;
    let delivery = Delivery::of(records)?;
    assert_eq!(compare(&delivery.accepted, &(1..=50))?, 0);
    are_marked(records)
}

/// A plant whose counts up to this one are stored and all but the first not delivered, with gateway and broker stopped. The store is
/// without a write-ahead log: what it holds is in its file alone.
pub fn backlog(last: i64) -> Result<(Kafka, Plant)> {
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.set(COUNTER, 1)?;
    read_to(&mut plant.reader("production-count")?, 1)?;
    kafka.stop()?;
    plant.plc.count_up(COUNTER, 2, last, 1)?;
    let stored = "floorgate_events_total{type=\"ProductionCountRecorded\"}";
    plant.gateway.wait_for_metric(stored, 500.0.., Patience::Long)?;
    written(&mut plant, last)?;
    // What was written last is on its way for a while.
    until("the last count in the outbox", Patience::Long, || {
        Ok((waiting_counts(&plant.gateway)?.last() == Some(&last)).then_some(()))
    })?;
    plant.gateway.stop()?;
    // A tool that has the store to itself leaves it without the log.
    let looked = plant.gateway.command(&["outbox", "status"])?.output()?;
    ensure!(looked.status.success(), "{looked:?}");
    let log = plant.gateway.state().join("outbox.db-wal");
    ensure!(!log.exists(), "the log is there");
    Ok((kafka, plant))
}

/// Where in a store the page is that has this count.
pub fn page_of(store: &[u8], count: i64) -> Result<Range<usize>> {
    const PAGE: usize = 8192;
    let text = format!("\"rawValue\":{count},");
    let at = store
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    let page = at.with_context(|| format!("event {count} is not in the store"))? / PAGE * PAGE;
    Ok(page..page + PAGE)
}

/// The counts that a gateway sends which had to salvage its store, up to the last one: in order, each once.
pub fn saved_counts(plant: &Plant, last: i64) -> Result<Vec<i64>> {
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_salvaged", 1.0..=1.0, Patience::Short)?;
    let page = plant.gateway.get("/readyz")?.body;
    ensure!(page.contains("outbox: it was damaged and is at "), "{page}");
    let mut aside = std::fs::read_dir(plant.gateway.state())?.filter_map(Result::ok);
    let is_aside = |name: &OsStr| name.to_string_lossy().starts_with("outbox.db.damaged-");
    ensure!(
        aside.any(|file| is_aside(&file.file_name())),
        "the damaged store is gone"
    );
    let mut reader = plant.reader("production-count")?;
    let records = newest_epoch(read_to(&mut reader, last)?)?;
    let delivery = Delivery::of(&records)?;
    let values: Vec<i64> = delivery
        .accepted
        .iter()
        .map(|record| Ok(record.json()?["rawValue"].as_i64().unwrap_or_default()))
        .collect::<Result<_>>()?;
    ensure!(values.is_sorted() && values.last() == Some(&last), "{values:?}");
    Ok(values)
}

/// A page of the outbox that was written over: the gateway ends, comes up with what can be read, and says what is lost.
#[test]
fn a_damaged_outbox_is_moved_aside_and_what_can_be_read_is_sent() -> Result<()> {
    const LAST: i64 = 600;
    let (mut kafka, mut plant) = backlog(LAST)?;
    let store = plant.gateway.state().join("outbox.db");
    let mut bytes = std::fs::read(&store)?;
    let page = page_of(&bytes, 300)?;
    bytes[page][..1024].fill(0xff);
    std::fs::write(&store, &bytes)?;

    plant.gateway.spawn()?;
    kafka.resume()?;
    // It is noticed when the events are read; systemd would start the gateway again.
    let status = plant.gateway.process()?.wait(Patience::Long.duration())?;
    assert_eq!(status.code(), Some(4), "{status}");
    plant.gateway.start()?;
    let values = saved_counts(&plant, LAST)?;
    assert!(!values.contains(&300));
    // One page of events, not more.
    assert!(values.len() > 500, "{} of {LAST}", values.len());
    Ok(())
}
