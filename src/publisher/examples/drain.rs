//! How fast a backlog goes out, against what the same records take in a bare loop over the client.
//!
//! `drain BROKER [EVENTS]` stores so many events (a million without it), starts a publisher as after a long outage, and stores what it
//! acknowledges as the engine does, while a thousand new events a second go on being stored. From the drain's end on it looks how long
//! new events take from commit to acknowledgement. Then it sends the same records in a loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_metrics::Metrics;
use floorgate_outbox::{Acknowledged, Commit, Event, LaneId, Options, Reader, Store};
use floorgate_publisher::{KafkaSettings, Publisher, Report, SecuritySettings, Wiring, stored_headers};
use floorgate_sample::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

type Failure = Box<dyn std::error::Error>;

const PARTITIONS: u32 = 6;
const LIVE_A_SECOND: u64 = 1000;

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let broker = words.next().ok_or("usage: drain BROKER [EVENTS]")?;
    let count: u64 = words.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let Drained {
        rate: drained,
        after,
        later,
    } = drain(&broker, count)?;
    let bare = bare(&broker, count)?;
    eprintln!("drained  {drained:8.0} events/s beside {LIVE_A_SECOND} new ones a second");
    eprintln!("bare loop{bare:8.0} events/s");
    eprintln!("ratio    {:8.2}", drained / bare);
    eprintln!("new events take {after:.2} ms a second after the drain, {later:.2} ms later (medians)");
    println!(
        r#"{{"events":{count},"drained":{drained:.0},"bare":{bare:.0},"after":{after:.3},"later":{later:.3}}}"#
    );
    Ok(())
}

fn event(topic: &Arc<str>, number: u64) -> Event {
    Event {
        topic: Arc::clone(topic),
        key: format!("acme/busan/filling/line{}/filler", number % 24).into(),
        partition: None,
        id: format!("01890a5d-ac96-774b-bcce-{number:012x}"),
        kind: "MeasurementRecorded".into(),
        subject: "filling/line1/filler".into(),
        recorded: Timestamp::now(),
        shared_headers: "ce_specversion: 1.0\nce_type: io.floorgate.mes.MeasurementRecorded.v1\nce_source: urn:floorgate:drain\n\
            ce_id: {id}\nce_subject: {subject}\nce_partitionkey: {key}\nce_recordedtime: {recorded}\nce_traceparent: {trace}\n\
            content-type: application/json\n"
            .into(),
        headers: format!("ce_time: 2026-05-04T08:00:00.123456Z\nce_sequence: {number:020}"),
        value: format!("{{\"value\":{number}.5,\"unit\":\"CEL\",\"quality\":\"good\",\"previous\":{number}.0,\"tag\":\"temp\"}}")
            .into_bytes(),
        trace: String::new(),
    }
}

/// What a drain has shown.
struct Drained {
    /// Events a second.
    rate: f64,
    /// Median of the milliseconds from commit to acknowledgement of what was stored in the second second after the drain's end.
    after: f64,
    /// The same, four to eight seconds after it.
    later: f64,
}

/// When new events were stored, and how long they took.
#[derive(Default)]
struct Live {
    stored: HashMap<(LaneId, u64), Instant>,
    /// Seconds after the drain's end at which they were stored, and milliseconds that they took.
    took: Vec<(f64, f64)>,
}

impl Live {
    fn acknowledged(&mut self, news: &[Acknowledged], drained: Option<Instant>) {
        let now = Instant::now();
        let Some(drained) = drained else { return };
        self.stored.retain(|(lane, sequence), at| {
            let is_through = news
                .iter()
                .any(|news| news.lane == *lane && news.sequence >= *sequence);
            if is_through && *at > drained {
                self.took
                    .push(((*at - drained).as_secs_f64(), (now - *at).as_secs_f64() * 1000.0));
            }
            !is_through
        });
    }

    fn median(&self, window: std::ops::Range<f64>) -> f64 {
        let within = self.took.iter().filter(|(second, _)| window.contains(second));
        let mut took: Vec<f64> = within.map(|(_, took)| *took).collect();
        took.sort_by(f64::total_cmp);
        took.get(took.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn drain(broker: &str, count: u64) -> Result<Drained, Failure> {
    let folder = std::env::temp_dir().join(format!("floorgate-drain-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("outbox.db");
    let topic: Arc<str> = format!("drain-{}", std::process::id()).into();
    let (mut store, restored) = Store::open(&Options::new(&path))?;
    store.pin_topic(&topic, PARTITIONS)?;
    let mut made = 0;
    while made < count {
        let mut commit = Commit::default();
        commit
            .events
            .extend((made..(made + 1000).min(count)).map(|number| event(&topic, number)));
        made += commit.events.len() as u64;
        store.commit(&mut commit)?;
    }

    let mut settings = KafkaSettings::new(vec![broker.to_owned()]);
    settings.security = SecuritySettings::plaintext();
    settings.topics.partitions = u16::try_from(PARTITIONS)?;
    settings.topics.replication = Some(1);
    let main = std::thread::current();
    let wiring = Wiring {
        reader: Reader::open(&path)?,
        topics: store.topics().to_vec(),
        gateway: topic.to_string(),
        incarnation: restored.incarnation.to_string(),
        metrics: Metrics::new()?,
        wake: Box::new(move || main.unpark()),
    };
    let publisher = Publisher::start(&settings, wiring)?;
    let (mut begun, mut new) = (None, 0);
    let (mut drained, mut rate) = (None, 0.0);
    let mut live = Live::default();
    loop {
        let mut commit = Commit::default();
        publisher.take_acknowledged(&mut commit.acknowledged);
        if let Some(report) = publisher
            .take_reports()
            .into_iter()
            .find(|report| !matches!(report, Report::TopicPinned { .. }))
        {
            return Err(format!("the publisher reports {report:?}").into());
        }
        live.acknowledged(&commit.acknowledged, drained);
        let since = *begun.get_or_insert_with(Instant::now);
        if commit.acknowledged.is_empty() && new == 0 {
            // The topic is made, and the log looked at: that is no sending yet.
            begun = None;
        } else {
            let due = u64::try_from(since.elapsed().as_millis())? * LIVE_A_SECOND / 1000;
            commit
                .events
                .extend((new..due).map(|number| event(&topic, made + number)));
            new = due.max(new);
        }
        let committed = store.commit(&mut commit)?;
        if drained.is_some() {
            let now = Instant::now();
            live.stored
                .extend(committed.rows.iter().map(|row| ((row.lane, row.sequence), now)));
        }
        publisher.offer(committed.rows, Timestamp::now());
        let waiting: u64 = store.lanes().iter().map(floorgate_outbox::Lane::depth).sum();
        if drained.is_none() && waiting <= LIVE_A_SECOND / 20 && new > 0 {
            rate = (count + new) as f64 / since.elapsed().as_secs_f64();
            drained = Some(Instant::now());
        }
        if drained.is_some_and(|at| at.elapsed() > Duration::from_secs(8)) {
            drop(publisher.stop(Duration::from_secs(5)));
            drop(store);
            std::fs::remove_dir_all(folder)?;
            return Ok(Drained {
                rate,
                after: live.median(1.0..2.0),
                later: live.median(4.0..8.0),
            });
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// An idempotent producer with all replicas' acknowledgements and large batches, which does nothing else.
fn bare(broker: &str, count: u64) -> Result<f64, Failure> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "100000")
        .create()?;
    let topic: Arc<str> = format!("bare-{}", std::process::id()).into();
    let begun = Instant::now();
    for number in 0..count {
        let event = event(&topic, number);
        let mut headers = OwnedHeaders::new();
        for (name, value) in &stored_headers(&event)? {
            headers = headers.insert(Header {
                key: name,
                value: Some(value),
            });
        }
        let mut record = BaseRecord::to(&topic)
            .key(&*event.key)
            .payload(&event.value)
            .headers(headers);
        while let Err((error, refused)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            record = refused;
            producer.poll(Duration::from_millis(1));
        }
    }
    producer.flush(Duration::from_mins(1))?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
