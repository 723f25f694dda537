//! Views of a whole terminal that are told to end.
//!
//! A view takes the terminal over: nothing that is typed is shown, and what was there is out of sight. A signal that ended the process at once
//! would leave it so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a view may wait for a key before it asks whether it was told to end.
pub const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Whether the process was told to end.
pub struct Ending(Arc<AtomicBool>);

impl Ending {
    /// From now on such a signal is noted, and ends nothing by itself.
    pub fn heed() -> io::Result<Self> {
        let told = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&told))?;
        }
        Ok(Self(told))
    }

    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
