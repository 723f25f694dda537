//! What a recording of what the core is given begins with, so that another core goes on from there.

use std::sync::Arc;

use floorgate_sample::{Quality, RequestId, Sample, SourceId, TagId};

use crate::machine::Core;
use crate::plan::{Plan, Priority};

impl Core {
    /// What it runs.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The sources that have a connection, and whether all that changed before it has been handed over. A core of the cells of this one
    /// knows what this one knows once it is told of each that it is online and goes on, and has caught up.
    pub fn connected(&self) -> impl Iterator<Item = (SourceId, bool)> {
        let all = (0..).map(SourceId).zip(&self.sources);
        all.filter(|(_, source)| source.is_connected())
            .map(|(id, source)| (id, !source.catching_up))
    }

    /// What is known of each tag of which anything was ever received: its value with the time of its last change, or none and the reason.
    pub fn standing(&self) -> impl Iterator<Item = Sample> {
        let seen = (0..).map(TagId).zip(&self.tags);
        let seen = seen.filter(|(_, state)| state.fresh || state.counted.is_some() || state.bad);
        seen.map(|(tag, state)| {
            let value = self.view().value(tag).cloned();
            let quality = match &value {
                Some(_) => state.counted_quality,
                None if state.bad => Quality::BAD,
                None => Quality::BAD_NO_COMMUNICATION,
            };
            Sample {
                tag,
                value,
                quality,
                source_time: state.changed_at,
                server_time: None,
                gap: state.gap,
            }
        })
    }

    /// The rule that waits for the answer to a request.
    #[must_use]
    pub fn asking(&self, request: RequestId) -> Option<&Arc<str>> {
        let rule = self.waiting_rules.get(&request)?;
        self.plan.rules.get(rule.0 as usize).map(|rule| &rule.id)
    }

    /// The priority below which events are left out.
    #[must_use]
    pub fn leaves_out_below(&self) -> Option<Priority> {
        self.shedding.least
    }
}
