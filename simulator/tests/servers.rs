//! The plant as its clients see it: real OPC UA and Modbus clients over real sockets.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use floorgate_simulator::{
    DEMO_PASSWORD, DEMO_USER, JournalTarget, LOAD_UNIT, Load, LoadValue, NAMESPACE_URI, Options, Plant,
    PlantError, Security, model::TagValue,
};
use opcua::{
    client::{ClientBuilder, DataChangeCallback, IdentityToken, Session},
    crypto::SecurityPolicy,
    types::{
        DataValue, EndpointDescription, MessageSecurityMode, MonitoredItemCreateRequest,
        MonitoredItemCreateResult, MonitoringMode, MonitoringParameters, NodeId, ReadValueId, StatusCode,
        TimestampsToReturn, UserTokenPolicy, Variant,
    },
};
use tokio::sync::mpsc;
use tokio_modbus::client::{Context, Reader, tcp};
use tokio_modbus::{ExceptionCode, Slave};

/// Long enough for a loaded machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

const LINE_TAGS: [&str; 9] = [
    "WorkOrderId",
    "Status",
    "State",
    "Good",
    "Scrap",
    "Alarms",
    "Temperature",
    "Vibration",
    "Power",
];

fn plain() -> Options {
    Options {
        security: Security::NoneOnly,
        journal: JournalTarget::Memory,
        ..Options::default()
    }
}

/// A directory of the test's own, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("floorgate-simulator-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Client {
    session: Arc<Session>,
    namespace: u16,
    _keys: Directory,
}

impl Client {
    async fn connect(plant: &Plant, name: &str, policy: SecurityPolicy, user: IdentityToken) -> Self {
        let keys = Directory::new(name);
        let encrypted = policy != SecurityPolicy::None;
        let mut client = ClientBuilder::new()
            .application_name("plant test")
            .application_uri("urn:floorgate:plant-test")
            .pki_dir(&keys.0)
            .create_sample_keypair(encrypted)
            .trust_server_certs(true)
            .min_publish_interval(Duration::from_millis(1))
            .session_retry_limit(0)
            .client()
            .expect("client settings");
        let mode = if encrypted {
            MessageSecurityMode::SignAndEncrypt
        } else {
            MessageSecurityMode::None
        };
        let endpoint: EndpointDescription = (
            plant.opcua_url().as_str(),
            policy.to_str(),
            mode,
            UserTokenPolicy::anonymous(),
        )
            .into();
        let (session, event_loop) = client
            .connect_to_matching_endpoint(endpoint, user)
            .await
            .expect("an endpoint that matches");
        event_loop.spawn();
        let connected = tokio::time::timeout(PATIENCE, session.wait_for_connection()).await;
        assert!(
            connected.is_ok_and(|connected| connected),
            "no session with {policy}"
        );
        let namespace = session
            .get_namespace_index(NAMESPACE_URI)
            .await
            .expect("the plant's namespace");
        Self {
            session,
            namespace,
            _keys: keys,
        }
    }

    async fn plain(plant: &Plant, name: &str) -> Self {
        Self::connect(plant, name, SecurityPolicy::None, IdentityToken::Anonymous).await
    }

    async fn read(&self, tag: &str) -> DataValue {
        let node = NodeId::new(self.namespace, tag);
        let read = [ReadValueId::from(node)];
        let mut values = self
            .session
            .read(&read, TimestampsToReturn::Both, 0.0)
            .await
            .expect("a read");
        values.remove(0)
    }

    /// Asks for every change of the tags with 10 ms publishing; `changed` gets the tag's place and its value.
    async fn monitor(
        &self,
        tags: &[String],
        changed: impl Fn(usize, DataValue) + Send + Sync + 'static,
    ) -> Vec<MonitoredItemCreateResult> {
        let callback =
            DataChangeCallback::new(move |value, item| changed(item.client_handle() as usize - 1, value));
        let session = &self.session;
        let subscription = session
            .create_subscription(Duration::from_millis(10), 1000, 100, 0, 0, true, callback)
            .await;
        let items = tags.iter().zip(1..).map(|(tag, client_handle)| {
            let parameters = MonitoringParameters {
                client_handle,
                sampling_interval: 0.0,
                queue_size: 1000,
                ..Default::default()
            };
            let node = NodeId::new(self.namespace, tag.as_str());
            MonitoredItemCreateRequest::new(node.into(), MonitoringMode::Reporting, parameters)
        });
        session
            .create_monitored_items(
                subscription.expect("a subscription"),
                TimestampsToReturn::Both,
                items.collect(),
            )
            .await
            .expect("monitored items")
            .into_iter()
            .map(|created| created.result)
            .collect()
    }

    /// The stream of all changes of the tags, by the tag's place.
    async fn subscribe(&self, tags: &[String]) -> mpsc::UnboundedReceiver<(usize, DataValue)> {
        let (changes, received) = mpsc::unbounded_channel();
        let forward = move |tag, value| drop(changes.send((tag, value)));
        for item in self.monitor(tags, forward).await {
            assert!(item.status_code.is_good(), "{}", item.status_code);
            assert!(
                item.revised_sampling_interval.abs() < f64::EPSILON,
                "sampled: {item:?}"
            );
            assert_eq!(item.revised_queue_size, 1000);
        }
        received
    }
}

async fn next<T>(received: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, received.recv())
        .await
        .expect("a change in time")
        .expect("the subscription lives")
}

fn micros(value: &DataValue) -> i64 {
    value
        .source_timestamp
        .expect("a source time")
        .as_chrono()
        .timestamp_micros()
}

fn same(shown: &Variant, meant: &TagValue) -> bool {
    match (shown, meant) {
        (Variant::String(shown), TagValue::Text(meant)) => shown.as_ref() == meant,
        (Variant::Int32(shown), TagValue::Int32(meant)) => shown == meant,
        (Variant::UInt32(shown), TagValue::UInt32(meant)) => shown == meant,
        (Variant::UInt16(shown), TagValue::UInt16(meant)) => shown == meant,
        (Variant::Double(shown), TagValue::Double(meant)) => shown.to_bits() == meant.to_bits(),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_sees_every_journalled_change_of_the_lines_with_its_time() {
    let plant = Plant::start(Options {
        rate: 20.0,
        conveyors: 0,
        ..plain()
    })
    .await
    .expect("a plant");
    let client = Client::plain(&plant, "journal").await;
    let tags: Vec<String> = (1..=6)
        .flat_map(|line| LINE_TAGS.map(|tag| format!("Line{line}.{tag}")))
        .collect();
    let mut received = client.subscribe(&tags).await;

    // The first value of each tag is where its comparison starts.
    let mut seen: HashMap<usize, Vec<DataValue>> = HashMap::new();
    let mut count = 0;
    while count < 2_000 || seen.len() < tags.len() {
        let (tag, value) = next(&mut received).await;
        seen.entry(tag).or_default().push(value);
        count += 1;
    }
    let journal = plant.journal();
    for (place, values) in seen {
        let tag = tags[place].as_str();
        let start = micros(&values[0]);
        let mut meant = journal
            .iter()
            .filter(|record| &*record.tag == tag && record.time >= start);
        for value in &values {
            let record = meant
                .next()
                .unwrap_or_else(|| panic!("{tag}: {value:?} is not in the journal"));
            assert_eq!(micros(value), record.time, "{tag}");
            assert!(
                same(value.value.as_ref().expect("a value"), &record.new),
                "{tag}: {value:?} for {record:?}"
            );
        }
    }
    plant.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_counts_up_without_loss_double_or_disorder() {
    let load = Load {
        tags: 500,
        rate: 5_000.0,
        value: LoadValue::Double,
    };
    let plant = Plant::start(Options {
        lines: 1,
        load: Some(load),
        ..plain()
    })
    .await
    .expect("a plant");
    let client = Client::plain(&plant, "load").await;
    let tags: Vec<String> = (0..500).map(|tag| format!("Load.T{tag:06}")).collect();
    let mut received = client.subscribe(&tags).await;
    let mut last: HashMap<usize, (f64, i64)> = HashMap::new();
    for _ in 0..10_000 {
        let (tag, value) = next(&mut received).await;
        let time = micros(&value);
        let Some(Variant::Double(counter)) = value.value else {
            panic!("no double: {value:?}")
        };
        if let Some((before, earlier)) = last.insert(tag, (counter, time)) {
            assert!(
                (counter - before - 1.0).abs() < 0.1,
                "tag {tag}: {counter} after {before}"
            );
            assert!(time > earlier, "tag {tag}: time {time} after {earlier}");
        }
    }
    assert_eq!(last.len(), 500, "tags that never came");
    let totals = plant.stop().await.expect("a clean stop");
    assert!(totals.load >= 9_500, "{totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_give_type_value_and_quality_and_unknown_nodes_are_bad() {
    let options = Options {
        rate: 0.0,
        lines: 2,
        counter_start: 7,
        ..plain()
    };
    let plant = Plant::start(options).await.expect("a plant");
    let client = Client::plain(&plant, "read").await;
    for (tag, meant) in [
        ("Line2.WorkOrderId", Variant::from("WO-L2-00001")),
        ("Line2.Status", Variant::Int32(2)),
        ("Line1.State", Variant::Int32(4)),
        ("Line1.Good", Variant::UInt32(7)),
        ("Line1.Alarms", Variant::UInt16(0)),
    ] {
        let value = client.read(tag).await;
        assert_eq!(value.value, Some(meant), "{tag}");
        assert!(
            value.status.is_none_or(|status| status.is_good()),
            "{tag}: {value:?}"
        );
    }
    assert!(matches!(
        client.read("Line1.Power").await.value,
        Some(Variant::Double(_))
    ));
    assert!(
        client
            .read("Line3.Status")
            .await
            .status
            .is_some_and(|status| status.is_bad())
    );
    let created = client
        .monitor(&["Line1.Status".to_owned(), "Line3.Status".to_owned()], |_, _| {})
        .await;
    let statuses: Vec<_> = created.iter().map(|item| item.status_code).collect();
    assert_eq!(statuses, [StatusCode::Good, StatusCode::BadNodeIdUnknown]);
    plant.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_endpoints_take_the_demo_user_and_keys_last() {
    let keys = Directory::new("server-keys");
    let options = || Options {
        lines: 1,
        security: Security::Encrypted {
            keys: Some(keys.0.clone()),
        },
        ..plain()
    };
    let plant = Plant::start(options()).await.expect("a plant");
    let certificate = std::fs::read(keys.0.join("own/cert.der")).expect("a certificate");
    for (name, policy, user) in [
        (
            "basic",
            SecurityPolicy::Basic256Sha256,
            IdentityToken::new_user_name(DEMO_USER, DEMO_PASSWORD),
        ),
        (
            "aes256",
            SecurityPolicy::Aes256Sha256RsaPss,
            IdentityToken::Anonymous,
        ),
        ("none", SecurityPolicy::None, IdentityToken::Anonymous),
    ] {
        let client = Client::connect(&plant, name, policy, user).await;
        assert!(client.read("Line1.Status").await.value.is_some(), "{name}");
    }
    plant.stop().await.expect("a clean stop");

    let plant = Plant::start(options()).await.expect("the plant again");
    assert_eq!(
        std::fs::read(keys.0.join("own/cert.der")).expect("a certificate"),
        certificate
    );
    plant.stop().await.expect("a clean stop");
}

async fn modbus(address: SocketAddr, unit: u8) -> Context {
    tcp::connect_slave(address, Slave(unit))
        .await
        .expect("a connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn conveyors_show_the_journalled_values_in_their_registers() {
    let plant = Plant::start(Options {
        rate: 50.0,
        lines: 0,
        ..plain()
    })
    .await
    .expect("a plant");
    let mut units = [
        modbus(plant.modbus_address(), 1).await,
        modbus(plant.modbus_address(), 2).await,
    ];
    let deadline = Instant::now() + PATIENCE;
    let mut jams = [0, 0];
    let mut totals = [0, 0];
    while jams.contains(&0) || totals.iter().any(|total| *total < 100) {
        assert!(Instant::now() < deadline, "jams {jams:?}, totals {totals:?}");
        for (place, unit) in units.iter_mut().enumerate() {
            let words = unit
                .read_holding_registers(0, 6)
                .await
                .expect("a link")
                .expect("registers");
            let total = u32::from(words[1]) << 16 | u32::from(words[2]);
            let speed = f32::from_bits(u32::from(words[3]) << 16 | u32::from(words[4]));
            assert!(total >= totals[place], "the total went back");
            assert!([6, 10, 11, 12].contains(&words[0]), "state {}", words[0]);
            // One read is one moment: the belt stands in every state but Execute.
            assert_eq!(
                speed > 0.0,
                words[0] == 6,
                "state {} with speed {speed}",
                words[0]
            );
            assert!(
                (150..=700).contains(&words[5].cast_signed()),
                "motor temperature {}",
                words[5]
            );
            totals[place] = total;
            if unit
                .read_discrete_inputs(0, 1)
                .await
                .expect("a link")
                .expect("bits")[0]
            {
                jams[place] += 1;
            }
        }
    }
    let journal = plant.journal();
    for (conveyor, total) in ["Conveyor1.Total", "Conveyor2.Total"].into_iter().zip(totals) {
        let known = |value: &TagValue| matches!(value, TagValue::UInt32(value) if *value == total);
        assert!(
            journal
                .iter()
                .any(|record| &*record.tag == conveyor && known(&record.new)),
            "{conveyor} {total}"
        );
    }
    let refused = units[0].read_holding_registers(100, 1).await.expect("a link");
    assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress));
    plant.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn modbus_load_rises() {
    let load = Load {
        tags: 30,
        rate: 3_000.0,
        value: LoadValue::Int64,
    };
    let plant = Plant::start(Options {
        modbus_load: Some(load),
        ..plain()
    })
    .await
    .expect("a plant");
    let mut unit = modbus(plant.modbus_address(), LOAD_UNIT).await;
    let mut last = [0_u64; 30];
    let deadline = Instant::now() + PATIENCE;
    while last.iter().any(|counter| *counter < 100) {
        assert!(Instant::now() < deadline, "{last:?}");
        let words = unit
            .read_input_registers(0, 120)
            .await
            .expect("a link")
            .expect("registers");
        for (counter, words) in last.iter_mut().zip(words.chunks(4)) {
            let now = words.iter().fold(0, |value, word| value << 16 | u64::from(*word));
            assert!(now >= *counter);
            *counter = now;
        }
        assert!(
            last.iter().max().unwrap() - last.iter().min().unwrap() <= 1,
            "uneven: {last:?}"
        );
    }
    plant.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_plant_frees_its_ports_and_its_temporary_keys() {
    let plant = Plant::start(plain()).await.expect("a plant");
    let (opcua, modbus_address) = (plant.opcua_address(), plant.modbus_address());
    let client = Client::plain(&plant, "stop").await;
    let _received = client.subscribe(&["Line1.Status".to_owned()]).await;
    let _unit = modbus(modbus_address, 1).await;

    let taken = Plant::start(Options {
        opcua_port: opcua.port(),
        ..plain()
    })
    .await;
    assert!(
        matches!(
            taken,
            Err(PlantError::Listen {
                protocol: "opc ua",
                ..
            })
        ),
        "{taken:?}"
    );
    plant.stop().await.expect("a clean stop");

    let again = Options {
        opcua_port: opcua.port(),
        modbus_port: modbus_address.port(),
        ..plain()
    };
    Plant::start(again)
        .await
        .expect("the ports are free")
        .stop()
        .await
        .expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_out_of_range_are_named() {
    let load = |tags| {
        Some(Load {
            tags,
            rate: 1.0,
            value: LoadValue::Int64,
        })
    };
    for (options, name) in [
        (
            Options {
                rate: f64::NAN,
                ..plain()
            },
            "rate",
        ),
        (
            Options {
                conveyors: 100,
                ..plain()
            },
            "conveyors",
        ),
        (
            Options {
                load: load(0),
                ..plain()
            },
            "load",
        ),
        (
            Options {
                modbus_load: load(16_385),
                ..plain()
            },
            "modbus load",
        ),
    ] {
        match Plant::start(options).await {
            Err(PlantError::Option { name: wrong, .. }) => assert_eq!(wrong, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_program_tells_its_endpoints_journals_and_stops_on_sigterm() {
    let directory = Directory::new("program");
    let journal = directory.0.join("journal.jsonl");
    let mut program = Command::new(env!("CARGO_BIN_EXE_floorgate-simulator"))
        .args([
            "--opcua-port",
            "0",
            "--modbus-port",
            "0",
            "--no-encryption",
            "--rate",
            "50",
            "--for",
            "60s",
        ])
        .arg("--journal")
        .arg(&journal)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut output = BufReader::new(program.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("json");
    assert!(
        ready["opcua"]
            .as_str()
            .is_some_and(|url| url.starts_with("opc.tcp://127.0.0.1:")),
        "{ready}"
    );
    assert!(
        ready["modbus"]
            .as_str()
            .is_some_and(|address| address.parse::<SocketAddr>().is_ok()),
        "{ready}"
    );

    let killed = Command::new("kill")
        .args(["-TERM", &program.id().to_string()])
        .status()
        .expect("kill");
    assert!(killed.success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("the rest");
    assert!(program.wait().expect("an end").success());
    let totals: serde_json::Value = serde_json::from_str(&rest).expect("json");
    let records = std::fs::read_to_string(&journal).expect("the journal");
    let records: Vec<serde_json::Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    let (start, changes): (Vec<_>, Vec<_>) = records.iter().partition(|record| record["old"].is_null());
    assert_eq!(
        start.len(),
        6 * LINE_TAGS.len() + 2 * 5,
        "every tag's value at the start"
    );
    assert_eq!(
        Some(changes.len() as u64),
        totals["changes"].as_u64(),
        "the journal has what was counted"
    );
}
