//! How fast a backlog goes out, beside what a bare loop over the client takes for the same records in the same run.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use floorgate_tests::example;
use serde::{Deserialize, Serialize};

/// Events a second that a backlog goes out with at least.
const LEAST_RATE: f64 = 50_000.0;
/// The share of the bare loop's rate that it reaches at least.
const LEAST_RATIO: f64 = 0.6;

/// What was measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Drain {
    /// Events of the backlog.
    events: u64,
    /// Events a second that the publisher sent, while a thousand new ones a second were stored.
    drained: f64,
    /// Events a second of the bare loop.
    bare: f64,
}

impl Drain {
    /// Stores a million events, and lets the publisher's example `drain` send them.
    pub fn measure(broker: &str) -> Result<Self> {
        let output = Command::new(example("drain")?)
            .arg(broker)
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "drain ended with {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        serde_json::from_str(&text).with_context(|| text.clone())
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let ratio = self.drained / self.bare;
        let verdict = if self.drained >= LEAST_RATE && ratio >= LEAST_RATIO {
            "kept"
        } else {
            "missed"
        };
        format!(
            "a backlog of {} goes out at {:.0} events/s, {ratio:.2} of a bare loop (≥ {LEAST_RATE}, ≥ {LEAST_RATIO}): {verdict}",
            self.events, self.drained
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bars_have_to_be_kept() {
        let drain = |drained, bare| Drain {
            events: 1,
            drained,
            bare,
        };
        assert!(drain(60_000.0, 100_000.0).line().ends_with(": kept"));
        assert!(drain(59_000.0, 100_000.0).line().ends_with(": missed"));
        assert!(drain(49_000.0, 50_000.0).line().ends_with(": missed"));
    }
}
