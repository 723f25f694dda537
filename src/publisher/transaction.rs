//! Publication in transactions, for plants whose consumers read committed records only (`kafka.transactions`).
//!
//! One round over the lanes is one transaction: a burst of each lane that has something to send, and the commit. What was written counts as delivered when
//! the commit is through. The next round takes what was stored meanwhile, so that transactions are the larger the slower the broker.
//!
//! A new producer first ends what its predecessor left open ([`State::Unopened`]); only then the log says for sure what is on it. An aborted transaction is on
//! the log for nobody who reads committed records, and its lanes look at the log as after any other doubt.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use crate::client::Delivery;
use crate::clients::Way;
use crate::dead_letter::is_about_record;
use crate::opening::TopicState;
use crate::outcome::is_about_topic;
use crate::worker::{REBUILD_PAUSE, Round, Worker};

/// How long one look takes whether a transaction, or its end, is through. A stop is not noticed meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// Pause before a broker that did not answer is asked again to begin.
const OPENING_PAUSE: Duration = Duration::from_millis(500);
/// Pause before a producer is made anew that another one has driven out, or that the brokers refuse. Longer than a gateway takes to find out that another of its name goes on in its
/// place, so that the two do not drive each other out by turns.
const LONG_PAUSE: Duration = Duration::from_secs(20);

/// How far the transaction at hand has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The producer is new: what an earlier one left open has to be ended first. Not tried before that time.
    Unopened { try_at: Instant },
    /// There is none.
    Between,
    /// Records are on their way, or the commit is.
    Open,
    /// It failed and is being taken back.
    Aborting,
}

/// The transactions of a publisher that uses them.
pub(crate) struct Transactions {
    state: State,
    /// What the client said of records of the transaction at hand.
    deliveries: Vec<Delivery>,
    /// Why it is taken back.
    reason: Option<(RDKafkaErrorCode, String)>,
    /// How long to wait before the next producer.
    pause: Duration,
}

impl Transactions {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Unopened {
                try_at: Instant::now(),
            },
            deliveries: Vec::new(),
            reason: None,
            pause: REBUILD_PAUSE,
        }
    }

    /// Begins anew with another producer. Returns how long to wait for it.
    pub(crate) fn restart(&mut self) -> Duration {
        let pause = self.pause;
        *self = Self::new();
        pause
    }

    /// Keeps what the client says while it is not known what becomes of it.
    pub(crate) fn keep(&mut self, deliveries: &mut Vec<Delivery>) -> bool {
        let keeps = matches!(self.state, State::Open | State::Aborting);
        if keeps {
            self.deliveries.append(deliveries);
        }
        keeps
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
        }
    }

    /// Ends what an earlier producer left open, where this one is new.
    pub(crate) fn open_transactions(&mut self, now: Instant) {
        let due = |at| now >= at;
        if !self
            .transactions
            .as_ref()
            .and_then(Transactions::next_try)
            .is_some_and(due)
        {
            return;
        }
        let Some(producer) = self.clients.as_ref().and_then(|clients| clients.get(Way::AtOnce)) else {
            return;
        };
        match producer.init_transactions(LOOK) {
            Ok(()) => {
                self.set_transaction(State::Between);
                self.reached();
            }
            Err(error) if passes(&error) => {
                self.set_transaction(State::Unopened {
                    try_at: now + OPENING_PAUSE,
                });
            }
            Err(error) => self.give_producer_up(&error),
        }
    }

    /// Begins a transaction where none is open.
    pub(crate) fn begin_transaction(&mut self) -> Result<(), KafkaError> {
        let Some(transactions) = &mut self.transactions else {
            return Ok(());
        };
        if transactions.state == State::Between {
            if let Some(producer) = self.clients.as_ref().and_then(|clients| clients.get(Way::AtOnce)) {
                producer.begin_transaction()?;
            }
            transactions.state = State::Open;
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

    fn end_transaction(&mut self) -> Round {
        let (Some(transactions), Some(producer)) = (
            &mut self.transactions,
            self.clients.as_ref().and_then(|clients| clients.get(Way::AtOnce)),
        ) else {
            return Round::Done;
        };
        if transactions.state == State::Open {
            match producer.commit_transaction(LOOK) {
                Ok(()) => {
                    self.committed();
                    return Round::More;
                }
                Err(error) if wants_abort(&error) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                    transactions.reason = Some((code, error.to_string()));
                    transactions.state = State::Aborting;
                }
                Err(error) if passes(&error) => return Round::Throttled,
                Err(error) => {
                    self.give_producer_up(&error);
                    return Round::More;
                }
            }
        }
        match (transactions.state, producer.abort_transaction(LOOK)) {
            (State::Unopened { .. }, _) => Round::Done,
            (_, Ok(())) => {
                self.aborted();
                Round::More
            }
            (_, Err(error)) if passes(&error) => Round::Throttled,
            (_, Err(error)) => {
                self.give_producer_up(&error);
                Round::More
            }
        }
    }

    /// What was written is delivered.
    fn committed(&mut self) {
        self.collect();
        self.set_transaction(State::Between);
        let deliveries = self
            .transactions
            .as_mut()
            .map(|own| std::mem::take(&mut own.deliveries));
        for slot in &mut self.slots {
            slot.suspect &= !slot.lane.is_under_way();
        }
        for delivery in deliveries.iter().flatten() {
            self.take_delivery(delivery);
        }
        self.after_deliveries();
    }

    /// Nothing of what was written counts. Lanes that are not to blame go on behind what they had acknowledged.
    fn aborted(&mut self) {
        self.collect();
        self.set_transaction(State::Between);
        let Some(transactions) = &mut self.transactions else {
            return;
        };
        let deliveries = std::mem::take(&mut transactions.deliveries);
        let (code, reason) = transactions
            .reason
            .take()
            .unwrap_or((RDKafkaErrorCode::Unknown, String::new()));
        for delivery in deliveries.iter().filter(|delivery| delivery.outcome.is_err()) {
            self.take_delivery(delivery);
        }
        let within: Vec<usize> = (0..self.slots.len())
            .filter(|place| self.slots[*place].lane.is_under_way())
            .collect();
        tracing::warn!(
            reason,
            lanes = within.len(),
            "a transaction was taken back; its events are sent again"
        );
        if !within.iter().any(|place| self.slots[*place].lane.is_stopped()) {
            self.suspect(&within, code, &reason);
        }
        let now = Instant::now();
        for place in within {
            self.hold(place, now);
        }
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
        let reason = match code {
            RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced => {
                format!("another gateway of this name began to publish in transactions ({error})")
            }
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed => format!(
                "the brokers do not allow transactions: the gateway's user needs Write and Describe on the transactional id floorgate-{} ({error})",
                self.gateway
            ),
            _ => error.to_string(),
        };
        if let Some(transactions) = &mut self.transactions
            && reason != error.to_string()
        {
            transactions.pause = LONG_PAUSE;
            self.connection_problem = Some(reason.clone());
        }
        self.must_rebuild = Some(reason);
    }
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
