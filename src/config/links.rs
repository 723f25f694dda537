//! What the tags and events of a mapping need of each other.

use std::rc::Rc;

use floorgate_adapter_api::GivenKind;
use floorgate_core::plan::Shape;
use floorgate_yaml::{Problems, Span, Spanned, closest};

use crate::event::EventPlan;
use crate::fit::named;
use crate::overrides::Change;
use crate::tag::TagPlan;

/// Reports companions that are no tags of a mapping, of which all parts are there.
pub(crate) fn check_companions(tags: &[TagPlan<'_>], problems: &mut Problems) {
    for tag in tags {
        if let Some(valid) = tag.valid.as_ref().filter(|_| tag.gate.is_none()) {
            no_companion("valid", valid, tag, tags, problems);
        }
        if let Some(reset) = tag.reset.as_ref().filter(|_| tag.resetter.is_none()) {
            no_companion("reset", reset, tag, tags, problems);
        }
    }
}

/// Marks the tags that others need, and reports those that cannot say what they are needed for.
pub(crate) fn mark_used(tags: &[TagPlan<'_>], used: &mut [bool], problems: &mut Problems) {
    for (place, tag) in tags.iter().enumerate() {
        used[place] |= tag.is_watched;
        if let Some(reset) = tag.reset.as_ref().filter(|reset| reset.value == tag.name) {
            problems
                .error(
                    reset.span,
                    format!("`reset` of tag `{}` names the tag itself", tag.name),
                )
                .hint("name the tag that is true when the counter is set back");
        }
        for (key, companion, place) in [
            ("valid", &tag.valid, tag.gate),
            ("reset", &tag.reset, tag.resetter),
        ] {
            if let (Some(companion), Some(other)) = (companion, place.map(|place| &tags[place]))
                && let Some(given) = other.shown()
                && given.kind == GivenKind::Text
            {
                problems
                    .error(
                        companion.span,
                        format!(
                            "`{key}` of tag `{}`: {} is text, and never true",
                            tag.name,
                            named(other.name, given)
                        ),
                    )
                    .hint("name a bit, or a number that is not 0 when it says so");
            }
        }
        let Some(valid) = &tag.valid else { continue };
        match tag.gate {
            Some(gate) if tags[gate].valid.is_none() && gate != place => used[gate] = true,
            Some(_) => {
                problems
                    .error(
                        valid.span,
                        format!(
                            "`valid` of tag `{}`: `{}` has a `valid` of its own",
                            tag.name, valid.value
                        ),
                    )
                    .hint("name a tag whose value always holds");
            }
            None => {}
        }
    }
}

/// Reports a companion that is no tag of the mapping.
fn no_companion(
    key: &str,
    name: &Spanned<String>,
    tag: &TagPlan<'_>,
    tags: &[TagPlan<'_>],
    problems: &mut Problems,
) {
    let may_suggest = problems.may_suggest(tags.len());
    let problem = problems.error(
        name.span,
        format!(
            "`{key}` of tag `{}`: there is no tag `{}` in this mapping",
            tag.name, name.value
        ),
    );
    let similar = if may_suggest {
        closest(&name.value, tags.iter().map(|other| other.name))
    } else {
        None
    };
    match (similar, key) {
        (Some(similar), _) => problem.hint(format!("did you mean `{similar}`?")),
        (None, "valid") => problem.hint("name the tag whose value says whether this one holds"),
        (None, _) => problem.hint("name the tag that is true when the counter is set back"),
    };
}

/// Marks the tags that only snapshots need: they are read when a rule asks for them, and not watched.
pub(crate) fn mark_on_demand(tags: &mut [TagPlan<'_>], events: &[Rc<EventPlan<'_>>], used: &[bool]) {
    let mut watched = vec![false; tags.len()];
    for event in events {
        let triggers = event.shape().triggers();
        for ((slot, input), is_read) in event.inputs.iter().enumerate().zip(event.only_read()) {
            watched[*input] |= slot < triggers || !is_read;
        }
    }
    for companion in tags
        .iter()
        .flat_map(|tag| tag.gate.into_iter().chain(tag.resetter))
    {
        watched[companion] = true;
    }
    for (place, tag) in tags.iter_mut().enumerate() {
        tag.on_demand = used[place] && !watched[place] && !tag.is_watched;
    }
}

/// Runs need the one event that opens them, `here`: in the mapping or in an instance.
pub(crate) fn check_run(
    run: Option<Span>,
    events: &[Rc<EventPlan<'_>>],
    here: &str,
    problems: &mut Problems,
) {
    let Some(span) = run else { return };
    let opening = events
        .iter()
        .filter(|event| event.event.value == "WorkOrderStatusChanged");
    let count = opening.count();
    if count != 1 {
        problems
            .error(
                span,
                format!("`run` needs one `WorkOrderStatusChanged` in {here}, and there are {count}"),
            )
            .hint("the status of the work order says when a run begins and ends");
    }
}

/// Reports tags that no event uses. `used` says which tags events use.
pub(crate) fn check_use(tags: &[TagPlan<'_>], used: &[bool], problems: &mut Problems) {
    for (tag, _) in tags.iter().zip(used).filter(|(_, used)| !**used) {
        problems
            .warning(
                tag.span,
                format!("tag `{}` is read and no event uses it", tag.name),
            )
            .hint("remove it, or add an event with it as trigger or in its data");
    }
}

/// Reports longest silences that no event ends, of tags that events use.
pub(crate) fn check_silences(
    tags: &[TagPlan<'_>],
    used: &[bool],
    events: &[Rc<EventPlan<'_>>],
    problems: &mut Problems,
) {
    let measured = measured(tags, events);
    for ((tag, used), measured) in tags.iter().zip(used).zip(measured) {
        if *used {
            check_silence(tag, measured, problems);
        }
    }
}

/// The measurement of each tag: one that tells single values, where there is one. With a condition or a window it tells others.
fn measured<'e, 'n>(tags: &[TagPlan<'_>], events: &'e [Rc<EventPlan<'n>>]) -> Vec<Option<&'e EventPlan<'n>>> {
    let mut measured: Vec<Option<&EventPlan<'_>>> = vec![None; tags.len()];
    for event in events {
        if let (Some(trigger), "MeasurementRecorded") = (event.inputs.first(), &*event.event.value)
            && measured[*trigger].is_none_or(|known| *known.shape() != Shape::Every)
        {
            measured[*trigger] = Some(event);
        }
    }
    measured
}

/// Reports the longest silence of a tag whose values are not told again: only measurements of single values are.
fn check_silence(tag: &TagPlan<'_>, measured: Option<&EventPlan<'_>>, problems: &mut Problems) {
    let Some(span) = tag.at_least_every else { return };
    let (why, cure) = match measured.map(|event| (event.shape(), event.when_made())) {
        Some((Shape::Every, _)) => return,
        Some((_, Some(key))) => (
            format!("its `MeasurementRecorded` has `{key}`, and tells no single values"),
            format!("remove it, or add a `MeasurementRecorded` without `{key}` and with a `name`"),
        ),
        _ => (
            "no `MeasurementRecorded` has it as trigger".to_owned(),
            "remove it: only measurements are told again without a change".to_owned(),
        ),
    };
    problems
        .error(
            span,
            format!("`at_least_every` of tag `{}` has no effect: {why}", tag.name),
        )
        .hint(cure);
}

/// Reports what an override makes of one instance's tags: `before` says which of them events use in the others, `used`
/// in this one.
pub(crate) fn check_instance(
    change: &Change,
    tags: &[TagPlan<'_>],
    (before, used): (&[bool], &[bool]),
    events: &[Rc<EventPlan<'_>>],
    problems: &mut Problems,
) {
    let measured = measured(tags, events);
    let mut unused = Vec::new();
    for (place, tag) in tags.iter().enumerate() {
        let span = change.tags.get(tag.name).map_or(change.span, |tag| tag.span);
        if tag.left_out {
            check_left_out(place, tags, events, &change.instance, span, problems);
        } else if before[place] && !used[place] {
            unused.push(format!("`{}`", tag.name));
        } else if change.tags.contains_key(tag.name) {
            check_silence(tag, measured[place], problems);
        }
    }
    let [first, ..] = unused.as_slice() else { return };
    let tag = first.trim_matches('`').to_owned();
    problems
        .warning(
            change.span,
            format!(
                "in instance `{}` no event uses what is read there: {}",
                change.instance,
                unused.join(", ")
            ),
        )
        .hint(format!(
            "leave it out as well, `tags: {{{tag}: null}}`, so that it is not read there"
        ));
}

/// Reports what needs a tag that an instance has not.
fn check_left_out(
    place: usize,
    tags: &[TagPlan<'_>],
    events: &[Rc<EventPlan<'_>>],
    instance: &str,
    span: Span,
    problems: &mut Problems,
) {
    let name = tags[place].name;
    if let Some(event) = events.iter().find(|event| event.inputs.contains(&place)) {
        let event = &event.name;
        problems
            .error(
                span,
                format!("tag `{name}` is left out in instance `{instance}`, and event `{event}` uses it"),
            )
            .hint(format!(
                "leave the event out as well: `events: {{{event}: null}}`"
            ));
        return;
    }
    let needs =
        |tag: &&TagPlan<'_>| !tag.left_out && tag.valid.as_ref().is_some_and(|valid| valid.value == name);
    if let Some(tag) = tags.iter().find(needs) {
        let tag = tag.name;
        problems
            .error(
                span,
                format!(
                    "tag `{name}` is left out in instance `{instance}`, and it says whether `{tag}` holds"
                ),
            )
            .hint(format!(
                "take that away there, `tags: {{{tag}: {{valid: null}}}}`, or leave `{tag}` out as well"
            ));
    }
}
