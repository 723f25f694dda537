//! The one writer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::maintenance::Kept;
use crate::reached::{Lock, Reached, events};
use crate::reserve::Reserve;
use crate::restore::{Restored, restore};
use crate::shared::Shared;
use crate::{Commit, Committed, Error, Event, Lane, LaneId, Row, Topic, dead_letter, schema};

/// `SQLite`'s own limit of a database's pages. What is below a database's present size is taken as that size.
const MOST_PAGES: u64 = u32::MAX as u64 - 1;

/// Where the store is and how much it may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database's file; its folder has to exist.
    pub path: PathBuf,
    /// The page size of a store that is created, a power of two from 512 to 65536.
    pub page_size: u32,
    /// The most memory that the writer's page cache takes, in KiB.
    pub cache_kib: u32,
    /// How long delivered events are kept, at least.
    pub keep: Duration,
    /// When the file's used part grows beyond this, delivered events go before their time. It does not bound what is undelivered.
    pub keep_bytes: u64,
    /// The database's file does not grow beyond this, but for some pages: a commit that needs more is refused as [`Error::Full`].
    pub max_bytes: Option<u64>,
    /// How much of the disk is set aside for [`Store::make_room`], in a file of its own; 0: nothing. While the disk
    /// has no room for it, the store does not grow, and takes events only as far as it deletes others.
    pub reserve_bytes: u64,
}

impl Options {
    /// The defaults: 8 KiB pages, 4 MiB of cache, delivered events are kept for a day and in 1 GiB, no limit of
    /// its own for what is not delivered, 16 MiB set aside: more than the log holds when it cannot be copied any more.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            page_size: 8192,
            cache_kib: 4096,
            keep: Duration::from_hours(24),
            keep_bytes: 1 << 30,
            max_bytes: None,
            reserve_bytes: 16 << 20,
        }
    }
}

/// The store, held for writing by this process alone.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: Options,
    pub(crate) connection: Connection,
    pub(crate) catalog: Catalog,
    pub(crate) cells: Cells,
    pub(crate) kept: Kept,
    pub(crate) reserve: Reserve,
    shared: Shared,
    failed: bool,
    /// A checkpointer copies the log.
    pub(crate) checkpoints_beside: bool,
    /// Held as long as the store is open; dropped after the connection.
    lock: Lock,
}

/// The write-ahead log's file beside a store's.
#[must_use]
pub fn log_of(path: &Path) -> PathBuf {
    schema::with_suffix(path, "-wal")
}

impl Store {
    /// Opens the store, creating it when there is none, and raises its incarnation. Where it is damaged, that is an error; see
    /// [`Store::open_or_salvage`].
    pub fn open(options: &Options) -> Result<(Self, Restored), Error> {
        Self::open_with(options, Lock::take(&options.path)?)
    }

    /// Does so with the lock that is taken.
    pub(crate) fn open_with(options: &Options, mut lock: Lock) -> Result<(Self, Restored), Error> {
        let path = options.path.as_path();
        let mut connection = schema::open(options, &lock)?;
        let found = Reached::of(&connection).map_err(|error| Error::sqlite(path, "read its state", error))?;
        lock.check(path, &found)?;
        let (catalog, cells, restored) = restore(&mut connection, path)?;
        lock.note(Reached {
            incarnation: restored.incarnation,
            ..found
        });
        let kept = Kept::read(&connection, catalog.lanes())
            .map_err(|error| Error::sqlite(path, "read its state", error))?;
        let shared =
            Shared::read(&connection).map_err(|error| Error::sqlite(path, "read its headers", error))?;
        let mut store = Self {
            options: options.clone(),
            connection,
            catalog,
            cells,
            kept,
            reserve: Reserve::open(schema::with_suffix(path, ".reserve"), options.reserve_bytes),
            shared,
            failed: false,
            checkpoints_beside: false,
            lock,
        };
        store.limit_growth()?;
        schema::copy_log_at_close(&store.connection, true)
            .map_err(|error| Error::sqlite(path, "open its file", error))?;
        Ok((store, restored))
    }

    /// Stores events, changed cells and acknowledgements in one transaction; they are on the disk when this returns.
    ///
    /// All of it is taken out of `commit`, whose vectors keep their capacity. After an error `commit` is
    /// as it was, and nothing of it is stored.
    pub fn commit(&mut self, commit: &mut Commit) -> Result<Committed, Error> {
        if commit.is_empty() {
            return Ok(Committed::default());
        }
        let places = self.place(commit)?;
        let mut shared = std::mem::take(&mut self.shared);
        let stored = self.transact("store a commit", |transaction, catalog, cells| {
            write_events(transaction, &commit.events, &places, &mut shared)?;
            shared.write(transaction)?;
            dead_letter::bury(transaction, catalog, &commit.burials)?;
            dead_letter::delete(transaction, &commit.settled_letters)?;
            cells.write(transaction, &commit.cells)?;
            catalog.write(transaction)?;
            Ok(catalog.new_lanes().to_vec())
        });
        if stored.is_ok() {
            shared.keep();
        } else {
            shared.undo();
        }
        self.shared = shared;
        let new_lanes = stored?;

        self.cells.keep(&mut commit.cells);
        self.lock
            .note_commit(events(self.catalog.lanes()), self.cells.last());
        commit.acknowledged.clear();
        commit.settled_letters.clear();
        let buried = commit.burials.drain(..);
        let buried = buried.map(|burial| (burial.lane, burial.sequence)).collect();
        let mut committed = Committed {
            rows: Vec::with_capacity(places.len()),
            waiting: 0,
            new_lanes,
            buried,
        };
        for (event, place) in commit.events.drain(..).zip(places) {
            if place.waits {
                committed.waiting += 1;
                continue;
            }
            committed.rows.push(Row {
                lane: place.lane,
                sequence: place.sequence,
                recorded: event.recorded,
                id: event.id,
                subject: event.subject,
                key: event.key,
                shared_headers: event.shared_headers,
                headers: event.headers,
                value: event.value,
            });
        }
        Ok(committed)
    }

    /// Notes how far it has come.
    pub(crate) fn note_reached(&mut self) {
        self.lock
            .note_commit(events(self.catalog.lanes()), self.cells.last());
    }

    /// Changes [`Options::max_bytes`]. A file that is larger already stays as it is and does not grow.
    pub fn set_max_bytes(&mut self, max_bytes: Option<u64>) -> Result<(), Error> {
        self.options.max_bytes = max_bytes;
        self.limit_growth()
    }

    /// Does what may need some pages for a moment and gives them back, without which a store that may not grow could not go on.
    pub(crate) fn growing<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !self.reserve.is_missing() && self.options.max_bytes.is_none() {
            return work(self);
        }
        self.limit_pages(MOST_PAGES)?;
        let done = work(self);
        self.limit_growth()?;
        done
    }

    /// Tells `SQLite` how far the database may grow: not at all while the reserve is missing.
    pub(crate) fn limit_growth(&mut self) -> Result<(), Error> {
        let page_size = u64::from(self.options.page_size.max(1));
        let pages = match self.options.max_bytes {
            _ if self.reserve.is_missing() => 1,
            Some(bytes) => (bytes / page_size).clamp(1, MOST_PAGES),
            None => MOST_PAGES,
        };
        self.limit_pages(pages)
    }

    fn limit_pages(&self, pages: u64) -> Result<(), Error> {
        self.connection
            .pragma_update_and_check(None, "max_page_count", pages.cast_signed(), |_| Ok(()))
            .map_err(|error| Error::sqlite(&self.options.path, "limit its size", error))
    }

    /// The database's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    /// All state cells as of the last commit, those that nobody wrote since the store was opened included.
    pub fn cells(&self) -> Result<HashMap<Arc<str>, String>, Error> {
        self.usable()?;
        self.cells
            .current(&self.connection)
            .map_err(|error| Error::sqlite(&self.options.path, "read its state cells", error))
    }

    /// The topics, including those that only commits named.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        self.catalog.topics()
    }

    /// The lanes, by their number.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        self.catalog.lanes()
    }

    /// The lane with that number.
    #[must_use]
    pub fn lane(&self, id: LaneId) -> Option<&Lane> {
        self.catalog.lane(id)
    }

    /// Advances the watermarks and gives every event its place, in memory.
    fn place(&mut self, commit: &Commit) -> Result<Vec<Place>, Error> {
        let catalog = &mut self.catalog;
        let places = commit
            .acknowledged
            .iter()
            .try_for_each(|acknowledged| catalog.acknowledge(*acknowledged))
            .and_then(|()| commit.events.iter().map(|event| catalog.place(event)).collect());
        if places.is_err() {
            self.catalog.undo();
        }
        places
    }

    /// Runs `work` in a transaction that is synced at its end. What was changed in the catalog is kept with it or undone with it.
    pub(crate) fn transact<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Connection, &mut Catalog, &mut Cells) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let result = self.usable().and_then(|()| {
            let Self {
                connection,
                catalog,
                cells,
                ..
            } = self;
            in_transaction(connection, |transaction| work(transaction, catalog, cells))
                .map_err(|error| Error::sqlite(&self.options.path, action, error))
        });
        match &result {
            Ok(_) => self.catalog.keep(),
            Err(error) => {
                self.catalog.undo();
                self.note(error);
            }
        }
        result
    }

    /// Runs `work` without a sync of its own; only for what may be undone by a power cut (invariant 7).
    pub(crate) fn transact_unsynced<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.usable()?;
        let connection = &self.connection;
        let result = connection
            .pragma_update(None, "synchronous", "normal")
            .and_then(|()| in_transaction(connection, work));
        if let Err(error) = connection.pragma_update(None, "synchronous", "full") {
            // Without this a commit would return before it is durable.
            self.fail();
            return Err(Error::Io {
                path: self.options.path.clone(),
                action,
                source: error.into(),
            });
        }
        result.map_err(|error| {
            let error = Error::sqlite(&self.options.path, action, error);
            self.note(&error);
            error
        })
    }

    pub(crate) fn usable(&self) -> Result<(), Error> {
        if self.failed {
            Err(Error::Failed {
                path: self.options.path.clone(),
            })
        } else {
            Ok(())
        }
    }

    /// After a failure of the storage, and when a transaction could not even be rolled back, the handle is done for.
    pub(crate) fn note(&mut self, error: &Error) {
        if matches!(error, Error::Io { .. } | Error::Damaged { .. }) || !self.connection.is_autocommit() {
            self.fail();
        }
    }

    /// Uses the handle no more. What it takes for stored is not copied either; the next start reads the log anew.
    fn fail(&mut self) {
        self.failed = true;
        let _ = schema::copy_log_at_close(&self.connection, false);
    }
}

/// Where an event goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) lane: LaneId,
    pub(crate) sequence: u64,
    /// Its partition is not known yet.
    pub(crate) waits: bool,
}

/// As rusqlite's own transaction does it, but with statements that are parsed once: a commit comes a hundred times a second.
fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let result = work(connection).and_then(|result| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(result)
    });
    if result.is_err() && !connection.is_autocommit() {
        // Should this fail too, the connection is still in the transaction, which `note` looks for.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result
}

fn write_events(
    connection: &Connection,
    events: &[Event],
    places: &[Place],
    shared: &mut Shared,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO event (position, recorded, id, type, subject, key, shared, headers, value, trace)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (event, place) in events.iter().zip(places) {
        insert.execute(params![
            place.lane.position(place.sequence),
            event.recorded.as_nanos(),
            event.id,
            event.kind,
            event.subject,
            event.key,
            shared.number(event),
            event.headers,
            event.value,
            (!event.trace.is_empty()).then_some(&event.trace),
        ])?;
    }
    Ok(())
}
