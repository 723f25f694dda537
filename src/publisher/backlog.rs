//! What the publisher needs of the store.

use std::error::Error;
use std::sync::Arc;

use floorgate_sample::Timestamp;

/// A place where order is kept: one partition of one topic, within one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLane {
    /// The lane's number in the store, below 2²³.
    pub id: u32,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition, or -1 where events wait until the topic's partition count is known.
    pub partition: i32,
    /// Rises when the lane's numbering starts again.
    pub epoch: i64,
    /// The highest sequence that is stored; 0 for none.
    pub last_sequence: u64,
    /// Everything up to here is on the log; 0 for none.
    pub acked_sequence: u64,
    /// The topic's pinned partition count, once known.
    pub partitions: Option<u32>,
}

/// An event as it is published: everything in it was encoded when it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The lane's number in the store.
    pub lane: u32,
    /// The place in the lane, contiguous from 1.
    pub sequence: u64,
    /// When the event was stored.
    pub recorded: Timestamp,
    /// The record's key.
    pub key: String,
    /// The record's headers, one `name: value` a line; `%`, CR and LF inside a value are `%25`, `%0D` and `%0A`.
    pub headers: String,
    /// The record's value.
    pub value: Vec<u8>,
}

/// Reads what is stored. The publisher's thread owns it and writes nothing.
pub trait Backlog: Send {
    /// All lanes of the current epoch.
    fn lanes(&mut self) -> Result<Vec<StoredLane>, BacklogError>;

    /// Rows of a lane after a sequence, in order, at most `limit` of them, and no more after `bytes` of value are reached.
    fn rows(&mut self, lane: u32, after: u64, limit: usize, bytes: usize) -> Result<Vec<Row>, BacklogError>;
}

/// Why the store could not be read.
pub type BacklogError = Box<dyn Error + Send + Sync>;
