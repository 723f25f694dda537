//! Requests of the gateway: some tags, read together, now.
//!
//! They are served beside subscriptions and polling, and several at a time: neither waits for the other. What is read goes to the
//! gateway as the answer and is no change.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use floorgate_adapter_api::{Intake, Request, Requests, Sample, SourceContext, SourceMetrics, TagId};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use opcua::client::Session;
use opcua::types::{Error, ReadValueId, StatusCode, TimestampsToReturn};
use tokio::sync::watch;

use crate::items::{failed, is_too_large};
use crate::plan::Plan;
use crate::server::read;
use crate::structure::Types;
use crate::value::{self, Unsupported};

/// Requests that the server is asked at a time; the others wait.
const MOST_AT_A_TIME: usize = 16;

/// Whether the server can be asked.
#[derive(Clone)]
pub enum Reach {
    /// It is connected.
    Here {
        /// The session.
        session: Arc<Session>,
        /// For each URI of the plan its index on this server.
        namespaces: Arc<[Option<u16>]>,
        /// Most nodes in one read.
        nodes_per_read: usize,
        /// The server's types.
        types: Types,
    },
    /// It is not connected, for this reason.
    Away(String),
}

/// What came of a request beside its answer, for the log.
#[derive(Default)]
struct Remarks {
    /// Tags whose values have a type that is not supported.
    unsupported: Vec<(TagId, Unsupported)>,
    /// Nodes in the largest read that the server allowed, where it did not allow all of them at once.
    divided: Option<usize>,
}

/// Serves requests.
pub struct Snapshots {
    plan: Arc<Plan>,
    requests: Requests,
    intake: Intake,
    metrics: SourceMetrics,
    reach: watch::Receiver<Reach>,
}

impl Snapshots {
    /// Requests to a source, and whether its server can be asked.
    pub fn new(plan: Arc<Plan>, context: &SourceContext, reach: watch::Receiver<Reach>) -> Self {
        Self {
            plan,
            requests: context.requests.clone(),
            intake: context.intake.clone(),
            metrics: context.metrics.clone(),
            reach,
        }
    }

    /// Answers each request, for ever.
    pub async fn serve(&self) -> Infallible {
        let mut in_flight = FuturesUnordered::new();
        let mut warned = HashSet::new();
        let mut has_divided = false;
        loop {
            tokio::select! {
                Some(remarks) = in_flight.next() => self.tell(remarks, &mut warned, &mut has_divided),
                request = self.requests.next(), if in_flight.len() < MOST_AT_A_TIME => {
                    in_flight.push(self.fulfil(request));
                }
            }
        }
    }

    async fn fulfil(&self, request: Request) -> Remarks {
        let mut remarks = Remarks::default();
        let result = self.read(&request, &mut remarks).await;
        if let Err(reason) = &result {
            let (source, tags) = (&self.plan.name, request.tags.len());
            tracing::debug!(source, tags, "tags could not be read together: {reason}");
        }
        // A gateway that takes nothing any more is about to stop the source.
        let _ = self.requests.answer(&self.intake, request.id, result).await;
        remarks
    }

    async fn read(&self, request: &Request, remarks: &mut Remarks) -> Result<Vec<Sample>, String> {
        let mut reach = self.reach.clone();
        let reached = reach.borrow_and_update().clone();
        let (session, namespaces, most, types) = match reached {
            Reach::Here {
                session,
                namespaces,
                nodes_per_read,
                types,
            } => (session, namespaces, nodes_per_read, types),
            Reach::Away(reason) => return Err(format!("the source is not connected: {reason}")),
        };
        let within = self.plan.settings.request_timeout.get();
        tokio::select! {
            samples = self.read_nodes((&session, &types), &namespaces, most, request, remarks) => samples,
            reason = lost(&mut reach) => Err(format!("the connection was lost: {reason}")),
            () = tokio::time::sleep(within) => {
                self.metrics.error("timeout");
                Err(format!("no answer within {within:?}"))
            }
        }
    }

    /// Reads the nodes in one request, or in the fewest that the server's limit allows.
    async fn read_nodes(
        &self,
        (session, types): (&Arc<Session>, &Types),
        namespaces: &[Option<u16>],
        mut most: usize,
        request: &Request,
        remarks: &mut Remarks,
    ) -> Result<Vec<Sample>, String> {
        let mut samples = Vec::with_capacity(request.tags.len());
        let mut asked = Vec::with_capacity(request.tags.len());
        for &id in &request.tags {
            let Some((tag, node)) = self.plan.tag(id, namespaces) else {
                return Err(format!("the source has no tag with the number {}", id.0));
            };
            match node {
                Some(node) => asked.push((tag, ReadValueId::new_value(node))),
                None => samples.push(value::refusal(id, StatusCode::BadNodeIdUnknown)),
            }
        }
        let mut rest = &asked[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(most.min(rest.len()));
            if !later.is_empty() {
                remarks.divided = Some(most);
            }
            let nodes = now.iter().map(|(_, node)| node.clone()).collect();
            let values = match self.read_some(session, nodes).await {
                Ok(values) => values,
                Err(error) if is_too_large(error.status()) && now.len() > 1 => {
                    most = now.len() / 2;
                    continue;
                }
                Err(error) => {
                    self.metrics.error("status");
                    return Err(failed("reading", &error));
                }
            };
            if types.lack(values.iter().filter_map(|value| value.value.as_ref())) {
                if types.are_asked() {
                    types.await_asked().await;
                    if !types.are_known() {
                        return Err("the server does not tell its data types".to_owned());
                    }
                } else {
                    let (session, types, plan) = (Arc::clone(session), types.clone(), Arc::clone(&self.plan));
                    // It goes on for the next request where this one does not wait so long.
                    let ask = async move {
                        match types.ask(&session, most, &plan).await {
                            Err(error) if types.was_lost() => {
                                types.give_up(&plan.name, &failed("reading the data types", &error));
                                Ok(())
                            }
                            asked => asked,
                        }
                    };
                    if let Ok(Err(error)) = tokio::spawn(ask).await {
                        return Err(failed("reading the data types", &error));
                    }
                }
            }
            for ((tag, _), data) in now.iter().zip(values) {
                let (told, unsupported) = value::told(data, Some(types));
                remarks.unsupported.extend(unsupported.map(|kind| (tag.id, kind)));
                samples.push(told.sample(tag.id, tag.field.as_ref()));
            }
            rest = later;
        }
        Ok(samples)
    }

    async fn read_some(
        &self,
        session: &Session,
        nodes: Vec<ReadValueId>,
    ) -> Result<Vec<opcua::types::DataValue>, Error> {
        let begun = Instant::now();
        self.metrics.requests.inc();
        let within = self.plan.settings.request_timeout.get();
        let values = read(session, nodes, TimestampsToReturn::Both, within).await?;
        self.metrics
            .request_seconds
            .observe(begun.elapsed().as_secs_f64());
        Ok(values)
    }

    /// Says each thing once.
    fn tell(&self, remarks: Remarks, warned: &mut HashSet<TagId>, has_divided: &mut bool) {
        let source = &self.plan.name;
        for (id, kind) in remarks.unsupported {
            if warned.insert(id) {
                let name = self.plan.name_of(id);
                tracing::warn!(source, tag = %name, see = "opcua-type-not-supported", "values of type {} are not supported; the tag stays bad", kind.0);
            }
        }
        if let Some(most) = remarks.divided
            && !std::mem::replace(has_divided, true)
        {
            tracing::warn!(
                source,
                see = "opcua-snapshot-divided",
                "the server reads {most} nodes in one request: a snapshot of more takes several requests, and its values may be of different moments"
            );
        }
    }
}

/// Waits until the server cannot be asked any more; why.
async fn lost(reach: &mut watch::Receiver<Reach>) -> String {
    match reach
        .wait_for(|reach| matches!(reach, Reach::Away(_)))
        .await
        .as_deref()
    {
        Ok(Reach::Away(reason)) => reason.clone(),
        _ => "the source ends".to_owned(),
    }
}
