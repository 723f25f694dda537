//! Time, CPU and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::consume::Consumed;

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Seconds that do not count.
    pub warm: u64,
    /// Seconds that count.
    pub seconds: u64,
}

impl Timing {
    /// Lets the time pass that does not count.
    pub fn warm_up(self) {
        std::thread::sleep(Duration::from_secs(self.warm));
    }

    /// Lets the time pass that counts.
    pub fn measure(self) {
        std::thread::sleep(Duration::from_secs(self.seconds));
    }
}

/// What one run through the gateway came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the consumer saw.
    pub consumed: Consumed,
    /// CPU of the gateway alone, in cores.
    pub cores: f64,
    /// Peak resident memory of the gateway alone, in MB (10⁶ bytes), from its start.
    pub peak_mb: f64,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu_seconds: f64,
    /// Peak resident memory in MB.
    pub peak_mb: f64,
}

impl Usage {
    /// Reads it from `/proc`.
    pub fn of(pid: u32) -> Result<Self> {
        // Ticks of 1/100 s are the kernel's interface to user space on every Linux (USER_HZ).
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may contain anything; fields count from behind it (proc(5): utime is 14, stime 15).
        let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks =
            |number: usize| -> Result<f64> { Ok(fields.get(number - 3).context("too few fields")?.parse()?) };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("no VmHWM")?;
        let kibibytes: f64 = peak.trim().trim_end_matches(" kB").parse()?;
        Ok(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
            peak_mb: kibibytes * 1.024e-3,
        })
    }
}

/// The middle of some numbers.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
