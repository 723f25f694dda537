//! Publication to Kafka: what is stored is sent, in order, and what the brokers acknowledge is reported back.
//!
//! # What is guaranteed
//! - Every stored row is sent until a broker acknowledges it, `acks=all`. No outage is too long: nothing expires.
//! - Within a lane (one partition of one topic, in one epoch) rows are sent in the order of their sequence. An error stops the lane; it goes on at the first row
//!   that is not acknowledged. The idempotent producer keeps the brokers from storing its own retries twice or out of order.
//! - A lane has one burst of records on its way, and begins with a burst of one on each producer: the idempotent producer alone loses the first record of a
//!   partition that is not ready yet, when the second request is there before the first one's retry.
//! - A lane's watermark is contiguous: what is reported as acknowledged, is, and so is everything before it.
//! - A lane that is refused, or a topic that is missing, holds up nothing but itself.
//! - Memory is bounded: rows handed over (4 MiB), rows at hand (8 MiB, and up to a burst of each lane that is read from the store), records in
//!   flight (`in_flight_mib`, one lane its share of it).
//!   What does not fit stays in the store and is read from there.
//!
//! - What was sent and not acknowledged, by an earlier process, by a producer that was replaced, or behind a record that was refused, is looked for on the
//!   log before the lane goes on: from the last acknowledged record, which has to be there, to the end, and once more a quarter of a second later. What is found is
//!   delivered; what is not, is sent again.
//!
//! - In transactions ([`KafkaSettings::transactions`]) who reads committed records only sees none of what is sent again.
//!
//! # Where a record can be on the log twice
//! | window | what is sent again | how it is recognised |
//! |---|---|---|
//! | bytes of a dead process or producer reach the broker after the log was looked at | what they carried | by epoch and sequence |
//! | a record in the middle of a lane is refused, and later ones were taken | the later ones | by epoch and sequence |
//! | the gateway may not read the topic, or the log does not have the last acknowledged record any more | what was not acknowledged | marked |
//!
//! Marked means the header `floorgate_possible_duplicate: true`, counted in `floorgate_possible_duplicates_total`. Lane epoch and sequence are the same on both,
//! so that a consumer drops the second by comparing with the last sequence of the lane: equal or lower, drop; higher by more than one, skip, since
//! it comes again.
//!
//! # Threads
//! One publisher thread that owns all state; one that asks about topics and one that reads the ends of logs, which may wait for a silent
//! broker; one that waits for the client's news, and one that holds the gateway's place in its group;
//! librdkafka's own, of one producer or, where bursts are large, two. [`Publisher::offer`] and
//! [`Publisher::take_reports`] never wait for any of them.

mod bounds;
mod client;
mod clients;
mod dead_letter;
mod fence;
#[cfg(test)]
mod fuzzing;
mod inbox;
mod lane;
#[cfg(test)]
mod lane_tests;
mod log_reader;
mod mark;
#[cfg(test)]
mod model_tests;
mod opening;
mod outcome;
mod publisher;
mod reading;
mod reconcile;
mod record;
mod report;
mod sending;
mod settings;
mod settling;
mod topics;
mod transaction;
mod worker;

pub use client::{ClientError, connection};
pub use publisher::{Publisher, StartError, Wiring};
pub use record::{
    HEADER_DEAD_LETTER, HEADER_GATEWAY, HEADER_INCARNATION, HEADER_LANE_EPOCH, HEADER_LANE_SEQUENCE,
    HEADER_POSSIBLE_DUPLICATE, HEADER_REPLAYED, HEADER_TRANSACTIONAL, HeaderError, stored_headers,
};
pub use report::{Report, Status};
pub use settings::{Compression, KafkaSettings, Mechanism, Protocol, SecuritySettings, TopicSettings};
