//! The file: creating it, recognising it, setting it up.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::reached::Lock;
use crate::{Error, Options};

/// `SQLite`'s `application_id` of a store: "flgt".
pub const APPLICATION_ID: i32 = 0x666c_6774;

/// `SQLite`'s `user_version` of a store. A program opens stores of its own version; a newer one is refused.
pub const FORMAT_VERSION: u32 = 5;

/// How long a foreign lock on the database (an operator's tool that writes) is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// What the write-ahead log is cut to after it had to grow beyond it.
const WAL_SIZE_LIMIT: i64 = 64 << 20;

/// The length of `SQLite`'s header, and what is the same there in each store, by where it begins: the name of the format;
/// that no part of a page is reserved, and how much of a row is in one; the format of the schema; that no page is moved; that texts are UTF-8;
/// and nothing where nothing is defined.
const HEADER_BYTES: u64 = 100;
const HEADER: [(usize, &[u8]); 7] = [
    (0, b"SQLite format 3\0"),
    (20, &[0, 64, 32, 32]),
    (44, &[0, 0, 0, 4]),
    (52, &[0, 0, 0, 0]),
    (56, &[0, 0, 0, 1]),
    (64, &[0, 0, 0, 0]),
    (72, &[0; 20]),
];

/// Where it says how the log is written: ahead (2), but in a copy by `VACUUM INTO`, which has none (1).
const LOG: std::ops::Range<usize> = 18..20;

/// Each store has this word by word: with another text it would be another format.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE topic (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER) STRICT;
CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL,
    partition INTEGER,
    epoch INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    acknowledged_sequence INTEGER NOT NULL,
    acknowledged_offset INTEGER,
    base INTEGER NOT NULL,
    doubt INTEGER NOT NULL,
    UNIQUE (topic, partition, epoch)
) STRICT;
CREATE TABLE event (
    position INTEGER PRIMARY KEY,
    recorded INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    key TEXT NOT NULL,
    shared INTEGER NOT NULL,
    headers TEXT NOT NULL,
    value BLOB NOT NULL,
    trace TEXT
) STRICT;
CREATE TABLE dead_letter (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    position INTEGER NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    partition INTEGER,
    refused INTEGER NOT NULL,
    reason TEXT NOT NULL,
    recorded INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    key TEXT NOT NULL,
    shared_headers TEXT NOT NULL,
    headers TEXT NOT NULL,
    value BLOB NOT NULL
) STRICT;
CREATE TABLE shared (id INTEGER PRIMARY KEY, headers TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE cell (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE journal (number INTEGER PRIMARY KEY, cells TEXT NOT NULL) STRICT;
CREATE VIEW outbox AS
SELECT topic.name AS topic,
       lane.partition AS partition,
       iif((event.position & 0xfffffffffff) > lane.base, lane.epoch, NULL) AS epoch,
       iif((event.position & 0xfffffffffff) > lane.base, (event.position & 0xfffffffffff) - lane.base, NULL) AS sequence,
       iif((event.position & 0xfffffffffff) <= lane.acknowledged_sequence, 'yes', 'no') AS delivered,
       strftime('%Y-%m-%dT%H:%M:%S', event.recorded / 1000000000, 'unixepoch')
           || printf('.%03dZ', event.recorded / 1000000 % 1000) AS recorded,
       event.id AS id,
       event.type AS type,
       event.subject AS subject,
       event.key AS key,
       replace(replace(replace(shared.headers, '{id}', event.id), '{subject}', event.subject), '{key}', event.key)
           || event.headers AS headers,
       CAST(event.value AS TEXT) AS value
FROM event
JOIN lane ON lane.id = event.position >> 44
JOIN topic ON topic.id = lane.topic
JOIN shared ON shared.id = event.shared;
";

/// Takes the lock file of the store at `path`; it is released when the file is dropped or the process ends.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let name = with_suffix(path, ".lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(|error| Error::io(&name, "open its lock file", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Locked {
            path: path.to_path_buf(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::io(&name, "lock its lock file", error)),
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// Opens the database, creating it when there is none, and sets the connection up. The caller holds the lock.
///
/// What is damaged is left as it is, the log too: the connection copies nothing when it is closed.
pub(crate) fn open(options: &Options, lock: &Lock) -> Result<Connection, Error> {
    let path = options.path.as_path();
    let is_marked = lock.is_marked();
    let was_there = !create_file(path)?;
    if is_marked && !was_there && has_log(path) {
        return Err(Error::damaged(
            path,
            "it is gone, and its log (-wal) is still there",
        ));
    }
    if is_marked && !has_header(path) {
        return Err(Error::damaged(path, "its header is wrong"));
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, "open its file")?;
    copy_log_at_close(&connection, false).map_err(|error| Error::sqlite(path, "open its file", error))?;
    match is_new(&connection, path) {
        Ok(false) => {}
        Ok(true) if is_marked && was_there => return Err(Error::damaged(path, "nothing is in it")),
        Ok(true) => create(&mut connection, options)
            .map_err(|error| Error::sqlite(path, "create its tables", error))?,
        Err(error) if is_marked && error.may_be_damage() => {
            return Err(Error::damaged(path, error.to_string()));
        }
        Err(error) => return Err(error),
    }
    set_up(&connection, options).map_err(|error| Error::sqlite(path, "open its file", error))?;
    if !is_marked {
        lock.mark()
            .map_err(|error| Error::io(path, "mark its lock file", error))?;
        sync_folder(path, "mark its lock file")?;
    }
    Ok(connection)
}

/// Whether something is in the log beside a store.
fn has_log(path: &Path) -> bool {
    std::fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// Whether a file that may be damaged can be recognised as a store with all its tables.
pub(crate) fn is_recognised(path: &Path) -> bool {
    // `SQLite` deletes the log beside an empty file.
    let is_empty = std::fs::metadata(path).is_ok_and(|file| file.len() == 0);
    !is_empty
        && has_header(path)
        && connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, "open what is damaged")
            .is_ok_and(|connection| matches!(is_new(&connection, path), Ok(false)))
}

/// Whether the header has what is the same in each store; `SQLite` takes some of it for other settings where it is wrong. An empty file has
/// none yet, and one that cannot be opened is left to `SQLite`.
fn has_header(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return true };
    let mut header = Vec::new();
    file.take(HEADER_BYTES).read_to_end(&mut header).is_ok()
        && (header.is_empty()
            || HEADER
                .iter()
                .all(|(at, bytes)| header.get(*at..).is_some_and(|rest| rest.starts_with(bytes)))
                && matches!(header.get(LOG), Some([1, 1] | [2, 2])))
}

/// Another connection to a database that this process has open for writing.
pub(crate) fn open_beside(path: &Path) -> Result<Connection, Error> {
    let action = "open its file again";
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, action)?;
    connection
        .pragma_update(None, "synchronous", "full")
        .map_err(|error| Error::sqlite(path, action, error))?;
    Ok(connection)
}

/// A connection that one thread at a time uses.
pub(crate) fn connect(path: &Path, access: OpenFlags, action: &'static str) -> Result<Connection, Error> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    Connection::open_with_flags(path, flags)
        .and_then(|connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            if access == OpenFlags::SQLITE_OPEN_READ_ONLY {
                copy_log_at_close(&connection, false)?;
            }
            Ok(connection)
        })
        .map_err(|error| Error::sqlite(path, action, error))
}

/// Whether the log is copied into the database, and removed, when its last connection is closed.
pub(crate) fn copy_log_at_close(connection: &Connection, copy: bool) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !copy)
        .map(drop)
}

/// `SQLite` gives the log and its index the mode of the main file, so that file has to exist with ours first. Whether it had to be made.
fn create_file(path: &Path) -> Result<bool, Error> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        // The file's name is durable only with its folder.
        Ok(_) => sync_folder(path, "create its file").map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io(path, "create its file", error)),
    }
}

/// The folder that a store is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the names of files beside a store's durable.
pub(crate) fn sync_folder(path: &Path, action: &'static str) -> Result<(), Error> {
    File::open(folder_of(path))
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io(path, action, error))
}

/// Whether the database is still empty; refuses what is not a store of this format.
fn is_new(connection: &Connection, path: &Path) -> Result<bool, Error> {
    let identity = (|| {
        let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let objects: u32 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((application_id, version, objects))
    })();
    let not_a_store = |found: String| Error::NotAStore {
        path: path.to_path_buf(),
        found,
    };
    match identity {
        Ok((APPLICATION_ID, FORMAT_VERSION, _)) => match has_tables(connection) {
            Ok(true) => Ok(false),
            Ok(false) => Err(Error::damaged(path, "not all of its tables are there")),
            Err(error) => Err(Error::sqlite(path, "read its tables", error)),
        },
        Ok((APPLICATION_ID, found, _)) => Err(Error::other_format(path, found)),
        Ok((0, 0, 0)) => Ok(true),
        Ok((id, version, _)) => Err(not_a_store(format!(
            "an SQLite database with application id {id:#x} and user version {version}"
        ))),
        Err(rusqlite::Error::SqliteFailure(failure, _))
            if failure.code == rusqlite::ErrorCode::NotADatabase =>
        {
            Err(not_a_store("not an SQLite database".to_owned()))
        }
        Err(error) => Err(Error::sqlite(path, "read its header", error)),
    }
}

/// Whether all that a store has is there; what an operator has added does no harm.
fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let objects = |connection: &Connection| -> rusqlite::Result<HashSet<(String, Option<String>)>> {
        connection
            .prepare("SELECT name, sql FROM sqlite_schema")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    };
    let made = Connection::open_in_memory()?;
    made.execute_batch(TABLES)?;
    Ok(objects(&made)?.is_subset(&objects(connection)?))
}

fn create(connection: &mut Connection, options: &Options) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", options.page_size)?;
    // Tables and format version appear together: a file that has the version has everything.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT_VERSION)?;
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('store_id', ?1), ('incarnation', 0)",
        [uuid::Uuid::new_v4().to_string()],
    )?;
    transaction.commit()
}

fn set_up(connection: &Connection, options: &Options) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
        let mode: String = row.get(0)?;
        if mode == "wal" {
            Ok(())
        } else {
            Err(rusqlite::Error::InvalidColumnName(mode))
        }
    })?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_SIZE_LIMIT, |_| Ok(()))?;
    // Negative: kibibytes instead of pages.
    connection.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}
