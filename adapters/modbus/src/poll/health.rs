//! What is known of a unit by its answers: that it is there, or that it is left alone for a while.

use std::time::Duration;

use floorgate_sample::{Quality, Reason};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Asked, Cycle, Poller, Presence};
use crate::group::Group;
use crate::link::Failure;
use crate::unit::{Patience, Reaction, reaction};

impl Poller {
    /// The unit has answered.
    pub(super) fn heard(&mut self, unit: u8, cycle: &mut Cycle) {
        cycle.answered = true;
        cycle.is_there = true;
        let Some(known) = self.unit_mut(unit) else {
            return;
        };
        known.last_answer = Some(Instant::now());
        known.is_heard = true;
        if let Some(trouble) = known.trouble.take() {
            cycle.is_back = true;
            info!(source = self.context.name, unit, "the unit answers again");
            let tags = self
                .groups
                .iter()
                .filter(|group| group.unit == unit)
                .flat_map(Group::tags);
            cycle.miss(tags, &trouble.reason);
        }
    }

    /// A failure with what was asked.
    pub(super) fn told(&self, unit: u8, (failure, table, extent): &Asked) -> String {
        let first = extent.start + u32::from(self.settings.base);
        let last = first + extent.len - 1;
        format!("unit {unit}, {} {first} to {last}: {failure}", table.name())
    }

    /// The unit has not answered: it is left alone for a while. What broke the link is no reason to leave the other
    /// units alone; the connection is made anew for the next of them.
    pub(super) fn note(&mut self, unit: u8, asked: &Asked) {
        self.made_anew(unit, asked);
        self.blame(unit, asked);
    }

    /// Where a failure ended the connection, changes may be missed until there is another.
    pub(super) fn made_anew(&mut self, unit: u8, asked: &Asked) {
        if let Some(reason) = self.broken(unit, asked) {
            self.gap = Some(reason);
        }
    }

    /// Why changes may be missed until there is another connection, where a failure ended this one.
    pub(super) fn broken(&self, unit: u8, asked: &Asked) -> Option<Reason> {
        let is_broken = !self.link.is_open() && self.presence == Presence::Online;
        is_broken.then(|| {
            let reason = self.told(unit, asked);
            Reason::new(format!("the connection was made anew: {reason}"), asked.0.see())
        })
    }

    /// Leaves a unit alone for a while.
    pub(super) fn blame(&mut self, unit: u8, asked: &Asked) {
        let failure = &asked.0;
        let reason = Reason::new(self.told(unit, asked), failure.see());
        let late = self.late_within();
        let retries = Patience::Retries(self.settings.retries);
        let (quality, patience, least) = match failure {
            Failure::Exception(exception) => match reaction(*exception) {
                Reaction::Busy(quality) | Reaction::Failing(quality) => {
                    (quality, Patience::Lasting(self.settings.timeout), Duration::ZERO)
                }
                Reaction::Unreachable(quality) | Reaction::Refused { quality, .. } => {
                    (quality, Patience::Retries(0), Duration::ZERO)
                }
            },
            Failure::Timeout(_) => (Quality::BAD_TIMEOUT, retries, late),
            Failure::Protocol(_) | Failure::Transport(_) => (Quality::BAD_COMMUNICATION_ERROR, retries, late),
        };
        let longest = self.settings.backoff_max;
        let source = self.context.name.clone();
        let now = Instant::now();
        if let Some(known) = self.unit_mut(unit) {
            let is_new = known.trouble.is_none();
            known.failed(now, (quality, reason), patience, least, longest);
            if let Some(trouble) = known.trouble.as_ref().filter(|_| is_new) {
                let pause = trouble.next_try.saturating_duration_since(now).as_secs_f64();
                warn!(
                    source,
                    unit,
                    see = failure.see(),
                    "the unit is left alone for {pause:.1} s, and longer each time, up to {:.1} s: {}",
                    longest.as_secs_f64(),
                    trouble.reason
                );
            }
            if let Some(trouble) = &mut known.trouble {
                trouble.costs_link = !matches!(failure, Failure::Exception(_));
            }
        }
    }
}
