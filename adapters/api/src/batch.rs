//! What a source hands over at a time.

use std::fmt;

use floorgate_sample::{Notice, Sample, SourceId, Timestamp};

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
