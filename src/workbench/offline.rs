//! A gateway without clock, network and disk: a core, and the cells that outlive it.
//!
//! What happens and when is said with each call, so that the same calls give the same events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::{Plan, Priority};
use floorgate_core::{Core, Event, Failures, Input, Now, Request, Settings};
use floorgate_sample::Answer;

/// Turns of the timers up to one time after which they are taken to make each other due for ever.
const MOST_TURNS: usize = 100_000;

/// The core's state as the store keeps it, by the cells' keys.
pub type Cells = HashMap<Arc<str>, String>;

/// Timers that do not come to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timers do not come to rest: {MOST_TURNS} turns up to {until:?} after the start")]
pub struct Restless {
    /// The time up to which they were to run, on the monotonic clock.
    pub until: Duration,
}

/// A core with its cells.
pub struct Offline {
    plan: Arc<Plan>,
    settings: Settings,
    core: Core,
    cells: Cells,
}

impl Offline {
    /// A gateway that goes on from cells; without any it begins anew.
    #[must_use]
    pub fn new(plan: Arc<Plan>, settings: Settings, cells: Cells) -> Self {
        let core = Core::new(Arc::clone(&plan), settings.clone(), &|key| {
            cells.get(key).cloned()
        });
        Self {
            plan,
            settings,
            core,
            cells,
        }
    }

    /// What it runs.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Ends the process and begins another, which knows what is stored. Its monotonic clock begins at 0.
    pub fn restart(&mut self, incarnation: uuid::Uuid) {
        self.store();
        self.settings.incarnation = incarnation;
        let cells = &self.cells;
        self.core = Core::new(Arc::clone(&self.plan), self.settings.clone(), &|key| {
            cells.get(key).cloned()
        });
    }

    /// Takes a batch of a source.
    pub fn apply(&mut self, input: Input<'_>, events: &mut Vec<Event>) {
        self.core.apply(input, events);
    }

    /// Takes what was read for a request.
    pub fn answer(&mut self, answer: &Answer, input: Input<'_>, events: &mut Vec<Event>) {
        self.core.answer(answer, input, events);
    }

    /// Lets time pass up to now, in one turn.
    pub fn advance(&mut self, now: Now, events: &mut Vec<Event>) {
        self.core.advance(now, events);
    }

    /// Runs the timers that are due up to a time, each at its own: what comes of one goes to `each` with the time at which it ran.
    pub fn run_timers(
        &mut self,
        from: Now,
        until: Duration,
        mut each: impl FnMut(&mut Self, Now, Vec<Event>),
    ) -> Result<(), Restless> {
        let mut now = from;
        for _ in 0..MOST_TURNS {
            let Some(due) = self.core.next_deadline().filter(|due| *due <= until) else {
                return Ok(());
            };
            now = Now {
                wall: now.wall.after(due.saturating_sub(now.monotonic)),
                monotonic: due.max(now.monotonic),
            };
            let mut events = Vec::new();
            self.core.advance(now, &mut events);
            each(self, now, events);
        }
        Err(Restless { until })
    }

    /// What sources are asked for since the last call.
    pub fn take_requests(&mut self) -> Vec<Request> {
        self.core.take_requests()
    }

    /// What rules could not do since the last call.
    pub fn take_failures(&mut self) -> Failures {
        self.core.take_failures()
    }

    /// Rules below this priority make no events.
    pub fn leave_out_below(&mut self, least: Option<Priority>) {
        self.core.leave_out_below(least);
    }

    /// Takes changed cells over, as a commit does.
    pub fn store(&mut self) {
        let mut cells = Vec::new();
        self.core.save(&mut cells);
        self.cells.extend(cells);
    }
}
