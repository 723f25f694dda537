//! What the publisher tells the engine and the operator.

use std::sync::Arc;

/// News for the engine, which alone writes the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// All records of a lane up to a sequence are on the log.
    Delivered {
        /// The lane's number in the store.
        lane: u32,
        /// The highest sequence of which it and all before it are acknowledged.
        sequence: u64,
        /// The offset of that record, where the broker told it.
        offset: Option<i64>,
    },
    /// A broker told how many partitions a topic has. The count is to be pinned, and the topic's waiting events to be placed;
    /// then [`Publisher::rescan`](crate::Publisher::rescan).
    TopicPinned {
        /// The topic's name.
        topic: Arc<str>,
        /// Its partition count.
        partitions: u32,
    },
    /// The store could not be read.
    StoreFailed {
        /// Why, with all causes.
        reason: String,
    },
}

/// How publishing stands, for an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether a broker was reachable when last something was sent or asked.
    pub kafka_up: bool,
    /// What keeps events from being published, each naming its topic, lane or setting. Empty when nothing does.
    pub problems: Vec<String>,
}
