//! What goes to the store and what the publisher tells of it, with patience for a store that takes nothing for now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_core::Event;
use floorgate_metrics::Metrics;
use floorgate_outbox::{Cell, Commit, Error as StoreError, Store};
use floorgate_publisher::Report;
use floorgate_sample::Timestamp;
use foldhash::fast::RandomState;
use prometheus::IntCounter;
use tracing::{error, info, warn};

use super::{EngineError, Running, Standing, chain};

/// How long to wait before the store is tried again that took nothing.
const RETRY: Duration = Duration::from_millis(500);

/// The store can take nothing for now.
pub struct Refused {
    standing: Standing,
    again: Instant,
}

impl Refused {
    /// How long until it is tried again.
    pub fn wait(&self) -> Duration {
        self.again.saturating_duration_since(Instant::now())
    }
}

/// Counts events by type, once they are stored.
#[derive(Default)]
pub struct Counts(HashMap<Arc<str>, (IntCounter, u64), RandomState>);

impl Counts {
    fn add(&mut self, kind: &Arc<str>, metrics: &Metrics) {
        if let Some((_, waiting)) = self.0.get_mut(kind) {
            *waiting += 1;
        } else {
            let counter = metrics.events.with_label_values(&[&**kind]);
            self.0.insert(Arc::clone(kind), (counter, 1));
        }
    }

    fn stored(&mut self) {
        for (counter, waiting) in self.0.values_mut() {
            counter.inc_by(std::mem::take(waiting));
        }
    }
}

impl Running {
    /// Whether there is something to store, or a delivery has waited long enough.
    pub(super) fn is_due(&self) -> bool {
        match &self.refused {
            Some(_) => self.may_try(),
            None => {
                self.has_hurry()
                    || !self.stored.is_empty()
                    || !self.commit.burials.is_empty()
                    || !self.ordered.is_empty()
                    || !self.replaced.is_empty()
                    || self.flushed.elapsed() >= self.flush_after()
            }
        }
    }

    /// Whether the store may be tried now.
    pub(super) fn may_try(&self) -> bool {
        self.refused
            .as_ref()
            .is_none_or(|refused| refused.wait().is_zero())
    }

    /// Takes what the publisher reports.
    pub(super) fn reports(&mut self) -> Result<(), EngineError> {
        self.engine
            .publisher
            .take_acknowledged(&mut self.commit.acknowledged);
        for report in self.engine.publisher.take_reports() {
            match report {
                Report::TopicPinned { topic, partitions } => {
                    self.pins.insert(topic, partitions);
                }
                Report::LaneDisagrees(renewal) => {
                    // What was delivered in the epoch that ends must not be taken for deliveries of the new one.
                    self.commit.acknowledged.retain(|news| news.lane != renewal.lane);
                    self.renewals.push(renewal);
                }
                Report::Refused(burial) => self.bury(burial),
                Report::Fenced => return Err(EngineError::Fenced),
                Report::StoreFailed(problem) if !problem.can_be_retried() => return Err(problem.into()),
                // The publisher tries again; while it cannot read, events are stored and wait.
                Report::StoreFailed(problem) => {
                    warn!(
                        problem = chain(&problem),
                        see = "gateway-outbox-upkeep",
                        "the publisher cannot read the outbox"
                    );
                }
            }
        }
        self.pin()?;
        self.renew()
    }

    /// Begins new epochs of lanes whose log and store do not agree.
    fn renew(&mut self) -> Result<(), EngineError> {
        let mut renewed = false;
        while self.may_try()
            && let Some(renewal) = self.renewals.last().copied()
        {
            if !renewal.again {
                // The store is older than the log: numbers that it knows may have been issued further. That is stored before the lane is
                // renewed, which then tells nothing of it any more.
                self.engine
                    .core
                    .renew_streams(renewal.seen_epoch.saturating_add(1));
                self.commit()?;
                if self.refused.is_some() {
                    return Ok(());
                }
            }
            match self.with_room(|store, _| store.renew(&renewal)) {
                Ok(lane) => warn!(
                    topic = &*lane.topic,
                    partition = lane.partition,
                    epoch = lane.epoch,
                    to_send = lane.depth(),
                    see = "gateway-log-disagrees",
                    "the lane goes on in a new epoch"
                ),
                Err(problem) => return self.refuse(problem),
            }
            self.accepted();
            self.renewals.pop();
            renewed = true;
        }
        if renewed {
            self.engine.publisher.rescan();
        }
        Ok(())
    }

    /// One transaction with everything since the last one. When the store takes nothing, all of it is kept for the next call.
    pub(super) fn commit(&mut self) -> Result<(), EngineError> {
        self.flushed = Instant::now();
        self.engine.core.save(&mut self.cells);
        self.cells.append(&mut self.bookmarks);
        for event in self.events.drain(..) {
            self.counts.add(&event.name, &self.engine.metrics);
            self.commit.events.push(stored_event(event));
        }
        let cells = self.cells.drain(..).map(|(key, value)| Cell {
            key,
            value: Some(value),
        });
        self.commit.cells.extend(cells);
        if self.commit.is_empty() {
            self.accepted();
            self.is_quiet = !self.engine.core.has_requests() && self.engine.store.is_drained();
            self.fire();
            return Ok(());
        }
        let count = self.commit.events.len();
        let settles = !self.commit.settled_letters.is_empty();
        let begun = Instant::now();
        let committed = match self.with_room(Store::commit) {
            Ok(committed) => committed,
            Err(problem) => return self.refuse(problem),
        };
        self.accepted();
        self.counts.stored();
        self.engine
            .metrics
            .commit_seconds
            .observe(begun.elapsed().as_secs_f64());
        if count > 0 {
            self.engine.metrics.commit_events.observe(count as f64);
        }
        let committed_at = Timestamp::now();
        for (batch, _) in &self.stored {
            let took = committed_at.since(batch.received);
            self.stages.received_to_committed.observe(took.as_secs_f64());
        }
        self.fire();
        if settles || !committed.buried.is_empty() {
            self.engine.publisher.replaced(committed.buried);
            self.count_dead_letters();
        }
        if committed.waiting > 0 || !committed.new_lanes.is_empty() {
            self.engine.publisher.rescan();
        }
        self.engine.publisher.offer(committed.rows, committed_at);
        Ok(())
    }

    /// Does something with the store; a full one is first helped to help itself.
    pub(super) fn with_room<T>(
        &mut self,
        mut work: impl FnMut(&mut Store, &mut Commit) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (store, commit) = (&mut self.engine.store, &mut self.commit);
        match work(store, commit) {
            Err(StoreError::Full { .. }) => {
                let deleted = store.make_room(commit)?;
                if deleted > 0 {
                    warn!(
                        deleted,
                        see = "gateway-outbox-full",
                        "no space left, delivered events were deleted before their time"
                    );
                }
                work(store, commit)
            }
            done => done,
        }
    }

    /// Everything taken is durable: tells the sources, and makes room in the intake.
    fn fire(&mut self) {
        for (waiting, shelf) in self.replaced.drain(..) {
            // Who asked may have had no more patience.
            let _ = waiting.send(shelf);
        }
        for done in self.ordered.drain(..) {
            // The tool may be gone.
            let _ = done.send(());
        }
        for (batch, admission) in self.stored.drain(..) {
            if let Some(receipt) = batch.receipt {
                receipt.fire();
            }
            drop(admission);
        }
        self.ask();
    }

    /// The store takes nothing for now; or it failed, which ends the engine.
    pub(super) fn refuse(&mut self, problem: StoreError) -> Result<(), EngineError> {
        let standing = match &problem {
            StoreError::Full { .. } => Standing::Full,
            StoreError::Busy { .. } => Standing::Locked,
            _ => return Err(problem.into()),
        };
        if self
            .refused
            .as_ref()
            .is_none_or(|refused| refused.standing != standing)
        {
            error!(
                problem = chain(&problem),
                see = "gateway-cannot-store",
                "cannot store: sources wait, and it is tried again"
            );
        }
        let again = Instant::now() + RETRY;
        self.refused = Some(Refused { standing, again });
        self.engine.pulse.set_standing(standing);
        self.engine.pulse.beat();
        Ok(())
    }

    /// The store took something.
    pub(super) fn accepted(&mut self) {
        self.is_quiet = false;
        if self.refused.take().is_some() {
            info!("events are stored again");
            self.engine.pulse.set_standing(Standing::Good);
        }
    }

    /// What was refused is tried at once.
    pub(super) fn retry_now(&mut self) {
        if let Some(refused) = &mut self.refused {
            refused.again = Instant::now();
        }
    }
}

pub fn stored_event(event: Event) -> floorgate_outbox::Event {
    floorgate_outbox::Event {
        topic: event.topic,
        key: event.key,
        partition: None,
        id: event.id.to_string(),
        kind: event.name,
        subject: event.subject,
        recorded: event.recorded,
        shared_headers: event.shared_headers,
        headers: event.headers,
        value: event.value,
        trace: event.trace,
    }
}
