//! What a source hands over at a time.

use std::collections::HashMap;
use std::fmt;

use floorgate_sample::{Answer, Notice, Sample, SourceId, Timestamp};

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
    /// What the source wants to find again after a restart of the gateway, in the transaction of what is derived from this batch.
    pub bookmarks: Vec<Bookmark>,
    /// How a request ended, where this batch is its answer. Then the samples are what was read for it and nothing else, and there are no
    /// notices. A value that was read may be newer than changes that are still on their way, so it is no change itself.
    pub answer: Option<Answer>,
    /// Fired when everything derived from this batch is durable.
    pub receipt: Option<Receipt>,
}

/// A text that a source has kept for it: where it was, so that it can go on there. The last one of each name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// Its name within the source.
    pub name: &'static str,
    /// The text, which only the source understands.
    pub text: String,
}

/// The bookmarks that a source finds when it starts: those that are stored with the last batch of it that is.
#[derive(Clone, Debug, Default)]
pub struct Bookmarks(HashMap<String, String>);

impl Bookmarks {
    /// Bookmarks by name.
    #[must_use]
    pub fn new(texts: HashMap<String, String>) -> Self {
        Self(texts)
    }

    /// The text of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
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
