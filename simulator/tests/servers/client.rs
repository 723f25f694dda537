//! Clients of the plant, and what all tests of it use.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use floorgate_simulator::{JournalTarget, NAMESPACE_URI, Options, Plant, Security};
use opcua::{
    client::{ClientBuilder, DataChangeCallback, IdentityToken, Session},
    crypto::SecurityPolicy,
    types::{
        DataValue, EndpointDescription, MessageSecurityMode, MonitoredItemCreateRequest,
        MonitoredItemCreateResult, MonitoringMode, MonitoringParameters, NodeId, ReadValueId,
        TimestampsToReturn, UserTokenPolicy,
    },
};
use tokio::sync::mpsc;
use tokio_modbus::{
    Slave,
    client::{Context, tcp},
};

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const LINE_TAGS: [&str; 9] = [
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

pub fn plain() -> Options {
    Options {
        security: Security::NoneOnly,
        journal: JournalTarget::Memory,
        ..Options::default()
    }
}

/// A directory of the test's own, gone with it.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
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

pub struct Client {
    pub session: Arc<Session>,
    namespace: u16,
    _keys: Directory,
}

impl Client {
    pub async fn connect(plant: &Plant, name: &str, policy: SecurityPolicy, user: IdentityToken) -> Self {
        let keys = Directory::new(name);
        let encrypted = policy != SecurityPolicy::None;
        let mut client = ClientBuilder::new()
            .application_name("plant test")
            .application_uri("urn:floorgate:plant-test")
            .pki_dir(&keys.0)
            .create_sample_keypair(encrypted)
            .trust_server_certs(true)
            .min_publish_interval(Duration::from_millis(1))
            // A test that was not scheduled for a while finds thousands of changes in one message; by default the client
            // takes 1,000, drops the connection over more, and is silent from then on.
            .max_array_length(100_000)
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

    pub async fn plain(plant: &Plant, name: &str) -> Self {
        Self::connect(plant, name, SecurityPolicy::None, IdentityToken::Anonymous).await
    }

    pub async fn read(&self, tag: &str) -> DataValue {
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
    pub async fn monitor(
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
        let created = session
            .create_monitored_items(
                subscription.expect("a subscription"),
                TimestampsToReturn::Both,
                items.collect(),
            )
            .await
            .expect("monitored items");
        // The library asks for publishing when the subscription is made, which its own loop misses if it starts later.
        session.trigger_publish_now();
        created.into_iter().map(|created| created.result).collect()
    }

    /// The stream of all changes of the tags, by the tag's place.
    pub async fn subscribe(&self, tags: &[String]) -> mpsc::UnboundedReceiver<(usize, DataValue)> {
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

pub async fn next<T>(received: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, received.recv())
        .await
        .expect("a change in time")
        .expect("the subscription lives")
}

pub fn micros(value: &DataValue) -> i64 {
    value
        .source_timestamp
        .expect("a source time")
        .as_chrono()
        .timestamp_micros()
}

pub async fn modbus(address: SocketAddr, unit: u8) -> Context {
    tcp::connect_slave(address, Slave(unit))
        .await
        .expect("a connection")
}
