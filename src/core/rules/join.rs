//! Values that belong together: an event when all of them came, or when the time for it is over.
//!
//! The trigger begins a new one: where it comes again before the others, what came with the first is told as it is. Of the others the last
//! value counts.

use std::time::Duration;

use floorgate_sample::{TagId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::deferred::StoredChange;
use crate::detect::{Cause, Change};
use crate::plan::Slot;

use super::seen::{Moved, Seen};
use super::shape::Due;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    waiting: Option<Waiting>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    /// The inputs that came, a bit each.
    came: u64,
    /// The last of them.
    last: StoredChange,
    /// When the first of them came, by the device.
    first: Option<i64>,
    /// What they were.
    seen: Seen,
    /// Something may have been missed before one of them.
    gap: bool,
    due: Duration,
}

/// The inputs of a join, and how many of them belong together.
pub(crate) type Joined<'a> = (&'a [TagId], u16);

impl Memory {
    pub(crate) fn due(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.due)
    }

    /// Nobody watched for a time in which one of them may have come. Returns whether anything is to be stored.
    pub(crate) fn mark(&mut self) -> bool {
        let waiting = self.waiting.as_mut();
        waiting.is_some_and(|waiting| !std::mem::replace(&mut waiting.gap, true))
    }

    /// The rule has other inputs now; the first of them belong together.
    pub(super) fn moved(&mut self, moved: Moved<'_>, tags: usize) {
        let Some(waiting) = &mut self.waiting else { return };
        let came = (0..64).filter(|slot| waiting.came >> slot & 1 == 1);
        let came = came.filter_map(|slot| moved.slot(slot));
        let came = came.filter(|slot| usize::from(*slot) < tags);
        waiting.came = came.fold(0, |came, slot| came | 1 << slot);
        waiting.last.moved(moved);
        waiting.seen.moved(moved);
        waiting.gap = true;
    }

    /// Takes a change of one of the tags. Returns whether anything is to be stored.
    pub(crate) fn see(
        &mut self,
        (inputs, tags): Joined<'_>,
        change: &Change,
        (at, within): (Duration, Duration),
        (seen, out): (Seen, &mut Vec<Due>),
    ) -> bool {
        if change.cause != Cause::Value {
            return false;
        }
        let Some(slot) = inputs.iter().position(|input| *input == change.tag) else {
            return false;
        };
        if let Some(waiting) = &self.waiting {
            // What came late all at once may belong to two: the device's times tell.
            let first = waiting.first.map(Timestamp::from_nanos);
            let is_over = first
                .zip(change.source_time)
                .is_some_and(|(first, now)| now.since(first) > within);
            let is_next = slot == 0 && waiting.came & 1 == 1;
            if is_over || is_next {
                self.expire((inputs, tags), out);
            }
        }
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            came: 0,
            last: StoredChange::new(inputs, change),
            first: change.source_time.map(Timestamp::as_nanos),
            seen: Seen::default(),
            gap: false,
            due: at + within,
        });
        waiting.came |= 1 << slot;
        waiting.gap |= change.gap;
        waiting.last = StoredChange::new(inputs, change);
        let slot = u16::try_from(slot).unwrap_or(u16::MAX);
        // What came keeps its value; of all else counts how it is when the last one comes.
        waiting.seen = waiting.seen.came(waiting.came, tags).over(seen);
        waiting.seen.note(slot, change.value.as_ref());
        if waiting.came == u64::MAX >> (64 - u32::from(tags))
            && let Some(whole) = self.waiting.take()
        {
            out.push(Due {
                seen: Some(whole.seen),
                part: u32::from(slot) + 1,
                ..Due::new(Change {
                    gap: whole.gap,
                    ..change.clone()
                })
            });
        }
        true
    }

    /// The time is over: what came is told, and what is missing.
    pub(crate) fn expire(&mut self, (inputs, tags): Joined<'_>, out: &mut Vec<Due>) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let Some(change) = waiting.last.change(inputs) else {
            return;
        };
        let slot = inputs.iter().position(|input| *input == change.tag);
        let missing = (0..tags).filter(|slot| waiting.came >> slot & 1 == 0);
        out.push(Due {
            missing: missing.map(Slot).collect(),
            seen: Some(waiting.seen),
            part: slot.and_then(|slot| u32::try_from(slot + 1).ok()).unwrap_or(0),
            ..Due::new(Change {
                gap: waiting.gap,
                ..change
            })
        });
    }
}
