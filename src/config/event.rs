//! Events of a mapping: from what is written to rules.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use floorgate_core::expression::Expression;
use floorgate_core::plan::{RuleKind, RuleSpec, Shape, Slot};
use floorgate_yaml::{Draft, Node, NodeKind, Problems, Span, Spanned, draft};

use crate::condition;
use crate::data::{Scope, refill};
use crate::event_form::{Domain, EventForm};
use crate::filling;
use crate::kind;
use crate::literal;
use crate::reach;
use crate::restart;
use crate::shape;
use crate::snapshot;
use crate::standard as standard_event;
use crate::tag::TagPlan;
use crate::template::Template;
use crate::vocabulary::standard;

/// An event of a mapping that is right, for all of its instances.
#[derive(Debug)]
pub(crate) struct EventPlan<'n> {
    /// What it was read from.
    pub node: &'n Node,
    /// Its type.
    pub event: Spanned<String>,
    pub data: Option<&'n Node>,
    /// Last part of the rule's id.
    pub name: String,
    pub topic: Topic,
    /// Places of the rule's tags in the mapping, by slot.
    pub inputs: Vec<usize>,
    /// The rule's form in the first instance.
    spec: Arc<RuleSpec>,
    /// Whether the constants in its data are others in other instances.
    differs: bool,
}

/// How the topic of a rule is found.
#[derive(Debug)]
pub(crate) enum Topic {
    /// As written.
    Template(Template, Span),
    /// `<enterprise>.<site>.` of the equipment and this.
    Standard(String),
}

/// The topic entity of `SourceConnectionChanged`, which the gateway makes of itself.
pub(crate) const SOURCE_CONNECTION: (&str, &str) = ("SourceConnectionChanged", "source-connection");

/// Whether settings may give this event type a topic.
pub(crate) fn is_built_in(event: &str) -> bool {
    event == SOURCE_CONNECTION.0 || standard(event).is_some()
}

/// Reads one event. `None` where it is wrong.
pub(crate) fn read<'n>(
    node: &'n Node,
    overrides: &BTreeMap<String, Spanned<String>>,
    scope: &mut Scope<'_>,
    version: &Arc<str>,
    problems: &mut Problems,
) -> Option<EventPlan<'n>> {
    let data = node.get("data");
    let before = problems.error_count();
    not_yet(
        node,
        &["acknowledge", "handshake"],
        "writes to the floor",
        problems,
    );
    literal::check_event(node, scope.parameters, problems);
    let checked = problems.list().len();
    let Draft { value: form, whole } = draft::<EventForm>(node, problems)?;
    // A slip for `trigger` is told as one, and not as the lack of it.
    let lacks_trigger = form.trigger.is_none() && problems.are_silent_on("trigger", node, checked);
    if !whole {
        let mut found = Problems::default();
        let _ = rule_spec(&form, data, scope, version, &mut found);
        problems.adopt_placed(found, Some(form.event.span));
        return None;
    }
    if lacks_trigger {
        problems
            .error(
                form.event.span,
                format!("event `{}` has no trigger", form.event.value),
            )
            .hint("add `trigger: TAG`, the tag whose change makes the event");
    }
    let spec = rule_spec(&form, data, scope, version, problems);
    if let Some(node) = data {
        crate::check::expect_mapping("data", node, problems);
    }
    let topic = topic_of(&form, overrides, scope.parameters, problems);
    let (spec, topic) = (spec?, topic?);
    if problems.error_count() > before {
        return None;
    }
    reach::check(&form, data, &spec, scope, problems);
    let name = match &form.name {
        Some(name) => name.value.clone(),
        None => rule_name(
            &form.event,
            form.trigger.as_ref().map(|trigger| trigger.value.as_str()),
        ),
    };
    Some(EventPlan {
        node,
        event: form.event,
        data,
        name,
        topic,
        inputs: std::mem::take(&mut scope.inputs),
        spec: Arc::new(spec),
        differs: scope.differs,
    })
}

/// The last part of a rule's id, where the event has no `name`.
pub(crate) fn rule_name(event: &str, trigger: Option<&str>) -> String {
    match trigger {
        Some(trigger) => format!("{event}.{trigger}"),
        None => event.to_owned(),
    }
}

/// Keys that are kept for what is not there yet.
pub(crate) fn not_yet(node: &Node, keys: &[&str], what: &str, problems: &mut Problems) {
    for (key, span, _) in node.entries() {
        if keys.contains(&key.as_str()) {
            problems
                .error(*span, format!("`{key}` is not there yet"))
                .hint(format!("{what} is a later step; remove it until then"));
        }
    }
}

impl EventPlan<'_> {
    /// Where the first of these keys stands that it has, else its type.
    pub(crate) fn span_of(&self, keys: &[&str]) -> Span {
        let node = keys.iter().find_map(|key| self.node.get(key));
        node.map_or(self.event.span, |node| node.span)
    }

    /// Marks the tags that are read for it, by slot: what is also compared or numbers the events is watched for that.
    pub(crate) fn only_read(&self) -> Vec<bool> {
        let mut read = vec![false; self.inputs.len()];
        let slots = self.spec.snapshot.iter().flat_map(|snapshot| &snapshot.tags);
        let unchanged = self
            .spec
            .snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.unchanged);
        for slot in slots {
            read[usize::from(slot.0)] = Some(*slot) != unchanged && Some(*slot) != self.spec.sequence;
        }
        read
    }

    /// The key that says when it is made, where one does.
    pub(crate) fn when_made(&self) -> Option<&'static str> {
        crate::combination::WHEN_MADE
            .into_iter()
            .find(|key| self.node.get(key).is_some())
    }

    /// Whether nothing but its equipment tells its events in two instances apart, by what it is about.
    pub(crate) fn is_of_equipment(&self) -> bool {
        let tells_itself = matches!(
            self.spec.kind,
            RuleKind::Alarm { .. } | RuleKind::Conditions | RuleKind::Custom { .. }
        );
        !tells_itself && !self.differs
    }

    /// Of a standard event that tells what its equipment does, the tags that say so: where machines share all of them, they are told to do
    /// the same. Data beside them makes no difference, but of a cycle, which one signal may end on several machines.
    pub(crate) fn tells_of_equipment(&self) -> Option<Vec<usize>> {
        let slots: Vec<Slot> = match &*self.event.value {
            "CycleCompleted" => return Some(self.inputs.clone()),
            "EquipmentStateChanged"
            | "EquipmentModeChanged"
            | "WorkOrderStatusChanged"
            | "ProductionCountRecorded"
            | "ScrapRecorded"
            | "EnergyRecorded"
            | "Alarm" => {
                let guard = self.spec.when.iter().flat_map(Expression::slots);
                std::iter::once(Slot(0)).chain(guard).collect()
            }
            _ => return None,
        };
        let place = |slot: Slot| self.inputs.get(usize::from(slot.0)).copied();
        Some(slots.into_iter().filter_map(place).collect())
    }

    /// The place of the tag with the work order, of an event that tells its status.
    pub(crate) fn order(&self) -> Option<usize> {
        match self.spec.kind {
            RuleKind::WorkOrderStatus { order, .. } => self.inputs.get(usize::from(order.0)).copied(),
            _ => None,
        }
    }

    /// When it is made, in all instances.
    pub(crate) fn shape(&self) -> &Shape {
        &self.spec.shape
    }

    /// The rule's form in the instance with these parameters: the shared one, unless its constants are its own.
    pub(crate) fn spec(&self, parameters: &[String], values: &[NodeKind]) -> Arc<RuleSpec> {
        match self.data {
            Some(data) if self.differs => Arc::new(RuleSpec {
                data: refill(&self.spec.data, data, parameters, values),
                ..(*self.spec).clone()
            }),
            _ => Arc::clone(&self.spec),
        }
    }
}

/// Reads all parts of a rule, also after the first that is wrong.
fn rule_spec(
    form: &EventForm,
    data: Option<&Node>,
    scope: &mut Scope<'_>,
    version: &Arc<str>,
    problems: &mut Problems,
) -> Option<RuleSpec> {
    let trigger = form
        .trigger
        .as_ref()
        .and_then(|trigger| scope.tag("trigger", trigger, trigger.span, problems));
    let tag = trigger
        .and_then(|_| scope.inputs.first())
        .and_then(|tag| scope.tags.get(*tag));
    let (spec, given) = (tag.and_then(|tag| tag.spec.clone()), tag.and_then(TagPlan::shown));
    let shape = shape::of(form, spec.as_deref(), scope, problems);
    if let (Some(shape), Some(spec)) = (&shape, &spec) {
        let stated = tag.and_then(|tag| tag.range);
        condition::check(form, shape, (spec, given), stated, problems);
    }
    let kind = kind::of(form, (trigger.is_some(), spec.as_deref()), data, scope, problems);
    let reset = match &kind {
        Some(RuleKind::ProductionCount { reset, .. }) => *reset,
        _ => None,
    };
    if trigger.is_some() {
        restart::check(form, shape.as_ref(), reset, scope, problems);
    }
    only_where_meant(form, problems);
    let when = form
        .when
        .as_ref()
        .map(|when| scope.expression("when", when, when.span, problems));
    let mut fields = match standard(&form.event) {
        Some(event) => standard_event::fields(event, form, data, scope, problems),
        None => Vec::new(),
    };
    fields.extend(data.map(|node| scope.data(node, problems)).unwrap_or_default());
    if let Some(event) = standard(&form.event) {
        filling::check(event, &fields, (data, form.event.span), scope, problems);
    }
    let sequence = shape::sequence(form, scope, problems);
    let correlation = shape::slot("correlation", form.correlation.as_ref(), scope, problems);
    let key = shape::slot("key", form.key.as_ref(), scope, problems);
    let snapshot = snapshot::of(form, shape.as_ref(), scope, problems);
    let identity = standard_event::identity(form, data, scope);
    standard_event::check_key(form, data, identity.key, scope, problems);
    if scope.inputs.len() > usize::from(u16::MAX) {
        problems
            .error(
                form.event.span,
                format!("event `{}` reads more than 65535 tags", form.event.value),
            )
            .hint("make several events of it");
    }
    // A guard that is wrong must not become no guard.
    let when = match when {
        Some(compiled) => Some(compiled?),
        None => None,
    };
    trigger?;
    Some(RuleSpec {
        priority: form.priority(),
        kind: kind?,
        shape: shape?,
        when,
        sequence: sequence.ok()?,
        correlation: correlation.ok()?.or(identity.correlation),
        key: key.ok()?.or(identity.key),
        snapshot: snapshot.ok()?,
        data: fields,
        version: Arc::clone(version),
    })
}

/// Keys that other types of events have.
fn only_where_meant(form: &EventForm, problems: &mut Problems) {
    let event = form.event.value.as_str();
    let own = standard(event).is_none();
    let given = [
        (
            "order",
            form.order.as_ref().map(|key| key.span),
            event == "WorkOrderStatusChanged",
            "WorkOrderStatusChanged",
        ),
        (
            "kind",
            form.kind.as_ref().map(|key| key.span),
            event == "ProductionCountRecorded",
            "ProductionCountRecorded",
        ),
        (
            "medium",
            form.medium.as_ref().map(|key| key.span),
            event == "EnergyRecorded",
            "EnergyRecorded",
        ),
        (
            "alarm",
            form.alarm.as_ref().map(|key| key.span),
            event == "Alarm",
            "Alarm",
        ),
        (
            "measurement",
            form.measurement.as_ref().map(|key| key.span),
            event == "MeasurementRecorded",
            "MeasurementRecorded",
        ),
        (
            "domain",
            form.domain.as_ref().map(|key| key.span),
            own,
            "types of the plant's own",
        ),
        (
            "subject",
            form.subject.as_ref().map(|key| key.span),
            own,
            "types of the plant's own",
        ),
        (
            "priority",
            form.priority.as_ref().map(|key| key.span),
            !matches!(event, "WorkOrderStatusChanged" | "Alarm"),
            "the other types: work orders and alarms are never left out",
        ),
    ];
    for (key, span, meant, of) in given {
        if span.is_some() && !meant {
            problems
                .error(span, format!("`{key}` has no meaning for `{event}`"))
                .hint(format!("remove it; it belongs to {of}"));
        }
    }
}

fn topic_of(
    form: &EventForm,
    overrides: &BTreeMap<String, Spanned<String>>,
    parameters: &[String],
    problems: &mut Problems,
) -> Option<Topic> {
    let event = form.event.value.as_str();
    if let Some(topic) = &form.topic {
        return Template::parse(topic, topic.span, parameters, problems)
            .map(|template| Topic::Template(template, topic.span));
    }
    if let Some(topic) = overrides.get(event) {
        return Template::parse(topic, topic.span, &[], problems)
            .map(|template| Topic::Template(template, topic.span));
    }
    let standard = standard(event);
    let domain = match (standard, &form.domain) {
        (Some(event), _) => event.domain,
        (None, Some(domain)) => domain.value,
        (None, None) => Domain::Mes,
    };
    let entity = standard.map_or_else(|| kebab(event).into(), |event| Cow::Borrowed(event.entity));
    Some(Topic::Standard(format!("{}.{entity}.v1", domain.name())))
}

/// `LabelPrinted` as `label-printed`.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    let mut small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && small {
            text.push('-');
        }
        small = c.is_ascii_lowercase() || c.is_ascii_digit();
        text.push(c.to_ascii_lowercase());
    }
    text
}
