//! A server that keeps the subscription of a gateway that is gone: the next process takes it over, and not a single change is missed. And one that says
//! that it gave it over, and never publishes again.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Folder, Gateway, Kafka, Patience, Process, Reader, Record, binary, until};

use crate::counting::{COUNTER, compare, known, read_to, written};
use crate::plant::{Plant, settings, topic, unique_site};

/// Counters of the plant, each of which takes 50 steps a second.
const COUNTERS: usize = 4;
/// How often the gateway ends.
const ENDS: usize = 8;

/// A plant with so many counters and steps of all of them a second. Its server gives subscriptions over to the user that made them.
pub fn simulator(folder: &Folder, counters: usize, rate: usize) -> Result<(Process, String)> {
    let mut command = Command::new(binary("floorgate-simulator")?);
    command.args(["--opcua-port", "0", "--modbus-port", "0"]);
    command.args(["--lines", "0", "--conveyors", "0"]);
    command.arg("--keys").arg(folder.path().join("keys"));
    command.args(["--load", &format!("{counters}:{rate}")]);
    let mut process = Process::start("plant", &command, &folder.path().join("plant.log"))?;
    process.wait_for_output("}\n", Patience::Long)?;
    let output = process.output()?;
    let ready = output.lines().find(|line| line.starts_with('{'));
    let ready: serde_json::Value = serde_json::from_str(ready.unwrap_or_default())?;
    let url = ready["opcua"].as_str().context("the plant has no address")?;
    Ok((process, url.to_owned()))
}

/// A gateway for the counters of such a plant.
pub fn gateway(site: &str, url: &str, kafka: &Kafka, counters: usize) -> Result<Gateway> {
    let quick = "\n    publishing_interval: 10ms\n    sampling_interval: 0ms\n    queue_size: 5000";
    gateway_with(site, url, kafka, counters, quick)
}

/// Does the same with these settings of the subscription, each on a line of its own.
fn gateway_with(site: &str, url: &str, kafka: &Kafka, counters: usize, quick: &str) -> Result<Gateway> {
    let source = format!(
        "adapter: opcua\n    endpoint: {url}\n    trust_any_server_certificate: true\n    \
         login: {{user: demo, password_file: password}}\n    reconnect_limit: 1s{quick}"
    );
    let counters: Vec<String> = (0..counters).map(|number| format!("{{n: {number}}}")).collect();
    let mapping = format!(
        "mapping: counters\nfor_each: [{}]\nsource: plc\nequipment: acme/{site}/load/cell1/counter{{n}}\n\
         tags:\n  count: {{node: 'nsu=urn:floorgate:filling-hall;s=Load.T00000{{n}}', counter: {{width: 32}}}}\n\
         events:\n  - {{type: ProductionCountRecorded, trigger: count, kind: good}}\n",
        counters.join(", ")
    );
    let gateway = Gateway::new(
        &settings(site, &kafka.bootstrap(), &source),
        &[("counters.yaml", &mapping)],
    )?;
    gateway.write("password", "filling-hall")?;
    Ok(gateway)
}

/// The count that a record tells.
pub fn count(record: &Record) -> i64 {
    let data = record.json().unwrap_or_default();
    data["rawValue"].as_i64().unwrap_or_default()
}

/// The records of each counter.
pub fn by_counter(records: &[Record]) -> BTreeMap<String, Vec<Record>> {
    let mut counters: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in records {
        let key = record.key.clone().unwrap_or_default();
        counters.entry(key).or_default().push(record.clone());
    }
    counters
}

/// Reads until each counter has gone on by so much.
fn go_on(reader: &mut Reader, steps: i64) -> Result<()> {
    let reached = |records: &[Record]| -> BTreeMap<String, i64> {
        let counters = by_counter(records);
        let last = |records: &Vec<Record>| records.last().map_or(0, count);
        counters
            .iter()
            .map(|(key, records)| (key.clone(), last(records)))
            .collect()
    };
    let before = reached(reader.records());
    reader.until("all counters going on", Patience::Long, |records| {
        let now = reached(records);
        let gone_on = |(key, last): (&String, &i64)| last - before.get(key).unwrap_or(last) >= steps;
        now.len() == COUNTERS && (before.is_empty() || now.iter().all(gone_on))
    })?;
    Ok(())
}

#[test]
fn a_gateway_that_dies_or_is_stopped_misses_not_a_single_change() -> Result<()> {
    let folder = Folder::new("plant")?;
    let (_plant, url) = simulator(&folder, COUNTERS, COUNTERS * 50)?;
    let site = unique_site();
    let kafka = Kafka::shared()?;
    let mut gateway = gateway(&site, &url, kafka, COUNTERS)?;
    gateway.start()?;
    let mut reader = Reader::new(&kafka.bootstrap(), &topic(&site, "production-count"))?;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for end in 0..ENDS {
        go_on(&mut reader, random.i64(1..=60)).with_context(|| format!("end {end} of seed {seed}"))?;
        match end % 3 {
            0 | 1 => {
                gateway.kill()?;
                gateway.start()?;
            }
            _ if end == 2 => {
                let (status, _) = gateway.stop()?;
                ensure!(status.success(), "{status}");
                gateway.start()?;
            }
            _ => {
                // One that is the same would not be touched.
                let limit = format!("reconnect_limit: {}s", end + 1);
                let settings = std::fs::read_to_string(gateway.config())?;
                let of_source = settings.replace("reconnect_limit: 1s", &limit);
                assert_ne!(of_source, settings);
                gateway.write("floorgate.yaml", &of_source)?;
                gateway.reload()?;
            }
        }
    }
    go_on(&mut reader, 60)?;
    nothing_is_missed(&reader).with_context(|| format!("seed {seed}"))
}

/// Each counter was told step by step.
fn nothing_is_missed(reader: &Reader) -> Result<()> {
    let delivery = Delivery::of(reader.records())?;
    let counters = by_counter(&delivery.accepted);
    assert_eq!(counters.len(), COUNTERS);
    for (key, records) in counters {
        let (first, last) = (count(&records[0]), records.last().map_or(0, count));
        let gaps = compare(&records, &(first..=last)).with_context(|| key.clone())?;
        ensure!(gaps == 0, "{key}: {gaps} gaps");
    }
    Ok(())
}

/// With the settings that a source has when nothing is said of intervals and queues. A step takes ten times as long as the default sampling, which sees
/// each also where the server's machine is busy.
#[test]
fn a_gateway_of_no_special_settings_misses_nothing_either() -> Result<()> {
    let folder = Folder::new("plant")?;
    let (_plant, url) = simulator(&folder, COUNTERS, COUNTERS * 2)?;
    let site = unique_site();
    let kafka = Kafka::shared()?;
    let mut gateway = gateway_with(&site, &url, kafka, COUNTERS, "")?;
    gateway.start()?;
    let mut reader = Reader::new(&kafka.bootstrap(), &topic(&site, "production-count"))?;
    for is_killed in [true, false, true] {
        go_on(&mut reader, 3)?;
        if is_killed {
            gateway.kill()?;
        } else {
            let (status, _) = gateway.stop()?;
            ensure!(status.success(), "{status}");
        }
        gateway.start()?;
    }
    go_on(&mut reader, 3)?;
    nothing_is_missed(&reader)
}

#[test]
fn a_server_that_only_says_that_it_gave_a_subscription_over_is_found_out() -> Result<()> {
    const SILENT: &str = "the subscription was silent";
    // asyncua says so, sends again what is asked for by number, and publishes to the session that is gone: by chance with the number of a request of this
    // one, so that it is heard once, and what was silent before is forgotten.
    const MOST_KILLS: usize = 8;
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    let mut last = 0;
    let mut count = |plant: &mut Plant, steps: i64| -> Result<i64> {
        plant.plc.count_up(COUNTER, last + 1, last + steps, 4)?;
        last += steps;
        written(plant, last)?;
        Ok(last)
    };
    let (mut kills, mut silences) = (0, 0);
    loop {
        kills += 1;
        ensure!(
            kills <= MOST_KILLS,
            "it is still believed: {}",
            plant.gateway.output()?
        );
        let seen = count(&mut plant, 5)?;
        read_to(&mut reader, seen)?;
        plant.gateway.kill()?;
        let unseen = count(&mut plant, 2)?;
        plant.gateway.start()?;
        until("a subscription that is made anew", Patience::Long, || {
            let made = plant.gateway.output()?.matches("made a subscription").count();
            Ok((made > kills).then_some(()))
        })?;
        read_to(&mut reader, unseen)?;
        let told = plant.gateway.output()?.matches(SILENT).count();
        if told == silences {
            break;
        }
        silences = told;
    }
    // Twice is no accident.
    assert!(silences >= 2, "{}", plant.gateway.output()?);
    let delivery = Delivery::of(reader.records())?;
    let gaps = compare(&delivery.accepted, &(1..=last))?;
    assert_eq!(gaps, kills, "one of each kill");
    Ok(())
}
