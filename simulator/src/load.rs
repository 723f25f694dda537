//! The load of the benchmark: many tags, changes at an even rate, values from which loss, doubles and order can be read.

use std::time::Duration;

/// What a write has to be late by to be counted as such. Below it is the jitter of a timer on a busy machine.
pub const LATE: Duration = Duration::from_millis(5);

/// What the values of load tags are. All have 64 bits on both protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LoadValue {
    /// The tag's own counter as a signed integer: 0 at the start, one more with each write.
    #[default]
    Int64,
    /// The tag's own counter as a floating-point number, exact up to 2⁵³.
    Double,
    /// The time of the write in microseconds since 1970, for protocols that carry no time of their own. It rises with each
    /// write of the tag, but does not show whether one was missed.
    Time,
}

/// A load on one protocol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Number of tags, at least 1.
    pub tags: u32,
    /// Writes a second over all tags; write k goes to tag k mod `tags`, so each tag gets its share evenly.
    pub rate: f64,
    /// What is written.
    pub value: LoadValue,
}

/// One write of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoadWrite {
    pub(crate) tag: u32,
    /// The tag's counter after the write, from 1.
    pub(crate) counter: i64,
}

/// Decides which writes are due. Write k is due at k/rate from the start, whatever happened before: a pause is caught up, and
/// rounding never adds up.
#[derive(Debug)]
pub(crate) struct Schedule {
    load: Load,
    written: u64,
}

impl Schedule {
    pub(crate) fn new(load: Load) -> Self {
        Self { load, written: 0 }
    }

    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// Writes that are due by `elapsed`, counted from the start.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of writes; the cast saturates, and a run that long does not exist"
    )]
    fn due_by(&self, elapsed: Duration) -> u64 {
        (elapsed.as_secs_f64() * self.load.rate) as u64
    }

    /// Takes the writes that are due at `elapsed`, at most one of each tag: of two writes to one variable in one
    /// notification the server would show the second only. Call it again until it returns none. The second part is how many of
    /// the writes are late.
    pub(crate) fn take(&mut self, elapsed: Duration) -> (impl Iterator<Item = LoadWrite> + use<>, u64) {
        let from = self.written;
        let until = self.due_by(elapsed).min(from + u64::from(self.load.tags));
        let late = self
            .due_by(elapsed.saturating_sub(LATE))
            .clamp(from, until.max(from))
            - from;
        self.written = until.max(from);
        let tags = u64::from(self.load.tags);
        let writes = (from..until).map(move |write| LoadWrite {
            tag: u32::try_from(write % tags).unwrap_or(u32::MAX),
            counter: i64::try_from(write / tags).unwrap_or(i64::MAX) + 1,
        });
        (writes, late)
    }
}

#[cfg(test)]
mod tests {
    use super::{Load, LoadValue, Schedule};
    use std::time::Duration;

    fn schedule(tags: u32, rate: f64) -> Schedule {
        Schedule::new(Load {
            tags,
            rate,
            value: LoadValue::Int64,
        })
    }

    #[test]
    fn a_second_of_ticks_makes_the_rate_and_counts_each_tag_up() {
        let mut schedule = schedule(7, 1000.0);
        let mut counters = [0_i64; 7];
        for tick in 1..=10_000_u64 {
            let (writes, late) = schedule.take(Duration::from_millis(tick));
            assert_eq!(late, 0);
            for write in writes {
                let counter = &mut counters[write.tag as usize];
                assert_eq!(write.counter, *counter + 1);
                *counter = write.counter;
            }
        }
        assert_eq!(counters.iter().sum::<i64>(), 10_000);
        assert_eq!(counters.iter().max().unwrap() - counters.iter().min().unwrap(), 1);
    }

    #[test]
    fn a_pause_is_caught_up_with_each_tag_once_a_batch_and_counted_late() {
        let mut schedule = schedule(10, 1000.0);
        let (mut total, mut total_late) = (0, 0);
        loop {
            let (writes, late) = schedule.take(Duration::from_millis(100));
            let batch: Vec<_> = writes.collect();
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= 10);
            total += batch.len();
            total_late += late;
        }
        assert_eq!(total, 100);
        assert_eq!(total_late, 95, "all but the last five milliseconds' worth");
    }

    #[test]
    fn nothing_is_due_at_the_start() {
        assert_eq!(schedule(5, 1e6).take(Duration::ZERO).0.count(), 0);
    }
}
