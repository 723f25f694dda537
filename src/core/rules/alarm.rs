//! `AlarmRaised` and `AlarmCleared` (OPC 10000-9, PackML): one alarm a bit, both events under one occurrence id.

use std::collections::BTreeMap;
use std::sync::Arc;

use floorgate_sample::{Timestamp, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::detect::Cause;
use crate::json::Object;
use crate::plan::AlarmBit;

use super::{Context, Draft};

/// Severity of an alarm of which nobody says one: the middle of 1 to 1000.
pub(super) const UNMAPPED_SEVERITY: u16 = 500;

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

pub(super) fn evaluate(
    context: &mut Context<'_>,
    memory: &mut Memory,
    dirty: &mut bool,
    of_condition: Option<&AlarmBit>,
) {
    let change = context.change;
    let tag = context.trigger();
    if let (Some(alarm), Some(rising)) = (of_condition, context.note.rising) {
        of_one(context, memory, dirty, alarm, rising);
        return;
    }
    if !matches!(change.cause, Cause::Initial | Cause::Value) {
        return;
    }
    let Some(value) = &change.value else { return };
    let Some(word) = word_of(value, tag.bits.as_deref()) else {
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

/// An alarm whose condition began or ceased to hold.
fn of_one(context: &mut Context<'_>, memory: &mut Memory, dirty: &mut bool, alarm: &AlarmBit, rising: bool) {
    let raised = memory.raised.contains_key(&alarm.bit);
    if rising == raised {
        return;
    }
    *dirty = true;
    if rising {
        raise(context, memory, alarm.bit, Some(alarm));
    } else if let Some(raised) = memory.raised.remove(&alarm.bit) {
        clear(context, &raised, alarm.bit, Some(alarm));
    }
}

/// The bits of a word. A negative number is a signed word with its highest bit set; how wide it was at the device is
/// not known any more, so that it counts as the narrowest of 16, 32 and 64 bits that holds the number and the alarms
/// that the mapping names.
fn word_of(value: &Value, alarms: Option<&[AlarmBit]>) -> Option<u64> {
    let number = value.as_i128()?;
    if let Ok(word) = u64::try_from(number) {
        return Some(word);
    }
    let number = i64::try_from(number).ok()?;
    let highest = alarms
        .unwrap_or_default()
        .iter()
        .map(|alarm| alarm.bit)
        .max()
        .unwrap_or(0);
    let width = if highest < 16 && i16::try_from(number).is_ok() {
        16
    } else if highest < 32 && i32::try_from(number).is_ok() {
        32
    } else {
        64
    };
    Some(number.cast_unsigned() & (u64::MAX >> (64 - width)))
}

/// Code of an alarm; a bit that the mapping does not name is reported under its number.
fn code(context: &Context<'_>, bit: u8, alarm: Option<&AlarmBit>) -> Arc<str> {
    alarm.map_or_else(
        || format!("{}.{bit}", context.trigger().name).into(),
        |alarm| Arc::clone(&alarm.code),
    )
}

/// What both events of an alarm say of it.
pub(super) struct Told<'a> {
    pub(super) id: &'a str,
    pub(super) code: &'a str,
    pub(super) severity: u16,
    pub(super) text: Option<&'a str>,
    pub(super) category: Option<&'a str>,
}

impl Told<'_> {
    pub(super) fn write(&self, occurrence: Uuid, object: &mut Object<'_>) {
        object.field("alarmId", self.id);
        object.field("occurrenceId", &occurrence);
        object.field("code", self.code);
        object.field("severity", &self.severity);
        for (name, text) in [("text", self.text), ("category", self.category)] {
            if let Some(text) = text {
                object.field(name, text);
            }
        }
    }
}

/// Writes when an alarm that is cleared was raised, as far as that is known, and how long it was until then.
pub(super) fn write_past(raised_at: Option<Timestamp>, until: Option<Timestamp>, object: &mut Object<'_>) {
    if let Some(raised_at) = raised_at {
        object.field("raisedAt", &raised_at);
    }
    if let Some((from, until)) = raised_at.zip(until) {
        object.field("durationMs", &until.since(from).as_millis());
    }
}

fn told<'a>(id: &'a str, code: &'a str, alarm: Option<&'a AlarmBit>) -> Told<'a> {
    Told {
        id,
        code,
        severity: alarm.map_or(UNMAPPED_SEVERITY, |alarm| alarm.severity),
        text: alarm.and_then(|alarm| alarm.text.as_deref()),
        category: alarm.and_then(|alarm| alarm.category.as_deref()),
    }
}

fn raise(context: &mut Context<'_>, memory: &mut Memory, bit: u8, alarm: Option<&AlarmBit>) {
    let code = code(context, bit, alarm);
    let id = format!("{}/{code}", context.equipment());
    let subject = format!("alarm/{code}");
    let occurrence = context.next_id(u32::from(bit));
    let draft = Draft {
        part: u32::from(bit),
        ..Draft::new("AlarmRaised", subject)
    };
    context.emit_with_id(&draft, occurrence, |object| {
        told(&id, &code, alarm).write(occurrence, object);
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
    let until = context.change.source_time;
    let draft = Draft {
        part: u32::from(bit),
        ..Draft::new("AlarmCleared", subject)
    };
    context.emit(&draft, |object| {
        told(&id, &code, alarm).write(raised.occurrence, object);
        if alarm.is_none() {
            object.field("unmapped", &true);
        }
        write_past(raised_at, until, object);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_word_has_no_bits_beyond_its_width() {
        let named = |bit| {
            [AlarmBit {
                bit,
                code: "A".into(),
                text: None,
                severity: 500,
                category: None,
            }]
        };
        let word = |value, bit| word_of(&value, Some(&named(bit)));
        assert_eq!(word(Value::Int(-32_768), 0), Some(1 << 15));
        assert_eq!(word(Value::Int(-1), 15), Some(0xFFFF));
        assert_eq!(word(Value::Int(-1), 16), Some(0xFFFF_FFFF));
        assert_eq!(word(Value::Int(i64::from(i32::MIN) + 1), 0), Some(0x8000_0001));
        assert_eq!(word(Value::Int(-1), 40), Some(u64::MAX));
        assert_eq!(word(Value::Int(i64::MIN), 0), Some(1 << 63));
        assert_eq!(word(Value::UInt(u64::MAX), 0), Some(u64::MAX));
        assert_eq!(word(Value::Bool(true), 0), Some(1));
        assert_eq!(word(Value::Float64(0.5), 0), None);
    }
}
