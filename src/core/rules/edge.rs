//! Conditions on the trigger: edges, states that are entered or left, thresholds with hysteresis, each with a time for which it
//! has to hold.
//!
//! A condition that is found at the start is no edge; only an alarm of a condition tells it, as `initial`. While the value is unknown
//! nothing is known of the condition: what waits for its time is given up, and what held before is taken for holding until a
//! value says otherwise.

use std::time::Duration;

use floorgate_sample::{TagId, Value};
use serde::{Deserialize, Serialize};

use crate::deferred::StoredChange;
use crate::detect::{Cause, Change};
use crate::gate::is_true;
use crate::plan::{Condition, EdgeSpec, TagSpec};

use super::shape::Due;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Whether the condition holds, once that was seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    is: Option<bool>,
    /// The change with which it began to hold, while it has not held for long enough.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    waiting: Option<Waiting>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    change: StoredChange,
    due: Duration,
}

/// Where a condition is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) spec: &'a EdgeSpec,
    pub(crate) tag: &'a TagSpec,
    pub(crate) inputs: &'a [TagId],
    /// Whether what is found at the start is told: of an alarm.
    pub(crate) tells_initial: bool,
}

impl Memory {
    pub(crate) fn due(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.due)
    }

    /// Takes a change of the trigger. Returns whether anything is to be stored.
    pub(crate) fn see(
        &mut self,
        place: Place<'_>,
        change: &Change,
        at: Duration,
        out: &mut Vec<Due>,
    ) -> bool {
        let before = self.is.or_else(|| {
            // Nothing is stored of the condition, of the value there is.
            change.previous.as_ref().map(|value| place.holds(false, value))
        });
        let Some(value) = &change.value else {
            return self.waiting.take().is_some();
        };
        let holds = place.holds(before.unwrap_or(false) || self.waiting.is_some(), value);
        let is_found = change.cause == Cause::Initial;
        if holds && before != Some(true) {
            if is_found && !place.tells_initial {
                self.is = Some(true);
                return true;
            }
            if self.waiting.is_some() {
                return false;
            }
            if place.spec.hold.is_zero() {
                self.rise(place, change.clone(), out);
            } else {
                self.waiting = Some(Waiting {
                    change: StoredChange::new(place.inputs, change),
                    due: at + place.spec.hold,
                });
                self.is = Some(false);
            }
            return true;
        }
        let mut moved = false;
        if !holds && let Some(waiting) = self.waiting.take() {
            moved = true;
            let began = waiting.change.source_time();
            let lasted = began
                .zip(change.source_time)
                .is_some_and(|(began, now)| now.since(began) >= place.spec.hold);
            if lasted && let Some(change) = waiting.change.change(place.inputs) {
                self.rise(place, change, out);
            }
        }
        if !holds && self.is.or(before) == Some(true) {
            self.is = Some(false);
            if place.spec.falling && !is_found {
                out.push(Due::edge(change.clone(), false));
            }
            return true;
        }
        let seen = self.is.replace(holds);
        moved || seen != Some(holds)
    }

    /// It has held for long enough.
    pub(crate) fn ripen(&mut self, place: Place<'_>, at: Duration, out: &mut Vec<Due>) {
        let waiting = self.waiting.take_if(|waiting| waiting.due <= at);
        if let Some(change) = waiting.and_then(|waiting| waiting.change.change(place.inputs)) {
            self.rise(place, change, out);
        }
    }

    fn rise(&mut self, place: Place<'_>, change: Change, out: &mut Vec<Due>) {
        self.is = Some(true);
        if place.spec.rising {
            out.push(Due::edge(change, true));
        }
    }
}

impl Place<'_> {
    /// Whether the condition holds for a value, when it held before or did not.
    fn holds(&self, before: bool, value: &Value) -> bool {
        match &self.spec.condition {
            Condition::True => is_true(value),
            Condition::Is(names) => {
                let name = match &self.tag.values {
                    Some(table) => table.name_of(value).map(str::to_owned),
                    None => Some(value.to_string()),
                };
                name.is_some_and(|name| names.iter().any(|one| **one == *name))
            }
            Condition::Above { limit, back } => value
                .as_f64()
                .is_some_and(|number| if before { number >= *back } else { number > *limit }),
            Condition::Below { limit, back } => value
                .as_f64()
                .is_some_and(|number| if before { number <= *back } else { number < *limit }),
        }
    }
}
