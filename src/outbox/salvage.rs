//! A damaged store is moved aside, and what can be read of it goes into a new one.
//!
//! The new store is made whole beside the old one, then it gets the name `….salvaged-<time>`, and only then the old one is moved: whatever ends
//! the process meanwhile, the next start goes on where this one was. Nothing is deleted of what is moved aside. What became of it stands in the
//! new store until it is told.
//!
//! Of the events only those are taken over that are not delivered, in their order and with numbers of their own, so that their lanes begin
//! a new epoch; all of them may have been sent. State cells and dead letters are taken over as far as they can be read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use floorgate_sample::Timestamp;
use rusqlite::{OpenFlags, OptionalExtension};

use crate::reached::{Lock, Reached};
use crate::remains::Remains;
use crate::schema::{self, with_suffix};
use crate::{Error, Options, Restored, Store, first_page};

/// How a store that is moved aside is named, and the one that takes its place; the time follows.
const ASIDE: &str = ".damaged-";
const SALVAGED: &str = ".salvaged-";

/// What became of a damaged store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// What was wrong with it.
    pub reason: String,
    /// Where it is now.
    pub aside: PathBuf,
    /// Events that were not delivered and are in the new store.
    pub events: u64,
    /// Events that were not delivered and cannot be read, as far as the lanes tell.
    pub lost: u64,
    /// Events beyond what the lanes tell: that they were stored is noted, and whether they were delivered is not known.
    pub missing: u64,
    /// State cells that were read.
    pub cells: u64,
    /// Not all state can be read.
    pub state_is_incomplete: bool,
    /// Dead letters that were read.
    pub dead_letters: u64,
}

impl Salvage {
    /// When it began, as it stands in names of files.
    fn when(&self) -> String {
        let aside = self.aside.to_string_lossy();
        let when = aside.rsplit_once(ASIDE).map_or("", |(_, when)| when);
        when.to_owned()
    }

    /// What the new store has of it, until it is told.
    pub(crate) fn note(&self) -> String {
        let when = self.when();
        let Self {
            reason,
            events,
            lost,
            missing,
            cells,
            state_is_incomplete,
            dead_letters,
            ..
        } = self;
        format!("{when} {events} {lost} {missing} {cells} {state_is_incomplete} {dead_letters} {reason}")
    }

    /// Reads it. Of what is not as it was written, it is known at least that there was something.
    fn noted(path: &Path, note: &str) -> Self {
        let mut words = note.splitn(8, ' ');
        let mut word = || words.next().unwrap_or_default();
        let when = word();
        let mut number = || word().parse().unwrap_or(0);
        let (events, lost, missing, cells) = (number(), number(), number(), number());
        Self {
            aside: with_suffix(path, &format!("{ASIDE}{when}")),
            events,
            lost,
            missing,
            cells,
            state_is_incomplete: word() != "false",
            dead_letters: word().parse().unwrap_or(0),
            reason: word().to_owned(),
        }
    }
}

impl Store {
    /// Opens the store as [`Store::open`] does. One that is damaged is moved aside, and what can be read of it is in the store that is
    /// opened then. That is told at each start until [`Store::salvage_is_told`].
    pub fn open_or_salvage(options: &Options) -> Result<(Self, Restored, Option<Salvage>), Error> {
        Self::open_or_salvage_with(options, &Lock::take(&options.path)?)
    }

    /// Does so with a lock that is held also where that fails.
    pub fn open_or_salvage_with(
        options: &Options,
        lock: &Lock,
    ) -> Result<(Self, Restored, Option<Salvage>), Error> {
        let path = options.path.as_path();
        finish(path, lock)?;
        let note = note_of(path);
        let reason = match fs::read_to_string(&note) {
            Ok(reason) => reason,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut opened = Self::open_with(options, lock.again());
                if matches!(opened, Err(Error::Full { .. })) && remove(path, &[".reserve"])? {
                    // What was set aside for a full disk is enough to open it.
                    opened = Self::open_with(options, lock.again());
                }
                match opened {
                    Err(Error::Damaged { found, .. }) => found,
                    Err(error) => return Err(error),
                    Ok((store, restored)) => return store.with_salvage(restored),
                }
            }
            Err(error) => return Err(Error::io(&note, "read the note of its damage", error)),
        };
        let mut salvage = Salvage {
            reason,
            aside: with_suffix(path, &format!("{ASIDE}{}", now())),
            ..Salvage::default()
        };
        take_over(options, lock.again().noted(), &mut salvage)?;
        finish(path, lock)?;
        let (store, restored) = Self::open_with(options, lock.again())?;
        store.with_salvage(restored)
    }

    /// Adds what is to be told of a salvage that the store came from.
    fn with_salvage(self, restored: Restored) -> Result<(Self, Restored, Option<Salvage>), Error> {
        let path = self.path();
        let note: Option<String> = self
            .connection
            .query_row(
                "SELECT CAST(value AS TEXT) FROM meta WHERE key = 'salvage'",
                [],
                |row| row.get(0),
            )
            .optional()
            .map_err(|error| Error::sqlite(path, "read what was salvaged", error))?;
        let salvage = note.map(|note| Salvage::noted(path, &note));
        Ok((self, restored, salvage))
    }

    /// What was salvaged is told, and what follows from it is stored: the next start says nothing of it.
    pub fn salvage_is_told(&mut self) -> Result<(), Error> {
        self.transact("note that a salvage is told", |transaction, _, _| {
            transaction
                .execute("DELETE FROM meta WHERE key = 'salvage'", [])
                .map(drop)
        })
    }

    /// Notes beside the store that it is damaged, so that the next start salvages it, and uses it no more.
    pub fn condemn(&mut self, error: &Error) {
        if let Error::Damaged { path, found } = error {
            // Should this fail as well, the next start finds the damage by itself, or comes back here.
            let _ = fs::write(note_of(path), found);
        }
        self.note(error);
    }
}

fn note_of(path: &Path) -> PathBuf {
    with_suffix(path, ".damaged")
}

/// The time, as it stands in names of files.
fn now() -> String {
    let time = Timestamp::now().to_string();
    let seconds = time.chars().take_while(|c| *c != '.');
    seconds.filter(char::is_ascii_alphanumeric).collect()
}

/// The store that is to take the place of a damaged one, and when that was made.
fn successor(path: &Path) -> Result<Option<(PathBuf, String)>, Error> {
    let failed = |error| Error::io(path, "look for what was salvaged", error);
    let begin = with_suffix(path, SALVAGED);
    let begin = begin.file_name().unwrap_or_default().to_string_lossy();
    for file in fs::read_dir(schema::folder_of(path)).map_err(failed)? {
        let file = file.map_err(failed)?;
        if let Some(when) = file.file_name().to_string_lossy().strip_prefix(&*begin) {
            return Ok(Some((file.path(), when.to_owned())));
        }
    }
    Ok(None)
}

/// Ends a move that is under way: the damaged files go aside, the new store takes their place.
fn finish(path: &Path, lock: &Lock) -> Result<(), Error> {
    let Some((salvaged, when)) = successor(path)? else {
        return Ok(());
    };
    lock.forget()
        .map_err(|error| Error::io(path, "forget how far it came", error))?;
    let aside = with_suffix(path, &format!("{ASIDE}{when}"));
    let rename = |from: &Path, to: &Path| match fs::rename(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(from, "be moved aside", error))
        }
        _ => Ok(()),
    };
    for suffix in ["-wal", "-shm", ""] {
        rename(&with_suffix(path, suffix), &with_suffix(&aside, suffix))?;
    }
    let _ = fs::remove_file(note_of(path));
    rename(&salvaged, path)?;
    schema::sync_folder(path, "sync its folder")
}

/// Makes the new store. Where there is no room for it, what was made of it is removed.
fn take_over(options: &Options, noted: Option<&Reached>, salvage: &mut Salvage) -> Result<(), Error> {
    let path = options.path.as_path();
    let (new, copy) = (with_suffix(path, ".new"), with_suffix(path, ".copy"));
    let clear = || {
        remove(&new, &["", "-wal", "-shm", ".lock"])?;
        remove(&copy, &["", "-wal", "-shm"])
    };
    clear()?;
    // What was set aside for a full disk is taken again when the new store is opened.
    remove(path, &[".reserve"])?;
    let made = make(options, noted, salvage, &new, &copy);
    if let Err(Error::Full { .. }) = made {
        clear()?;
    }
    made?;
    remove(&new, &["-wal", "-shm", ".lock"])?;
    remove(&copy, &["", "-wal", "-shm"])?;
    File::open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&new, with_suffix(path, &format!("{SALVAGED}{}", salvage.when()))))
        .map_err(|error| Error::io(&new, "be completed", error))?;
    schema::sync_folder(path, "sync its folder")
}

/// Makes it of what can be read, with the help of a copy where the first page is wrong.
fn make(
    options: &Options,
    noted: Option<&Reached>,
    salvage: &mut Salvage,
    new: &Path,
    copy: &Path,
) -> Result<(), Error> {
    let path = options.path.as_path();
    let options = Options {
        path: new.to_path_buf(),
        // What is there is taken over, however the room for it came together.
        max_bytes: None,
        reserve_bytes: 0,
        ..options.clone()
    };
    let (mut store, _) = Store::open(&options)?;
    let mut readable = path;
    if !schema::is_recognised(path) {
        first_page::copy_with_that_of(&options, path, copy)?;
        readable = copy;
    }
    let damaged = schema::connect(readable, OpenFlags::SQLITE_OPEN_READ_ONLY, "open what is damaged")?;
    Remains::new(&damaged, noted, salvage).copy(&mut store)?;
    store
        .connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(|error| Error::sqlite(new, "be completed", error))
}

/// Removes files beside a store; whether there was one.
fn remove(path: &Path, suffixes: &[&str]) -> Result<bool, Error> {
    let mut was_there = false;
    for suffix in suffixes {
        let file = with_suffix(path, suffix);
        match fs::remove_file(&file) {
            Ok(()) => was_there = true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&file, "be removed", error)),
        }
    }
    Ok(was_there)
}
