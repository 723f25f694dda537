//! Tags that are said to be two things at once.

use floorgate_yaml::{Problems, Span};

use crate::form::TagForm;

/// Reports keys of a tag that contradict each other: a value is one of names, or a count, or a word of alarms, or is measured.
pub(crate) fn check(name: &str, form: &TagForm, problems: &mut Problems) {
    let values = form.values.as_ref().map(|values| values.span);
    let bits = form.bits.as_ref().map(|bits| bits.span);
    let counter = form.counter.as_ref().map(|counter| counter.span);
    let deadband = form.deadband.as_ref().map(|deadband| deadband.span);
    let mut both = |first: &str, (one, other): (Option<Span>, Option<Span>), second: &str, why: &str| {
        if let (Some(_), Some(span)) = (one, other) {
            problems
                .error(span, format!("tag `{name}` has {first}, and {second}"))
                .hint(format!("{why}; remove one of them"));
        }
    };
    let table = match &form.values {
        Some(values) => format!("a table `{}`", values.value),
        None => String::new(),
    };
    both(
        &table,
        (values, deadband),
        "a deadband",
        "an enumeration has no deadband",
    );
    both(
        &table,
        (values, counter),
        "`counter`",
        "names of states are not counted",
    );
    both(
        &table,
        (values, bits),
        "`bits`",
        "an alarm word has no names of states",
    );
    both(
        "`bits`",
        (bits, deadband),
        "a deadband",
        "an alarm word has no deadband: it would swallow the lowest bits",
    );
    both(
        "`bits`",
        (bits, counter),
        "`counter`",
        "an alarm word counts nothing",
    );
}
