//! Waiting for a condition.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long a test waits before it gives up, by what it waits for. Generous, because a loaded machine with two
/// cores is no reason to fail: a condition that holds ends the wait at once.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// Something that takes milliseconds when all is well: 30 s.
    Short,
    /// A reconnect, a broker's start: 90 s.
    Long,
}

impl Patience {
    /// The time-out.
    #[must_use]
    pub const fn duration(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(30),
            Self::Long => Duration::from_secs(90),
        }
    }
}

thread_local! {
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// Marks the running test as failed: an error that a test returns is seen by nobody before its peers are dropped, and
/// they are to leave their outputs behind.
pub(crate) fn fail(error: anyhow::Error) -> anyhow::Error {
    FAILED.set(true);
    error
}

/// Whether the running test has failed, as far as is known.
pub(crate) fn failed() -> bool {
    std::thread::panicking() || FAILED.get()
}

/// Asks again and again until there is an answer, an error, or no patience left; `what` completes "waited for".
pub fn until<T>(what: &str, patience: Patience, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(20);
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().map_err(fail)? {
            return Ok(answer);
        }
        if started.elapsed() >= patience.duration() {
            return Err(fail(anyhow!("waited {:?} for {what}", patience.duration())));
        }
        std::thread::sleep(PAUSE);
    }
}
