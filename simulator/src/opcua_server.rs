//! The OPC UA side: an address space of lines and load tags, and a server that is willing to be fast.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use opcua::{
    crypto::SecurityPolicy,
    server::{
        ANONYMOUS_USER_TOKEN_ID, ServerBuilder, ServerEndpoint, ServerHandle, ServerUserToken,
        address_space::{AddressSpace, Variable, VariableBuilder},
        node_manager::{
            ServerContext,
            memory::{InMemoryNodeManager, InMemoryNodeManagerBuilder},
        },
    },
    types::{DataTypeId, DataValue, DateTime, MessageSecurityMode, NodeId, ObjectId, StatusCode, Variant},
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    Load, LoadValue, PlantError,
    filling_hall::{self, FillingHall},
    model::{Protocol, Tag, TagValue},
};

/// Namespace of all nodes of the plant.
pub const NAMESPACE_URI: &str = "urn:floorgate:filling-hall";

/// Application URI of the server, also in its certificate.
pub const APPLICATION_URI: &str = "urn:floorgate:simulator";

/// Name of the demonstration user. It is accepted on encrypted endpoints only.
pub const DEMO_USER: &str = "demo";

/// Password of the demonstration user: no secret, it guards nothing.
pub const DEMO_PASSWORD: &str = "filling-hall";

/// Key of the demonstration user in the server's settings.
const DEMO_TOKEN: &str = "demo-user";

/// Ticks of 100 ns between the start of 1601, from where OPC UA counts, and the start of 1970.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;

/// The running server with the nodes that are written.
pub(crate) struct OpcUaServer {
    handle: ServerHandle,
    nodes: Arc<InMemoryNodeManager<FillingHall>>,
    /// One per tag of the hall; `None` for tags of the other protocol.
    tags: Vec<Option<NodeId>>,
    load: Vec<NodeId>,
}

/// How much security the server offers, with the directory of its keys.
pub(crate) struct Endpoints<'a> {
    pub(crate) bind: IpAddr,
    pub(crate) keys: &'a Path,
    pub(crate) encrypted: bool,
}

fn builder(endpoints: &Endpoints<'_>) -> ServerBuilder {
    let anonymous = ANONYMOUS_USER_TOKEN_ID;
    let host = match endpoints.bind {
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    };
    let mut builder = ServerBuilder::new()
        .application_name("floorgate simulator")
        .application_uri(APPLICATION_URI)
        .product_uri(APPLICATION_URI)
        .host(host)
        .pki_dir(endpoints.keys)
        .create_sample_keypair(endpoints.encrypted)
        // Whoever reaches a simulated plant may read it.
        .trust_client_certs(true)
        .discovery_urls(vec!["/".to_owned()])
        .add_endpoint("none", ServerEndpoint::new_none("/", &[anonymous.to_owned()]))
        .subscription_poll_interval_ms(1)
        .max_message_size(64 << 20)
        .max_chunk_count(0)
        // Of a client that is killed one stays until it times out.
        .max_sessions(1_000)
        .max_session_timeout_ms(600_000);
    if endpoints.encrypted {
        builder = builder.add_user_token(DEMO_TOKEN, ServerUserToken::user_pass(DEMO_USER, DEMO_PASSWORD));
        let users = &[anonymous, DEMO_TOKEN] as &[&str];
        for (name, policy, mode) in [
            (
                "basic256sha256-sign",
                SecurityPolicy::Basic256Sha256,
                MessageSecurityMode::Sign,
            ),
            (
                "basic256sha256",
                SecurityPolicy::Basic256Sha256,
                MessageSecurityMode::SignAndEncrypt,
            ),
            (
                "aes128sha256",
                SecurityPolicy::Aes128Sha256RsaOaep,
                MessageSecurityMode::SignAndEncrypt,
            ),
            (
                "aes256sha256",
                SecurityPolicy::Aes256Sha256RsaPss,
                MessageSecurityMode::SignAndEncrypt,
            ),
        ] {
            builder = builder.add_endpoint(name, ("/", policy, mode, users));
        }
    }
    set_limits(&mut builder);
    builder
}

/// Opens what the library's defaults keep narrow, so that a client's wishes are what is measured.
fn set_limits(builder: &mut ServerBuilder) {
    let limits = builder.limits_mut();
    let subscriptions = &mut limits.subscriptions;
    // Zero lets a client ask for every change instead of samples: with an interval the server drops values that come closer
    // together and moves their time-stamps.
    subscriptions.min_sampling_interval_ms = 0.0;
    subscriptions.min_publishing_interval_ms = 1.0;
    subscriptions.max_monitored_items_per_sub = 0;
    subscriptions.max_monitored_item_queue_size = 100_000;
    subscriptions.max_subscriptions_per_session = 1_000;
    // The server keeps twice as many sent messages for republishing as a client may have requests open.
    subscriptions.max_pending_publish_requests = 1_000;
    subscriptions.max_publish_requests_per_subscription = 100;
    // A first notification of 100,000 values is split into messages that default clients accept.
    subscriptions.max_notifications_per_publish = 4_000;
    subscriptions.max_queued_notifications = 10_000;
    let operational = &mut limits.operational;
    operational.max_monitored_items_per_call = 100_000;
    operational.max_nodes_per_read = 100_000;
    operational.max_nodes_per_translate_browse_paths_to_node_ids = 100_000;
    limits.max_array_length = 1_000_000;
}

impl OpcUaServer {
    /// Builds the server, fills its address space and serves on `listener`. The task ends after [`Self::cancel`].
    pub(crate) fn start(
        listener: TcpListener,
        endpoints: &Endpoints<'_>,
        tags: &[Tag],
        load: Option<Load>,
        now: i64,
    ) -> Result<(Self, JoinHandle<()>), PlantError> {
        let port = listener.local_addr().map_or(0, |address| address.port());
        let hall = |context: ServerContext, space: &mut AddressSpace| {
            FillingHall::new(NAMESPACE_URI, &context, space)
        };
        let (server, handle) = builder(endpoints)
            .port(port)
            .with_node_manager(InMemoryNodeManagerBuilder::new(hall))
            .build()
            .map_err(PlantError::OpcUa)?;
        let missing = || PlantError::OpcUa("the server has no filling hall".to_owned());
        let nodes: Arc<InMemoryNodeManager<FillingHall>> =
            handle.node_managers().get_of_type().ok_or_else(missing)?;
        let namespace = handle.get_namespace_index(NAMESPACE_URI).ok_or_else(missing)?;
        let (tags, load) = {
            let mut space = nodes.address_space().write();
            (
                add_tags(&mut space, namespace, tags, now),
                add_load(&mut space, namespace, load, now),
            )
        };
        let task = tokio::spawn(async move {
            if let Err(error) = server.run_with(listener).await {
                tracing::error!(%error, "the opc ua server ended");
            }
        });
        Ok((
            Self {
                handle,
                nodes,
                tags,
                load,
            },
            task,
        ))
    }

    pub(crate) fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Tells new monitored items what they may have missed while they were created. To be called often.
    pub(crate) fn tell_new_items(&self) {
        filling_hall::tell_new_items(&self.nodes, self.handle.subscriptions());
    }

    /// Shows the changed tags of one moment, all with the same time; the tag is its place among the hall's tags.
    pub(crate) fn write<'a>(
        &self,
        values: impl Iterator<Item = (usize, &'a TagValue)>,
        now: i64,
    ) -> Result<(), PlantError> {
        let values = values.filter_map(|(tag, value)| {
            let node = self.tags.get(tag)?.as_ref()?;
            Some((node, None, data_value(variant(value), now)))
        });
        self.nodes
            .set_values(self.handle.subscriptions(), values)
            .map_err(refused)
    }

    /// Shows load values, each tag at most once.
    pub(crate) fn write_load(
        &self,
        values: impl Iterator<Item = (u32, Variant)>,
        now: i64,
    ) -> Result<(), PlantError> {
        let values = values.filter_map(|(tag, value)| {
            let node = self.load.get(usize::try_from(tag).ok()?)?;
            Some((node, None, data_value(value, now)))
        });
        self.nodes
            .set_values(self.handle.subscriptions(), values)
            .map_err(refused)
    }
}

/// Stops the server and waits for its end, but not for ever: a client that does not read can keep a connection open.
pub(crate) async fn stop(handle: &ServerHandle, task: &mut JoinHandle<()>) {
    handle.cancel();
    if tokio::time::timeout(Duration::from_secs(3), &mut *task)
        .await
        .is_err()
    {
        tracing::warn!("the opc ua server did not end in 3 s and is cut off");
        task.abort();
    }
}

fn refused(status: StatusCode) -> PlantError {
    PlantError::OpcUa(format!("the address space refuses a value: {status}"))
}

fn date_time(micros: i64) -> DateTime {
    DateTime::from(micros * 10 + UNIX_EPOCH_TICKS)
}

fn data_value(value: Variant, now: i64) -> DataValue {
    let now = date_time(now);
    DataValue {
        value: Some(value),
        status: Some(StatusCode::Good),
        source_timestamp: Some(now),
        server_timestamp: Some(now),
        ..DataValue::default()
    }
}

fn variant(value: &TagValue) -> Variant {
    match value {
        TagValue::Flag(value) => Variant::Boolean(*value),
        TagValue::Int16(value) => Variant::Int16(*value),
        TagValue::Int32(value) => Variant::Int32(*value),
        TagValue::UInt16(value) => Variant::UInt16(*value),
        TagValue::UInt32(value) => Variant::UInt32(*value),
        TagValue::Float(value) => Variant::Float(*value),
        TagValue::Double(value) => Variant::Double(*value),
        TagValue::Text(value) => Variant::from(value.as_str()),
    }
}

fn data_type(value: &Variant) -> DataTypeId {
    match value {
        Variant::Boolean(_) => DataTypeId::Boolean,
        Variant::Int16(_) => DataTypeId::Int16,
        Variant::Int32(_) => DataTypeId::Int32,
        Variant::Int64(_) => DataTypeId::Int64,
        Variant::UInt16(_) => DataTypeId::UInt16,
        Variant::UInt32(_) => DataTypeId::UInt32,
        Variant::Float(_) => DataTypeId::Float,
        Variant::Double(_) => DataTypeId::Double,
        _ => DataTypeId::String,
    }
}

fn variable(node: &NodeId, name: &str, value: Variant, now: i64) -> Variable {
    let mut variable = VariableBuilder::new(node, name, name)
        .data_type(data_type(&value))
        .build();
    variable.set_data_value(data_value(value, now));
    variable
}

/// Adds a folder per line with its variables.
fn add_tags(space: &mut AddressSpace, namespace: u16, tags: &[Tag], now: i64) -> Vec<Option<NodeId>> {
    tags.iter()
        .map(|tag| {
            if tag.protocol != Protocol::OpcUa {
                return None;
            }
            let (folder_name, name) = tag.name.split_once('.')?;
            let folder = NodeId::new(namespace, folder_name);
            if !space.node_exists(&folder) {
                space.add_folder(&folder, folder_name, folder_name, &ObjectId::ObjectsFolder.into());
            }
            let node = NodeId::new(namespace, tag.name.as_str());
            space.add_variables(vec![variable(&node, name, variant(&tag.value), now)], &folder);
            Some(node)
        })
        .collect()
}

fn add_load(space: &mut AddressSpace, namespace: u16, load: Option<Load>, now: i64) -> Vec<NodeId> {
    let Some(load) = load else { return Vec::new() };
    let folder = NodeId::new(namespace, "Load");
    space.add_folder(&folder, "Load", "Load", &ObjectId::ObjectsFolder.into());
    (0..load.tags)
        .map(|tag| {
            let name = format!("T{tag:06}");
            let node = NodeId::new(namespace, format!("Load.{name}"));
            space.add_variables(
                vec![variable(&node, &name, load_variant(load.value, 0, 0), now)],
                &folder,
            );
            node
        })
        .collect()
}

/// The value of a load tag after its write number `counter` at the time `now` in microseconds.
pub(crate) fn load_variant(value: LoadValue, counter: i64, now: i64) -> Variant {
    match value {
        LoadValue::Int64 => Variant::Int64(counter),
        LoadValue::Double => Variant::Double(counter as f64),
        LoadValue::Time => Variant::Int64(now),
    }
}

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn times_keep_their_microseconds() {
        let shown = date_time(1_700_000_000_123_456).as_chrono().to_rfc3339();
        assert_eq!(shown, "2023-11-14T22:13:20.123456+00:00");
    }
}
