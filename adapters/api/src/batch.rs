//! What a source hands over at a time.

use std::fmt;

use floorgate_sample::{Sample, SourceId, TagId, Timestamp};

/// What a source received at one time. Notices are applied before samples.
#[derive(Debug)]
pub struct Batch {
    /// The source.
    pub source: SourceId,
    /// When the gateway received it, by the gateway's wall clock.
    pub received: Timestamp,
    /// What the source says of itself.
    pub notices: Vec<Notice>,
    /// Values, in the order of the device.
    pub samples: Vec<Sample>,
    /// Fired when everything derived from this batch is durable.
    pub receipt: Option<Receipt>,
}

/// What a source says of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The source is connected; values follow.
    Online,
    /// The source is lost: its tags are unknown from now on.
    Offline {
        /// Why, in the device's or the system's own words.
        reason: String,
    },
    /// The source is connected but silent for longer than it should be: its tags are unknown from now on.
    Stale {
        /// Why.
        reason: String,
    },
    /// Changes may have been missed before the next value.
    Gap {
        /// Of which tags.
        scope: GapScope,
        /// Why.
        reason: String,
    },
}

/// Which tags a gap is about.
#[derive(Clone, Debug, PartialEq)]
pub enum GapScope {
    /// All tags of the source.
    Source,
    /// These tags.
    Tags(Vec<TagId>),
}

/// Fires once when a batch is durable. Dropped without firing, the batch was not stored.
pub struct Receipt(Box<dyn FnOnce() + Send>);

impl Receipt {
    /// A receipt that calls `stored`, from the thread that stores: it must not block.
    pub fn new(stored: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(stored))
    }

    /// The batch is durable.
    pub fn fire(self) {
        (self.0)();
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}
