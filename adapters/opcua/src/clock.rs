//! By how much a server's clock differs from the gateway's. Times are told as they came, whichever of both is wrong.

use std::time::Duration;

use floorgate_adapter_api::Timestamp;
use opcua::types::{DataValue, Variant};

use crate::value::time_of;

/// In seconds, the difference from which on it is warned about.
pub const MOST: f64 = 5.0;
/// A difference below this one is none: some servers set their time only once a second, and one that is just at the limit is not told again and again.
pub const WELL: f64 = 4.0;

/// What is known of the clock of a server.
#[derive(Debug, Default)]
pub struct Clock {
    is_off: bool,
}

impl Clock {
    /// Takes what the server answered to the question for its time, when that was asked, and how long the answer took. Says it once when the clocks
    /// differ. Gives the seconds by which the server's is ahead; `None` where it does not tell.
    pub fn take(
        &mut self,
        source: &str,
        told: Option<&DataValue>,
        asked: Timestamp,
        took: Duration,
    ) -> Option<f64> {
        let Some(Variant::DateTime(time)) = told?.value.as_ref() else {
            return None;
        };
        let half = took.as_secs_f64() / 2.0;
        let ahead = seconds(time_of(Some(**time), None)?) - seconds(asked) - half;
        let (off, side) = (ahead.abs(), if ahead < 0.0 { "behind" } else { "ahead of" });
        // It looked at its clock at some time between question and answer.
        if !self.is_off && off - half > MOST {
            self.is_off = true;
            tracing::warn!(
                source,
                see = "opcua-clock-differs",
                "the server's clock is {off:.1} s {side} the gateway's: the times of values are told as the server has them"
            );
        } else if self.is_off && off + half < WELL {
            self.is_off = false;
            tracing::info!(
                source,
                "the server's clock is right again: it is {off:.1} s {side} the gateway's"
            );
        }
        Some(ahead)
    }
}

#[allow(clippy::cast_precision_loss)] // a microsecond is enough
fn seconds(time: Timestamp) -> f64 {
    time.as_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use opcua::types::DateTime;

    use super::*;

    const ASKED: i64 = 1_800_000_000_000_000_000;

    /// What the server answers whose clock, in seconds, is ahead by so much when it is asked.
    fn told(ahead: f64) -> DataValue {
        #[allow(clippy::cast_possible_truncation)]
        let nanos = ASKED + (ahead * 1e9) as i64;
        DataValue::value_only(DateTime::from(nanos / 100 + 116_444_736_000_000_000))
    }

    fn take(clock: &mut Clock, told: Option<&DataValue>, took: f64) -> Option<f64> {
        let ahead = clock.take(
            "plc",
            told,
            Timestamp::from_nanos(ASKED),
            Duration::from_secs_f64(took),
        )?;
        Some((ahead * 1e3).round() / 1e3)
    }

    #[test]
    fn half_of_the_way_is_no_difference() {
        let mut clock = Clock::default();
        assert_eq!(take(&mut clock, Some(&told(0.25)), 0.5), Some(0.0));
        assert_eq!(take(&mut clock, Some(&told(-60.0)), 0.5), Some(-60.25));
        assert!(clock.is_off);
        assert_eq!(take(&mut clock, Some(&told(90.0)), 0.0), Some(90.0));
    }

    #[test]
    fn what_may_be_the_way_is_not_warned_about() {
        let mut clock = Clock::default();
        for (ahead, took, is_off) in [
            (4.9, 0.0, false),
            // Between 0 and 8 s.
            (8.0, 8.0, false),
            (5.1, 0.0, true),
            (4.1, 0.0, true),
            (3.5, 2.0, false),
            (-5.1, 0.0, true),
            (-3.0, 4.0, true),
            (-3.9, 0.0, false),
        ] {
            take(&mut clock, Some(&told(ahead)), took);
            assert_eq!(clock.is_off, is_off, "{ahead} s after {took} s");
        }
    }

    #[test]
    fn no_time_is_no_difference() {
        let mut clock = Clock::default();
        let never = DataValue::value_only(DateTime::null());
        let number = DataValue::value_only(7_i64);
        for told in [None, Some(&DataValue::null()), Some(&never), Some(&number)] {
            assert_eq!(take(&mut clock, told, 0.0), None, "{told:?}");
        }
        assert!(!clock.is_off);
    }
}
