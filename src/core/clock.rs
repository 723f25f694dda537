//! The clock that timers run on, and the timers that wait.
//!
//! Timers must neither jump with the wall clock nor stand still while the process is down. The core's own clock goes on from
//! where the one before it was: within a process by the monotonic clock, between two processes by what the wall clock says
//! has passed (nothing where it was set back). Deadlines are stored as times of this clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{TagId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::machine::Now;
use crate::plan::RuleId;

/// The key of the clock's cell.
const CELL: &str = "clock";
/// How long the stored relation of the clock to the wall clock is good for, while deadlines are stored.
const STORED_EVERY: Duration = Duration::from_secs(1);

/// Which time of the core's clock was which time of the wall clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Relation {
    clock: u64,
    wall: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// What an earlier process left.
    stored: Option<Relation>,
    /// What the monotonic clock is behind; known with the first call.
    offset: Option<Duration>,
    last: Duration,
    /// The wall clock's time of the last moment that was given.
    wall: Option<Timestamp>,
    saved_at: Option<Duration>,
}

/// The clock of a process that runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ClockNow {
    offset: Option<Duration>,
    last: Duration,
    wall: Option<i64>,
}

impl Clock {
    /// What it is now.
    pub(crate) fn now(&self) -> ClockNow {
        ClockNow {
            offset: self.offset,
            last: self.last,
            wall: self.wall.map(Timestamp::as_nanos),
        }
    }

    /// Is what another one was, in the same process. Returns its time.
    pub(crate) fn go_on_as(&mut self, now: ClockNow) -> Duration {
        self.offset = now.offset;
        self.last = now.last;
        self.wall = now.wall.map(Timestamp::from_nanos);
        self.last
    }

    pub(crate) fn restore(stored: &dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            stored: stored(CELL).and_then(|text| serde_json::from_str(&text).ok()),
            ..Self::default()
        }
    }

    /// The time that an earlier process last stored.
    pub(crate) fn stored(&self) -> Duration {
        self.stored
            .map_or(Duration::ZERO, |stored| Duration::from_nanos(stored.clock))
    }

    /// The clock's time at a moment; it never goes back.
    pub(crate) fn at(&mut self, now: Now) -> Duration {
        let offset = *self.offset.get_or_insert_with(|| {
            let Some(stored) = self.stored else {
                // It begins with the time of day, so that what happened before it began has a time on it as well.
                let begin = u64::try_from(now.wall.as_nanos()).unwrap_or(0);
                return Duration::from_nanos(begin).saturating_sub(now.monotonic);
            };
            let passed = now.wall.since(Timestamp::from_nanos(stored.wall));
            (Duration::from_nanos(stored.clock) + passed).saturating_sub(now.monotonic)
        });
        self.last = self.last.max(offset + now.monotonic);
        self.wall = Some(now.wall);
        self.last
    }

    /// The clock's time at which something was received that is looked at only now: a full disk may lie between. It never goes back.
    pub(crate) fn at_receipt(&mut self, now: Now, received: Timestamp) -> Duration {
        let before = self.last;
        let at = self.at(now);
        self.last = before.max(at.saturating_sub(now.wall.since(received)));
        self.wall = Some(now.wall.before(at.saturating_sub(self.last)));
        self.last
    }

    /// The wall clock's time of the last moment that was given.
    pub(crate) fn wall(&self) -> Option<Timestamp> {
        self.wall
    }

    /// A time of this clock on the monotonic one; at once while the relation is not known.
    pub(crate) fn monotonic(&self, time: Duration) -> Duration {
        self.offset
            .map_or(Duration::ZERO, |offset| time.saturating_sub(offset))
    }

    /// The cell, when it is due: deadlines that are stored mean nothing without it.
    pub(crate) fn save(&mut self, armed: bool) -> Option<(Arc<str>, String)> {
        let is_due = self.saved_at.is_none_or(|at| self.last >= at + STORED_EVERY);
        let cell = (armed && is_due).then(|| self.export()).flatten();
        if cell.is_some() {
            self.saved_at = Some(self.last);
        }
        cell
    }

    /// The cell as of the last moment that was given.
    pub(crate) fn export(&self) -> Option<(Arc<str>, String)> {
        let relation = Relation {
            clock: u64::try_from(self.last.as_nanos()).unwrap_or(u64::MAX),
            wall: self.wall?.as_nanos(),
        };
        Some((CELL.into(), serde_json::to_string(&relation).ok()?))
    }
}

/// Whose timer it is. What is due is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Tag(TagId),
    Rule(RuleId),
}

/// The entries that a timer has in the heap, the earliest last: one that is not later than what is due is enough.
#[derive(Debug, Default)]
pub(crate) struct Entries(Vec<Duration>);

impl Entries {
    /// The entry of that time was taken out.
    pub(crate) fn taken(&mut self, due: Duration) {
        self.0.pop_if(|earliest| *earliest == due);
    }

    /// There are none: the heap is another.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Timers in the order of their deadlines. An entry only says when to look: what was put off meanwhile is put in again.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Duration, Timer)>>,
}

impl Timers {
    /// Has a timer looked at when it is due.
    pub(crate) fn queue(&mut self, timer: Timer, due: Option<Duration>, entries: &mut Entries) {
        if let Some(due) = due
            && entries.0.last().is_none_or(|earliest| due < *earliest)
        {
            entries.0.push(due);
            self.heap.push(Reverse((due, timer)));
        }
    }

    /// Takes the next timer that is due.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<(Duration, Timer)> {
        let &Reverse((due, timer)) = self.heap.peek()?;
        if due > now {
            return None;
        }
        self.heap.pop();
        Some((due, timer))
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }
}
