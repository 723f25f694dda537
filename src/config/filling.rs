//! Tags that fill fields of standard events: what their values are known never to be is refused, as with constants.

use std::sync::Arc;

use floorgate_adapter_api::GivenKind;
use floorgate_core::inspect::ValueKind;
use floorgate_core::plan;
use floorgate_yaml::{Node, Problems, Span};

use crate::constant::said;
use crate::data::Scope;
use crate::fit::{described, named};
use crate::names;
use crate::reach::kind_of;
use crate::vocabulary::{EventType, Field, Form};

/// Reports the tags whose values are none of the fields that they fill; `data` is where the mapping says so, else it is `span`.
pub(crate) fn check(
    event: &EventType,
    fields: &[(Arc<str>, plan::Field)],
    (data, span): (Option<&Node>, Span),
    scope: &Scope<'_>,
    problems: &mut Problems,
) {
    check_fields((event.name, event.fields), fields, (data, span), scope, problems);
}

fn check_fields(
    (event, known): (&str, &[Field]),
    fields: &[(Arc<str>, plan::Field)],
    (data, span): (Option<&Node>, Span),
    scope: &Scope<'_>,
    problems: &mut Problems,
) {
    for (name, filled) in fields {
        let Some(field) = known.iter().find(|field| *field.name == **name) else {
            continue;
        };
        let written = data.and_then(|data| data.get(name));
        let span = written.map_or(span, |node| node.span);
        match (filled, field.form) {
            (plan::Field::Object(inner), Form::Object(known)) => {
                check_fields((event, known), inner, (written, span), scope, problems);
            }
            (plan::Field::Input(slot), _) => {
                if let Some((what, hint)) = never(field, *slot, scope) {
                    problems
                        .error(span, format!("`{name}` of `{event}`: {what}"))
                        .hint(hint);
                }
            }
            (plan::Field::Computed(expression), form) => {
                names::check_computed(field, expression, span, problems);
                let kind = expression.kind(|slot| kind_of(scope, slot));
                if let Some(kind) = kind.filter(|kind| !may_be(field, *kind)) {
                    let is = match kind {
                        ValueKind::Bool => "true or false",
                        ValueKind::Number => "a number",
                        ValueKind::Text => "text",
                    };
                    problems
                        .error(span, format!("`{name}` of `{event}`: the expression gives {is}"))
                        .hint(said(form));
                }
            }
            _ => {}
        }
    }
}

/// Whether a field may be what an expression gives.
fn may_be(field: &Field, kind: ValueKind) -> bool {
    match field.form {
        Form::Anything => true,
        Form::Text | Form::Mostly(_) if !field.may_be_number() => kind == ValueKind::Text,
        Form::Text | Form::Mostly(_) | Form::Id => kind != ValueKind::Bool,
        Form::Number | Form::Integer | Form::Milliseconds | Form::Severity => kind == ValueKind::Number,
        Form::Truth => kind == ValueKind::Bool,
        Form::Time | Form::OneOf(_) => kind == ValueKind::Text,
        Form::Object(_) | Form::Texts | Form::List(_) => false,
    }
}

/// Why a tag is never what a field has to be, where that is known, and what to do about it.
fn never(field: &Field, slot: plan::Slot, scope: &Scope<'_>) -> Option<(String, String)> {
    let plan = scope.tags.get(*scope.inputs.get(usize::from(slot.0))?)?;
    let spec = plan.spec.as_deref()?;
    let (kind, what) = if let Some(table) = &spec.values {
        let what = format!("tag `{}` has the names of table `{}`", plan.name, table.name);
        (GivenKind::Text, what)
    } else {
        let given = plan.shown()?;
        let what = format!("{} {}", named(plan.name, given), described(given.kind));
        (given.kind, what)
    };
    let is_right = match field.form {
        Form::Anything => true,
        Form::Text | Form::Mostly(_) if !field.may_be_number() => kind == GivenKind::Text,
        Form::Text | Form::Mostly(_) | Form::Id => kind != GivenKind::Bit,
        Form::Number => !matches!(kind, GivenKind::Bit | GivenKind::Text),
        Form::Integer | Form::Milliseconds | Form::Severity => {
            matches!(kind, GivenKind::Whole { .. } | GivenKind::Float)
        }
        Form::Truth => kind == GivenKind::Bit,
        Form::Time | Form::OneOf(_) => kind == GivenKind::Text,
        Form::Object(_) | Form::Texts | Form::List(_) => false,
    };
    if is_right {
        return None;
    }
    let said = said(field.form);
    let hint = match (field.form, kind) {
        (Form::Truth, GivenKind::Whole { .. } | GivenKind::Float | GivenKind::Fraction) => {
            format!("{said}, such as `{}: \"= {} != 0\"`", field.name, plan.name)
        }
        (Form::Text | Form::Mostly(_) | Form::Id, _) => {
            format!("{said}, such as `{}: \"= string({})\"`", field.name, plan.name)
        }
        (Form::Texts, _) => format!("{said}, such as `{}: \"= [{}]\"`", field.name, plan.name),
        _ => said,
    };
    Some((what, hint))
}
