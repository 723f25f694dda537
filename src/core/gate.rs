//! Tags that another tag says to be valid or not.
//!
//! While the other tag is not true, what is received is held and the value is unknown. When it becomes true, what was received
//! last counts, from then on. Both are looked at when the moment is complete, so that a value and its bit that were written
//! together are seen together.

use std::collections::HashMap;
use std::sync::Arc;

use floorgate_sample::{Sample, SourceId, TagId, Timestamp, Value};

use crate::envelope::Event;
use crate::machine::Core;
use crate::plan::Plan;
use crate::state::TagState;
use crate::timers::NOT_VALID;

/// Which tags wait for others.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    /// The tags that each one says to be valid.
    dependents: HashMap<TagId, Vec<TagId>>,
    /// Tags to be looked at when the moment is complete.
    moved: Vec<TagId>,
    /// Heartbeats that came again in this moment.
    pub(crate) returned: Vec<TagId>,
}

impl Gates {
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut dependents: HashMap<TagId, Vec<TagId>> = HashMap::new();
        for (index, tag) in (0..).map(TagId).zip(&plan.tags) {
            if let Some(gate) = tag.valid {
                dependents.entry(gate).or_default().push(index);
            }
        }
        Self {
            dependents,
            ..Self::default()
        }
    }

    /// Holds a sample until the moment is complete.
    pub(crate) fn hold(&mut self, state: &mut TagState, sample: &Sample) {
        let earlier = state.waiting().held.replace(sample.clone());
        // What is held is the last: of another value before it nobody hears.
        state.gap |= state.lost && earlier.is_some_and(|earlier| earlier.value != sample.value);
        self.moved.push(sample.tag);
    }

    /// A tag that others may wait for was received.
    pub(crate) fn see(&mut self, tag: TagId) {
        if let Some(dependents) = self.dependents.get(&tag) {
            self.moved.extend(dependents);
        }
    }
}

/// Whether a value says yes: true, or a number that is not 0.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => *yes,
        other => other.as_f64().is_some_and(|number| number != 0.0),
    }
}

impl Core {
    /// Looks at the held values of the moment.
    pub(crate) fn open_gates(&mut self, events: &mut Vec<Event>) {
        if !self.gates.returned.is_empty() {
            self.heartbeats_return(events);
        }
        if self.gates.moved.is_empty() {
            return;
        }
        let mut moved = std::mem::take(&mut self.gates.moved);
        moved.sort_unstable();
        moved.dedup();
        for tag in moved.drain(..) {
            self.look_at_held(tag);
        }
        self.gates.moved = moved;
    }

    /// Looks at what was held while the heartbeats of a source had stopped.
    pub(crate) fn take_held(&mut self, source: SourceId) {
        for (index, tag) in (0..).map(TagId).zip(&Arc::clone(&self.plan).tags) {
            let waiting = self.tags[index.index()].waiting.as_mut();
            if tag.source == source
                && tag.valid.is_none()
                && let Some(sample) = waiting.and_then(|waiting| waiting.held.take())
            {
                self.touch(index);
                self.detect(&sample, self.emitter.received());
            }
        }
    }

    fn look_at_held(&mut self, tag: TagId) {
        let Some(gate) = self.plan.tags[tag.index()].valid else {
            self.touch(tag);
            return;
        };
        let held = self.tags[tag.index()]
            .waiting
            .as_ref()
            .and_then(|w| w.held.clone());
        let Some(mut sample) = held else { return };
        let is_valid = self.view().value(gate).is_some_and(is_true);
        // What was received before it was said to be valid, or not, counts from when that was said.
        let said: Option<Timestamp> = self.tags[gate.index()].changed_at;
        if sample.source_time < said {
            sample.source_time = said;
        }
        if !is_valid && !sample.quality.is_bad() {
            sample.value = None;
            sample.quality = NOT_VALID;
        }
        self.touch(tag);
        self.detect(&sample, self.emitter.received());
        if let Some(held) = self.tags[tag.index()].waiting().held.as_mut() {
            // A hole before it was told with it.
            held.gap = false;
        }
    }
}
