//! What became of the records: acknowledgements, refusals, and errors after which nothing is sure.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer, PurgeConfig};

use crate::client::{Delivery, in_our_words};
use crate::clients::{Clients, Way};
use crate::dead_letter::is_about_record;
use crate::opening::TopicState;
use crate::transaction::Transactions;
use crate::worker::{REBUILD_PAUSE, SEQUENCE_BITS, Worker};

/// Pauses before a lane is tried again after a refusal: the first finds the record, the others wait for help.
const LANE_PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_secs(10),
    Duration::from_mins(1),
];

/// How often it is looked whether a purge is through.
const PURGE_LOOK: Duration = Duration::from_millis(1);

impl Worker {
    /// Collects what the client has to say, and acts on it.
    pub(crate) fn collect(&mut self) {
        for way in Way::ALL {
            self.collect_from(way);
        }
    }

    fn collect_from(&mut self, way: Way) {
        let producer = self.clients.as_ref().and_then(|clients| clients.get(way));
        let Some(producer) = producer else { return };
        let mut collected = std::mem::take(&mut self.collected);
        producer.context().take(&mut collected);
        let failed = !collected.errors.is_empty()
            || collected
                .deliveries
                .iter()
                .any(|delivery| delivery.outcome.is_err());
        let is_open = |own: &mut Transactions| own.keep(&mut collected.deliveries);
        if !self.transactions.as_mut().is_some_and(is_open) && !collected.deliveries.is_empty() {
            for delivery in collected.deliveries.drain(..) {
                self.take_delivery(&delivery);
            }
            self.after_deliveries();
        }
        for (code, reason) in collected.errors.drain(..) {
            self.take_error(way, code, reason);
        }
        if failed {
            self.look_for_fatal();
        }
        self.collected = collected;
    }

    pub(crate) fn take_delivery(&mut self, delivery: &Delivery) {
        let sequence = (delivery.position & ((1 << SEQUENCE_BITS) - 1)) as u64;
        let Some(slot) = self.slots.get_mut(delivery.position >> SEQUENCE_BITS) else {
            return;
        };
        match delivery.outcome {
            Ok(offset) => {
                let latency = &self.acknowledged_seconds;
                let freed = slot.lane.delivered(sequence, offset, |committed| {
                    latency.observe(delivery.at.since(committed).as_secs_f64());
                });
                self.in_flight = self.in_flight.saturating_sub(freed);
            }
            // What we threw away ourselves is unknown, not failed; the lanes are rewound.
            Err(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => {}
            Err(code) => {
                self.metrics
                    .publish_errors
                    .with_label_values(&[&format!("{code:?}")])
                    .inc();
                slot.refuses_old_times |= code == RDKafkaErrorCode::InvalidTimestamp;
                if is_unsure(code) {
                    self.must_rebuild.get_or_insert_with(|| code.to_string());
                    return;
                }
                self.in_flight = self.in_flight.saturating_sub(slot.lane.failed(
                    sequence,
                    code.to_string(),
                    is_about_record(code),
                ));
                if is_about_topic(code)
                    && let Some(topic) = self.topics.get_mut(slot.lane.topic)
                {
                    topic.state = TopicState::Unknown;
                }
            }
        }
    }

    pub(super) fn after_deliveries(&mut self) {
        let mut progress = false;
        for slot in &mut self.slots {
            let acked = slot.lane.acked();
            if acked > slot.reported {
                progress = true;
                self.shared.delivered(slot.lane.acknowledged());
                if let Some(topic) = self.topics.get(slot.lane.topic) {
                    topic.published.inc_by(acked - slot.reported);
                }
                slot.reported = acked;
            }
        }
        if progress {
            self.reached();
        }
    }

    fn take_error(&mut self, way: Way, code: RDKafkaErrorCode, reason: String) {
        if code == RDKafkaErrorCode::Fatal {
            self.must_rebuild.get_or_insert(reason);
            return;
        }
        // Brokers close the connections of a client that has had nothing to send for some time.
        let is_idle = self.clients.as_ref().is_some_and(|clients| clients.used != way);
        if is_idle {
            tracing::debug!(%code, reason, "the kafka client that is not in use has lost its connection");
            return;
        }
        self.metrics
            .publish_errors
            .with_label_values(&[&format!("{code:?}")])
            .inc();
        if code == RDKafkaErrorCode::AllBrokersDown {
            self.lost();
        } else {
            self.connection_problem = Some(in_our_words(&reason));
        }
    }

    fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        let mut producers = self.clients.iter().flat_map(Clients::iter);
        producers.find_map(|producer| producer.client().fatal_error())
    }

    /// A fatal error shows in many ways; the client itself knows for sure.
    fn look_for_fatal(&mut self) {
        if let Some((code, reason)) = self.fatal_error() {
            self.connection_problem = None;
            self.must_rebuild
                .get_or_insert_with(|| format!("{code}: {reason}"));
        }
    }

    pub(crate) fn lost(&mut self) {
        if self.reachable != Some(false) {
            tracing::warn!(
                see = "gateway-kafka-unreachable",
                "no broker is reachable; events wait in the store"
            );
        }
        self.reachable = Some(false);
        self.metrics.kafka_up.set(0);
    }

    pub(crate) fn reached(&mut self) {
        if self.reachable != Some(true) {
            tracing::info!("kafka is reachable");
        }
        self.reachable = Some(true);
        self.metrics.kafka_up.set(1);
        self.connection_problem = None;
    }

    /// Throws the producer away and goes back to the last acknowledged record of each lane.
    pub(crate) fn rebuild(&mut self) {
        let reason = self.must_rebuild.take().unwrap_or_default();
        let fatal = self.fatal_error();
        if self.transactions.is_some() && fatal.is_none() {
            tracing::warn!(
                reason,
                see = "gateway-producer-replaced",
                "a transaction failed; its events are sent again"
            );
        } else {
            tracing::error!(
                reason,
                see = "gateway-producer-replaced",
                "the kafka producer is of no more use and is replaced"
            );
            self.metrics.publish_errors.with_label_values(&["Fatal"]).inc();
        }
        for producer in self.clients.iter().flat_map(Clients::iter) {
            producer.purge(PurgeConfig::default().queue().inflight());
            // Every record is told of now, as delivered or as thrown away.
            let end = Instant::now() + REBUILD_PAUSE;
            while producer.in_flight_count() > 0 && Instant::now() < end {
                producer.poll(PURGE_LOOK);
            }
        }
        // Successes that are reported already are not thrown away with it.
        self.collect();
        self.must_rebuild = None;
        self.clients = None;
        for slot in &mut self.slots {
            slot.sent_at = [None; 2];
            self.cached = self.cached.saturating_sub(slot.lane.cached_bytes());
            self.in_flight = self.in_flight.saturating_sub(slot.lane.rewind());
            // To a new producer no broker would say that it has lost something: each lane looks for it when it has something to send.
            slot.lane.unsettle();
        }
        let pause = self.transactions.as_mut().map(|own| own.restart(fatal.as_ref()));
        self.rebuild_at = Instant::now() + pause.unwrap_or(REBUILD_PAUSE);
    }

    /// Rewinds a lane whose records all have an outcome, lets it rest where one was refused, and has that set aside where it is refused for good.
    pub(crate) fn hold(&mut self, place: usize, now: Instant) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        self.cached = self.cached.saturating_sub(slot.lane.cached_bytes());
        self.in_flight = self.in_flight.saturating_sub(slot.lane.rewind());
        let Some(failure) = slot.lane.failure() else {
            return;
        };
        if failure.sequence != slot.failed_at {
            slot.failed_at = failure.sequence;
            slot.attempts = 0;
        }
        let pause = LANE_PAUSES
            .get(slot.attempts)
            .copied()
            .unwrap_or(LANE_PAUSES[LANE_PAUSES.len() - 1]);
        if slot.attempts > 0 {
            tracing::error!(
                topic = self.topics.get(slot.lane.topic).map_or("", |topic| &*topic.name),
                partition = slot.lane.partition,
                sequence = failure.sequence,
                reason = failure.reason,
                again_in = pause.as_secs(),
                see = "gateway-record-refused",
                "kafka refuses a record; its lane is held, the others flow"
            );
        }
        slot.attempts += 1;
        slot.held_until = Some(now + pause);
        if slot.is_refused_for_good() {
            self.bury(place);
        }
    }
}

/// Errors after which it is not known what the log holds, or the producer is of no more use.
fn is_unsure(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fatal | RDKafkaErrorCode::MessageTimedOut)
}

/// Errors that say something of the topic rather than of the record.
pub(crate) fn is_about_topic(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
    )
}
