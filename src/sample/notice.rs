//! What a source says of itself.

use crate::{Reason, TagId};

/// What a source says of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The source is connected; values follow.
    Online(Continuity),
    /// After [`Continuity::Resumed`]: everything that changed during the loss has been handed over, so that what is known
    /// holds now.
    CaughtUp,
    /// The samples of this batch are no news: the source kept them while it could not be reached, and was asked for them now.
    History,
    /// The source is lost: its tags are unknown from now on.
    Offline {
        /// Why.
        reason: Reason,
    },
    /// The source is connected but silent for longer than it should be: its tags are unknown from now on.
    Stale {
        /// Why.
        reason: Reason,
    },
    /// Changes may have been missed before the next value.
    Gap {
        /// Of which tags.
        scope: GapScope,
        /// Why.
        reason: Reason,
    },
}

/// What a connection has to do with the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Nothing was missed: what changed during the loss follows in order, beside what was known before it. Only
    /// [`Notice::CaughtUp`] says that there is no more of it (a re-activated OPC UA session: missed notifications are
    /// republished, and the server sends what it has queued).
    Resumed,
    /// Everything begins anew: each tag is unknown until its next sample, and has a gap.
    New,
}

/// Which tags a gap is about.
#[derive(Clone, Debug, PartialEq)]
pub enum GapScope {
    /// All tags of the source.
    Source,
    /// These tags.
    Tags(Vec<TagId>),
}
