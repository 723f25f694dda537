//! Names in the data of standard events: a field that is misspelt is told as one of the plant's own, and its consumers miss it.

use floorgate_core::expression::Expression;
use floorgate_yaml::{Node, NodeKind, Problems, Span, closest, spelt};

use crate::reach::within;
use crate::vocabulary::{EventType, Field, Form};

/// Warns of names in `data` that are nearly those of the standard event's fields, and of those that its objects do not have.
pub(crate) fn check(event: &EventType, data: &Node, problems: &mut Problems) {
    for (name, span, node) in data.entries() {
        if let Some(field) = event.fields.iter().find(|field| field.name == name) {
            check_value(field, node, problems);
            continue;
        }
        // Where both are there the plant means both.
        let fields = event.fields.iter().map(|field| field.name);
        let missing = fields.filter(|field| data.get(field).is_none());
        if let Some(similar) = spelt(name, missing) {
            problems
                .warning(*span, format!("`{name}` is no field of `{}`", event.name))
                .hint(format!("did you mean `{similar}`?"));
        }
    }
}

fn check_value(field: &Field, node: &Node, problems: &mut Problems) {
    let value = match node.entries() {
        [(key, _, value)] if key == "constant" => value,
        _ => node,
    };
    match (field.form, &value.kind) {
        (Form::Object(fields @ [_, ..]), NodeKind::Map(_)) => {
            check_object(field.name, fields, value, problems);
        }
        (Form::List(fields), NodeKind::List(items)) => {
            for item in items {
                check_object(field.name, fields, item, problems);
            }
        }
        _ => {}
    }
}

fn check_object(object: &str, fields: &[Field], node: &Node, problems: &mut Problems) {
    for (name, span, _) in node.entries() {
        check_name(object, fields, name, *span, problems);
    }
}

/// Warns of names in the objects that an expression gives, as of those in written ones.
pub(crate) fn check_computed(field: &Field, expression: &Expression, span: Span, problems: &mut Problems) {
    let (fields, in_list) = match field.form {
        Form::Object(fields @ [_, ..]) => (fields, false),
        Form::List(fields) => (fields, true),
        _ => return,
    };
    for name in expression.object_keys(in_list) {
        let place = within(span, &format!("'{name}'"), problems);
        check_name(field.name, fields, name, place, problems);
    }
}

fn check_name(object: &str, fields: &[Field], name: &str, span: Span, problems: &mut Problems) {
    let known = || fields.iter().map(|field| field.name);
    if known().any(|field| field == name) {
        return;
    }
    let problem = problems.warning(span, format!("`{object}` has no field `{name}` in the standard"));
    match closest(name, known()) {
        Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
        None => problem.hint(format!(
            "its fields are: {}",
            known().collect::<Vec<_>>().join(", ")
        )),
    };
}
