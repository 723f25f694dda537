//! The examples of consumers do what they promise: each event once.

use std::process::Command;

use anyhow::{Context, Result};
use floorgate_tests::{
    Folder, Kafka, Patience, Process, example, example_script, peer_command, repository, until,
};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rusqlite::{Connection, OptionalExtension};

use crate::counting::{COUNTER, known};
use crate::plant::{Plant, topic, unique_site};

/// An example, with the database that it keeps.
struct Example {
    command: Command,
    folder: Folder,
}

impl Example {
    fn new(mut command: Command, brokers: &str, topic: &str) -> Result<Self> {
        let folder = Folder::new("consumer")?;
        command
            .arg(brokers)
            .arg(topic)
            .arg(folder.path().join("consumer.db"));
        Ok(Self { command, folder })
    }

    fn start(&self) -> Result<Process> {
        Process::start(
            "consumer",
            &self.command,
            &self.folder.path().join("consumer.log"),
        )
    }

    fn number(&self, query: &str) -> Result<i64> {
        let path = self.folder.path().join("consumer.db");
        if !path.exists() {
            return Ok(0);
        }
        let database = Connection::open(path)?;
        database.busy_timeout(Patience::Short.duration())?;
        // The tables may not be there yet.
        let found = database.query_row(query, [], |row| row.get(0)).optional();
        Ok(found.ok().flatten().unwrap_or(0))
    }

    /// What it told, and how often.
    fn report(&self) -> Result<Vec<String>> {
        let database = Connection::open(self.folder.path().join("consumer.db"))?;
        database.busy_timeout(Patience::Short.duration())?;
        let mut statement = database.prepare("SELECT what || ' ' || times FROM report ORDER BY what")?;
        let report = statement.query_map([], |row| row.get(0))?;
        report.collect::<rusqlite::Result<_>>().context("the report")
    }
}

fn survives_kills(command: Command) -> Result<()> {
    const LAST: i64 = 2_500;
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.set(COUNTER, 1)?;
    plant.reader("production-count")?.at_least(1, Patience::Long)?;
    plant.plc.count_up(COUNTER, 2, LAST, 2)?;
    let example = Example::new(
        command,
        &kafka.bootstrap(),
        &topic(plant.site(), "production-count"),
    )?;
    let total = "SELECT sum(count) FROM total";
    for moment in [100, 500, 1_000, 1_500, 2_000] {
        let mut process = example.start()?;
        until(&format!("the count {moment}"), Patience::Long, || {
            Ok((example.number(total)? >= moment).then_some(()))
        })?;
        process.kill()?;
    }
    let mut process = example.start()?;
    until("the last count", Patience::Long, || {
        Ok((example.number(total)? >= LAST).then_some(()))
    })?;
    process.kill()?;
    assert_eq!(example.number(total)?, LAST, "an effect was doubled");
    assert_eq!(
        example.number("SELECT count(*) FROM report WHERE what <> 'first'")?,
        0
    );
    Ok(())
}

/// A record as a gateway makes it.
struct Made {
    gateway: &'static str,
    epoch: u32,
    sequence: u32,
    id: &'static str,
    is_stub: bool,
}

const fn made(epoch: u32, sequence: u32, id: &'static str) -> Made {
    Made {
        gateway: "test",
        epoch,
        sequence,
        id,
        is_stub: false,
    }
}

fn keeps_the_rule(command: Command) -> Result<()> {
    let kafka = Kafka::shared()?;
    let name = topic(&unique_site(), "made");
    kafka.create_topic(&name, 1)?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()?;
    let records = [
        made(5, 1, "a"),
        made(5, 2, "b"),
        made(5, 2, "b"),
        // The third one comes after it, and then it again.
        made(5, 4, "d"),
        made(5, 3, "c"),
        made(5, 4, "d"),
        // What a process that died long ago had on its way.
        made(4, 9, "z"),
        // A new epoch, with an event that was taken in the old one.
        made(6, 1, "b"),
        made(6, 2, "e"),
        Made {
            is_stub: true,
            ..made(6, 3, "f")
        },
        made(6, 4, "g"),
        // A lane whose beginning is not on the log.
        Made {
            gateway: "other",
            ..made(5, 7, "h")
        },
    ];
    send(&producer, &name, &records)?;
    let mut example = Example::new(command, &kafka.bootstrap(), &name)?;
    let mut process = example.start()?;
    until("all records", Patience::Long, || {
        Ok((example.number("SELECT next FROM position")? == 12).then_some(()))
    })?;
    process.kill()?;
    assert_eq!(
        example.number("SELECT sum(count) FROM total")?,
        7,
        "a, b, c, d, e, g, h"
    );
    assert_eq!(
        example.report()?,
        [
            "begins late 1",
            "dead letter 1",
            "first 2",
            "gap 1",
            "repeated 2",
            "taken before 1"
        ]
    );

    // Two are left out. One of them comes, the others do not: also a process that is started later tells it.
    send(&producer, &name, &[made(6, 7, "j"), made(6, 5, "i")])?;
    let mut process = example.start()?;
    until("the gap", Patience::Long, || {
        Ok((example.number("SELECT next FROM position")? == 14).then_some(()))
    })?;
    process.kill()?;
    example.command.arg("1");
    let mut process = example.start()?;
    process.wait_for_output(
        "ALARM: test has not sent again up to 7 in partition 0",
        Patience::Long,
    )?;
    until("the alarm in the report", Patience::Short, || {
        Ok(example
            .report()?
            .contains(&"stands still 1".to_owned())
            .then_some(()))
    })?;
    send(&producer, &name, &[made(6, 6, "k"), made(6, 7, "j")])?;
    until("the end of the gap", Patience::Long, || {
        Ok((example.number("SELECT sum(count) FROM total")? == 10).then_some(()))
    })?;
    process.kill()?;
    assert_eq!(example.number("SELECT count(*) FROM waiting")?, 0);
    Ok(())
}

/// Sends records as a gateway would.
fn send(producer: &BaseProducer, topic: &str, records: &[Made]) -> Result<()> {
    for record in records {
        let (epoch, sequence) = (record.epoch.to_string(), record.sequence.to_string());
        let mut pairs = vec![
            ("floorgate_gateway", record.gateway),
            ("floorgate_lane_epoch", &epoch),
            ("floorgate_lane_sequence", &sequence),
            ("ce_source", "urn:test"),
            ("ce_id", record.id),
            ("ce_subject", "line1"),
        ];
        if record.is_stub {
            pairs.push(("floorgate_dead_letter", "too large"));
        }
        let headers = pairs
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        let value = if record.is_stub { "" } else { "{\"delta\":1}" };
        let record = BaseRecord::to(topic)
            .partition(0)
            .key("k")
            .payload(value)
            .headers(headers);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Patience::Short.duration())?;
    Ok(())
}

#[test]
fn the_consumer_in_python_takes_each_event_once() -> Result<()> {
    survives_kills(example_script("consumer/consumer.py")?)?;
    keeps_the_rule(example_script("consumer/consumer.py")?)
}

#[test]
fn the_consumer_in_rust_takes_each_event_once() -> Result<()> {
    survives_kills(Command::new(example("consumer")?))?;
    keeps_the_rule(Command::new(example("consumer")?))
}

/// The ten lines that the README shows.
#[test]
fn the_consumer_in_the_readme_shows_a_change() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    let (_, code) = readme.split_once("```python\n").context("Python in the README")?;
    let (code, _) = code.split_once("```").context("the end of it")?;
    let lines = code.lines().map(|line| line.strip_prefix("   ").unwrap_or(line));
    let code = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("kafka.plant.example:9093", &kafka.bootstrap())
        .replace("\"ssl\"", "\"plaintext\"")
        .replace("acme.busan.mes.work-order.v1", &topic(plant.site(), "work-order"));
    let folder = Folder::new("readme")?;
    let script = folder.write("consumer.py", &code)?;
    let mut command = peer_command(&script.display().to_string())?;
    command.env("PYTHONUNBUFFERED", "1");
    let mut consumer = Process::start("consumer", &command, &folder.path().join("consumer.log"))?;
    consumer.wait_for_output("\"status\":\"AllowedToStart\"", Patience::Long)?;
    plant.plc.set("Line1.Status", 3)?;
    consumer.wait_for_output("\"status\":\"Running\"", Patience::Long)?;
    assert!(
        consumer.output()?.contains("Z work-order/WO-1 {"),
        "{}",
        consumer.output()?
    );
    consumer.kill()?;
    Ok(())
}
