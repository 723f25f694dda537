//! What a rule can never come to: guards that are never true, values that a tag never has. As far as that is decidable
//! before any value is known.

use std::sync::Arc;

use floorgate_core::expression::{Comparison, Expression, Relation};
use floorgate_core::plan::{Field, RuleKind, RuleSpec, Slot, TagSpec};
use floorgate_core::table::{Unmapped, ValueTable};
use floorgate_sample::Value;
use floorgate_yaml::{Node, Problems, Span, closest};

use crate::data::Scope;
use crate::event_form::EventForm;
use crate::states::{has_name, names};

/// Warns of what cannot be in a rule that is right otherwise. Called for one instance: the others have the same tags.
pub(crate) fn check(
    form: &EventForm,
    data: Option<&Node>,
    spec: &RuleSpec,
    scope: &Scope<'_>,
    problems: &mut Problems,
) {
    let event = form.event.value.as_str();
    if let Some(trigger) = &form.trigger {
        check_trigger(event, trigger.span, spec, scope, problems);
    }
    if let (Some(when), Some(written)) = (&spec.when, &form.when) {
        check_guard(event, when, written.span, scope, problems);
    }
    if let Some(data) = data {
        check_fields(&spec.data, data, scope, problems);
    }
}

/// A trigger that has no value which the rule makes anything of.
fn check_trigger(event: &str, span: Span, spec: &RuleSpec, scope: &Scope<'_>, problems: &mut Problems) {
    let Some(tag) = tag_of(scope, Slot(0)) else {
        return;
    };
    let names_nothing =
        |table: &Arc<ValueTable>| table.entries.is_empty() && matches!(table.unmapped, Unmapped::Ignore);
    let reason = match spec.kind {
        RuleKind::Alarm { .. } if tag.bits.as_ref().is_some_and(|bits| bits.is_empty()) => "no bit of tag",
        RuleKind::WorkOrderStatus { .. } | RuleKind::EquipmentState
            if tag.values.as_ref().is_some_and(names_nothing) =>
        {
            "no value of tag"
        }
        _ => return,
    };
    problems
        .warning(
            span,
            format!(
                "event `{event}` is never made: {reason} `{}` has a name",
                tag.name
            ),
        )
        .hint("name those that there are, or remove the event");
}

fn check_guard(event: &str, when: &Expression, span: Span, scope: &Scope<'_>, problems: &mut Problems) {
    if let Some(always) = when.constant() {
        let what = match always {
            Ok(serde_json::Value::Bool(true)) => return,
            Ok(serde_json::Value::Bool(false)) => "is always false".to_owned(),
            Ok(other) => format!("is always {other}, which is neither true nor false"),
            Err(_) => "can never be computed".to_owned(),
        };
        problems
            .warning(span, format!("event `{event}` is never made: its `when` {what}"))
            .hint("remove the event, or write a condition over tags such as `state == 'Execute'`");
        return;
    }
    let is_never = when.decide(|comparison| always(comparison, scope)) == Some(false);
    let role = if is_never {
        format!("event `{event}` is never made: in its `when`,")
    } else {
        "`when`:".to_owned()
    };
    check_comparisons(&role, when, span, scope, problems);
}

/// Fields and the nodes that they were read from have the same names; what the event has by itself has none.
fn check_fields(fields: &[(Arc<str>, Field)], node: &Node, scope: &Scope<'_>, problems: &mut Problems) {
    // Objects may be large; both are in the order of the file, and the node has what the fields have at least.
    let mut written = node.entries();
    for (name, field) in fields {
        let Some(place) = written.iter().position(|(key, ..)| **key == **name) else {
            continue;
        };
        let value = &written[place].2;
        written = &written[place + 1..];
        match field {
            Field::Computed(expression) => {
                check_comparisons(&format!("`{name}`:"), expression, value.span, scope, problems);
            }
            Field::Object(fields) => check_fields(fields, value, scope, problems),
            Field::Input(_) | Field::Previous | Field::Constant(_) => {}
        }
    }
}

/// Reports comparisons with what a tag never is.
fn check_comparisons(
    role: &str,
    expression: &Expression,
    span: Span,
    scope: &Scope<'_>,
    problems: &mut Problems,
) {
    for comparison in expression.comparisons() {
        let Some(tag) = tag_of(scope, comparison.slot) else {
            continue;
        };
        let Some(literal) = &comparison.literal else {
            continue;
        };
        match (&tag.values, literal) {
            (Some(table), Value::Text(name)) if has_name(table, name) => {}
            (Some(table), Value::Text(name)) => {
                let span = within(span, name, problems);
                problems
                    .warning(span, format!("{role} tag `{}` is never {:?}", tag.name, &**name))
                    .hint(suggestion(table, name));
            }
            (Some(table), literal) => {
                problems
                    .warning(
                        span,
                        format!(
                            "{role} tag `{}` is compared with {literal}, and its values have names here",
                            tag.name
                        ),
                    )
                    .hint(match table.find(literal) {
                        Some(entry) => {
                            format!("{literal} is `{}`: compare it with '{}'", entry.name, entry.name)
                        }
                        None => names_of(table),
                    });
            }
            (None, Value::Text(text)) if is_number(tag) => {
                problems
                    .warning(
                        span,
                        format!("{role} tag `{}` is a number, and never {:?}", tag.name, &**text),
                    )
                    .hint("write the number without quotes, or give the tag a table with `values`");
            }
            _ => {}
        }
    }
}

/// What a comparison always is.
fn always(comparison: &Comparison, scope: &Scope<'_>) -> Option<bool> {
    let (tag, literal) = (tag_of(scope, comparison.slot)?, comparison.literal.as_ref()?);
    let is_possible = match (&tag.values, literal) {
        (Some(table), Value::Text(name)) => has_name(table, name),
        (Some(_), _) => false,
        (None, Value::Text(_)) => !is_number(tag),
        (None, _) => true,
    };
    match comparison.relation {
        _ if is_possible => None,
        Relation::Equal => Some(false),
        Relation::NotEqual => Some(true),
        // Values of two kinds have no order: it fails.
        Relation::Order => None,
    }
}

fn tag_of<'s>(scope: &Scope<'s>, slot: Slot) -> Option<&'s TagSpec> {
    let place = *scope.inputs.get(usize::from(slot.0))?;
    scope.tags.get(place)?.spec.as_deref()
}

/// Whether the mapping takes a tag that has no table for a number.
fn is_number(tag: &TagSpec) -> bool {
    tag.values.is_none() && (tag.counter.is_some() || tag.bits.is_some() || tag.deadband.is_some())
}

fn suggestion(table: &ValueTable, name: &str) -> String {
    match closest(name, names(table)) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => names_of(table),
    }
}

fn names_of(table: &ValueTable) -> String {
    let names: Vec<&str> = names(table).collect();
    format!("table `{}` has the names: {}", table.name, names.join(", "))
}

/// The place of a word in a text, where it stands there once and in the first line; else that of the text.
fn within(span: Span, word: &str, problems: &Problems) -> Span {
    let Some(text) = problems.text(span) else {
        return span;
    };
    let mut found = text.match_indices(word);
    let (Some((at, _)), None) = (found.next(), found.next()) else {
        return span;
    };
    let before = &text[..at];
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    if word.is_empty() || before.contains('\n') {
        return span;
    }
    Span {
        column: span.column.saturating_add(number(before.chars().count())),
        offset: span.offset.saturating_add(number(at)),
        len: number(word.len()),
        ..span
    }
}
