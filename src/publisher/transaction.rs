//! Publication in transactions, for plants whose consumers read committed records only (`kafka.transactions`).
//!
//! One round over the lanes is one transaction: a burst of each lane that has something to send, and the commit. What was written counts as delivered when
//! the commit is through. The next round takes what was stored meanwhile, so that transactions are the larger the slower the broker.
//!
//! A new producer first ends what its predecessor left open ([`State::Unopened`]); only then the log says for sure what is on it. A transaction that failed is not
//! taken back by its own producer: that one may have records on the log that it does not know of, and a later record under their number would pass for
//! written. It is replaced, its successor takes the transaction back, and the lanes look at the log as after any other doubt.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use crate::client::Delivery;
use crate::clients::{Producer, Way};
use crate::dead_letter::is_about_record;
use crate::opening::TopicState;
use crate::outcome::is_about_topic;
use crate::worker::{REBUILD_PAUSE, Round, SEQUENCE_BITS, Worker};

/// How long one look takes whether a transaction has begun or ended. A stop is not noticed meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// Pause before a broker that did not answer is asked again to begin.
const OPENING_PAUSE: Duration = Duration::from_millis(500);
/// Transactions that cannot begin for this long are a problem that is told.
const OPENING_PATIENCE: Duration = Duration::from_secs(5);
/// How long the records of a transaction that failed are waited for.
const FAILING: Duration = Duration::from_millis(500);
/// Pause before the producer after one whose transaction failed.
const SHORT_PAUSE: Duration = Duration::from_millis(250);
/// Pause before a producer is made anew that another one has driven out, or that the brokers refuse. Longer than a gateway takes to find out that another of its name goes on in its
/// place, so that the two do not drive each other out by turns.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// How far the transaction at hand has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The producer is new: what an earlier one left open has to be ended first. Not tried before that time.
    Unopened { try_at: Instant },
    /// There is none.
    Between,
    /// Records are on their way, or the commit is.
    Open {
        since: Instant,
        /// Records that were handed over.
        sent: usize,
        /// The brokers were asked to commit.
        commits: bool,
    },
}

/// The transactions of a publisher that uses them.
pub(crate) struct Transactions {
    state: State,
    /// How long the brokers let one take.
    timeout: Duration,
    /// Since when there is no producer that can begin one.
    unopened_since: Instant,
    /// What the client said of records of the transaction at hand.
    deliveries: Vec<Delivery>,
    /// When it first said that one failed.
    failing_since: Option<Instant>,
    /// How long to wait before the next producer.
    pause: Duration,
    /// Why none can begin.
    pub(crate) problem: Option<String>,
}

impl Transactions {
    pub(crate) fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            state: State::Unopened { try_at: now },
            timeout,
            unopened_since: now,
            deliveries: Vec::new(),
            failing_since: None,
            pause: REBUILD_PAUSE,
            problem: None,
        }
    }

    /// Begins anew with another producer. Returns how long to wait for it. `fatal` says what the client calls the end of the one before.
    pub(crate) fn restart(&mut self, fatal: Option<&(RDKafkaErrorCode, String)>) -> Duration {
        let overdue = self.is_overdue();
        if let Some((code, reason)) = fatal
            && self.problem.is_none()
            && is_fenced(*code)
            && !overdue
        {
            self.pause = LONG_PAUSE;
            self.problem = Some(format!(
                "another gateway of this name began to publish in transactions ({reason})"
            ));
        }
        let (pause, problem) = (self.pause, self.problem.take());
        *self = Self {
            problem,
            ..Self::new(self.timeout)
        };
        pause
    }

    /// Whether the brokers may have taken the transaction back because it took too long.
    fn is_overdue(&self) -> bool {
        matches!(self.state, State::Open { since, .. } if since.elapsed() > self.timeout)
    }

    /// Keeps what the client says while it is not known what becomes of it.
    pub(crate) fn keep(&mut self, deliveries: &mut Vec<Delivery>) -> bool {
        let keeps = matches!(self.state, State::Open { .. });
        if keeps {
            if deliveries.iter().any(|delivery| delivery.outcome.is_err()) {
                self.failing_since.get_or_insert_with(Instant::now);
            }
            self.deliveries.append(deliveries);
        }
        keeps
    }

    /// Notes that so many records more are part of the transaction.
    pub(crate) fn note_sent(&mut self, count: usize) {
        if let State::Open { sent, .. } = &mut self.state {
            *sent += count;
        }
    }

    /// When the brokers are asked again to begin.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        match self.state {
            State::Unopened { try_at } => Some(try_at),
            _ => None,
        }
    }
}

impl Worker {
    /// Whether an earlier producer may have left a transaction open, so that the log does not tell yet what is on it.
    pub(crate) fn is_log_undecided(&self) -> bool {
        let unopened = |transactions: &Transactions| matches!(transactions.state, State::Unopened { .. });
        self.transactions.as_ref().is_some_and(unopened)
    }

    fn set_transaction(&mut self, state: State) {
        if let Some(transactions) = &mut self.transactions {
            transactions.state = state;
            transactions.failing_since = None;
        }
    }

    fn transactional(&self) -> Option<&Producer> {
        self.clients.as_ref().and_then(|clients| clients.get(Way::AtOnce))
    }

    /// Ends what an earlier producer left open, where this one is new.
    pub(crate) fn open_transactions(&mut self, now: Instant) {
        let due = |at| now >= at;
        let (Some(transactions), Some(producer)) = (&self.transactions, self.transactional()) else {
            return;
        };
        if !transactions.next_try().is_some_and(due) {
            return;
        }
        match producer.init_transactions(LOOK) {
            Ok(()) => {
                self.set_transaction(State::Between);
                self.set_transaction_problem(None);
                self.reached();
            }
            Err(error) if passes(&error) => {
                let waits_long = transactions.unopened_since.elapsed() > OPENING_PATIENCE;
                self.set_transaction(State::Unopened {
                    try_at: now + OPENING_PAUSE,
                });
                if waits_long {
                    self.set_transaction_problem(Some(format!(
                        "the brokers do not let transactions begin: {error}"
                    )));
                }
            }
            Err(error) => self.give_producer_up(&error),
        }
    }

    fn set_transaction_problem(&mut self, problem: Option<String>) {
        if let Some(transactions) = &mut self.transactions {
            transactions.problem = problem;
        }
    }

    /// Begins a transaction where none is open.
    pub(crate) fn begin_transaction(&mut self) -> Result<(), KafkaError> {
        if self.is_between() {
            if let Some(producer) = self.transactional() {
                producer.begin_transaction()?;
            }
            self.set_transaction(State::Open {
                since: Instant::now(),
                sent: 0,
                commits: false,
            });
        }
        Ok(())
    }

    /// Sends a round of all lanes in a transaction and ends it.
    pub(crate) fn send_in_transaction(&mut self) -> Round {
        if self.is_between() {
            // What failed without a name is looked for one lane after the other.
            let suspect =
                (0..self.slots.len()).find(|place| self.slots[*place].suspect && self.may_send(*place));
            let round = self.send_round(suspect);
            if self.is_between() {
                return round;
            }
        }
        self.end_transaction()
    }

    fn is_between(&self) -> bool {
        let between = |transactions: &Transactions| transactions.state == State::Between;
        self.transactions.as_ref().is_some_and(between)
    }

    /// Commits once every record has been told of.
    fn end_transaction(&mut self) -> Round {
        self.collect();
        let (Some(transactions), Some(producer)) = (&self.transactions, self.transactional()) else {
            return Round::Done;
        };
        let State::Open { sent, commits, .. } = transactions.state else {
            return Round::Done;
        };
        // After a failure the client throws the others away, but for what comes back to it then and is never sent.
        let is_told = transactions.deliveries.len() >= sent || producer.in_flight_count() == 0;
        if !commits && !is_told {
            let fails = transactions
                .failing_since
                .is_some_and(|since| since.elapsed() > FAILING);
            if fails || transactions.is_overdue() {
                self.fail_overdue();
                return Round::More;
            }
            return Round::Throttled;
        }
        match producer.commit_transaction(LOOK) {
            Ok(()) => self.committed(),
            Err(error) if wants_abort(&error) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                self.fail_transaction(code, &error.to_string());
            }
            Err(error) if passes(&error) => {
                let begun = matches!(error, KafkaError::Transaction(_));
                if let Some(Transactions {
                    state: State::Open { commits, .. },
                    ..
                }) = &mut self.transactions
                {
                    *commits |= begun;
                }
                return Round::Throttled;
            }
            Err(error) => self.give_producer_up(&error),
        }
        Round::More
    }

    /// What was written is delivered.
    fn committed(&mut self) {
        self.collect();
        self.set_transaction(State::Between);
        self.set_transaction_problem(None);
        for slot in &mut self.slots {
            slot.suspect &= !slot.lane.is_under_way();
        }
        for delivery in self.take_kept() {
            self.take_delivery(&delivery);
        }
        self.after_deliveries();
    }

    fn take_kept(&mut self) -> Vec<Delivery> {
        let kept = self.transactions.as_mut();
        kept.map(|own| std::mem::take(&mut own.deliveries))
            .unwrap_or_default()
    }

    /// Not all records are acknowledged and they will not be: the lanes of which none is hold up the others.
    fn fail_overdue(&mut self) {
        const REASON: &str = "the brokers do not take the records in time";
        let deliveries = self.transactions.iter().flat_map(|own| &own.deliveries);
        let delivered: HashSet<usize> = deliveries
            .filter(|delivery| delivery.outcome.is_ok())
            .map(|delivery| delivery.position >> SEQUENCE_BITS)
            .collect();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.lane.is_under_way() && !delivered.contains(&place) {
                let sequence = slot.lane.acked() + 1;
                let freed = slot.lane.failed(sequence, REASON.to_owned(), false);
                self.in_flight = self.in_flight.saturating_sub(freed);
            }
        }
        self.fail_transaction(RDKafkaErrorCode::MessageTimedOut, REASON);
    }

    /// Nothing of what was written counts. Lanes that are to blame are held, the others go on behind what they had acknowledged.
    fn fail_transaction(&mut self, code: RDKafkaErrorCode, reason: &str) {
        self.collect();
        for delivery in self.take_kept() {
            if delivery.outcome.is_err() {
                self.take_delivery(&delivery);
            }
        }
        let lanes = |worker: &Self, to_blame: bool| -> Vec<usize> {
            let slots = worker.slots.iter().enumerate();
            let within = slots.filter(|(_, slot)| slot.lane.is_under_way());
            within
                .filter(|(_, slot)| !to_blame || slot.lane.is_stopped())
                .map(|(place, _)| place)
                .collect()
        };
        if lanes(self, true).is_empty() {
            self.suspect(&lanes(self, false), code, reason);
        }
        let now = Instant::now();
        for place in lanes(self, true) {
            self.hold(place, now);
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.pause = SHORT_PAUSE;
        }
        self.must_rebuild = Some(reason.to_owned());
    }

    /// The client does not say which of the lanes it was. Each is tried alone until it is through; the one that fails alone is the one.
    fn suspect(&mut self, within: &[usize], code: RDKafkaErrorCode, reason: &str) {
        for place in within {
            self.slots[*place].suspect = true;
        }
        if let [place] = within {
            let lane = &mut self.slots[*place].lane;
            let freed = lane.failed(lane.acked() + 1, reason.to_owned(), is_about_record(code));
            self.in_flight = self.in_flight.saturating_sub(freed);
            if is_about_topic(code)
                && let Some(topic) = self.topics.get_mut(self.slots[*place].lane.topic)
            {
                topic.state = TopicState::Unknown;
            }
        }
    }

    /// The producer is of no more use: another has its place, or the brokers do not let it begin.
    pub(crate) fn give_producer_up(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let is_new = self.is_log_undecided();
        if let Some(transactions) = &mut self.transactions
            && is_new
            && !is_fenced(code)
        {
            transactions.pause = LONG_PAUSE;
            transactions.problem = Some(if code == RDKafkaErrorCode::TransactionalIdAuthorizationFailed {
                format!(
                    "the brokers do not allow transactions: the gateway's user needs Write and Describe on the transactional id floorgate-{}",
                    self.gateway
                )
            } else {
                format!("the brokers do not let transactions begin: {error}")
            });
        }
        self.must_rebuild = Some(error.to_string());
    }

    /// Takes back what is open at the end, so that nobody who reads committed records waits for it.
    pub(crate) fn close_transactions(&self) {
        let is_open = |own: &Transactions| matches!(own.state, State::Open { commits: false, .. });
        if self.transactions.as_ref().is_some_and(is_open)
            && let Some(producer) = self.transactional()
            && let Err(error) = producer.abort_transaction(LOOK)
        {
            tracing::debug!(%error, "the last transaction stays open until the next start");
        }
    }
}

/// Whether another producer has the place, or the brokers took it away.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced)
}

/// Whether the same is worth trying again.
fn passes(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
        _ => false,
    }
}

/// Whether the transaction can only be taken back.
fn wants_abort(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort())
}
