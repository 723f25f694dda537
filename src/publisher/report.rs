//! What the publisher tells the engine and the operator.

use std::sync::Arc;

use floorgate_outbox::{Burial, Renewal};

/// News that the engine has to act on.
#[derive(Debug)]
pub enum Report {
    /// A broker told how many partitions a topic has of which none are pinned. The count is to be pinned, then
    /// [`Publisher::pinned`](crate::Publisher::pinned), until which it is told again, and the topic's waiting events to be placed.
    TopicPinned {
        /// The topic's name.
        topic: Arc<str>,
        /// Its partition count, at least 1.
        partitions: u32,
    },
    /// Log and store of a lane do not agree. A new epoch is to be stored, what was told of the old one to be forgotten; then
    /// [`Publisher::rescan`](crate::Publisher::rescan).
    LaneDisagrees(Renewal),
    /// A record is refused for good. The event is to be set aside and a stub to be put into its place; then
    /// [`Publisher::replaced`](crate::Publisher::replaced), until which its lane stands still.
    Refused(Burial),
    /// Another gateway of the same name has begun to publish, here or elsewhere: this one is to stop.
    Fenced,
    /// The store could not be read. Reading is tried again every second.
    StoreFailed(floorgate_outbox::Error),
}

/// How publishing stands, for an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether a broker was reachable when last something was sent or asked.
    pub kafka_up: bool,
    /// How many partitions the topics have that can be published to, as far as it was told.
    pub partitions: Vec<(Arc<str>, u32)>,
    /// What keeps events from being published, or is not as it was, each naming its topic, lane or setting. Empty when all is well.
    pub problems: Vec<String>,
}
