//! Modbus: TCP, TLS and UDP; RTU and ASCII on a serial line and over TCP.
//!
//! The device is polled. Tags are grouped by unit and interval; each group is read in the fewest requests,
//! on an absolute schedule, and everything that changed since the last poll leaves as one batch.
//!
//! Two rules keep answers and questions together. A request is sent only after the answer to the one before it; and
//! after a time-out or any error of the link or the protocol the connection is dropped and made anew, as RTU frames
//! carry nothing that tells a late answer from the right one.
//!
//! What the gateway asks for (`snapshot`) is one request more between two polls, under the same rules.

mod address;
mod ascii;
mod decimal;
mod decode;
mod endpoint;
mod expiry;
mod group;
#[cfg(test)]
mod hostile_tests;
mod link;
mod overlap;
mod pdu;
#[cfg(test)]
mod plan_tests;
mod planner;
mod poll;
pub mod probe;
#[cfg(test)]
mod runbook_tests;
mod settings;
mod snapshot;
mod tls;
mod torn;
mod transport;
mod types;
mod udp;
mod unit;

use std::sync::Arc;

use floorgate_adapter_api::{
    Adapter, Finding, Given, Node, Quality, Reason, RunFuture, Source, SourceContext, SourceSpec,
};
use floorgate_yaml::Problems;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use address::Point;
use settings::Checked;
use snapshot::Points;

/// The adapter named `modbus`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Modbus;

/// A planned source.
#[derive(Debug)]
struct Layout {
    settings: Checked,
    /// The tags that are polled.
    polled: Vec<Arc<Point>>,
    /// These and those that are read only when they are asked for.
    points: Points,
}

struct ModbusSource(Arc<Layout>);

impl Adapter for Modbus {
    fn name(&self) -> &'static str {
        "modbus"
    }

    fn reason(&self, quality: Quality) -> Option<Reason> {
        unit::reason(quality)
    }

    fn see(&self, finding: Finding) -> Option<&'static str> {
        match finding {
            Finding::RefusedTags => Some("modbus-tag-refused"),
            Finding::NotHealthy | Finding::LessThanAsked => None,
        }
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
        address::KEYS
    }

    fn has_source_time(&self) -> bool {
        false
    }

    fn gives(&self, address: &Node) -> Option<Given> {
        types::given(address)
    }

    fn plan(&self, spec: SourceSpec<'_>, problems: &mut Problems) -> Option<Box<dyn Source>> {
        let before = problems.list().len();
        let settings = settings::check(spec.settings, spec.base, problems);
        let is_sure = problems.list()[before..]
            .iter()
            .all(|problem| problem.severity != floorgate_yaml::Severity::Error);
        let assumed = settings.clone().unwrap_or_else(Checked::assumed);
        let mut polled = Vec::with_capacity(spec.tags.len());
        let mut points = Points::with_capacity(spec.tags.len());
        let mut right = Vec::with_capacity(spec.tags.len());
        for tag in &spec.tags {
            let Some(point) = address::check(tag, &assumed, problems).map(Arc::new) else {
                continue;
            };
            points.insert(tag.id, Arc::clone(&point));
            right.push((tag, Arc::clone(&point)));
            if !tag.on_demand {
                polled.push(point);
            }
        }
        let placed = right.iter().map(|(tag, point)| (*tag, &**point));
        overlap::check(placed, assumed.base, problems);
        if is_sure {
            snapshot::check(&spec.snapshots, &points, &assumed, problems);
        }
        let sound = problems.list()[before..]
            .iter()
            .all(|problem| problem.severity != floorgate_yaml::Severity::Error);
        let layout = Layout {
            settings: settings?,
            polled,
            points,
        };
        (sound && layout.points.len() == spec.tags.len())
            .then(|| Box::new(ModbusSource(Arc::new(layout))) as Box<dyn Source>)
    }
}

impl Source for ModbusSource {
    fn run(&self, context: SourceContext) -> RunFuture {
        Box::pin(poll::run(Arc::clone(&self.0), context))
    }
}
