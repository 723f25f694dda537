//! Whether the engine lives, for the watchdog and `/healthz`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The engine's last sign of life.
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    beat_ms: AtomicU64,
    full: AtomicBool,
}

impl Pulse {
    /// Longest time without a sign of life before the engine counts as stuck.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// A pulse that beats now.
    pub fn new(started: Instant) -> Self {
        let pulse = Self {
            started,
            beat_ms: AtomicU64::new(0),
            full: AtomicBool::new(false),
        };
        pulse.beat();
        pulse
    }

    /// The engine lives.
    pub fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(now, Ordering::Relaxed);
    }

    /// The disk is full, or no longer.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Whether the engine gave a sign of life lately.
    pub fn is_alive(&self) -> bool {
        let last = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last) < Self::PATIENCE
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}
