//! A session that asks much at once: batches within the server's limits, halved where they are too much for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use opcua::client::services::{Browse, BrowseNext};
use opcua::client::{Session, SessionPollResult, UARequest};
use opcua::types::{
    BrowseDescription, BrowseDirection, BrowseResultMask, ByteString, DataValue, Error, NodeClassMask,
    NodeId, ReadValueId, ReferenceDescription, ReferenceTypeId, StatusCode, TimestampsToReturn, UAString,
    VariableId, Variant,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::BrowseError;
use crate::connection::{self, Connection, Target};
use crate::drive::told;
use crate::items::is_too_large;
use crate::plan::Plan;
use crate::publish::is_lost;
use crate::reason::Reason;
use crate::server::read;

/// Requests that are on their way at once: the server works on one while the answer to another is read.
const IN_FLIGHT: usize = 4;
/// Nodes in one Browse where the server names no limit.
const BROWSE_BATCH: usize = 200;
/// Nodes in one Read where the server names no limit.
const READ_BATCH: usize = 1_000;
/// References of one node in one answer; the rest is asked for.
const MOST_REFERENCES: u32 = 1_000;
/// Answers in a row that do not come, after which the server counts as gone.
const MOST_TIMEOUTS: usize = 3;
/// How long the end of the session may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The server does not answer any more; why.
#[derive(Clone, Debug)]
pub struct Lost(pub Reason);

/// What is asked of each node.
pub type Answer<T> = Result<T, StatusCode>;

/// A connected session.
pub struct Client {
    session: Arc<Session>,
    timeout: Duration,
    link: watch::Receiver<Link>,
    driver: JoinHandle<()>,
    browse_batch: AtomicUsize,
    read_batch: AtomicUsize,
    timeouts: AtomicUsize,
    /// The server's namespaces.
    pub namespaces: Vec<String>,
}

#[derive(Clone, Debug)]
enum Link {
    Connecting,
    Up,
    Lost(Reason),
}

impl Client {
    /// Connects, and asks for namespaces and limits.
    pub async fn connect(plan: &Arc<Plan>) -> Result<Self, BrowseError> {
        // A look may come before the gateway has a folder; where it cannot be made, the key's place is missed below.
        if let Some(state) = plan.pki.parent() {
            let _ = std::fs::create_dir_all(state);
        }
        let Connection {
            session, event_loop, ..
        } = connection::prepare(plan, &Target::first(plan))
            .await
            .map_err(BrowseError::Connect)?;
        let (sender, mut link) = watch::channel(Link::Connecting);
        let of_driver = Arc::clone(plan);
        let driver = tokio::spawn(async move {
            let mut events = std::pin::pin!(event_loop.enter());
            while let Some(event) = events.next().await {
                let lost = match event {
                    Ok(SessionPollResult::Reconnected(_)) => {
                        let _ = sender.send(Link::Up);
                        continue;
                    }
                    Ok(SessionPollResult::ConnectionLost(status)) => Reason::ended(status),
                    Ok(SessionPollResult::ReconnectFailed(status)) | Err(status) => told(&of_driver, status),
                    Ok(_) => continue,
                };
                let _ = sender.send(Link::Lost(lost));
                return;
            }
        });
        let refused = |reason| BrowseError::Refused {
            endpoint: plan.settings.endpoint.clone(),
            reason,
        };
        let timeout = plan.settings.request_timeout.get();
        let connected = link.wait_for(|link| !matches!(link, Link::Connecting));
        let connected = tokio::time::timeout(timeout * 4, connected).await;
        match connected.map(|link| link.map(|link| link.clone())) {
            Ok(Ok(Link::Up)) => {}
            Ok(Ok(Link::Lost(reason))) => return Err(refused(reason)),
            Ok(_) => return Err(refused(Reason::given_up())),
            Err(_) => {
                return Err(refused(Reason::new("no session in time", "opcua-server-silent")));
            }
        }
        let mut client = Self {
            session,
            timeout,
            link,
            driver,
            browse_batch: AtomicUsize::new(BROWSE_BATCH),
            read_batch: AtomicUsize::new(READ_BATCH),
            timeouts: AtomicUsize::new(0),
            namespaces: Vec::new(),
        };
        client
            .look_around()
            .await
            .map_err(|Lost(reason)| refused(reason))?;
        Ok(client)
    }

    /// Reads namespaces and limits, one by one: there are servers that read no more at once.
    async fn look_around(&mut self) -> Result<(), Lost> {
        let wanted = [
            VariableId::Server_NamespaceArray,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
        ];
        let nodes = wanted.map(|id| ReadValueId::new_value(id.into()));
        let mut values = self.read(nodes.to_vec()).await?.into_iter();
        let mut next = || values.next().and_then(Result::ok).and_then(|value| value.value);
        if let Some(Variant::Array(array)) = next() {
            let uri = |uri: &Variant| match uri {
                Variant::String(uri) => uri.as_ref().to_owned(),
                _ => String::new(),
            };
            self.namespaces = array.values.iter().map(uri).collect();
        }
        for size in [&self.browse_batch, &self.read_batch] {
            if let Some(Variant::UInt32(limit @ 1..)) = next() {
                size.fetch_min(usize::try_from(limit).unwrap_or(usize::MAX), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// How many nodes are best browsed together.
    pub fn at_once(&self) -> usize {
        self.browse_batch.load(Ordering::Relaxed) * IN_FLIGHT
    }

    /// The references that lead down from nodes.
    pub async fn below(&self, nodes: Vec<NodeId>) -> Result<Vec<Answer<Vec<ReferenceDescription>>>, Lost> {
        let wanted = nodes.into_iter().map(|node| BrowseDescription {
            node_id: node,
            browse_direction: BrowseDirection::Forward,
            reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
            include_subtypes: true,
            node_class_mask: (NodeClassMask::OBJECT | NodeClassMask::VARIABLE).bits(),
            result_mask: BrowseResultMask::All as u32,
        });
        self.browse(wanted.collect()).await
    }

    /// The types above types.
    pub async fn above(&self, nodes: Vec<NodeId>) -> Result<Vec<Answer<Vec<ReferenceDescription>>>, Lost> {
        let wanted = nodes.into_iter().map(|node| BrowseDescription {
            node_id: node,
            browse_direction: BrowseDirection::Inverse,
            reference_type_id: ReferenceTypeId::HasSubtype.into(),
            include_subtypes: false,
            node_class_mask: 0,
            result_mask: BrowseResultMask::All as u32,
        });
        self.browse(wanted.collect()).await
    }

    async fn browse(
        &self,
        nodes: Vec<BrowseDescription>,
    ) -> Result<Vec<Answer<Vec<ReferenceDescription>>>, Lost> {
        let asked = nodes.clone();
        let send = |part| self.browse_part(part);
        let answers = self.in_batches(nodes, &self.browse_batch, send).await?;
        let mut answers: Vec<Answer<Vec<ReferenceDescription>>> =
            answers.into_iter().map(Result::flatten).collect();
        // A server holds few answers half-read; alone each gets its turn.
        for (answer, node) in answers.iter_mut().zip(asked) {
            if matches!(answer, Err(StatusCode::BadNoContinuationPoints)) {
                let alone = self
                    .in_batches(vec![node], &self.browse_batch, |part| self.browse_part(part))
                    .await?;
                *answer = alone
                    .into_iter()
                    .next()
                    .map_or(Err(StatusCode::BadUnknownResponse), Result::flatten);
            }
        }
        Ok(answers)
    }

    /// One Browse, and as many `BrowseNext` as it takes.
    async fn browse_part(
        &self,
        nodes: Vec<BrowseDescription>,
    ) -> Result<Vec<Answer<Vec<ReferenceDescription>>>, Error> {
        let response = Browse::new(&self.session)
            .nodes_to_browse(nodes)
            .max_references_per_node(MOST_REFERENCES)
            .timeout(self.timeout)
            .send(self.session.channel())
            .await?;
        let mut answers = Vec::new();
        let mut open: Vec<(usize, ByteString)> = Vec::new();
        for (place, result) in response.results.unwrap_or_default().into_iter().enumerate() {
            if result.status_code.is_bad() {
                answers.push(Err(result.status_code));
                continue;
            }
            if !result.continuation_point.is_null_or_empty() {
                open.push((place, result.continuation_point));
            }
            answers.push(Ok(result.references.unwrap_or_default()));
        }
        while !open.is_empty() {
            let (places, points): (Vec<usize>, Vec<ByteString>) = open.drain(..).unzip();
            let response = BrowseNext::new(&self.session)
                .continuation_points(points)
                .timeout(self.timeout)
                .send(self.session.channel())
                .await?;
            let results = response.results.unwrap_or_default();
            if results.len() != places.len() {
                return Err(Error::new(
                    StatusCode::BadUnknownResponse,
                    "another number of answers",
                ));
            }
            for (place, result) in places.into_iter().zip(results) {
                let Some(answer) = answers.get_mut(place) else {
                    continue;
                };
                if result.status_code.is_bad() {
                    *answer = Err(result.status_code);
                    continue;
                }
                let more = result.references.unwrap_or_default();
                // An answer that says that there is more and has nothing would be asked for ever.
                if !result.continuation_point.is_null_or_empty() && !more.is_empty() {
                    open.push((place, result.continuation_point));
                }
                if let Ok(known) = answer {
                    known.extend(more);
                }
            }
        }
        Ok(answers)
    }

    /// Reads attributes.
    pub async fn read(&self, nodes: Vec<ReadValueId>) -> Result<Vec<Answer<DataValue>>, Lost> {
        let send = |part| read(&self.session, part, TimestampsToReturn::Neither, self.timeout);
        self.in_batches(nodes, &self.read_batch, send).await
    }

    /// Asks for all items in batches of at most this size, which shrinks where it is too much. The answers are in the order of the items.
    async fn in_batches<T, R, F, Sent>(
        &self,
        items: Vec<T>,
        size: &AtomicUsize,
        send: F,
    ) -> Result<Vec<Answer<R>>, Lost>
    where
        T: Clone,
        F: Fn(Vec<T>) -> Sent,
        Sent: Future<Output = Result<Vec<R>, Error>>,
    {
        let batch = size.load(Ordering::Relaxed).max(1);
        let mut items = items.into_iter();
        let parts = std::iter::from_fn(|| {
            let part: Vec<T> = items.by_ref().take(batch).collect();
            (!part.is_empty()).then_some(part)
        });
        let parts: Vec<Vec<T>> = parts.collect();
        let asked = stream::iter(parts.into_iter().map(|part| self.in_halves(part, size, &send)));
        let work = asked.buffered(IN_FLIGHT).try_concat();
        let mut link = self.link.clone();
        tokio::select! {
            answers = work => answers,
            lost = link.wait_for(|link| matches!(link, Link::Lost(_))) => Err(Lost(match lost.as_deref() {
                Ok(Link::Lost(reason)) => reason.clone(),
                _ => Reason::given_up(),
            })),
        }
    }

    async fn in_halves<T, R, F, Sent>(
        &self,
        part: Vec<T>,
        size: &AtomicUsize,
        send: &F,
    ) -> Result<Vec<Answer<R>>, Lost>
    where
        T: Clone,
        F: Fn(Vec<T>) -> Sent,
        Sent: Future<Output = Result<Vec<R>, Error>>,
    {
        let mut answers = Vec::with_capacity(part.len());
        let mut waiting = vec![part];
        while let Some(mut part) = waiting.pop() {
            let error = match send(part.clone()).await {
                Ok(found) if found.len() == part.len() => {
                    self.timeouts.store(0, Ordering::Relaxed);
                    answers.extend(found.into_iter().map(Ok));
                    continue;
                }
                Ok(_) => Error::new(StatusCode::BadUnknownResponse, "another number of answers"),
                Err(error) => error,
            };
            let status = error.status();
            let is_silent = status == StatusCode::BadTimeout;
            if is_silent && self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_TIMEOUTS {
                return Err(Lost(Reason::of(&error)));
            }
            if part.len() > 1 && (is_silent || is_too_much(status)) {
                let half = part.len() / 2;
                size.fetch_min(half.max(1), Ordering::Relaxed);
                let rest = part.split_off(half);
                waiting.extend([rest, part]);
            } else if is_lost(status) && !is_silent {
                return Err(Lost(Reason::of(&error)));
            } else {
                answers.extend(part.iter().map(|_| Err(status)));
            }
        }
        Ok(answers)
    }

    /// Ends the session.
    pub async fn close(self) {
        let _ = tokio::time::timeout(FAREWELL, self.session.disconnect()).await;
        self.driver.abort();
    }

    /// The place of a namespace's URI.
    pub fn namespace(&self, uri: &UAString) -> Option<u16> {
        let place = self.namespaces.iter().position(|known| known == uri.as_ref())?;
        u16::try_from(place).ok()
    }
}

/// Whether a status says that less at once would do.
fn is_too_much(status: StatusCode) -> bool {
    is_too_large(status)
        || matches!(
            status,
            StatusCode::BadOutOfMemory | StatusCode::BadResourceUnavailable
        )
}
