//! What is left out while the outbox fills, and what is owed for it.
//!
//! A rule of too low a priority makes no event of a change: it *owes* one. A rule that tells what is (a measurement, a state) pays when there
//! is room again and its tag is known: it tells what is known then, with `gap`. A counter has added up what it did not tell, and tells
//! that. A rule that tells what happened (a type of the plant's own) makes nothing up; its next event says `gap`. What a rule owes is part of its
//! state and survives a restart.

use std::collections::VecDeque;

use floorgate_sample::Quality;
use serde::{Deserialize, Serialize};

use crate::detect::{Cause, Change};
use crate::envelope::Event;
use crate::machine::{Core, change_without_sample};
use crate::plan::{Priority, RuleId, Shape};
use crate::state::TagState;

/// Events of one call at most, so that what arrives is not held up by what is made up for.
const PAID_AT_ONCE: usize = 500;

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
    /// What a rule owes after one more change of this cause that is left out.
    pub(crate) fn after(before: Option<Self>, cause: Cause) -> Self {
        match (before, cause) {
            (Some(owed), _) => owed,
            (None, Cause::Initial) => Self::Initial,
            (None, _) => Self::Change,
        }
    }

    /// What is told in the end: what the tag is known to be now, without a time of the device. `None` while nothing is known.
    fn change(self, about: Change, tag: &TagState, is_known: bool) -> Option<Change> {
        if is_known {
            return Some(Change {
                cause: if self == Self::Initial {
                    Cause::Initial
                } else {
                    Cause::Value
                },
                previous: tag.counted.clone(),
                // The value that counted, as a change would have told it: a deadband may lie between it and the latest.
                value: Some(tag.counted.clone()?),
                quality: tag.counted_quality,
                ..about
            });
        }
        tag.lost.then(|| Change {
            cause: Cause::Lost,
            previous: tag.counted.clone(),
            quality: Quality::BAD_NO_COMMUNICATION,
            ..about
        })
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
    pub(crate) payable: VecDeque<RuleId>,
    /// Whether any rule may owe something.
    pub(crate) any: bool,
    /// What was left out since it was last asked for.
    pub(crate) shed: Shed,
}

impl Shedding {
    pub(crate) fn leaves_out(&self, priority: Priority) -> bool {
        self.least.is_some_and(|least| priority < least)
    }

    /// Counts a change that is left out.
    pub(crate) fn note(&mut self, priority: Priority) {
        self.any = true;
        match priority {
            Priority::Low => self.shed.low += 1,
            Priority::Normal | Priority::High => self.shed.normal += 1,
        }
    }
}

impl Core {
    /// From now on rules below a priority make no events; `None` leaves nothing out. What is owed by those that may speak again is told
    /// by the next calls of [`Core::advance`].
    pub fn leave_out_below(&mut self, least: Option<Priority>) {
        self.shedding.least = least;
        self.queue_debts();
    }

    /// Hands out how many changes were left out since the last call.
    pub fn take_shed(&mut self) -> Shed {
        std::mem::take(&mut self.shedding.shed)
    }

    /// Lets all rules that owe something try to pay.
    pub(crate) fn queue_debts(&mut self) {
        if !self.shedding.any {
            return;
        }
        let rules = (0..).map(RuleId).zip(&self.rules);
        let owing = rules.filter(|(_, state)| state.owed.is_some());
        self.shedding.payable = owing.map(|(rule, _)| rule).collect();
        self.shedding.any = !self.shedding.payable.is_empty();
    }

    /// Whether [`Core::advance`] has events to make up for.
    pub(crate) fn owes(&self) -> bool {
        !self.shedding.payable.is_empty()
    }

    /// Makes some of the events that are owed.
    pub(crate) fn pay(&mut self, events: &mut Vec<Event>) {
        for _ in 0..PAID_AT_ONCE {
            let Some(rule) = self.shedding.payable.pop_front() else {
                return;
            };
            self.pay_one(rule, events);
        }
    }

    fn pay_one(&mut self, id: RuleId, events: &mut Vec<Event>) {
        let rule = &self.plan.rules[id.0 as usize];
        let state = &self.rules[id.0 as usize];
        let (Some(owed), Some(&tag)) = (state.owed, rule.inputs.first()) else {
            return;
        };
        if !rule.spec.kind.makes_up()
            || rule.spec.shape != Shape::Every
            || self.shedding.leaves_out(rule.spec.priority)
        {
            return;
        }
        let source = &self.sources[self.plan.tags[tag.index()].source.index()];
        let is_known = !source.catching_up && self.view().value(tag).is_some();
        let about = change_without_sample(tag, Quality::GOOD);
        if let Some(change) = owed.change(about, &self.tags[tag.index()], is_known) {
            self.show(id, &change, events);
        }
        // What is not paid is, when the tag is known again.
        self.tags[tag.index()].owing |= self.rules[id.0 as usize].owed.is_some();
    }
}
