//! What a mapping takes a tag's values for, beside what the device has.

use floorgate_adapter_api::{Expects, TagSpec};
use floorgate_yaml::{Problems, Span};

use crate::address::Type;

/// Reports values that are text where the mapping takes them for numbers, and the other way round.
pub(crate) fn compare(spec: &TagSpec<'_>, kind: Type, at: Option<Span>, problems: &mut Problems) {
    let (is, hint) = match (spec.expects, kind == Type::String) {
        (Expects::Number, true) => (
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
