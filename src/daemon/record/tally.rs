//! What a recording holds, counted.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use floorgate_sample::Timestamp;
use floorgate_workbench::recording::{Call, Entry};
use serde_json::json;

/// Counts entries, and shows how far it is on a terminal.
#[derive(Debug, Default)]
pub struct Tally {
    samples: u64,
    left_out: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    is_shown: bool,
}

impl Tally {
    pub fn new(is_shown: bool) -> Self {
        Self {
            is_shown,
            ..Self::default()
        }
    }

    pub fn add(&mut self, entries: &[Entry]) {
        for entry in entries {
            let now = match entry {
                Entry::Hole(samples) => {
                    self.left_out = self.left_out.saturating_add(*samples);
                    continue;
                }
                Entry::Call(Call::Apply { now, samples, .. } | Call::Answer { now, samples, .. }) => {
                    self.samples += samples.len() as u64;
                    now
                }
                Entry::Begin { now, .. } | Entry::Call(Call::Advance { now }) => now,
                Entry::Names(_)
                | Entry::Standing(_)
                | Entry::Cell(..)
                | Entry::Call(Call::LeaveOutBelow { .. }) => continue,
            };
            self.first.get_or_insert(now.wall);
            self.last = Some(now.wall);
        }
        if self.is_shown {
            // That it is shown is no reason to end.
            let _ = write!(
                io::stderr(),
                "\r{} samples in {:.0} s ",
                self.samples,
                self.lasted().as_secs_f64()
            );
        }
    }

    /// The line that told how far it was is over.
    pub fn finish(&self) {
        if self.is_shown {
            let _ = writeln!(io::stderr());
        }
    }

    fn lasted(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.since(first),
            _ => Duration::ZERO,
        }
    }

    pub fn print(&self, path: &Path, bytes: u64, json: bool) -> anyhow::Result<()> {
        let (samples, left_out) = (self.samples, self.left_out);
        let seconds = self.lasted().as_secs_f64();
        let mut out = io::stdout().lock();
        if json {
            let row = json!({
                "file": path, "samples": samples, "left_out": left_out, "seconds": seconds, "bytes": bytes,
            });
            writeln!(out, "{row}")?;
            return Ok(());
        }
        write!(
            out,
            "{}: {samples} samples in {seconds:.1} s, {bytes} bytes",
            path.display()
        )?;
        if samples > 0 {
            write!(out, " ({:.1} a sample)", bytes as f64 / samples as f64)?;
        }
        writeln!(out)?;
        if left_out > 0 {
            writeln!(
                out,
                "{left_out} samples are not in it: they came faster than they were taken; the recording says where"
            )?;
        }
        Ok(())
    }
}
