//! Conditions on the trigger: edges, states that are entered or left, thresholds with hysteresis, each with a time for which it
//! has to hold.
//!
//! A condition that is found at the start is no edge; only an alarm of a condition tells it, as `initial`. While the value is bad nothing
//! is known of the condition: what waits for its time is given up, and what held before is taken for holding until a value says
//! otherwise. While the source is lost the time goes on, and is judged when it is known what was; where nobody watched, the event says `gap`.

use std::time::Duration;

use floorgate_sample::{TagId, Value};
use serde::{Deserialize, Serialize};

use crate::deferred::StoredChange;
use crate::detect::{Cause, Change};
use crate::gate::is_true;
use crate::plan::{Condition, EdgeSpec, TagSpec};

use super::seen::{Moved, Seen};
use super::shape::Due;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Whether the condition holds, once that was seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    is: Option<bool>,
    /// The change with which it began to hold, while it has not held for long enough.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    change: StoredChange,
    seen: Seen,
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

    /// Nobody watched for a time in which it may have ceased to hold. Returns whether anything is to be stored.
    pub(crate) fn mark(&mut self) -> bool {
        self.waiting
            .as_mut()
            .is_some_and(|waiting| waiting.change.mark_gap())
    }

    /// The rule has other inputs now. Of another trigger nothing is known.
    pub(super) fn moved(&mut self, moved: Moved<'_>) {
        if moved.slot(0) != Some(0) {
            *self = Self::default();
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.change.moved(moved);
            waiting.seen.moved(moved);
        }
    }

    /// Takes a change of the trigger. Returns whether anything is to be stored.
    pub(crate) fn see(
        &mut self,
        place: Place<'_>,
        change: &Change,
        (at, seen): (Duration, &dyn Fn() -> Seen),
        out: &mut Vec<Due>,
    ) -> bool {
        let before = self.is.or_else(|| {
            // Nothing is stored of the condition, of the value there is.
            let value = change.previous.as_ref()?;
            place.holds(false, value)
        });
        let Some(value) = &change.value else {
            return self.give_up(place, change, out);
        };
        let Some(holds) = place.holds(before.unwrap_or(false) || self.waiting.is_some(), value) else {
            return false;
        };
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
                self.rise(place, change.clone(), None, out);
            } else {
                self.waiting = Some(Box::new(Waiting {
                    change: StoredChange::new(place.inputs, change),
                    seen: seen(),
                    due: at + place.spec.hold,
                }));
                self.is = Some(false);
            }
            return true;
        }
        let moved = !holds && self.give_up(place, change, out);
        if !holds && self.is.or(before) == Some(true) {
            self.is = Some(false);
            // An alarm that is found to have ended is cleared.
            if place.spec.falling && (!is_found || place.tells_initial) {
                out.push(Due::edge(happened(change.clone()), false));
            }
            return true;
        }
        let seen = self.is.replace(holds);
        moved || seen != Some(holds)
    }

    /// What waits for its time is over with a change, unless it had held for long enough by then: what comes late all at once is judged
    /// by the device's times. Returns whether anything waited.
    fn give_up(&mut self, place: Place<'_>, change: &Change, out: &mut Vec<Due>) -> bool {
        let Some(waiting) = self.waiting.take() else {
            return false;
        };
        let began = waiting.change.source_time();
        let lasted = began
            .zip(change.source_time)
            .is_some_and(|(began, now)| now.since(began) >= place.spec.hold);
        if lasted && let Some(change) = waiting.change.change(place.inputs) {
            self.rise(place, change, Some(waiting.seen), out);
        }
        true
    }

    /// It has held for long enough.
    pub(crate) fn ripen(&mut self, place: Place<'_>, at: Duration, out: &mut Vec<Due>) {
        if let Some(waiting) = self.waiting.take_if(|waiting| waiting.due <= at)
            && let Some(change) = waiting.change.change(place.inputs)
        {
            self.rise(place, change, Some(waiting.seen), out);
        }
    }

    fn rise(&mut self, place: Place<'_>, change: Change, seen: Option<Seen>, out: &mut Vec<Due>) {
        self.is = Some(true);
        if place.spec.rising {
            out.push(Due {
                seen,
                ..Due::edge(happened(change), true)
            });
        }
    }
}

/// An edge is something that happened, also where the value was known before and only holds again.
fn happened(change: Change) -> Change {
    let cause = match change.cause {
        Cause::Initial => Cause::Initial,
        _ => Cause::Value,
    };
    Change { cause, ..change }
}

impl Place<'_> {
    /// Whether the condition holds for a value, when it held before or did not. `None` for a value that is to be ignored.
    fn holds(&self, before: bool, value: &Value) -> Option<bool> {
        Some(match &self.spec.condition {
            Condition::True => is_true(value),
            Condition::Is(names) => {
                let name = match &self.tag.values {
                    Some(table) => table.name_of(value)?.to_owned(),
                    None => value.to_string(),
                };
                names.iter().any(|one| **one == *name)
            }
            Condition::Above { limit, back } => value
                .as_f64()
                .is_some_and(|number| number > if before { *back } else { *limit }),
            Condition::Below { limit, back } => value
                .as_f64()
                .is_some_and(|number| number < if before { *back } else { *limit }),
        })
    }
}
