//! Alarms: of the bits of a word, or of one condition, which raises the alarm when it begins and clears it when it ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use floorgate_core::plan::{AlarmBit, RuleKind, TagSpec};
use floorgate_yaml::{Problems, Span, Spanned, Within};

use crate::combination::given;
use crate::event_form::{EdgeForm, EventForm};
use crate::form::BitForm;

/// Whether what an `Alarm` says of when it is made is the condition of an alarm, or nothing; anything else is a problem: the bits
/// of a word say so themselves, and what has no end would never clear an alarm.
pub(crate) fn has_condition(form: &EventForm, trigger: Option<&TagSpec>, problems: &mut Problems) -> bool {
    let given = given(form);
    let Some(&(key, span)) = given.first() else {
        return true;
    };
    if let Some(trigger) = trigger.filter(|spec| spec.bits.is_some()) {
        if form.alarm.is_none() {
            problems
                .error(
                    span,
                    format!(
                        "`{key}` has no meaning for `Alarm` of tag `{}`, which has `bits`",
                        trigger.name
                    ),
                )
                .hint(format!(
                    "a bit's alarm is raised and cleared with the bit: remove `{key}`"
                ));
        }
        return false;
    }
    let hint = match (key, form.edge.as_ref().map(|edge| edge.value)) {
        ("above" | "below" | "becomes", _) | ("edge", Some(EdgeForm::Rising)) => {
            if form.alarm.is_none() {
                problems
                    .error(span, "an alarm of a condition has no code")
                    .hint("add `alarm: {code: …, severity: …, text: …}`");
            }
            return form.alarm.is_some();
        }
        ("edge", Some(EdgeForm::Falling)) => {
            "an alarm of a bit that is false is one of a value `below: 0.5`; of a state say what it `becomes`"
        }
        ("edge", _) => "say `edge: rising`: the alarm is cleared at the other edge",
        ("leaves", _) => "say what the trigger `becomes`: the alarm is cleared when it leaves that",
        _ => {
            "an alarm has `above`, `below`, `becomes` or `edge: rising`; a type of the plant's own can have the others"
        }
    };
    let written = match form.edge.as_ref().map(|edge| edge.value) {
        Some(EdgeForm::Falling) => "edge: falling",
        Some(EdgeForm::Both) => "edge: both",
        Some(EdgeForm::Every) => "edge: every",
        Some(EdgeForm::Rising) | None => key,
    };
    problems
        .error(span, format!("`{written}` is no condition of an alarm"))
        .hint(hint);
    false
}

/// The kind of an `Alarm`. `name` and `span` are its trigger's, which is reported to have no `bits` only where it is `known`.
pub(crate) fn of(
    form: &EventForm,
    (name, span): (&str, Span),
    trigger: Option<&TagSpec>,
    problems: &mut Problems,
) -> Option<RuleKind> {
    if trigger.is_some_and(|spec| spec.happens.is_some()) {
        return Some(RuleKind::Conditions);
    }
    let has_bits = trigger.map(|spec| spec.bits.is_some());
    let Some(alarm) = &form.alarm else {
        if has_bits == Some(false) && given(form).is_empty() {
            problems
                .error(
                    span,
                    format!("`Alarm` needs a trigger with `bits`, and tag `{name}` has none"),
                )
                .hint(format!(
                    "add `bits: {{0: {{code: …, text: …}}}}` to tag `{name}`, or `alarm: {{code: …, text: …}}` to the event"
                ));
        }
        return Some(RuleKind::Alarm { of_condition: None });
    };
    if has_bits == Some(true) {
        problems
            .error(
                alarm.span,
                format!("tag `{name}` has `bits`, and the event an `alarm`"),
            )
            .hint("an alarm word has its alarms in `bits`; remove one of them");
        return None;
    }
    Some(RuleKind::Alarm {
        of_condition: Some(alarm_of(0, alarm.value.clone())),
    })
}

/// The alarms of a word, by bit.
pub(crate) fn of_bits(bits: BTreeMap<u64, Spanned<BitForm>>, problems: &mut Problems) -> Arc<[AlarmBit]> {
    let mut codes = HashMap::new();
    let mut alarms = Vec::with_capacity(bits.len());
    for (bit, form) in bits {
        if let Some(first) = codes.insert(form.value.code.clone(), bit) {
            problems
                .error(
                    form.span,
                    format!("bit {bit} has the code `{}` of bit {first}", form.value.code),
                )
                .hint("an alarm is known by its code: give each bit its own");
        }
        match u8::try_from(bit) {
            Ok(bit @ 0..=63) => alarms.push(alarm_of(bit, form.value)),
            _ => {
                problems
                    .error(form.span, format!("there is no word with a bit {bit}"))
                    .hint("bits are 0 to 63");
            }
        }
    }
    alarms.into()
}

fn alarm_of(bit: u8, form: BitForm) -> AlarmBit {
    AlarmBit {
        bit,
        code: form.code.into(),
        text: form.text.map(Into::into),
        severity: form.severity.map_or(500, Within::get),
        category: form.category.map(Into::into),
    }
}
