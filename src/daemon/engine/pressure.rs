//! How full the outbox is of what Kafka has not taken, and what is left out for it.

use floorgate_core::plan::Priority;
use floorgate_outbox::Stats;
use tracing::{info, warn};

use super::Running;

/// The share of the room that waiting events may have before changes of low priority make no events.
const LOW_UNTIL: f64 = 0.8;
/// The same for normal priority.
const NORMAL_UNTIL: f64 = 0.9;
/// By how much the share has to fall before more is made again.
const EASE: f64 = 0.05;

/// The share of what the store has and can have that its waiting events take up. Delivered ones are room: they are deleted when it is
/// needed.
fn share(stats: &Stats) -> f64 {
    let waiting = stats.used_bytes as f64 * stats.depth as f64 / stats.events.max(1) as f64;
    waiting / (stats.used_bytes + stats.room_bytes).max(1) as f64
}

/// Below which priority nothing is made, at a share and after what was left out before.
fn least(share: f64, before: Option<Priority>) -> Option<Priority> {
    let limit = |until: f64, least| {
        if before >= Some(least) {
            until - EASE
        } else {
            until
        }
    };
    if share >= limit(NORMAL_UNTIL, Priority::High) {
        Some(Priority::High)
    } else if share >= limit(LOW_UNTIL, Priority::Normal) {
        Some(Priority::Normal)
    } else {
        None
    }
}

impl Running {
    /// Leaves out what the store has no room for, says so, and counts it.
    pub(super) fn leave_out(&mut self, stats: &Stats) {
        let shed = self.engine.core.take_shed();
        for (priority, count) in [("low", shed.low), ("normal", shed.normal)] {
            self.engine
                .metrics
                .shed
                .with_label_values(&[priority])
                .inc_by(count);
        }
        let share = share(stats);
        let before = self.engine.pulse.left_out();
        let least = least(share, before);
        if least == before {
            return;
        }
        let percent = (share * 100.0).round();
        match least {
            Some(Priority::High) => warn!(
                percent,
                see = "gateway-outbox-full",
                "the outbox is nearly full of waiting events: only changes of high priority make events"
            ),
            Some(_) => warn!(
                percent,
                see = "gateway-outbox-full",
                "the outbox is nearly full of waiting events: changes of low priority make no events"
            ),
            None => info!(
                percent,
                "the outbox has room again: all changes make events, and what was left out is made up for"
            ),
        }
        let now = self.now();
        self.taps.each(|tap| tap.leave_out_below(least, now));
        self.engine.core.leave_out_below(least);
        self.engine.pulse.set_left_out(least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_goes_first_and_comes_last() {
        let mut before = None;
        for (share, expected) in [
            (0.79, None),
            (0.8, Some(Priority::Normal)),
            (0.76, Some(Priority::Normal)),
            (0.9, Some(Priority::High)),
            (0.86, Some(Priority::High)),
            (0.84, Some(Priority::Normal)),
            (0.74, None),
            (0.95, Some(Priority::High)),
            (0.5, None),
        ] {
            before = least(share, before);
            assert_eq!(before, expected, "{share}");
        }
    }

    #[test]
    fn what_is_delivered_is_room() {
        let stats = |depth, events, used_bytes, room_bytes| Stats {
            depth,
            events,
            used_bytes,
            room_bytes,
            ..Stats::default()
        };
        assert!(share(&stats(0, 1000, 100, 0)).abs() < 1e-9);
        assert!((share(&stats(500, 1000, 100, 0)) - 0.5).abs() < 1e-9);
        assert!((share(&stats(1000, 1000, 90, 10)) - 0.9).abs() < 1e-9);
        assert!(share(&stats(0, 0, 0, 0)).abs() < 1e-9);
    }
}
