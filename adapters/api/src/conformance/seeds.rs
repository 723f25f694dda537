//! What tests with random input are tried with.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;

/// Runs one of so many `tests` with so many seeds, always the same ones; `FUZZ_SECONDS` adds others for so long, shared among the tests. The one that fails is named.
pub fn with_seeds(count: u64, tests: u32, mut test: impl FnMut(&mut Rng)) {
    let others = std::env::var("FUZZ_SECONDS").ok().map(|seconds| {
        let seconds = Duration::from_secs(seconds.parse().expect("seconds")) / tests;
        let until = Instant::now() + seconds;
        let first = fastrand::u64(count..u64::MAX / 2);
        (first..).take_while(move |_| Instant::now() < until)
    });
    for seed in (0..count).chain(others.into_iter().flatten()) {
        let tried = catch_unwind(AssertUnwindSafe(|| test(&mut Rng::with_seed(seed))));
        assert!(tried.is_ok(), "the seed was {seed}");
    }
}
