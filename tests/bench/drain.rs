//! How fast a backlog goes out, beside what a bare loop over the client takes for the same records in the same run.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use floorgate_tests::example;
use serde::{Deserialize, Serialize};

/// Events a second that a backlog goes out with at least.
const LEAST_RATE: f64 = 50_000.0;
/// The share of the bare loop's rate that it reaches at least.
const LEAST_RATIO: f64 = 0.6;
/// How many times as long new events may take a second after the drain as they take later.
const MOST_SLOWER: f64 = 1.5;

/// What was measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Drain {
    /// Events of the backlog.
    events: u64,
    /// Events a second that the publisher sent, while a thousand new ones a second were stored.
    drained: f64,
    /// Events a second of the bare loop.
    bare: f64,
    /// Median of the milliseconds that new events take from commit to acknowledgement, a second after the drain's end.
    after: f64,
    /// The same some seconds later.
    later: f64,
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
        let recovered = self.after <= self.later * MOST_SLOWER;
        let verdict = if self.drained >= LEAST_RATE && ratio >= LEAST_RATIO && recovered {
            "kept"
        } else {
            "missed"
        };
        format!(
            "a backlog of {} goes out at {:.0} events/s, {ratio:.2} of a bare loop (≥ {LEAST_RATE}, ≥ {LEAST_RATIO}); new events \
             then take {:.2} ms, later {:.2} ms: {verdict}",
            self.events, self.drained, self.after, self.later
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bars_have_to_be_kept() {
        let verdict = |drained, bare, after| {
            let drain = Drain {
                events: 1,
                drained,
                bare,
                after,
                later: 1.0,
            };
            drain.line().ends_with(": kept")
        };
        assert!(verdict(60_000.0, 100_000.0, 1.2));
        assert!(!verdict(59_000.0, 100_000.0, 1.2));
        assert!(!verdict(49_000.0, 50_000.0, 1.2));
        assert!(!verdict(60_000.0, 100_000.0, 1.6));
    }
}
