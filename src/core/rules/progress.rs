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
    /// By the rule's shape.
    #[serde(skip_serializing_if = "ByShape::is_none", default)]
    pub(super) shape: ByShape,
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

/// What a rule of a shape has seen.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ByShape {
    #[default]
    None,
    Edge(edge::Memory),
    Join(Box<join::Memory>),
    Expect(Box<expect::Memory>),
    Window(Box<window::Memory>),
}

impl ByShape {
    /// Of another shape nothing is left.
    fn of(shape: &Shape, stored: Self) -> Self {
        match (shape, stored) {
            (Shape::Every | Shape::Transitions(_), _) => Self::None,
            (Shape::Edge(_), stored @ Self::Edge(_))
            | (Shape::Join { .. }, stored @ Self::Join(_))
            | (Shape::Expect { .. }, stored @ Self::Expect(_))
            | (Shape::Window(_), stored @ Self::Window(_)) => stored,
            (Shape::Edge(_), _) => Self::Edge(edge::Memory::default()),
            (Shape::Join { .. }, _) => Self::Join(Box::default()),
            (Shape::Expect { .. }, _) => Self::Expect(Box::default()),
            (Shape::Window(_), _) => Self::Window(Box::default()),
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
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
            shape: ByShape::of(shape, stored.shape),
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
        match &mut self.shape {
            ByShape::Edge(edge) => edge.moved(moved),
            ByShape::Join(join) => join.moved(moved, shape.triggers()),
            ByShape::None | ByShape::Expect(_) | ByShape::Window(_) => {}
        }
        for asked in &mut self.asked {
            asked.moved(moved);
        }
        self.inputs = now;
    }

    /// Nobody watched for a time until now. Returns whether anything is to be stored.
    pub(super) fn mark(&mut self, now: Duration) -> bool {
        match &mut self.shape {
            ByShape::None => false,
            ByShape::Edge(edge) => edge.mark(),
            ByShape::Join(join) => join.mark(),
            ByShape::Expect(expect) => expect.mark(),
            ByShape::Window(window) => window.mark(now),
        }
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
        match &self.shape {
            ByShape::None => None,
            ByShape::Edge(edge) => edge.due(),
            ByShape::Join(join) => join.due(),
            ByShape::Expect(expect) => expect.due(),
            ByShape::Window(window) => window.due(),
        }
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        let asked = self.asked.first().map(|asked| asked.due);
        self.ripe().into_iter().chain(asked).min()
    }
}
