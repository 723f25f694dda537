//! A store, a publisher and librdkafka's mock cluster, put together.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use floorgate_metrics::Metrics;
use floorgate_outbox::{Burial, Commit, DeadLetter, Event, Options, Reader, Store};
use floorgate_publisher::{KafkaSettings, Publisher, Report, Wiring};
use floorgate_sample::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// When events are recorded unless a test says otherwise.
pub const LONG_AGO: Timestamp = Timestamp::from_nanos(1_700_000_000_123_456_789);

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "floorgate-publisher-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("outbox.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The engine's part: commits events, hands them over, stores watermarks.
pub struct Engine {
    pub store: Store,
    gateway: &'static str,
    pub publisher: Option<Publisher>,
    pub metrics: Metrics,
    pub settings: KafkaSettings,
    /// When events are recorded that are committed.
    pub recorded: Timestamp,
    /// As a store that is full.
    pub takes_no_burials: bool,
    burials: Vec<Burial>,
    folder: Folder,
    reader: Reader,
}

impl Engine {
    pub fn start(brokers: &str) -> Self {
        Self::named("test", brokers)
    }

    pub fn with(settings: KafkaSettings) -> Self {
        Self::named_with("test", settings)
    }

    pub fn named(gateway: &'static str, brokers: &str) -> Self {
        let mut settings = KafkaSettings::new(brokers.split(',').map(str::to_owned).collect());
        settings.security = floorgate_publisher::SecuritySettings::plaintext();
        Self::named_with(gateway, settings)
    }

    fn named_with(gateway: &'static str, settings: KafkaSettings) -> Self {
        Self::on(Folder::new(), gateway, settings)
    }

    /// On a store that may be there already.
    fn on(folder: Folder, gateway: &'static str, settings: KafkaSettings) -> Self {
        let (store, _) = Store::open(&Options::new(folder.store())).unwrap();
        let reader = Reader::open(folder.store()).unwrap();
        let mut engine = Self {
            store,
            gateway,
            publisher: None,
            metrics: Metrics::new().unwrap(),
            settings,
            recorded: LONG_AGO,
            takes_no_burials: false,
            burials: Vec::new(),
            folder,
            reader,
        };
        engine.publish();
        engine
    }

    /// Starts a publisher, as a new process would.
    pub fn publish(&mut self) {
        let wiring = Wiring {
            reader: Reader::open(self.folder.store()).unwrap(),
            topics: self.store.topics().to_vec(),
            gateway: self.gateway.to_owned(),
            incarnation: "1".to_owned(),
            metrics: self.metrics.clone(),
            wake: Box::new(|| {}),
        };
        self.publisher = Some(Publisher::start(&self.settings, wiring).unwrap());
    }

    pub fn publisher(&self) -> &Publisher {
        self.publisher.as_ref().unwrap()
    }

    /// Commits an event for each value, for a partition or where its key belongs, and hands it over.
    pub fn commit(&mut self, topic: &str, partition: Option<u32>, values: impl IntoIterator<Item = String>) {
        self.commit_bytes(topic, partition, values.into_iter().map(String::into_bytes));
    }

    pub fn commit_bytes(
        &mut self,
        topic: &str,
        partition: Option<u32>,
        values: impl IntoIterator<Item = Vec<u8>>,
    ) {
        let topic: Arc<str> = Arc::from(topic);
        let recorded = self.recorded;
        let events = values.into_iter().map(|value| Event {
            topic: Arc::clone(&topic),
            key: Arc::from("line1"),
            partition,
            id: "id".to_owned(),
            kind: Arc::from("Test"),
            subject: Arc::from("line1"),
            recorded,
            shared_headers:
                "ce_type: Test\nce_id: {id}\nce_recordedtime: {recorded}\nce_traceparent: {trace}\n".into(),
            headers: "ce_subject: line%0A1\n".to_owned(),
            value,
            trace: String::new(),
        });
        let mut commit = Commit {
            events: events.collect(),
            ..Commit::default()
        };
        let committed = self.store.commit(&mut commit).unwrap();
        let publisher = self.publisher.as_ref().unwrap();
        publisher.offer(committed.rows, Timestamp::now());
        if committed.waiting > 0 {
            publisher.rescan();
        }
    }

    /// Acts on what the publisher reports, as the engine does.
    pub fn attend(&mut self) {
        let publisher = self.publisher.as_ref().unwrap();
        let mut commit = Commit::default();
        publisher.take_acknowledged(&mut commit.acknowledged);
        if !commit.is_empty() {
            self.store.commit(&mut commit).unwrap();
        }
        for report in publisher.take_reports() {
            match report {
                Report::TopicPinned { topic, partitions } => {
                    let pinned = self.store.pin_topic(&topic, partitions).unwrap();
                    publisher.pinned(topic, pinned);
                    while self.store.moving() {
                        self.store.move_waiting(1000).unwrap();
                    }
                    publisher.rescan();
                }
                Report::LaneDisagrees(renewal) => {
                    self.store.renew(&renewal).unwrap();
                    publisher.rescan();
                }
                Report::Refused(burial) => self.burials.push(burial),
                Report::Fenced => panic!("no other gateway has the name"),
                Report::StoreFailed(error) => panic!("{error}"),
            }
        }
        if !self.takes_no_burials && !self.burials.is_empty() {
            let mut commit = Commit {
                burials: std::mem::take(&mut self.burials),
                ..Commit::default()
            };
            publisher.replaced(self.store.commit(&mut commit).unwrap().buried);
        }
    }

    /// What was refused for good.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.reader.dead_letters(0, 100).unwrap()
    }

    /// Stored events that are not acknowledged.
    pub fn depth(&self) -> u64 {
        self.store.lanes().iter().map(floorgate_outbox::Lane::depth).sum()
    }

    /// Watermark of the lane of a partition.
    pub fn acknowledged(&self, topic: &str, partition: u32) -> u64 {
        let lanes = self.reader.lanes().unwrap();
        let lane = lanes
            .iter()
            .find(|lane| &*lane.topic == topic && lane.partition == Some(partition));
        lane.map_or(0, |lane| lane.acknowledged_sequence)
    }

    /// Attends until a condition holds.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.attend();
            if condition(self) {
                return;
            }
            let status = self.publisher().status();
            assert!(
                Instant::now() < end,
                "{what} did not come about: {} are not acknowledged, {status:?}",
                self.depth()
            );
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Dies between the brokers' acknowledgements and its own commit, and comes up again.
    pub fn dies_before_it_stores_acknowledgements(&mut self) {
        let publisher = self.publisher.take().unwrap();
        let _ = publisher.stop(PATIENCE);
        self.publish();
    }

    /// A copy of the store as it is now.
    pub fn backup(&self) -> Folder {
        let copy = Folder::new();
        for suffix in ["", "-wal"] {
            let name = |path: PathBuf| PathBuf::from(format!("{}{suffix}", path.display()));
            std::fs::copy(name(self.folder.store()), name(copy.store())).unwrap();
        }
        copy
    }

    /// Ends, and comes up again on that store instead.
    pub fn restore(self, backup: Folder) -> Self {
        let (gateway, settings) = (self.gateway, self.settings.clone());
        drop(self);
        Self::on(backup, gateway, settings)
    }

    /// How often a look at a log came to this result.
    pub fn reconciled(&self, result: &str) -> u64 {
        self.metrics.reconciliations.with_label_values(&[result]).get()
    }

    /// How often records were refused with that error.
    pub fn refusals(&self, error: &str) -> u64 {
        self.metrics.publish_errors.with_label_values(&[error]).get()
    }

    pub fn drained(&mut self) {
        self.until("the drain", |engine| engine.depth() == 0);
    }
}

/// A record as a consumer sees it.
#[derive(Debug)]
pub struct Seen {
    pub partition: i32,
    pub key: String,
    pub value: Vec<u8>,
    pub timestamp: Option<i64>,
    pub headers: HashMap<String, String>,
}

impl Seen {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }

    pub fn epoch(&self) -> u64 {
        self.headers["floorgate_lane_epoch"].parse().unwrap()
    }

    pub fn sequence(&self) -> u64 {
        self.headers["floorgate_lane_sequence"].parse().unwrap()
    }

    pub fn is_marked(&self) -> bool {
        self.headers
            .get("floorgate_possible_duplicate")
            .is_some_and(|mark| mark == "true")
    }
}

/// Everything that a topic's partitions hold, each in its order.
pub fn read(brokers: &str, topic: &str, partitions: i32) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut missing = 0;
    for partition in 0..partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        missing += high - low;
        assignment
            .add_partition_offset(topic, partition, Offset::Offset(low))
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut seen = Vec::new();
    let end = Instant::now() + PATIENCE;
    while missing > 0 {
        assert!(
            Instant::now() < end,
            "{missing} records of {topic} cannot be read"
        );
        let Some(record) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let record = record.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = record.headers().unwrap();
        seen.push(Seen {
            partition: record.partition(),
            key: text(record.key().unwrap()),
            value: record.payload().unwrap().to_vec(),
            timestamp: record.timestamp().to_millis(),
            headers: headers
                .iter()
                .map(|header| (header.key.to_owned(), text(header.value.unwrap())))
                .collect(),
        });
        missing -= 1;
    }
    seen
}

/// What a consumer keeps that compares each record with the last sequence of its partition, and how many it dropped.
pub fn by_the_rule(seen: &[Seen]) -> (Vec<String>, usize) {
    let mut last: HashMap<i32, u64> = HashMap::new();
    let mut kept = Vec::new();
    let mut dropped = 0;
    for record in seen {
        let last = last.entry(record.partition).or_insert(0);
        if record.sequence() == *last + 1 {
            *last += 1;
            kept.push(record.text());
        } else {
            dropped += 1;
        }
    }
    (kept, dropped)
}

pub fn numbered(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| format!("event {number}")).collect()
}
