//! What an operator sees and orders at the command line, with a gateway that runs and without.

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Gateway, Kafka, Patience, Process, Reader, until};
use serde_json::Value;

use crate::counting::{COUNTER, compare, known, read_to};
use crate::plant::{Plant, topic};

/// What a tool printed, and its exit code.
pub struct Said {
    output: String,
    errors: String,
    code: Option<i32>,
}

impl Said {
    /// The rows that it printed, each a line of JSON.
    pub fn rows(&self) -> Result<Vec<Value>> {
        let lines = self.output.lines();
        lines
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }
}

fn say(gateway: &Gateway, words: &[&str]) -> Result<Said> {
    let output = gateway.command(words)?.output()?;
    Ok(Said {
        output: String::from_utf8(output.stdout)?,
        errors: String::from_utf8(output.stderr)?,
        code: output.status.code(),
    })
}

/// What a tool says that is asked for something that it can do.
pub fn ask(gateway: &Gateway, words: &[&str]) -> Result<Said> {
    let said = say(gateway, words)?;
    ensure!(
        said.code == Some(0),
        "{words:?} ended with {:?}: {}",
        said.code,
        said.errors
    );
    Ok(said)
}

/// What exports the counts that wait.
const WAITING: [&str; 5] = [
    "outbox",
    "export",
    "--waiting",
    "--type",
    "ProductionCountRecorded",
];

/// The counter's values of exported events.
fn values(rows: &[Value]) -> Vec<i64> {
    rows.iter()
        .filter_map(|row| row["value"]["rawValue"].as_i64())
        .collect()
}

/// The counts that wait in a gateway's outbox, in order.
pub fn waiting_counts(gateway: &Gateway) -> Result<Vec<i64>> {
    Ok(values(&ask(gateway, &WAITING)?.rows()?))
}

#[test]
fn the_outbox_is_looked_into_while_the_gateway_runs_and_when_it_does_not() -> Result<()> {
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let said = say(&plant.gateway, &["outbox", "status"])?;
    assert_eq!(said.code, Some(1));
    assert!(
        said.errors.contains("the gateway has not run yet"),
        "{}",
        said.errors
    );

    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.set(COUNTER, 1)?;
    read_to(&mut plant.reader("production-count")?, 1)?;
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", 0.0..0.5, Patience::Long)?;
    kafka.stop()?;
    plant.plc.count_up(COUNTER, 2, 30, 1)?;
    until("the waiting events", Patience::Short, || {
        let rows = ask(&plant.gateway, &WAITING)?.rows()?;
        Ok((values(&rows).last() == Some(&30)).then_some(()))
    })?;

    let look = |plant: &Plant, running: bool| -> Result<()> {
        let gateway = &plant.gateway;
        let rows = ask(gateway, &WAITING)?.rows()?;
        assert_eq!(values(&rows), (2..=30).collect::<Vec<_>>());
        assert_eq!(
            rows[0]["headers"]["ce_type"],
            "io.floorgate.mes.ProductionCountRecorded.v1"
        );
        assert_eq!(rows[0]["delivered"], false);
        let status: Value = serde_json::from_str(&ask(gateway, &["outbox", "status", "--json"])?.output)?;
        assert_eq!(status["outbox"]["running"], running);
        assert_eq!(status["outbox"]["waiting"], 29);
        let text = ask(gateway, &["outbox", "status"])?.output;
        let counts = topic(plant.site(), "production-count");
        let line = text.lines().find(|line| line.starts_with(&counts));
        let cells: Vec<&str> = line.with_context(|| text.clone())?.split_whitespace().collect();
        assert_eq!(&cells[3..6], &["30", "1", "29"], "{text}");
        assert!(text.contains("29 events wait, 0 dead letters"), "{text}");
        let tail = ask(gateway, &["outbox", "tail", "-n", "2", "--json"])?.rows()?;
        assert_eq!(values(&tail), [29, 30]);
        // One time cuts the events in two, those of the time itself in the later part.
        let last = rows[28]["recorded"].as_str().context("no time")?;
        let later = ask(gateway, &["outbox", "export", "--from", last, "--topic", &counts])?;
        let earlier = ask(gateway, &["outbox", "export", "--to", last, "--topic", &counts])?;
        let (later, earlier) = (later.rows()?, earlier.rows()?);
        assert!(later.iter().all(|row| row["recorded"] == last), "{later:?}");
        assert_eq!(
            [values(&earlier), values(&later)].concat(),
            (1..=30).collect::<Vec<_>>()
        );
        assert_eq!(
            ask(gateway, &["outbox", "verify"])?.output,
            "the outbox is whole\n"
        );
        let wrong = say(gateway, &["outbox", "export", "--from", "yesterday"])?;
        assert_eq!(wrong.code, Some(2));
        assert!(
            wrong.errors.contains("--from yesterday is no time"),
            "{}",
            wrong.errors
        );
        Ok(())
    };
    look(&plant, true)?;
    let socket = plant.gateway.state().join("control.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket)?.permissions());
    assert_eq!(mode & 0o777, 0o600);
    plant.gateway.stop()?;
    assert!(!socket.exists());
    look(&plant, false)?;

    // A gateway that was killed leaves its socket behind, which is in nobody's way.
    plant.gateway.start()?;
    plant.gateway.kill()?;
    assert!(socket.exists());
    look(&plant, false)?;
    kafka.resume()?;
    plant.gateway.start()?;
    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut reader, 30)?)?;
    compare(&delivery.accepted, &(1..=30))?;
    Ok(())
}

#[test]
fn dead_letters_are_listed_shown_sent_again_and_dropped() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let counts = topic(plant.site(), "production-count");
    kafka.create_topic(&counts, 1)?;
    kafka.set_topic(&counts, "max.message.bytes", "200")?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, 3, 4)?;
    let gateway = &plant.gateway;
    let letters = until("a dead letter", Patience::Long, || {
        let rows = ask(gateway, &["dlq", "list", "--json"])?.rows()?;
        Ok((!rows.is_empty()).then_some(rows))
    })?;
    let number = letters[0]["number"].to_string();
    assert!(
        letters[0]["reason"]
            .as_str()
            .unwrap_or_default()
            .contains("too large")
    );
    let text = ask(gateway, &["dlq", "list"])?.output;
    assert!(
        text.contains(&counts) && text.contains("ProductionCountRecorded"),
        "{text}"
    );
    let shown = ask(gateway, &["dlq", "show", &number])?.output;
    assert!(
        shown.contains("ce_id") && shown.contains("\"rawValue\": 1"),
        "{shown}"
    );
    let missing = say(gateway, &["dlq", "show", "999"])?;
    assert!(
        missing.errors.contains("there is no dead letter 999"),
        "{}",
        missing.errors
    );
    assert_eq!(say(gateway, &["dlq", "drop"])?.code, Some(2));

    kafka.set_topic(&counts, "max.message.bytes", "1048588")?;
    assert_eq!(
        ask(gateway, &["dlq", "replay", &number])?.output,
        "1 dead letters are sent again\n"
    );
    assert_eq!(ask(gateway, &["dlq", "list", "--json"])?.output, "");
    plant
        .gateway
        .wait_for_metric("floorgate_dead_letters", 0.0..=0.0, Patience::Short)?;
    let mut reader = plant.reader("production-count")?;
    let replayed = |records: &[floorgate_tests::Record]| {
        records
            .iter()
            .position(|record| record.has_header("floorgate_replayed"))
    };
    let records = reader.until("the replayed event", Patience::Long, |records| {
        replayed(records).is_some()
    })?;
    let again = &records[replayed(records).context("it is there")?];
    assert_eq!(again.json()?["rawValue"], 1);
    assert!(!again.has_header("floorgate_dead_letter"));
    assert_eq!(
        again.header("ce_id")?,
        records[0].header("ce_id")?,
        "the stub stands for it"
    );

    // Out of what is kept, to a topic of its own.
    let to = topic(plant.site(), "replay");
    let said = ask(
        &plant.gateway,
        &["replay", "--type", "ProductionCountRecorded", "--topic", &to],
    )?;
    assert!(
        said.output.contains(&format!("events are on their way to {to}")),
        "{}",
        said.output
    );
    let mut reader = Reader::new(&kafka.bootstrap(), &to)?;
    let records = reader.at_least(3, Patience::Long)?;
    assert!(
        records
            .iter()
            .all(|record| record.has_header("floorgate_replayed"))
    );
    Ok(())
}

#[test]
fn a_dead_letter_is_dropped_and_the_others_stay() -> Result<()> {
    /// Events with this much text in their data are too large, and a stub, which has no data, is not.
    const TEXT: usize = 4_000;
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.make_counts_large(TEXT)?;
    let counts = topic(plant.site(), "production-count");
    kafka.create_topic(&counts, 1)?;
    kafka.set_topic(&counts, "max.message.bytes", "3000")?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, 3, 4)?;
    let gateway = &plant.gateway;
    let numbers = |gateway: &Gateway| -> Result<Vec<i64>> {
        let rows = ask(gateway, &["dlq", "list", "--json"])?.rows()?;
        Ok(rows.iter().filter_map(|row| row["number"].as_i64()).collect())
    };
    let letters = until("three dead letters", Patience::Long, || {
        Ok(Some(numbers(gateway)?).filter(|letters| letters.len() == 3))
    })?;
    let second = letters[1].to_string();
    assert_eq!(
        ask(gateway, &["dlq", "drop", &second])?.output,
        "1 dead letters are dropped\n"
    );
    assert_eq!(numbers(gateway)?, [letters[0], letters[2]]);
    let gone = say(gateway, &["dlq", "show", &second])?;
    assert!(gone.errors.contains("there is no dead letter"), "{}", gone.errors);
    ask(gateway, &["dlq", "show", &letters[2].to_string()])?;
    assert_eq!(
        ask(gateway, &["dlq", "drop", "--all", "--json"])?.output,
        "{\"count\":2}\n"
    );
    assert!(numbers(gateway)?.is_empty());

    // What is dropped goes nowhere: behind the stubs comes what is new.
    kafka.set_topic(&counts, "max.message.bytes", "1048588")?;
    plant.plc.set(COUNTER, 4)?;
    let mut reader = plant.reader("production-count")?;
    let records = read_to(&mut reader, 4)?;
    let stubs = records
        .iter()
        .map(|record| record.has_header("floorgate_dead_letter"));
    assert_eq!(stubs.collect::<Vec<_>>(), [true, true, true, false]);
    Ok(())
}

#[test]
fn only_what_is_asked_for_is_sent_again() -> Result<()> {
    const SUBJECT: &str = "counter/good";
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let (mut counts, mut states) = (
        plant.reader("production-count")?,
        plant.reader("equipment-state")?,
    );
    for value in 1..=6 {
        // One after the other, so that each has a time of its own; between the counts there are events of another subject.
        plant.plc.set(COUNTER, value)?;
        counts.at_least(usize::try_from(value)?, Patience::Long)?;
        plant
            .plc
            .set("Line1.State", if value % 2 == 0 { 6 } else { 11 })?;
        states.at_least(2 + usize::try_from(value)?, Patience::Long)?;
    }
    let gateway = &plant.gateway;
    let rows = ask(
        gateway,
        &["outbox", "export", "--type", "ProductionCountRecorded"],
    )?
    .rows()?;
    assert!(
        rows.len() == 6 && rows.iter().all(|row| row["subject"] == SUBJECT),
        "{rows:#?}"
    );
    // From the third on, before the fifth.
    let time = |row: &Value| row["recorded"].as_str().context("no time").map(str::to_owned);
    let (from, to) = (time(&rows[2])?, time(&rows[4])?);
    let target = topic(plant.site(), "replay");
    let words = [
        "replay",
        "--from",
        &from,
        "--to",
        &to,
        "--subject",
        SUBJECT,
        "--topic",
        &target,
    ];
    let told = |count| format!("{count} events are on their way to {target}\n");
    assert_eq!(ask(gateway, &words)?.output, told(2));
    let mut reader = Reader::new(&kafka.bootstrap(), &target)?;
    reader.at_least(2, Patience::Long)?;
    gateway.wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Long)?;
    let mut sent = Vec::new();
    for record in reader.to_end()? {
        assert!(record.has_header("floorgate_replayed"), "{record:?}");
        sent.push((
            Value::from(record.header("ce_id")?),
            record.json()?["rawValue"].as_i64(),
        ));
    }
    let meant = [(2, 3), (3, 4)].map(|(row, value)| (rows[row]["id"].clone(), Some(value)));
    assert_eq!(sent, meant);
    // What was sent again is not sent once more with the others, unless its topic is named.
    assert_eq!(ask(gateway, &words)?.output, told(2));
    gateway.wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Long)?;
    for (from_topic, count) in [(&target, 4), (&topic(plant.site(), "equipment-state"), 0)] {
        let named = [&words[..], &["--from-topic", from_topic]].concat();
        assert_eq!(ask(gateway, &named)?.output, told(count), "{from_topic}");
    }
    Ok(())
}

#[test]
fn a_tail_that_follows_shows_what_comes_later() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.set(COUNTER, 1)?;
    read_to(&mut plant.reader("production-count")?, 1)?;
    // It keeps nobody from the store that it looks into.
    plant.gateway.stop()?;
    let command = plant.gateway.command(&[
        "outbox",
        "tail",
        "--follow",
        "--json",
        "--type",
        "ProductionCountRecorded",
    ])?;
    let mut tail = Process::start("tail", &command, &plant.gateway.folder().join("tail.log"))?;
    tail.wait_for_output("no gateway runs", Patience::Short)?;
    for last in 1..=4 {
        if last == 4 {
            // It goes on with the next process.
            plant.gateway.kill()?;
        }
        if [2, 4].contains(&last) {
            plant.gateway.start()?;
        }
        if last > 1 {
            plant.plc.set(COUNTER, last)?;
        }
        // Each once, the newest last.
        until("the event at the tail", Patience::Short, || {
            ensure!(tail.is_running()?, "it has ended: {}", tail.output()?);
            let output = tail.output()?;
            let lines = output.lines().filter(|line| line.ends_with('}'));
            let rows: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
            let shown = values(&rows);
            ensure!((1..=last).collect::<Vec<i64>>().starts_with(&shown), "{shown:?}");
            Ok((shown.last() == Some(&last)).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn a_damaged_outbox_is_told_by_verify() -> Result<()> {
    const PAGE: usize = 8192;
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, 100, 4)?;
    read_to(&mut plant.reader("production-count")?, 100)?;
    plant.gateway.stop()?;
    let verify = ["outbox", "verify"];
    // A tool that had the store to itself leaves it without a write-ahead log.
    assert_eq!(ask(&plant.gateway, &verify)?.output, "the outbox is whole\n");
    let store = plant.gateway.state().join("outbox.db");
    let whole = std::fs::read(&store)?;

    // An event is missing.
    let deleted = rusqlite::Connection::open(&store)?.execute(
        "DELETE FROM event WHERE instr(CAST(value AS TEXT), '\"rawValue\":50,')",
        [],
    )?;
    assert_eq!(deleted, 1);
    let said = say(&plant.gateway, &verify)?;
    assert_eq!(said.code, Some(4), "{}{}", said.output, said.errors);
    let counts = format!("topic {} partition ", topic(plant.site(), "production-count"));
    let told = "99 events where 100 should be, from 1 to 100\n";
    assert!(
        said.output.starts_with(&counts) && said.output.ends_with(told),
        "{}",
        said.output
    );

    // A page was written over.
    let text = b"\"rawValue\":50,";
    let at = whole.windows(text.len()).position(|window| window == text);
    let page = at.context("event 50 is in the store")? / PAGE * PAGE;
    let mut bytes = whole;
    bytes[page..page + 1024].fill(0xff);
    std::fs::write(&store, &bytes)?;
    let said = say(&plant.gateway, &verify)?;
    assert_eq!(said.code, Some(4), "{}{}", said.output, said.errors);
    assert!(
        said.errors
            .contains(&format!("the store {} is damaged", store.display())),
        "{}",
        said.errors
    );
    Ok(())
}
