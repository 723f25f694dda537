//! A look at a server: which variables it has, what it says of them, and what companion specifications make of them.
//!
//! - **Connection** (`client`): the adapter's own, with its security, trust and login. Requests keep to the server's operation limits, are
//!   halved when they are too much for it, and several are on their way at once.
//! - **Walk** (`walk`): hierarchical references from Objects on, each node once, whatever cycles there are. A variable's value and properties
//!   are read right after it was browsed, so that an interrupted walk keeps what it has found.
//! - **Facts** (`facts`): units, ranges, names of values, as the mapping language has them.
//! - **Types** (`types`): what names of enumerations and companion specifications are known by is looked up once for each type.
//! - **Roles** (`roles`): what a variable is by a companion specification, by namespace URI.

mod begin;
mod client;
mod facts;
mod filter;
mod finish;
mod roles;
mod types;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use floorgate_adapter_api::{Node, NodeKind, Problems, Scalar, SourceSpec, Survey};
use opcua::types::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::connection::ConnectError;
use crate::pki::PkiError;
use crate::plan::Plan;
use crate::reason::Reason;
use client::Client;
use filter::Filter;
use walk::Walk;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct BrowseOptions {
    /// Where the walk begins: names from Objects on (`Objects/Line1`), or a node (`nsu=…;s=…`). Without it: Objects.
    pub path: Option<String>,
    /// How many names deep it goes from there.
    pub depth: Option<usize>,
    /// Globs of paths, as `Line1/**`: only variables that one of them matches.
    pub include: Vec<String>,
    /// Globs of paths that are left out, with all below them.
    pub exclude: Vec<String>,
    /// After so many nodes the walk ends.
    pub most_nodes: usize,
    /// Thumbprint of the server's certificate, where it is trusted this once.
    pub trust_once: Option<String>,
}

/// How far a walk has come.
#[derive(Debug, Default)]
pub struct Progress {
    seen: AtomicUsize,
    done: AtomicUsize,
}

impl Progress {
    /// Nodes that were found so far.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    /// Nodes below which nothing is left to be found.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }
}

/// What a walk came to.
#[derive(Clone, Debug)]
pub struct Browsed {
    /// What was found.
    pub survey: Survey,
    /// How many nodes were seen: objects and variables.
    pub nodes: usize,
    /// How many of them are variables.
    pub variables: usize,
    /// How many properties there are besides: they describe, and are no points.
    pub properties: usize,
}

/// Why a server could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    /// No session.
    #[error("{}", .0.with_causes())]
    Connect(ConnectError),
    /// The server refuses the session, or is gone.
    #[error("{endpoint}: {reason}")]
    Refused {
        /// The address.
        endpoint: String,
        /// In the server's words.
        reason: Reason,
    },
    /// The place where the walk is to begin is not there.
    #[error("there is no `{name}` in {within}; it has {known}")]
    NoPath {
        /// What is missing.
        name: String,
        /// Where it was looked for.
        within: String,
        /// What is there.
        known: String,
    },
    /// The node where the walk is to begin is none.
    #[error("`{path}` is no node of this server: {reason}")]
    NoNode {
        /// As it was given.
        path: String,
        /// Why.
        reason: Reason,
    },
    /// A glob that is none.
    #[error("{0}")]
    Glob(#[from] globset::Error),
    /// Ended before anything was found.
    #[error("ended before anything was found")]
    Ended,
}

impl BrowseError {
    /// The thumbprint of the server's certificate, where it is the reason.
    #[must_use]
    pub fn untrusted(&self) -> Option<&str> {
        match self {
            Self::Connect(ConnectError::Pki(PkiError::Untrusted { thumbprint, .. })) => Some(thumbprint),
            _ => None,
        }
    }

    /// The paragraph of the runbook that is about it; `None` where only what was asked for is wrong, and the message says what there is.
    #[must_use]
    pub fn see(&self) -> Option<&'static str> {
        match self {
            Self::Connect(error) => Some(error.see()),
            Self::Refused { reason, .. } | Self::NoNode { reason, .. } => Some(reason.see),
            Self::NoPath { .. } | Self::Glob(_) | Self::Ended => None,
        }
    }
}

/// A server that is to be looked at.
#[derive(Debug)]
pub struct Browser {
    plan: Arc<Plan>,
    options: BrowseOptions,
    filter: Filter,
    settings: Vec<(String, Scalar)>,
}

impl Browser {
    /// Checks settings, as those of a source are, and the options.
    ///
    /// # Errors
    /// [`BrowseError::Glob`]. `Ok(None)` where settings are wrong, which `problems` has.
    pub fn new(
        spec: &SourceSpec<'_>,
        options: BrowseOptions,
        problems: &mut Problems,
    ) -> Result<Option<Self>, BrowseError> {
        let filter = Filter::new(&options)?;
        let Some(mut plan) = Plan::new(spec, problems) else {
            return Ok(None);
        };
        plan.trust_once.clone_from(&options.trust_once);
        Ok(Some(Self {
            plan: Arc::new(plan),
            filter,
            settings: settings(spec.settings),
            options,
        }))
    }

    /// Looks at the server. When `stop` is cancelled, what was found by then is given.
    pub async fn browse(
        &self,
        stop: &CancellationToken,
        progress: &Progress,
    ) -> Result<Browsed, BrowseError> {
        let connected = tokio::select! {
            () = stop.cancelled() => return Err(BrowseError::Ended),
            connected = Client::connect(&self.plan) => connected?,
        };
        let begun = tokio::select! {
            () = stop.cancelled() => return Err(BrowseError::Ended),
            begun = begin::find(&connected, self.options.path.as_deref()) => begun?,
        };
        let mut walk = Walk::new(begun, &self.filter, &self.options);
        walk.run(&connected, stop, progress).await;
        let browsed = finish::finish(walk, &connected, stop, self.settings.clone()).await;
        connected.close().await;
        Ok(browsed)
    }
}

/// Settings as they are to be written again.
fn settings(node: &Node) -> Vec<(String, Scalar)> {
    let entries = node.entries().iter();
    entries
        .filter_map(|(key, _, value)| Some((key.clone(), scalar(value)?)))
        .collect()
}

fn scalar(node: &Node) -> Option<Scalar> {
    match &node.kind {
        NodeKind::Bool(value) => Some(Scalar::Bool(*value)),
        NodeKind::Int(value) => i64::try_from(*value).ok().map(Scalar::Int),
        NodeKind::Float(value) => Some(Scalar::Float(*value)),
        NodeKind::Text(text) => Some(Scalar::Text(text.clone())),
        NodeKind::Map(_) => Some(Scalar::Map(settings(node))),
        NodeKind::Null | NodeKind::List(_) => None,
    }
}

/// The name of a status, as the standard has it.
fn named(status: StatusCode) -> String {
    status.to_string()
}

/// What is missed for a reason, as it is listed.
fn missed(what: &str, reason: &Reason) -> String {
    format!("{what}: {reason} (see {})", reason.see)
}
