//! What goes into the store and what comes back.

use std::fmt;
use std::sync::Arc;

use floorgate_sample::Timestamp;

use crate::{Burial, Lane};

/// An event on its way into the store. Key, headers and value are kept as they are, byte for byte; publishing never encodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The Kafka topic.
    pub topic: Arc<str>,
    /// The record's key; its hash chooses the partition.
    pub key: Arc<str>,
    /// Where the event goes instead of the partition that the key's hash chooses. It is not checked against the topic's
    /// count: a lane whose partition does not exist is for the publisher to report.
    pub partition: Option<u32>,
    /// The event's id, unique for its source.
    pub id: String,
    /// The event's type, for the operator's eyes.
    pub kind: Arc<str>,
    /// What the event is about, for the operator's eyes.
    pub subject: Arc<str>,
    /// When the event was derived.
    pub recorded: Timestamp,
    /// Headers that many events share, as text: stored once. The store does not look into it.
    pub shared_headers: Arc<str>,
    /// The record's other headers as text.
    pub headers: String,
    /// The record's value.
    pub value: Vec<u8>,
    /// Why it was made, for who asks; empty where that is not known. No part of the record.
    pub trace: String,
}

impl Event {
    /// The columns of an event that [`Event::of_columns`] reads, in a query that joins `event` with `shared`.
    pub(crate) const COLUMNS: &str =
        "key, event.id, type, subject, recorded, shared.headers, event.headers, value, trace";

    /// Reads an event whose columns begin at `first`.
    pub(crate) fn of_columns(
        row: &rusqlite::Row<'_>,
        first: usize,
        topic: Arc<str>,
        partition: Option<u32>,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            topic,
            partition,
            key: row.get(first)?,
            id: row.get(first + 1)?,
            kind: row.get(first + 2)?,
            subject: row.get(first + 3)?,
            recorded: Timestamp::from_nanos(row.get(first + 4)?),
            shared_headers: row.get(first + 5)?,
            headers: row.get(first + 6)?,
            value: row.get(first + 7)?,
            trace: row.get::<_, Option<String>>(first + 8)?.unwrap_or_default(),
        })
    }
}

/// A state cell that a commit changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What the cell belongs to, by name.
    pub key: Arc<str>,
    /// Its new content, or `None` to remove the cell.
    pub value: Option<String>,
}

/// How far a lane has been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The lane.
    pub lane: LaneId,
    /// The highest sequence of which it and all before it are on the log. A watermark never goes back: a lower one is ignored.
    pub sequence: u64,
    /// The offset of that record, or one that is not above it (the success of a duplicate sequence tells none). `None` leaves the last
    /// one in place.
    pub offset: Option<i64>,
}

/// What is stored in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// New events, in order.
    pub events: Vec<Event>,
    /// Changed state. Of two changes of one cell the later counts.
    pub cells: Vec<Cell>,
    /// Delivered positions.
    pub acknowledged: Vec<Acknowledged>,
    /// Events that are set aside as dead letters, each with a stub for its place. One that is delivered by then is left alone.
    pub burials: Vec<Burial>,
    /// Numbers of dead letters that are done with.
    pub settled_letters: Vec<u64>,
}

impl Commit {
    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.cells.is_empty()
            && self.acknowledged.is_empty()
            && self.burials.is_empty()
            && self.settled_letters.is_empty()
    }

    /// The bytes of its events and cells, roughly.
    pub(crate) fn size(&self) -> u64 {
        const ROW: usize = 64;
        let events = self.events.iter().map(|event| {
            ROW + event.id.len()
                + event.subject.len()
                + event.key.len()
                + event.headers.len()
                + event.value.len()
                + event.trace.len()
        });
        let cells = self
            .cells
            .iter()
            .map(|cell| cell.key.len() + cell.value.as_ref().map_or(0, String::len));
        events.chain(cells).map(|bytes| bytes as u64).sum()
    }
}

/// What a commit made of its events.
#[derive(Debug, Default)]
pub struct Committed {
    /// The events that have a partition, in the commit's order; in each lane the sequences are contiguous.
    pub rows: Vec<Row>,
    /// How many events went to wait for their topic's partition count, or behind such events.
    pub waiting: usize,
    /// Lanes that did not exist before.
    pub new_lanes: Vec<Lane>,
    /// Places that have stubs now.
    pub buried: Vec<(LaneId, u64)>,
}

/// A lane's number in the store. Numbers are not reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub(crate) u32);

impl LaneId {
    /// How many bits of a position are the sequence: at 30,000 events a second one lane lasts 18 years, and there may be half a
    /// million lanes.
    const SEQUENCE_BITS: u32 = 44;
    pub(crate) const MAX_SEQUENCE: u64 = (1 << Self::SEQUENCE_BITS) - 1;
    pub(crate) const MAX: u32 = (1 << (63 - Self::SEQUENCE_BITS)) - 1;

    /// The number as the `lane` table has it.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The key in `event` of this lane's row with that sequence.
    pub(crate) fn position(self, sequence: u64) -> i64 {
        (i64::from(self.0) << Self::SEQUENCE_BITS) | sequence.min(Self::MAX_SEQUENCE).cast_signed()
    }

    /// The sequence in a position.
    pub(crate) fn sequence_of(position: i64) -> u64 {
        position.cast_unsigned() & Self::MAX_SEQUENCE
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored event, as the publisher needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The lane, which tells topic and partition.
    pub lane: LaneId,
    /// The number in the lane, from 1 without a hole, over all epochs. On the log it is less by the lane's base.
    pub sequence: u64,
    /// When the event was derived.
    pub recorded: Timestamp,
    /// The event's id.
    pub id: String,
    /// What the event is about.
    pub subject: Arc<str>,
    /// The record's key.
    pub key: Arc<str>,
    /// The headers that many events share, as they were given.
    pub shared_headers: Arc<str>,
    /// The record's other headers as they were given.
    pub headers: String,
    /// The record's value.
    pub value: Vec<u8>,
}

impl Row {
    /// The bytes of key, headers and value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.len() + self.shared_headers.len() + self.headers.len() + self.value.len()
    }
}
