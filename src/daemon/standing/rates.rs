//! How much flows: counters now, and some seconds ago.

use std::collections::VecDeque;
use std::time::Duration;

use floorgate_metrics::{Reading, RoundTrips};

/// Over how long rates are told; a look more or less.
const OVER: Duration = Duration::from_secs(10);

/// Readings of the last seconds, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Looks(VecDeque<(Duration, Reading)>);

/// What flowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// For how long it was counted.
    pub over: Duration,
    /// Each in the second.
    pub samples: f64,
    pub requests: f64,
    /// Received and sent; `None` where nobody counts them.
    pub bytes: Option<(f64, f64)>,
    pub round_trips: RoundTrips,
}

impl Looks {
    /// Notes how the counters stand; times are those of one clock that never jumps.
    pub fn note(&mut self, now: Duration, reading: Reading) {
        // The one before is kept: it is the one that is as long ago as is asked for.
        while self
            .0
            .get(1)
            .is_some_and(|(at, _)| now.saturating_sub(*at) >= OVER)
        {
            self.0.pop_front();
        }
        self.0.push_back((now, reading));
    }

    /// Whether values were seen to be as they were since the last look.
    pub fn are_confirmed(&self, reading: &Reading) -> bool {
        let last = self.0.back();
        last.is_some_and(|(_, last)| reading.confirmed != last.confirmed)
    }

    /// What flowed up to now. `None` where no time has passed since the first look.
    pub fn flow(&self, now: Duration, reading: &Reading) -> Option<Flow> {
        let (at, before) = self.0.front()?;
        let over = now.checked_sub(*at).filter(|over| !over.is_zero())?;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / over.as_secs_f64();
        Some(Flow {
            over,
            samples: rate(reading.samples, before.samples),
            requests: rate(reading.requests, before.requests),
            // Of one that began to count meanwhile all is of this time.
            bytes: reading.bytes.map(|(received, sent)| {
                let (received_before, sent_before) = before.bytes.unwrap_or_default();
                (rate(received, received_before), rate(sent, sent_before))
            }),
            round_trips: reading.round_trips.since(&before.round_trips),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(samples: u64, bytes: Option<(u64, u64)>) -> Reading {
        Reading {
            samples,
            requests: samples / 10,
            bytes,
            ..Reading::default()
        }
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let mut looks = Looks::default();
        let second = Duration::from_secs;
        assert_eq!(looks.flow(second(0), &reading(0, None)), None);
        looks.note(second(0), reading(0, None));
        assert_eq!(
            looks.flow(second(0), &reading(0, None)),
            None,
            "no time has passed"
        );
        let flow = looks
            .flow(second(2), &reading(100, Some((200, 40))))
            .expect("it is told");
        assert_eq!((flow.over, flow.samples, flow.requests), (second(2), 50.0, 5.0));
        assert_eq!(flow.bytes, Some((100.0, 20.0)));
        // It flows for a minute, and then no more.
        for now in 1..=60 {
            looks.note(second(now), reading(now * 10, None));
        }
        let flow = looks.flow(second(60), &reading(600, None)).expect("it is told");
        assert_eq!((flow.over, flow.samples, flow.bytes), (second(10), 10.0, None));
        for now in 61..=80 {
            looks.note(second(now), reading(600, None));
        }
        let flow = looks.flow(second(80), &reading(600, None)).expect("it is told");
        assert_eq!((flow.over, flow.samples), (second(10), 0.0));
    }
}
