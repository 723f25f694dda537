//! What can be read of a damaged store, stored anew.

use std::collections::HashMap;
use std::sync::Arc;

use floorgate_sample::Timestamp;
use rusqlite::{Connection, params};

use crate::catalog::sequence;
use crate::cells::decode;
use crate::reached::Reached;
use crate::{Cell, Commit, Error, Event, LaneId, Salvage, Store};

/// Events and cells that are stored anew at a time.
const PAGE: usize = 256;

/// A lane of the damaged store.
struct OldLane {
    id: LaneId,
    topic: Arc<str>,
    partition: Option<u32>,
    epoch: u32,
    last: u64,
    acknowledged: u64,
}

/// A damaged store, and what was read of it.
pub(crate) struct Remains<'a> {
    damaged: &'a Connection,
    /// How far it had come.
    noted: Option<&'a Reached>,
    salvage: &'a mut Salvage,
}

impl<'a> Remains<'a> {
    pub(crate) fn new(damaged: &'a Connection, noted: Option<&'a Reached>, salvage: &'a mut Salvage) -> Self {
        Self {
            damaged,
            noted,
            salvage,
        }
    }

    /// Stores what can be read anew.
    pub(crate) fn copy(&mut self, store: &mut Store) -> Result<(), Error> {
        let mut topics = HashMap::new();
        self.rows("SELECT id, name, partitions FROM topic", |row| {
            let name: Arc<str> = row.get(1)?;
            topics.insert(row.get::<_, i64>(0)?, (name, row.get::<_, Option<u32>>(2)?));
            Ok(())
        });
        let mut lanes = Vec::new();
        let read_all = self.rows(
            "SELECT id, topic, partition, epoch, last_sequence, acknowledged_sequence FROM lane ORDER BY partition IS NULL, id",
            |row| {
                if let Some((topic, _)) = topics.get(&row.get::<_, i64>(1)?) {
                    let id = LaneId(row.get(0)?);
                    let last = sequence(row, 4).or_else(|_| self.last_event(id))?;
                    lanes.push(OldLane {
                        id,
                        topic: Arc::clone(topic),
                        partition: row.get(2)?,
                        epoch: row.get(3)?,
                        last,
                        // Where it is not known what was delivered, all of it goes out again.
                        acknowledged: sequence(row, 5).unwrap_or(0).min(last),
                    });
                }
                Ok(())
            },
        );
        self.salvage.state_is_incomplete |= !read_all;
        for (name, partitions) in topics.values() {
            if let Some(partitions) = partitions.filter(|partitions| *partitions > 0) {
                store.pin_topic(name, partitions)?;
            }
        }
        let mut shared: HashMap<i64, Arc<str>> = HashMap::new();
        self.rows("SELECT id, headers FROM shared", |row| {
            shared.insert(row.get(0)?, row.get(1)?);
            Ok(())
        });
        for lane in &lanes {
            self.lane(lane, &shared, store)?;
        }
        self.cells(store)?;
        self.letters(store)?;
        let newest = lanes.iter().map(|lane| lane.epoch).max().unwrap_or(0);
        let incarnation = self.beyond(lanes.iter().map(|lane| lane.last).sum());
        let store_id: Option<String> = self
            .damaged
            .query_row("SELECT value FROM meta WHERE key = 'store_id'", [], |row| {
                row.get(0)
            })
            .ok()
            .filter(|id: &String| uuid::Uuid::parse_str(id).is_ok());
        let note = self.salvage.note();
        store.transact("begin new epochs", |transaction, _, _| {
            transaction.execute("INSERT INTO meta (key, value) VALUES ('salvage', ?1)", [note])?;
            transaction.execute(
                "UPDATE lane SET epoch = max(epoch, ?1), doubt = last_sequence",
                [i64::from(newest) + 1],
            )?;
            // Lanes and streams that begin anew do so above what is on the log, also where the clock is behind.
            transaction.execute(
                "UPDATE meta SET value = max(value, ?1) WHERE key = 'incarnation'",
                [((i64::from(newest) + 1) * 1000).max(incarnation.cast_signed())],
            )?;
            if let Some(id) = store_id {
                transaction.execute("UPDATE meta SET value = ?1 WHERE key = 'store_id'", [id])?;
            }
            Ok(())
        })
    }

    /// Counts what had been stored beyond the events that the lanes tell of. Returns an incarnation that the store had.
    fn beyond(&mut self, told: u64) -> u64 {
        let Some(noted) = self.noted else { return 0 };
        self.salvage.missing = noted.events.saturating_sub(told);
        self.salvage.state_is_incomplete |= self.salvage.missing > 0;
        noted.incarnation
    }

    /// The sequence of the last event that a lane has in the file.
    fn last_event(&self, lane: LaneId) -> rusqlite::Result<u64> {
        let within = [lane.position(0), lane.position(LaneId::MAX_SEQUENCE)];
        let last = "SELECT max(position) FROM event WHERE position > ?1 AND position <= ?2";
        let last: Option<i64> = self.damaged.query_row(last, within, |row| row.get(0))?;
        Ok(last.map_or(0, LaneId::sequence_of))
    }

    /// Takes the rows of a query as far as they can be read; whether that was all. A row that is not as it should be is left out.
    fn rows(&self, query: &str, mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>) -> bool {
        let mut whole = true;
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.damaged.prepare(query)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                whole &= take(row).is_ok();
            }
            Ok(())
        };
        read().is_ok() && whole
    }

    /// Takes over the events of a lane that are not delivered, stepping over what cannot be read.
    fn lane(
        &mut self,
        lane: &OldLane,
        shared: &HashMap<i64, Arc<str>>,
        store: &mut Store,
    ) -> Result<(), Error> {
        let (mut from, to) = (lane.id.position(lane.acknowledged), lane.id.position(lane.last));
        let (mut saved, mut leap) = (0, 1);
        while from < to {
            let (mut rows, mut seen) = (Vec::new(), 0);
            let take = &mut |position, event| {
                seen += 1;
                add_in_order(&mut rows, from, (position, event));
            };
            let read = self.page(from, to, PAGE, take, lane, shared);
            if let [.., (before, _), (last, _)] = rows[..]
                && seen == PAGE
                && last != before + 1
            {
                // Whether it is where it says, the next page shows.
                rows.pop();
            }
            let last = rows.last().map(|(position, _)| *position);
            let mut commit = Commit {
                events: rows.into_iter().filter_map(|(_, event)| event).collect(),
                ..Commit::default()
            };
            saved += commit.events.len() as u64;
            store.commit(&mut commit)?;
            store.checkpoint()?;
            from = match (read, last) {
                (_, Some(position)) => {
                    leap = 1;
                    position
                }
                (Ok(()), None) if seen == 0 => break,
                (Ok(()), None) => {
                    // Nothing but rows that do not belong there, however many numbers the lane says it has.
                    leap *= 2;
                    from.saturating_add(leap)
                }
                (Err(_), None) => self.readable_after(from, to, lane, shared),
            };
        }
        self.salvage.events += saved;
        let waited = lane.last.saturating_sub(lane.acknowledged);
        self.salvage.lost = self.salvage.lost.saturating_add(waited.saturating_sub(saved));
        Ok(())
    }

    /// From where the events of a lane can be read again, when those right after a position cannot.
    fn readable_after(&self, from: i64, to: i64, lane: &OldLane, shared: &HashMap<i64, Arc<str>>) -> i64 {
        let is_readable = |at| self.page(at, to, 1, &mut |_, _| {}, lane, shared).is_ok();
        let (mut bad, mut good, mut step) = (from, from.saturating_add(1), 1);
        while good < to && !is_readable(good) {
            bad = good;
            step *= 2;
            good = from.saturating_add(step).min(to);
        }
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if is_readable(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    }

    /// Events after a position, with `None` for a row that is not as it should be.
    fn page(
        &self,
        from: i64,
        to: i64,
        most: usize,
        take: &mut dyn FnMut(i64, Option<Event>),
        lane: &OldLane,
        shared: &HashMap<i64, Arc<str>>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.damaged.prepare_cached(
            "SELECT position, recorded, id, type, subject, key, shared, headers, value, trace FROM event
             WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT ?3",
        )?;
        let mut rows = statement.query(params![from, to, i64::try_from(most).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let event = || -> rusqlite::Result<Option<Event>> {
                let Some(shared_headers) = shared.get(&row.get(6)?) else {
                    return Ok(None);
                };
                Ok(Some(Event {
                    topic: Arc::clone(&lane.topic),
                    partition: lane.partition,
                    recorded: Timestamp::from_nanos(row.get(1)?),
                    id: row.get(2)?,
                    kind: row.get(3)?,
                    subject: row.get(4)?,
                    key: row.get(5)?,
                    shared_headers: Arc::clone(shared_headers),
                    headers: row.get(7)?,
                    value: row.get(8)?,
                    trace: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
                }))
            };
            take(row.get(0)?, event().unwrap_or_default());
        }
        Ok(())
    }

    fn cells(&mut self, store: &mut Store) -> Result<(), Error> {
        let mut cells: HashMap<String, String> = HashMap::new();
        let mut whole = self.rows("SELECT key, value FROM cell", |row| {
            cells.insert(row.get(0)?, row.get(1)?);
            Ok(())
        });
        let (mut is_cut, mut last) = (false, 0);
        whole &= self.rows("SELECT cells, number FROM journal ORDER BY number", |row| {
            last = sequence(row, 1)?;
            let text: String = row.get(0)?;
            let decoded = decode(&text, |key, value| {
                match value {
                    Some(value) => cells.insert(key, value),
                    None => cells.remove(&key),
                };
            });
            is_cut |= decoded.is_err();
            Ok(())
        });
        let is_behind = self.noted.is_some_and(|noted| noted.journal > last);
        self.salvage.state_is_incomplete |= !whole || is_cut || is_behind;
        self.salvage.cells = cells.len() as u64;
        let mut cells = cells.into_iter().map(|(key, value)| Cell {
            key: key.into(),
            value: Some(value),
        });
        loop {
            let mut commit = Commit {
                cells: cells.by_ref().take(PAGE).collect(),
                ..Commit::default()
            };
            if commit.cells.is_empty() {
                return Ok(());
            }
            store.commit(&mut commit)?;
            store.checkpoint()?;
        }
    }

    fn letters(&mut self, store: &mut Store) -> Result<(), Error> {
        const COLUMNS: &str = "number, topic, partition, refused, reason, recorded, id, type, subject, key, shared_headers, headers, value";
        let mut letters: Vec<Vec<rusqlite::types::Value>> = Vec::new();
        self.rows(&format!("SELECT {COLUMNS} FROM dead_letter"), |row| {
            letters.push(
                (0..13)
                    .map(|column| row.get(column))
                    .collect::<rusqlite::Result<_>>()?,
            );
            Ok(())
        });
        self.salvage.dead_letters = letters.len() as u64;
        store.transact("take dead letters over", |transaction, _, _| {
            for letter in letters {
                // Positions are of lanes that are numbered anew.
                transaction.execute(
                    &format!(
                        "INSERT INTO dead_letter ({COLUMNS}, position)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, -?1)"
                    ),
                    rusqlite::params_from_iter(letter),
                )?;
            }
            Ok(())
        })
    }
}

/// Adds a row of a lane to those that were read after a position. A damaged file may have rows where they do not belong; of two whose
/// positions do not rise, the one that is behind the row before them is right.
fn add_in_order<T>(rows: &mut Vec<(i64, T)>, from: i64, row: (i64, T)) {
    let mut positions = rows.iter().rev().map(|(position, _)| *position);
    let last = positions.next().unwrap_or(from);
    let before = positions.next().unwrap_or(from);
    if row.0 <= before {
        return;
    }
    if row.0 <= last {
        rows.pop();
    }
    rows.push(row);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_out_of_order_is_left_out() {
        for (positions, kept) in [
            (vec![6, 7, 8], vec![6, 7, 8]),
            (vec![6, 900, 8, 9], vec![6, 8, 9]),
            (vec![6, 7, 2, 9], vec![6, 7, 9]),
            (vec![6, 7, 8, 6, 10], vec![6, 7, 8, 10]),
            (vec![900, 7], vec![7]),
            (vec![5, 1], vec![]),
        ] {
            let mut rows = Vec::new();
            for position in positions {
                add_in_order(&mut rows, 5, (position, ()));
            }
            let found: Vec<i64> = rows.into_iter().map(|(position, ())| position).collect();
            assert_eq!(found, kept);
        }
    }
}
