//! What an operator does: start, stop, reload, look.

use std::process::{Command, Output};

use anyhow::Result;
use floorgate_tests::{Delivery, Gateway, Kafka, Patience, Process, Record, binary, until};

use crate::plant::{Plant, settings};

#[test]
fn a_stop_under_load_is_quick_and_loses_nothing() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(2, Patience::Long)?;
    plant.plc.count_up("Line1.Good", 1, 100_000, 2)?;
    let mut reader = plant.reader("production-count")?;
    reader.at_least(100, Patience::Long)?;
    let (status, duration) = plant.gateway.stop()?;
    assert_eq!(status.code(), Some(0));
    assert!(duration <= Gateway::STOP_LIMIT, "{duration:?}");
    let before: Vec<Record> = Delivery::of(reader.to_end()?)?.accepted;
    let value = |record: &Record| record.json().map(|data| data["rawValue"].as_i64());
    let last = value(&before[before.len() - 1])?;
    // Everything stored was published, so that what follows begins where it ended.
    plant.gateway.start()?;
    let more = before.len() + 1;
    let after = Delivery::of(reader.at_least(more, Patience::Long)?)?.accepted;
    let next = after[before.len()].json()?;
    assert_eq!(next["rawPrevious"].as_i64(), last);
    assert_eq!(next["gap"], true, "nobody looked between stop and start");
    Ok(())
}

#[test]
fn a_stop_without_a_broker_is_quick_and_loses_nothing() -> Result<()> {
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(2, Patience::Long)?;
    kafka.stop()?;
    plant.plc.set("Line1.State", 6)?;
    let stored = "floorgate_events_total{type=\"EquipmentStateChanged\"}";
    plant.gateway.wait_for_metric(stored, 3.0.., Patience::Short)?;
    let (status, duration) = plant.gateway.stop()?;
    assert_eq!(status.code(), Some(0));
    assert!(duration <= Gateway::STOP_LIMIT, "{duration:?}");
    kafka.resume()?;
    plant.gateway.start()?;
    let mut reader = plant.reader("equipment-state")?;
    // The lines may be in different partitions, which a reader may take in any order: line 1's own events are in order.
    let accepted = Delivery::of(reader.at_least(3, Patience::Long)?)?.accepted;
    let line_1 = accepted
        .iter()
        .filter(|record| record.key.as_deref().is_some_and(|key| key.contains("line1/")));
    let told: Vec<_> = line_1
        .map(|record| Ok(record.json()?["state"].clone()))
        .collect::<Result<_>>()?;
    assert_eq!(told, ["Idle", "Execute"]);
    Ok(())
}

#[test]
fn a_bad_configuration_leaves_the_old_one_at_work() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(2, Patience::Long)?;
    let good = plant.settings()?;
    plant
        .gateway
        .write("floorgate.yaml", &good.replace("brokers:", "brokres:"))?;
    plant.gateway.reload()?;
    plant
        .gateway
        .process()?
        .wait_for_output("brokres", Patience::Short)?;
    let reloads = |result: &str| format!("floorgate_reloads_total{{result=\"{result}\"}}");
    plant
        .gateway
        .wait_for_metric(&reloads("refused"), 1.0..=1.0, Patience::Short)?;
    plant.plc.set("Line1.State", 6)?;
    plant.reader("equipment-state")?.at_least(3, Patience::Short)?;

    // A good one is taken over: line 1 has another path from now on, and line 2 goes on as it was.
    plant.gateway.write("floorgate.yaml", &good)?;
    let mapping = std::fs::read_to_string(plant.gateway.folder().join("mappings/filling.yaml"))?;
    plant
        .gateway
        .write("mappings/filling.yaml", &mapping.replace("/filler", "/packer"))?;
    plant.gateway.reload()?;
    plant
        .gateway
        .wait_for_metric(&reloads("ok"), 1.0..=1.0, Patience::Short)?;
    // The PLC is read anew; the change is told under the new path as soon as it is seen.
    until("the lines in sight", Patience::Long, || {
        Ok((plant.plc.monitored_items()? == 12).then_some(()))
    })?;
    plant.plc.set("Line1.State", 11)?;
    let mut reader = plant.reader("equipment-state")?;
    reader.until("the new path", Patience::Long, |records| {
        let moved = |record: &Record| {
            record
                .key
                .as_deref()
                .is_some_and(|key| key.ends_with("line1/packer"))
        };
        let held = |record: &Record| record.json().is_ok_and(|data| data["state"] == "Held");
        records.iter().any(|record| moved(record) && held(record))
    })?;
    Ok(())
}

#[test]
fn a_secret_that_is_not_there_is_a_wrong_configuration() -> Result<()> {
    let source = "adapter: modbus\n    connect: tcp://127.0.0.1:1";
    let settings = settings("secrets", "127.0.0.1:1", source).replace("\"mappings/*.yaml\"", "");
    let with = |file: &str| {
        settings.replace(
            "{protocol: plaintext}",
            &format!(
                "{{protocol: sasl_plaintext, mechanism: SCRAM-SHA-512, username: gw, password_file: {file}}}"
            ),
        )
    };
    let gateway = Gateway::new(&with("password"), &[])?;
    let ran = gateway.command(&["run"])?.output()?;
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(3), "{text}");
    assert!(
        text.contains("`password_file`") && text.contains("cannot be read"),
        "{text}"
    );
    let check = gateway.check()?;
    assert_eq!(check.code, Some(3), "{}", check.output);

    // A source's secrets are looked at like Kafka's.
    let server = "adapter: opcua\n    endpoint: opc.tcp://127.0.0.1:1\n    login: {user: gw, password_file: plc-password}";
    let of_source = settings.replace(source, server);
    assert_ne!(of_source, settings);
    gateway.write("floorgate.yaml", &of_source)?;
    let check = gateway.check()?;
    assert_eq!(check.code, Some(3), "{}", check.output);
    assert!(
        check.output.contains("plc-password cannot be read"),
        "{}",
        check.output
    );

    // Only the service has credentials: `check` can but warn.
    for with_credential in [
        with("credential:kafka"),
        of_source.replace("plc-password", "credential:plc"),
    ] {
        gateway.write("floorgate.yaml", &with_credential)?;
        let check = gateway.check()?;
        assert_eq!(check.code, Some(0), "{}", check.output);
        assert!(
            check.output.contains("$CREDENTIALS_DIRECTORY"),
            "{}",
            check.output
        );
        let ran = gateway.command(&["run"])?.output()?;
        assert_eq!(ran.status.code(), Some(3));
    }
    Ok(())
}

#[test]
fn a_second_gateway_on_one_store_is_refused() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    let log = plant.gateway.folder().join("second.log");
    let mut command = plant.gateway.command(&["run"])?;
    command.env("FLOORGATE_HTTP__LISTEN", "127.0.0.1:0");
    let mut second = Process::start("the second floorgate", &command, &log)?;
    let status = second.wait(Patience::Short.duration())?;
    assert_eq!(status.code(), Some(5), "{}", second.output()?);
    assert_eq!(plant.gateway.get("/healthz")?.status, 200, "the first goes on");
    Ok(())
}

#[test]
fn the_pages_say_how_it_stands() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(2, Patience::Long)?;
    assert_eq!(plant.gateway.get("/healthz")?.status, 200);
    assert_eq!(plant.gateway.get("/readyz")?.status, 200);
    assert_eq!(plant.gateway.get("/nothing")?.status, 404);
    plant.plc.set("Line1.Good", 1)?;
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Short)?;
    let page = plant.gateway.get("/metrics")?;
    assert!(page.head.contains("text/plain"), "{}", page.head);
    for line in [
        "floorgate_source_up{source=\"plc\"} 1",
        "floorgate_kafka_up 1",
        "# HELP floorgate_outbox_depth ",
        "# TYPE floorgate_stage_seconds histogram",
    ] {
        assert!(page.body.contains(line), "no {line} in\n{}", page.body);
    }
    for stage in [
        "source_to_received",
        "received_to_committed",
        "committed_to_acknowledged",
    ] {
        let count = format!("floorgate_stage_seconds_count{{stage=\"{stage}\"}}");
        plant
            .gateway
            .wait_for_metric(&count, 1.0..=f64::MAX, Patience::Short)?;
    }
    Ok(())
}

fn run(words: &[&str]) -> Result<Output> {
    Ok(Command::new(binary("floorgate")?).args(words).output()?)
}

#[test]
fn the_program_tells_its_version_and_refuses_what_it_does_not_know() -> Result<()> {
    let version = run(&["version"])?;
    assert_eq!(
        String::from_utf8(version.stdout)?.trim(),
        format!("floorgate {}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(run(&["runn"])?.status.code(), Some(2));
    assert_eq!(
        run(&["run", "--config", "/nowhere/floorgate.yaml"])?
            .status
            .code(),
        Some(3)
    );
    Ok(())
}

/// The entries of a section of a help page: each with its description, which stands beside it or on the next line.
fn entries(page: &str, section: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = page.split_once(&format!("\n{section}:\n")) else {
        return Vec::new();
    };
    let lines: Vec<&str> = rest
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .collect();
    let is_entry = |line: &str| !line.is_empty() && line.len() - line.trim_start().len() <= 6;
    let places = (0..lines.len()).filter(|at| is_entry(lines[*at]));
    let entry = |at: usize| {
        let below = lines.get(at + 1).filter(|line| !is_entry(line));
        let below = below.map_or("", |line| line.trim());
        let (name, description) = lines[at]
            .trim()
            .split_once("  ")
            .unwrap_or((lines[at].trim(), below));
        (name.to_owned(), description.trim().to_owned())
    };
    places.map(entry).collect()
}

/// Reads the help of a command and of all below it, and tells the names of those that do something.
fn look_at_help(words: &[&str], found: &mut Vec<String>) -> Result<()> {
    let output = run(&[words, &["--help"]].concat())?;
    let page = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{words:?}: {page}");
    assert!(
        page.lines()
            .next()
            .is_some_and(|line| line.len() > 10 && !line.starts_with("Usage")),
        "{words:?} says nothing of itself: {page}"
    );
    for section in ["Arguments", "Options", "Commands"] {
        for (name, description) in entries(&page, section) {
            // What clap adds by itself is no description: a default, a variable, what is possible.
            let is_described = description.len() > 5 && !description.starts_with(['[', '-']);
            assert!(
                is_described && description != "Possible values:",
                "{words:?} does not describe {name}: {page}"
            );
        }
    }
    let commands = entries(&page, "Commands");
    if commands.is_empty() {
        found.push(words.join(" "));
    }
    for (name, _) in commands.iter().filter(|(name, _)| name != "help") {
        look_at_help(&[words, &[name]].concat(), found)?;
    }
    Ok(())
}

#[test]
fn every_command_and_every_argument_is_explained() -> Result<()> {
    let mut found = Vec::new();
    look_at_help(&[], &mut found)?;
    assert_eq!(
        found,
        [
            "run",
            "check",
            "test",
            "simulate",
            "diff",
            "browse",
            "probe",
            "pki init",
            "pki show",
            "pki list",
            "pki trust",
            "pki reject",
            "pki renew",
            "sources",
            "tags",
            "runbook",
            "events",
            "explain",
            "record",
            "outbox status",
            "outbox tail",
            "outbox export",
            "outbox repartition",
            "outbox verify",
            "dlq list",
            "dlq show",
            "dlq replay",
            "dlq drop",
            "replay",
            "demo",
            "schema",
            "reference",
            "completion",
            "version",
        ]
    );
    let page = String::from_utf8(run(&["outbox", "tail", "--help"])?.stdout)?;
    let options = entries(&page, "Options");
    let follow = (
        "-f, --follow".to_owned(),
        "Go on with events as they come".to_owned(),
    );
    assert!(options.contains(&follow) && options.len() > 10, "{options:?}");
    Ok(())
}
