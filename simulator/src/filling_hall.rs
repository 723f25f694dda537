//! The node manager of the plant's nodes: kept in memory, read-only, and without a stale value at the start of a subscription.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use opcua::{
    server::{
        CreateMonitoredItem, SubscriptionCache,
        address_space::AddressSpace,
        diagnostics::NamespaceMetadata,
        node_manager::{
            RequestContext, ServerContext,
            memory::{InMemoryNodeManager, InMemoryNodeManagerImpl},
        },
    },
    sync::RwLock,
    types::{AttributeId, NodeId, StatusCode, TimestampsToReturn},
};

/// How long after its first value was read an item is told the present one: three times, as the server takes longer to
/// register an item when many are created at once. What the client knows already is filtered out.
const TOLD_AFTER: [Duration; 3] = [
    Duration::from_millis(5),
    Duration::from_millis(50),
    Duration::from_millis(500),
];

/// Most values told in one turn of the plant's thread, so that the load keeps its pace.
const TOLD_A_TURN: usize = 2_000;

/// The node manager's own part.
///
/// The server reads the first value of an item and registers the item afterwards. A change between the two would never be
/// told, and a client would miss it and be left with a stale value. So each new item is told the present value again shortly
/// after, by the thread that makes the changes, in their order. Only of a tag that changes twice within a few milliseconds of
/// its subscription may the first of the two be missed.
pub(crate) struct FillingHall {
    namespace: NamespaceMetadata,
    /// Nodes of new items, by number of the attempt, in the order of their creation.
    waiting: Mutex<[VecDeque<(Instant, NodeId)>; TOLD_AFTER.len()]>,
}

impl FillingHall {
    pub(crate) fn new(namespace_uri: &str, context: &ServerContext, space: &mut AddressSpace) -> Self {
        let namespace_index = context
            .type_tree
            .write()
            .namespaces_mut()
            .add_namespace(namespace_uri);
        space.add_namespace(namespace_uri, namespace_index);
        let namespace = NamespaceMetadata {
            namespace_uri: namespace_uri.to_owned(),
            namespace_index,
            ..NamespaceMetadata::default()
        };
        Self {
            namespace,
            waiting: Mutex::default(),
        }
    }

    /// Takes the nodes of new items that are to be told the present value now.
    fn due(&self, now: Instant) -> Vec<NodeId> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        for queue in waiting.iter_mut() {
            while due.len() < TOLD_A_TURN && queue.front().is_some_and(|(at, _)| *at <= now) {
                due.extend(queue.pop_front().map(|(_, node)| node));
            }
        }
        due
    }
}

/// Tells new items the present values of their nodes. To be called often, by the thread that writes.
pub(crate) fn tell_new_items(hall: &InMemoryNodeManager<FillingHall>, subscriptions: &SubscriptionCache) {
    let due = hall.inner().due(Instant::now());
    if due.is_empty() {
        return;
    }
    let space = hall.address_space().read();
    subscriptions.maybe_notify(
        due.iter().map(|node| (node, AttributeId::Value)),
        |node, attribute, range, encoding| {
            space
                .find(node)?
                .as_node()
                .get_attribute(TimestampsToReturn::Both, attribute, range, encoding)
        },
    );
}

#[async_trait]
#[allow(clippy::mut_mut, reason = "the library's signature")]
impl InMemoryNodeManagerImpl for FillingHall {
    async fn init(&self, _space: &mut AddressSpace, _context: ServerContext) {}

    fn name(&self) -> &'static str {
        "filling-hall"
    }

    fn namespaces(&self) -> Vec<NamespaceMetadata> {
        vec![self.namespace.clone()]
    }

    async fn create_value_monitored_items(
        &self,
        context: &RequestContext,
        space: &RwLock<AddressSpace>,
        items: &mut [&mut &mut CreateMonitoredItem],
    ) {
        let space = space.read();
        let now = Instant::now();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            let value = space.read(context, item.item_to_monitor(), 0.0, TimestampsToReturn::Both);
            if matches!(
                value.status(),
                StatusCode::BadNodeIdUnknown | StatusCode::BadAttributeIdInvalid
            ) {
                item.set_status(value.status());
                continue;
            }
            item.set_initial_value(value);
            item.set_status(StatusCode::Good);
            for (queue, after) in waiting.iter_mut().zip(TOLD_AFTER) {
                queue.push_back((now + after, item.item_to_monitor().node_id.clone()));
            }
        }
    }
}
