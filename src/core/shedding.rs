//! What is left out while the outbox fills, and what is owed for it.
//!
//! A rule of too low a priority makes no event of a change: it *owes* one. When there is room again it tells what is known then, with
//! `gap`; the steps between are gone, and counted. Counters owe nothing: what they counted is in their next event. What a rule owes is
//! part of its state and survives a restart.

use std::collections::VecDeque;

use floorgate_sample::{Quality, Value};
use serde::{Deserialize, Serialize};

use crate::detect::{Cause, Change};
use crate::envelope::Event;
use crate::machine::{Core, change_without_sample};
use crate::plan::Priority;
use crate::rules::{Outcome, View, evaluate};
use crate::state::TagState;

/// Events of one call at most, so that what arrives is not held up by what is made up for.
pub(crate) const PAID_AT_ONCE: usize = 500;

/// Why a rule owes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Owed {
    /// Its first value was left out.
    Initial,
    /// A change was left out.
    Change,
}

impl Owed {
    /// What a rule owes after one more change that is left out.
    pub(crate) fn after(before: Option<Self>, change: &Change) -> Option<Self> {
        match (before, change.cause) {
            (None, Cause::Silence) => None,
            (None, Cause::Initial) => Some(Self::Initial),
            (None, _) => Some(Self::Change),
            (owed, _) => owed,
        }
    }

    /// What is told in the end: what the tag is known to be now. `None` while nothing is known.
    pub(crate) fn change(self, mut change: Change, tag: &TagState, value: Option<Value>) -> Option<Change> {
        change.gap = self == Self::Change;
        match value {
            Some(value) => {
                change.cause = if self == Self::Initial {
                    Cause::Initial
                } else {
                    Cause::Value
                };
                change.previous = Some(value.clone());
                change.value = Some(value);
                change.source_time = tag.changed_at;
                change.ordinal = tag.ordinal;
            }
            None if tag.lost => {
                change.cause = Cause::Lost;
                change.previous.clone_from(&tag.counted);
                change.quality = Quality::BAD_NO_COMMUNICATION;
            }
            None => return None,
        }
        Some(change)
    }
}

/// How many changes made no event, by the priority of their rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Of rules of low priority.
    pub low: u64,
    /// Of rules of normal priority.
    pub normal: u64,
}

/// What is left out now.
#[derive(Debug, Default)]
pub(crate) struct Shedding {
    /// Rules below this priority make no events.
    pub(crate) least: Option<Priority>,
    /// Rules that may tell what they owe.
    pub(crate) payable: VecDeque<u32>,
    /// What was left out since it was last asked for.
    pub(crate) shed: Shed,
}

impl Shedding {
    pub(crate) fn leaves_out(&self, priority: Priority) -> bool {
        self.least.is_some_and(|least| priority < least)
    }

    /// Counts a change that is left out. That nothing changed for long is none.
    pub(crate) fn note(&mut self, priority: Priority, change: &Change) {
        let count = u64::from(change.cause != Cause::Silence);
        match priority {
            Priority::Low => self.shed.low += count,
            Priority::Normal | Priority::High => self.shed.normal += count,
        }
    }
}

impl Core {
    /// From now on rules below a priority make no events; `None` leaves nothing out. What is owed by those that may speak again is told
    /// by the next calls of [`Core::advance`].
    pub fn leave_out_below(&mut self, least: Option<Priority>) {
        self.shedding.least = least;
        self.shedding.payable.clear();
        let rules = (0..).zip(self.plan.rules.iter().zip(&self.rules));
        let payable = rules.filter(|(_, (rule, state))| {
            state.owed.is_some() && !self.shedding.leaves_out(rule.spec.priority)
        });
        self.shedding.payable = payable.map(|(number, _)| number).collect();
    }

    /// Hands out how many changes were left out since the last call.
    pub fn take_shed(&mut self) -> Shed {
        std::mem::take(&mut self.shedding.shed)
    }

    /// Whether [`Core::advance`] has events to make up for.
    pub(crate) fn owes(&self) -> bool {
        !self.shedding.payable.is_empty()
    }

    /// Makes some of the events that are owed.
    pub(crate) fn pay(&mut self, events: &mut Vec<Event>) {
        for _ in 0..PAID_AT_ONCE {
            let Some(number) = self.shedding.payable.pop_front() else {
                return;
            };
            let rule = &self.plan.rules[number as usize];
            let state = &mut self.rules[number as usize];
            let (Some(owed), Some(&tag)) = (state.owed, rule.inputs.first()) else {
                continue;
            };
            if self.shedding.leaves_out(rule.spec.priority) {
                continue;
            }
            let view = View {
                plan: &self.plan,
                tags: &self.tags,
                sources: &self.sources,
            };
            let quality = self.tags[tag.index()].counted_quality;
            let about = change_without_sample(tag, quality);
            let Some(change) = owed.change(about, &self.tags[tag.index()], view.value(tag).cloned()) else {
                // It is told when it is known.
                self.tags[tag.index()].owing = true;
                continue;
            };
            let was_dirty = state.is_dirty();
            let outcome = Outcome {
                events,
                failures: &mut self.failures,
            };
            evaluate(rule, state, &change, view, &mut self.emitter, outcome);
            if state.is_dirty() && !was_dirty {
                self.dirty_rules.push(number);
            }
        }
    }
}
