//! Standard events that are made from their fields: where each field, the subject, the key and the correlation come from.

use std::sync::Arc;

use floorgate_core::plan::{Field, RuleKind, Slot, Subject};
use floorgate_yaml::{Node, Problems};

use crate::constant;
use crate::data::Scope;
use crate::event_form::EventForm;
use crate::names;
use crate::vocabulary::{EventType, Made, Origin, snake, standard};

/// What identifies the events of a rule beside its equipment.
#[derive(Debug, Default)]
pub(crate) struct Identified {
    pub key: Option<Slot>,
    pub correlation: Option<Slot>,
    subject: Option<Slot>,
}

/// The tags that a standard event's identity comes from.
pub(crate) fn identity(form: &EventForm, data: Option<&Node>, scope: &mut Scope<'_>) -> Identified {
    let Some(event) = standard(&form.event) else {
        return Identified::default();
    };
    let (Made::OfChanges(identity) | Made::OfEdges(identity)) = event.made else {
        return Identified::default();
    };
    let mut first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| tag_of(event, name, form, data, scope))
    };
    let subject = first(identity.subject);
    Identified {
        key: subject.filter(|_| identity.is_key),
        correlation: first(identity.correlation),
        subject,
    }
}

/// Warns of an event whose key is the equipment, since no tag gives what it is about. Where the field is needed and lacks, or names a tag that is
/// not there, that is told.
pub(crate) fn check_key(
    form: &EventForm,
    data: Option<&Node>,
    key: Option<Slot>,
    scope: &Scope<'_>,
    problems: &mut Problems,
) {
    let Some(event) = standard(&form.event) else {
        return;
    };
    let (Made::OfChanges(identity) | Made::OfEdges(identity)) = event.made else {
        return;
    };
    if !identity.is_key || key.is_some() || form.key.is_some() || !scope.whole {
        return;
    }
    let fields = || {
        let names = identity.subject.iter();
        names.filter_map(|name| event.fields.iter().find(|field| field.name == *name))
    };
    let key = "say with `key: TAG` what keeps its events in order";
    let own = fields().find_map(|field| Some((field.name, data?.get(field.name)?)));
    let (span, what, hint) = match own {
        Some((_, node)) if node.as_text().is_some_and(|text| !text.starts_with('=')) => return,
        Some((name, node)) => (
            node.span,
            format!("`{name}` of `{}` is no tag's value", event.name),
            format!("write `{name}: TAG`, or {key}"),
        ),
        None if fields().any(|field| field.required) => return,
        None => {
            let names: Vec<&str> = fields().map(|field| field.name).collect();
            let tags: Vec<String> = names.iter().map(|name| snake(name)).collect();
            (
                form.event.span,
                format!("no tag gives `{}` of `{}`", names.join("` or `"), event.name),
                format!("name a tag `{}`, or {key}", tags.join("` or `")),
            )
        }
    };
    problems
        .warning(
            span,
            format!("{what}, so that the equipment is its subject and key"),
        )
        .hint(hint);
}

/// The tag whose value a field is: what `data` names, else the tag of its name, else the trigger where the field is that.
fn tag_of(
    event: &EventType,
    name: &str,
    form: &EventForm,
    data: Option<&Node>,
    scope: &mut Scope<'_>,
) -> Option<Slot> {
    if let Some(own) = data.and_then(|data| data.get(name)) {
        let place = scope.by_name.get(own.as_text()?).copied()?;
        return Some(scope.slot_of(place));
    }
    let is_trigger = event
        .fields
        .iter()
        .any(|field| field.name == name && field.origin == Origin::Trigger);
    if is_trigger && form.trigger.is_some() {
        return Some(Slot(0));
    }
    let place = scope
        .by_name
        .get(name)
        .or_else(|| scope.by_name.get(snake(name).as_str()));
    let place = place.copied()?;
    Some(scope.slot_of(place))
}

/// The fields that a standard event has by itself. One that is required and comes from nowhere is a problem.
pub(crate) fn fields(
    event: &EventType,
    form: &EventForm,
    data: Option<&Node>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Vec<(Arc<str>, Field)> {
    if let Some(data) = data {
        constant::check(event, data, problems);
        names::check(event, data, problems);
    }
    let of_fields = event.made != Made::Itself;
    let mut found = Vec::new();
    for field in event.fields {
        if data.is_some_and(|data| data.get(field.name).is_some()) {
            continue;
        }
        let value = match field.origin {
            Origin::Made if field.required && of_fields => None,
            Origin::Made => continue,
            Origin::Previous => Some(Field::Previous),
            Origin::Trigger => Some(Field::Input(Slot(0))),
            Origin::Tag => tag_of(event, field.name, form, data, scope).map(Field::Input),
        };
        match value {
            Some(value) => found.push((field.name.into(), value)),
            None if field.required && scope.whole => {
                let problem = problems.error(
                    form.event.span,
                    format!("`{}` lacks the field `{}`", event.name, field.name),
                );
                if field.origin == Origin::Tag {
                    problem.hint(format!(
                        "name a tag `{}`, or say where it comes from: `data: {{{}: …}}`",
                        snake(field.name),
                        field.name
                    ));
                } else {
                    problem.hint(format!(
                        "say where it comes from: `data: {{{}: \"= [{{'itemId': item, 'qty': quantity}}]\"}}`",
                        field.name
                    ));
                }
            }
            None => {}
        }
    }
    found
}

/// The kind of a standard event that is made from its fields.
pub(crate) fn of_fields(
    event: &EventType,
    form: &EventForm,
    data: Option<&Node>,
    scope: &mut Scope<'_>,
) -> Option<RuleKind> {
    let (Made::OfChanges(made) | Made::OfEdges(made)) = event.made else {
        return None;
    };
    let subject = identity(form, data, scope).subject.map(|tag| Subject {
        prefix: made.prefix.into(),
        tag,
        needed: made.is_key,
    });
    Some(RuleKind::Custom {
        event: event.name.into(),
        domain: event.domain.name().into(),
        subject,
    })
}
