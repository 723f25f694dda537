//! What the engine says in the log of what it evaluates.

use floorgate_adapter_api::{GapScope, Notice};
use tracing::warn;

use super::Running;

impl Running {
    /// Counts and logs the rules that failed on what was last evaluated.
    pub(super) fn tell_failures(&mut self) {
        let failures = self.engine.core.take_failures();
        self.engine.metrics.rule_errors.inc_by(failures.count);
        for failure in failures.first {
            warn!(rule = %failure.rule, reason = failure.reason, see = "gateway-rule-failed", "a rule failed");
        }
    }
}

/// A notice as the log has it: a gap may be of ten thousand tags.
pub(super) struct Told<'a>(pub(super) &'a Notice);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Notice::Gap {
                scope: GapScope::Tags(tags),
                reason,
            } => write!(f, "Gap of {} tags: {reason}", tags.len()),
            Notice::Gap {
                scope: GapScope::Source,
                reason,
            } => write!(f, "Gap of all tags: {reason}"),
            Notice::Online(continuity) => write!(f, "Online ({continuity:?})"),
            Notice::Offline { reason } => write!(f, "Offline: {reason}"),
            Notice::CaughtUp => f.write_str("CaughtUp"),
            Notice::History => f.write_str("History"),
            Notice::Stale { reason } => write!(f, "Stale: {reason}"),
        }
    }
}
