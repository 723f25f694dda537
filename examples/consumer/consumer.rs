//! Takes each event of a floorgate topic once, whatever dies in between.
//!
//! `consumer BROKERS TOPIC DATABASE [SECONDS]`: what an event does (here: counts are added up), what is known of its lane and where to read
//! on are one transaction of a database. Repetitions, gaps and dead letters are told in the table `report`. What was left out and has not
//! come after so many seconds (60) is an alarm.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rusqlite::{Connection, OptionalExtension, Transaction};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS position (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lane (gateway TEXT, partition INTEGER, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
                                 PRIMARY KEY (gateway, partition));
CREATE TABLE IF NOT EXISTS waiting (gateway TEXT, partition INTEGER, up_to INTEGER NOT NULL, since INTEGER NOT NULL,
                                    told INTEGER NOT NULL, PRIMARY KEY (gateway, partition));
CREATE TABLE IF NOT EXISTS seen (source TEXT, id TEXT, PRIMARY KEY (source, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS report (what TEXT PRIMARY KEY, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS total (subject TEXT PRIMARY KEY, count INTEGER NOT NULL);
";

/// Records of a transaction at most.
const TOGETHER: usize = 500;

/// What the application is for. It does not have to bear being done twice.
fn effect(db: &Transaction<'_>, subject: &str, value: &[u8]) -> Result<()> {
    let data: serde_json::Value = serde_json::from_slice(value)?;
    let count = data["delta"].as_i64().context("a count without delta")?;
    db.execute(
        "INSERT INTO total VALUES (?1, ?2) ON CONFLICT DO UPDATE SET count = count + ?2",
        (subject, count),
    )?;
    Ok(())
}

fn report(db: &Transaction<'_>, what: &str) -> Result<()> {
    db.execute(
        "INSERT INTO report VALUES (?1, 1) ON CONFLICT DO UPDATE SET times = times + 1",
        [what],
    )?;
    Ok(())
}

/// The rule. `last` is the lane's last epoch and sequence.
fn judge(last: Option<(i64, i64)>, epoch: i64, sequence: i64) -> &'static str {
    match last {
        // The first record that is seen of a lane, and each new epoch, begins the numbers anew.
        None => "first",
        Some((known, _)) if epoch > known => "new epoch",
        Some((known, last)) if epoch < known || sequence <= last => "repeated",
        Some((_, last)) if sequence == last + 1 => "next",
        // What is left out comes again, with all that follows it: until then this one is not taken.
        Some(_) => "gap",
    }
}

/// One record, within the caller's transaction.
fn take(db: &Transaction<'_>, message: &BorrowedMessage<'_>) -> Result<()> {
    let headers: HashMap<&str, &str> = message
        .headers()
        .into_iter()
        .flat_map(Headers::iter)
        .map(|header| Ok((header.key, std::str::from_utf8(header.value.unwrap_or_default())?)))
        .collect::<Result<_>>()?;
    let header = |name: &str| {
        headers
            .get(name)
            .copied()
            .with_context(|| format!("no header {name}"))
    };
    let (gateway, partition) = (header("floorgate_gateway")?, message.partition());
    let epoch: i64 = header("floorgate_lane_epoch")?.parse()?;
    let sequence: i64 = header("floorgate_lane_sequence")?.parse()?;
    let last = db
        .query_row(
            "SELECT epoch, sequence FROM lane WHERE gateway = ?1 AND partition = ?2",
            (gateway, partition),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let mut verdict = judge(last, epoch, sequence);
    if verdict == "gap" {
        db.execute(
            "INSERT INTO waiting VALUES (?1, ?2, ?3, unixepoch(), 0) ON CONFLICT DO UPDATE SET up_to = max(up_to, ?3)",
            (gateway, partition, sequence),
        )?;
    }
    if matches!(verdict, "first" | "new epoch") && sequence != 1 {
        // What came before it is gone from the log, or it was never read.
        report(db, "begins late")?;
    }
    if matches!(verdict, "first" | "new epoch" | "next") {
        db.execute(
            "INSERT OR REPLACE INTO lane VALUES (?1, ?2, ?3, ?4)",
            (gateway, partition, epoch, sequence),
        )?;
        db.execute(
            "DELETE FROM waiting WHERE gateway = ?1 AND partition = ?2 AND (up_to <= ?3 OR ?4)",
            (gateway, partition, sequence, verdict == "new epoch"),
        )?;
        if headers.contains_key("floorgate_dead_letter") {
            verdict = "dead letter";
        } else {
            // Only where a lane began anew, an event may come that was taken before: its id tells.
            let (source, id) = (header("ce_source")?, header("ce_id")?);
            if db.execute("INSERT OR IGNORE INTO seen VALUES (?1, ?2)", (source, id))? > 0 {
                effect(db, header("ce_subject")?, message.payload().unwrap_or_default())?;
            } else {
                verdict = "taken before";
            }
        }
    }
    if verdict != "next" {
        report(db, verdict)?;
    }
    db.execute(
        "INSERT OR REPLACE INTO position VALUES (?1, ?2)",
        (partition, message.offset() + 1),
    )?;
    Ok(())
}

/// Tells each lane that stands still: what was left out does not come, and someone has to look.
fn alarm(db: &Transaction<'_>, seconds: i64) -> Result<()> {
    let mut overdue = db.prepare(
        "UPDATE waiting SET told = 1 WHERE NOT told AND since <= unixepoch() - ?1 RETURNING gateway, partition, up_to",
    )?;
    let mut lanes = overdue.query([seconds])?;
    while let Some(lane) = lanes.next()? {
        let (gateway, partition, up_to): (String, i32, i64) = (lane.get(0)?, lane.get(1)?, lane.get(2)?);
        eprintln!("ALARM: {gateway} has not sent again up to {up_to} in partition {partition}");
        report(db, "stands still")?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(brokers), Some(topic), Some(database)) = (words.next(), words.next(), words.next()) else {
        anyhow::bail!("usage: consumer BROKERS TOPIC DATABASE [SECONDS]");
    };
    let seconds = words.next().map_or(Ok(60), |seconds| seconds.parse())?;
    let mut db = Connection::open(database)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.execute_batch(TABLES)?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "once")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(30))?;
    let mut places = TopicPartitionList::new();
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    for partition in partitions {
        let next = db
            .query_row(
                "SELECT next FROM position WHERE partition = ?1",
                [partition.id()],
                |row| row.get(0),
            )
            .optional()?;
        places.add_partition_offset(
            &topic,
            partition.id(),
            next.map_or(Offset::Beginning, Offset::Offset),
        )?;
    }
    consumer.assign(&places)?;
    loop {
        let first = consumer.poll(Duration::from_millis(200));
        let others = std::iter::from_fn(|| consumer.poll(Duration::ZERO));
        let transaction = db.transaction()?;
        for message in first.into_iter().chain(others).take(TOGETHER).flatten() {
            take(&transaction, &message)?;
        }
        alarm(&transaction, seconds)?;
        transaction.commit()?;
    }
}
