//! The model's own source of chance: small, seeded, and the same on every machine.

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). A seed fixes the whole run, so
/// that a failing test can be run again; quality for secrets is neither needed nor given.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Evenly distributed in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly distributed in `low..high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Evenly distributed over the whole numbers from `low` up to but not including `high`.
    pub(crate) fn whole(&mut self, low: u32, high: u32) -> u32 {
        let width = u64::from(high.saturating_sub(low)).max(1);
        low + u32::try_from(self.next() % width).unwrap_or(0)
    }

    /// Bell-shaped around zero with a standard deviation of one: the sum of twelve even draws less six.
    pub(crate) fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// Exponentially distributed: the waiting time of events that come on average every `mean`.
    pub(crate) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn draws_stay_in_range_and_repeat_with_the_seed() {
        let (mut one, mut two) = (Random::new(7), Random::new(7));
        for _ in 0..10_000 {
            let drawn = one.between(2.0, 3.0);
            assert!((2.0..3.0).contains(&drawn), "{drawn}");
            assert_eq!(drawn.to_bits(), two.between(2.0, 3.0).to_bits());
            assert!(one.wait(5.0).is_finite() && two.wait(5.0) >= 0.0);
        }
    }

    #[test]
    fn noise_is_centred() {
        let mut random = Random::new(1);
        let mean = (0..10_000).map(|_| random.noise()).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
    }
}
