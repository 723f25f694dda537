//! What a recording holds.

use std::sync::Arc;

use floorgate_core::plan::{Plan, Priority, Rule, Tag};
use floorgate_core::{Core, Now};
use floorgate_sample::{Notice, RequestId, Sample, SourceId, Timestamp};
use serde::{Deserialize, Serialize};

/// What the gateway was when it was recorded: what ids and sequences of its events are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of floorgate.
    pub version: String,
    /// The gateway's id.
    pub gateway: String,
    /// Prefix of event types.
    pub type_prefix: String,
    /// Whether events are one JSON document each, and not headers and data.
    pub structured: bool,
    /// The epoch of streams that begin.
    pub stream_epoch: u32,
    /// The process.
    pub incarnation: uuid::Uuid,
    /// When the recording began, in nanoseconds since 1970.
    pub begun: i64,
}

/// The names of sources and tags: what the numbers in the entries behind it mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Sources, by number.
    pub sources: Vec<Arc<str>>,
    /// Tags, by number.
    pub tags: Vec<NamedTag>,
    /// Rules, with the numbers of the tags that they read.
    pub rules: Vec<(Arc<str>, Vec<u32>)>,
}

impl Names {
    /// Those of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let tag = |tag: &Tag| NamedTag {
            key: Arc::clone(&tag.key),
            source: tag.source.0,
            address: tag.address,
        };
        let rule = |rule: &Rule| {
            (
                Arc::clone(&rule.id),
                rule.inputs.iter().map(|tag| tag.0).collect(),
            )
        };
        Self {
            sources: plan
                .sources
                .iter()
                .map(|source| Arc::clone(&source.name))
                .collect(),
            tags: plan.tags.iter().map(tag).collect(),
            rules: plan.rules.iter().map(rule).collect(),
        }
    }
}

/// A tag as a recording knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedTag {
    /// Its name in the mapping that was recorded.
    #[serde(rename = "t")]
    pub key: Arc<str>,
    /// Its source's number.
    #[serde(rename = "s")]
    pub source: u16,
    /// What its address is to its adapter, as a number: two tags of a source with the same one are the same place in the device.
    #[serde(rename = "a")]
    pub address: u64,
}

/// One thing that was recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// What numbers mean from here on. A second one says that the gateway's configuration was loaded anew.
    Names(Names),
    /// State of the core at the beginning: a key and a text.
    Cell(Arc<str>, String),
    /// What was known of each tag at the beginning, with the time of its last change; of those that are missing nothing was ever received.
    Standing(Vec<Sample>),
    /// From here on calls are recorded: what is before is how it stood then.
    Begin {
        /// When.
        now: Now,
        /// The sources that had a connection, and whether all that changed before it had been handed over.
        connected: Vec<(SourceId, bool)>,
    },
    /// The core was called.
    Call(Call),
    /// The recorder had no room: this many samples are not in the recording.
    Hole(u64),
}

/// A call of the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A batch of a source.
    Apply {
        /// The source.
        source: SourceId,
        /// When it was evaluated.
        now: Now,
        /// When it was received.
        received: Timestamp,
        /// What the source said of itself.
        notices: Vec<Notice>,
        /// Values.
        samples: Vec<Sample>,
    },
    /// An answer to a request.
    Answer {
        /// The source.
        source: SourceId,
        /// When it was evaluated.
        now: Now,
        /// When it was received.
        received: Timestamp,
        /// The number of the request.
        request: RequestId,
        /// The rule that asked; none where it did not wait any more.
        rule: Option<Arc<str>>,
        /// Why nothing was read, where nothing was.
        result: Result<(), String>,
        /// What was read.
        samples: Vec<Sample>,
    },
    /// Timers ran, or could have.
    Advance {
        /// When.
        now: Now,
    },
    /// Events of rules below this priority are left out from here on.
    LeaveOutBelow {
        /// The priority; none where all are made.
        least: Option<Priority>,
    },
}

/// Tags of which an entry says how they stand.
const STANDING: usize = 4096;

/// How a core stands between two calls: what a recording begins with. Its cells are part of it where another core is to go on
/// from there.
#[must_use]
pub fn state_of(core: &mut Core, now: Now, with_cells: bool) -> Vec<Entry> {
    let mut entries = vec![Entry::Names(Names::of(core.plan()))];
    if with_cells {
        let cells = core.export_now().into_iter();
        entries.extend(cells.map(|(key, text)| Entry::Cell(key, text)));
    }
    let mut standing = core.standing().peekable();
    while standing.peek().is_some() {
        // In parts, so that blocks are small.
        entries.push(Entry::Standing(standing.by_ref().take(STANDING).collect()));
    }
    drop(standing);
    let connected = core.connected().collect();
    entries.push(Entry::Begin { now, connected });
    let least = core.leaves_out_below();
    if least.is_some() {
        entries.push(Entry::Call(Call::LeaveOutBelow { least }));
    }
    entries
}
