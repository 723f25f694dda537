//! What can go wrong, by what the caller can do about it.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use rusqlite::ffi::{self, ErrorCode};

use crate::FORMAT_VERSION;

/// How many formats a newer program may be ahead; beyond that, a version is taken for damage.
const FORMATS_AHEAD: u32 = 7;

/// Why the store could not do what was asked. The variant says what the caller may do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the store. Exit code 5.
    #[error("the store {} is in use by another process", path.display())]
    Locked {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is something else; it is left as it is. Exit code 3.
    #[error("{} is not a floorgate store: {found}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// The file was written by a newer version of the program; it is left as it is. Exit code 3.
    #[error("the store {} has format {found}, this program knows formats up to {known}", path.display())]
    NewerFormat {
        /// The store's file.
        path: PathBuf,
        /// The file's format version.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// The file was written by an earlier version of the program whose format this one does not read; it is left as it is.
    /// Exit code 3.
    #[error(
        "the store {} has format {found}, this program knows format {known}; let the version that wrote it publish \
         what it holds, then move the file away", path.display()
    )]
    OlderFormat {
        /// The store's file.
        path: PathBuf,
        /// The file's format version.
        found: u32,
        /// The format version that this program reads.
        known: u32,
    },
    /// The disk is full. Nothing of the work was stored, and it can be tried again.
    #[error("no space left for the store {} to {action}", path.display())]
    Full {
        /// The store's file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// `SQLite`'s report.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Another program held a lock on the database for longer than the store waits. Nothing was stored, and it can be tried again.
    #[error("the store {} was locked by another program, so that it could not {action}", path.display())]
    Busy {
        /// The store's file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// `SQLite`'s report.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The storage failed. The handle must not be used again: what the disk holds is known only after a new start.
    #[error("the store {} could not {action}", path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The content of the file contradicts itself, or the disk does not give it.
    #[error("the store {} is damaged: {found}", path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The handle was used again after a failure that it does not survive.
    #[error("the store {} failed earlier and has to be opened again", path.display())]
    Failed {
        /// The store's file.
        path: PathBuf,
    },
    /// The caller asked for what cannot be. Nothing was stored.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// Whether the same call may succeed later on the same handle.
    #[must_use]
    pub fn can_be_retried(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Busy { .. })
    }

    /// The exit code of a process that ends for this reason.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => 5,
            // As a configuration that is wrong: starting again does not help.
            Self::NotAStore { .. } | Self::NewerFormat { .. } | Self::OlderFormat { .. } => 3,
            _ => 4,
        }
    }

    /// Whether damage of a store can look like this: it is taken for something else, or for a format that there can hardly be.
    pub(crate) fn may_be_damage(&self) -> bool {
        match self {
            Self::NotAStore { .. } => true,
            Self::OlderFormat { found, .. } | Self::NewerFormat { found, .. } => {
                !(1..=FORMAT_VERSION + FORMATS_AHEAD).contains(found)
            }
            _ => false,
        }
    }

    /// For a store whose format version is not this program's.
    pub(crate) fn other_format(path: &Path, found: u32) -> Self {
        let (path, known) = (path.to_path_buf(), FORMAT_VERSION);
        if found < known {
            Self::OlderFormat { path, found, known }
        } else {
            Self::NewerFormat { path, found, known }
        }
    }

    /// Sorts `SQLite`'s errors.
    pub(crate) fn sqlite(path: &Path, action: &'static str, error: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        let (code, extended) = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => (Some(failure.code), failure.extended_code),
            _ => (None, 0),
        };
        match code {
            // The index of the write-ahead log is grown by writing to it; the only reason for that to fail alone is a full disk.
            _ if extended == ffi::SQLITE_IOERR_SHMSIZE => Self::Full {
                path,
                action,
                source: error.into(),
            },
            Some(ErrorCode::DiskFull) => Self::Full {
                path,
                action,
                source: error.into(),
            },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy {
                path,
                action,
                source: error.into(),
            },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                found: error.to_string(),
            },
            // Reading it again gives no more. `SQLite` itself calls most of these corruption.
            _ if matches!(extended, ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_CORRUPTFS) => Self::Damaged {
                path,
                found: error.to_string(),
            },
            None if is_content(&error) => Self::Damaged {
                path,
                found: error.to_string(),
            },
            _ => Self::Io {
                path,
                action,
                source: error.into(),
            },
        }
    }

    pub(crate) fn io(path: &Path, action: &'static str, error: std::io::Error) -> Self {
        let path = path.to_path_buf();
        if error.kind() == std::io::ErrorKind::StorageFull {
            Self::Full {
                path,
                action,
                source: error.into(),
            }
        } else {
            Self::Io {
                path,
                action,
                source: error.into(),
            }
        }
    }

    pub(crate) fn unreadable(path: &Path, error: Unreadable) -> Self {
        match error {
            Unreadable::Sqlite(error) => Self::sqlite(path, "read its state", error),
            Unreadable::Damaged(found) => Self::damaged(path, found),
        }
    }

    pub(crate) fn damaged(path: &Path, found: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            found: found.into(),
        }
    }
}

/// Whether a value in the file is not what this program writes there.
fn is_content(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::Utf8Error(..)
    )
}

/// Why the state in the file could not be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Sqlite(rusqlite::Error),
    Damaged(String),
}

impl From<rusqlite::Error> for Unreadable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}
