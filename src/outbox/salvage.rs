//! A damaged store is moved aside, and what can be read of it goes into a new one.
//!
//! The new store is made whole beside the old one, then it gets the name `….salvaged`, and only then the old one is moved: whatever ends
//! the process meanwhile, the next start goes on where this one was. Nothing is deleted of what is moved aside.
//!
//! Of the events only those are taken over that are not delivered, in their order and with numbers of their own, so that their lanes begin
//! a new epoch; all of them may have been sent. State cells and dead letters are taken over as far as they can be read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use floorgate_sample::Timestamp;
use rusqlite::OpenFlags;

use crate::reached::{LockFile, Reached};
use crate::remains::Remains;
use crate::schema::{self, with_suffix};
use crate::{Error, Options, Restored, Store, first_page};

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

impl Store {
    /// Opens the store as [`Store::open`] does. One that is damaged is moved aside, and what can be read of it is in the store that is
    /// opened then.
    pub fn open_or_salvage(options: &Options) -> Result<(Self, Restored, Option<Salvage>), Error> {
        let path = options.path.as_path();
        let mut lock = schema::lock(path)?;
        let finished = finish(path, &mut lock)?;
        let mut held = lock.again(path)?;
        let note = note_of(path);
        let reason = match fs::read_to_string(&note) {
            Ok(reason) => reason,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                match Self::open_with(options, lock) {
                    Err(Error::Damaged { found, .. }) => found,
                    // What was set aside for a full disk is enough to open it.
                    Err(Error::Full { .. }) if remove(path, &[".reserve"])? => {
                        let opened = Self::open_with(options, held.again(path)?);
                        return opened.map(|(store, restored)| (store, restored, finished));
                    }
                    opened => return opened.map(|(store, restored)| (store, restored, finished)),
                }
            }
            Err(error) => return Err(Error::io(&note, "read the note of its damage", error)),
        };
        let mut salvage = Salvage {
            reason,
            ..Salvage::default()
        };
        take_over(options, held.noted(), &mut salvage)?;
        if let Some(finished) = finish(path, &mut held)? {
            salvage.aside = finished.aside;
        }
        let (store, restored) = Self::open_with(options, held)?;
        Ok((store, restored, Some(salvage)))
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

/// Ends a move that is under way: the damaged files go aside, the new store takes their place.
fn finish(path: &Path, lock: &mut LockFile) -> Result<Option<Salvage>, Error> {
    let salvaged = with_suffix(path, ".salvaged");
    if !salvaged.exists() {
        return Ok(None);
    }
    lock.forget()
        .map_err(|error| Error::io(path, "forget how far it came", error))?;
    let time: String = Timestamp::now()
        .to_string()
        .chars()
        .take_while(|c| *c != '.')
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let aside = with_suffix(path, &format!(".damaged-{time}"));
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
    schema::sync_folder(path, "sync its folder")?;
    Ok(Some(Salvage {
        reason: "it was being moved aside when the process ended".to_owned(),
        aside,
        // What was found then is not known any more.
        state_is_incomplete: true,
        ..Salvage::default()
    }))
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
        .and_then(|()| fs::rename(&new, with_suffix(path, ".salvaged")))
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
