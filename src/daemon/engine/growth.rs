//! When the store will be full, should it go on to grow as it does. No clock here.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back growth is looked at: long enough that a burst is no forecast.
const WINDOW: Duration = Duration::from_mins(5);
/// Measures are kept this far apart.
const STEP: Duration = Duration::from_secs(5);

/// What the store measured lately.
#[derive(Debug, Default)]
pub struct Growth {
    /// Time since the start, and bytes in use.
    measures: VecDeque<(Duration, u64)>,
}

impl Growth {
    /// Notes a measure.
    pub fn note(&mut self, at: Duration, used: u64) {
        if self.measures.back().is_some_and(|(last, _)| at < *last + STEP) {
            return;
        }
        self.measures.push_back((at, used));
        while self
            .measures
            .front()
            .is_some_and(|(first, _)| at > *first + WINDOW)
        {
            self.measures.pop_front();
        }
    }

    /// Hours until so many bytes more are used; infinite while the store does not grow.
    pub fn hours_until(&self, room: u64) -> f64 {
        let (Some((first, before)), Some((last, now))) = (self.measures.front(), self.measures.back()) else {
            return f64::INFINITY;
        };
        let grown = now.saturating_sub(*before);
        if grown == 0 {
            return f64::INFINITY;
        }
        #[allow(clippy::cast_precision_loss)] // a forecast
        let rounds = room as f64 / grown as f64;
        rounds * last.saturating_sub(*first).as_secs_f64() / 3600.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_of_the_last_minutes_is_carried_on() {
        let mut growth = Growth::default();
        assert!(growth.hours_until(10).is_infinite());
        for second in 0..1000 {
            growth.note(Duration::from_secs(second), 5000 + second * 100);
        }
        let hours = growth.hours_until(100 * 3600);
        assert!((hours - 1.0).abs() < 1e-9, "{hours}");
        assert!(growth.measures.len() <= 61, "{}", growth.measures.len());
        // What is deleted is used again: nothing grows.
        for second in 1000..1400 {
            growth.note(Duration::from_secs(second), 50_000);
        }
        assert!(growth.hours_until(1).is_infinite());
        assert!(growth.hours_until(0).is_infinite());
    }
}
