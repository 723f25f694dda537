//! What is recorded while the gateway runs, and what mappings make of it afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Kafka, Patience, Process, binary, until};
use serde_json::{Value, json};

use crate::counting::{COUNTER, written};
use crate::plant::Plant;

/// Counts, windows, states that have to settle, alarms that have to hold, snapshots and orders.
const MAPPING: &str = r#"
mapping: filling
source: plc
equipment: acme/{site}/filling/line1/filler
tags:
  order:  {node: "nsu=urn:floorgate:test:plant;s=Line1.WorkOrderId"}
  status: {node: "nsu=urn:floorgate:test:plant;s=Line1.Status", values: isa95-job-state}
  state:  {node: "nsu=urn:floorgate:test:plant;s=Line1.State", values: packml-state, debounce: 100ms}
  good:   {node: "nsu=urn:floorgate:test:plant;s=Line1.Good", counter: {width: 32}}
  temp:   {node: "nsu=urn:floorgate:test:plant;s=Line1.Temp", unit: CEL, deadband: 0.5, at_least_every: 300ms}
  alarms: {node: "nsu=urn:floorgate:test:plant;s=Line1.Alarms", bits: {0: {code: E-STOP, severity: 900}}}
events:
  - {type: WorkOrderStatusChanged, trigger: status, order: order}
  - {type: OrderSeen, trigger: status, snapshot: [order], data: {order: order}}
  - {type: EquipmentStateChanged, trigger: state}
  - {type: ProductionCountRecorded, trigger: good, kind: good}
  - {type: ProductionCountRecorded, name: every-second, trigger: good, kind: good, window: 1s}
  - {type: Alarm, trigger: alarms}
  - {type: MeasurementRecorded, trigger: temp}
"#;

/// An event by its id.
type Rows = BTreeMap<String, Value>;

fn rows(command: &mut Command) -> Result<Rows> {
    let output = command.output()?;
    let told = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let row = |line: &str| -> Result<(String, Value)> {
        let row: Value = serde_json::from_str(line)?;
        let id = row["id"].as_str().context("no id")?.to_owned();
        Ok((id, row))
    };
    told.lines().map(row).collect()
}

/// What of a row both commands say.
fn of_both(row: &Value) -> Value {
    let of = [
        "recorded", "topic", "id", "type", "subject", "key", "headers", "value",
    ];
    of.into_iter()
        .map(|name| (name.to_owned(), row[name].clone()))
        .collect()
}

/// Begins a recording, and waits until it has.
fn begin(plant: &Plant) -> Result<(Process, PathBuf)> {
    let command = plant
        .gateway
        .command(&["record", "--json", "--output", "monday.rec"])?;
    let log = plant.gateway.folder().join("record.log");
    let recorder = Process::start("floorgate record", &command, &log)?;
    let file = plant.gateway.folder().join("monday.rec");
    until("a recording", Patience::Long, || {
        Ok(file.metadata().ok().filter(|file| file.len() > 0).map(drop))
    })?;
    Ok((recorder, file))
}

/// What happens on the floor.
fn happen(plant: &mut Plant, first: i64, last: i64) -> Result<()> {
    plant.plc.count_up(COUNTER, first, last, 5)?;
    let half = i64::midpoint(first, last);
    written(plant, half)?;
    for (order, status, state, alarms) in [("WO-2", 3, 6, 1), ("WO-3", 5, 4, 0)] {
        plant.plc.set_all(&[
            ("Line1.WorkOrderId", json!(order)),
            ("Line1.Status", json!(status)),
            ("Line1.State", json!(state)),
        ])?;
        plant.plc.set("Line1.Alarms", alarms)?;
        plant.plc.set("Line1.Temp", 20.0 + f64::from(status))?;
    }
    written(plant, last)
}

#[test]
fn the_mapping_that_was_recorded_makes_the_same_events_of_it() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let mapping = MAPPING.replace("{site}", plant.site());
    plant.gateway.write("mappings/filling.yaml", &mapping)?;
    plant.gateway.start()?;
    happen(&mut plant, 1, 200)?;

    // In the middle of everything.
    plant.plc.count_up(COUNTER, 201, 400, 5)?;
    written(&mut plant, 220)?;
    let (mut recorder, file) = begin(&plant)?;
    written(&mut plant, 400)?;
    happen(&mut plant, 401, 800)?;
    // The end does not wait for a pause.
    plant.plc.count_up(COUNTER, 801, 100_000, 5)?;
    written(&mut plant, 820)?;
    recorder.interrupt()?;
    let status = recorder.wait(Duration::from_secs(30))?;
    ensure!(status.success(), "{}", recorder.output()?);
    let told: Value = serde_json::from_str(recorder.output()?.lines().last().context("nothing told")?)?;
    ensure!(told["left_out"] == 0, "{told}");
    plant.gateway.stop()?;

    let made = rows(&mut plant.gateway.command(&["outbox", "export"])?)?;
    let name = file.display().to_string();
    let simulated = rows(&mut plant.gateway.command(&["simulate", &name, "--json"])?)?;
    let begin = simulated
        .values()
        .map(|row| row["recorded"].as_str())
        .min()
        .flatten();
    let end = simulated
        .values()
        .map(|row| row["recorded"].as_str())
        .max()
        .flatten();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, row) in &simulated {
        let theirs = made
            .get(id)
            .with_context(|| format!("the gateway did not make {row}"))?;
        ensure!(of_both(row) == of_both(theirs), "{row}\nis not\n{theirs}");
        *kinds.entry(row["type"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let between = made.iter().filter(|(id, row)| {
        let at = row["recorded"].as_str();
        at > begin && at < end && !simulated.contains_key(*id)
    });
    let missing: Vec<_> = between.collect();
    ensure!(missing.is_empty(), "not simulated: {missing:?}");
    ensure!(kinds.len() >= 6 && simulated.len() > 400, "{kinds:?}");
    a_test_is_made_of_it(&plant, &file, &kinds)
}

/// A test that is made of a recording passes, and expects what the gateway made meanwhile.
fn a_test_is_made_of_it(plant: &Plant, recording: &Path, kinds: &BTreeMap<&str, usize>) -> Result<()> {
    let folder = plant.gateway.folder();
    let program = || -> Result<Command> {
        let mut command = Command::new(binary("floorgate")?);
        command.current_dir(folder).arg("test");
        Ok(command)
    };
    let of_recording = |at: &str, length: &str| -> Result<Output> {
        let part = ["--at", at, "--for", length];
        let mut command = program()?;
        command
            .arg("mappings/filling.yaml")
            .arg("--record")
            .arg(recording)
            .args(part);
        Ok(command.output()?)
    };
    let piece = String::from_utf8(of_recording("0s", "1s")?.stdout)?;
    ensure!(
        piece.contains("\n      - {at: 2s}\n    expect:"),
        "it ends with its part: {piece}"
    );
    let made = of_recording("0s", "1h")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = String::from_utf8(made.stdout)?;
    plant.gateway.write("mappings/recorded.test.yaml", &text)?;
    let run = program()?.arg("mappings").output()?;
    ensure!(
        run.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&run.stdout)
    );
    let (_, expected) = text.split_once("    expect:\n").context("nothing is expected")?;
    let live = |kind: &str| {
        let events = expected.split("      - at: ");
        let of_kind = events.filter(|event| event.contains(&format!("type: {kind}\n")));
        of_kind.filter(|event| !event.contains("initial: true")).count()
    };
    for kind in [
        "WorkOrderStatusChanged",
        "OrderSeen",
        "AlarmRaised",
        "AlarmCleared",
    ] {
        assert_eq!(Some(&live(kind)), kinds.get(kind), "{kind}: {text}");
    }
    let outside = of_recording("2100-01-01T00:00:00Z", "1h")?;
    assert_eq!(outside.status.code(), Some(1));
    let said = String::from_utf8_lossy(&outside.stderr);
    assert!(
        said.contains("nothing was recorded there: the recording is from 20"),
        "{said}"
    );
    Ok(())
}

/// What a command prints, line by line as JSON.
fn lines(command: &mut Command) -> Result<Vec<Value>> {
    let output = command.output()?;
    let told = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    told.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn another_mapping_is_compared_with_the_recorded_one_event_by_event() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let mapping = MAPPING.replace("{site}", plant.site());
    plant.gateway.write("mappings/filling.yaml", &mapping)?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(1, Patience::Long)?;
    let (mut recorder, file) = begin(&plant)?;
    happen(&mut plant, 1, 100)?;
    plant.reader("production-count")?.at_least(100, Patience::Long)?;
    recorder.interrupt()?;
    ensure!(recorder.wait(Duration::from_secs(30))?.success());
    plant.gateway.stop()?;

    // Other names, another unit, a tag that is not read at all, no alarms, and a deadband that lets less through.
    let other = mapping
        .replace("mapping: filling", "mapping: packing")
        .replace("good:", "count:")
        .replace("trigger: good", "trigger: count")
        .replace("unit: CEL, deadband: 0.5", "unit: KEL, deadband: 50")
        .replace("  - {type: Alarm, trigger: alarms}\n", "")
        .replace(
            "  alarms:",
            "  spare: {node: \"nsu=urn:floorgate:test:plant;s=Line1.Spare\"}\n  alarms:",
        );
    let other = plant.gateway.write("other.yaml", &other)?;
    let (name, other) = (file.display().to_string(), other.display().to_string());
    let told = lines(
        &mut plant
            .gateway
            .command(&["simulate", &name, "--against", &other, "--json"])?,
    )?;
    let of = |kind: &str| -> Vec<&Value> { told.iter().filter(|row| row["type"] == kind).collect() };
    ensure!(of("WorkOrderStatusChanged").is_empty(), "{told:?}");
    let counts = of("ProductionCountRecorded");
    let renamed = |row: &&&Value| row["fields"]["counterId"] == json!(["good", "count"]);
    ensure!(
        counts
            .iter()
            .all(|row| row["difference"] != "differs" || renamed(&row)),
        "{counts:?}"
    );
    ensure!(
        !of("AlarmRaised").is_empty()
            && of("AlarmRaised")
                .iter()
                .all(|row| row["difference"] == "only in the first")
    );
    ensure!(
        of("MeasurementRecorded")
            .iter()
            .any(|row| row["difference"] == "only in the first"),
        "{told:?}"
    );
    let output = plant
        .gateway
        .command(&["simulate", &name, "--mapping", &other])?
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        told.contains("1 tags are not in the recording, such as packing/spare"),
        "{told}"
    );
    let output = plant.gateway.command(&["simulate", &other])?.output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && told.contains("not a recording"),
        "{told}"
    );
    Ok(())
}

#[test]
fn tags_and_events_of_a_running_gateway_are_shown() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    let output = plant.gateway.command(&["tags"])?.output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && told.contains("no gateway runs"),
        "{told}"
    );
    plant.gateway.start()?;
    plant.plc.set("Line2.Temp", 21.25)?;
    plant
        .reader("measurement")?
        .until("the temperature", Patience::Long, |records| {
            records
                .iter()
                .any(|record| record.json().is_ok_and(|data| data["value"] == 21.25))
        })?;
    let temperature = lines(&mut plant.gateway.command(&["tags", "*/2/temp", "--json"])?)?;
    let [temperature] = &temperature[..] else {
        anyhow::bail!("{temperature:?}");
    };
    ensure!(
        temperature["tag"] == "filling/2/temp"
            && temperature["value"] == 21.25
            && temperature["quality"] == "good"
            && temperature["rules"] == json!(["filling.2.MeasurementRecorded.temp"]),
        "{temperature}"
    );
    let output = plant.gateway.command(&["tags"])?.output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        told.lines()
            .any(|line| line.starts_with("filling/1/order") && line.contains("WO-1")),
        "{told}"
    );
    ensure!(
        told.contains("12 tags, 0 of which nothing was ever received"),
        "{told}"
    );

    let log = plant.gateway.folder().join("tags.log");
    let mut watch = Process::start(
        "tags",
        &plant.gateway.command(&["tags", "*/temp", "--watch"])?,
        &log,
    )?;
    let log = plant.gateway.folder().join("events.log");
    let words = ["events", "--type", "MeasurementRecorded"];
    let mut events = Process::start("events", &plant.gateway.command(&words)?, &log)?;
    let log = plant.gateway.folder().join("consumed.log");
    let words = ["events", "--from-kafka", "--type", "MeasurementRecorded"];
    let mut consumed = Process::start("consumed", &plant.gateway.command(&words)?, &log)?;
    for shown in [&mut events, &mut consumed] {
        shown.wait_for_output("value=21.25", Patience::Long)?;
    }
    // It shows what comes from when it is ready on: until then other values are written.
    let mut degrees = 30.0;
    until("a temperature that is watched", Patience::Long, || {
        degrees += 1.0;
        plant.plc.set("Line1.Temp", degrees)?;
        Ok(watch.output()?.contains("filling/1/temp").then_some(()))
    })?;
    plant.plc.set("Line1.Temp", 99.5)?;
    watch.wait_for_output("filling/1/temp  99.5  good", Patience::Long)?;
    for shown in [&mut events, &mut consumed] {
        shown.wait_for_output("value=99.5  unit=CEL", Patience::Long)?;
    }
    plant.plc.kill();
    plant
        .gateway
        .wait_for_metric("floorgate_source_up{source=\"plc\"}", 0.0..0.5, Patience::Long)?;
    let lost = lines(&mut plant.gateway.command(&["tags", "*/2/temp", "--json"])?)?;
    ensure!(
        lost[0]["value"].is_null() && lost[0]["quality"] == "bad",
        "{lost:?}"
    );
    let first = lines(&mut plant.gateway.command(&[
        "events",
        "--from-kafka",
        "--no-follow",
        "--json",
        "--from",
        "2020-01-01T00:00:00Z",
        "--type",
        "MeasurementRecorded",
    ])?)?;
    ensure!(
        first.iter().any(|row| row["value"]["value"] == 21.25),
        "{first:?}"
    );
    Ok(())
}
