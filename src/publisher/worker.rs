//! The publisher's thread: takes rows, sends them in order, notes what became of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_metrics::Metrics;
use floorgate_outbox::{Lane as StoredLane, LaneId, Reader, Row, Topic as StoredTopic};
use floorgate_sample::Timestamp;
use prometheus::Histogram;
use rdkafka::config::ClientConfig;

use crate::client::{BATCH_BYTES, ClientError, Collected};
use crate::clients::Clients;
use crate::fence::Fence;
use crate::inbox::{News, Shared};
use crate::lane::Lane;
use crate::log_reader::LogReader;
use crate::opening::{Topic, TopicState};
use crate::record::HeaderMaker;
use crate::report::{Report, Status};
use crate::settling::Looking;
use crate::topics::TopicKeeper;
use crate::transaction::Transactions;

/// Bits of a record's number that are its sequence; the rest is the lane's place in the table.
pub(crate) const SEQUENCE_BITS: u32 = 44;
/// Memory of rows at hand, in all lanes and in one: 80 ms of 30,000 events a second, so that a broker which takes a breath costs no reading.
pub(crate) const CACHE: usize = 8 * 1024 * 1024;
const LANE_CACHE: usize = 4 * 1024 * 1024;
/// Pause before a new producer after a fatal error, and before the store is read again after it failed.
pub(crate) const REBUILD_PAUSE: Duration = Duration::from_secs(1);
/// While no broker is known to be reachable, one is asked for this often.
const PROBE_PAUSE: Duration = Duration::from_secs(5);
/// A topic in use is looked at again this often: partitions may have been added, or come back.
pub(crate) const REVIEW_PAUSE: Duration = Duration::from_secs(30);
/// Longest sleep: the client's errors are collected this often at least.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Acknowledgements that nothing waits for are passed on after this time at the latest.
const LATEST_LOOK: Duration = Duration::from_millis(100);
/// Shortest sleep for a timer.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// A lane and what holds it up.
pub(crate) struct Slot {
    pub(crate) lane: Lane,
    /// Nothing is sent before.
    pub(crate) held_until: Option<Instant>,
    pub(crate) attempts: usize,
    pub(crate) failed_at: u64,
    /// The broker refused a record's time: old ones go out with the present one, until their backlog is through.
    pub(crate) refuses_old_times: bool,
    /// A stub is asked for in the place of the next record.
    pub(crate) awaits_stub: bool,
    pub(crate) reported: u64,
    /// How far looking at its log has come, where that is needed.
    pub(crate) looking: Looking,
    /// Why it is not known what its log has.
    pub(crate) log_problem: Option<String>,
    /// A transaction failed in which the lane took part, and it is not known which lane was to blame.
    pub(crate) suspect: bool,
    /// When something was last sent by each of the clients.
    pub(crate) sent_at: [Option<Instant>; 2],
}

/// What the thread is given at its start.
pub(crate) struct Outfit {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: Reader,
    pub(crate) config: ClientConfig,
    pub(crate) keeper: TopicKeeper,
    pub(crate) log: LogReader,
    pub(crate) fence: Fence,
    pub(crate) gateway: String,
    pub(crate) incarnation: String,
    pub(crate) metrics: Metrics,
    pub(crate) in_flight_limit: usize,
    pub(crate) max_record_bytes: usize,
    /// Large bursts are gathered.
    pub(crate) gathers: bool,
    /// Everything is published in transactions, which the brokers let take so long.
    pub(crate) transaction_timeout: Option<Duration>,
}

/// The state of the publisher's thread.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: Reader,
    pub(crate) config: ClientConfig,
    pub(crate) keeper: TopicKeeper,
    pub(crate) log: LogReader,
    pub(crate) fence: Fence,
    pub(crate) gateway: String,
    pub(crate) incarnation: String,
    pub(crate) headers: HeaderMaker,
    pub(crate) metrics: Metrics,
    pub(crate) acknowledged_seconds: Histogram,
    pub(crate) clients: Option<Clients>,
    /// Where everything is published in transactions.
    pub(crate) transactions: Option<Transactions>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) by_id: HashMap<LaneId, usize>,
    pub(crate) topics: Vec<Topic>,
    /// Memory of records whose outcome is not known.
    pub(crate) in_flight: usize,
    pub(crate) in_flight_limit: usize,
    /// Memory of the records that go out together.
    pub(crate) burst_limit: usize,
    /// Memory of rows at hand.
    pub(crate) cached: usize,
    /// Large bursts are gathered.
    gathers: bool,
    /// When the first record of this round was handed to the client that gathers.
    pub(crate) handed_over: Option<Instant>,
    /// Where the next round over the lanes begins.
    pub(crate) first_lane: usize,
    pub(crate) must_rebuild: Option<String>,
    pub(crate) rebuild_at: Instant,
    pub(crate) store_retry_at: Option<Instant>,
    pub(crate) rescan: bool,
    pub(crate) probe_at: Instant,
    /// Not known before a broker answered or all of them were found away.
    pub(crate) reachable: Option<bool>,
    pub(crate) connection_problem: Option<String>,
    pub(crate) status: Status,
    pub(crate) collected: Collected,
    pub(crate) rows: Vec<(Row, Timestamp)>,
}

/// How a round over the lanes ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Round {
    /// Everything that may be sent is sent.
    Done,
    /// Something waits for acknowledgements of what was sent before.
    Throttled,
    /// There is more to send at once.
    More,
}

impl Worker {
    pub(crate) fn new(
        outfit: Outfit,
        topics: &[StoredTopic],
        lanes: &[StoredLane],
    ) -> Result<Self, ClientError> {
        let now = Instant::now();
        let mut worker = Self {
            acknowledged_seconds: outfit.metrics.stages().committed_to_acknowledged,
            shared: outfit.shared,
            reader: outfit.reader,
            config: outfit.config,
            keeper: outfit.keeper,
            log: outfit.log,
            fence: outfit.fence,
            gateway: outfit.gateway,
            incarnation: outfit.incarnation,
            headers: HeaderMaker::default(),
            metrics: outfit.metrics,
            clients: None,
            transactions: outfit.transaction_timeout.map(Transactions::new),
            slots: Vec::new(),
            by_id: HashMap::new(),
            topics: Vec::new(),
            in_flight: 0,
            in_flight_limit: outfit.in_flight_limit,
            burst_limit: outfit.max_record_bytes.min(BATCH_BYTES) / 4 * 3,
            cached: 0,
            gathers: outfit.gathers,
            handed_over: None,
            first_lane: 0,
            must_rebuild: None,
            rebuild_at: now,
            store_retry_at: None,
            rescan: false,
            probe_at: now + PROBE_PAUSE,
            reachable: None,
            connection_problem: None,
            status: Status::default(),
            collected: Collected::default(),
            rows: Vec::new(),
        };
        worker.clients = Some(worker.make_clients()?);
        for topic in topics {
            worker.topic(&topic.name, topic.partitions);
        }
        for lane in lanes {
            worker.learn(lane, true);
        }
        worker.metrics.kafka_up.set(0);
        Ok(worker)
    }

    fn make_clients(&self) -> Result<Clients, ClientError> {
        Clients::new(&self.config, &self.shared, self.gathers)
    }

    /// Works until a stop is asked and done.
    pub(crate) fn run(mut self) {
        let mut round = Round::More;
        let mut stopping = false;
        loop {
            let news = self.receive(round, stopping);
            stopping = news.stop_at.is_some();
            self.collect();
            self.resume(Instant::now());
            round = self.send();
            self.show();
            if news
                .stop_at
                .is_some_and(|at| Instant::now() >= at || self.is_finished(round))
            {
                break;
            }
        }
        self.close_transactions();
        self.keeper.stop();
        self.log.stop();
        // What is in flight now is purged with the producer. It is stored, and in doubt at the next start.
    }

    fn receive(&mut self, round: Round, stopping: bool) -> News {
        let patience = match round {
            Round::More => Duration::ZERO,
            Round::Throttled => LATEST_LOOK,
            Round::Done if self.in_flight > 0 => LATEST_LOOK,
            Round::Done => self.until_next_timer(),
        };
        // Where nothing waits for an acknowledgement, it waits for the next rows: one wake-up serves both.
        let listening = stopping || round == Round::Throttled;
        let mut rows = std::mem::take(&mut self.rows);
        let mut news = self.shared.receive(patience, listening, &mut rows);
        for (row, committed) in rows.drain(..) {
            self.take_row(row, committed);
        }
        self.rows = rows;
        for name in std::mem::take(&mut news.topics) {
            let topic = self.topic(&name, None);
            self.topics[topic].wanted = true;
        }
        for (name, partitions) in std::mem::take(&mut news.pinned) {
            self.take_pinned(&name, partitions);
        }
        for answer in std::mem::take(&mut news.answers) {
            self.take_answer(answer);
        }
        for answer in std::mem::take(&mut news.log_answers) {
            self.take_log_answer(answer);
        }
        for (lane, _) in std::mem::take(&mut news.replaced) {
            if let Some(place) = self.by_id.get(&lane).copied() {
                self.replaced(place);
            }
        }
        self.rescan |= news.rescan;
        if self.rescan && self.store_retry_at.is_none() {
            self.scan_lanes();
        }
        news
    }

    fn until_next_timer(&self) -> Duration {
        let holds = self.slots.iter().filter_map(|slot| slot.held_until);
        let topics = self.topics.iter().filter_map(|topic| match topic.state {
            TopicState::Closed { until } => Some(until),
            _ => None,
        });
        let rebuild = self.clients.is_none().then_some(self.rebuild_at);
        let transactions = self.transactions.as_ref().filter(|_| self.clients.is_some());
        let next_try = transactions.and_then(Transactions::next_try);
        holds
            .chain(topics)
            .chain(self.store_retry_at)
            .chain(rebuild)
            .chain(next_try)
            .chain(self.next_look())
            .map(|at| at.saturating_duration_since(Instant::now()))
            .fold(LONGEST_SLEEP, Duration::min)
            .max(SHORTEST_SLEEP)
    }

    fn take_row(&mut self, row: Row, committed: Timestamp) {
        let Some(&place) = self.by_id.get(&row.lane) else {
            // A lane that came into being with this row: the store knows its topic.
            self.rescan = true;
            return;
        };
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        if self.cached >= CACHE || slot.lane.cached_bytes() >= LANE_CACHE {
            slot.lane.note_stored(row.sequence);
            return;
        }
        let before = slot.lane.cached_bytes();
        slot.lane.cache(row, committed);
        self.cached += slot.lane.cached_bytes() - before;
    }

    fn scan_lanes(&mut self) {
        match self.reader.lanes() {
            Ok(lanes) => {
                self.rescan = false;
                for lane in &lanes {
                    self.learn(lane, false);
                }
            }
            Err(error) => self.store_failed(error),
        }
    }

    pub(crate) fn store_failed(&mut self, error: floorgate_outbox::Error) {
        self.store_retry_at = Some(Instant::now() + REBUILD_PAUSE);
        self.shared.report(Report::StoreFailed(error));
    }

    fn learn(&mut self, stored: &StoredLane, from_earlier_process: bool) {
        let topic = self.topic(&stored.topic, None);
        if let Some(slot) = self
            .by_id
            .get(&stored.id)
            .and_then(|place| self.slots.get_mut(*place))
        {
            if stored.epoch > slot.lane.epoch {
                let freed = slot.lane.renew(stored);
                self.cached = self.cached.saturating_sub(freed);
                slot.reported = stored.acknowledged_sequence;
                slot.looking = Looking::NotBefore(None);
            }
            slot.lane.note_stored(stored.last_sequence);
            return;
        }
        self.by_id.insert(stored.id, self.slots.len());
        self.slots.push(Slot {
            lane: Lane::new(stored, topic, from_earlier_process),
            held_until: None,
            attempts: 0,
            failed_at: 0,
            refuses_old_times: false,
            awaits_stub: false,
            suspect: false,
            reported: stored.acknowledged_sequence,
            looking: Looking::NotBefore(None),
            log_problem: None,
            sent_at: [None; 2],
        });
    }

    /// Brings back what waited long enough: lanes, topics, the producer, the store.
    fn resume(&mut self, now: Instant) {
        if self.must_rebuild.is_some() {
            self.rebuild();
        }
        if self.clients.is_none() && now >= self.rebuild_at {
            match self.make_clients() {
                Ok(clients) => self.clients = Some(clients),
                Err(error) => {
                    tracing::error!(%error, see = "gateway-producer-replaced", "no new kafka producer");
                    self.rebuild_at = now + PROBE_PAUSE;
                }
            }
        }
        self.open_transactions(now);
        self.store_retry_at = self.store_retry_at.filter(|at| now < *at);
        for place in 0..self.slots.len() {
            let slot = &mut self.slots[place];
            slot.held_until = slot.held_until.filter(|at| now < *at);
            if slot.lane.is_stopped() && slot.lane.pending() == 0 {
                self.hold(place, now);
            }
            let slot = &mut self.slots[place];
            slot.lane.look_if_in_doubt();
            let wants = slot.lane.has_unsent() && slot.held_until.is_none();
            if let Some(topic) = self.topics.get_mut(slot.lane.topic) {
                topic.wanted |= wants;
            }
        }
        let probe = self.reachable != Some(true) && now >= self.probe_at;
        for (place, topic) in self.topics.iter_mut().enumerate() {
            let due = match topic.state {
                TopicState::Unknown => topic.wanted,
                TopicState::Closed { until } => now >= until,
                TopicState::Asked => false,
                TopicState::Open { .. } => {
                    if probe && now >= self.probe_at {
                        self.probe_at = now + PROBE_PAUSE;
                        self.keeper.ask(&topic.name);
                    } else if now >= topic.review_at && !topic.reviewed {
                        topic.reviewed = true;
                        topic.review_at = now + REVIEW_PAUSE;
                        for slot in self.slots.iter_mut().filter(|slot| slot.lane.topic == place) {
                            slot.lane.ask_bounds();
                        }
                        self.keeper.review(&topic.name);
                    }
                    false
                }
            };
            if due {
                topic.state = TopicState::Asked;
                self.keeper.ask(&topic.name);
            }
        }
        self.look_at_logs(now);
    }

    fn is_finished(&self, round: Round) -> bool {
        if self.clients.is_none() || self.reachable == Some(false) {
            return true;
        }
        let asking = self
            .topics
            .iter()
            .any(|topic| topic.wanted && topic.state == TopicState::Asked);
        round == Round::Done && self.in_flight == 0 && !asking && !self.is_looking_for_next()
    }

    /// Lets the operator see how things stand.
    fn show(&mut self) {
        // What is not of the topic, such as that no broker answers, is told once.
        let topics = self.topics.iter().enumerate().flat_map(|(place, topic)| {
            let earlier = &self.topics[..place];
            let told = move |text: &String| earlier.iter().any(|topic| topic.problem.as_ref() == Some(text));
            topic.problem.iter().filter(move |text| !told(text))
        });
        let logs = self.slots.iter().filter_map(|slot| slot.log_problem.as_ref());
        let lanes = self.slots.iter().filter_map(|slot| {
            let failure = slot.lane.failure()?;
            let topic = self.topics.get(slot.lane.topic).map_or("", |topic| &*topic.name);
            Some(format!(
                "topic {topic} partition {} is held at sequence {}: {}",
                slot.lane.partition.unwrap_or_default(),
                failure.sequence,
                failure.reason
            ))
        });
        let transactions = self.transactions.iter().filter_map(|own| own.problem.as_ref());
        let connection = self.connection_problem.iter().chain(transactions);
        let problems = connection.chain(topics).chain(logs).cloned().chain(lanes);
        let partitions = self.topics.iter().filter_map(|topic| match topic.state {
            TopicState::Open { partitions } => Some((&topic.name, partitions)),
            _ => None,
        });
        let kafka_up = self.reachable == Some(true);
        let known = self.status.partitions.iter();
        if self.status.kafka_up == kafka_up
            && partitions
                .clone()
                .eq(known.map(|(name, partitions)| (name, *partitions)))
            && problems.clone().eq(self.status.problems.iter().cloned())
        {
            return;
        }
        self.status = Status {
            kafka_up,
            partitions: partitions
                .map(|(name, partitions)| (Arc::clone(name), partitions))
                .collect(),
            problems: problems.collect(),
        };
        self.shared.set_status(self.status.clone());
    }
}
