//! What an operator sees and orders at the command line, with a gateway that runs and without.

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Gateway, Kafka, Patience, Reader, until};
use serde_json::Value;

use crate::counting::{COUNTER, compare, known, read_to};
use crate::plant::{Plant, topic};

/// What a tool printed, and its exit code.
struct Said {
    output: String,
    errors: String,
    code: Option<i32>,
}

impl Said {
    fn rows(&self) -> Result<Vec<Value>> {
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

fn ask(gateway: &Gateway, words: &[&str]) -> Result<Said> {
    let said = say(gateway, words)?;
    ensure!(
        said.code == Some(0),
        "{words:?} ended with {:?}: {}",
        said.code,
        said.errors
    );
    Ok(said)
}

/// The counter's values of exported events.
fn values(rows: &[Value]) -> Vec<i64> {
    rows.iter()
        .filter_map(|row| row["value"]["rawValue"].as_i64())
        .collect()
}

#[test]
fn the_outbox_is_looked_into_while_the_gateway_runs_and_when_it_does_not() -> Result<()> {
    const WAITING: [&str; 5] = [
        "outbox",
        "export",
        "--waiting",
        "--type",
        "ProductionCountRecorded",
    ];
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
        &["replay", "--type", "ProductionCountRecorded", "--to-topic", &to],
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
