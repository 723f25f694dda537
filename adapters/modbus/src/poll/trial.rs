//! A unit that does not answer costs the link a time-out whenever it is tried. Where the device takes a second connection, it is
//! tried on that one, beside the polls of the others.

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Poller, Presence};
use crate::address::Table;
use crate::group::Group;
use crate::link::{Failure, Link};
use crate::planner::Extent;
use crate::unit::{Reaction, Trouble, Unit, reaction};

/// A question to a unit.
type Question = (u8, Table, Extent);
/// A question, and the group that it is of.
pub(super) type Placed = (usize, Question);

/// How a trial ended.
#[derive(Debug)]
pub(super) enum Tried {
    /// The unit answers.
    Answers,
    /// It does not.
    Fails(Failure),
    /// There is no second connection, or nobody serves it.
    Alone(String),
}

/// The trial that is under way, at most one.
#[derive(Default)]
pub(super) struct Trials {
    /// The device has turned a second connection down: there is none until then.
    alone_until: Option<Instant>,
    under_way: JoinSet<(Placed, Tried)>,
}

impl Trials {
    /// The device is there again: it may take a second connection now.
    pub(super) fn forget(&mut self) {
        self.alone_until = None;
    }

    /// Whether there was no second connection when it was tried last, which may have been for a moment only.
    fn is_alone(&self) -> bool {
        self.alone_until.is_some_and(|until| until > Instant::now())
    }

    /// Waits for the end of the trial that is under way; for ever where there is none.
    pub(super) async fn ended(&mut self) -> (Placed, Tried) {
        loop {
            match self.under_way.join_next().await {
                Some(Ok(ended)) => return ended,
                // A trial that panicked told nothing; the unit is tried again.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl Poller {
    /// Whether a unit is tried on a connection of its own, and is left out of the polls until it answers there.
    pub(super) fn is_tried_aside(&self, unit: u8) -> bool {
        let costs = |trouble: &Trouble| trouble.told && trouble.costs_link;
        self.settings.second_connection
            && !self.settings.endpoint.is_serial()
            && !self.trials.is_alone()
            && self.presence == Presence::Online
            // What is only read on demand is tried by the next request for it.
            && self.is_polled(unit)
            && self
                .unit(unit)
                .and_then(|unit| unit.trouble.as_ref())
                .is_some_and(costs)
    }

    /// When the next unit is to be tried, where none is being tried.
    pub(super) fn trial_due(&self) -> Option<Instant> {
        if !self.trials.under_way.is_empty() {
            return None;
        }
        let next_try = |unit: &Unit| unit.trouble.as_ref().map(|trouble| trouble.next_try);
        let aside = self.units.iter().filter(|unit| self.is_tried_aside(unit.id));
        aside.filter_map(next_try).min()
    }

    /// Begins to try the unit that is due. That a second connection is served is seen by asking a unit that answers.
    pub(super) fn begin_trial(&mut self) {
        let now = Instant::now();
        let is_due = |unit: &&Unit| {
            unit.trouble
                .as_ref()
                .is_some_and(|trouble| trouble.next_try <= now)
        };
        let aside = self.units.iter().filter(|unit| self.is_tried_aside(unit.id));
        let waits_longest = |unit: &&Unit| unit.trouble.as_ref().map(|trouble| trouble.next_try);
        let Some(unit) = aside.filter(is_due).min_by_key(waits_longest).map(|unit| unit.id) else {
            return;
        };
        let sound = || self.groups.iter().filter(|group| self.is_sound(group.unit));
        let control = sound().find_map(|group| {
            let (table, extent) = group.sound()?;
            Some((group.unit, table, extent))
        });
        // A refusal shows it as well.
        let control = control.or_else(|| {
            sound().find_map(|group| {
                let (table, extent) = group.refused_by_name()?;
                Some((group.unit, table, extent))
            })
        });
        if control.is_none() && sound().any(Group::has_requests) {
            // Those that are there are just being asked what they are silent over: it is known soon.
            let pause = self.settings.timeout;
            if let Some(trouble) = self.unit_mut(unit).and_then(|unit| unit.trouble.as_mut()) {
                trouble.wait(now, pause);
            }
            self.show(unit);
            return;
        }
        let question = self.question(unit);
        let (Some(control), Some((group, table, extent))) = (control, question) else {
            self.stay_alone();
            return;
        };
        debug!(
            source = self.context.name,
            unit, "the unit is tried on a second connection"
        );
        let link = self.link.another();
        let question = (unit, table, extent);
        self.trials
            .under_way
            .spawn(async move { ((group, question), attempt(link, control, question).await) });
    }

    /// There is no second connection for a while.
    fn stay_alone(&mut self) {
        self.trials.alone_until = Some(Instant::now() + self.settings.retry_refused);
    }

    /// What a trial has brought.
    pub(super) fn conclude_trial(&mut self, ((group, question), tried): (Placed, Tried)) {
        let (unit, table, extent) = question;
        if !matches!(tried, Tried::Alone(_)) {
            self.trials.forget();
        }
        match tried {
            Tried::Answers => {
                if let Some(trouble) = self.unit_mut(unit).and_then(|unit| unit.trouble.as_mut()) {
                    trouble.next_try = Instant::now();
                    trouble.costs_link = false;
                }
            }
            Tried::Fails(failure) => {
                self.context.metrics.requests.inc();
                self.count(&failure);
                let asked = (failure, table, extent);
                // It may have answered a request on the first connection meanwhile.
                if !self.is_sound(unit) {
                    self.question_failed(unit, group, &asked);
                    self.blame(unit, &asked);
                }
            }
            Tried::Alone(reason) => {
                if self.trials.alone_until.is_none() {
                    info!(
                        source = self.context.name,
                        see = "modbus-second-connection",
                        "the device takes no second connection, so that units that do not answer are tried between the polls of \
                         the others: {reason}"
                    );
                }
                self.stay_alone();
            }
        }
        self.show(unit);
    }
}

async fn attempt(mut link: Link, control: Question, question: Question) -> Tried {
    if let Err(reason) = link.open().await {
        return Tried::Alone(reason.to_string());
    }
    let (unit, table, extent) = control;
    match link.read(unit, table, extent).await {
        Ok(_) | Err(Failure::Exception(_)) => {}
        Err(failure) => return Tried::Alone(failure.to_string()),
    }
    let (unit, table, extent) = question;
    let answer = link.read(unit, table, extent).await;
    link.close().await;
    match answer {
        Err(Failure::Exception(exception)) if matches!(reaction(exception), Reaction::Unreachable(_)) => {
            Tried::Fails(Failure::Exception(exception))
        }
        Ok(_) | Err(Failure::Exception(_)) => Tried::Answers,
        Err(failure) => Tried::Fails(failure),
    }
}
