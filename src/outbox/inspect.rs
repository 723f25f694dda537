//! What an operator asks about the store. Every question is answered in pages, so that nothing is loaded whole and no read lasts.

use std::sync::Arc;

use floorgate_sample::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Error, Event, Lane, LaneId, Reader};

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// The lane.
    pub lane: Lane,
    /// The first sequence that is kept, or the next one where none is.
    pub first_kept: u64,
    /// When the oldest event that is not delivered was derived.
    pub oldest_waiting: Option<Timestamp>,
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its lane.
    pub lane: LaneId,
    /// Its number in the lane, over all epochs.
    pub sequence: u64,
    /// The event, with the partition that it has.
    pub event: Event,
}

/// Which events are meant: those to which all of it applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// On this topic.
    pub topic: Option<String>,
    /// Of this type.
    pub kind: Option<String>,
    /// About this.
    pub subject: Option<String>,
    /// Derived at this time or later.
    pub from: Option<Timestamp>,
    /// Derived before this time.
    pub to: Option<Timestamp>,
    /// Not delivered yet.
    pub waiting: bool,
}

impl Selection {
    fn has(&self, lane: &Lane, stored: &StoredEvent) -> bool {
        let event = &stored.event;
        (!self.waiting || stored.sequence > lane.acknowledged_sequence)
            && self.kind.as_ref().is_none_or(|kind| **kind == *event.kind)
            && self
                .subject
                .as_ref()
                .is_none_or(|subject| **subject == *event.subject)
            && self.from.is_none_or(|from| event.recorded >= from)
            && self.to.is_none_or(|to| event.recorded < to)
    }

    /// Whether a lane can have events that are meant.
    #[must_use]
    pub fn has_lane(&self, lane: &Lane) -> bool {
        self.topic.as_ref().is_none_or(|topic| **topic == *lane.topic)
    }
}

impl Reader {
    /// How each lane stands.
    pub fn lane_states(&self) -> Result<Vec<LaneState>, Error> {
        let lanes = self.lanes()?;
        self.query("read how lanes stand", |connection| {
            lanes.into_iter().map(|lane| state(connection, lane)).collect()
        })
    }

    /// Events of a lane with a sequence above `after`, in order; of the next `most` events those that are meant. Returns them with the
    /// last sequence that was looked at, or `None` where no event is left.
    pub fn stored_events(
        &self,
        lane: &Lane,
        after: u64,
        most: usize,
        selection: &Selection,
    ) -> Result<(Vec<StoredEvent>, Option<u64>), Error> {
        let found = self.query("read events", |connection| {
            read(connection, lane, after, "ASC", most)
        })?;
        let last = found.last().map(|found| found.sequence);
        let meant = found
            .into_iter()
            .filter(|found| selection.has(lane, found))
            .collect();
        Ok((meant, last))
    }

    /// The newest events of a lane that are meant, oldest first; no more than `look_at` events are looked at.
    pub fn newest_events(
        &self,
        lane: &Lane,
        most: usize,
        look_at: usize,
        selection: &Selection,
    ) -> Result<Vec<StoredEvent>, Error> {
        let mut found = self.query("read events", |connection| {
            read(connection, lane, 0, "DESC", look_at)
        })?;
        found.retain(|found| selection.has(lane, found));
        found.truncate(most);
        found.reverse();
        Ok(found)
    }

    /// The events whose ids begin with this, at most so many, each with its lane. All events are looked through.
    pub fn find(&self, id: &str, most: usize) -> Result<Vec<(Lane, StoredEvent)>, Error> {
        let mut all = Vec::new();
        for lane in self.lanes()? {
            let most = i64::try_from(most - all.len().min(most)).unwrap_or(i64::MAX);
            let found = self.query("look for an event", |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT position, {} FROM event JOIN shared ON shared.id = event.shared
                     WHERE position > ?1 AND position <= ?2 AND substr(event.id, 1, length(?3)) = ?3
                     ORDER BY position LIMIT ?4",
                    Event::COLUMNS
                ))?;
                let (from, to) = (lane.id.position(0), lane.id.position(LaneId::MAX_SEQUENCE));
                let found = statement.query_map(params![from, to, id, most], |row| stored(row, &lane))?;
                found.collect::<rusqlite::Result<Vec<StoredEvent>>>()
            })?;
            all.extend(found.into_iter().map(|event| (lane.clone(), event)));
        }
        Ok(all)
    }

    /// What `SQLite` finds wrong with the pages, at most so many findings.
    pub fn damaged_pages(&self, most: usize) -> Result<Vec<String>, Error> {
        self.query("check its pages", |connection| {
            let mut statement = connection.prepare(&format!("PRAGMA quick_check({most})"))?;
            let findings = statement.query_map([], |row| row.get::<_, String>(0))?;
            let findings: Vec<String> = findings.collect::<rusqlite::Result<_>>()?;
            Ok(findings.into_iter().filter(|finding| finding != "ok").collect())
        })
    }

    /// Whether the events of a lane are whole: numbered without a hole from the first kept one to the last, none missing that is not
    /// delivered. Returns what is wrong.
    pub fn holes(&self, state: &LaneState) -> Result<Option<String>, Error> {
        let lane = &state.lane;
        let range = (lane.id.position(0), lane.id.position(LaneId::MAX_SEQUENCE));
        let (count, last): (i64, Option<i64>) = self.query("count events", |connection| {
            connection.query_row(
                "SELECT count(*), max(position) FROM event WHERE position > ?1 AND position <= ?2",
                range,
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })?;
        let (count, last) = (count.cast_unsigned(), last.map(LaneId::sequence_of));
        let expected = (lane.last_sequence + 1).saturating_sub(state.first_kept);
        let problem = if lane.depth() > 0 && state.first_kept > lane.acknowledged_sequence + 1 {
            Some(format!(
                "events {} to {} are not delivered and not there",
                lane.acknowledged_sequence + 1,
                state.first_kept - 1
            ))
        } else if last.is_some_and(|last| last > lane.last_sequence) {
            Some(format!(
                "event {} is beyond the last sequence {}",
                last.unwrap_or_default(),
                lane.last_sequence
            ))
        } else if count != expected {
            Some(format!(
                "{count} events where {expected} should be, from {} to {}",
                state.first_kept, lane.last_sequence
            ))
        } else {
            None
        };
        Ok(problem)
    }
}

fn state(connection: &Connection, lane: Lane) -> rusqlite::Result<LaneState> {
    let first_after = |sequence: u64| {
        connection
            .prepare_cached(
                "SELECT position, recorded FROM event WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT 1",
            )?
            .query_row(
                [lane.id.position(sequence), lane.id.position(LaneId::MAX_SEQUENCE)],
                |row| Ok((LaneId::sequence_of(row.get(0)?), Timestamp::from_nanos(row.get(1)?))),
            )
            .optional()
    };
    let first_kept = first_after(0)?.map_or(lane.last_sequence + 1, |(sequence, _)| sequence);
    let oldest_waiting = first_after(lane.acknowledged_sequence)?.map(|(_, recorded)| recorded);
    Ok(LaneState {
        lane,
        first_kept,
        oldest_waiting,
    })
}

/// Events of a lane after a sequence, from one end or the other.
fn read(
    connection: &Connection,
    lane: &Lane,
    after: u64,
    order: &str,
    most: usize,
) -> rusqlite::Result<Vec<StoredEvent>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT position, {} FROM event JOIN shared ON shared.id = event.shared
         WHERE position > ?1 AND position <= ?2 ORDER BY position {order} LIMIT ?3",
        Event::COLUMNS
    ))?;
    let (from, to) = (lane.id.position(after), lane.id.position(LaneId::MAX_SEQUENCE));
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let found = statement.query_map(params![from, to, most], |row| stored(row, lane))?;
    found.collect()
}

fn stored(row: &rusqlite::Row<'_>, lane: &Lane) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        lane: lane.id,
        sequence: LaneId::sequence_of(row.get(0)?),
        event: Event::of_columns(row, 1, Arc::clone(&lane.topic), lane.partition)?,
    })
}
