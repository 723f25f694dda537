//! Faults of disk and clock under a running program: a library that is loaded before the C library, built from `tests/faults/faults.c`.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::folder::Folder;
use crate::gateway::Gateway;
use crate::installation::repository;
use crate::wait::Patience;

/// What `errno` says of a disk that fails, `EIO`.
const INPUT_OUTPUT_ERROR: i32 = 5;
/// What `errno` says where a file system finds that the disk gives something else than it was given, `EBADMSG`.
const BAD_MESSAGE: i32 = 74;
/// The signal that nothing outlives.
const SIGKILL: i32 = 9;

/// Why a part of a file cannot be read.
#[derive(Clone, Copy, Debug)]
pub enum Unreadable {
    /// The disk does not give it.
    Sector,
    /// The file system does not take what the disk gives.
    Checksum,
}

/// A call of the program at which it can be made to die.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// Bytes of the outbox are written.
    Write,
    /// A file of the outbox is synced.
    Sync,
    /// A file of the outbox is given another length.
    Cut,
    /// A file of the outbox gets another name.
    Rename,
    /// A file of the outbox is deleted.
    Unlink,
    /// Something is sent to a port.
    Send(u16),
    /// Something has come from a port.
    Receive(u16),
}

impl Call {
    /// The moments at which the program can be made to die. Whether something comes is only known when it has come.
    #[must_use]
    pub const fn moments(self) -> &'static [Moment] {
        match self {
            Self::Receive(_) => &[Moment::After],
            _ => &[Moment::Before, Moment::After],
        }
    }
}

/// On which side of a call.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// The call is not made.
    Before,
    /// The call is made, and nobody hears how it went.
    After,
}

/// Where each fault is in the file that the library looks at.
#[derive(Clone, Copy, Debug)]
enum Place {
    ClockSeconds = 0,
    SyncError = 8,
    Stalled = 12,
    BadPart = 16,
    ReadError = 40,
    DieAfter = 44,
    DieAt = 56,
}

/// The faults of one program; none at first.
#[derive(Debug)]
pub struct Faults {
    control: File,
    // Deleted after the program is gone.
    _folder: Folder,
}

impl Faults {
    /// Puts the library under a gateway that is not started; the files are those of its outbox.
    pub fn under(gateway: &mut Gateway) -> Result<Self> {
        let folder = Folder::new("faults")?;
        let library = folder.path().join("faults.so");
        let built = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
            .args([library.as_path(), &repository().join("tests/faults/faults.c")])
            .status()
            .context("the C compiler")?;
        ensure!(built.success(), "the library of faults is not built");
        let path = folder.path().join("control");
        fs::write(&path, [0; 64])?;
        gateway.set_variable("LD_PRELOAD", library);
        gateway.set_variable("FAULTS_FILES", gateway.state().join("outbox.db"));
        gateway.set_variable("FAULTS_CONTROL", path.clone());
        let control = File::options().write(true).open(Path::new(&path))?;
        Ok(Self {
            control,
            _folder: folder,
        })
    }

    fn set(&self, place: Place, bytes: &[u8]) -> Result<()> {
        Ok(self.control.write_all_at(bytes, place as u64)?)
    }

    /// Puts the wall clock so many seconds ahead of the true one, or behind it.
    pub fn step_clock(&self, seconds: i64) -> Result<()> {
        self.set(Place::ClockSeconds, &seconds.to_ne_bytes())
    }

    /// Whether each sync of the outbox fails with an input or output error.
    pub fn fail_syncs(&self, fail: bool) -> Result<()> {
        let number = if fail { INPUT_OUTPUT_ERROR } else { 0 };
        self.set(Place::SyncError, &number.to_ne_bytes())
    }

    /// Whether each sync of the outbox waits.
    pub fn stall(&self, stalled: bool) -> Result<()> {
        self.set(Place::Stalled, &i32::from(stalled).to_ne_bytes())
    }

    /// Lets each read of this part of a file of the outbox fail, also after the file is renamed.
    pub fn fail_reads(&self, file: &Path, part: &Range<u64>, why: Unreadable) -> Result<()> {
        let number = match why {
            Unreadable::Sector => INPUT_OUTPUT_ERROR,
            Unreadable::Checksum => BAD_MESSAGE,
        };
        self.set(Place::ReadError, &number.to_ne_bytes())?;
        let bad = [fs::metadata(file)?.ino(), part.start, part.end];
        self.set(Place::BadPart, &bad.map(u64::to_ne_bytes).concat())
    }

    /// Lets the program kill itself at the call of this kind that has this number from now on, the first being 1. The next start of it
    /// has the fault no more, if the last one died of it.
    pub fn die_at(&self, call: Call, moment: Moment, number: i32) -> Result<()> {
        let (kind, port) = match call {
            Call::Write => (1_i32, 0),
            Call::Sync => (2, 0),
            Call::Cut => (3, 0),
            Call::Rename => (4, 0),
            Call::Unlink => (5, 0),
            Call::Send(port) => (6, port),
            Call::Receive(port) => (7, port),
        };
        self.live()?;
        let which = [moment as i32, port.into(), number];
        self.set(Place::DieAfter, &which.map(i32::to_ne_bytes).concat())?;
        self.set(Place::DieAt, &kind.to_ne_bytes())
    }

    /// An error when a gateway that has ended did so of something else than a call at which it had to die.
    pub fn have_killed(gateway: &mut Gateway) -> Result<()> {
        let status = gateway.process()?.wait(Patience::Short.duration())?;
        let is_killed = status.signal() == Some(SIGKILL);
        ensure!(is_killed, "it ended by itself, {status}: {}", gateway.output()?);
        Ok(())
    }

    /// Takes back what `die_at` set. The program may be about to die of it.
    pub fn live(&self) -> Result<()> {
        self.set(Place::DieAt, &0_i32.to_ne_bytes())
    }
}
