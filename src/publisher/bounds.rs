//! Whether logs have lost something: one that ends or begins before where it did was cut, or its topic was made anew.

use std::time::{Duration, Instant};

use crate::opening::TopicState;
use crate::topics::LogBounds;
use crate::worker::Worker;

/// What is known of the acknowledged records of a lane's log.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// One that was acknowledged and on the log when that was last looked at, and its offset.
    proven: Option<(u64, i64)>,
    /// The last one when the log's bounds were asked for: it has to be within them.
    asked: Option<(u64, i64)>,
    /// The log has lost something since, perhaps the proven one and all that was acknowledged after it.
    in_doubt: bool,
    /// It is certain: the log ends before them.
    has_lost: bool,
}

impl Proof {
    /// All that was acknowledged up to that one was found.
    pub(crate) fn of(last: Option<(u64, i64)>) -> Self {
        Self {
            proven: last,
            ..Self::default()
        }
    }

    /// The log's bounds are asked for, and the last acknowledged record is this.
    pub(crate) fn ask(&mut self, last: Option<(u64, i64)>) {
        self.asked = last;
    }

    /// Takes the bounds of a log, which was settled or not, and perhaps shorter than before.
    pub(crate) fn take(&mut self, bounds: LogBounds, is_shorter: bool, is_settled: bool) {
        let last = self.asked.take();
        let is_beyond = |last: Option<(u64, i64)>| last.is_some_and(|(_, offset)| offset >= bounds.high);
        self.has_lost |= is_beyond(last) || is_beyond(self.proven);
        if is_shorter || self.has_lost {
            self.in_doubt = true;
        } else if is_settled && !self.in_doubt {
            self.proven = last.or(self.proven);
        }
    }

    /// Whether the log has lost something, so that nothing is sent before it was looked at.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Whether that is certain of acknowledged records of this lane.
    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// From where on it is looked at then, where that is known: a sequence and its offset.
    pub(crate) fn in_question(&self) -> Option<(u64, Option<i64>)> {
        let (sequence, offset) = self.proven.filter(|_| self.in_doubt)?;
        Some((sequence, Some(offset)))
    }

    /// The log has what it had of this lane.
    pub(crate) fn renew(&mut self) {
        (self.in_doubt, self.has_lost) = (false, false);
    }
}

/// Pause before logs are asked again of which one did not tell its bounds.
const SOON: Duration = Duration::from_secs(5);

impl Worker {
    /// Takes the bounds of the logs of a topic's first partitions. Lanes on a log that has lost something are looked at, also those that have nothing to send.
    pub(crate) fn take_bounds(&mut self, place: usize, mut bounds: Vec<LogBounds>) {
        let Some(topic) = self.topics.get_mut(place) else {
            return;
        };
        for (partition, now) in (0..).zip(&bounds) {
            let before = topic.bounds.get(partition as usize);
            let is_shorter = before.is_some_and(|before| now.high < before.high || now.low < before.low);
            let slots = self.slots.iter_mut();
            for slot in
                slots.filter(|slot| slot.lane.topic == place && slot.lane.partition == Some(partition))
            {
                slot.lane.take_bounds(*now, is_shorter);
            }
        }
        if matches!(topic.state, TopicState::Open { partitions } if bounds.len() < partitions as usize) {
            topic.review_at = Instant::now() + SOON;
        }
        // Of a partition that told none for now the earlier ones are remembered.
        bounds.extend(topic.bounds.drain(..).skip(bounds.len()));
        topic.bounds = bounds;
    }
}
