//! The engine: one thread that evaluates, stores and hands on.
//!
//! It waits for batches, takes whatever else arrived meanwhile (group commit), lets the core evaluate it, stores events
//! and state in one transaction, and only then fires the receipts and offers the rows to the publisher. While a commit
//! syncs, the intake fills; the next commit takes all of it.
//!
//! A store that can take nothing for now (a full disk, another program's lock) ends nothing: what arrives is held, in its order and
//! within the intake's bound, and the same commit is tried again. So a stop is seen meanwhile, and deliveries are.

mod bookmarks;
mod burying;
mod checkpoint;
mod growth;
mod kept;
mod mailbox;
mod partitions;
mod patience;
mod pressure;
mod pulse;
mod requests;
mod storing;
mod tap;
mod telling;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Admission, Batch};
use floorgate_core::{Core, Event, Input, Now};
use floorgate_metrics::{Metrics, StageMetrics};
use floorgate_outbox::{Commit, Error as StoreError, Renewal, Store};
use floorgate_publisher::Publisher;
use floorgate_sample::Timestamp;
use prometheus::local::LocalHistogram;
use tokio::sync::oneshot;
use tracing::{debug, error, warn};

use crate::standing::{Standings, last_good_rows, tags_now};
use kept::Outliving;
use storing::{Counts, Refused};
use telling::Told;
use upkeep::Upkeep;

pub use bookmarks::{Shelf, of_gone_sources, of_sources};
pub use checkpoint::Checkpoints;
pub use mailbox::{Generation, Message, Order, Replacement, Resend, intake_of, mailbox};
pub use pulse::{Pulse, Standing};
pub use requests::Requesters;
pub use storing::stored_event;
use tap::Taps;
pub use tap::{Taken, Tap, tap};
pub use upkeep::show;

/// Samples that one commit takes at most, so that a flood does not delay the first of them for long.
const SAMPLES_PER_COMMIT: usize = 8192;
/// Bytes of events that count as one sample, so that also a commit of large events finds room in what a full store makes free.
const BYTES_PER_SAMPLE: usize = 512;
/// Why the engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed; it is not trusted again.
    #[error("the outbox failed")]
    Store(#[from] StoreError),
    /// Events would be stored for ever and none be sent.
    #[error("the publisher's thread has ended by itself")]
    Publisher,
    /// Of two gateways with one name, the one that came later stays.
    #[error(
        "another gateway of this name publishes now; each machine needs a `gateway` of its own in its configuration"
    )]
    Fenced,
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
    /// Where copies of dead letters go.
    pub dead_letter_topic: Option<Arc<str>>,
    /// Shows that the engine lives.
    pub pulse: Arc<Pulse>,
    /// How sources and tags stand.
    pub standings: Arc<Standings>,
    /// When the process started: the origin of the monotonic clock.
    pub started: Instant,
}

/// What the engine works with while it runs.
struct Running {
    engine: Engine,
    generation: Generation,
    /// How sources are asked for something; not of those that have not started yet.
    requesters: Requesters,
    /// Sources of earlier generations that run on.
    outliving: Outliving,
    stages: StageMetrics,
    /// The same histogram as in `stages`, filled in batches.
    source_to_received: LocalHistogram,
    counts: Counts,
    commit: Commit,
    events: Vec<Event>,
    cells: Vec<(Arc<str>, String)>,
    /// What sources want to find again, by cell.
    bookmarks: Vec<(Arc<str>, String)>,
    stored: Vec<(Batch, Admission)>,
    flushed: Instant,
    upkeep: Upkeep,
    /// Who waits for orders to be stored.
    ordered: Vec<oneshot::Sender<()>>,
    /// Who waits for the bookmarks of an earlier configuration to be stored.
    replaced: Vec<(oneshot::Sender<Shelf>, Shelf)>,
    /// Partition counts that are to be pinned.
    pins: BTreeMap<Arc<str>, u32>,
    /// Topics whose counts are to be forgotten, with who waits for that.
    unpins: Vec<(Arc<str>, oneshot::Sender<()>)>,
    renewals: Vec<Renewal>,
    /// All is stored and delivered, as the last look showed that found nothing new.
    is_quiet: bool,
    /// The store could take nothing when last it was tried.
    refused: Option<Refused>,
    /// What arrived meanwhile.
    held: VecDeque<Message>,
    /// Who is given copies of what the core is given.
    taps: Taps,
    /// The time up to which the core's timers were run: now, or when the last of what is evaluated was received.
    reached: Timestamp,
}

impl Engine {
    /// Runs until [`Message::Stop`] was received and everything before it is stored, or the store takes nothing even then: what is not
    /// stored is told and no receipt of it fires. Gives the store and the publisher back, for the last deliveries.
    pub fn run(self, inbox: &Receiver<Message>) -> Result<Engine, EngineError> {
        let mut running = Running::new(self);
        running.count_dead_letters();
        if let Ok(stats) = running.engine.store.stats() {
            // A store that is nearly full is so from the first change on.
            running.leave_out(&stats);
        }
        let worked = running.work(inbox);
        if let Err(EngineError::Store(problem)) = &worked {
            running.engine.store.condemn(problem);
        }
        worked.map(|()| running.engine)
    }

    /// Lets the publisher deliver what it can within the time, and stores how far it came.
    pub fn finish(mut self, within: Duration) -> Result<(), EngineError> {
        let mut commit = Commit {
            acknowledged: self.publisher.stop(within),
            ..Commit::default()
        };
        match self.store.commit(&mut commit) {
            Err(problem) if problem.can_be_retried() => {
                let problem = chain(&problem);
                warn!(
                    problem,
                    see = "gateway-stopped-unstored",
                    "the last deliveries are not stored, their events will be sent again"
                );
                Ok(())
            }
            Err(problem) => {
                self.store.condemn(&problem);
                Err(problem.into())
            }
            Ok(_) => Ok(()),
        }
    }
}

impl Running {
    fn new(engine: Engine) -> Self {
        let stages = engine.metrics.stages();
        Self {
            generation: Generation::default(),
            requesters: Requesters::default(),
            outliving: Outliving::default(),
            source_to_received: stages.source_to_received.local(),
            stages,
            counts: Counts::default(),
            commit: Commit::default(),
            events: Vec::new(),
            cells: Vec::new(),
            bookmarks: Vec::new(),
            stored: Vec::new(),
            flushed: Instant::now(),
            upkeep: Upkeep::new(),
            ordered: Vec::new(),
            replaced: Vec::new(),
            pins: BTreeMap::new(),
            unpins: Vec::new(),
            renewals: Vec::new(),
            is_quiet: false,
            refused: None,
            held: VecDeque::new(),
            taps: Taps::default(),
            reached: Timestamp::now(),
            engine,
        }
    }

    fn now(&self) -> Now {
        // Both in whole microseconds, so that a recording of them is short.
        Now {
            wall: Timestamp::now(),
            monotonic: whole_micros(self.engine.started.elapsed()),
        }
    }

    /// The moment up to which what was received is evaluated.
    fn reached(&self) -> Now {
        let now = self.now();
        let behind = now.wall.since(self.reached);
        Now {
            wall: now.wall.before(behind),
            monotonic: now.monotonic.saturating_sub(behind),
        }
    }

    /// Works until it is told to stop, and stores what is left.
    fn work(&mut self, inbox: &Receiver<Message>) -> Result<(), EngineError> {
        loop {
            let stop = self.gather(inbox)?;
            self.turn()?;
            if stop {
                return self.end();
            }
        }
    }

    /// What is done between two looks into the inbox.
    fn turn(&mut self) -> Result<(), EngineError> {
        self.unpin()?;
        self.reports()?;
        self.place_waiting()?;
        if self.is_due() {
            self.commit()?;
        }
        self.checkpoint()?;
        self.maintain()?;
        self.look();
        self.engine.pulse.beat();
        Ok(())
    }

    /// Stores what is left. A store that takes nothing is tried once more.
    fn end(&mut self) -> Result<(), EngineError> {
        loop {
            self.retry_now();
            self.commit()?;
            if self.refused.is_some() {
                self.tell_what_is_not_stored();
                return Ok(());
            }
            if self.held.is_empty() {
                return Ok(());
            }
            self.take_held()?;
            if self.refused.is_some() {
                self.tell_what_is_not_stored();
                return Ok(());
            }
        }
    }

    fn tell_what_is_not_stored(&self) {
        let batches = self.held.iter().filter_map(|message| match message {
            Message::Batch(_, batch, _) => Some(batch),
            _ => None,
        });
        let batches = batches.chain(self.stored.iter().map(|(batch, _)| batch));
        let samples: usize = batches.map(|batch| batch.samples.len()).sum();
        let events = self.commit.events.len();
        error!(
            samples,
            events,
            see = "gateway-stopped-unstored",
            "stopped while nothing could be stored: this is not stored, and what sources cannot send again is a gap"
        );
    }

    /// Waits for something to do, and evaluates all that is there; while nothing can be stored, holds it. Returns whether to stop.
    fn gather(&mut self, inbox: &Receiver<Message>) -> Result<bool, EngineError> {
        let mut samples = self.take_held()?;
        let mut message = if samples >= SAMPLES_PER_COMMIT {
            None
        } else {
            match inbox.recv_timeout(self.patience()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(true),
            }
        };
        while let Some(next) = message {
            match next {
                Message::Stop => return Ok(true),
                Message::Wake => {}
                Message::Checkpointed(result) => self.upkeep.checkpointed(result),
                // It is given what is evaluated from here on: what is held is not.
                Message::Tap(tap) => self.taps.add(tap),
                Message::LastGood(told) => drop(told.send(last_good_rows(&self.engine.core))),
                Message::Tags(wanted, told) => drop(told.send(tags_now(&self.engine.core, &wanted))),
                next if self.refused.is_some() || !self.held.is_empty() => self.held.push_back(next),
                next => samples += self.take(next)?,
            }
            if samples >= SAMPLES_PER_COMMIT {
                break;
            }
            message = inbox.try_recv().ok();
        }
        // Timers are judged up to now once nothing waits that was received before: it may be what they wait for.
        if self.refused.is_none() && self.held.is_empty() && samples < SAMPLES_PER_COMMIT {
            let now = self.now();
            self.reached = now.wall;
            let due = self.engine.core.next_deadline();
            self.taps.each(|tap| tap.advance(due, now));
            // What a timer changes is to be stored, also where it makes no event.
            self.is_quiet &= due.is_none_or(|due| due > now.monotonic);
            self.engine.core.advance(now, &mut self.events);
            self.tell_failures();
        }
        let now = self.now();
        self.taps.begin(&mut self.engine.core, now);
        Ok(false)
    }

    /// Evaluates what was held, as far as one commit takes it. Returns the number of its samples.
    fn take_held(&mut self) -> Result<usize, EngineError> {
        let mut samples = 0;
        while self.refused.is_none() && samples < SAMPLES_PER_COMMIT {
            let Some(next) = self.held.pop_front() else { break };
            samples += self.take(next)?;
        }
        Ok(samples)
    }

    /// Evaluates a message. Returns the number of its samples, or for how many its events count.
    fn take(&mut self, message: Message) -> Result<usize, EngineError> {
        match message {
            Message::Batch(generation, batch, admission) => {
                let samples = batch.samples.len();
                self.reached = self.reached.max(batch.received);
                let before = self.events.len();
                self.apply(generation, batch, admission);
                let made = self.events.iter().skip(before);
                let bytes: usize = made.map(|event| event.value.len() + event.trace.len()).sum();
                return Ok(samples.max(bytes / BYTES_PER_SAMPLE));
            }
            Message::Replace(replacement) => self.replace(replacement)?,
            Message::Sources(generation, requesters) if generation == self.generation => {
                self.requesters.extend(requesters);
            }
            Message::Order(Order::Resend(order), done) => {
                self.commit.events.extend(order.events);
                self.commit.settled_letters.extend(order.letters);
                self.ordered.push(done);
            }
            Message::Order(Order::Repartition(topic), done) => self.unpins.push((topic, done)),
            Message::Checkpointed(result) => self.upkeep.checkpointed(result),
            Message::Tap(tap) => self.taps.add(tap),
            Message::LastGood(told) => drop(told.send(last_good_rows(&self.engine.core))),
            Message::Tags(wanted, told) => drop(told.send(tags_now(&self.engine.core, &wanted))),
            Message::Sources(..) | Message::Wake | Message::Stop => {}
        }
        Ok(0)
    }

    /// Goes on with a core of another plan. It finds the state of the old one, and in the store that of what the old one did not have.
    fn replace(&mut self, replacement: Replacement) -> Result<(), EngineError> {
        let mut cells = match self.engine.store.cells() {
            Ok(cells) => cells,
            Err(problem) => {
                self.held.push_front(Message::Replace(replacement));
                return self.refuse(problem);
            }
        };
        self.engine.core.save(&mut self.cells);
        let waiting = self.commit.cells.iter().cloned();
        cells.extend(waiting.filter_map(|cell| Some((cell.key, cell.value?))));
        cells.extend(self.cells.iter().cloned());
        cells.extend(self.engine.core.export());
        let mut core = (replacement.core)(&|key| cells.get(key).cloned());
        let is_kept = |name: &str| replacement.kept.contains(name);
        // Behind it may be what was received from sources that run on.
        let now = self.reached();
        let kept = core.go_on_from(&mut self.engine.core, is_kept, now);
        self.engine.core = core;
        let plan = Arc::clone(self.engine.core.plan());
        let (sources, names) = (replacement.sources, &replacement.kept);
        self.engine.standings.replace(sources, &plan, names, self.now());
        self.taps.each(|tap| tap.rename(&plan, now));
        let least = self.engine.pulse.left_out();
        self.taps.each(|tap| tap.leave_out_below(least, now));
        self.engine.core.leave_out_below(least);
        self.outliving.follow(self.generation, &kept);
        self.requesters.follow(&kept, &self.outliving);
        self.generation = replacement.generation;
        cells.extend(self.bookmarks.iter().cloned());
        let gone = of_gone_sources(&cells, |name| self.engine.core.has_source(name));
        self.commit.cells.extend(gone);
        self.replaced.push((replacement.bookmarks, of_sources(&cells)));
        Ok(())
    }

    fn apply(&mut self, generation: Generation, mut batch: Batch, admission: Admission) {
        if generation != self.generation && !self.outliving.renumber(generation, &mut batch) {
            // Its source has ended with its plan. Its receipt does not fire: it was not stored.
            self.engine
                .metrics
                .late_samples
                .inc_by(batch.samples.len() as u64);
            warn!(
                samples = batch.samples.len(),
                see = "gateway-source-failed",
                "a source of the replaced configuration sent values after its end; they are not taken"
            );
            return;
        }
        self.engine.standings.take(&batch, self.now());
        match &batch.answer {
            Some(answer) => self.answered(batch.source, answer, batch.received, &batch.samples),
            None => self.evaluate(&batch),
        }
        self.tell_failures();
        self.keep_bookmarks(&mut batch);
        self.stored.push((batch, admission));
    }

    /// Lets the core evaluate what a source sent by itself.
    fn evaluate(&mut self, batch: &Batch) {
        let input = Input {
            source: batch.source,
            received: batch.received,
            notices: &batch.notices,
            samples: &batch.samples,
            now: self.now(),
        };
        for notice in &batch.notices {
            // Adapters log what happens to them in their own words.
            debug!(
                source = self.engine.core.source_name(batch.source),
                notice = Told(notice).to_string(),
                "source notice"
            );
        }
        let before = self.events.len();
        self.taps.each(|tap| tap.apply(input));
        self.engine.core.apply(input, &mut self.events);
        // Without a time of its source an event has that of its receipt, and there is no way to measure.
        let sent = self.events.iter().skip(before);
        for event in sent.filter(|event| event.time != batch.received) {
            let took = batch.received.since(event.time);
            self.source_to_received.observe(took.as_secs_f64());
        }
        self.source_to_received.flush();
    }
}

/// A time without what is finer than the wall clock's.
pub fn whole_micros(time: Duration) -> Duration {
    Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// An error of the store with its causes, in one line.
pub fn chain(problem: &StoreError) -> String {
    let mut text = problem.to_string();
    let mut cause = std::error::Error::source(problem);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
