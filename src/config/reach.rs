//! What a rule can never come to: guards that are never true, values that a tag never has. As far as that is decidable
//! before any value is known.

use std::sync::Arc;

use floorgate_adapter_api::GivenKind;
use floorgate_core::expression::Expression;
use floorgate_core::inspect::{Comparison, NoCondition, Relation, ValueKind};
use floorgate_core::plan::{Field, RuleKind, RuleSpec, Slot, TagSpec};
use floorgate_core::table::{Unmapped, ValueTable};
use floorgate_sample::Value;
use floorgate_yaml::{Node, Problems, Span, closest};

use crate::data::Scope;
use crate::event_form::EventForm;
use crate::fit::{described, named, range};
use crate::implied::{self, Facts};
use crate::states::{has_name, names};
use crate::tag::TagPlan;

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
        check_guard(event, (spec, when), written.span, scope, problems);
    }
    if let Some(data) = data {
        check_fields(&spec.data, data, scope, problems);
    }
}

/// A trigger that has no value which the rule makes anything of.
fn check_trigger(event: &str, span: Span, spec: &RuleSpec, scope: &Scope<'_>, problems: &mut Problems) {
    let Some((_, tag)) = tag_of(scope, Slot(0)) else {
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

fn check_guard(
    event: &str,
    (spec, when): (&RuleSpec, &Expression),
    span: Span,
    scope: &Scope<'_>,
    problems: &mut Problems,
) {
    let role = format!("`when` of `{event}`");
    if !has_conditions(&role, when, (true, span), scope, problems) {
        return;
    }
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
    if !is_never {
        check_implied(event, (spec, when), span, scope, problems);
    }
}

/// Warns of a guard that contradicts itself, or what its trigger is whenever the event is made.
fn check_implied(
    event: &str,
    (spec, when): (&RuleSpec, &Expression),
    span: Span,
    scope: &Scope<'_>,
    problems: &mut Problems,
) {
    let is_never = |facts: &Facts| when.decide(|asked| implied::decide(facts, asked)) == Some(false);
    let mut facts: Facts = when.conditions().into_iter().map(|one| vec![one]).collect();
    if is_never(&facts) {
        problems
            .warning(
                span,
                format!("event `{event}` is never made: its `when` contradicts itself"),
            )
            .hint("what stands on both sides of `&&` is never true together: correct one of them, or write `||`");
        return;
    }
    let Some((plan, tag)) = tag_of(scope, Slot(0)) else {
        return;
    };
    facts.extend(implied::by_trigger(
        spec,
        tag,
        plan.shown().map(|given| given.kind),
    ));
    if is_never(&facts) {
        problems
            .warning(
                span,
                format!(
                    "event `{event}` is never made: its `when` is not true of what tag `{}` is then",
                    tag.name
                ),
            )
            .hint("the guard is looked at with the value that makes the event: correct one of the two");
    }
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
                has_conditions(
                    &format!("`{name}`"),
                    expression,
                    (false, value.span),
                    scope,
                    problems,
                );
                check_comparisons(&format!("`{name}`:"), expression, value.span, scope, problems);
            }
            Field::Object(fields) => check_fields(fields, value, scope, problems),
            Field::Input(_) | Field::Previous | Field::Constant(_) => {}
        }
    }
}

/// Whether nothing is a number or text where it has to be true or false, which is a problem: no value makes a condition of it. Of a `guard`
/// the whole has to be.
fn has_conditions(
    role: &str,
    expression: &Expression,
    (guard, span): (bool, Span),
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> bool {
    let Some(NoCondition { kind, tag }) = expression.no_condition(guard, |slot| kind_of(scope, slot)) else {
        return true;
    };
    let (is, example) = match kind {
        ValueKind::Number => ("a number", "> 0"),
        ValueKind::Text => ("text", "== 'A'"),
        ValueKind::Bool => return true,
    };
    match tag.and_then(|slot| tag_of(scope, slot)) {
        Some((plan, _)) => {
            let span = within(span, plan.name, problems);
            problems
                .error(
                    span,
                    format!("{role}: tag `{}` is {is}, and no condition", plan.name),
                )
                .hint(format!(
                    "compare it with something, such as `{} {example}`",
                    plan.name
                ));
        }
        None => {
            problems
                .error(span, format!("{role}: {is} stands where a condition has to"))
                .hint(format!("compare it with something, such as `… {example}`"));
        }
    }
    false
}

/// The kind of value that a tag is in expressions, where it is known.
pub(crate) fn kind_of(scope: &Scope<'_>, slot: Slot) -> Option<ValueKind> {
    let (plan, spec) = tag_of(scope, slot)?;
    if spec.values.is_some() {
        return Some(ValueKind::Text);
    }
    match plan.shown().map(|given| given.kind) {
        Some(GivenKind::Bit) => Some(ValueKind::Bool),
        Some(GivenKind::Text) => Some(ValueKind::Text),
        Some(GivenKind::Whole { .. } | GivenKind::Float | GivenKind::Fraction) => Some(ValueKind::Number),
        None => (spec.counter.is_some() || spec.deadband.is_some()).then_some(ValueKind::Number),
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
        let Some((plan, tag)) = tag_of(scope, comparison.slot) else {
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
            (None, literal) => {
                if let Some((what, hint)) = is_never(plan, tag, comparison.relation, literal) {
                    problems.warning(span, format!("{role} {what}")).hint(hint);
                }
            }
        }
    }
}

/// Why a tag without a table is never what it is compared with, where it is not, and what to do about it.
fn is_never(
    plan: &TagPlan<'_>,
    tag: &TagSpec,
    relation: Relation,
    literal: &Value,
) -> Option<(String, String)> {
    let name = &tag.name;
    let shown = match literal {
        Value::Text(text) => format!("{:?}", &**text),
        other => other.to_string(),
    };
    let Some(given) = plan.shown() else {
        let is_text = matches!(literal, Value::Text(_)) && is_number(tag);
        let is_wrong = is_text || matches!(literal, Value::Bool(_)) && tag.counter.is_some();
        return is_wrong.then(|| {
            (
                format!("tag `{name}` is a number, and never {shown}"),
                plain_number(literal, name),
            )
        });
    };
    let hint = match (given.kind, literal) {
        (GivenKind::Bit, Value::Bool(_)) | (GivenKind::Text, Value::Text(_)) => return None,
        (GivenKind::Bit, _) => format!("write `{name}`, or `!{name}` where it is false"),
        (GivenKind::Text, _) => "write it in quotes, or read the tag as a number".to_owned(),
        (_, Value::Text(_) | Value::Bool(_)) => plain_number(literal, name),
        _ => {
            let (least, most) = range(Some(given))?;
            let number = literal.as_f64()?;
            let (below, above) = (number < least as f64, number > most as f64);
            let (sign, is_never) = match relation {
                Relation::Equal | Relation::NotEqual => ("", below || above),
                Relation::Less => ("< ", number <= least as f64),
                Relation::AtMost => ("<= ", below),
                Relation::Greater => ("> ", number >= most as f64),
                Relation::AtLeast => (">= ", above),
            };
            if !is_never {
                return None;
            }
            let what = format!(
                "{} is {least} to {most}, and never {sign}{shown}",
                named(name, given)
            );
            return Some((
                what,
                "read it with the type that it has, or correct the number".to_owned(),
            ));
        }
    };
    let what = match given.kind {
        GivenKind::Float | GivenKind::Fraction => "is a number",
        kind => described(kind),
    };
    Some((format!("{} {what}, and never {shown}", named(name, given)), hint))
}

fn plain_number(literal: &Value, name: &str) -> String {
    match literal {
        Value::Bool(true) => format!("write `{name} != 0`"),
        Value::Bool(false) => format!("write `{name} == 0`"),
        _ => "write the number without quotes, or give the tag a table with `values`".to_owned(),
    }
}

/// What a comparison always is.
fn always(comparison: &Comparison, scope: &Scope<'_>) -> Option<bool> {
    let ((plan, tag), literal) = (tag_of(scope, comparison.slot)?, comparison.literal.as_ref()?);
    let is_possible = match (&tag.values, literal) {
        (Some(table), Value::Text(name)) => has_name(table, name),
        (Some(_), _) => false,
        (None, literal) => is_never(plan, tag, comparison.relation, literal).is_none(),
    };
    match comparison.relation {
        _ if is_possible => None,
        Relation::NotEqual => Some(true),
        // Of values of two kinds, which have no order, it fails.
        _ => Some(false),
    }
}

fn tag_of<'s>(scope: &Scope<'s>, slot: Slot) -> Option<(&'s TagPlan<'s>, &'s TagSpec)> {
    let place = *scope.inputs.get(usize::from(slot.0))?;
    let plan = scope.tags.get(place)?;
    Some((plan, plan.spec.as_deref()?))
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
pub(crate) fn within(span: Span, word: &str, problems: &Problems) -> Span {
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
