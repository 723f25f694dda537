//! A change that waits, in a cell.

use floorgate_sample::{Quality, TagId, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::detect::{Audience, Cause, Change};
use crate::rules::Moved;
use crate::state::{StoredValue, is_zero};

/// A [`Change`] as it is stored. Its tag is the place in the rule's inputs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredChange {
    #[serde(skip_serializing_if = "is_first", default)]
    slot: u16,
    cause: Cause,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    previous: Option<StoredValue>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    value: Option<StoredValue>,
    #[serde(skip_serializing_if = "is_zero", default)]
    quality: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    gap: bool,
    #[serde(skip_serializing_if = "is_zero", default)]
    ordinal: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    source: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    server: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    received: Option<i64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde asks for
fn is_first(slot: &u16) -> bool {
    *slot == 0
}

impl StoredChange {
    /// A change of one of a rule's inputs.
    pub(crate) fn new(inputs: &[TagId], change: &Change) -> Self {
        let slot = inputs.iter().position(|input| *input == change.tag);
        Self {
            slot: slot.and_then(|slot| u16::try_from(slot).ok()).unwrap_or(0),
            cause: change.cause,
            previous: change.previous.as_ref().map(StoredValue::from),
            value: change.value.as_ref().map(StoredValue::from),
            quality: change.quality.0,
            gap: change.gap,
            ordinal: change.ordinal,
            source: change.source_time.map(Timestamp::as_nanos),
            server: change.server_time.map(Timestamp::as_nanos),
            received: change.received.map(Timestamp::as_nanos),
        }
    }

    /// The change again. `None` where it is none of the rule's inputs now.
    pub(crate) fn change(&self, inputs: &[TagId]) -> Option<Change> {
        Some(Change {
            tag: *inputs.get(usize::from(self.slot))?,
            cause: self.cause,
            previous: self.previous.clone().map(Value::from),
            value: self.value.clone().map(Value::from),
            quality: Quality(self.quality),
            gap: self.gap,
            ordinal: self.ordinal,
            source_time: self.source.map(Timestamp::from_nanos),
            server_time: self.server.map(Timestamp::from_nanos),
            received: self.received.map(Timestamp::from_nanos),
            audience: Audience::All,
        })
    }

    /// The rule has other inputs now; it is no change of one that is not among them.
    pub(crate) fn moved(&mut self, moved: Moved<'_>) {
        self.slot = moved.slot(self.slot).unwrap_or(u16::MAX);
        self.gap = true;
    }

    /// Something may have been missed before it is told. Returns whether that is new.
    pub(crate) fn mark_gap(&mut self) -> bool {
        !std::mem::replace(&mut self.gap, true)
    }

    /// When it happened, by the device.
    pub(crate) fn source_time(&self) -> Option<Timestamp> {
        self.source.map(Timestamp::from_nanos)
    }
}
