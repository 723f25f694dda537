//! The engine: one thread that evaluates, stores and hands on.
//!
//! It waits for batches, takes whatever else arrived meanwhile (group commit), lets the core evaluate it, stores events
//! and state in one transaction, and only then fires the receipts and offers the rows to the publisher. While a commit
//! syncs, the intake fills; the next commit takes all of it.

mod checkpoint;
mod mailbox;
mod pulse;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Admission, Batch};
use floorgate_core::{Core, Event, Input, Now};
use floorgate_metrics::{Metrics, StageMetrics};
use floorgate_outbox::{Cell, Commit, Error as StoreError, Store};
use floorgate_publisher::{Publisher, Report};
use floorgate_sample::Timestamp;
use prometheus::IntCounter;
use tracing::{error, info, warn};

pub use checkpoint::Checkpoints;
pub use mailbox::{Message, mailbox};
pub use pulse::Pulse;

/// Samples that one commit takes at most, so that a flood does not delay the first of them for long.
const SAMPLES_PER_COMMIT: usize = 8192;
/// How long a delivery may be known and not stored while nothing else is to be stored.
const IDLE_FLUSH: Duration = Duration::from_millis(100);
/// How often the engine shows that it lives, when nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often the store is measured and cleaned up.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the write-ahead log is measured: at 30,000 events a second it grows by 4 MB meanwhile.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);
/// How long one step of cleaning up may hold up what arrives.
const MAINTENANCE_BUDGET: Duration = Duration::from_millis(4);
/// Events that are moved at a time once their topic's partition count is known.
const EVENTS_PER_MOVE: usize = 2000;
/// How long to wait before a commit is tried again that found the disk full.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// Why the engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed; it is not trusted again.
    #[error("the outbox failed")]
    Store(#[from] StoreError),
    /// Events would be stored for ever and none be sent.
    #[error("the publisher's thread has ended by itself")]
    Publisher,
}

/// The engine, before its thread runs.
pub struct Engine {
    /// Evaluates.
    pub core: Core,
    /// Stores.
    pub store: Store,
    /// Publishes.
    pub publisher: Publisher,
    /// Copies the store's log.
    pub checkpoints: Checkpoints,
    /// What is measured.
    pub metrics: Metrics,
    /// Shows that the engine lives.
    pub pulse: Arc<Pulse>,
    /// When the process started: the origin of the monotonic clock.
    pub started: Instant,
}

/// What the engine works with while it runs.
struct Running {
    engine: Engine,
    stages: StageMetrics,
    by_type: HashMap<Arc<str>, IntCounter>,
    commit: Commit,
    events: Vec<Event>,
    cells: Vec<(Arc<str>, String)>,
    stored: Vec<(Batch, Admission)>,
    flushed: Instant,
    maintained: Instant,
    measured: Instant,
    checkpointed: Option<Result<(), StoreError>>,
}

impl Engine {
    /// Runs until [`Message::Stop`] was received and everything before it is stored. Gives the store and the publisher
    /// back, for the last deliveries.
    pub fn run(self, inbox: &Receiver<Message>) -> Result<Engine, EngineError> {
        let mut running = Running {
            stages: self.metrics.stages(),
            by_type: HashMap::new(),
            commit: Commit::default(),
            events: Vec::new(),
            cells: Vec::new(),
            stored: Vec::new(),
            flushed: Instant::now(),
            maintained: Instant::now(),
            measured: Instant::now(),
            checkpointed: None,
            engine: self,
        };
        loop {
            let stop = running.gather(inbox);
            running.reports()?;
            if running.engine.store.moving() {
                running.place_waiting()?;
            }
            if running.is_due() {
                running.commit()?;
            }
            running.checkpoint()?;
            running.maintain()?;
            running.engine.pulse.beat();
            if stop {
                running.commit()?;
                return Ok(running.engine);
            }
        }
    }

    /// Lets the publisher deliver what it can within the time, and stores how far it came.
    pub fn finish(mut self, within: Duration) -> Result<(), EngineError> {
        let mut commit = Commit {
            acknowledged: self.publisher.stop(within),
            ..Commit::default()
        };
        self.store.commit(&mut commit)?;
        Ok(())
    }
}

impl Running {
    fn now(&self) -> Now {
        Now {
            wall: Timestamp::now(),
            monotonic: self.engine.started.elapsed(),
        }
    }

    /// Waits for something to do, and evaluates all that is there. Returns whether to stop.
    fn gather(&mut self, inbox: &Receiver<Message>) -> bool {
        let timer = self.engine.core.next_deadline().map_or(HEARTBEAT, |deadline| {
            deadline.saturating_sub(self.engine.started.elapsed())
        });
        let flush = IDLE_FLUSH
            .saturating_sub(self.flushed.elapsed())
            .max(Duration::from_millis(1));
        let patience = if self.engine.store.moving() {
            Duration::ZERO
        } else {
            timer.min(HEARTBEAT).min(flush)
        };
        let mut message = match inbox.recv_timeout(patience) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return true,
        };
        let mut samples = 0;
        while let Some(next) = message {
            match next {
                Message::Batch(batch, admission) => {
                    samples += batch.samples.len();
                    self.apply(batch, admission);
                }
                Message::Wake => {}
                Message::Checkpointed(result) => self.checkpointed = Some(result),
                Message::Replace(replace) => {
                    self.engine.core.save(&mut self.cells);
                    let cells: HashMap<Arc<str>, String> = self.engine.core.export().into_iter().collect();
                    self.engine.core = replace(&|key| cells.get(key).cloned());
                }
                Message::Stop => return true,
            }
            if samples >= SAMPLES_PER_COMMIT {
                break;
            }
            message = inbox.try_recv().ok();
        }
        let now = self.now();
        self.engine.core.advance(now, &mut self.events);
        false
    }

    fn apply(&mut self, batch: Batch, admission: Admission) {
        let input = Input {
            source: batch.source,
            received: batch.received,
            notices: &batch.notices,
            samples: &batch.samples,
            now: self.now(),
        };
        for notice in &batch.notices {
            info!(source = batch.source.0, ?notice, "source notice");
        }
        let before = self.events.len();
        self.engine.core.apply(input, &mut self.events);
        for event in &self.events[before..] {
            self.stages
                .source_to_received
                .observe(batch.received.since(event.time).as_secs_f64());
        }
        let failures = self.engine.core.take_failures();
        self.engine.metrics.rule_errors.inc_by(failures.count);
        for failure in failures.first {
            warn!(rule = %failure.rule, reason = failure.reason, "a rule failed");
        }
        self.stored.push((batch, admission));
    }

    /// Whether there is something to store, or a delivery has waited long enough.
    fn is_due(&self) -> bool {
        !self.stored.is_empty() || !self.events.is_empty() || self.flushed.elapsed() >= IDLE_FLUSH
    }

    /// Takes what the publisher reports.
    fn reports(&mut self) -> Result<(), EngineError> {
        self.engine
            .publisher
            .take_acknowledged(&mut self.commit.acknowledged);
        let mut pinned = false;
        for report in self.engine.publisher.take_reports() {
            match report {
                Report::TopicPinned { topic, partitions } => {
                    let partitions = self.engine.store.pin_topic(&topic, partitions)?;
                    info!(%topic, partitions, "topic has its partition count");
                    pinned = true;
                }
                // The publisher tries again; while it cannot read, events are stored and wait.
                Report::StoreFailed(problem) => {
                    warn!(problem = %problem, "the publisher cannot read the outbox");
                }
            }
        }
        if pinned {
            self.engine.publisher.rescan();
        }
        Ok(())
    }

    /// Moves a step of the events that waited for a partition count to their lanes.
    fn place_waiting(&mut self) -> Result<(), EngineError> {
        self.engine.store.move_waiting(EVENTS_PER_MOVE)?;
        self.engine.publisher.rescan();
        Ok(())
    }

    /// One transaction with everything since the last one. A full disk is waited out: nothing is taken in meanwhile.
    fn commit(&mut self) -> Result<(), EngineError> {
        self.flushed = Instant::now();
        self.engine.core.save(&mut self.cells);
        self.commit.events.extend(self.events.drain(..).map(stored_event));
        self.commit
            .cells
            .extend(self.cells.drain(..).map(|(key, value)| Cell {
                key,
                value: Some(value),
            }));
        if self.commit.is_empty() {
            self.fire();
            return Ok(());
        }
        for event in &self.commit.events {
            if let Some(counter) = self.by_type.get(&event.kind) {
                counter.inc();
            } else {
                let counter = self.engine.metrics.events.with_label_values(&[&*event.kind]);
                counter.inc();
                self.by_type.insert(Arc::clone(&event.kind), counter);
            }
        }
        let count = self.commit.events.len();
        let begun = Instant::now();
        let committed = loop {
            match self.engine.store.commit(&mut self.commit) {
                Ok(committed) => break committed,
                Err(problem) if problem.can_be_retried() => {
                    error!(problem = %problem, "cannot store, sources wait");
                    self.engine.pulse.set_full(true);
                    self.engine.pulse.beat();
                    let _ = self.engine.store.maintain(Timestamp::now(), MAINTENANCE_BUDGET);
                    std::thread::sleep(FULL_RETRY);
                }
                Err(problem) => return Err(problem.into()),
            }
        };
        self.engine.pulse.set_full(false);
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
        if committed.waiting > 0 || !committed.new_lanes.is_empty() {
            self.engine.publisher.rescan();
        }
        self.engine.publisher.offer(committed.rows, committed_at);
        Ok(())
    }

    /// Everything taken is durable: tells the sources, and makes room in the intake.
    fn fire(&mut self) {
        for (batch, admission) in self.stored.drain(..) {
            if let Some(receipt) = batch.receipt {
                receipt.fire();
            }
            drop(admission);
        }
    }

    /// Has the store's log copied when it is long, and copies the rest.
    fn checkpoint(&mut self) -> Result<(), EngineError> {
        if let Some(result) = self.checkpointed.take() {
            self.engine.checkpoints.answered();
            match result.and_then(|()| self.engine.store.finish_checkpoint()) {
                Err(problem) if !problem.can_be_retried() => return Err(problem.into()),
                Err(problem) => warn!(problem = %problem, "cannot copy the outbox's log"),
                Ok(()) => {}
            }
        }
        if self.measured.elapsed() < CHECKPOINT_INTERVAL || self.engine.checkpoints.is_under_way() {
            return Ok(());
        }
        self.measured = Instant::now();
        if self.engine.store.log_is_long()? {
            self.engine.checkpoints.ask();
        }
        Ok(())
    }

    /// Cleans the store up in small steps.
    fn maintain(&mut self) -> Result<(), EngineError> {
        if self.maintained.elapsed() < MAINTENANCE_INTERVAL {
            return Ok(());
        }
        self.maintained = Instant::now();
        if self.engine.publisher.has_died() {
            return Err(EngineError::Publisher);
        }
        match self.engine.store.maintain(Timestamp::now(), MAINTENANCE_BUDGET) {
            Err(problem) if !problem.can_be_retried() => return Err(problem.into()),
            Err(problem) => warn!(problem = %problem, "cannot clean the outbox up"),
            Ok(_) => {}
        }
        let stats = self.engine.store.stats()?;
        self.engine
            .metrics
            .outbox_depth
            .set(i64::try_from(stats.depth).unwrap_or(i64::MAX));
        self.engine
            .metrics
            .outbox_bytes
            .set(i64::try_from(stats.used_bytes).unwrap_or(i64::MAX));
        Ok(())
    }
}

fn stored_event(event: Event) -> floorgate_outbox::Event {
    floorgate_outbox::Event {
        topic: event.topic,
        key: event.key,
        partition: None,
        id: event.id.to_string(),
        kind: event.name,
        subject: event.subject.into(),
        recorded: event.recorded,
        shared_headers: event.shared_headers,
        headers: event.headers,
        value: event.value,
    }
}
