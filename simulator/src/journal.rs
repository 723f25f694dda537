//! The plant's own record of what it did: the truth that a consumer's events are compared with.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use crate::{
    PlantError,
    model::{Protocol, TagValue},
};

/// Where the journal goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum JournalTarget {
    /// None is kept.
    #[default]
    Off,
    /// Kept in memory; [`Plant::journal`](crate::Plant::journal) reads it.
    Memory,
    /// Appended to a file, one JSON object a line, handed to the operating system before the change can be read by anyone.
    File(PathBuf),
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Time of the write in microseconds since 1970. On OPC UA it is the source time-stamp of the value. Changes of one moment
    /// of one machine have the same time; no other changes do.
    pub time: i64,
    /// How the tag is read.
    pub protocol: Protocol,
    /// The tag's name, as `Line1.Status`.
    pub tag: Arc<str>,
    /// Value before; none in the entry that tells the value at the start.
    pub old: Option<TagValue>,
    /// Value after.
    pub new: TagValue,
}

/// The open journal.
#[derive(Debug)]
pub(crate) enum Journal {
    Off,
    Memory(Arc<Mutex<Vec<Record>>>),
    File { path: PathBuf, file: BufWriter<File> },
}

impl Journal {
    pub(crate) fn open(target: &JournalTarget) -> Result<Self, PlantError> {
        Ok(match target {
            JournalTarget::Off => Self::Off,
            JournalTarget::Memory => Self::Memory(Arc::default()),
            JournalTarget::File(path) => {
                let file = File::options().create(true).append(true).open(path);
                let file = file.map_err(|source| PlantError::Journal {
                    path: path.clone(),
                    source,
                })?;
                Self::File {
                    path: path.clone(),
                    file: BufWriter::new(file),
                }
            }
        })
    }

    /// The entries of a journal in memory.
    pub(crate) fn entries(&self) -> Option<Arc<Mutex<Vec<Record>>>> {
        match self {
            Self::Memory(entries) => Some(Arc::clone(entries)),
            _ => None,
        }
    }

    /// Adds entries and hands them on. An error is the end of the journal: it may hold a part of a line.
    pub(crate) fn append(&mut self, mut records: impl Iterator<Item = Record>) -> Result<(), PlantError> {
        match self {
            Self::Off => Ok(()),
            Self::Memory(entries) => {
                entries
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(records);
                Ok(())
            }
            Self::File { path, file } => {
                let written = records
                    .try_for_each(|record| {
                        serde_json::to_writer(&mut *file, &record)?;
                        file.write_all(
                            b"
",
                        )
                    })
                    .and_then(|()| file.flush());
                written.map_err(|source| PlantError::Journal {
                    path: path.clone(),
                    source,
                })
            }
        }
    }
}
