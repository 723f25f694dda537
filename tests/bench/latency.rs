//! Latencies, and the middle of several runs.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies up to ten minutes, in microseconds with three digits.
#[derive(Debug)]
pub struct Latency(Histogram<u64>);

/// What a histogram tells, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub count: u64,
    /// The middle.
    pub p50: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// 99.9 % are at most this.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

const LONGEST_MICROS: u64 = 600_000_000;

impl Default for Latency {
    fn default() -> Self {
        match Histogram::new_with_bounds(1, LONGEST_MICROS, 3) {
            Ok(histogram) => Self(histogram),
            Err(error) => unreachable!("the bounds are constants that hdrhistogram allows: {error}"),
        }
    }
}

impl Latency {
    /// Enters a latency in microseconds.
    pub fn record(&mut self, micros: i64) {
        self.0
            .saturating_record(u64::try_from(micros).unwrap_or(0).max(1));
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What it tells.
    pub fn summary(&self) -> Summary {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Summary {
            count: self.0.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / 1e3,
        }
    }
}

/// The middle value; the mean of the two in the middle where their number is even. `None` of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let above = values.get(values.len() / 2)?;
    let below = values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(*below, *above))
}

#[cfg(test)]
mod tests {
    use super::{Latency, median};

    #[test]
    fn quantiles_are_told_in_milliseconds() {
        let mut latency = Latency::default();
        for micros in 1..=10_000 {
            latency.record(micros * 10);
        }
        let summary = latency.summary();
        let near = |value: f64, expected: f64| (value - expected).abs() <= expected * 0.001;
        assert!(near(summary.p50, 50.0), "{summary:?}");
        assert!(near(summary.p99, 99.0), "{summary:?}");
        assert!(near(summary.p999, 99.9), "{summary:?}");
        assert!(near(summary.max, 100.0), "{summary:?}");
        assert_eq!(summary.count, 10_000);
    }

    #[test]
    fn what_is_beyond_the_range_is_held_at_its_ends() {
        let mut latency = Latency::default();
        latency.record(-5);
        latency.record(i64::MAX);
        let summary = latency.summary();
        assert!(summary.p50 <= 0.001 && summary.max >= 600_000.0, "{summary:?}");
    }

    #[test]
    fn one_bad_run_does_not_move_the_median() {
        assert_eq!(median([3.0, 1.0, 1000.0, 2.0, 2.5]), Some(2.5));
        assert_eq!(median([1.0, 4.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
