//! What a process uses, as the kernel counts it (proc(5)).

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

/// Clock ticks a second in `/proc`; Linux shows 100 to programs whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time until a moment.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    seconds: f64,
    at: Instant,
}

impl Cpu {
    /// Of a process, all its threads together, in user mode and in the kernel.
    pub fn of(pid: u32) -> Result<Self> {
        let stat =
            fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
        let ticks = process_ticks(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))?;
        Ok(Self::now(ticks))
    }

    /// Of the whole machine: everything that is not idle.
    pub fn of_machine() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks = machine_ticks(&stat).context("/proc/stat")?;
        Ok(Self::now(ticks))
    }

    fn now(ticks: u64) -> Self {
        Self {
            seconds: ticks as f64 / TICKS_PER_SECOND,
            at: Instant::now(),
        }
    }

    /// Cores in use between an earlier moment and this one.
    pub fn cores_since(self, earlier: Self) -> f64 {
        (self.seconds - earlier.seconds) / (self.at - earlier.at).as_secs_f64()
    }
}

/// Fields 14 and 15, `utime` and `stime`. The second field, the name, may contain anything.
fn process_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal.
fn machine_ticks(stat: &str) -> Option<u64> {
    let fields = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .take(8);
    let fields = fields
        .map(|field| field.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    let idle = fields.get(3)? + fields.get(4)?;
    Some(fields.iter().sum::<u64>() - idle)
}

/// The largest resident memory of a process since its start, or since the last reset, in megabytes of 10⁶ bytes.
pub fn peak_memory(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kibibytes = high_water(&status).with_context(|| format!("/proc/{pid}/status has no VmHWM"))?;
    Ok(kibibytes * 1024.0 / 1e6)
}

fn high_water(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Lets the largest resident memory begin anew.
pub fn reset_peak_memory(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_is_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 7 20 0 5 0 100 1 1";
        assert_eq!(process_ticks(stat), Some(300));
        assert_eq!(process_ticks("42 (a) S 1"), None);
    }

    #[test]
    fn an_idle_machine_uses_nothing() {
        let stat = "cpu  10 1 5 1000 200 1 2 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(machine_ticks(stat), Some(22));
    }

    #[test]
    fn the_peak_is_read_in_megabytes() {
        assert_eq!(
            high_water("VmPeak:\t  9 kB\nVmHWM:\t   40000 kB\n"),
            Some(40_000.0)
        );
        assert!(peak_memory(std::process::id()).is_ok_and(|megabytes| megabytes > 0.5));
    }

    #[test]
    fn work_shows_as_cores() {
        let before = Cpu::of(std::process::id()).unwrap();
        let started = Instant::now();
        while started.elapsed().as_millis() < 300 {
            std::hint::black_box(());
        }
        let cores = Cpu::of(std::process::id()).unwrap().cores_since(before);
        assert!(cores > 0.05, "{cores}");
    }
}
