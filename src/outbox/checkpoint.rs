//! Checkpoints: copying the write-ahead log into the database.
//!
//! A log that is copied whole is begun anew by the next commit, so that it stays short. Under load a copy takes longer than commits may wait,
//! so a [`Checkpointer`] makes it beside the writer, on a connection and a thread of its own, until little is left; the writer copies that rest
//! between two commits ([`Store::finish_checkpoint`]), when nothing is added meanwhile. Content is changed by neither.

use std::path::PathBuf;

use rusqlite::Connection;

use crate::{Error, Store, schema};

/// From how many bytes on the write-ahead log is worth a checkpoint, which costs two syncs.
const CHECKPOINT_BYTES: u64 = 8 << 20;
/// What is left to the writer, if it can be had within a few rounds.
const REST_BYTES: u64 = 256 << 10;
const ROUNDS: usize = 4;

/// Copies the log beside the writer.
#[derive(Debug)]
pub struct Checkpointer {
    path: PathBuf,
    page_size: u64,
    connection: Connection,
}

impl Checkpointer {
    /// Copies what the log holds into the database, and what comes meanwhile, until little is left. What a reader still looks at is left, too.
    pub fn run(&mut self) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let left = pending(&self.connection, "PRAGMA wal_checkpoint(PASSIVE)")
                .map_err(|error| Error::sqlite(&self.path, "make a checkpoint", error))?;
            if left * self.page_size <= REST_BYTES {
                break;
            }
        }
        Ok(())
    }
}

/// The pages in the log that are not in the database, after the given checkpoint.
fn pending(connection: &Connection, checkpoint: &str) -> rusqlite::Result<u64> {
    connection.prepare_cached(checkpoint)?.query_row([], |row| {
        let (in_log, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(in_log.saturating_sub(copied).max(0).cast_unsigned())
    })
}

impl Store {
    /// One that copies the log beside this store from now on: [`Store::maintain`] does not any more. It is to be asked to
    /// when [`Store::log_is_long`], and then [`Store::finish_checkpoint`] is called.
    pub fn checkpointer(&mut self) -> Result<Checkpointer, Error> {
        let path = self.options.path.clone();
        let connection = schema::open_beside(&path)?;
        self.checkpoints_beside = true;
        Ok(Checkpointer {
            path,
            page_size: u64::from(self.options.page_size),
            connection,
        })
    }

    /// Whether the log is worth a checkpoint.
    pub fn log_is_long(&mut self) -> Result<bool, Error> {
        let pending = self.pending("PRAGMA wal_checkpoint(NOOP)")?;
        Ok(pending * u64::from(self.options.page_size) >= CHECKPOINT_BYTES)
    }

    /// Copies what a [`Checkpointer`] has left, so that the next commit begins the log anew.
    pub fn finish_checkpoint(&mut self) -> Result<(), Error> {
        self.pending("PRAGMA wal_checkpoint(PASSIVE)").map(drop)
    }

    /// Copies the log when it has grown enough and nobody else does. Returns whether all of it is in the database.
    pub(crate) fn checkpoint(&mut self) -> Result<bool, Error> {
        if self.checkpoints_beside || !self.log_is_long()? {
            return Ok(false);
        }
        // A reader with an old snapshot leaves some of it; then the next call goes on, and a full log is not looped over.
        Ok(self.pending("PRAGMA wal_checkpoint(PASSIVE)")? == 0)
    }

    fn pending(&mut self, checkpoint: &str) -> Result<u64, Error> {
        pending(&self.connection, checkpoint).map_err(|error| {
            let error = Error::sqlite(&self.options.path, "make a checkpoint", error);
            self.note(&error);
            error
        })
    }
}
