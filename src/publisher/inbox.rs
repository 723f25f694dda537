//! Where words for the publisher's thread wait, and its words for the engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use floorgate_outbox::{Acknowledged, LaneId, Row};
use floorgate_sample::Timestamp;

use crate::log_reader::LogAnswer;
use crate::report::{Report, Status};
use crate::topics::TopicAnswer;

/// Memory of rows that wait to be taken. What does not fit is read from the store.
const ROOM: usize = 4 * 1024 * 1024;

/// Memory that the producer holds for a record beside its bytes: the message, its headers, its place in a batch.
const RECORD_OVERHEAD: usize = 512;

/// Shared by the publisher's thread and everyone who speaks to it.
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    outbox: Mutex<Outbox>,
    status: Mutex<Status>,
    wake_engine: Box<dyn Fn() + Send + Sync>,
}

/// What arrived since the publisher's thread last looked, beside rows.
pub(crate) struct News {
    pub(crate) answers: Vec<TopicAnswer>,
    pub(crate) log_answers: Vec<LogAnswer>,
    /// Topics that will be needed.
    pub(crate) topics: Vec<Arc<str>>,
    /// Topics of which another partition count is pinned now, or none.
    pub(crate) pinned: Vec<(Arc<str>, Option<u32>)>,
    /// Rows that are stubs now.
    pub(crate) replaced: Vec<(LaneId, u64)>,
    /// Rows were refused, or the lanes changed: the store knows.
    pub(crate) rescan: bool,
    /// When to have stopped, once that is asked.
    pub(crate) stop_at: Option<Instant>,
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // each is a word of its own; together they are no state machine
struct Inbox {
    rows: Vec<(Row, Timestamp)>,
    bytes: usize,
    answers: Vec<TopicAnswer>,
    log_answers: Vec<LogAnswer>,
    topics: Vec<Arc<str>>,
    pinned: Vec<(Arc<str>, Option<u32>)>,
    replaced: Vec<(LaneId, u64)>,
    rescan: bool,
    stop_at: Option<Instant>,
    /// The stop was told to the thread.
    stopping: bool,
    asleep: bool,
    /// The client has told something since the thread last looked.
    heard: bool,
    /// The thread waits for that.
    listening: bool,
}

#[derive(Default)]
struct Outbox {
    acknowledged: BTreeMap<LaneId, Acknowledged>,
    reports: Vec<Report>,
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.answers.is_empty()
            && self.log_answers.is_empty()
            && self.topics.is_empty()
            && self.pinned.is_empty()
            && self.replaced.is_empty()
            && !self.rescan
            && (self.stop_at.is_none() || self.stopping)
            && !(self.listening && self.heard)
    }
}

impl Shared {
    pub(crate) fn new(wake_engine: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            outbox: Mutex::default(),
            status: Mutex::default(),
            wake_engine,
        }
    }

    /// Hands rows over as far as there is room. What is refused is not lost: it is stored.
    pub(crate) fn offer(&self, rows: impl IntoIterator<Item = Row>, committed: Timestamp) {
        let mut inbox = lock(&self.inbox);
        for row in rows {
            if inbox.bytes >= ROOM {
                inbox.rescan = true;
                break;
            }
            inbox.bytes += footprint(&row);
            inbox.rows.push((row, committed));
        }
        self.notify(inbox);
    }

    pub(crate) fn rescan(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.rescan = true;
        self.notify(inbox);
    }

    pub(crate) fn prepare(&self, topics: impl IntoIterator<Item = Arc<str>>) {
        let mut inbox = lock(&self.inbox);
        inbox.topics.extend(topics);
        self.notify(inbox);
    }

    pub(crate) fn pinned(&self, topic: Arc<str>, partitions: Option<u32>) {
        let mut inbox = lock(&self.inbox);
        inbox.pinned.push((topic, partitions));
        self.notify(inbox);
    }

    pub(crate) fn replaced(&self, places: impl IntoIterator<Item = (LaneId, u64)>) {
        let mut inbox = lock(&self.inbox);
        inbox.replaced.extend(places);
        self.notify(inbox);
    }

    pub(crate) fn answer(&self, answer: TopicAnswer) {
        let mut inbox = lock(&self.inbox);
        inbox.answers.push(answer);
        self.notify(inbox);
    }

    pub(crate) fn log_answer(&self, answer: LogAnswer) {
        let mut inbox = lock(&self.inbox);
        inbox.log_answers.push(answer);
        self.notify(inbox);
    }

    pub(crate) fn stop(&self, at: Instant) {
        let mut inbox = lock(&self.inbox);
        inbox.stop_at = Some(at);
        self.notify(inbox);
    }

    /// The client has told what became of records.
    pub(crate) fn heard(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.heard = true;
        if inbox.listening {
            self.notify(inbox);
        }
    }

    fn notify(&self, inbox: MutexGuard<'_, Inbox>) {
        let asleep = inbox.asleep;
        drop(inbox);
        if asleep {
            self.arrived.notify_one();
        }
    }

    /// Takes what arrived, after waiting for it at most so long; when `listening`, also for what the client tells. Rows go into `rows`,
    /// which is empty, and keeps its room.
    pub(crate) fn receive(
        &self,
        patience: Duration,
        listening: bool,
        rows: &mut Vec<(Row, Timestamp)>,
    ) -> News {
        let mut inbox = lock(&self.inbox);
        inbox.listening = listening;
        if inbox.is_empty() && !patience.is_zero() {
            inbox.asleep = true;
            let waited = self
                .arrived
                .wait_timeout_while(inbox, patience, |inbox| inbox.is_empty());
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
            inbox.asleep = false;
        }
        // Two vectors change places for ever, so that live traffic allocates neither.
        std::mem::swap(&mut inbox.rows, rows);
        inbox.bytes = 0;
        inbox.heard = false;
        inbox.stopping = inbox.stop_at.is_some();
        News {
            answers: std::mem::take(&mut inbox.answers),
            log_answers: std::mem::take(&mut inbox.log_answers),
            topics: std::mem::take(&mut inbox.topics),
            pinned: std::mem::take(&mut inbox.pinned),
            replaced: std::mem::take(&mut inbox.replaced),
            rescan: std::mem::take(&mut inbox.rescan),
            stop_at: inbox.stop_at,
        }
    }

    /// Notes how far a lane is delivered; the engine takes it when it next commits.
    pub(crate) fn delivered(&self, news: Acknowledged) {
        let mut outbox = lock(&self.outbox);
        let known = outbox.acknowledged.entry(news.lane).or_insert(news);
        *known = Acknowledged {
            offset: news.offset.or(known.offset),
            ..news
        };
    }

    /// Forgets how far a lane was delivered that begins anew.
    pub(crate) fn forget(&self, lane: LaneId) {
        lock(&self.outbox).acknowledged.remove(&lane);
    }

    /// Passes on what the engine has to act on, and wakes it.
    pub(crate) fn report(&self, report: Report) {
        lock(&self.outbox).reports.push(report);
        (self.wake_engine)();
    }

    pub(crate) fn take_acknowledged(&self, into: &mut Vec<Acknowledged>) {
        into.extend(std::mem::take(&mut lock(&self.outbox).acknowledged).into_values());
    }

    pub(crate) fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut lock(&self.outbox).reports)
    }

    pub(crate) fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    pub(crate) fn set_status(&self, status: Status) {
        *lock(&self.status) = status;
    }
}

/// Memory that a row takes, at hand or in flight.
pub(crate) fn footprint(row: &Row) -> usize {
    row.size() + RECORD_OVERHEAD
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
