//! How often server and subscriptions are to be heard, and when one that is silent is given up: within twice `keep_alive`.

use std::time::{Duration, Instant};

use crate::subscription::Subscription;

/// How late the sign of life may be that a silent subscription is given up for.
const LATENESS: Duration = Duration::from_millis(250);
/// How long subscriptions are not looked at while others have much to say.
pub const CHECK: Duration = Duration::from_millis(250);

/// The fewest publishing intervals between two signs of life. Of one alone some servers give none: Eclipse Milo counts the interval in which it falls silent, and
/// waits for the count to be one afterwards.
pub const FEWEST: u32 = 2;

/// Every how long a sign of life is asked for: four fifths of `keep_alive`, so that one may be late, or not come, before twice `keep_alive` is over.
pub fn interval(keep_alive: Duration) -> Duration {
    keep_alive * 4 / 5
}

/// Publishing intervals between two signs of life of a subscription: as many as fit into the interval at which they are to come, and at least [`FEWEST`].
pub fn signs_of_life(keep_alive: Duration, publishing: Duration) -> u32 {
    whole(interval(keep_alive).as_secs_f64() / publishing.as_secs_f64()).max(FEWEST)
}

/// Whole publishing intervals, at least one.
pub fn whole(periods: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to the type's range
    let whole = periods.clamp(1.0, f64::from(u32::MAX / 4)) as u32;
    whole
}

/// How long a subscription may be silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// After so long it is to have given a sign of life.
    due: Duration,
    /// After so long it is given up.
    most: Duration,
}

impl Patience {
    /// With one that gives signs of life so often. One may be late, or not come: servers count publishing intervals, and one that is loaded takes twice as long
    /// for each; to be given up sooner would be a gap where nothing was missed.
    pub fn with(sign_of_life: Duration, keep_alive: Duration) -> Self {
        let allowed = (keep_alive * 2).saturating_sub(CHECK + LATENESS);
        Self {
            due: sign_of_life,
            most: (sign_of_life * 2 + LATENESS).max(allowed),
        }
    }

    /// For so long, where it is not known how often it gives signs of life.
    pub fn of(most: Duration) -> Self {
        Self { due: most / 2, most }
    }

    /// After so long it is given up.
    pub fn most(self) -> Duration {
        self.most
    }
}

impl Subscription {
    /// Whether it is to be given up by now. Where nothing was answered since it is due, and a little late, it is the connection that is lost, and not a subscription.
    pub fn is_silent(&self, answered: Option<Instant>, now: Instant) -> bool {
        let is_alone =
            answered.is_some_and(|answered| answered > self.heard + self.patience.due + LATENESS / 2);
        is_alone && now.saturating_duration_since(self.heard) > self.patience.most
    }

    /// When it will be, unless it is heard.
    pub fn is_silent_at(&self) -> Instant {
        self.heard + self.patience.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::tests::subscription;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// How long after its last sign of life a subscription is given up by a server that answers each look within `round_trip`, the first one `first` after that
    /// sign.
    fn noticed(
        keep_alive: Duration,
        publishing: Duration,
        round_trip: Duration,
        first: Duration,
    ) -> Duration {
        let mut silent = subscription();
        let sign = publishing * signs_of_life(keep_alive, publishing);
        silent.patience = Patience::with(sign, keep_alive);
        let mut answered = silent.heard + first;
        let mut now = silent.heard;
        while !silent.is_silent(Some(answered), now) {
            now += CHECK;
            while answered + interval(keep_alive) + round_trip <= now {
                answered += interval(keep_alive) + round_trip;
            }
        }
        now - silent.heard
    }

    #[test]
    fn a_silent_subscription_is_noticed_within_twice_the_keep_alive() {
        for keep_alive in [1_250, 2_000, 5_000, 60_000].map(millis) {
            for publishing in [10, 50, 200, 333, 1_000].map(millis) {
                for first in 0..20 {
                    let first = keep_alive * first / 20;
                    let noticed = noticed(keep_alive, publishing, millis(200), first);
                    let slow = publishing * FEWEST * 2 + LATENESS + CHECK;
                    assert!(
                        noticed <= slow.max(keep_alive * 2),
                        "{keep_alive:?}, {publishing:?}, {first:?}: {noticed:?}"
                    );
                }
            }
        }
        let slow = noticed(millis(300), millis(400), millis(10), millis(100));
        assert!(
            slow <= millis(400) * FEWEST * 2 + LATENESS + CHECK,
            "twice its sign of life: {slow:?}"
        );
    }

    #[test]
    fn one_sign_of_life_may_not_come_and_the_next_be_late() {
        for publishing in [10, 400, 900, 1_000, 1_600, 5_000].map(millis) {
            let sign = publishing * signs_of_life(millis(2_000), publishing);
            let patience = Patience::with(sign, millis(2_000)).most();
            assert!(
                patience >= sign * 2 + LATENESS && patience >= millis(3_500),
                "{publishing:?}: {patience:?}"
            );
        }
        assert_eq!(
            signs_of_life(millis(300), millis(400)),
            FEWEST,
            "never more often"
        );
    }

    #[test]
    fn where_nothing_is_answered_it_is_not_the_subscription() {
        let mut silent = subscription();
        silent.patience = Patience::with(millis(1_600), millis(2_000));
        let late = silent.heard + millis(10_000);
        assert!(!silent.is_silent(None, late));
        assert!(!silent.is_silent(Some(silent.heard + millis(1_725)), late));
        assert!(silent.is_silent(Some(silent.heard + millis(1_726)), late));
    }
}
