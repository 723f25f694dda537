//! What a rule waits for, in its cell.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Entries;
use crate::detect::Change;
use crate::plan::{Plan, Rule, Shape};

use super::seen::{self, Moved};
use super::snapshot::Asked;
use super::{edge, expect, join, window};

/// What a rule waits for, and what it has seen on the way.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) edge: Option<edge::Memory>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) join: Option<join::Memory>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) expect: Option<expect::Memory>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) window: Option<window::Memory>,
    /// It has taken a gap over that none of its events has told.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    gap: bool,
    /// The PLC's number of the last event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) sequence: Option<u64>,
    /// Events that wait for values that are read for them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) asked: Vec<Asked>,
    /// The inputs of which it is stored what they were, by slot.
    #[serde(skip_serializing_if = "<[u64]>::is_empty", default)]
    inputs: Box<[u64]>,
    /// Its entries among the timers.
    #[serde(skip)]
    pub(crate) entries: Entries,
}

impl Progress {
    /// Progress of a rule that makes any, from what an earlier process left: of another shape nothing is left. What waits for values that
    /// are not read any more stays, to be told as a failure.
    pub(super) fn of(plan: &Plan, rule: &Rule, stored: Self) -> Option<Self> {
        let spec = &rule.spec;
        let waits = !stored.asked.is_empty();
        let makes = spec.shape != Shape::Every || spec.sequence.is_some() || spec.snapshot.is_some() || waits;
        if !makes {
            return None;
        }
        let shape = &spec.shape;
        let sees = matches!(shape, Shape::Edge(_) | Shape::Join { .. }) || spec.snapshot.is_some() || waits;
        let inputs = if sees {
            seen::inputs_of(plan, rule)
        } else {
            Box::default()
        };
        let mut progress = Self {
            edge: stored.edge.filter(|_| matches!(shape, Shape::Edge(_))),
            join: stored.join.filter(|_| matches!(shape, Shape::Join { .. })),
            expect: stored.expect.filter(|_| matches!(shape, Shape::Expect { .. })),
            window: stored.window.filter(|_| matches!(shape, Shape::Window(_))),
            gap: stored.gap,
            sequence: stored.sequence.filter(|_| spec.sequence.is_some()),
            asked: stored.asked,
            inputs,
            entries: Entries::default(),
        };
        if sees && !stored.inputs.is_empty() && stored.inputs != progress.inputs {
            progress.moved(&stored.inputs, shape);
        }
        Some(progress)
    }

    /// The rule has other inputs than those of which it was stored what they were.
    fn moved(&mut self, before: &[u64], shape: &Shape) {
        let now = std::mem::take(&mut self.inputs);
        let moved = Moved { before, now: &now };
        if let Some(edge) = &mut self.edge {
            edge.moved(moved);
        }
        if let Some(join) = &mut self.join {
            join.moved(moved, shape.triggers());
        }
        for asked in &mut self.asked {
            asked.moved(moved);
        }
        self.inputs = now;
    }

    /// Nobody watched for a time until now. Returns whether anything is to be stored.
    pub(super) fn mark(&mut self, now: Duration) -> bool {
        let edge = self.edge.as_mut().is_some_and(edge::Memory::mark);
        let join = self.join.as_mut().is_some_and(join::Memory::mark);
        let expect = self.expect.as_mut().is_some_and(expect::Memory::mark);
        let window = self.window.as_mut().is_some_and(|window| window.mark(now));
        edge || join || expect || window
    }

    /// Takes the gap before a change over until an event tells it. Returns whether anything is to be stored.
    pub(super) fn take_gap(&mut self, change: &Change) -> bool {
        change.gap && !std::mem::replace(&mut self.gap, true)
    }

    /// Whether there is a gap that no event has told.
    pub(super) fn has_gap(&self) -> bool {
        self.gap
    }

    /// An event told the gap.
    pub(super) fn tell_gap(&mut self) {
        self.gap = false;
    }

    /// When what the shape waits for is to be looked at.
    pub(super) fn ripe(&self) -> Option<Duration> {
        let edge = self.edge.as_ref().and_then(edge::Memory::due);
        let join = self.join.as_ref().and_then(join::Memory::due);
        let expect = self.expect.as_ref().and_then(expect::Memory::due);
        let window = self.window.as_ref().and_then(window::Memory::due);
        edge.or(join).or(expect).or(window)
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        let asked = self.asked.first().map(|asked| asked.due);
        self.ripe().into_iter().chain(asked).min()
    }
}
