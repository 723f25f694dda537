//! What publishing costs and how long it takes, against a real broker.
//!
//! `bench BROKER RATE SECONDS [LINGER_MS]` commits `RATE` events a second, in steps of a millisecond, to a store in the folder for temporary files, lets a
//! second process consume them, and prints the latency from the commit to the consumer and the CPU time of each thread.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_metrics::Metrics;
use floorgate_outbox::{Commit, Event, Options, Reader, Store};
use floorgate_publisher::{KafkaSettings, Publisher, Report, Wiring};
use floorgate_sample::Timestamp;
use hdrhistogram::Histogram;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

type Failure = Box<dyn std::error::Error>;

const PARTITIONS: u16 = 6;
/// Seconds at the beginning that do not count.
const WARM_UP: u64 = 3;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match text.as_slice() {
        ["consume", broker, topic, count, skip] => consume(broker, topic, count.parse()?, skip.parse()?),
        [broker, rate, seconds] => produce(broker, rate.parse()?, seconds.parse()?, None),
        [broker, rate, seconds, linger] => {
            produce(broker, rate.parse()?, seconds.parse()?, Some(linger.parse()?))
        }
        _ => Err("usage: bench BROKER RATE SECONDS [LINGER_MS]".into()),
    }
}

fn consume(broker: &str, topic: &str, count: u64, skip: u64) -> Result<(), Failure> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "100")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..i32::from(PARTITIONS) {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    println!("ready");
    let mut latency = Histogram::<u64>::new(3)?;
    let mut seen = 0;
    while seen < count {
        let Some(record) = consumer.poll(Duration::from_secs(30)) else {
            break;
        };
        // The consumer outlives a restart of the broker, too.
        let Ok(record) = record else { continue };
        let payload = record.payload().unwrap_or_default();
        let sent = payload
            .get(..8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(i64::from_le_bytes);
        if let Some(sent) = sent.filter(|_| seen >= skip) {
            latency.record(u64::try_from(Timestamp::now().as_nanos() - sent)? / 1000)?;
        }
        seen += 1;
    }
    let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "commit→consumer: {seen} events, p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.2} ms",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    Ok(())
}

fn produce(broker: &str, rate: u64, seconds: u64, linger: Option<f64>) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("floorgate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("outbox.db");
    let (mut store, _) = Store::open(&Options::new(&path))?;
    let mut settings = KafkaSettings::new(vec![broker.to_owned()]);
    settings.topics.partitions = PARTITIONS;
    settings.security = floorgate_publisher::SecuritySettings::plaintext();
    settings.linger = Duration::from_secs_f64(linger.unwrap_or_default() / 1000.0);
    let metrics = Metrics::new()?;
    let publisher = Publisher::start(
        &settings,
        Wiring {
            reader: Reader::open(&path)?,
            topics: Vec::new(),
            gateway: "bench".to_owned(),
            incarnation: "1".to_owned(),
            metrics: metrics.clone(),
            wake: Box::new(|| {}),
        },
    )?;
    let topic: Arc<str> = Arc::from(format!("bench-{}", std::process::id()));
    publisher.prepare([Arc::clone(&topic)]);
    let partitions = loop {
        if let Some(Report::TopicPinned { partitions, .. }) = publisher.take_reports().pop() {
            break partitions;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    };
    store.pin_topic(&topic, partitions)?;

    let mut consumer = Command::new(std::env::current_exe()?)
        .args([
            "consume",
            broker,
            &topic,
            &(rate * seconds).to_string(),
            &(rate * WARM_UP).to_string(),
        ])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(consumer.stdout.take().ok_or("no output")?).lines();
    said.next();

    let mut before = threads();
    let begin = Instant::now();
    let mut made = 0;
    let mut commit = Commit::default();
    let stage = metrics.stages().committed_to_acknowledged;
    let mut cold = None;
    while made < rate * seconds {
        if cold.is_none() && made >= rate * WARM_UP {
            cold = Some((stage.get_sample_count(), stage.get_sample_sum()));
            before = threads();
        }
        let due = u64::try_from(begin.elapsed().as_micros())? * rate / 1_000_000;
        let due = due.min(rate * seconds);
        if due == made {
            std::thread::park_timeout(Duration::from_micros(1_000_000 / rate.min(1000)));
            continue;
        }
        commit
            .events
            .extend((made..due).map(|number| event(&topic, number)));
        publisher.take_acknowledged(&mut commit.acknowledged);
        let committed = store.commit(&mut commit)?;
        publisher.offer(committed.rows, Timestamp::now());
        made = due;
    }
    let elapsed = begin.elapsed().as_secs_f64() - WARM_UP as f64;
    let (cold_count, cold_sum) = cold.unwrap_or_default();
    let after = threads();
    for line in said {
        println!("{}", line?);
    }
    consumer.wait()?;
    for (name, ticks) in &after {
        let cpu = (ticks - before.get(name).copied().unwrap_or(0)) as f64 / 100.0 / elapsed * 100.0;
        if cpu >= 0.1 {
            println!("{name:24} {cpu:5.1} % of a core");
        }
    }
    let (count, sum) = (
        stage.get_sample_count() - cold_count,
        stage.get_sample_sum() - cold_sum,
    );
    println!("commit→acknowledged: mean {:.2} ms", sum / count as f64 * 1000.0);
    drop(publisher.stop(Duration::from_secs(5)));
    drop(store);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn event(topic: &Arc<str>, number: u64) -> Event {
    let now = Timestamp::now();
    let mut value = now.as_nanos().to_le_bytes().to_vec();
    value.resize(400, b'x');
    Event {
        topic: Arc::clone(topic),
        key: Arc::from(format!("acme/hall/line{}", number % 40)),
        partition: None,
        id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        kind: Arc::from("EquipmentStateChanged"),
        subject: Arc::from("acme/hall/line"),
        recorded: now,
        shared_headers: "".into(),
        headers: "ce_specversion: 1.0\nce_id: 01890a5d-ac96-774b-bcce-b302099a8057\nce_source: /floorgate/hall\nce_type: EquipmentStateChanged\nce_subject: acme/hall/line\nce_time: 2026-01-01T00:00:00.000Z\nce_partitionkey: acme/hall/line\nce_sequence: 00000000000000000001\ncontent-type: application/json"
            .to_owned(),
        value,
        trace: String::new(),
    }
}

/// CPU ticks (1/100 s) of this process's threads by name.
fn threads() -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let ticks = |field: usize| {
            tail.split_whitespace()
                .nth(field)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        *found.entry(name.to_owned()).or_insert(0) += ticks(11) + ticks(12);
    }
    found
}
