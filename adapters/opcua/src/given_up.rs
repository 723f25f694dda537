//! Publish requests that are waited for though a subscription was silent over them: their answers have what others say.

/// Publish requests that may be waited for beside those in flight, because a subscription was silent over them.
pub const MOST_GIVEN_UP: usize = 60;

/// Publish requests that may never be answered.
#[derive(Default)]
pub struct GivenUp {
    /// They have numbers below this.
    pub before: u64,
    /// How many have not been answered.
    pub open: usize,
}

impl GivenUp {
    /// One of any was answered.
    pub fn answered(&mut self, number: u64) {
        if number < self.before {
            self.open = self.open.saturating_sub(1);
        }
    }
}
