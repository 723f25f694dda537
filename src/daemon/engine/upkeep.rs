//! What keeps the store small: its log is copied, and what may go goes, in small steps between commits.

use std::time::{Duration, Instant};

use floorgate_metrics::Metrics;
use floorgate_outbox::{Error as StoreError, Progress, Stats};
use floorgate_sample::Timestamp;
use tracing::warn;

use super::growth::Growth;
use super::patience::QUIET;
use super::{EngineError, Running, chain};

/// How often the store is measured and looked over; where nothing is to be stored or delivered, [`QUIET`].
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one step of cleaning up may hold up what arrives.
const BUDGET: Duration = Duration::from_millis(1);
/// The pause between two steps while there is more to clean up: together they take at most a fifth of the time, in which more is
/// deleted than the gateway can store.
const PAUSE: Duration = Duration::from_millis(4);
/// How often the write-ahead log is measured: at 30,000 events a second it grows by 4 MB meanwhile.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);

/// When what is due.
pub struct Upkeep {
    maintained: Instant,
    more: bool,
    /// Nothing was to be stored or delivered since before the store was measured, so that what is shown of it is so still.
    is_settled: bool,
    stated: Instant,
    measured: Instant,
    checkpointed: Option<Result<(), StoreError>>,
    growth: Growth,
}

impl Upkeep {
    /// Begins now.
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            maintained: now,
            more: false,
            is_settled: false,
            stated: now,
            measured: now,
            checkpointed: None,
            growth: Growth::default(),
        }
    }

    /// How long the engine may wait for a message.
    pub fn wait(&self) -> Duration {
        let pause = match (self.more, self.is_settled) {
            (true, _) => PAUSE,
            (false, true) => QUIET,
            (false, false) => INTERVAL,
        };
        pause.saturating_sub(self.maintained.elapsed())
    }

    /// The checkpoint's thread has answered.
    pub fn checkpointed(&mut self, result: Result<(), StoreError>) {
        self.checkpointed = Some(result);
    }
}

/// Lets an operator see how much waits, and how large the store is.
pub fn show(metrics: &Metrics, stats: &Stats) {
    let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
    metrics.outbox_depth.set(number(stats.depth));
    metrics.outbox_bytes.set(number(stats.used_bytes));
}

impl Running {
    /// Has the store's log copied when it is long, and copies the rest.
    pub(super) fn checkpoint(&mut self) -> Result<(), EngineError> {
        if let Some(result) = self.upkeep.checkpointed.take() {
            self.engine.checkpoints.answered();
            // Where a reader held it up the log is still long, and is measured again soon.
            self.is_quiet = false;
            // Room is made before the log is longer than what is set aside for copying it.
            let mut beside = Some(result);
            match self.with_room(|store, _| {
                beside
                    .take()
                    .unwrap_or(Ok(()))
                    .and_then(|()| store.finish_checkpoint())
            }) {
                Err(problem) if !problem.can_be_retried() => return Err(problem.into()),
                Err(problem) => warn!(
                    problem = chain(&problem),
                    see = "gateway-outbox-upkeep",
                    "cannot copy the outbox's log"
                ),
                Ok(()) => {}
            }
        }
        if self.upkeep.measured.elapsed() < CHECKPOINT_INTERVAL || self.engine.checkpoints.is_under_way() {
            return Ok(());
        }
        self.upkeep.measured = Instant::now();
        match self.engine.store.log_is_long() {
            Ok(true) => self.engine.checkpoints.ask(),
            Ok(false) => {}
            Err(problem) if problem.can_be_retried() => {
                warn!(
                    problem = chain(&problem),
                    see = "gateway-outbox-upkeep",
                    "cannot measure the outbox's log"
                );
            }
            Err(problem) => return Err(problem.into()),
        }
        Ok(())
    }

    /// Looks at how sources and tags stand, where it is time.
    pub(super) fn look(&mut self) {
        let now = self.now();
        let standings = &self.engine.standings;
        if standings.wait(now.monotonic).is_zero() {
            let is_held_up = self.refused.is_some() || !self.held.is_empty();
            standings.look(&self.engine.core, now, is_held_up);
        }
    }

    /// Cleans the store up in small steps.
    pub(super) fn maintain(&mut self) -> Result<(), EngineError> {
        self.upkeep.is_settled &= self.has_nothing_to_store();
        if self.engine.publisher.has_died() {
            return Err(EngineError::Publisher);
        }
        if !self.upkeep.wait().is_zero() {
            return Ok(());
        }
        // As it is before anything is done: what is done here is measured once more.
        let is_settled = self.has_nothing_to_store();
        self.upkeep.more = false;
        // A store that takes nothing is tried by the commit alone, which helps it where that is possible.
        if self.refused.is_none() {
            match self.engine.store.maintain(Timestamp::now(), BUDGET) {
                Err(problem) if !problem.can_be_retried() => return Err(problem.into()),
                Err(problem) => warn!(
                    problem = chain(&problem),
                    see = "gateway-outbox-upkeep",
                    "cannot clean the outbox up"
                ),
                Ok(progress) => {
                    self.upkeep.more = progress.more;
                    // It went into the log, which is to be measured.
                    self.is_quiet &= progress == Progress::default();
                }
            }
        }
        self.upkeep.maintained = Instant::now();
        if self.upkeep.more && self.upkeep.stated.elapsed() < INTERVAL {
            return Ok(());
        }
        self.upkeep.stated = Instant::now();
        let stats = match self.engine.store.stats() {
            Err(problem) if problem.can_be_retried() => {
                warn!(
                    problem = chain(&problem),
                    see = "gateway-outbox-upkeep",
                    "cannot measure the outbox"
                );
                return Ok(());
            }
            stats => stats?,
        };
        show(&self.engine.metrics, &stats);
        let growth = &mut self.upkeep.growth;
        growth.note(self.engine.started.elapsed(), stats.used_bytes);
        let hours = growth.hours_until(stats.room_bytes);
        self.engine.metrics.outbox_hours_until_full.set(hours);
        self.leave_out(&stats);
        self.upkeep.is_settled = is_settled && self.has_nothing_to_store();
        Ok(())
    }
}
