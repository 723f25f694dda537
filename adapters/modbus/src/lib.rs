//! Modbus: TCP, RTU on a serial line, and RTU over TCP.
//!
//! The device is polled. Tags are grouped by unit and interval; each group is read in the fewest requests,
//! on an absolute schedule, and everything that changed since the last poll leaves as one batch.
//!
//! Two rules keep answers and questions together. A request is sent only after the answer to the one before it; and
//! after a time-out or any error of the link or the protocol the connection is dropped and made anew, as RTU frames
//! carry nothing that tells a late answer from the right one.

mod address;
mod decimal;
mod decode;
mod expected;
mod group;
mod link;
mod planner;
mod poll;
mod settings;
mod unit;

use std::sync::Arc;

use floorgate_adapter_api::{Adapter, RunFuture, Source, SourceContext, SourceSpec};
use floorgate_yaml::Problems;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use address::Point;
use settings::Checked;

/// The adapter named `modbus`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Modbus;

/// A planned source.
#[derive(Debug)]
struct Layout {
    settings: Checked,
    points: Vec<Arc<Point>>,
}

struct ModbusSource(Arc<Layout>);

impl Adapter for Modbus {
    fn name(&self) -> &'static str {
        "modbus"
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

    fn plan(&self, spec: SourceSpec<'_>, problems: &mut Problems) -> Option<Box<dyn Source>> {
        let before = problems.list().len();
        let settings = settings::check(spec.settings, problems);
        let assumed = settings.clone().unwrap_or_else(Checked::assumed);
        let points: Vec<_> = spec
            .tags
            .iter()
            .map(|tag| address::check(tag, &assumed, problems).map(Arc::new))
            .collect();
        let sound = problems.list()[before..]
            .iter()
            .all(|problem| problem.severity != floorgate_yaml::Severity::Error);
        let layout = Layout {
            settings: settings?,
            points: points.into_iter().collect::<Option<_>>()?,
        };
        sound.then(|| Box::new(ModbusSource(Arc::new(layout))) as Box<dyn Source>)
    }
}

impl Source for ModbusSource {
    fn run(&self, context: SourceContext) -> RunFuture {
        Box::pin(poll::run(Arc::clone(&self.0), context))
    }
}
