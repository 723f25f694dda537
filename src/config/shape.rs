//! When a rule looks: edges, thresholds, joins, expected sequences, transitions and windows, from what is written.

use std::time::Duration;

use floorgate_core::plan::{Condition, EdgeSpec, Shape, Slot, TagSpec, WindowSpec};
use floorgate_yaml::{Problems, Spanned};

use crate::alarm;
use crate::combination;
use crate::data::Scope;
use crate::event_form::{AggregateForm, EdgeForm, EventForm};
use crate::happening;
use crate::states;
use crate::vocabulary::{Made, standard};

/// Tags that one join can wait for.
const MOST_JOINED: usize = 64;

/// The shape of a rule; `trigger` is what its trigger means, where that is known.
pub(crate) fn of(
    form: &EventForm,
    trigger: Option<&TagSpec>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Option<Shape> {
    if !combination::check(form, problems) {
        return None;
    }
    if let Some(trigger) = trigger
        && let Some(happening) = trigger.happens
    {
        return happening::check_event(form, trigger, happening, problems).then_some(Shape::Every);
    }
    if form.event.value == "Alarm" && !alarm::has_condition(form, trigger, problems) {
        return None;
    }
    let right = |condition| Some(edge(form, condition, true, false));
    if let Some(names) = &form.becomes {
        let names = states::of(names, trigger, problems)?;
        return right(Condition::Is(names));
    }
    if let Some(names) = &form.leaves {
        let names = states::of(names, trigger, problems)?;
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
        return states::transitions(transitions, trigger, problems);
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
    for tag in &joined.value {
        let known = scope.inputs.len();
        let slot = scope.tag("join", tag, tag.span, problems);
        right &= slot.is_some();
        // One that is named anew has a slot of its own.
        if slot.is_some_and(|slot| usize::from(slot.0) < known) {
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
        right &= states::is_state(state, state.span, table, problems);
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

fn window(
    form: &EventForm,
    window: &Spanned<floorgate_yaml::Duration>,
    problems: &mut Problems,
) -> Option<Shape> {
    let event = form.event.value.as_str();
    let counts = form.counts();
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

/// The slot of the tag with the PLC's number of the event, where it has one; `Err` where that is wrong. Without a `counter` the step
/// over its end would be taken for thousands of events that were missed.
pub(crate) fn sequence(
    form: &EventForm,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Result<Option<Slot>, ()> {
    let found = slot("sequence", form.sequence.as_ref(), scope, problems)?;
    if let (Some(slot), Some(tag)) = (found, &form.sequence) {
        let place = scope.inputs.get(usize::from(slot.0));
        let spec = place.and_then(|place| scope.tags[*place].spec.as_deref());
        if spec.is_some_and(|spec| spec.counter.is_none()) {
            problems
                .error(
                    tag.span,
                    format!(
                        "`sequence`: tag `{}` has no `counter`, which says after what it begins with 0 again",
                        tag.value
                    ),
                )
                .hint(format!(
                    "add `counter: {{width: 16}}` to tag `{}`, with the bits that it has",
                    tag.value
                ));
            return Err(());
        }
        let counter = spec.and_then(|spec| spec.counter);
        if counter.is_some_and(|counter| counter.decimals > 0) {
            problems
                .error(
                    tag.span,
                    format!(
                        "`sequence`: tag `{}` has decimals, and events are numbered 1, 2, 3",
                        tag.value
                    ),
                )
                .hint("name the tag with the PLC's own number of the event");
            return Err(());
        }
    }
    Ok(found)
}
