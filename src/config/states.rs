//! Names of states: those that a table can give, and what is said of others.

use std::sync::Arc;

use floorgate_core::plan::{Shape, TagSpec};
use floorgate_core::table::{Transitions, Unmapped, ValueTable};
use floorgate_yaml::{Problems, Span, Spanned, closest};

use crate::event_form::{Names, TransitionsForm};

/// Every name that the values of a table can have.
pub(crate) fn names(table: &ValueTable) -> impl Iterator<Item = &str> {
    let other = match &table.unmapped {
        Unmapped::Unknown => Some("unknown"),
        Unmapped::Named(name) => Some(&**name),
        Unmapped::Ignore => None,
    };
    table.entries.iter().map(|entry| &*entry.name).chain(other)
}

pub(crate) fn has_name(table: &ValueTable, name: &str) -> bool {
    names(table).any(|known| known == name)
}

/// Names of states of the trigger, each of which its table must have.
pub(crate) fn of(
    names: &Spanned<Names>,
    trigger: Option<&TagSpec>,
    problems: &mut Problems,
) -> Option<Box<[Arc<str>]>> {
    let table = trigger.and_then(|spec| spec.values.as_deref());
    let states: Vec<(&str, Span)> = match &names.value {
        Names::One(name) => vec![(name, names.span)],
        Names::Several(several) => several.iter().map(|name| (&*name.value, name.span)).collect(),
    };
    let mut right = true;
    for (name, span) in &states {
        right &= is_state(name, *span, table, problems);
    }
    right.then(|| states.iter().map(|(name, _)| (*name).into()).collect())
}

/// Whether a table has a state, which is a problem where it has not. Without a table any text is one.
pub(crate) fn is_state(name: &str, span: Span, table: Option<&ValueTable>, problems: &mut Problems) -> bool {
    let Some(table) = table else { return true };
    if has_name(table, name) {
        return true;
    }
    let problem = problems.error(span, format!("table `{}` has no state `{name}`", table.name));
    match (name, &table.unmapped, closest(name, names(table))) {
        ("unknown", Unmapped::Ignore, _) => {
            problem.hint("what the table lacks makes no event: it has `unmapped: ignore`")
        }
        ("unknown", Unmapped::Named(other), _) => {
            problem.hint(format!("what the table lacks is called `{other}` there"))
        }
        (_, _, Some(similar)) => problem.hint(format!("did you mean `{similar}`?")),
        _ => problem.hint(format!(
            "its states: {}",
            names(table).collect::<Vec<_>>().join(", ")
        )),
    };
    false
}

/// States and those that may follow each, which the trigger's table must have.
pub(crate) fn transitions(
    form: &Spanned<TransitionsForm>,
    trigger: Option<&TagSpec>,
    problems: &mut Problems,
) -> Option<Shape> {
    let table = trigger.and_then(|spec| spec.values.as_deref());
    match &form.value {
        TransitionsForm::Standard(name) => {
            let Some(found) = floorgate_core::table::transitions(name) else {
                problems
                    .error(form.span, format!("there are no transitions `{name}`"))
                    .hint("`packml-state`, or the plant's own: `{Idle: [Starting], …}`");
                return None;
            };
            let fits = table.is_none_or(|table| fit(name, &found, form.span, table, problems));
            fits.then_some(Shape::Transitions(found))
        }
        TransitionsForm::Own(own) => {
            let mut right = true;
            for (from, to) in own {
                right &= is_state(from, from.span, table, problems);
                for name in to {
                    right &= is_state(&name.value, name.span, table, problems);
                }
            }
            let row = |(from, to): &(Spanned<String>, Vec<Spanned<String>>)| {
                (
                    from.value.as_str().into(),
                    to.iter().map(|name| name.value.as_str().into()).collect(),
                )
            };
            right.then(|| Shape::Transitions(own.iter().map(row).collect()))
        }
    }
}

/// Whether the transitions of a standard say anything of a table. Of a state that the standard does not know they say nothing, and
/// where the table lacks all that may follow one of its states, whatever follows would be told as wrong. A machine may lack some
/// of the standard's states.
fn fit(
    standard: &str,
    transitions: &Transitions,
    span: Span,
    table: &ValueTable,
    problems: &mut Problems,
) -> bool {
    let knows = |name: &str| transitions.iter().any(|(from, _)| **from == *name);
    let hint = "write those of this machine: `{Idle: [Starting], …}`";
    if let Some(entry) = table.entries.iter().find(|entry| !knows(&entry.name)) {
        problems
            .error(
                span,
                format!(
                    "`transitions`: `{standard}` has no state `{}`, and table `{}` has",
                    entry.name, table.name
                ),
            )
            .hint(hint);
        return false;
    }
    let is_stuck = |(from, to): &&(Arc<str>, Box<[Arc<str>]>)| {
        has_name(table, from) && !to.iter().any(|name| has_name(table, name))
    };
    if let Some((from, to)) = transitions.iter().find(is_stuck) {
        problems
            .error(
                span,
                format!(
                    "`transitions`: by `{standard}` {} may follow `{from}`, and table `{}` has none of them",
                    to.join(", "),
                    table.name
                ),
            )
            .hint(hint);
        return false;
    }
    true
}
