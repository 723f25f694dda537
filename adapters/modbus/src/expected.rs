//! What a mapping takes a tag's values for, beside what the device has.

use floorgate_adapter_api::{Expects, TagSpec};
use floorgate_yaml::{Problems, Span};

use crate::address::{Type, written};

/// Reports values that are text where the mapping takes them for numbers, and the other way round, and alarms at bits
/// that a word does not have.
pub(crate) fn compare(spec: &TagSpec<'_>, kind: Type, at: Option<Span>, problems: &mut Problems) {
    if let Expects::Bits(highest) = spec.expects {
        compare_width(spec, kind, highest, at, problems);
    }
    let (is, hint) = match (spec.expects, kind == Type::String) {
        (Expects::Number | Expects::Bits(_), true) => (
            "is text",
            "read it as a number; `counter`, `bits`, a deadband or a table of numbers make nothing of text",
        ),
        (Expects::Text, false) => (
            "is a number",
            "read it as a `string`, or write the table's values as numbers",
        ),
        _ => return,
    };
    problems
        .error(
            at.unwrap_or(spec.address.span),
            format!(
                "tag `{}` {is} here, and its mapping takes it for something else",
                spec.name
            ),
        )
        .hint(hint);
}

/// Nothing ever sets a bit beyond the word, except in a negative number, whose sign would.
fn compare_width(spec: &TagSpec<'_>, kind: Type, highest: u8, at: Option<Span>, problems: &mut Problems) {
    let (width, wider) = match kind {
        Type::Bool => (1, "read the whole register as `u16`"),
        Type::I16 | Type::U16 => (16, "read it as `u32` where the word has two registers"),
        Type::I32 | Type::U32 => (32, "read it as `u64` where the word has four registers"),
        Type::I64 | Type::U64 | Type::F32 | Type::F64 | Type::String => return,
    };
    if highest < width {
        return;
    }
    let has = match width {
        1 => "has bit 0 alone".to_owned(),
        width => format!("has bits 0 to {}", width - 1),
    };
    problems
        .warning(
            at.unwrap_or(spec.address.span),
            format!(
                "tag `{}` names an alarm of bit {highest}, and a `{}` {has}",
                spec.name,
                written(kind)
            ),
        )
        .hint(format!("{wider}, or correct the bit"));
}
