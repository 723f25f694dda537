//! Keys that say when an event is made: which of them go together, and which say nothing without another.

use floorgate_yaml::{Duration, Problems, Span, Spanned};

use crate::event_form::{EdgeForm, EventForm};
use crate::vocabulary::{Made, standard};

/// The keys of which an event has one at most, since each says when the event is made.
pub(crate) const WHEN_MADE: [&str; 9] = [
    "edge",
    "becomes",
    "leaves",
    "above",
    "below",
    "join",
    "expect",
    "transitions",
    "window",
];

/// Those that an event has, and where.
pub(crate) fn given(form: &EventForm) -> Vec<(&'static str, Span)> {
    let spans = [
        form.edge.as_ref().map(|key| key.span),
        form.becomes.as_ref().map(|key| key.span),
        form.leaves.as_ref().map(|key| key.span),
        form.above.as_ref().map(|key| key.span),
        form.below.as_ref().map(|key| key.span),
        form.join.as_ref().map(|key| key.span),
        form.expect.as_ref().map(|key| key.span),
        form.transitions.as_ref().map(|key| key.span),
        form.window.as_ref().map(|key| key.span),
    ];
    let keys = WHEN_MADE.into_iter().zip(spans);
    keys.filter_map(|(key, span)| Some((key, span?))).collect()
}

/// Reports keys that contradict each other or say nothing. Returns whether it is clear which of them says when the event is
/// made.
pub(crate) fn check(form: &EventForm, problems: &mut Problems) -> bool {
    let given = given(form);
    let event = form.event.value.as_str();
    if let [(first, _), (second, span), ..] = given.as_slice() {
        problems
            .error(
                *span,
                format!("`{first}` and `{second}` both say when `{event}` is made"),
            )
            .hint("keep one of them, or make two events");
        return false;
    }
    needs_another(form, problems);
    let limits = [
        ("above", form.above.as_ref()),
        ("below", form.below.as_ref()),
        ("hysteresis", form.hysteresis.as_ref()),
    ];
    for (key, limit) in limits {
        if let Some(limit) = limit.filter(|limit| !limit.value.is_finite()) {
            problems
                .error(
                    limit.span,
                    format!("`{key}`: {} is nothing to compare with", limit.value),
                )
                .hint(format!("write a number such as `{key}: 2.5`"));
        }
    }
    if let Some(hysteresis) = form.hysteresis.as_ref().filter(|value| value.value < 0.0) {
        problems
            .error(
                hysteresis.span,
                format!("`hysteresis`: {} is below 0", hysteresis.value),
            )
            .hint("how far the value must come back, such as 2.5");
    }
    if is_time("hold", form.hold.as_ref(), problems) {
        hold(form, problems);
    }
    is_time("within", form.within.as_ref(), problems);
    if let Some((key, span)) = given.first()
        && form.tells_every_change()
        && *key != "window"
    {
        problems
            .error(*span, format!("`{key}` has no meaning for `{event}`"))
            .hint("it tells every change of its trigger; a type of the plant's own can tell some of them");
        return false;
    }
    true
}

/// Whether a time is given that is one.
fn is_time(key: &str, time: Option<&Spanned<Duration>>, problems: &mut Problems) -> bool {
    let Some(time) = time else { return false };
    let passes = time.value.as_millis() > 0;
    if !passes {
        problems
            .error(time.span, format!("`{key}`: {} is no time", time.value))
            .hint(format!("such as `{key}: 2s`"));
    }
    passes
}

/// Keys that say more of others, without them.
fn needs_another(form: &EventForm, problems: &mut Problems) {
    let threshold = form.above.is_some() || form.below.is_some();
    let condition = threshold || form.becomes.is_some() || form.leaves.is_some() || form.edge.is_some();
    let has_edge = standard(&form.event).is_some_and(|event| matches!(event.made, Made::OfEdges(_)));
    let needs = [
        (
            "hysteresis",
            form.hysteresis.as_ref().map(|key| key.span),
            threshold,
            "`above` or `below`",
        ),
        (
            "hold",
            form.hold.as_ref().map(|key| key.span),
            condition || has_edge || form.alarm.is_some(),
            "`edge`, `becomes`, `above` or `below`",
        ),
        (
            "within",
            form.within.as_ref().map(|key| key.span),
            form.join.is_some() || form.expect.is_some(),
            "`join` or `expect`",
        ),
        (
            "aggregate",
            form.aggregate.as_ref().map(|key| key.span),
            form.window.is_some(),
            "`window`",
        ),
    ];
    for (key, span, meant, of) in needs {
        if span.is_some() && !meant {
            problems
                .error(span, format!("`{key}` says nothing without {of}"))
                .hint(format!("add {of}, or remove `{key}`"));
        }
    }
}

/// What holds for a time is a condition, and it is told when it began: the end of one does not hold. An alarm has a condition, or
/// that is a problem of its own.
fn hold(form: &EventForm, problems: &mut Problems) {
    let Some(hold) = form.hold.as_ref().filter(|_| form.event.value != "Alarm") else {
        return;
    };
    let a_bit = "it is for a condition that begins: `edge: rising`, or `below: 0.5` of a bit that is false";
    let (beside, hint) = match (&form.leaves, form.edge.as_ref().map(|edge| edge.value)) {
        (Some(_), _) => (
            "leaves",
            "it is for a condition that begins: say what the trigger becomes",
        ),
        (None, Some(EdgeForm::Falling)) => ("edge: falling", a_bit),
        (None, Some(EdgeForm::Both)) => ("edge: both", a_bit),
        (None, Some(EdgeForm::Every)) => ("edge: every", a_bit),
        (None, Some(EdgeForm::Rising) | None) => return,
    };
    problems
        .error(hold.span, format!("`hold` has no meaning beside `{beside}`"))
        .hint(hint);
}
