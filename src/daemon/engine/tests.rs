//! The engine on a real store, with librdkafka's mock cluster as the broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floorgate_adapter_api::{
    Answer, Batch, Bookmark, Continuity, Intake, Notice, Quality, Receipt, RequestId, Sample, SourceId,
    TagId, Value,
};
use floorgate_core::plan::Plan;
use floorgate_core::{Core, Encoding, Settings};
use floorgate_metrics::Metrics;
use floorgate_outbox::{Lane, Options, Reader, Row, Store};
use floorgate_publisher::{KafkaSettings, Publisher, SecuritySettings, Wiring};
use floorgate_sample::Timestamp;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use uuid::Uuid;

use super::*;

mod idle;
mod large;
mod reload;
mod tap;

const TOPIC: &str = "acme.busan.mes.measurement.v1";

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_mins(1);

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("floorgate-engine-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("mappings")).expect("the test's folder is made");
        Self(path)
    }

    fn store(&self) -> PathBuf {
        self.0.join("outbox.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A plan that measures one value of each of the machines, in their order.
fn plan(folder: &Path, machines: &[&str]) -> Arc<Plan> {
    let machines: Vec<String> = machines
        .iter()
        .map(|machine| format!("{{m: {machine}}}"))
        .collect();
    let mapping = format!(
        "mapping: all\nfor_each: [{}]\nsource: plc\nequipment: acme/busan/filling/line1/{{m}}\n\
         tags:\n  temp: {{node: 'nsu=urn:x;s={{m}}', unit: CEL}}\n\
         events:\n  - {{type: MeasurementRecorded, trigger: temp, priority: high}}\n",
        machines.join(", ")
    );
    plan_of(folder, &mapping)
}

/// The plan of a mapping for the source `plc`.
fn plan_of(folder: &Path, mapping: &str) -> Arc<Plan> {
    let settings = "gateway: test\nstate_dir: state\nmappings: [mappings/all.yaml]\n\
        sources: {plc: {adapter: opcua, endpoint: 'opc.tcp://127.0.0.1:1'}}\n\
        kafka: {brokers: ['127.0.0.1:1'], security: {protocol: plaintext}}\n";
    std::fs::write(folder.join("floorgate.yaml"), settings).expect("the settings are written");
    std::fs::write(folder.join("mappings/all.yaml"), mapping).expect("the mapping is written");
    let path = folder.join("floorgate.yaml");
    let (loaded, problems) = floorgate_config::load_with(
        &path,
        crate::registry::ADAPTERS,
        std::collections::BTreeMap::new(),
    );
    loaded
        .unwrap_or_else(|| panic!("{}", problems.render(false)))
        .plan
}

fn core(plan: Arc<Plan>, stored: &dyn Fn(&str) -> Option<String>) -> Core {
    let settings = Settings {
        gateway: "test".into(),
        type_prefix: "io.floorgate.".into(),
        encoding: Encoding::Binary,
        stream_epoch: 1,
        incarnation: Uuid::from_u128(7),
    };
    Core::new(plan, settings, stored)
}

/// A running engine.
struct Rig {
    intake: Intake,
    sender: Sender<Message>,
    pulse: Arc<Pulse>,
    metrics: Metrics,
    thread: JoinHandle<Result<Engine, EngineError>>,
    receipts: Arc<AtomicUsize>,
    path: PathBuf,
}

/// An engine that does not run yet.
struct Made {
    engine: Engine,
    inbox: Receiver<Message>,
    sender: Sender<Message>,
    intake: Intake,
}

impl Made {
    fn new(options: &Options, plan: Arc<Plan>, brokers: String) -> Self {
        let started = Instant::now();
        let (mut store, restored) = Store::open(options).expect("the store opens");
        store
            .set_max_bytes(options.max_bytes)
            .expect("its size is limited");
        let metrics = Metrics::new().expect("metrics are registered");
        let (inbox, sender, intake) = mailbox(100_000);
        let wake = sender.clone();
        let wiring = Wiring {
            reader: Reader::open(&options.path).expect("the reader opens"),
            topics: restored.topics,
            gateway: "test".to_owned(),
            incarnation: restored.incarnation.to_string(),
            metrics: metrics.clone(),
            wake: Box::new(move || {
                let _ = wake.send(Message::Wake);
            }),
        };
        let kafka = KafkaSettings {
            security: SecuritySettings::plaintext(),
            ..KafkaSettings::new(vec![brokers])
        };
        let engine = Engine {
            standings: Arc::new(Standings::new(started, &metrics, Vec::new(), &plan)),
            core: core(plan, &|key| restored.cells.get(key).cloned()),
            publisher: Publisher::start(&kafka, wiring).expect("publishing starts"),
            checkpoints: Checkpoints::start(store.checkpointer().expect("it opens"), sender.clone())
                .expect("the thread starts"),
            store,
            metrics,
            dead_letter_topic: None,
            pulse: Arc::new(Pulse::new(started)),
            started,
        };
        Self {
            engine,
            inbox,
            sender,
            intake,
        }
    }
}

impl Rig {
    fn start(options: &Options, plan: Arc<Plan>, brokers: String) -> Self {
        let Made {
            engine,
            inbox,
            sender,
            intake,
        } = Made::new(options, plan, brokers);
        Self {
            intake,
            sender,
            pulse: Arc::clone(&engine.pulse),
            metrics: engine.metrics.clone(),
            thread: std::thread::spawn(move || engine.run(&inbox)),
            receipts: Arc::default(),
            path: options.path.clone(),
        }
    }

    fn send(&self, notices: Vec<Notice>, values: &[(u32, i64)]) {
        self.send_answer(notices, values, None);
    }

    /// Sends a batch that may be the answer to a request.
    fn send_answer(&self, notices: Vec<Notice>, values: &[(u32, i64)], answer: Option<Answer>) {
        self.send_received(Timestamp::now(), notices, values, answer);
    }

    fn send_received(
        &self,
        received: Timestamp,
        notices: Vec<Notice>,
        values: &[(u32, i64)],
        answer: Option<Answer>,
    ) {
        let samples = values.iter().map(|(tag, value)| sample(*tag, *value));
        let receipts = Arc::clone(&self.receipts);
        let batch = Batch {
            source: SourceId(0),
            received,
            notices,
            samples: samples.collect(),
            bookmarks: vec![Bookmark {
                name: "last",
                text: format!("{values:?}"),
            }],
            answer,
            receipt: Some(Receipt::new(move || {
                receipts.fetch_add(1, Ordering::SeqCst);
            })),
        };
        let sent = self.intake.send(batch);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime
            .expect("there is a runtime")
            .block_on(sent)
            .expect("the engine takes it");
    }

    fn online(&self) {
        self.send(vec![Notice::Online(Continuity::New)], &[]);
    }

    fn receipts(&self) -> usize {
        self.receipts.load(Ordering::SeqCst)
    }

    fn lanes(&self) -> Vec<Lane> {
        let reader = Reader::open(&self.path).expect("the reader opens");
        reader.lanes().expect("lanes are read")
    }

    fn stop(self) -> Engine {
        let _ = self.sender.send(Message::Stop);
        self.thread
            .join()
            .expect("it does not panic")
            .expect("it ends well")
    }
}

fn sample(tag: u32, value: i64) -> Sample {
    Sample {
        tag: TagId(tag),
        value: Some(Value::Int(value)),
        quality: Quality::GOOD,
        source_time: None,
        server_time: None,
        gap: false,
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "{what} did not come to be");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The events of all lanes, in each lane's order.
fn rows(path: &Path) -> Vec<Row> {
    let reader = Reader::open(path).expect("the reader opens");
    let lanes = reader.lanes().expect("lanes are read");
    let rows = lanes.iter().flat_map(|lane| {
        reader
            .lane_rows(lane.id, 0, usize::MAX, usize::MAX)
            .expect("rows are read")
    });
    rows.collect()
}

fn header<'a>(row: &'a Row, name: &str) -> &'a str {
    let lines = row.shared_headers.lines().chain(row.headers.lines());
    let mut found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.next().unwrap_or_default()
}

/// A broker that has the topic, and may be away.
fn broker() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("the broker starts");
    cluster.create_topic(TOPIC, 1, 1).expect("the topic is made");
    cluster
}

const NOBODY: &str = "127.0.0.1:1";

#[test]
fn what_was_read_on_request_is_no_change() {
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let rig = Rig::start(&options, plan(&folder.0, &["filler"]), NOBODY.to_owned());
    rig.online();
    rig.send(Vec::new(), &[(0, 20)]);
    let answer = Answer {
        request: RequestId(1),
        result: Ok(()),
    };
    rig.send_answer(Vec::new(), &[(0, 21)], Some(answer));
    rig.send(Vec::new(), &[(0, 20)]);
    until("the receipts", || rig.receipts() == 4);
    rig.stop();
    let rows = rows(&options.path);
    let told = rows.iter().filter(|row| row.key.ends_with("filler"));
    assert_eq!(told.count(), 1, "the value that came by itself: {rows:?}");
}

#[test]
fn a_store_that_filled_while_the_broker_was_away_recovers_by_itself() {
    let folder = Folder::new();
    let options = Options {
        max_bytes: Some(8 << 20),
        ..Options::new(folder.store())
    };
    let cluster = broker();
    cluster.broker_down(1).expect("the broker goes");
    let rig = Rig::start(
        &options,
        plan(&folder.0, &["filler"]),
        cluster.bootstrap_servers(),
    );
    rig.online();
    let mut sent = 0;
    while rig.pulse.standing() == Standing::Good {
        rig.send(Vec::new(), &[(0, sent)]);
        sent += 1;
        assert!(sent < 50_000, "the store is bounded");
        let wanted = usize::try_from(sent).expect("a count");
        until("a part is stored", || {
            rig.receipts() + 100 > wanted || rig.pulse.standing() == Standing::Full
        });
    }
    assert_eq!(rig.pulse.standing(), Standing::Full);
    for _ in 0..8_000 {
        rig.send(Vec::new(), &[(0, sent)]);
        sent += 1;
    }
    assert!(rig.pulse.is_alive());
    cluster.broker_up(1).expect("the broker comes");
    let sent = usize::try_from(sent).expect("a count");
    until("all are stored", || rig.receipts() == sent + 1);
    let delivered = || {
        let lanes = rig.lanes();
        let lane = lanes
            .iter()
            .find(|lane| lane.partition.is_some() && &*lane.topic == TOPIC);
        lane.is_some_and(|lane| lane.last_sequence == sent as u64 && lane.depth() == 0)
    };
    until("all are delivered", delivered);
    assert_eq!(rig.pulse.standing(), Standing::Good);
    let counted = rig.metrics.events.with_label_values(&["MeasurementRecorded"]);
    assert_eq!(counted.get(), sent as u64, "each is counted once");
    rig.stop();
}

#[test]
fn a_store_that_another_program_locks_is_waited_for_and_a_stop_is_seen() {
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let rig = Rig::start(&options, plan(&folder.0, &["filler"]), NOBODY.to_owned());
    rig.online();
    rig.send(Vec::new(), &[(0, 20)]);
    until("the first are stored", || rig.receipts() == 2);
    let operator = rusqlite::Connection::open(&options.path).expect("it opens");
    let lock = || operator.execute_batch("BEGIN IMMEDIATE").expect("it is locked");
    lock();
    rig.send(Vec::new(), &[(0, 21)]);
    until("it is told", || rig.pulse.standing() == Standing::Locked);
    rig.send(Vec::new(), &[(0, 22)]);
    operator.execute_batch("ROLLBACK").expect("it is unlocked");
    until("the rest is stored", || rig.receipts() == 4);
    assert_eq!(rig.pulse.standing(), Standing::Good);

    lock();
    rig.send(Vec::new(), &[(0, 23)]);
    until("it is told", || rig.pulse.standing() == Standing::Locked);
    rig.send(Vec::new(), &[(0, 24)]);
    let receipts = Arc::clone(&rig.receipts);
    let begun = Instant::now();
    let engine = rig.stop();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(
        receipts.load(Ordering::SeqCst),
        4,
        "what is not stored is not said to be"
    );
    engine
        .finish(Duration::ZERO)
        .expect("a lock is no failure of the store");
}

/// A value is high for a millisecond. The store is locked for longer than it would have to be, and what says that it does not is more than a
/// commit behind.
#[test]
fn what_waits_to_be_evaluated_is_what_a_timer_waits_for() {
    let folder = Folder::new();
    let options = Options::new(folder.store());
    let mapping = "mapping: all\nsource: plc\nequipment: acme/busan/filling/line1/oven\n\
        tags:\n  temp: {node: 'nsu=urn:x;s=temp', unit: CEL}\n  noise: {node: 'nsu=urn:x;s=noise'}\n\
        events:\n  - {type: OvenHot, domain: mes, trigger: temp, above: 80, hold: 100ms}\n\
        \x20 - {type: Noise, domain: mes, trigger: noise}\n";
    let rig = Rig::start(&options, plan_of(&folder.0, mapping), NOBODY.to_owned());
    rig.online();
    rig.send(Vec::new(), &[(0, 20), (1, 1)]);
    until("the first are stored", || rig.receipts() == 2);
    let operator = rusqlite::Connection::open(&options.path).expect("it opens");
    operator.execute_batch("BEGIN IMMEDIATE").expect("it is locked");
    rig.send(Vec::new(), &[(1, 2)]);
    until("it is told", || rig.pulse.standing() == Standing::Locked);
    let (hot, begun) = (Timestamp::now(), Instant::now());
    let values: Vec<(u32, i64)> = std::iter::once((0, 90))
        .chain(std::iter::repeat_n((1, 2), SAMPLES_PER_COMMIT))
        .collect();
    rig.send_received(hot, Vec::new(), &values, None);
    let cold = hot.after(Duration::from_millis(1));
    rig.send_received(cold, Vec::new(), &[(0, 20)], None);
    until("it would have held", || {
        begun.elapsed() > Duration::from_millis(200)
    });
    operator.execute_batch("ROLLBACK").expect("it is unlocked");
    until("the rest is stored", || rig.receipts() == 5);
    rig.stop();
    let types: Vec<String> = rows(&options.path)
        .iter()
        .map(|row| header(row, "ce_type").to_owned())
        .collect();
    assert!(types.iter().any(|kind| kind.ends_with("Noise.v1")), "{types:?}");
    assert!(!types.iter().any(|kind| kind.contains("OvenHot")), "{types:?}");
}

#[test]
fn what_was_delivered_goes_as_fast_as_events_come() {
    let folder = Folder::new();
    let options = Options {
        keep_bytes: 4 << 20,
        ..Options::new(folder.store())
    };
    let cluster = broker();
    let rig = Rig::start(
        &options,
        plan(&folder.0, &["filler"]),
        cluster.bootstrap_servers(),
    );
    rig.online();
    let (mut sent, mut most) = (0, 0);
    // Some 30 MB.
    for _ in 0..300 {
        for _ in 0..100 {
            rig.send(Vec::new(), &[(0, sent)]);
            sent += 1;
        }
        let wanted = usize::try_from(sent).expect("a count");
        until("a part is stored", || rig.receipts() > wanted.saturating_sub(500));
        most = most.max(rig.metrics.outbox_bytes.get());
    }
    let sent = usize::try_from(sent).expect("a count");
    until("all are stored", || rig.receipts() == sent + 1);
    until("what may go has gone", || {
        rig.metrics.outbox_bytes.get() < 6 << 20
    });
    assert!(most < 20 << 20, "{most}");
    rig.stop();
}
