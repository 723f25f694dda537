//! What rules could not do.

use std::sync::Arc;

/// What rules could not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many there were.
    pub count: u64,
    /// The first few of them.
    pub first: Vec<Failure>,
}

/// Why a change made no event, or one with a field that is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule.
    pub rule: Arc<str>,
    /// The reason, and what became of the event.
    pub reason: String,
}

/// How many failures are told with their reasons; of the others only the number.
const TOLD_FAILURES: usize = 16;

impl Failures {
    pub(crate) fn add(&mut self, rule: &Arc<str>, reason: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < TOLD_FAILURES {
            self.first.push(Failure {
                rule: Arc::clone(rule),
                reason: reason(),
            });
        }
    }
}
