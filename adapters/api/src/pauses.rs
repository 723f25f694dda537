//! How long to wait before something that failed is tried again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Growing pauses, for ever.
#[derive(Debug)]
pub struct Pauses(ExponentialBackoff);

/// Pauses that double from the first one on, each lengthened by chance by up to itself; none is longer than `longest`.
#[must_use]
pub fn pauses(first: Duration, longest: Duration) -> Pauses {
    // The chance adds up to the pause itself, so that half of the longest is the base of the last one.
    let last = longest / 2;
    let growing = ExponentialBuilder::new()
        .with_min_delay(first.min(last))
        .with_max_delay(last)
        .without_max_times()
        .with_jitter()
        // Without a seed every source of every gateway would pause alike, and all would come back at once.
        .with_jitter_seed(RandomState::new().build_hasher().finish());
    Pauses(growing.build())
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_chance_from_the_first_to_the_longest() {
        for first in [Duration::from_millis(50), Duration::from_millis(500)] {
            let own = || pauses(first, Duration::from_secs(15)).take(4).collect::<Vec<_>>();
            let (some, others) = (own(), own());
            assert_ne!(some, others, "no two sources pause alike");
            for (pause, base) in some.iter().zip([1, 2, 4, 8].map(|times| first * times)) {
                assert!(*pause >= base && *pause <= 2 * base, "{some:?}");
            }
            for longest in [60, 500, 1_000, 15_000].map(Duration::from_millis) {
                let many = (0..100).flat_map(|_| pauses(first, longest).take(14));
                let most = many.max().unwrap_or_default();
                assert!(most <= longest, "{most:?}");
                // The jitter stays where the pauses do not grow any more.
                assert!(most > longest * 3 / 4, "{most:?}");
            }
        }
    }
}
