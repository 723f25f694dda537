//! Requests of the gateway: tags that are read together, between two polls.

use std::time::Duration;

use floorgate_adapter_api::{Closed, Reason, Request};
use floorgate_sample::Sample;
use tokio::time::Instant;
use tracing::debug;

use super::trial::{Placed, Tried};
use super::{Asked, Cycle, Poller, Presence};
use crate::group::Group;
use crate::link::{Failure, wait_until};
use crate::snapshot::Block;
use crate::unit::Unit;

/// A machine that has more to do than it can may wake the gateway so late.
const LATEST: Duration = Duration::from_secs(1);

/// What is to be done next.
pub(super) enum Next {
    Request(Request),
    Tried((Placed, Tried)),
    Due,
}

impl Poller {
    /// The next request, the end of a trial, or that a moment has come. A poll that is due comes before a second request, so that
    /// neither waits for more than one of the other.
    pub(super) async fn next_until(&mut self, moment: Option<Instant>) -> Next {
        let is_due = moment.is_some_and(|moment| moment <= Instant::now());
        if std::mem::take(&mut self.has_answered) && is_due {
            return Next::Due;
        }
        let due = async {
            match moment {
                Some(moment) => wait_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            request = self.context.requests.next() => {
                self.has_answered = true;
                Next::Request(request)
            }
            ended = self.trials.ended() => Next::Tried(ended),
            () = due => Next::Due,
        };
        if let Some(moment) = moment.filter(|_| !is_due) {
            self.overslept(moment.elapsed());
        }
        next
    }

    /// Whether the gateway itself stood still: it woke so late. What was meanwhile may be missed.
    pub(super) fn overslept(&mut self, late: Duration) {
        let is_long = |group: &Group| late > (2 * group.every()).max(LATEST);
        if self.presence == Presence::Online && self.groups.iter().any(is_long) {
            let why = format!("the gateway stood still for {late:.1?}");
            self.gap = Some(Reason::new(why, "modbus-polls-missed"));
        }
    }

    /// Waits until a moment at which the device may be connected, and answers what is asked meanwhile as failed.
    pub(super) async fn refuse_until(&mut self, moment: Instant) -> Result<(), Closed> {
        while moment > Instant::now() {
            let request = tokio::select! {
                () = wait_until(moment) => return Ok(()),
                request = self.context.requests.next() => request,
            };
            self.answer(&request, Err(self.absence())).await?;
        }
        Ok(())
    }

    /// Reads what is asked for in one request, and answers.
    pub(super) async fn fulfil(&mut self, request: Request) -> Result<(), Closed> {
        let block = match Block::of(&request.tags, &self.points, &self.settings) {
            Ok(block) => block,
            Err(misfit) => {
                let reason = format!("the tags cannot be read in one request: {misfit}");
                return self.answer(&request, Err(reason)).await;
            }
        };
        if let Some(reason) = self.why_not(block.unit) {
            return self.answer(&request, Err(reason)).await;
        }
        if !self.link.is_open() && !self.connect_now().await? {
            return self.answer(&request, Err(self.absence())).await;
        }
        let (unit, table, extent) = (block.unit, block.table, block.extent);
        let mut cycle = Cycle::default();
        let (read, failure) = match self.ask_surely((unit, table, extent), block.doubts()).await {
            Ok((words, torn)) => {
                self.heard(unit, &mut cycle);
                (Ok(block.samples(&words, &torn)), None)
            }
            Err(failure) => {
                let failure = (failure, table, extent);
                let reason = self.told(unit, &failure);
                // What an exception means for the unit, the polls find out: this request may be the only reason.
                let is_exception = matches!(failure.0, Failure::Exception(_));
                let is_for_polls = is_exception || self.leave_to_polls(&failure, unit);
                (Err(reason), (!is_for_polls).then_some(failure))
            }
        };
        self.conclude(unit, cycle, failure).await?;
        self.answer(&request, read).await
    }

    /// Silence over a request may be its own fault: where the unit answered until now the next poll decides, and is made at once.
    fn leave_to_polls(&mut self, asked: &Asked, unit: u8) -> bool {
        let mut groups = self.groups.iter();
        let Some(index) = groups.position(|group| group.unit == unit && group.sound().is_some()) else {
            return false;
        };
        let is_well = |known: &Unit| known.trouble.is_none() && known.last_answer.is_some();
        if !self.unit(unit).is_some_and(is_well) {
            return false;
        }
        self.made_anew(unit, asked);
        self.let_pass(index, &asked.0);
        self.groups[index].hasten(Instant::now());
        true
    }

    /// Why a unit is not to be asked now.
    fn why_not(&self, unit: u8) -> Option<String> {
        let trouble = self.unit(unit).and_then(|unit| unit.trouble.as_ref());
        if let Some(trouble) = trouble.filter(|trouble| trouble.next_try > Instant::now()) {
            return Some(format!("the unit is left alone for a while: {}", trouble.reason));
        }
        let rest = self.unit(unit).and_then(|unit| unit.rest);
        if rest.is_some_and(|rest| rest > Instant::now()) {
            return Some("the unit is left alone for a moment: a late answer may come".to_owned());
        }
        // Polls bring the link back; where nothing is polled, the request has to.
        let waits = self.link_retry > Instant::now();
        let is_away = self.presence == Presence::Offline && !self.groups.is_empty();
        (!self.link.is_open() && (waits || is_away)).then(|| self.absence())
    }

    fn absence(&self) -> String {
        match &self.loss {
            Some(reason) => format!("the source is not connected: {reason}"),
            None => "the source is not connected yet".to_owned(),
        }
    }

    // By `&mut`, as the link is not shared between threads, not even for a look.
    async fn answer(&mut self, request: &Request, read: Result<Vec<Sample>, String>) -> Result<(), Closed> {
        if let Err(reason) = &read {
            debug!(
                source = self.context.name,
                tags = request.tags.len(),
                "tags could not be read together: {reason}"
            );
        }
        let context = &self.context;
        context.requests.answer(&context.intake, request.id, read).await
    }
}
