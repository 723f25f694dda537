//! A real OPC UA server that can be killed and started again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use opcua::crypto::SecurityPolicy;
use opcua::server::address_space::{DataTypeBuilder, ObjectBuilder, ReferenceDirection, VariableBuilder};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{SimpleNodeManager, simple_node_manager};
use opcua::server::{
    ANONYMOUS_USER_TOKEN_ID, ReverseConnectTargetConfig, ServerBuilder, ServerEndpoint, ServerHandle,
    ServerUserToken,
};
use opcua::types::{
    DataTypeId, DataValue, DateTime, ExtensionObject, MessageSecurityMode, NodeId, ObjectId, Range,
    ReferenceTypeId, StatusCode, VariableId, Variant,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The namespace that tests read from.
pub const PLANT: &str = "urn:test:plant";
/// Another namespace with nodes of the same names, all of which have the value [`FOREIGN`].
pub const OTHER: &str = "urn:test:other";
/// The value of all nodes of the other namespace.
pub const FOREIGN: i32 = -77;

/// How the server is to be.
#[derive(Clone, Debug)]
pub struct Manner {
    pub nodes: usize,
    /// Whether the other namespace comes before the plant's.
    pub other_first: bool,
    pub most_items_per_subscription: usize,
    /// Most nodes in one read, where it is not the library's own limit.
    pub most_nodes_per_read: Option<usize>,
    /// Most nodes in one Browse, and most references of one node in its answer, where they are not the library's own limits.
    pub browse_limits: Option<(usize, usize)>,
    pub least_publishing_millis: f64,
    pub least_sampling_millis: f64,
    /// The longest queue of an item.
    pub longest_queue: usize,
    /// Most publishing intervals for which a subscription is kept that nobody asks for.
    pub longest_life: u32,
    /// The longest time for which a session is kept without a request.
    pub longest_session: Duration,
    pub keys: Option<PathBuf>,
    /// Whether only clients are let in whose certificates are in `trusted` of the keys.
    pub checks_clients: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            nodes: 3,
            other_first: false,
            most_items_per_subscription: 0,
            most_nodes_per_read: None,
            browse_limits: None,
            least_publishing_millis: 1.0,
            least_sampling_millis: 0.0,
            longest_queue: 100_000,
            longest_life: 90_000,
            longest_session: Duration::from_hours(1),
            keys: None,
            checks_clients: false,
        }
    }
}

/// A server. Its values survive it.
pub struct TestServer {
    pub port: u16,
    pub manner: Manner,
    values: HashMap<usize, Variant>,
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    handle: ServerHandle,
    plant: Arc<SimpleNodeManager>,
    namespace: u16,
}

pub fn node_name(number: usize) -> String {
    format!("T{number}")
}

/// An address of this machine at which nobody listens.
pub async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

impl TestServer {
    pub async fn reserved(manner: Manner) -> Self {
        Self {
            port: free_address().await.port(),
            manner,
            values: HashMap::new(),
            running: None,
        }
    }

    pub async fn started(manner: Manner) -> Self {
        let mut server = Self::reserved(manner).await;
        server.start().await;
        server
    }

    pub async fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = listen(self.port).await;
        let port = self.port;
        let manner = self.manner.clone();
        // Everything of the server, its listener too, lives and dies with its own runtime.
        let (handle, plant, namespace) = runtime
            .spawn(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let (server, handle) = builder(&manner, port).build().unwrap();
                let plant: Arc<SimpleNodeManager> = handle.node_managers().get_by_name("plant").unwrap();
                tokio::spawn(server.run_with(listener));
                let namespace = handle.get_namespace_index(PLANT).unwrap();
                fill(&plant, namespace, manner.nodes, 0);
                let other: Arc<SimpleNodeManager> = handle.node_managers().get_by_name("other").unwrap();
                fill(
                    &other,
                    handle.get_namespace_index(OTHER).unwrap(),
                    manner.nodes,
                    FOREIGN,
                );
                (handle, plant, namespace)
            })
            .await
            .unwrap();
        self.running = Some(Running {
            runtime,
            handle,
            plant,
            namespace,
        });
        let values: Vec<(usize, Variant)> = self.values.iter().map(|(n, v)| (*n, v.clone())).collect();
        for (number, value) in values {
            self.set(number, value);
        }
    }

    /// Kills the server: its connections break without a word.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_background();
        }
    }

    /// Has a structure without a definition, as servers of before OPC UA 1.04 have them.
    pub fn has_older_type(&self) {
        let running = self.running.as_ref().unwrap();
        let id = |name: &str| NodeId::new(running.namespace, name);
        let mut space = running.plant.address_space().write();
        DataTypeBuilder::new(&id("Old"), "Old", "Old")
            .subtype_of(DataTypeId::Structure)
            .insert(&mut *space);
        ObjectBuilder::new(&id("Old.Binary"), "Default Binary", "Default Binary")
            .reference(
                id("Old"),
                ReferenceTypeId::HasEncoding,
                ReferenceDirection::Inverse,
            )
            .insert(&mut *space);
    }

    /// Has a node tell the range of its values.
    pub fn has_range(&self, number: usize, low: f64, high: f64) {
        let running = self.running.as_ref().unwrap();
        let node = NodeId::new(running.namespace, node_name(number));
        let range = NodeId::new(running.namespace, format!("{}.EURange", node_name(number)));
        VariableBuilder::new(&range, "EURange", "EURange")
            .data_type(DataTypeId::Range)
            .value(ExtensionObject::from_message(Range { low, high }))
            .property_of(node)
            .insert(&mut *running.plant.address_space().write());
    }

    pub fn set(&mut self, number: usize, value: impl Into<Variant>) {
        let value = value.into();
        self.values.insert(number, value.clone());
        let now = DateTime::now();
        self.set_data(number, DataValue::new_at_status(value, now, StatusCode::Good));
    }

    pub fn set_data(&self, number: usize, data: DataValue) {
        let Some(running) = &self.running else { return };
        let node = NodeId::new(running.namespace, node_name(number));
        running
            .plant
            .set_value(running.handle.subscriptions(), &node, None, data)
            .unwrap();
    }

    /// Waits until it holds so many subscriptions.
    pub async fn holds_subscriptions(&self, count: u32) {
        let what = VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CurrentSubscriptionCount;
        self.holds(what, "subscriptions", count).await;
    }

    /// Waits until it has so many sessions.
    pub async fn has_sessions(&self, count: u32) {
        let what = VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CurrentSessionCount;
        self.holds(what, "sessions", count).await;
    }

    /// How many sessions it has now.
    pub fn sessions(&self) -> usize {
        let what = VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CurrentSessionCount;
        let diagnostics = self
            .running
            .as_ref()
            .map(|running| &running.handle.info().diagnostics);
        match diagnostics.and_then(|all| all.get(what)?.value) {
            Some(Variant::UInt32(count)) => count as usize,
            _ => 0,
        }
    }

    async fn holds(&self, what: VariableId, name: &str, count: u32) {
        let diagnostics = &self.running.as_ref().unwrap().handle.info().diagnostics;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let held = diagnostics.get(what).and_then(|data| data.value);
            if held == Some(Variant::UInt32(count)) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{held:?} {name} and not {count}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it says of itself.
    pub fn set_service_level(&self, level: u8) {
        self.running.as_ref().unwrap().handle.set_service_level(level);
    }

    /// Has it call a client.
    pub fn call(&self, client: SocketAddr) {
        let target = ReverseConnectTargetConfig {
            address: client,
            endpoint_url: format!("opc.tcp://127.0.0.1:{}/", self.port),
            id: client.to_string(),
        };
        self.running
            .as_ref()
            .unwrap()
            .handle
            .add_reverse_connect_target(target);
    }

    /// Adds a node that was not there.
    pub fn add(&self, number: usize) {
        let running = self.running.as_ref().unwrap();
        add(&running.plant, running.namespace, number, 0);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The port of a killed server becomes free when its runtime has ended.
async fn listen(port: u16) -> std::net::TcpListener {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener.into_std().unwrap(),
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "port {port}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn builder(manner: &Manner, port: u16) -> ServerBuilder {
    let anonymous = ANONYMOUS_USER_TOKEN_ID;
    let mut builder = ServerBuilder::new()
        .application_name("test plant")
        .application_uri("urn:test:server")
        .product_uri("urn:test:server")
        .host("127.0.0.1")
        .port(port)
        .discovery_urls(vec!["/".to_owned()])
        .create_sample_keypair(manner.keys.is_some())
        .pki_dir(manner.keys.as_deref().unwrap_or(Path::new("/nonexistent")))
        .trust_client_certs(!manner.checks_clients)
        .max_session_timeout_ms(u64::try_from(manner.longest_session.as_millis()).unwrap())
        .diagnostics_enabled(true)
        .subscription_poll_interval_ms(1)
        .add_endpoint("none", ServerEndpoint::new_none("/", &[anonymous.to_owned()]));
    if manner.keys.is_some() {
        builder = builder.add_user_token("operator", ServerUserToken::user_pass("operator", "s3cret"));
        let policies = [
            ("basic256", SecurityPolicy::Basic256Sha256),
            ("aes128", SecurityPolicy::Aes128Sha256RsaOaep),
            ("aes256", SecurityPolicy::Aes256Sha256RsaPss),
            ("old256", SecurityPolicy::Basic256),
            ("old128", SecurityPolicy::Basic128Rsa15),
        ];
        let users: &[&str] = &[anonymous, "operator"];
        for (name, policy) in policies {
            for (mode_name, mode) in [
                ("sign", MessageSecurityMode::Sign),
                ("encrypt", MessageSecurityMode::SignAndEncrypt),
            ] {
                let name = format!("{name}-{mode_name}");
                builder = builder.add_endpoint(name, ("/", policy, mode, users));
            }
        }
    }
    if let Some(most) = manner.most_nodes_per_read {
        builder.limits_mut().operational.max_nodes_per_read = most;
    }
    if let Some((nodes, references)) = manner.browse_limits {
        let limits = &mut builder.limits_mut().operational;
        limits.max_nodes_per_browse = nodes;
        limits.max_references_per_browse_node = references;
    }
    let limits = &mut builder.limits_mut().subscriptions;
    limits.min_sampling_interval_ms = manner.least_sampling_millis;
    limits.min_publishing_interval_ms = manner.least_publishing_millis;
    limits.max_lifetime_count = manner.longest_life;
    limits.max_monitored_item_queue_size = manner.longest_queue;
    limits.max_monitored_items_per_sub = manner.most_items_per_subscription;
    limits.max_queued_notifications = 10_000;
    let namespace = |uri: &str, name| {
        let metadata = NamespaceMetadata {
            namespace_uri: uri.to_owned(),
            ..Default::default()
        };
        simple_node_manager(metadata, name)
    };
    let (plant, other) = (namespace(PLANT, "plant"), namespace(OTHER, "other"));
    if manner.other_first {
        builder.with_node_manager(other).with_node_manager(plant)
    } else {
        builder.with_node_manager(plant).with_node_manager(other)
    }
}

fn fill(nodes: &SimpleNodeManager, namespace: u16, count: usize, value: i32) {
    for number in 0..count {
        add(nodes, namespace, number, value);
    }
}

fn add(nodes: &SimpleNodeManager, namespace: u16, number: usize, value: i32) {
    let name = node_name(number);
    let node = NodeId::new(namespace, name.as_str());
    VariableBuilder::new(&node, name.as_str(), name.as_str())
        .data_type(DataTypeId::BaseDataType)
        .value(value)
        .organized_by(ObjectId::ObjectsFolder)
        .insert(&mut *nodes.address_space().write());
}
