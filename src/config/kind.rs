//! The kind of a rule, and whether its trigger is the kind of tag that the event needs.

use floorgate_core::plan::{CountEvent, RuleKind, Subject, TagSpec};
use floorgate_core::table::{Unmapped, ValueTable};
use floorgate_yaml::{Node, Problems, Span, closest, slip};

use crate::alarm;
use crate::data::Scope;
use crate::event::SOURCE_CONNECTION;
use crate::event_form::{CountKind, Domain, EventForm};
use crate::inner::JOB_STATES;
use crate::standard;
use crate::vocabulary::{self, STANDARD};

/// The trigger of a rule, as far as it is known.
struct Trigger<'s> {
    name: &'s str,
    span: Span,
    /// Whether it is a tag at all; what it lacks is only reported then.
    known: bool,
    spec: Option<&'s TagSpec>,
}

impl Trigger<'_> {
    /// Reports that the trigger lacks what the event needs.
    fn needs(
        &self,
        event: &str,
        has: impl Fn(&TagSpec) -> bool,
        what: &str,
        example: &str,
        problems: &mut Problems,
    ) {
        if self.known && self.spec.is_some_and(|spec| !has(spec)) {
            problems
                .error(
                    self.span,
                    format!(
                        "`{event}` needs a trigger with `{what}`, and tag `{}` has none",
                        self.name
                    ),
                )
                .hint(format!("add `{example}` to tag `{}`", self.name));
        }
    }

    /// Reports a heartbeat where a state is needed: while the state stays, its source would be taken for stale.
    fn is_no_heartbeat(&self, event: &str, problems: &mut Problems) {
        if self.spec.is_some_and(|spec| spec.heartbeat.is_some()) {
            problems
                .error(
                    self.span,
                    format!("`{event}`: tag `{}` is a heartbeat, and no state", self.name),
                )
                .hint("a state that stays would make its source stale: give the heartbeat a tag of its own");
        }
    }
}

/// The rule's kind. `known` says whether the trigger is a tag, `spec` what it means where that is right.
pub(crate) fn of(
    form: &EventForm,
    (known, spec): (bool, Option<&TagSpec>),
    data: Option<&Node>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Option<RuleKind> {
    let trigger = Trigger {
        name: form.trigger.as_ref().map_or("", |trigger| trigger.value.as_str()),
        span: form
            .trigger
            .as_ref()
            .map_or(form.event.span, |trigger| trigger.span),
        known,
        spec,
    };
    let event = form.event.value.as_str();
    match event {
        "WorkOrderStatusChanged" => work_order(form, &trigger, scope, problems),
        "EquipmentStateChanged" => {
            equipment_state(&trigger, problems);
            Some(RuleKind::EquipmentState)
        }
        "ProductionCountRecorded" | "ScrapRecorded" | "EnergyRecorded" => {
            count(form, &trigger, scope, problems)
        }
        "Alarm" => alarm::of(form, (trigger.name, trigger.span), spec, problems),
        "MeasurementRecorded" => Some(measurement(form, &trigger, problems)),
        _ => match vocabulary::standard(event) {
            Some(standard) => {
                // Another tag may say the mode.
                if event == "EquipmentModeChanged" && data.is_none_or(|data| data.get("mode").is_none()) {
                    fits(&trigger, MODES, "modes", problems);
                }
                standard::of_fields(standard, form, data, scope)
            }
            None => custom(form, scope, problems),
        },
    }
}

fn work_order(
    form: &EventForm,
    trigger: &Trigger<'_>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Option<RuleKind> {
    let event = "WorkOrderStatusChanged";
    trigger.needs(
        event,
        |spec| spec.values.is_some(),
        "values",
        "values: isa95-job-state",
        problems,
    );
    trigger.is_no_heartbeat(event, problems);
    if let Some(table) = trigger.spec.and_then(|spec| spec.values.as_ref())
        && let Some(wrong) = table
            .entries
            .iter()
            .find(|entry| !JOB_STATES.contains(&&*entry.name))
    {
        problems
            .error(
                trigger.span,
                format!(
                    "table `{}` names {:?}, which is no work-order status",
                    table.name, &*wrong.name
                ),
            )
            .hint(format!("the names are: {}", JOB_STATES.join(", ")));
    }
    if let Some(table) = trigger.spec.and_then(|spec| spec.values.as_ref())
        && let Unmapped::Named(name) = &table.unmapped
        && !JOB_STATES.contains(&&**name)
    {
        problems
            .error(
                trigger.span,
                format!(
                    "table `{}` calls what it lacks {:?}, which is no work-order status",
                    table.name, &**name
                ),
            )
            .hint(format!(
                "`unmapped` is `unknown`, `ignore` or one of: {}",
                JOB_STATES.join(", ")
            ));
    }
    if let Some(table) = trigger.spec.and_then(|spec| spec.values.as_ref())
        && !table.entries.is_empty()
        && table
            .entries
            .iter()
            .all(|entry| &*entry.name != "Running" && JOB_STATES.contains(&&*entry.name))
    {
        let text = format!(
            "no run ever begins: no value of tag `{}` is `Running`",
            trigger.name
        );
        let hint = format!("name the value of table `{}` that says so `Running`", table.name);
        match scope.run {
            Some(_) => problems.error(trigger.span, text).hint(hint),
            None => problems.warning(trigger.span, text).hint(hint),
        };
    }
    let order = if let Some(order) = &form.order {
        scope.tag("order", order, order.span, problems)
    } else if scope.by_name.contains_key("order") {
        scope.tag("order", "order", form.event.span, problems)
    } else {
        if scope.whole {
            problems
                .error(
                    form.event.span,
                    format!("`{event}` lacks the tag with the work order's id"),
                )
                .hint("name the tag `order`, or add `order: TAG`");
        }
        None
    };
    let mut latch = Vec::new();
    let run = scope.run;
    for (field, tag) in run.iter().flat_map(|run| &run.latch) {
        let slot = scope.tag("latch", tag, tag.span, problems);
        latch.extend(slot.map(|slot| (field.as_str().into(), slot)));
    }
    Some(RuleKind::WorkOrderStatus { order: order?, latch })
}

fn equipment_state(trigger: &Trigger<'_>, problems: &mut Problems) {
    let example = "values: packml-state";
    trigger.needs(
        "EquipmentStateChanged",
        |spec| spec.values.is_some(),
        "values",
        example,
        problems,
    );
    trigger.is_no_heartbeat("EquipmentStateChanged", problems);
    fits(trigger, STATES, "states", problems);
}

/// The tables of the standards that name states of equipment, and those that name its modes.
const STATES: &[&str] = &[
    "packml-state",
    "machinery-item-state",
    "mtconnect-execution",
    "weihenstephan-state",
];
const MODES: &[&str] = &[
    "packml-mode",
    "machinery-operation-mode",
    "weihenstephan-program",
    "weihenstephan-mode",
];

/// Reports a table of the standards that names something else than these do. The plant's own may name anything, but states of work orders.
fn fits(trigger: &Trigger<'_>, tables: &[&str], what: &str, problems: &mut Problems) {
    let Some(table) = trigger.spec.and_then(|spec| spec.values.as_ref()) else {
        return;
    };
    let name = &*table.name;
    if &*table.model != "isa95" && (!ValueTable::STANDARD.contains(&name) || tables.contains(&name)) {
        return;
    }
    let names = match name {
        _ if &*table.model == "isa95" => "states of work orders",
        _ if STATES.contains(&name) => "states of equipment",
        _ if MODES.contains(&name) => "modes of equipment",
        "result-evaluation" => "results",
        _ => "states of transports",
    };
    problems
        .error(
            trigger.span,
            format!("table `{name}` names {names}, not {what} of equipment"),
        )
        .hint(format!(
            "use `{}` or a table of the plant's own",
            tables.join("`, `")
        ));
}

const ELECTRICITY: &str = "electricity";
/// Media that have names, whatever the plant calls others.
const MEDIA: &[&str] = &[ELECTRICITY, "gas", "water", "steam", "compressed-air"];

/// Reports a medium that is probably another one, and one of which nobody knows in what it is measured.
fn check_medium(form: &EventForm, trigger: &Trigger<'_>, problems: &mut Problems) {
    let Some(medium) = &form.medium else { return };
    let named = medium.value.as_str();
    if named.contains('{') {
        // It is told that there are no parameters here.
        return;
    }
    if !MEDIA.contains(&named)
        && let Some(similar) = closest(named, MEDIA.iter().copied())
    {
        problems
            .warning(medium.span, format!("medium `{named}` is none that has a name"))
            .hint(format!(
                "did you mean `{similar}`? Words of the plant's own are taken as they are"
            ));
    }
    if named != ELECTRICITY && trigger.spec.is_some_and(|spec| spec.unit.is_none()) {
        problems
            .error(
                medium.span,
                format!(
                    "tag `{}` has no `unit`, and of `{named}` there is no usual one",
                    trigger.name
                ),
            )
            .hint("add the unit to the tag, such as `unit: MTQ` (m³), `KGM` (kg) or `KWH`");
    }
}

fn count(
    form: &EventForm,
    trigger: &Trigger<'_>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Option<RuleKind> {
    let event = form.event.value.as_str();
    trigger.needs(
        event,
        |spec| spec.counter.is_some(),
        "counter",
        "counter: {width: 32}",
        problems,
    );
    let reset = scope.reset_of(trigger.name);
    let counted = match event {
        "ScrapRecorded" => Some(CountEvent::Scrap),
        "EnergyRecorded" => {
            check_medium(form, trigger, problems);
            let medium = form.medium.as_ref();
            let medium = medium.map_or(ELECTRICITY, |medium| medium.value.as_str());
            Some(CountEvent::Energy(medium.into()))
        }
        _ => {
            let kind = form.kind.as_ref().map(|kind| kind.value);
            let kind = kind.or_else(|| CountKind::of(trigger.name));
            if kind.is_none() && trigger.known {
                problems
                    .error(
                        form.event.span,
                        format!("`{event}` of `{}` lacks the key `kind`", trigger.name),
                    )
                    .hint("add `kind: good`, `kind: total` or `kind: consumed`");
            }
            kind.map(|kind| CountEvent::Production(kind.name().into()))
        }
    };
    let usual = if event == "EnergyRecorded" { "KWH" } else { "C62" };
    let unit = trigger.spec.and_then(|spec| spec.unit.clone());
    Some(RuleKind::ProductionCount {
        event: counted?,
        unit: unit.unwrap_or_else(|| usual.into()),
        reset: reset.ok()?,
    })
}

fn measurement(form: &EventForm, trigger: &Trigger<'_>, problems: &mut Problems) -> RuleKind {
    if let Some(spec) = trigger.spec
        && (spec.values.is_some() || spec.bits.is_some())
    {
        let what = if spec.values.is_some() {
            "an enumeration"
        } else {
            "an alarm word"
        };
        problems
            .error(
                trigger.span,
                format!("`{}` is {what} and no measurement", trigger.name),
            )
            .hint("use `EquipmentStateChanged`, `Alarm` or a type of the plant's own");
    }
    let name = form
        .measurement
        .as_ref()
        .map_or(trigger.name, |name| name.value.as_str());
    RuleKind::Measurement { name: name.into() }
}

fn custom(form: &EventForm, scope: &mut Scope<'_>, problems: &mut Problems) -> Option<RuleKind> {
    let event = form.event.value.as_str();
    let standard: Vec<&str> = STANDARD.iter().map(|event| event.name).collect();
    if event == "AlarmRaised" || event == "AlarmCleared" {
        problems
            .error(form.event.span, format!("`{event}` is made by the type `Alarm`"))
            .hint("write `type: Alarm`: it makes both, with one occurrence id");
        return None;
    }
    if event == SOURCE_CONNECTION.0 {
        problems
            .error(
                form.event.span,
                format!("`{event}` is a standard event that is made by the gateway itself"),
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
        Some(slot) => Some(Subject {
            prefix: "".into(),
            tag: slot?,
            needed: false,
        }),
        None => None,
    };
    let domain = form.domain.as_ref().map_or(Domain::Mes, |domain| domain.value);
    Some(RuleKind::Custom {
        event: event.into(),
        domain: domain.name().into(),
        subject,
    })
}
