//! What the floor says: one value of one tag, with its quality and its times.
//!
//! This crate is the vocabulary that adapters and the pure core share. It knows no protocol, does no
//! input or output, and holds no state.

mod happening;
mod notice;
mod quality;
mod reason;
mod request;
mod time;
mod value;

pub use happening::Happening;
pub use notice::{Continuity, GapScope, Notice};
pub use quality::{Quality, QualityClass};
pub use reason::Reason;
pub use request::{Answer, RequestId};
pub use time::Timestamp;
pub use value::Value;

/// Number of a tag in the running plan: an index into the plan's tag table, from 0.
///
/// It is only valid inside one process; what is stored names tags by their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagId(pub u32);

/// Number of a source in the running plan: an index into the plan's source table, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u16);

impl TagId {
    /// The tag's place in a table of all tags.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl SourceId {
    /// The source's place in a table of all sources.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One value of one tag as an adapter received it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The tag that the value belongs to.
    pub tag: TagId,
    /// The value; `None` where the device gave a status and no value.
    pub value: Option<Value>,
    /// How far the value can be trusted.
    pub quality: Quality,
    /// When the value came to be, by the device's own clock; `None` where the protocol has no such time (Modbus).
    pub source_time: Option<Timestamp>,
    /// When the server between device and gateway took the value; `None` where there is none.
    pub server_time: Option<Timestamp>,
    /// Values of this tag before this one were lost (an overflowed queue, for example).
    pub gap: bool,
}
