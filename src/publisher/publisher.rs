//! The handle that the engine holds.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floorgate_metrics::Metrics;
use floorgate_outbox::{Acknowledged, LaneId, Reader, Row, Topic};
use floorgate_sample::Timestamp;
use thiserror::Error;

use crate::client::{ClientError, GATHERING, connection, producing, transaction_timeout};
use crate::fence::Fence;
use crate::inbox::Shared;
use crate::log_reader::LogReader;
use crate::report::{Report, Status};
use crate::settings::KafkaSettings;
use crate::topics::TopicKeeper;
use crate::worker::{Outfit, Worker};

/// What a publisher is connected to.
pub struct Wiring {
    /// Reads what is stored.
    pub reader: Reader,
    /// The topics that the store knows, with their pinned partition counts.
    pub topics: Vec<Topic>,
    /// The gateway's name. It goes into every record, and, after `floorgate-`, into the brokers' logs and quotas.
    pub gateway: String,
    /// Tells the processes that wrote to a lane apart; goes into every record.
    pub incarnation: String,
    /// Where figures are kept.
    pub metrics: Metrics,
    /// Called when [`Publisher::take_reports`] has more than watermarks. It must not wait.
    pub wake: Box<dyn Fn() + Send + Sync>,
}

/// Why publishing cannot start. A broker that is away is no such reason.
#[derive(Debug, Error)]
pub enum StartError {
    /// The Kafka client cannot be made from the settings.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store cannot be read.
    #[error("the publisher cannot read the store")]
    Store(#[source] floorgate_outbox::Error),
    /// The system gives no thread.
    #[error("the publisher's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Publishes what the store holds, on a thread of its own.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts publishing everything in the store that is not acknowledged. Returns without waiting for a broker.
    pub fn start(settings: &KafkaSettings, wiring: Wiring) -> Result<Self, StartError> {
        let Wiring {
            reader,
            topics,
            gateway,
            incarnation,
            metrics,
            wake,
        } = wiring;
        let connection = connection(settings, &format!("floorgate-{gateway}"))?;
        let lanes = reader.lanes().map_err(StartError::Store)?;
        let shared = Arc::new(Shared::new(wake));
        let answers = Arc::clone(&shared);
        let keeper = TopicKeeper::start(connection.clone(), settings.topics.clone(), move |answer| {
            answers.answer(answer);
        })
        .map_err(StartError::Thread)?;
        let answers = Arc::clone(&shared);
        let log = LogReader::start(
            &connection,
            gateway.clone(),
            settings.transactions,
            move |answer| {
                answers.log_answer(answer);
            },
        )
        .map_err(StartError::Thread)?;
        let notice = Arc::clone(&shared);
        let fence = Fence::start(&connection, &gateway, &incarnation, move || {
            notice.report(Report::Fenced);
        })
        .map_err(StartError::Thread)?;
        let outfit = Outfit {
            shared: Arc::clone(&shared),
            reader,
            config: producing(&connection, settings, &gateway),
            keeper,
            log,
            fence,
            gateway,
            incarnation,
            metrics,
            in_flight_limit: settings.in_flight_mib as usize * 1024 * 1024,
            max_record_bytes: settings.max_record_bytes as usize,
            gathers: settings.linger < GATHERING && !settings.transactions,
            transaction_timeout: settings.transactions.then(|| transaction_timeout(settings)),
        };
        let worker = Worker::new(outfit, &topics, &lanes)?;
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || worker.run())
            .map_err(StartError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Hands over rows that were just committed, in the order of their lanes. Never waits. Rows for which there is no room are read from the
    /// store when their turn comes.
    pub fn offer(&self, rows: impl IntoIterator<Item = Row>, committed: Timestamp) {
        self.shared.offer(rows, committed);
    }

    /// Names topics that events will go to, so that they are looked up, and created if that is allowed, before the first event.
    pub fn prepare(&self, topics: impl IntoIterator<Item = Arc<str>>) {
        self.shared.prepare(topics);
    }

    /// Says how many partitions of a topic are pinned in the store now; `None`: they are to be pinned anew, as the brokers tell them.
    pub fn pinned(&self, topic: Arc<str>, partitions: Option<u32>) {
        self.shared.pinned(topic, partitions);
    }

    /// Says that lanes changed in the store: waiting events were placed, for one.
    pub fn rescan(&self) {
        self.shared.rescan();
    }

    /// Says that rows are stubs now, as [`Report::Refused`](crate::Report::Refused) asked.
    pub fn replaced(&self, places: impl IntoIterator<Item = (LaneId, u64)>) {
        self.shared.replaced(places);
    }

    /// Adds how far lanes were delivered since the last call, for the next commit. Never waits.
    pub fn take_acknowledged(&self, into: &mut Vec<Acknowledged>) {
        self.shared.take_acknowledged(into);
    }

    /// What the engine has to act on since the last call. Never waits.
    #[must_use]
    pub fn take_reports(&self) -> Vec<Report> {
        self.shared.take_reports()
    }

    /// How publishing stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// [`Publisher::status`] for others than the owner.
    #[must_use]
    pub fn status_handle(&self) -> Arc<dyn Fn() -> Status + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.status())
    }

    /// Whether the thread ended without being asked to, which is a defect.
    #[must_use]
    pub fn has_died(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends what is stored and waits for what is in flight, for at most so long, and stops. Returns the last watermarks.
    /// What is not acknowledged by then stays in the store. Without a broker it returns at once.
    #[must_use]
    pub fn stop(mut self, within: Duration) -> Vec<Acknowledged> {
        self.end(within);
        let mut acknowledged = Vec::new();
        self.shared.take_acknowledged(&mut acknowledged);
        acknowledged
    }

    fn end(&mut self, within: Duration) {
        self.shared.stop(Instant::now() + within);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!(see = "gateway-publisher-ended", "the publisher's thread panicked");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end(Duration::ZERO);
        }
    }
}
