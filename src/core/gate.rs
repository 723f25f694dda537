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
        let mut sample = sample.clone();
        let earlier = state.waiting().held.take();
        sample.gap |= earlier.as_ref().is_some_and(|earlier| earlier.gap);
        // What is held is the last: of another value before it, which was not told either, nobody hears.
        let unheard = |earlier: Sample| earlier.value != sample.value && earlier.value != state.counted;
        state.gap |= state.lost && earlier.is_some_and(unheard);
        self.moved.push(sample.tag);
        state.waiting().held = Some(sample);
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

    /// Looks at what was held while the heartbeats of a source had stopped, and again at what other tags say to be valid.
    pub(crate) fn take_held(&mut self, source: SourceId) {
        let mut held = std::mem::take(&mut self.sources[source.index()].held);
        // Another process does not know in which order they came.
        held.sort_unstable();
        for tag in held {
            let waiting = self.tags[tag.index()].waiting.as_mut();
            if let Some(sample) = waiting.and_then(|waiting| waiting.held.take()) {
                self.touch(tag);
                self.detect(&sample, self.emitter.received());
            }
        }
        let index = Arc::clone(&self.index);
        for tag in &index.source(source).gated {
            self.look_at_held(*tag);
        }
    }

    /// Notes which values an earlier process held while the heartbeats of their sources had stopped.
    pub(crate) fn note_held(&mut self) {
        for (id, tag) in (0..).map(TagId).zip(&self.plan.tags) {
            let waiting = self.tags[id.index()].waiting.as_ref();
            if tag.valid.is_none() && waiting.is_some_and(|waiting| waiting.held.is_some()) {
                self.sources[tag.source.index()].held.push(id);
            }
        }
    }

    /// Forgets what was held while the heartbeats of a source had stopped: it begins anew, and what is so now is sent.
    pub(crate) fn drop_held(&mut self, source: SourceId) {
        for tag in std::mem::take(&mut self.sources[source.index()].held) {
            if let Some(waiting) = self.tags[tag.index()].waiting.as_mut() {
                waiting.held = None;
                self.touch(tag);
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
