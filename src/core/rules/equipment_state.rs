//! `EquipmentStateChanged` (OPC 30050 PackML, OPC 40001-1 Machinery): the state of a machine, `unknown` while nobody knows it.

use std::sync::Arc;

use floorgate_sample::Timestamp;
use serde::{Deserialize, Serialize};

use crate::detect::Cause;

use super::{Context, Draft, VendorStatus, ignored};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    state: Option<Arc<str>>,
    /// Source time at which the state began, in nanoseconds, where the source gives times.
    since: Option<i64>,
}

/// What is told while nobody knows the state.
const UNKNOWN: &str = "unknown";

impl Memory {
    /// Whether a state was told and stands.
    pub(super) fn is_known(&self) -> bool {
        self.state.as_deref().is_some_and(|state| state != UNKNOWN)
    }
}

pub(super) fn evaluate(context: &mut Context<'_>, memory: &mut Memory, dirty: &mut bool) {
    let change = context.change;
    if change.cause == Cause::Silence {
        return;
    }
    let table = context.trigger().values.as_ref();
    let entry = change.value.as_ref().and_then(|value| table?.find(value));
    let state: Arc<str> = match (&change.value, table, entry) {
        (None, _, _) => UNKNOWN.into(),
        (Some(value), None, _) => value.to_string().into(),
        (Some(_), _, Some(entry)) => Arc::clone(&entry.name),
        (Some(value), Some(table), None) => match table.name_of(value) {
            Some(name) => name.into(),
            None => return,
        },
    };
    // Another quality, or another raw value of the same name: the state goes on, and has not lasted its time yet.
    let goes_on = memory.state.as_ref() == Some(&state);
    if goes_on && change.cause == Cause::Value && ignored(table, change.previous.as_ref()) {
        // Back from a value that is to be ignored.
        return;
    }
    // Over a gap nobody knows how long it was, nor where the device's clock was set back.
    let previous_duration = memory
        .since
        .map(Timestamp::from_nanos)
        .filter(|_| !goes_on && !change.gap)
        .zip(change.source_time)
        .filter(|(since, now)| since <= now)
        .map(|(since, now)| now.since(since).as_millis());
    let previous = memory.state.replace(Arc::clone(&state));
    if !goes_on || change.gap {
        memory.since = change.source_time.map(Timestamp::as_nanos);
    }
    *dirty = true;
    let model: Arc<str> = table.map_or_else(|| "custom".into(), |table| Arc::clone(&table.model));
    let subject = context.subject(|context| format!("equipment/{}", context.equipment()));
    let raw = change.value.as_ref();
    let tag = context.trigger();
    context.emit(&Draft::new("EquipmentStateChanged", subject), |object| {
        object.field("model", &*model);
        object.field("state", &state);
        object.field(
            "category",
            entry
                .and_then(|entry| entry.category.as_deref())
                .unwrap_or(UNKNOWN),
        );
        object.field("previousState", &previous);
        if let Some(milliseconds) = previous_duration {
            object.field("previousDurationMs", &milliseconds);
        }
        object.field("vendorStatus", &VendorStatus { tag: &tag.name, raw });
    });
}
