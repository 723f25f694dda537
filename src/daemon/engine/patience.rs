//! How long the engine may wait for a message: not at all while it has something to do, and long where nothing can come of itself.

use std::time::Duration;

use super::Running;

/// How long a delivery may be known and not stored while nothing else is to be stored.
pub(super) const IDLE_FLUSH: Duration = Duration::from_millis(100);
/// How long what has no hurry may wait, when there is nothing that the engine knows of: all is stored and delivered, and the store
/// changes by its clock alone, the disk by others.
pub(super) const QUIET: Duration = Duration::from_secs(5);
/// How often the engine shows that it lives, when nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(1);

impl Running {
    /// How long to wait for a message.
    pub(super) fn patience(&self) -> Duration {
        if let Some(refused) = &self.refused {
            return refused.wait();
        }
        if self.engine.store.moving() {
            return Duration::ZERO;
        }
        if self.has_hurry() {
            // What was asked for and could not be sent is answered after the commit, as failed: its events are stored with the next.
            return Duration::ZERO;
        }
        let now = self.engine.started.elapsed();
        let timer = self.engine.core.next_deadline();
        let timer = timer.map_or(HEARTBEAT, |deadline| deadline.saturating_sub(now));
        let flush = self
            .flush_after()
            .saturating_sub(self.flushed.elapsed())
            .max(Duration::from_millis(1));
        let look = self.engine.standings.wait(now);
        timer.min(flush).min(self.upkeep.wait()).min(look)
    }

    /// Whether there are events to store, or requests that go out when their rules' state is stored. Timers make them, and so do answers
    /// of requests that cannot be sent, without a message that would wake the engine.
    pub(super) fn has_hurry(&self) -> bool {
        !self.events.is_empty() || self.engine.core.has_requests()
    }

    /// How long may pass until that is stored which has no hurry. Where all is delivered no delivery can come.
    pub(super) fn flush_after(&self) -> Duration {
        if self.has_nothing_to_store() {
            QUIET
        } else {
            IDLE_FLUSH
        }
    }

    /// Whether all is stored and delivered, as far as is known.
    pub(super) fn has_nothing_to_store(&self) -> bool {
        self.is_quiet && self.commit.is_empty()
    }
}
