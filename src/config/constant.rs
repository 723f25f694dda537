//! Constants for fields of standard events: what consumers of the schema could not take is refused.

use floorgate_yaml::{Node, NodeKind, Problems};
use serde_json::Value as Json;

use crate::vocabulary::{EventType, Field, Form, Origin};

impl Field {
    /// Whether a text is a number where the device sends one: what the gateway makes is text.
    pub(crate) fn may_be_number(&self) -> bool {
        self.origin != Origin::Made
    }
}

/// Reports the constants of `data` that are no values of the standard event's fields.
pub(crate) fn check(event: &EventType, data: &Node, problems: &mut Problems) {
    check_fields(event.name, event.fields, data, problems);
}

fn check_fields(event: &str, fields: &[Field], data: &Node, problems: &mut Problems) {
    for (name, _, node) in data.entries() {
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            continue;
        };
        let constant = match node.entries() {
            [(key, _, value)] if key == "constant" => value,
            [] if !matches!(node.kind, NodeKind::Text(_) | NodeKind::List(_)) => node,
            [] => continue,
            _ if let Form::Object(inner) = field.form => {
                check_fields(event, inner, node, problems);
                continue;
            }
            _ => node,
        };
        let value = Json::from(constant);
        if !takes(field, &value) {
            problems
                .error(constant.span, format!("`{name}` of `{event}` cannot be {value}"))
                .hint(said(field.form));
        }
    }
}

/// Whether a value is one of a field. Text with a parameter may be anything.
fn takes(field: &Field, value: &Json) -> bool {
    if value.is_null() || value.as_str().is_some_and(|text| text.contains('{')) {
        return true;
    }
    match field.form {
        Form::Text | Form::Mostly(_) if !field.may_be_number() => value.is_string(),
        Form::Text | Form::Mostly(_) | Form::Id => value.is_string() || value.is_number(),
        Form::Number => value.is_number(),
        Form::Integer => value.is_i64() || value.is_u64(),
        Form::Milliseconds => value.is_u64(),
        Form::Severity => value
            .as_u64()
            .is_some_and(|severity| (1..=1000).contains(&severity)),
        Form::Truth => value.is_boolean(),
        Form::Anything => true,
        Form::Time => value.is_string(),
        Form::OneOf(names) => value.as_str().is_some_and(|text| names.contains(&text)),
        Form::Object(fields) => value.as_object().is_some_and(|object| fit(fields, object)),
        Form::Texts => value
            .as_array()
            .is_some_and(|items| items.iter().all(|item| item.is_string() || item.is_number())),
        Form::List(fields) => value.as_array().is_some_and(|items| {
            let fits = |item: &Json| item.as_object().is_some_and(|object| fit(fields, object));
            items.iter().all(fits)
        }),
    }
}

fn fit(fields: &[Field], object: &serde_json::Map<String, Json>) -> bool {
    let known = |name: &str| fields.iter().find(|field| field.name == name);
    let mut values = object.iter();
    values.all(|(name, value)| known(name).is_none_or(|field| takes(field, value)))
}

/// What a value of a form is, for people.
pub(crate) fn said(form: Form) -> String {
    let names = |fields: &[Field]| -> String {
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        names.join(", ")
    };
    match form {
        Form::Text | Form::Mostly(_) | Form::Id => "text".to_owned(),
        Form::Number => "a number".to_owned(),
        Form::Integer => "a whole number".to_owned(),
        Form::Milliseconds => "milliseconds, a whole number".to_owned(),
        Form::Severity => "1 (least) to 1000 (most severe)".to_owned(),
        Form::Truth => "true or false".to_owned(),
        Form::Anything => "anything".to_owned(),
        Form::Time => "a time such as 2026-01-31T12:00:00Z".to_owned(),
        Form::OneOf(known) => format!("one of {}", known.join(", ")),
        Form::Object(&[]) => "an object".to_owned(),
        Form::Object(fields) => format!("an object of {}", names(fields)),
        Form::Texts => "a list of texts".to_owned(),
        Form::List(fields) => format!("a list of objects of {}", names(fields)),
    }
}
