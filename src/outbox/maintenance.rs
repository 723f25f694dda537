//! What is done in quiet moments: writing cells, letting go of what was delivered long ago, resetting the write-ahead log.

use std::path::Path;
use std::time::{Duration, Instant};

use floorgate_sample::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::schema::with_suffix;
use crate::{Commit, Error, Lane, Store};

/// How many delivered events one step deletes at most.
const EVENTS_A_STEP: u64 = 256;
/// How much of a full store is made free at a time, at least.
const ROOM_BYTES: u64 = 4 << 20;

/// What [`Store::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Steps that wrote state cells or deleted journal rows.
    pub cell_steps: usize,
    /// Delivered events that were deleted.
    pub pruned: u64,
    /// Whether the write-ahead log was copied into the database.
    pub checkpointed: bool,
    /// Whether more is due.
    pub more: bool,
}

/// The size of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events that are not delivered, with those that wait for a partition count.
    pub depth: u64,
    /// Events that wait for a partition count.
    pub waiting: u64,
    /// All events in the file, delivered ones included.
    pub events: u64,
    /// When the oldest event that is not delivered was derived.
    pub oldest: Option<Timestamp>,
    /// The part of the database's file that is in use, in bytes. The file itself does not shrink; what is free in it is used again.
    pub used_bytes: u64,
    /// The size of the write-ahead log's file in bytes.
    pub wal_bytes: u64,
    /// How many bytes more can be used: of what is free in the file and on the disk, as far as [`Options::max_bytes`](crate::Options::max_bytes) allows.
    pub room_bytes: u64,
}

/// Per lane, by index, what of it the file still has.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    lanes: Vec<KeptLane>,
    /// Where the round of pruning by time goes on.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct KeptLane {
    /// The first sequence in the file, or the one that the next event will get.
    first: u64,
    /// When it was derived, once that was looked up.
    recorded: Option<i64>,
}

impl Kept {
    pub(crate) fn read(connection: &Connection, lanes: &[Lane]) -> rusqlite::Result<Self> {
        let mut first = connection.prepare(
            "SELECT position FROM event WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT 1",
        )?;
        let lanes = lanes
            .iter()
            .map(|lane| {
                let position: Option<i64> = first
                    .query_row(
                        [lane.id.position(0), lane.id.position(lane.last_sequence)],
                        |row| row.get(0),
                    )
                    .optional()?;
                let first = position.map_or(lane.last_sequence + 1, crate::LaneId::sequence_of);
                Ok(KeptLane {
                    first,
                    recorded: None,
                })
            })
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { lanes, next: 0 })
    }

    fn first(&self, index: usize) -> u64 {
        self.lanes.get(index).map_or(1, |lane| lane.first)
    }
}

impl Store {
    /// Does what is due in small steps until `budget` is used up; at least one step of each kind. To be called when the intake is empty, and again and
    /// again under load as long as there is [more](Progress::more): nothing is lost without it, but file and log grow.
    ///
    /// `now` decides which delivered events are older than [`Options::keep`](crate::Options::keep).
    pub fn maintain(&mut self, now: Timestamp, budget: Duration) -> Result<Progress, Error> {
        self.usable()?;
        if self.reserve.is_due() {
            self.reserve.take();
            self.limit_growth()?;
        }
        let begun = Instant::now();
        let mut progress = Progress::default();
        loop {
            // A step of each, so that neither keeps the other from keeping up.
            let checkpointed = self.checkpoint()?;
            let wrote = self.cell_step()?;
            let pruned = self.prune_step(now)?;
            progress.checkpointed |= checkpointed;
            progress.cell_steps += usize::from(wrote);
            progress.pruned += pruned;
            if !checkpointed && !wrote && pruned == 0 {
                return Ok(progress);
            }
            if begun.elapsed() >= budget {
                progress.more = true;
                return Ok(progress);
            }
        }
    }

    /// After [`Error::Full`]: makes what room the store can make by itself. It gives its reserve away, copies the log, stores the
    /// acknowledgements of `commit` alone, and deletes the oldest delivered events, though their time has not come, until the rest of `commit`
    /// should have room. Returns how many it deleted.
    ///
    /// What cannot be done for want of space is left; the acknowledgements are taken out of `commit` when they are stored. The reserve is taken again, here or in
    /// [`Store::maintain`], when there is space for it; until then the store does not grow.
    pub fn make_room(&mut self, commit: &mut Commit) -> Result<u64, Error> {
        self.usable()?;
        self.reserve.give();
        // Each step may find the space that the one before it did not, or gave.
        may_lack_space(self.finish_checkpoint())?;
        let mut delivered = Commit {
            acknowledged: std::mem::take(&mut commit.acknowledged),
            ..Commit::default()
        };
        let stored = self.growing(|store| store.commit(&mut delivered).map(drop));
        commit.acknowledged = delivered.acknowledged;
        may_lack_space(stored)?;
        let mut deleted = 0;
        may_lack_space(self.make_free(ROOM_BYTES.max(2 * commit.size()), &mut deleted))?;
        may_lack_space(self.finish_checkpoint())?;
        self.reserve.take();
        self.limit_growth()?;
        Ok(deleted)
    }

    /// Deletes the oldest delivered events until so much of the file is free.
    fn make_free(&mut self, bytes: u64, deleted: &mut u64) -> Result<(), Error> {
        let sqlite = |path: &Path, error| Error::sqlite(path, "look for delivered events", error);
        loop {
            let free = self
                .free_bytes()
                .map_err(|error| sqlite(&self.options.path, error))?;
            if free >= bytes {
                return Ok(());
            }
            let Some(range) = self
                .oldest_lane()
                .map_err(|error| sqlite(&self.options.path, error))?
            else {
                return Ok(());
            };
            *deleted += self.delete(range)?;
        }
    }

    /// Depth, age and size, read cheaply.
    pub fn stats(&self) -> Result<Stats, Error> {
        let sqlite = |error| Error::sqlite(&self.options.path, "measure itself", error);
        let mut stats = Stats {
            used_bytes: self.used_bytes().map_err(sqlite)?,
            wal_bytes: std::fs::metadata(with_suffix(&self.options.path, "-wal")).map_or(0, |wal| wal.len()),
            ..Stats::default()
        };
        stats.room_bytes = self.room(stats.used_bytes);
        for (index, lane) in self.catalog.lanes().iter().enumerate() {
            stats.depth += lane.depth();
            stats.events += match lane.partition {
                None => lane.depth(),
                Some(_) => (lane.last_sequence + 1).saturating_sub(self.kept.first(index)),
            };
            if lane.partition.is_none() {
                stats.waiting += lane.depth();
            }
            if lane.depth() > 0 {
                let recorded = self
                    .recorded(lane, lane.acknowledged_sequence + 1)
                    .map_err(sqlite)?;
                let recorded = recorded.map(Timestamp::from_nanos);
                stats.oldest = stats.oldest.into_iter().chain(recorded).min();
            }
        }
        Ok(stats)
    }

    fn room(&self, used: u64) -> u64 {
        let path = &self.options.path;
        let file = std::fs::metadata(path).map_or(used, |file| file.len());
        // While the reserve is missing the database does not grow.
        let disk = if self.reserve.is_missing() {
            0
        } else {
            rustix::fs::statvfs(path).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
        };
        let room = file.saturating_sub(used).saturating_add(disk);
        self.options
            .max_bytes
            .map_or(room, |most| room.min(most.saturating_sub(used)))
    }

    /// The first sequence of a lane that is in the file, or the next one where none is.
    pub(crate) fn first_kept(&self, index: usize) -> u64 {
        self.kept.first(index)
    }

    fn cell_step(&mut self) -> Result<bool, Error> {
        if !self.cells.due() {
            return Ok(false);
        }
        let cells = std::mem::take(&mut self.cells);
        let step = self.transact_unsynced("write its state cells", |transaction| cells.step(transaction));
        self.cells = cells;
        let step = step?;
        if let Some(step) = &step {
            self.cells.keep_step(step);
        }
        Ok(step.is_some())
    }

    /// Deletes some delivered events that are too old or too many. Returns how many.
    fn prune_step(&mut self, now: Timestamp) -> Result<u64, Error> {
        let keep = i64::try_from(self.options.keep.as_nanos()).unwrap_or(i64::MAX);
        let found = self.used_bytes().and_then(|used| {
            if used > self.options.keep_bytes {
                self.oldest_lane()
            } else {
                self.expired(now.as_nanos().saturating_sub(keep))
            }
        });
        let found =
            found.map_err(|error| Error::sqlite(&self.options.path, "look for delivered events", error));
        match found? {
            Some(range) => self.delete(range),
            None => Ok(0),
        }
    }

    /// Deletes a range of a lane's events.
    fn delete(&mut self, (index, first, end): (usize, u64, u64)) -> Result<u64, Error> {
        let Some(id) = self.catalog.lanes().get(index).map(|lane| lane.id) else {
            return Ok(0);
        };
        let deleted = self.transact_unsynced("delete delivered events", |transaction| {
            transaction
                .prepare_cached("DELETE FROM event WHERE position >= ?1 AND position < ?2")?
                .execute([id.position(first), id.position(end)])
        })?;
        if let Some(kept) = self.kept.lanes.get_mut(index) {
            *kept = KeptLane {
                first: end,
                recorded: None,
            };
        }
        Ok(deleted as u64)
    }

    /// The lane whose oldest event may go and is the oldest of all, with the range of a step.
    fn oldest_lane(&mut self) -> rusqlite::Result<Option<(usize, u64, u64)>> {
        let mut oldest: Option<(i64, (usize, u64, u64))> = None;
        for index in 0..self.catalog.lanes().len() {
            if let Some((first, end)) = self.deletable(index)
                && let Some(recorded) = self.first_recorded(index)?
                && oldest.is_none_or(|(other, _)| recorded < other)
            {
                oldest = Some((recorded, (index, first, end)));
            }
        }
        Ok(oldest.map(|(_, step)| step))
    }

    /// The next lane that begins with events from before `limit`, with the range of a step.
    fn expired(&mut self, limit: i64) -> rusqlite::Result<Option<(usize, u64, u64)>> {
        let (count, next) = (self.catalog.lanes().len(), self.kept.next);
        for index in (0..count).map(|index| (index + next) % count) {
            let Some((first, end)) = self.deletable(index) else {
                continue;
            };
            if self
                .first_recorded(index)?
                .is_none_or(|recorded| recorded >= limit)
            {
                continue;
            }
            let Some(lane) = self.catalog.lanes().get(index) else {
                continue;
            };
            let younger: Option<i64> = self
                .connection
                .prepare_cached(
                    "SELECT position FROM event WHERE position >= ?1 AND position < ?2 AND recorded >= ?3 ORDER BY position LIMIT 1",
                )?
                .query_row(params![lane.id.position(first), lane.id.position(end), limit], |row| row.get(0))
                .optional()?;
            self.kept.next = index + 1;
            return Ok(Some((
                index,
                first,
                younger.map_or(end, crate::LaneId::sequence_of),
            )));
        }
        Ok(None)
    }

    /// First and end of the next range of a lane that may be deleted: delivered, and not the last delivered one (invariant 3).
    fn deletable(&mut self, index: usize) -> Option<(u64, u64)> {
        let lanes = self.catalog.lanes();
        self.kept.lanes.resize(
            lanes.len().max(self.kept.lanes.len()),
            KeptLane {
                first: 1,
                recorded: None,
            },
        );
        let lane = lanes.get(index).filter(|lane| lane.partition.is_some())?;
        let first = self.kept.first(index);
        let end = lane.acknowledged_sequence.min(first + EVENTS_A_STEP);
        (first < end).then_some((first, end))
    }

    fn first_recorded(&mut self, index: usize) -> rusqlite::Result<Option<i64>> {
        let (Some(lane), Some(kept)) = (self.catalog.lanes().get(index), self.kept.lanes.get(index)) else {
            return Ok(None);
        };
        if kept.recorded.is_some() {
            return Ok(kept.recorded);
        }
        let recorded = self.recorded(lane, kept.first)?;
        if let Some(kept) = self.kept.lanes.get_mut(index) {
            kept.recorded = recorded;
        }
        Ok(recorded)
    }

    fn recorded(&self, lane: &Lane, sequence: u64) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT recorded FROM event WHERE position = ?1")?
            .query_row([lane.id.position(sequence)], |row| row.get(0))
            .optional()
    }

    fn free_bytes(&self) -> rusqlite::Result<u64> {
        self.connection
            .prepare_cached("SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size")?
            .query_row([], |row| row.get::<_, i64>(0))
            .map(i64::cast_unsigned)
    }

    fn used_bytes(&self) -> rusqlite::Result<u64> {
        self.connection
            .prepare_cached(
                "SELECT (page_count - freelist_count) * page_size
                 FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
            )?
            .query_row([], |row| row.get::<_, i64>(0))
            .map(i64::cast_unsigned)
    }
}

/// Lets pass what failed only because there was no space, or because someone held a lock.
fn may_lack_space(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if !error.can_be_retried() => Err(error),
        _ => Ok(()),
    }
}
