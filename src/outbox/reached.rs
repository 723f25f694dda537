//! How far the store has come, noted in its lock file.
//!
//! What commits have stored can be gone at the next start without a trace: a wrong byte in the write-ahead log hides everything behind it, as
//! if a power cut had torn it there, and the file may be an older copy. So each commit, and each move of events, is noted once it is synced. The note has no
//! sync of its own: behind a power cut it can be older than the store, and never younger.

use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::catalog::{Lane, sequence};
use crate::{Error, murmur2, schema};

/// What stands in the lock file once there is a store: what is found in its place later, and is none, is a damaged one.
const MARK: &str = "An outbox of floorgate is beside this file.\n";

/// How long a note is at most.
const NOTE_BYTES: usize = 256;

/// A point in a store's life. Each number only rises, as long as it is the same store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The store's id.
    pub(crate) store: String,
    /// Its incarnation.
    pub(crate) incarnation: u64,
    /// The events that it has given a sequence.
    pub(crate) events: u64,
    /// The number of its youngest journal row.
    pub(crate) journal: u64,
}

impl Reached {
    /// What a store says of itself. Writes nothing.
    pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let meta = |key: &str| format!("SELECT value FROM meta WHERE key = '{key}'");
        let mut events: u64 = 0;
        let mut lanes = connection.prepare("SELECT last_sequence FROM lane")?;
        let mut rows = lanes.query([])?;
        while let Some(row) = rows.next()? {
            events = events.saturating_add(sequence(row, 0)?);
        }
        Ok(Self {
            store: connection.query_row(&meta("store_id"), [], |row| row.get(0))?,
            incarnation: connection.query_row(&meta("incarnation"), [], |row| sequence(row, 0))?,
            events,
            journal: connection.query_row("SELECT ifnull(max(number), 0) FROM journal", [], |row| {
                sequence(row, 0)
            })?,
        })
    }

    /// What this point, which was noted, has and a store at that other one has not; none where they are not of the same store.
    fn missing_in(&self, found: &Self) -> Option<String> {
        if self.store != found.store {
            return None;
        }
        let missing = [
            (self.incarnation > found.incarnation).then(|| "the last time that it was opened".to_owned()),
            (self.events > found.events).then(|| format!("its last {} events", self.events - found.events)),
            (self.journal > found.journal).then(|| "its last state".to_owned()),
        ];
        let missing: Vec<String> = missing.into_iter().flatten().collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    fn note(&self) -> String {
        let Self {
            store,
            incarnation,
            events,
            journal,
        } = self;
        let text =
            format!("{store} has come to incarnation {incarnation}, event {events} and state {journal}, ");
        let sum = murmur2(text.as_bytes());
        format!("{text}{sum:08x}\n")
    }

    /// Reads a note; nothing where it is none, or not whole.
    fn noted(text: &str) -> Option<Self> {
        let line = text.split_inclusive('\n').next()?;
        let mut words = line.split([' ', ',']);
        let mut number = |before: &str| {
            words.by_ref().find(|word| *word == before)?;
            words.next()?.parse().ok()
        };
        let reached = Self {
            store: line.split(' ').next()?.to_owned(),
            incarnation: number("incarnation")?,
            events: number("event")?,
            journal: number("state")?,
        };
        (reached.note() == line).then_some(reached)
    }
}

/// How many events those lanes have given a sequence.
pub(crate) fn events(lanes: &[Lane]) -> u64 {
    lanes
        .iter()
        .fold(0, |sum: u64, lane| sum.saturating_add(lane.last_sequence))
}

/// The right to a store, which one process has at a time; it is given up when it is dropped and no store is open with it. Its file notes how
/// far the store has come.
#[derive(Debug)]
pub struct Lock {
    file: Arc<Held>,
    noted: Option<Reached>,
}

/// A file that is locked.
#[derive(Debug)]
struct Held(File);

impl Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

/// A program that is just being started by this one has the file too, and would hold the lock until it begins.
impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl Lock {
    /// Takes it; [`Error::Locked`] where another process has it.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let file = schema::lock(path)?;
        Ok(Self::new(Arc::new(Held(file))))
    }

    /// Takes a file that is locked, and reads what is in it.
    fn new(file: Arc<Held>) -> Self {
        let mut bytes = [0; MARK.len() + NOTE_BYTES];
        // What cannot be read says as little as nothing.
        let read = file.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()).into_owned();
        let noted = text.get(MARK.len()..).and_then(Reached::noted);
        Self { file, noted }
    }

    /// The same file for one who takes it later.
    pub(crate) fn again(&self) -> Self {
        Self::new(Arc::clone(&self.file))
    }

    /// Whether there is, or was, a store beside it.
    pub(crate) fn is_marked(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.len() > 0)
    }

    /// Says that there is a store.
    pub(crate) fn mark(&self) -> std::io::Result<()> {
        self.file.write_all_at(MARK.as_bytes(), 0)?;
        self.file.sync_all()
    }

    /// How far a store came that was beside it.
    pub(crate) fn noted(&self) -> Option<&Reached> {
        self.noted.as_ref()
    }

    /// Compares a store with what was noted of it.
    pub(crate) fn check(&self, path: &Path, found: &Reached) -> Result<(), Error> {
        match self.noted.as_ref().and_then(|noted| noted.missing_in(found)) {
            Some(missing) => Err(Error::damaged(
                path,
                format!(
                    "{missing} had been stored and cannot be found: its log (-wal) is damaged, or it is an older copy"
                ),
            )),
            None => Ok(()),
        }
    }

    /// Notes how far the store has come.
    pub(crate) fn note(&mut self, reached: Reached) {
        // Where it cannot be written, an older note stands, which is true as well.
        let _ = self
            .file
            .write_all_at(reached.note().as_bytes(), MARK.len() as u64);
        self.noted = Some(reached);
    }

    /// Notes what a commit has changed: how many events have a sequence, and the youngest journal row.
    pub(crate) fn note_commit(&mut self, events: u64, journal: u64) {
        if let Some(reached) = self
            .noted
            .take_if(|noted| (noted.events, noted.journal) != (events, journal))
        {
            self.note(Reached {
                events,
                journal,
                ..reached
            });
        }
    }

    /// Forgets how far the store came, for whoever takes this [again](Self::again): another one takes its place, and counts from the start.
    pub(crate) fn forget(&self) -> std::io::Result<()> {
        self.file.set_len(MARK.len() as u64)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_up_also_where_a_program_that_is_being_started_has_its_file() {
        let folder = std::env::temp_dir().join(format!("floorgate-lock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("outbox.db");
        let lock = Lock::take(&path).unwrap();
        let held = lock.again();
        let inherited = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(Lock::take(&path).is_err(), "somebody has it still");
        drop(held);
        Lock::take(&path).unwrap();
        drop(inherited);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_note_is_read_as_it_was_written_or_not_at_all() {
        let reached = Reached {
            store: uuid::Uuid::from_u128(7).to_string(),
            incarnation: 1_790_000_000_123,
            events: 41,
            journal: 7,
        };
        let note = reached.note();
        assert!(note.len() <= NOTE_BYTES);
        assert_eq!(Reached::noted(&note), Some(reached.clone()));
        // What is left of a longer one behind it does no harm.
        assert_eq!(Reached::noted(&format!("{note}0a\n")), Some(reached));
        for at in 0..note.len() {
            let mut wrong = note.clone().into_bytes();
            wrong[at] ^= 1;
            assert_eq!(
                Reached::noted(&String::from_utf8_lossy(&wrong)),
                None,
                "byte {at}"
            );
            assert_eq!(Reached::noted(&note[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn what_is_missing_is_told_of_the_same_store_only() {
        let at = |incarnation, events, journal| Reached {
            store: "a".to_owned(),
            incarnation,
            events,
            journal,
        };
        let noted = at(5, 100, 10);
        assert_eq!(noted.missing_in(&at(5, 100, 10)), None);
        assert_eq!(noted.missing_in(&at(6, 101, 11)), None);
        assert_eq!(
            noted.missing_in(&at(4, 98, 9)).as_deref(),
            Some("the last time that it was opened, its last 2 events, its last state")
        );
        let other = Reached {
            store: "b".to_owned(),
            ..at(0, 0, 0)
        };
        assert_eq!(noted.missing_in(&other), None);
    }
}
