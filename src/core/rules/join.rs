//! Values that belong together: an event when all of them came, or when the time for it is over.

use std::time::Duration;

use floorgate_sample::TagId;
use serde::{Deserialize, Serialize};

use crate::deferred::StoredChange;
use crate::detect::{Cause, Change};
use crate::plan::Slot;

use super::shape::Due;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    waiting: Option<Waiting>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    /// The inputs that came, a bit each.
    seen: u64,
    /// The last of them.
    last: StoredChange,
    /// Something may have been missed before one of them.
    gap: bool,
    due: Duration,
}

impl Memory {
    pub(crate) fn due(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.due)
    }

    /// Takes a change of one of the tags. Returns whether anything is to be stored.
    pub(crate) fn see(
        &mut self,
        (inputs, tags): (&[TagId], u16),
        change: &Change,
        (at, within): (Duration, Duration),
        out: &mut Vec<Due>,
    ) -> bool {
        if change.cause != Cause::Value {
            return false;
        }
        let Some(slot) = inputs.iter().position(|input| *input == change.tag) else {
            return false;
        };
        // What came late all at once may belong to two: the device's times tell.
        if let Some(waiting) = &self.waiting {
            let is_over = waiting
                .last
                .source_time()
                .zip(change.source_time)
                .is_some_and(|(last, now)| now.since(last) > within);
            if is_over {
                self.expire((inputs, tags), out);
            }
        }
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            seen: 0,
            last: StoredChange::new(inputs, change),
            gap: false,
            due: at + within,
        });
        waiting.seen |= 1 << slot;
        waiting.gap |= change.gap;
        waiting.last = StoredChange::new(inputs, change);
        if waiting.seen == u64::MAX >> (64 - u32::from(tags)) {
            let gap = waiting.gap;
            self.waiting = None;
            out.push(Due::new(Change {
                gap,
                ..change.clone()
            }));
        }
        true
    }

    /// The time is over: what came is told, and what is missing.
    pub(crate) fn expire(&mut self, (inputs, tags): (&[TagId], u16), out: &mut Vec<Due>) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let Some(change) = waiting.last.change(inputs) else {
            return;
        };
        let missing = (0..tags).filter(|slot| waiting.seen >> slot & 1 == 0);
        out.push(Due {
            missing: missing.map(Slot).collect(),
            ..Due::new(Change {
                gap: waiting.gap,
                ..change
            })
        });
    }
}
