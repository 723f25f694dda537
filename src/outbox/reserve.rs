//! A file that takes space away while all is well, and gives it back on a full disk.
//!
//! On a disk that is full to the last block the write-ahead log can neither be copied into the database, which would have to grow, nor
//! take the acknowledgements by which old events may go. The reserve is the space for that. While it is missing the database does not
//! grow, so that the log can always be copied; it goes on in what pruning makes free.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// How long to wait before space is asked for again that was not there.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    state: State,
    tried: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Held,
    /// Given away, or there is no space for it.
    Missing,
    /// None is wanted, or the file system cannot set space aside.
    None,
}

impl Reserve {
    /// Takes the space if it is there.
    pub(crate) fn open(path: PathBuf, bytes: u64) -> Self {
        let mut reserve = Self {
            path,
            bytes,
            state: State::None,
            tried: Instant::now(),
        };
        reserve.take();
        reserve
    }

    /// Whether the space was given and is not there to be taken again.
    pub(crate) fn is_missing(&self) -> bool {
        self.state == State::Missing
    }

    /// Whether it is time to [`Self::take`] it again.
    pub(crate) fn is_due(&self) -> bool {
        self.is_missing() && self.tried.elapsed() >= PAUSE
    }

    /// Gives the space.
    pub(crate) fn give(&mut self) {
        if self.state == State::Held {
            self.remove();
            self.state = State::Missing;
        }
    }

    /// Takes the space if it is there.
    pub(crate) fn take(&mut self) {
        self.tried = Instant::now();
        if self.bytes == 0 {
            return;
        }
        self.state = match self.allocate() {
            Ok(()) => State::Held,
            Err(Errno::NOSPC | Errno::DQUOT) => State::Missing,
            Err(_) => State::None,
        };
        if self.state != State::Held {
            self.remove();
        }
    }

    fn remove(&self) {
        // Where the file cannot be removed, or is not there, there is nothing to be had from it.
        let _ = std::fs::remove_file(&self.path);
    }

    fn allocate(&self) -> Result<(), Errno> {
        let file = self
            .file()
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        fallocate(&file, FallocateFlags::empty(), 0, self.bytes)
    }

    fn file(&self) -> std::io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
    }
}
