//! Whether the engine lives, for the watchdog and `/healthz`.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use floorgate_core::plan::Priority;

/// Whether the store takes what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Good,
    /// There is no space left: on the disk, or below the limit of its size.
    Full,
    /// Another program holds the store's lock.
    Locked,
}

/// The engine's last sign of life.
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    beat_ms: AtomicU64,
    standing: AtomicU8,
    left_out: AtomicU8,
}

impl Pulse {
    /// Longest time without a sign of life before the engine counts as stuck.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// A pulse that beats now.
    pub fn new(started: Instant) -> Self {
        let pulse = Self {
            started,
            beat_ms: AtomicU64::new(0),
            standing: AtomicU8::new(Standing::Good as u8),
            left_out: AtomicU8::new(0),
        };
        pulse.beat();
        pulse
    }

    /// The engine lives.
    pub fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(now, Ordering::Relaxed);
    }

    /// How the store stands.
    pub fn set_standing(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Below which priority changes make no events.
    pub fn set_left_out(&self, least: Option<Priority>) {
        let number = match least {
            None | Some(Priority::Low) => 0,
            Some(Priority::Normal) => 1,
            Some(Priority::High) => 2,
        };
        self.left_out.store(number, Ordering::Relaxed);
    }

    /// Below which priority changes make no events.
    pub fn left_out(&self) -> Option<Priority> {
        match self.left_out.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Priority::Normal),
            _ => Some(Priority::High),
        }
    }

    /// Whether the engine gave a sign of life lately.
    pub fn is_alive(&self) -> bool {
        let last = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last) < Self::PATIENCE
    }

    /// How the store stands.
    pub fn standing(&self) -> Standing {
        let standing = self.standing.load(Ordering::Relaxed);
        [Standing::Full, Standing::Locked]
            .into_iter()
            .find(|known| *known as u8 == standing)
            .unwrap_or(Standing::Good)
    }
}
