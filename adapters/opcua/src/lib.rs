//! OPC UA sources: subscriptions and polling reads over the binary protocol (OPC 10000-4, OPC 10000-6).
//!
//! The session, its secure channel and the encoding are `async-opcua`'s; everything that decides whether a
//! value can be missed is done here, on the raw services:
//!
//! - **Acknowledgement** (`publish`): a notification message is acknowledged only after the gateway has stored
//!   what it held. Until then the server keeps it, and it can be asked for again.
//! - **Back-pressure** (`publish`): a publish request is sent for each message that was handed on. When the intake
//!   is full, none is sent, and the server queues.
//! - **Reconnection** (`connection`, `subscription`): a re-activated session goes on with its subscriptions after the missed
//!   messages were republished; a new session takes the subscriptions over where the server allows it, and
//!   otherwise makes new ones and says that something may have been missed.
//! - **Node addresses** (`address`): the namespace index is looked up by its URI on every new session, as a server may
//!   number its namespaces anew at every start.
//! - **A look** ([`browse`]): what a server has, for a first mapping.
//! - **Conditions** (`condition`, `refresh`): alarms of a server are asked for as a whole after each connection that missed something, in a
//!   subscription of their own; only a whole answer clears any.
//! - **History** (`history`, `backfill`): what a server kept in an outage is read before anything live is handed on, over as many connections as that takes.
//! - **Nesting** (`gate`, `nesting`, `bodies`): a message is looked at before the library reads it, so that none is deeper than the stack; of structures the
//!   library reads only what the protocol itself needs.
//! - **Requests** (`snapshot`): tags that the gateway asks for are read in one request, beside the above and not through it.
//!
//! Certificates and trust are in [`pki`].

mod address;
mod backfill;
mod batches;
mod binary_schema;
mod bodies;
mod bookmark;
pub mod browse;
mod call;
mod clock;
mod condition;
mod connection;
mod definitions;
mod dictionary;
mod discarded;
mod drive;
mod event;
mod expiry;
mod field;
mod gate;
mod given_up;
mod history;
#[cfg(test)]
mod hostile_tests;
mod item;
mod items;
mod message;
mod nesting;
mod nonce;
mod outlet;
pub mod pki;
mod plan;
mod poll;
mod profile;
mod publish;
mod reason;
mod recovery;
mod redundancy;
mod refresh;
mod revised;
#[cfg(test)]
mod runbook_tests;
mod server;
mod settings;
mod silence;
mod snapshot;
mod source;
mod structure;
mod subscription;
mod supervision;
mod tag_settings;
mod takeover;
mod transport;
mod value;

use floorgate_adapter_api::{
    Adapter, Finding, Happening, Node, Problems, Quality, Reason, Source, SourceSpec,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// The OPC UA adapter (`adapter: opcua`).
#[derive(Clone, Copy, Debug, Default)]
pub struct OpcUa;

impl Adapter for OpcUa {
    fn name(&self) -> &'static str {
        "opcua"
    }

    fn reason(&self, quality: Quality) -> Option<Reason> {
        let status = opcua::types::StatusCode::from(quality.0);
        (quality != Quality::GOOD).then(|| Reason::new(status.to_string(), reason::see_of_tag(status)))
    }

    fn see(&self, finding: Finding) -> Option<&'static str> {
        Some(match finding {
            Finding::NotHealthy => "opcua-server-not-healthy",
            Finding::LessThanAsked => "opcua-intervals-revised",
            Finding::RefusedTags => "opcua-node-refused",
        })
    }

    fn runbook(&self) -> &'static str {
        include_str!("../RUNBOOK.md")
    }

    fn settings_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        settings::Settings::json_schema(generator)
    }

    fn address_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        address::Address::json_schema(generator)
    }

    fn address_keys(&self) -> &'static [&'static str] {
        &[
            "conditions",
            "event_type",
            "events",
            "field",
            "node",
            "queue_size",
            "sampling_interval",
            "publishing_interval",
            "server_deadband",
        ]
    }

    fn happens(&self, address: &Node) -> Option<Happening> {
        if address.get("conditions").is_some() {
            Some(Happening::Condition)
        } else {
            address.get("events").map(|_| Happening::Event)
        }
    }

    fn plan(&self, spec: SourceSpec<'_>, problems: &mut Problems) -> Option<Box<dyn Source>> {
        let plan = plan::Plan::new(&spec, problems)?;
        Some(Box::new(source::OpcUaSource::new(plan)))
    }
}
