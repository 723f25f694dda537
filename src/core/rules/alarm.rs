//! `AlarmRaised` and `AlarmCleared` (OPC 10000-9, PackML): one alarm a bit, both events under one occurrence id.

use std::collections::BTreeMap;
use std::sync::Arc;

use floorgate_sample::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::detect::Cause;
use crate::plan::AlarmBit;

use super::{Context, Draft};

/// Severity of a bit that the mapping does not name: the middle of 1 to 1000.
const UNMAPPED_SEVERITY: u16 = 500;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Alarms that are raised, by bit.
    raised: BTreeMap<u8, Raised>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Raised {
    occurrence: Uuid,
    /// Source time in nanoseconds, where the source gives times.
    at: Option<i64>,
}

pub(super) fn evaluate(context: &mut Context<'_>, memory: &mut Memory, dirty: &mut bool) {
    let change = context.change;
    let tag = context.trigger();
    if !matches!(change.cause, Cause::Initial | Cause::Value) {
        return;
    }
    let Some(value) = &change.value else { return };
    let Some(word) = value.as_i128() else {
        context.fail(|| {
            format!(
                "no event: alarm word {:?} has the value {value}, which is no integer",
                tag.name
            )
        });
        return;
    };
    for bit in 0..64_u8 {
        let set = word >> bit & 1 == 1;
        if set == memory.raised.contains_key(&bit) {
            continue;
        }
        *dirty = true;
        let alarm = tag
            .bits
            .as_ref()
            .and_then(|bits| bits.iter().find(|alarm| alarm.bit == bit));
        if set {
            raise(context, memory, bit, alarm);
        } else if let Some(raised) = memory.raised.remove(&bit) {
            clear(context, &raised, bit, alarm);
        }
    }
}

/// Code of an alarm; a bit that the mapping does not name is reported under its number.
fn code(context: &Context<'_>, bit: u8, alarm: Option<&AlarmBit>) -> Arc<str> {
    alarm.map_or_else(
        || format!("{}.{bit}", context.trigger().name).into(),
        |alarm| Arc::clone(&alarm.code),
    )
}

fn raise(context: &mut Context<'_>, memory: &mut Memory, bit: u8, alarm: Option<&AlarmBit>) {
    let code = code(context, bit, alarm);
    let id = format!("{}/{code}", context.equipment());
    let subject = format!("alarm/{code}");
    let occurrence = context.next_id(u32::from(bit));
    let draft = Draft {
        part: u32::from(bit),
        ..Draft::new("AlarmRaised", &subject)
    };
    context.emit_with_id(&draft, occurrence, |object| {
        object.field("alarmId", &id);
        object.field("occurrenceId", &occurrence);
        object.field("code", &*code);
        object.field(
            "severity",
            &alarm.map_or(UNMAPPED_SEVERITY, |alarm| alarm.severity),
        );
        if let Some(text) = alarm.and_then(|alarm| alarm.text.as_deref()) {
            object.field("text", text);
        }
        if let Some(category) = alarm.and_then(|alarm| alarm.category.as_deref()) {
            object.field("category", category);
        }
        if alarm.is_none() {
            object.field("unmapped", &true);
        }
    });
    let at = context.change.source_time.map(Timestamp::as_nanos);
    memory.raised.insert(bit, Raised { occurrence, at });
}

fn clear(context: &mut Context<'_>, raised: &Raised, bit: u8, alarm: Option<&AlarmBit>) {
    let code = code(context, bit, alarm);
    let id = format!("{}/{code}", context.equipment());
    let subject = format!("alarm/{code}");
    let raised_at = raised.at.map(Timestamp::from_nanos);
    let duration = raised_at
        .zip(context.change.source_time)
        .map(|(from, to)| to.since(from).as_millis());
    let draft = Draft {
        part: u32::from(bit),
        ..Draft::new("AlarmCleared", &subject)
    };
    context.emit(&draft, |object| {
        object.field("alarmId", &id);
        object.field("occurrenceId", &raised.occurrence);
        object.field("code", &*code);
        object.field(
            "severity",
            &alarm.map_or(UNMAPPED_SEVERITY, |alarm| alarm.severity),
        );
        if let Some(text) = alarm.and_then(|alarm| alarm.text.as_deref()) {
            object.field("text", text);
        }
        if let Some(raised_at) = raised_at {
            object.field("raisedAt", &raised_at);
        }
        if let Some(milliseconds) = duration {
            object.field("durationMs", &milliseconds);
        }
    });
}
