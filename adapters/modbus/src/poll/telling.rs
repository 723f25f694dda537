//! What the gateway is told of a source and its units.

use floorgate_adapter_api::{Attempt, Batch, Closed, Continuity, GapScope, Notice, Reason, Sample};
use floorgate_sample::{TagId, Timestamp};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Asked, Cycle, Poller, Presence};
use crate::group::Group;
use crate::unit::Unit;

impl Poller {
    /// What was heard of a unit, and the failure that it ended with: told to the gateway where it is news.
    pub(super) async fn conclude(
        &mut self,
        unit: u8,
        cycle: Cycle,
        failure: Option<Asked>,
    ) -> Result<(), Closed> {
        if let Some(failure) = failure {
            self.note(unit, &failure);
        }
        let refused: usize = self.groups.iter().map(Group::refused_count).sum();
        self.context
            .metrics
            .failed_tags
            .set(i64::try_from(refused).unwrap_or(i64::MAX));
        let retry = self.groups.iter().filter_map(Group::next_retry).min();
        self.context.metrics.retry(retry.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Attempt::within(left, self.settings.retry_refused)
        }));
        // A unit that is never polled says nothing of itself.
        let counts = |unit: &&Unit| self.groups.is_empty() || self.is_polled(unit.id);
        let lost = self.units.iter().filter(counts).all(Unit::is_down);
        let before = self.presence;
        self.deliver(unit, cycle, lost).await?;
        if lost {
            let reason = self.unit(unit).and_then(|unit| unit.trouble.as_ref());
            let reason = reason.map(|trouble| trouble.reason.clone());
            let mut reason = reason.unwrap_or(Reason::new("", "modbus-no-answer"));
            if self.settings.backup.is_some() || self.link.endpoint().is_unproven() {
                reason.told = format!("{}: {reason}", self.link.endpoint()).into();
            }
            if self.settings.backup.is_some() {
                // Somebody is there who does not answer: the other way may lead further.
                self.link.turn_away().await;
            }
            self.lose(reason).await?;
        }
        if self.presence == before && before == Presence::Online {
            self.show(unit);
        } else {
            self.show_all();
        }
        Ok(())
    }

    /// Sends what a poll has brought.
    async fn deliver(&mut self, unit: u8, cycle: Cycle, lost: bool) -> Result<(), Closed> {
        let Cycle {
            mut samples,
            missed,
            missed_why,
            answered,
            gap,
            ..
        } = cycle;
        if self.presence != Presence::Online && (lost || !answered) {
            // What was read of a source that is away, or never was there, is told when it is there. What is of a unit in trouble
            // is read again when that may be tried.
            let now = Instant::now();
            let is_sound = |unit: u8| {
                self.units
                    .iter()
                    .any(|known| known.id == unit && known.trouble.is_none())
            };
            for group in &mut self.groups {
                group.forget();
                if !is_sound(group.unit) {
                    group.hasten(now);
                }
            }
            return Ok(());
        }
        let mut notices = Vec::new();
        if answered && !lost && self.presence != Presence::Online {
            if self.presence == Presence::Offline {
                self.context.metrics.gaps.inc();
            }
            info!(source = self.context.name, at = %self.link.endpoint(), "the source is online");
            if self.link.endpoint().is_unproven() {
                self.context.metrics.connects.inc();
            }
            self.trials.forget();
            self.presence = Presence::Online;
            self.said.clear();
            self.context.metrics.up.set(1);
            self.gap = None;
            notices.push(Notice::Online(Continuity::New));
            for group in &mut self.groups {
                group.retell_refused(Instant::now(), &mut samples);
            }
        } else if answered {
            self.tell_gaps(missed, missed_why, &mut notices);
        }
        if self.presence == Presence::Online && !lost {
            for known in &self.units {
                let newly_bad = known.id == unit || !notices.is_empty();
                if let Some(trouble) = known.trouble.as_ref().filter(|trouble| trouble.told && newly_bad) {
                    let own = self.groups.iter_mut().filter(|group| group.unit == known.id);
                    own.for_each(|group| group.fail(trouble.quality, &mut samples));
                }
            }
        }
        if !notices.is_empty() || !samples.is_empty() {
            self.send(notices, samples).await?;
        }
        // What was read in this poll was read before.
        self.gap = gap.or(self.gap.take());
        Ok(())
    }

    fn tell_gaps(&mut self, mut missed: Vec<TagId>, missed_why: Reason, notices: &mut Vec<Notice>) {
        if let Some(reason) = self.gap.take() {
            self.context.metrics.gaps.inc();
            notices.push(Notice::Gap {
                scope: GapScope::Source,
                reason,
            });
        } else if !missed.is_empty() {
            missed.sort_unstable();
            missed.dedup();
            self.context.metrics.gaps.inc();
            notices.push(Notice::Gap {
                scope: GapScope::Tags(missed),
                reason: missed_why,
            });
        }
    }

    /// Says once that the source is lost, and in the log what else keeps it away then, each kind of it once.
    pub(super) async fn lose(&mut self, reason: Reason) -> Result<(), Closed> {
        let is_new = !self.said.contains(&reason.see);
        if is_new {
            self.said.push(reason.see.clone());
        }
        if self.presence == Presence::Offline {
            if is_new {
                warn!(
                    source = self.context.name,
                    see = reason.see.as_deref(),
                    "the source stays offline: {reason}"
                );
            }
            self.loss = Some(reason);
            return Ok(());
        }
        warn!(
            source = self.context.name,
            see = reason.see.as_deref(),
            "the source is offline: {reason}"
        );
        self.presence = Presence::Offline;
        self.context.metrics.up.set(0);
        self.loss = Some(reason.clone());
        let now = Instant::now();
        self.units.iter_mut().for_each(|unit| unit.is_heard = false);
        for group in &mut self.groups {
            group.forget();
            group.hasten(now);
        }
        self.send(vec![Notice::Offline { reason }], Vec::new()).await
    }

    /// Hands a batch over. While the gateway has no room nothing is read, and what happens meanwhile may be missed.
    async fn send(&mut self, notices: Vec<Notice>, samples: Vec<Sample>) -> Result<(), Closed> {
        self.context.metrics.samples.inc_by(samples.len() as u64);
        let batch = Batch {
            source: self.context.intake.source(),
            received: Timestamp::now(),
            notices,
            samples,
            bookmarks: Vec::new(),
            answer: None,
            receipt: None,
        };
        let offered = Instant::now();
        self.context.intake.send(batch).await?;
        let waited = offered.elapsed();
        if self.presence == Presence::Online && self.groups.iter().any(|group| waited > 2 * group.every()) {
            let why = format!("the gateway took no samples for {waited:.1?}");
            self.gap = Some(Reason::new(why, "modbus-polls-missed"));
        }
        Ok(())
    }
}
