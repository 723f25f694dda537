//! The simulated filling hall with a gateway, and the truth that its events are held against: the journal that the hall itself keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Folder, Gateway, Kafka, Patience, Process, Reader, Record, binary, until};
use serde_json::{Value, json};

use crate::counting::told;
use crate::plant::{settings, topic, unique_site};

/// How many lines fill.
const LINES: usize = 2;
/// How many seconds of the hall's life pass in one: some 190 changes come of them.
const RATE: usize = 20;

const MAPPING: &str = r#"
mapping: hall
for_each: [{line: 1}, {line: 2}]
source: plc
equipment: acme/{site}/filling/line{line}/filler
tags:
  order:       {node: "nsu=urn:floorgate:filling-hall;s=Line{line}.WorkOrderId"}
  status:      {node: "nsu=urn:floorgate:filling-hall;s=Line{line}.Status", values: isa95-job-state}
  state:       {node: "nsu=urn:floorgate:filling-hall;s=Line{line}.State", values: packml-state}
  good:        {node: "nsu=urn:floorgate:filling-hall;s=Line{line}.Good", counter: {width: 32}}
  temperature: {node: "nsu=urn:floorgate:filling-hall;s=Line{line}.Temperature", unit: CEL}
  vibration:   {node: "nsu=urn:floorgate:filling-hall;s=Line{line}.Vibration", unit: C16}
events:
  - {type: WorkOrderStatusChanged, trigger: status, order: order}
  - {type: EquipmentStateChanged, trigger: state}
  - {type: ProductionCountRecorded, trigger: good, kind: good}
  - {type: MeasurementRecorded, trigger: temperature}
  - {type: MeasurementRecorded, trigger: vibration}
"#;

/// The topics of the events.
const ENTITIES: [&str; 4] = ["work-order", "equipment-state", "production-count", "measurement"];
/// The tags of a line of which events tell, and in which topic.
const TAGS_OF_A_LINE: [(&str, &str); 5] = [
    ("Status", "work-order"),
    ("State", "equipment-state"),
    ("Good", "production-count"),
    ("Temperature", "measurement"),
    ("Vibration", "measurement"),
];

/// Names of the states of an order.
const STATUSES: [(i64, &str); 5] = [
    (2, "AllowedToStart"),
    (3, "Running"),
    (4, "Interrupted"),
    (5, "Ended"),
    (6, "Aborted"),
];
/// Names of the states of a line, from 1 on.
const STATES: [&str; 17] = [
    "Clearing",
    "Stopped",
    "Starting",
    "Idle",
    "Suspended",
    "Execute",
    "Stopping",
    "Aborting",
    "Aborted",
    "Holding",
    "Held",
    "Unholding",
    "Suspending",
    "Unsuspending",
    "Resetting",
    "Completing",
    "Complete",
];

/// A change of a line's tag: when it was, in microseconds since 1970, and what an event has to tell of it.
type Change = (i64, Value);
/// The changes by line and tag, each list in its order.
type Changes = BTreeMap<String, Vec<Change>>;

/// The hall, and a gateway that is configured for it and not started.
pub struct Hall {
    /// The gateway.
    pub gateway: Gateway,
    site: String,
    bootstrap: String,
    journal: PathBuf,
    // It ends with the hall, and its folder after it.
    _plant: Process,
    _folder: Folder,
}

impl Hall {
    /// Starts the hall, and configures a gateway for it and a broker.
    pub fn new(kafka: &Kafka) -> Result<Self> {
        let folder = Folder::new("hall")?;
        let journal = folder.path().join("journal.jsonl");
        let mut command = Command::new(binary("floorgate-simulator")?);
        command.args(["--opcua-port", "0", "--modbus-port", "0", "--conveyors", "0"]);
        command.args(["--lines", &LINES.to_string(), "--rate", &RATE.to_string()]);
        command.arg("--keys").arg(folder.path().join("keys"));
        command.arg("--journal").arg(&journal);
        let mut plant = Process::start("hall", &command, &folder.path().join("hall.log"))?;
        plant.wait_for_output("}\n", Patience::Long)?;
        let ready: Value = serde_json::from_str(plant.output()?.lines().next().unwrap_or_default())?;
        let url = ready["opcua"].as_str().context("the hall has no address")?;
        let source = format!(
            "adapter: opcua\n    endpoint: {url}\n    trust_any_server_certificate: true\n    \
             login: {{user: demo, password_file: password}}\n    \
             publishing_interval: 10ms\n    sampling_interval: 0ms\n    queue_size: 5000\n    reconnect_limit: 1s"
        );
        let (site, bootstrap) = (unique_site(), kafka.bootstrap());
        let mapping = MAPPING.replace("{site}", &site);
        let gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("hall.yaml", &mapping)])?;
        gateway.write("password", "filling-hall")?;
        Ok(Self {
            gateway,
            site,
            bootstrap,
            journal,
            _plant: plant,
            _folder: folder,
        })
    }

    /// Waits until the running gateway knows all tags. Returns the time of the hall's last change until then: each later one is to be told.
    pub fn known(&self) -> Result<i64> {
        for entity in ["work-order", "equipment-state"] {
            let all = |records: &[Record]| {
                let mut keys: Vec<_> = records.iter().filter_map(|record| record.key.as_ref()).collect();
                keys.sort_unstable();
                keys.dedup();
                keys.len() == LINES
            };
            self.reader(entity)?
                .until("each line's state", Patience::Long, all)?;
        }
        self.now()
    }

    /// The time of the hall's last change.
    pub fn now(&self) -> Result<i64> {
        let entries = self.entries()?;
        let last = entries.last().context("nothing is in the journal")?;
        last["time"].as_i64().context("an entry without a time")
    }

    /// Waits until the hall has written so many bytes more to its journal; a change takes about ninety.
    pub fn lives_on(&self, bytes: u64) -> Result<()> {
        let length = || -> Result<u64> { Ok(fs::metadata(&self.journal)?.len()) };
        let end = length()? + bytes;
        until("the hall's changes", Patience::Long, || {
            Ok((length()? >= end).then_some(()))
        })
    }

    /// Waits until the running process of the gateway knows that so many counts are on the log.
    pub fn tells(&self, counts: u32) -> Result<()> {
        told(&self.gateway, &self.site, counts)
    }

    /// Holds what is on the log against the journal: each change after the one time up to the other is told once by the consumer's rule, as it
    /// was, each tag's in order and each line's in each topic by time, none with a gap or on suspicion. Returns what is on the log.
    pub fn compare(&self, after: i64, until_then: i64) -> Result<Delivery> {
        let written = self.written(after, until_then)?;
        let last = |(tag, changes): (&String, &Vec<Change>)| Some((tag.clone(), changes.last()?.0));
        let mut missing: BTreeSet<(String, i64)> = written.iter().filter_map(last).collect();
        let mut records = Vec::new();
        let mut complete = Ok(());
        for entity in ENTITIES {
            let mut reader = self.reader(entity)?;
            let mut looked_at = 0;
            let awaited =
                missing.len() - TAGS_OF_A_LINE.iter().filter(|(_, of)| *of == entity).count() * LINES;
            let read = reader.until("the last changes", Patience::Long, |records| {
                for event in &records[looked_at..] {
                    if let Ok((tag, (time, _))) = change(event) {
                        missing.remove(&(tag, time));
                    }
                }
                looked_at = records.len();
                missing.len() == awaited
            });
            complete = complete.and(read.map(drop));
            records.extend_from_slice(reader.to_end()?);
        }
        let delivery = Delivery::of(&records)?;
        let mut told = in_order(&delivery.accepted, after, until_then)?;
        for (tag, changes) in &written {
            let told = told.remove(tag).unwrap_or_default();
            let place = changes
                .iter()
                .zip(&told)
                .position(|(change, told)| change != told);
            let place = place.unwrap_or(changes.len().min(told.len()));
            ensure!(
                *changes == told,
                "{tag}: of {} changes {} are told; {:?} was told as {:?}",
                changes.len(),
                told.len(),
                changes.get(place),
                told.get(place)
            );
        }
        ensure!(told.is_empty(), "told and not in the journal: {told:?}");
        complete?;
        // The end of the log tells what is there.
        let marked = |record: &Record| record.has_header("floorgate_possible_duplicate");
        ensure!(!records.iter().any(marked), "sent on suspicion");
        Ok(delivery)
    }

    fn reader(&self, entity: &str) -> Result<Reader> {
        Reader::new(&self.bootstrap, &topic(&self.site, entity))
    }

    fn entries(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.journal)?;
        // The last line may be half there.
        let (whole, _) = text.rsplit_once('\n').context("nothing is in the journal")?;
        whole
            .lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }

    /// What the journal says that is to be told.
    fn written(&self, after: i64, until_then: i64) -> Result<Changes> {
        let mut orders: BTreeMap<String, Vec<(i64, Value)>> = BTreeMap::new();
        let entries = self.entries()?;
        for entry in &entries {
            let (line, tag) = line_and_tag(entry)?;
            if tag == "WorkOrderId" {
                let time = entry["time"].as_i64().context("no time")?;
                orders
                    .entry(line.to_owned())
                    .or_default()
                    .push((time, entry["new"].clone()));
            }
        }
        let mut written = Changes::new();
        for entry in &entries {
            let time = entry["time"].as_i64().context("no time")?;
            let (line, tag) = line_and_tag(entry)?;
            let (old, new) = (&entry["old"], &entry["new"]);
            let told = match tag {
                "Good" => json!([old, new]),
                "State" => json!([state(old)?, state(new)?]),
                "Temperature" | "Vibration" => json!([new]),
                "Status" => {
                    // What changes together has one time. With a new order a status has none before it.
                    let known = orders.get(line).into_iter().flatten();
                    let order = known.take_while(|(since, _)| *since <= time).last();
                    let (since, order) = order.context("no order")?;
                    let before = if *since == time { &Value::Null } else { old };
                    json!([status(before)?, status(new)?, order])
                }
                _ => continue,
            };
            if time > after && time <= until_then {
                written
                    .entry(format!("{line}.{tag}"))
                    .or_default()
                    .push((time, told));
            }
        }
        ensure!(
            written.len() == LINES * TAGS_OF_A_LINE.len(),
            "only these changed: {:?}",
            written.keys()
        );
        Ok(written)
    }
}

fn line_and_tag(entry: &Value) -> Result<(&str, &str)> {
    let tag = entry["tag"].as_str().context("no tag")?;
    let (line, tag) = tag.split_once('.').with_context(|| tag.to_owned())?;
    Ok((line, tag))
}

fn status(number: &Value) -> Result<Value> {
    if number.is_null() {
        return Ok(Value::Null);
    }
    let name = STATUSES.iter().find(|(known, _)| number == known);
    Ok(json!(name.with_context(|| format!("no status {number}"))?.1))
}

fn state(number: &Value) -> Result<Value> {
    let Some(number) = number.as_u64() else {
        return Ok(Value::Null);
    };
    let name = STATES.get(usize::try_from(number)?.wrapping_sub(1));
    Ok(json!(name.with_context(|| format!("no state {number}"))?))
}

/// What an event tells: the line's tag, and its change.
fn change(event: &Record) -> Result<(String, Change)> {
    let time: jiff::Timestamp = event.header("ce_time")?.parse()?;
    let key = event.key.as_deref().context("an event without a key")?;
    let line = key.split('/').find_map(|part| part.strip_prefix("line"));
    let line = line.with_context(|| key.to_owned())?;
    let data = event.json()?;
    ensure!(data.get("gap").is_none(), "a gap: {event:?}");
    let name = |field: &str| -> Result<String> {
        let name = data[field].as_str().with_context(|| format!("no {field}"))?;
        Ok(name[..1].to_uppercase() + &name[1..])
    };
    let kind = event.header("ce_type")?;
    let kind = kind
        .strip_prefix("io.floorgate.mes.")
        .with_context(|| kind.to_owned())?;
    let (tag, told) = match kind.strip_suffix(".v1").unwrap_or_default() {
        "ProductionCountRecorded" => (name("kind")?, json!([data["rawPrevious"], data["rawValue"]])),
        "MeasurementRecorded" => (name("name")?, json!([data["value"]])),
        "EquipmentStateChanged" => ("State".to_owned(), json!([data["previousState"], data["state"]])),
        "WorkOrderStatusChanged" => (
            "Status".to_owned(),
            json!([data["previousStatus"], data["status"], data["workOrderId"]]),
        ),
        other => anyhow::bail!("an event of type {other}"),
    };
    Ok((format!("Line{line}.{tag}"), (time.as_microsecond(), told)))
}

/// What events tell of the time after the one time up to the other; an error where those of a line in a topic are not in the order of their times.
fn in_order(events: &[Record], after: i64, until_then: i64) -> Result<Changes> {
    let mut changes = Changes::new();
    let mut latest: BTreeMap<(&str, Option<&str>), i64> = BTreeMap::new();
    for event in events {
        let (tag, (time, what)) = change(event)?;
        if time <= after || time > until_then {
            continue;
        }
        let before = latest.insert((&event.topic, event.key.as_deref()), time);
        ensure!(before <= Some(time), "after {before:?} comes {event:?}");
        changes.entry(tag).or_default().push((time, what));
    }
    Ok(changes)
}
