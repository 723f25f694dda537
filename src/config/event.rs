//! Events of a mapping: from what is written to rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use floorgate_core::plan::{RuleKind, RuleSpec, Slot, TagSpec};
use floorgate_yaml::{Draft, Node, Problems, Span, Spanned, draft, slip};

use crate::data::Scope;
use crate::form::{CountKind, Domain, EventForm};
use crate::template::Template;

/// An event of a mapping that is right, for all of its instances.
#[derive(Debug)]
pub(crate) struct EventPlan<'n> {
    pub form: EventForm,
    pub data: Option<&'n Node>,
    /// Last part of the rule's id.
    pub name: String,
    pub topic: Topic,
    /// Places of the rule's tags in the mapping, by slot.
    pub inputs: Vec<usize>,
    /// What all instances share; `None` where the instances' constants differ.
    pub shared: Option<Arc<RuleSpec>>,
}

/// How the topic of a rule is found.
#[derive(Debug)]
pub(crate) enum Topic {
    /// As written.
    Template(Template, Span),
    /// `<enterprise>.<site>.` of the equipment and this.
    Standard(String),
}

/// The standard events that are built in, and the entity in the names of their topics.
const BUILT_IN: &[(&str, &str)] = &[
    ("WorkOrderStatusChanged", "work-order"),
    ("EquipmentStateChanged", "equipment-state"),
    ("ProductionCountRecorded", "production-count"),
    ("Alarm", "alarm"),
    ("MeasurementRecorded", "measurement"),
];

/// Standard events that are not built in: their names stay free for them.
const NOT_YET: &[&str] = &[
    "EquipmentModeChanged",
    "ScrapRecorded",
    "CycleCompleted",
    "QualityResultRecorded",
    "EnergyRecorded",
    "RecipeChanged",
    "GoodsReceived",
    "StorageMoved",
    "PutawayCompleted",
    "PickConfirmed",
    "ShipmentDispatched",
    "TransportStateChanged",
];

/// The topic entity of `SourceConnectionChanged`, which the gateway makes of itself.
pub(crate) const SOURCE_CONNECTION: (&str, &str) = ("SourceConnectionChanged", "source-connection");

/// Names of work-order states (OPC 10031-4).
const WORK_ORDER_STATES: &[&str] = &[
    "NotAllowedToStart",
    "AllowedToStart",
    "Running",
    "Interrupted",
    "Ended",
    "Aborted",
];

/// Whether settings may give this event type a topic.
pub(crate) fn is_built_in(event: &str) -> bool {
    event == SOURCE_CONNECTION.0 || BUILT_IN.iter().any(|(name, _)| *name == event)
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
    let Draft { value: form, whole } = draft::<EventForm>(node, problems)?;
    if !whole {
        let mut found = Problems::default();
        let _ = rule_spec(&form, data, scope, version, &mut found);
        problems.adopt_placed(found, Some(form.event.span));
        return None;
    }
    let spec = rule_spec(&form, data, scope, version, problems);
    if let Some(node) = data {
        crate::tag::expect_mapping("data", node, problems);
    }
    let topic = topic_of(&form, overrides, scope.parameters, problems);
    let (spec, topic) = (spec?, topic?);
    if problems.error_count() > before {
        return None;
    }
    let name = match (&form.name, &form.trigger) {
        (Some(name), _) => name.value.clone(),
        (None, Some(trigger)) => format!("{}.{}", form.event.value, trigger.value),
        (None, None) => form.event.value.clone(),
    };
    let shared = (!scope.differs).then(|| Arc::new(spec));
    Some(EventPlan {
        form,
        data,
        name,
        topic,
        inputs: std::mem::take(&mut scope.inputs),
        shared,
    })
}

impl EventPlan<'_> {
    /// The rule's form in the instance of `scope`.
    pub(crate) fn spec(&self, scope: impl FnOnce() -> Option<RuleSpec>) -> Option<Arc<RuleSpec>> {
        match &self.shared {
            Some(shared) => Some(Arc::clone(shared)),
            None => scope().map(Arc::new),
        }
    }
}

/// Reads all parts of a rule, also after the first that is wrong.
pub(crate) fn rule_spec(
    form: &EventForm,
    data: Option<&Node>,
    scope: &mut Scope<'_>,
    version: &Arc<str>,
    problems: &mut Problems,
) -> Option<RuleSpec> {
    let trigger = match &form.trigger {
        Some(trigger) => scope.tag("trigger", trigger, trigger.span, problems),
        None => {
            problems
                .error(
                    form.event.span,
                    format!("event `{}` has no trigger", form.event.value),
                )
                .hint("add `trigger: TAG`, the tag whose change makes the event");
            None
        }
    };
    let spec = trigger
        .and_then(|_| scope.inputs.first())
        .and_then(|tag| scope.tags.get(*tag));
    let spec = spec.and_then(|tag| tag.spec.clone());
    let kind = kind_of(form, trigger, spec.as_deref(), scope, problems);
    only_where_meant(form, problems);
    let when = form
        .when
        .as_ref()
        .map(|when| scope.expression("when", when, when.span, problems));
    let data = data.map(|node| scope.fields(node, problems)).unwrap_or_default();
    if scope.inputs.len() > usize::from(u16::MAX) {
        problems.error(
            form.event.span,
            format!("event `{}` reads more than 65535 tags", form.event.value),
        );
    }
    // A guard that is wrong must not become no guard.
    let when = match when {
        Some(compiled) => Some(compiled?),
        None => None,
    };
    trigger?;
    Some(RuleSpec {
        kind: kind?,
        when,
        data,
        version: Arc::clone(version),
    })
}

/// The rule's kind, and whether the trigger is the kind of tag that it needs.
fn kind_of(
    form: &EventForm,
    trigger: Option<Slot>,
    spec: Option<&TagSpec>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Option<RuleKind> {
    let event = form.event.value.as_str();
    let trigger_name = form.trigger.as_ref().map_or("", |trigger| trigger.value.as_str());
    let span = form
        .trigger
        .as_ref()
        .map_or(form.event.span, |trigger| trigger.span);
    let mut needs = |missing: bool, what: &str, hint: &str| {
        if missing && trigger.is_some() {
            problems
                .error(
                    span,
                    format!("`{event}` needs a trigger with {what}, and tag `{trigger_name}` has none"),
                )
                .hint(format!("add `{hint}` to tag `{trigger_name}`"));
        }
    };
    match event {
        "WorkOrderStatusChanged" => {
            needs(
                spec.is_some_and(|spec| spec.values.is_none()),
                "`values`",
                "values: isa95-job-state",
            );
            if let Some(table) = spec.and_then(|spec| spec.values.as_ref())
                && let Some(wrong) = table
                    .entries
                    .iter()
                    .find(|entry| !WORK_ORDER_STATES.contains(&&*entry.name))
            {
                problems
                    .error(
                        span,
                        format!(
                            "table `{}` names {:?}, which is no work-order status",
                            table.name, &*wrong.name
                        ),
                    )
                    .hint(format!("the names are: {}", WORK_ORDER_STATES.join(", ")));
            }
            let order = match &form.order {
                Some(order) => scope.tag("order", order, order.span, problems),
                None if scope.by_name.contains_key("order") => scope.tag("order", "order", span, problems),
                None => {
                    problems
                        .error(
                            form.event.span,
                            "`WorkOrderStatusChanged` lacks the tag with the work order's id",
                        )
                        .hint("name the tag `order`, or add `order: TAG`");
                    None
                }
            };
            Some(RuleKind::WorkOrderStatus { order: order? })
        }
        "EquipmentStateChanged" => {
            needs(
                spec.is_some_and(|spec| spec.values.is_none()),
                "`values`",
                "values: packml-state",
            );
            if let Some(table) = spec.and_then(|spec| spec.values.as_ref())
                && &*table.model == "isa95"
            {
                problems
                    .error(
                        span,
                        format!(
                            "table `{}` names states of work orders, not of equipment",
                            table.name
                        ),
                    )
                    .hint("use `packml-state`, `machinery-item-state` or a table of the plant's own");
            }
            Some(RuleKind::EquipmentState)
        }
        "ProductionCountRecorded" => {
            needs(
                spec.is_some_and(|spec| spec.counter.is_none()),
                "`counter`",
                "counter: {width: 32}",
            );
            let kind = form
                .kind
                .as_ref()
                .map(|kind| kind.value)
                .or_else(|| CountKind::of(trigger_name));
            if kind.is_none() && trigger.is_some() {
                problems
                    .error(
                        form.event.span,
                        format!("`ProductionCountRecorded` of `{trigger_name}` lacks the key `kind`"),
                    )
                    .hint("add `kind: good`, `kind: total` or `kind: consumed`");
            }
            let unit = spec
                .and_then(|spec| spec.unit.clone())
                .unwrap_or_else(|| "C62".into());
            Some(RuleKind::ProductionCount {
                kind: kind?.name().into(),
                unit,
            })
        }
        "Alarm" => {
            needs(
                spec.is_some_and(|spec| spec.bits.is_none()),
                "`bits`",
                "bits: {0: {code: …, text: …}}",
            );
            Some(RuleKind::Alarm)
        }
        "MeasurementRecorded" => {
            if let Some(spec) = spec
                && (spec.values.is_some() || spec.bits.is_some())
            {
                let what = if spec.values.is_some() {
                    "an enumeration"
                } else {
                    "an alarm word"
                };
                problems
                    .error(span, format!("`{trigger_name}` is {what} and no measurement"))
                    .hint("use `EquipmentStateChanged`, `Alarm` or a type of the plant's own");
            }
            let name = form
                .measurement
                .as_ref()
                .map_or(trigger_name, |name| name.value.as_str());
            Some(RuleKind::Measurement { name: name.into() })
        }
        _ => custom(form, scope, problems),
    }
}

fn custom(form: &EventForm, scope: &mut Scope<'_>, problems: &mut Problems) -> Option<RuleKind> {
    let event = form.event.value.as_str();
    let standard: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    if event == "AlarmRaised" || event == "AlarmCleared" {
        problems
            .error(form.event.span, format!("`{event}` is made by the type `Alarm`"))
            .hint("write `type: Alarm`: it makes both, with one occurrence id");
        return None;
    }
    if NOT_YET.contains(&event) || event == SOURCE_CONNECTION.0 {
        let reason = if event == SOURCE_CONNECTION.0 {
            "made by the gateway itself"
        } else {
            "not built in yet"
        };
        problems
            .error(
                form.event.span,
                format!("`{event}` is a standard event that is {reason}"),
            )
            .hint("its name is kept for it; call an event of the plant's own differently");
        return None;
    }
    if let Some(similar) = slip(event, standard.iter().copied()) {
        problems
            .error(
                form.event.span,
                format!("event type `{event}` is nearly a standard one"),
            )
            .hint(format!("did you mean `{similar}`?"));
        return None;
    }
    if !event.starts_with(|c: char| c.is_ascii_uppercase())
        || !event.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        problems
            .error(
                form.event.span,
                format!("event type {event:?} is not in PascalCase"),
            )
            .hint("a capital, then letters and digits, such as `LabelPrinted`");
        return None;
    }
    let subject = form
        .subject
        .as_ref()
        .map(|tag| scope.tag("subject", tag, tag.span, problems));
    let subject = match subject {
        Some(slot) => Some(slot?),
        None => None,
    };
    let domain = form.domain.as_ref().map_or(Domain::Mes, |domain| domain.value);
    Some(RuleKind::Custom {
        event: event.into(),
        domain: domain.name().into(),
        subject,
    })
}

/// Keys that other types of events have.
fn only_where_meant(form: &EventForm, problems: &mut Problems) {
    let event = form.event.value.as_str();
    let own = !BUILT_IN.iter().any(|(name, _)| *name == event);
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
    let domain = form
        .domain
        .as_ref()
        .map_or(Domain::Mes, |domain| domain.value)
        .name();
    let entity = BUILT_IN
        .iter()
        .find(|(name, _)| *name == event)
        .map(|(_, entity)| (*entity).to_owned());
    Some(Topic::Standard(format!(
        "{domain}.{}.v1",
        entity.unwrap_or_else(|| kebab(event))
    )))
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
