//! What a process at the end of a way sees: latency within a window, and the account of all it received.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::account::{Account, Arrival};
use crate::latency::{Latency, Summary};

/// Microseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What is observed, and for how long.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Number of tags
    #[arg(long)]
    pub tags: usize,
    /// Seconds between the last tag's first value and the window
    #[arg(long)]
    pub warm_up: f64,
    /// Seconds of the window
    #[arg(long)]
    pub window: f64,
    /// The values are the times of the writes, not counters; a tag is written once in so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub times: Option<f64>,
    /// File that appears when the plant has ended, with the number of its writes
    #[arg(long)]
    pub total: std::path::PathBuf,
}

/// A value that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The tag's number.
    pub tag: usize,
    /// What the tag held.
    pub value: i64,
    /// Time of the write as the event tells it, in microseconds since 1970.
    pub time: i64,
}

/// A line that an observing process prints.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It listens.
    Ready,
    /// All tags were seen, the warm-up is over, the window is open.
    Open,
    /// The window is over.
    Closed,
    /// The end.
    Report(Report),
}

/// What was observed.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Latency of the values that were written within the window.
    pub latency: Summary,
    /// Such values a second.
    pub events_per_second: f64,
    /// Writes of the whole run that never arrived.
    pub lost: u64,
    /// Values of the whole run that arrived again.
    pub doubled: u64,
    /// Values of the whole run that arrived after a later one of their tag.
    pub disordered: u64,
    /// What arrived and is no value of a tag.
    pub foreign: u64,
    /// Mean size of the records, where there are records.
    pub record: RecordSize,
}

/// Sizes of records, in bytes and per record.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct RecordSize {
    /// The value.
    pub value: f64,
    /// Names and values of all headers.
    pub headers: f64,
    /// Number of headers.
    pub header_count: f64,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Filling,
    Warming { open_at: i64 },
    Open { from: i64, until: i64 },
    Closed { from: i64, until: i64 },
}

/// Sees values one after the other.
#[derive(Debug)]
pub struct Observer {
    watch: Watch,
    account: Account,
    times: Option<Times>,
    latency: Latency,
    stage: Stage,
    foreign: u64,
    quiet_since: i64,
    total: Option<u64>,
    next_question: i64,
}

impl Observer {
    /// One that has seen nothing.
    pub fn new(watch: Watch) -> Self {
        Self {
            account: Account::new(watch.tags),
            times: watch.times.map(|period| Times::new(watch.tags, period)),
            watch,
            latency: Latency::default(),
            stage: Stage::Filling,
            foreign: 0,
            quiet_since: now(),
            total: None,
            next_question: 0,
        }
    }

    /// Enters a value that arrived at `now`.
    pub fn see(&mut self, reading: Reading, now: i64) {
        let (number, written) = match &mut self.times {
            Some(times) => (times.number(reading.tag, reading.value), reading.value),
            None => (u64::try_from(reading.value).ok(), reading.time),
        };
        let arrival = number.and_then(|number| self.account.enter(reading.tag, number));
        let Some(arrival) = arrival else {
            self.foreign += 1;
            return;
        };
        self.quiet_since = now;
        if arrival == Arrival::New
            && let Stage::Open { from, until } | Stage::Closed { from, until } = self.stage
            && (from..until).contains(&written)
        {
            self.latency.record(now - written);
        }
    }

    /// Enters something that is no value of a tag.
    pub fn see_foreign(&mut self) {
        self.foreign += 1;
    }

    /// Lets time pass; gives what is to be said of it.
    pub fn advance(&mut self, now: i64) -> Option<Said> {
        let micros =
            |seconds: f64| i64::try_from(Duration::from_secs_f64(seconds).as_micros()).unwrap_or(i64::MAX);
        match self.stage {
            Stage::Filling if self.account.all_tags_seen() => {
                self.stage = Stage::Warming {
                    open_at: now + micros(self.watch.warm_up),
                };
                None
            }
            Stage::Warming { open_at } if now >= open_at => {
                self.stage = Stage::Open {
                    from: now,
                    until: now + micros(self.watch.window),
                };
                Some(Said::Open)
            }
            Stage::Open { from, until } if now >= until => {
                self.stage = Stage::Closed { from, until };
                Some(Said::Closed)
            }
            _ => None,
        }
    }

    /// Tags that have not been seen.
    pub fn unseen(&self) -> usize {
        self.account.unseen()
    }

    /// [`Self::is_over`] at this moment, asked seldom enough to cost nothing.
    pub fn is_over_now(&mut self) -> bool {
        let now = now();
        if now < self.next_question {
            return false;
        }
        self.next_question = now + 50_000;
        self.is_over(now)
    }

    /// Whether the plant has ended and all its writes are here, or nothing has come for long.
    fn is_over(&mut self, now: i64) -> bool {
        if self.total.is_none() {
            let text = std::fs::read_to_string(&self.watch.total).ok();
            self.total = text.and_then(|text| text.trim().parse().ok());
            // What came before the end is no silence after it.
            self.quiet_since = now;
        }
        let Some(total) = self.total else { return false };
        let silence = now - self.quiet_since;
        if self.times.is_some() {
            return silence > 1_000_000;
        }
        silence > 10_000_000 || self.account.lost(total) == 0
    }

    /// What was observed.
    pub fn report(&self, record: RecordSize) -> Report {
        let lost = match (&self.times, self.total) {
            (None, Some(total)) => self.account.lost(total),
            _ => self.account.holes(),
        };
        Report {
            latency: self.latency.summary(),
            events_per_second: self.latency.count() as f64 / self.watch.window,
            lost,
            doubled: self.account.doubled(),
            disordered: self.account.disordered(),
            foreign: self.foreign,
            record,
        }
    }
}

/// Numbers the writes of tags whose values are the times of the writes. Writes come at an even pace, so that a hole
/// shows as a distance of two paces; a delay of less than half a pace does not mislead.
#[derive(Debug)]
struct Times {
    period: f64,
    tags: Vec<[Option<i64>; 2]>,
}

impl Times {
    fn new(tags: usize, period: f64) -> Self {
        Self {
            period: period * 1e6,
            tags: vec![[None; 2]; tags],
        }
    }

    /// The number of a write. The first value of a tag may be from before the pace began, so that the second one is
    /// where the pace is counted from.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of writes; the cast saturates"
    )]
    fn number(&mut self, tag: usize, time: i64) -> Option<u64> {
        let [first, second] = self.tags.get_mut(tag)?;
        let first = *first.get_or_insert(time);
        if time <= first {
            return Some(0);
        }
        let second = *second.get_or_insert(time);
        Some(1 + ((time - second) as f64 / self.period).round().max(0.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observer(times: Option<f64>) -> Observer {
        Observer::new(Watch {
            tags: 2,
            warm_up: 1.0,
            window: 10.0,
            times,
            total: "/nowhere/total".into(),
        })
    }

    fn reading(tag: usize, value: i64, time: i64) -> Reading {
        Reading { tag, value, time }
    }

    #[test]
    fn the_window_opens_when_all_tags_were_seen_and_the_warm_up_is_over() {
        let mut observer = observer(None);
        observer.see(reading(0, 0, 0), 0);
        assert!(observer.advance(100_000_000).is_none());
        observer.see(reading(1, 0, 0), 0);
        assert!(observer.advance(100_000_000).is_none());
        assert!(observer.advance(100_999_999).is_none());
        assert!(matches!(observer.advance(101_000_000), Some(Said::Open)));
        assert!(observer.advance(110_999_999).is_none());
        assert!(matches!(observer.advance(111_000_000), Some(Said::Closed)));
    }

    #[test]
    fn what_was_written_in_the_window_counts_whenever_it_arrives() {
        let mut observer = observer(None);
        observer.see(reading(0, 0, 0), 0);
        observer.see(reading(1, 0, 0), 0);
        observer.advance(0);
        observer.advance(1_000_000);
        observer.see(reading(0, 1, 999_999), 1_000_500);
        observer.see(reading(1, 1, 1_000_000), 1_002_000);
        observer.advance(11_000_000);
        observer.see(reading(0, 2, 10_999_999), 12_999_999);
        observer.see(reading(1, 2, 11_000_000), 13_000_000);
        let report = observer.report(RecordSize::default());
        assert_eq!(report.latency.count, 2);
        assert!((report.latency.max - 2000.0).abs() < 2.0, "{report:?}");
        assert!((report.events_per_second - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_missing_write_shows_in_the_pace_of_times() {
        let mut observer = observer(Some(1.0));
        for time in [500_000, 1_300_000, 2_310_000, 4_290_000, 4_290_000] {
            observer.see(reading(0, time, 0), time);
        }
        let report = observer.report(RecordSize::default());
        assert_eq!((report.lost, report.doubled), (1, 1));
    }
}
