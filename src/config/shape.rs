//! When a rule looks: edges, thresholds, joins, expected sequences, transitions and windows, from what is written.

use std::time::Duration;

use floorgate_core::plan::{Condition, EdgeSpec, Shape, Slot, Snapshot, TagSpec, WindowSpec};
use floorgate_core::table::ValueTable;
use floorgate_yaml::{Problems, Span, Spanned, closest};

use crate::data::Scope;
use crate::event_form::{AggregateForm, EdgeForm, EventForm, TransitionsForm};
use crate::vocabulary::{Made, standard};

/// Tags that one join can wait for.
const MOST_JOINED: usize = 64;
/// Tags that one request can read.
const MOST_READ: usize = 64;

/// The keys of which an event has one at most, since each says when the event is made.
fn given(form: &EventForm) -> Vec<(&'static str, Option<Span>)> {
    let spans = [
        ("edge", form.edge.as_ref().map(|key| key.span)),
        ("becomes", form.becomes.as_ref().map(|key| key.span)),
        ("leaves", form.leaves.as_ref().map(|key| key.span)),
        ("above", form.above.as_ref().map(|key| key.span)),
        ("below", form.below.as_ref().map(|key| key.span)),
        ("join", form.join.as_ref().map(|key| key.span)),
        ("expect", form.expect.as_ref().map(|key| key.span)),
        ("transitions", form.transitions.as_ref().map(|key| key.span)),
        ("window", form.window.as_ref().map(|key| key.span)),
    ];
    spans.into_iter().filter(|(_, span)| span.is_some()).collect()
}

/// The shape of a rule; `trigger` is what its trigger means, where that is known.
pub(crate) fn of(
    form: &EventForm,
    trigger: Option<&TagSpec>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Option<Shape> {
    let given = given(form);
    if let [(first, _), (second, span), ..] = given.as_slice() {
        problems
            .error(
                *span,
                format!(
                    "`{first}` and `{second}` both say when `{}` is made",
                    form.event.value
                ),
            )
            .hint("keep one of them, or make two events");
        return None;
    }
    modifiers(form, problems);
    let event = form.event.value.as_str();
    let follows = matches!(
        event,
        "WorkOrderStatusChanged"
            | "EquipmentStateChanged"
            | "ProductionCountRecorded"
            | "ScrapRecorded"
            | "EnergyRecorded"
    );
    if let Some((key, span)) = given.first()
        && follows
        && *key != "window"
    {
        problems
            .error(*span, format!("`{key}` has no meaning for `{event}`"))
            .hint("it tells every change of its trigger; a type of the plant's own can tell some of them");
        return None;
    }
    let right = |condition| Some(edge(form, condition, true, false));
    if let Some(names) = &form.becomes {
        let names = states(&names.value.0, names.span, trigger, problems)?;
        return right(Condition::Is(names));
    }
    if let Some(names) = &form.leaves {
        let names = states(&names.value.0, names.span, trigger, problems)?;
        return Some(edge(form, Condition::Is(names), false, true));
    }
    let hysteresis = form
        .hysteresis
        .as_ref()
        .map_or(0.0, |hysteresis| hysteresis.value);
    // An alarm is raised and cleared, other events are made when the condition begins.
    let both = form.event.value == "Alarm";
    if let Some(limit) = &form.above {
        numeric(form, limit, trigger, problems);
        let (limit, back) = (limit.value, limit.value - hysteresis);
        return Some(edge(form, Condition::Above { limit, back }, true, both));
    }
    if let Some(limit) = &form.below {
        numeric(form, limit, trigger, problems);
        let (limit, back) = (limit.value, limit.value + hysteresis);
        return Some(edge(form, Condition::Below { limit, back }, true, both));
    }
    if let Some(joined) = &form.join {
        return join(form, joined, scope, problems);
    }
    if let Some(states) = &form.expect {
        return expect(form, states, trigger, problems);
    }
    if let Some(transitions) = &form.transitions {
        return self::transitions(transitions, trigger, problems);
    }
    if let Some(window) = &form.window {
        return self::window(form, window, problems);
    }
    let edges = match (form.edge.as_ref().map(|edge| edge.value), standard(&form.event)) {
        (Some(EdgeForm::Every), _) => None,
        (Some(EdgeForm::Falling), _) => Some((false, true)),
        (Some(EdgeForm::Both), _) => Some((true, true)),
        (Some(EdgeForm::Rising), _) => Some((true, false)),
        (None, Some(event)) => matches!(event.made, Made::OfEdges(_)).then_some((true, false)),
        (None, None) => form.hold.is_some().then_some((true, false)),
    };
    let edges = if form.alarm.is_some() {
        Some((true, true))
    } else {
        edges
    };
    Some(edges.map_or(Shape::Every, |(rising, falling)| {
        edge(form, Condition::True, rising, falling)
    }))
}

fn edge(form: &EventForm, condition: Condition, rising: bool, falling: bool) -> Shape {
    Shape::Edge(EdgeSpec {
        condition,
        rising,
        falling: falling || form.alarm.is_some(),
        hold: form.hold.map_or(Duration::ZERO, |hold| hold.value.get()),
    })
}

/// Keys that say more of others, without them.
fn modifiers(form: &EventForm, problems: &mut Problems) {
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
            "`edge`, `becomes`, `leaves`, `above` or `below`",
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
    if let Some(hysteresis) = form.hysteresis.as_ref().filter(|value| value.value < 0.0) {
        problems
            .error(
                hysteresis.span,
                format!("`hysteresis`: {} is below 0", hysteresis.value),
            )
            .hint("how far the value must come back, such as 2.5");
    }
    if form.leaves.is_some()
        && let Some(hold) = &form.hold
    {
        problems
            .error(hold.span, "`hold` has no meaning beside `leaves`")
            .hint("it is for a condition that begins: say what the trigger becomes");
    }
}

/// A threshold needs a number.
fn numeric(form: &EventForm, limit: &Spanned<f64>, trigger: Option<&TagSpec>, problems: &mut Problems) {
    if let Some(spec) = trigger
        && (spec.values.is_some() || spec.bits.is_some())
    {
        problems
            .error(
                limit.span,
                format!("`{}`: tag `{}` is no measured value", form.event.value, spec.name),
            )
            .hint("`above` and `below` are for numbers; of a state say what it `becomes`");
    }
}

/// Names of states of the trigger, each of which its table must have.
fn states(
    names: &[String],
    span: Span,
    trigger: Option<&TagSpec>,
    problems: &mut Problems,
) -> Option<Box<[std::sync::Arc<str>]>> {
    let table = trigger.and_then(|spec| spec.values.as_deref());
    let mut right = true;
    for name in names {
        right &= is_state(name, span, table, problems);
    }
    right.then(|| names.iter().map(|name| name.as_str().into()).collect())
}

fn is_state(name: &str, span: Span, table: Option<&ValueTable>, problems: &mut Problems) -> bool {
    let Some(table) = table else { return true };
    let names = || table.entries.iter().map(|entry| &*entry.name);
    if names().any(|known| known == name) || name == "unknown" {
        return true;
    }
    let problem = problems.error(span, format!("table `{}` has no state `{name}`", table.name));
    match closest(name, names()) {
        Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
        None => problem.hint(format!("its states: {}", names().collect::<Vec<_>>().join(", "))),
    };
    false
}

fn within(form: &EventForm, of: &str, problems: &mut Problems) -> Option<Duration> {
    if let Some(within) = &form.within {
        return Some(within.value.get());
    }
    problems
        .error(
            form.event.span,
            format!("`{of}` of `{}` has no `within`", form.event.value),
        )
        .hint("add how long it may take, such as `within: 2s`");
    None
}

fn join(
    form: &EventForm,
    joined: &Spanned<Vec<Spanned<String>>>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Option<Shape> {
    let within = within(form, "join", problems);
    let mut right = true;
    for (place, tag) in joined.value.iter().enumerate() {
        let slot = scope.tag("join", tag, tag.span, problems);
        right &= slot.is_some();
        if slot.is_some_and(|slot| usize::from(slot.0) != place + 1) {
            problems
                .error(tag.span, format!("`join`: tag `{}` is there twice", tag.value))
                .hint("the trigger is joined already: name the others, each once");
            right = false;
        }
    }
    if joined.value.is_empty() || joined.value.len() >= MOST_JOINED {
        problems
            .error(joined.span, format!("`join` names {} tags", joined.value.len()))
            .hint(format!("1 to {} besides the trigger", MOST_JOINED - 1));
        right = false;
    }
    let tags = u16::try_from(joined.value.len() + 1).ok()?;
    right.then_some(Shape::Join {
        tags,
        within: within?,
    })
}

fn expect(
    form: &EventForm,
    expected: &Spanned<Vec<Spanned<String>>>,
    trigger: Option<&TagSpec>,
    problems: &mut Problems,
) -> Option<Shape> {
    let within = within(form, "expect", problems);
    let table = trigger.and_then(|spec| spec.values.as_deref());
    let mut right = expected.value.len() >= 2;
    if !right {
        problems
            .error(
                expected.span,
                format!("`expect` names {} states", expected.value.len()),
            )
            .hint("at least the first one and the next, such as `[Starting, Execute]`");
    }
    for state in &expected.value {
        right &= is_state(state, state.span, table, problems);
    }
    right.then_some(Shape::Expect {
        states: expected
            .value
            .iter()
            .map(|state| state.value.as_str().into())
            .collect(),
        within: within?,
    })
}

fn transitions(
    form: &Spanned<TransitionsForm>,
    trigger: Option<&TagSpec>,
    problems: &mut Problems,
) -> Option<Shape> {
    let table = trigger.and_then(|spec| spec.values.as_deref());
    match &form.value {
        TransitionsForm::Standard(name) => {
            let found = floorgate_core::table::transitions(name);
            if found.is_none() {
                problems
                    .error(form.span, format!("there are no transitions `{name}`"))
                    .hint("`packml-state`, or the plant's own: `{Idle: [Starting], …}`");
            }
            found.map(Shape::Transitions)
        }
        TransitionsForm::Own(own) => {
            let mut right = true;
            for name in own.iter().flat_map(|(from, to)| std::iter::once(from).chain(to)) {
                right &= is_state(name, form.span, table, problems);
            }
            let row = |(from, to): (&String, &Vec<String>)| {
                (
                    from.as_str().into(),
                    to.iter().map(|name| name.as_str().into()).collect(),
                )
            };
            right.then(|| Shape::Transitions(own.iter().map(row).collect()))
        }
    }
}

fn window(
    form: &EventForm,
    window: &Spanned<floorgate_yaml::Duration>,
    problems: &mut Problems,
) -> Option<Shape> {
    let event = form.event.value.as_str();
    let counts = matches!(
        event,
        "ProductionCountRecorded" | "ScrapRecorded" | "EnergyRecorded"
    );
    let mut right = true;
    if !counts && event != "MeasurementRecorded" {
        problems
            .error(window.span, format!("`window` has no meaning for `{event}`"))
            .hint("it is for measurements and counts");
        right = false;
    }
    if window.value.as_millis() < 100 {
        problems
            .error(window.span, format!("`window`: {} is too short", window.value))
            .hint("at least 100ms");
        right = false;
    }
    if let Some(aggregate) = form.aggregate.as_ref().filter(|_| counts) {
        problems
            .error(
                aggregate.span,
                format!("`aggregate` has no meaning for `{event}`"),
            )
            .hint("counts are summed; remove it");
        right = false;
    }
    let value = form
        .aggregate
        .map_or_else(Default::default, |form| AggregateForm::aggregate(form.value));
    right.then(|| {
        Shape::Window(WindowSpec {
            every: window.value.get(),
            value,
        })
    })
}

/// What is read for an event; `Err` where that is wrong.
pub(crate) fn snapshot(
    form: &EventForm,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Result<Option<Snapshot>, ()> {
    let Some(read) = &form.snapshot else {
        if let Some(unchanged) = &form.unchanged {
            problems
                .error(unchanged.span, "`unchanged` says nothing without `snapshot`")
                .hint("add `snapshot: [TAG, …]`, the tags that are read with it");
            return Err(());
        }
        return Ok(None);
    };
    if read.value.is_empty() || read.value.len() > MOST_READ {
        problems
            .error(read.span, format!("`snapshot` names {} tags", read.value.len()))
            .hint(format!("1 to {MOST_READ}"));
        return Err(());
    }
    let mut tags = Vec::new();
    for tag in &read.value {
        let slot = scope.tag("snapshot", tag, tag.span, problems).ok_or(())?;
        if tags.contains(&slot) {
            problems
                .error(
                    tag.span,
                    format!("`snapshot`: tag `{}` is there twice", tag.value),
                )
                .hint("name each tag once");
            return Err(());
        }
        tags.push(slot);
    }
    let unchanged = slot("unchanged", form.unchanged.as_ref(), scope, problems)?;
    if let (Some(slot), Some(tag)) = (unchanged, &form.unchanged)
        && !tags.contains(&slot)
    {
        problems
            .error(
                tag.span,
                format!("`unchanged`: tag `{}` is not in the `snapshot`", tag.value),
            )
            .hint("it is compared with what the snapshot reads: name it there too");
        return Err(());
    }
    Ok(Some(Snapshot {
        tags: tags.into(),
        unchanged,
    }))
}

/// The slot of a tag that a key names, where it is given; `Err` where it is wrong.
pub(crate) fn slot(
    key: &str,
    tag: Option<&Spanned<String>>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Result<Option<Slot>, ()> {
    match tag {
        None => Ok(None),
        Some(tag) => scope.tag(key, tag, tag.span, problems).map(Some).ok_or(()),
    }
}
