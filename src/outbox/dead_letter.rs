//! Events that Kafka refuses for good: the event itself is set aside, and a stub takes its place in the lane.

use std::sync::Arc;

use floorgate_sample::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::catalog::Catalog;
use crate::{Error, Event, LaneId, Reader, Store};

/// An event that cannot be published as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burial {
    /// Its lane.
    pub lane: LaneId,
    /// Its sequence in the lane.
    pub sequence: u64,
    /// When it was refused.
    pub refused: Timestamp,
    /// Why, for an operator.
    pub reason: String,
    /// The headers of its own that the stub has.
    pub headers: String,
    /// The stub's value.
    pub value: Vec<u8>,
}

/// An event that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number; numbers are not reused.
    pub number: u64,
    /// The partition that it was to go to, and that has the stub.
    pub partition: Option<u32>,
    /// When it was refused.
    pub refused: Timestamp,
    /// Why.
    pub reason: String,
    /// The event as it was; its topic is the one that refused it.
    pub event: Event,
}

const COLUMNS: &str = "number, partition, refused, reason, topic, key, id, type, subject, recorded, shared_headers, headers, value, NULL";

/// Sets events aside and puts stubs into their places. What was set aside before stays as it was.
pub(crate) fn bury(connection: &Connection, catalog: &Catalog, burials: &[Burial]) -> rusqlite::Result<()> {
    for burial in burials {
        let position = burial.lane.position(burial.sequence);
        let Some(lane) = catalog.lane(burial.lane) else {
            continue;
        };
        if burial.sequence <= lane.acknowledged_sequence {
            continue;
        }
        let set_aside = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO dead_letter (position, topic, partition, refused, reason, recorded, id, type, subject, key,
                                                    shared_headers, headers, value)
                 SELECT position, ?2, ?3, ?4, ?5, recorded, event.id, type, subject, key, shared.headers, event.headers, value
                 FROM event JOIN shared ON shared.id = event.shared WHERE position = ?1",
            )?
            .execute(params![
                position,
                lane.topic,
                lane.partition,
                burial.refused.as_nanos(),
                burial.reason
            ])?;
        if set_aside > 0 {
            connection
                .prepare_cached("UPDATE event SET headers = ?2, value = ?3 WHERE position = ?1")?
                .execute(params![position, burial.headers, burial.value])?;
        }
    }
    Ok(())
}

/// Deletes dead letters.
pub(crate) fn delete(connection: &Connection, numbers: &[u64]) -> rusqlite::Result<()> {
    for number in numbers {
        connection
            .prepare_cached("DELETE FROM dead_letter WHERE number = ?1")?
            .execute([number.cast_signed()])?;
    }
    Ok(())
}

fn letter(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        partition: row.get(1)?,
        refused: Timestamp::from_nanos(row.get(2)?),
        reason: row.get(3)?,
        event: Event::of_columns(row, 5, row.get(4)?, None)?,
    })
}

fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM dead_letter", [], |row| {
        row.get(0).map(i64::cast_unsigned)
    })
}

impl Store {
    /// How many dead letters there are.
    pub fn dead_letters(&self) -> Result<u64, Error> {
        count(&self.connection)
            .map_err(|error| Error::sqlite(&self.options.path, "count dead letters", error))
    }

    /// An event as it is stored, where it still is.
    pub fn event(&self, lane: LaneId, sequence: u64) -> Result<Option<Event>, Error> {
        let Some(topic) = self.lane(lane).map(|lane| Arc::clone(&lane.topic)) else {
            return Ok(None);
        };
        self.connection
            .prepare_cached(&format!(
                "SELECT {} FROM event JOIN shared ON shared.id = event.shared WHERE position = ?1",
                Event::COLUMNS
            ))
            .and_then(|mut statement| {
                statement
                    .query_row([lane.position(sequence)], |row| {
                        Event::of_columns(row, 0, topic, None)
                    })
                    .optional()
            })
            .map_err(|error| Error::sqlite(&self.options.path, "read an event", error))
    }
}

impl Reader {
    /// How many dead letters there are.
    pub fn count_dead_letters(&self) -> Result<u64, Error> {
        self.query("count dead letters", count)
    }

    /// Dead letters with a higher number than `after`, oldest first.
    pub fn dead_letters(&self, after: u64, most: usize) -> Result<Vec<DeadLetter>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let query = format!("SELECT {COLUMNS} FROM dead_letter WHERE number > ?1 ORDER BY number LIMIT ?2");
        self.query("read dead letters", |connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let letters = statement.query_map(params![after.cast_signed(), most], letter)?;
            letters.collect()
        })
    }

    /// The dead letter with that number.
    pub fn dead_letter(&self, number: u64) -> Result<Option<DeadLetter>, Error> {
        let query = format!("SELECT {COLUMNS} FROM dead_letter WHERE number = ?1");
        self.query("read a dead letter", |connection| {
            let mut statement = connection.prepare_cached(&query)?;
            statement.query_row([number.cast_signed()], letter).optional()
        })
    }
}
