//! What a rule saw when something happened of which it tells later.
//!
//! An event that waits (for its time, for values that are read, for others that belong to it) is about the moment in which it happened:
//! the inputs as they were then, and the run that was open, whatever is so when it is told.

use floorgate_sample::{TagId, Value};
use serde::{Deserialize, Serialize};

use crate::machine::Core;
use crate::plan::{Plan, Rule, RuleId, Slot};
use crate::state::StoredValue;

use super::work_order::Run;

/// What is stored of a rule's inputs beside what was seen of them by slot: a number of each tag's key.
pub(super) fn inputs_of(plan: &Plan, rule: &Rule) -> Box<[u64]> {
    let keys = rule.inputs.iter().map(|tag| &plan.tags[tag.index()].key);
    keys.map(|key| number_of(key)).collect()
}

/// FNV-1a, which is the same in every process.
fn number_of(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Where the inputs of a rule went when its mapping changed.
#[derive(Clone, Copy)]
pub(crate) struct Moved<'a> {
    pub(super) before: &'a [u64],
    pub(super) now: &'a [u64],
}

impl Moved<'_> {
    /// Where the input of a slot is now. `None` where the rule does not have it any more.
    pub(crate) fn slot(self, before: u16) -> Option<u16> {
        let input = self.before.get(usize::from(before))?;
        let slot = self.now.iter().position(|now| now == input)?;
        u16::try_from(slot).ok()
    }
}

/// The inputs of a rule at a moment, and the run that its events belong to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Values by slot; null for what was not known.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    values: Vec<(u16, Option<StoredValue>)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) run: Option<Run>,
}

impl Seen {
    /// Nothing of the inputs: only the run.
    pub(super) fn of_run(run: Option<Run>) -> Self {
        Self {
            values: Vec::new(),
            run,
        }
    }

    /// The rule has other inputs now. What those were that are new is not known.
    pub(super) fn moved(&mut self, moved: Moved<'_>) {
        let before = std::mem::take(&mut self.values);
        self.values = (0..).zip(moved.now).map(|(slot, _)| (slot, None)).collect();
        for (slot, value) in before {
            if let Some(slot) = moved.slot(slot) {
                self.values[usize::from(slot)] = (slot, value);
            }
        }
    }

    /// Notes the value of one input.
    pub(super) fn note(&mut self, slot: u16, value: Option<&Value>) {
        self.values.retain(|(noted, _)| *noted != slot);
        self.values.push((slot, value.map(StoredValue::from)));
    }

    /// What it has of the inputs of a join that came, a bit each.
    pub(super) fn came(&self, came: u64, tags: u16) -> Self {
        let values = self.values.iter();
        let came = values.filter(|(slot, _)| *slot < tags && came >> slot & 1 == 1);
        Self {
            values: came.cloned().collect(),
            run: None,
        }
    }

    /// What it has, and all else of another.
    pub(super) fn over(self, mut other: Self) -> Self {
        for (slot, value) in self.values {
            other.values.retain(|(noted, _)| *noted != slot);
            other.values.push((slot, value));
        }
        other
    }

    /// The inputs, as the view of a rule takes them.
    pub(super) fn read(&self) -> Vec<(Slot, Option<Value>)> {
        let values = self.values.iter();
        values
            .map(|(slot, value)| (Slot(*slot), value.clone().map(Value::from)))
            .collect()
    }
}

impl Core {
    /// What a rule sees now; `trigger` is its trigger's value.
    pub(super) fn seen(&self, id: RuleId, rule: &Rule, (tag, trigger): (TagId, Option<&Value>)) -> Seen {
        let on_demand = |slot: u16| {
            let snapshot = rule.spec.snapshot.as_ref();
            snapshot.is_some_and(|snapshot| snapshot.tags.contains(&Slot(slot)))
        };
        let view = self.view().beside(Some(tag));
        let value_of = |input: &TagId| {
            if *input == tag {
                trigger
            } else {
                view.value(*input)
            }
        };
        Seen {
            values: (0..)
                .zip(&rule.inputs)
                .filter(|(slot, _)| !on_demand(*slot))
                .map(|(slot, input)| (slot, value_of(input).map(StoredValue::from)))
                .collect(),
            run: self.run_of_rule(id, rule),
        }
    }

    /// The run that a rule's events belong to now.
    pub(super) fn run_of_rule(&self, id: RuleId, rule: &Rule) -> Option<Run> {
        let run = rule.run.filter(|run| *run != id)?;
        self.run_of(run, self.view().beside(rule.inputs.first().copied()))
    }
}
