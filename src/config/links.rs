//! What the tags and events of a mapping need of each other.

use std::collections::HashSet;

use floorgate_yaml::{Problems, Span, closest};

use crate::event::EventPlan;
use crate::tag::TagPlan;

/// Marks the tags that others need, and reports names that are none.
pub(crate) fn mark_used(tags: &[TagPlan<'_>], used: &mut [bool], problems: &mut Problems) {
    for (place, tag) in tags.iter().enumerate() {
        used[place] |= tag.is_heartbeat;
        let Some(valid) = &tag.valid else { continue };
        match tags.iter().position(|other| other.name == valid.value) {
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
            None => {
                let problem = problems.error(
                    valid.span,
                    format!(
                        "`valid` of tag `{}`: there is no tag `{}` in this mapping",
                        tag.name, valid.value
                    ),
                );
                match closest(&valid.value, tags.iter().map(|other| other.name)) {
                    Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
                    None => problem.hint("name the tag whose value says whether this one holds"),
                };
            }
        }
    }
}

/// Marks the tags that only snapshots need: they are read when a rule asks for them, and not watched.
pub(crate) fn mark_on_demand(tags: &mut [TagPlan<'_>], events: &[EventPlan<'_>], used: &[bool]) {
    for place in 0..tags.len() {
        let watched = events.iter().any(|event| {
            let reads = event.form.snapshot.iter().flat_map(|read| &read.value);
            let is_read = reads.into_iter().any(|tag| tag.value == tags[place].name);
            let compared = event
                .form
                .unchanged
                .iter()
                .any(|tag| tag.value == tags[place].name);
            let numbers = event
                .form
                .sequence
                .iter()
                .any(|tag| tag.value == tags[place].name);
            event.inputs.contains(&place)
                && (!is_read || compared || numbers || event.inputs.first() == Some(&place))
        });
        let named = tags.iter().any(|tag| {
            let names = tag.valid.iter().chain(&tag.reset);
            names.into_iter().any(|name| name.value == tags[place].name)
        });
        tags[place].on_demand = used[place] && !watched && !named && !tags[place].is_heartbeat;
    }
}

/// Runs need the one event that opens them.
pub(crate) fn check_run(run: Option<Span>, events: &[EventPlan<'_>], problems: &mut Problems) {
    let Some(span) = run else { return };
    let opening = events
        .iter()
        .filter(|event| event.form.event.value == "WorkOrderStatusChanged");
    let count = opening.count();
    if count != 1 {
        problems
            .error(
                span,
                format!("`run` needs one `WorkOrderStatusChanged` in this mapping, and there are {count}"),
            )
            .hint("the status of the work order says when a run begins and ends");
    }
}

/// Reports tags that no event uses, and longest silences that no event ends. `used` says which tags events use.
pub(crate) fn check_use(
    tags: &[TagPlan<'_>],
    used: &[bool],
    events: &[EventPlan<'_>],
    problems: &mut Problems,
) {
    let told_again: HashSet<usize> = events
        .iter()
        .filter(|event| event.form.event.value == "MeasurementRecorded")
        .filter_map(|event| event.inputs.first().copied())
        .collect();
    for (place, (tag, used)) in tags.iter().zip(used).enumerate() {
        if !used {
            problems
                .warning(
                    tag.span,
                    format!("tag `{}` is read and no event uses it", tag.name),
                )
                .hint("remove it, or add an event with it as trigger or in its data");
        } else if let Some(span) = tag.at_least_every
            && !told_again.contains(&place)
        {
            problems
                .error(
                    span,
                    format!(
                        "`at_least_every` of tag `{}` has no effect: no `MeasurementRecorded` has it as trigger",
                        tag.name
                    ),
                )
                .hint("remove it: only measurements are told again without a change");
        }
    }
}
