//! Reading beside the writer.

use std::path::{Path, PathBuf};

use floorgate_sample::Timestamp;
use rusqlite::{Connection, OpenFlags, params};

use crate::schema::{APPLICATION_ID, FORMAT_VERSION, connect};
use crate::{Error, Lane, LaneId, Row, Topic, catalog};

/// A read-only connection to a store that this or another process has open. It sees what is committed, and every call sees the newest.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

impl Reader {
    /// Opens an existing store.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let sqlite = |error| Error::sqlite(path, "open for reading", error);
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, "open for reading")?;
        connection
            .pragma_update(None, "cache_size", -1024)
            .map_err(sqlite)?;
        let identity = |name| {
            connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map_err(sqlite)
        };
        let (application, version) = (identity("application_id")?, identity("user_version")?);
        if application != i64::from(APPLICATION_ID) {
            let found = format!("an SQLite database with application id {application:#x}");
            return Err(Error::NotAStore {
                path: path.to_path_buf(),
                found,
            });
        }
        if version != i64::from(FORMAT_VERSION) {
            let found = u32::try_from(version).unwrap_or(u32::MAX);
            return Err(Error::other_format(path, found));
        }
        Ok(Self {
            path: path.to_path_buf(),
            connection,
        })
    }

    /// The topics, in the order in which they became known.
    pub fn topics(&self) -> Result<Vec<Topic>, Error> {
        self.query("read its topics", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT name, partitions FROM topic ORDER BY id")?;
            let topics = statement.query_map([], |row| {
                Ok(Topic {
                    name: row.get(0)?,
                    partitions: row.get(1)?,
                })
            })?;
            topics.collect()
        })
    }

    /// All lanes, by number.
    pub fn lanes(&self) -> Result<Vec<Lane>, Error> {
        catalog::lanes(&self.connection).map_err(|error| self.error("read its lanes", error))
    }

    /// The events of a lane after a sequence, in order: at most `max_rows`, and no more once `max_bytes` of key, headers and value
    /// are reached (one event is given in any case).
    pub fn lane_rows(
        &self,
        lane: LaneId,
        after_sequence: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, Error> {
        self.read_rows(lane, after_sequence, max_rows, max_bytes)
            .map_err(|error| self.error("read events", error))
    }

    fn read_rows(
        &self,
        lane: LaneId,
        after_sequence: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT position, recorded, event.id, subject, key, shared.headers, event.headers, value
             FROM event JOIN shared ON shared.id = event.shared
             WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT ?3",
        )?;
        let (from, to) = (lane.position(after_sequence), lane.position(LaneId::MAX_SEQUENCE));
        let mut found = statement.query(params![from, to, i64::try_from(max_rows).unwrap_or(i64::MAX)])?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = found.next()? {
            let row = Row {
                lane,
                sequence: LaneId::sequence_of(row.get(0)?),
                recorded: Timestamp::from_nanos(row.get(1)?),
                id: row.get(2)?,
                subject: row.get(3)?,
                key: row.get(4)?,
                shared_headers: row.get(5)?,
                headers: row.get(6)?,
                value: row.get(7)?,
            };
            bytes += row.size();
            rows.push(row);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(rows)
    }

    /// Reads something with the connection.
    pub(crate) fn query<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        read(&self.connection).map_err(|error| self.error(action, error))
    }

    fn error(&self, action: &'static str, error: rusqlite::Error) -> Error {
        Error::sqlite(&self.path, action, error)
    }
}
