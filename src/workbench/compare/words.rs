//! Parts of a plan in words.

use std::time::Duration;

use floorgate_core::plan::{
    Aggregate, AlarmBit, Condition, CountEvent, Counter, InitialPolicy, Priority, RuleKind, Shape, Slot,
};
use floorgate_core::table::{Key, Unmapped, ValueTable};

/// The type of a rule's events, as a mapping has it.
pub(crate) fn kind(kind: &RuleKind) -> &str {
    match kind {
        RuleKind::WorkOrderStatus { .. } => "WorkOrderStatusChanged",
        RuleKind::EquipmentState => "EquipmentStateChanged",
        RuleKind::ProductionCount { event, .. } => event.name(),
        RuleKind::Alarm { .. } | RuleKind::Conditions => "Alarm",
        RuleKind::Measurement { .. } => "MeasurementRecorded",
        RuleKind::Custom { event, .. } => event,
    }
}

pub(super) fn time(time: Duration) -> String {
    crate::cases::offset(time)
}

/// A table by its name; one of the plant's own with all that it says.
pub(super) fn table(table: &ValueTable) -> String {
    if ValueTable::STANDARD.contains(&&*table.name) {
        return table.name.to_string();
    }
    let mut entries: Vec<String> = table
        .entries
        .iter()
        .map(|entry| {
            let key = match &entry.key {
                Key::Number(number) => number.to_string(),
                Key::Text(text) => text.to_string(),
            };
            let more = [&entry.category, &entry.sub_state].into_iter().flatten();
            let more: String = more.flat_map(|word| [" (", word, ")"]).collect();
            format!("{key} {}{more}", entry.name)
        })
        .collect();
    entries.extend(match &table.unmapped {
        Unmapped::Unknown => None,
        Unmapped::Named(name) => Some(format!("else {name}")),
        Unmapped::Ignore => Some("else no event".to_owned()),
    });
    format!("{}: {}", table.name, entries.join(", "))
}

pub(super) fn counted(event: &CountEvent, put: &mut impl FnMut(&str, String)) {
    match event {
        CountEvent::Production(kind) => put("kind", kind.to_string()),
        CountEvent::Scrap => {}
        CountEvent::Energy(medium) => put("medium", medium.to_string()),
    }
}

pub(super) fn alarm(alarm: &AlarmBit) -> String {
    let words = [&alarm.text, &alarm.category].into_iter().flatten();
    let words: String = words.flat_map(|word| [", ", word]).collect();
    format!("severity {}{words}", alarm.severity)
}

pub(super) fn counter(counter: Counter) -> String {
    let step = counter.largest_step.map(|step| format!(", steps up to {step}"));
    format!("up to {}{}", counter.max, step.unwrap_or_default())
}

pub(super) fn aggregate(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Mean => "mean",
        Aggregate::Min => "smallest",
        Aggregate::Max => "largest",
        Aggregate::Last => "last",
    }
}

pub(super) fn initial(initial: InitialPolicy) -> &'static str {
    match initial {
        InitialPolicy::Compare => "compare",
        InitialPolicy::Emit => "emit",
        InitialPolicy::Silent => "silent",
    }
}

pub(super) fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
    }
}

/// Which changes make an event; `name` gives the name of a tag.
pub(super) fn shape(shape: &Shape, name: impl Fn(Slot) -> String) -> String {
    match shape {
        Shape::Every => "of every change".to_owned(),
        Shape::Edge(edge) => {
            let condition = match &edge.condition {
                Condition::True => "true".to_owned(),
                Condition::Is(names) => names.join(" or "),
                Condition::Above { limit, back } => format!("above {limit}, back at {back}"),
                Condition::Below { limit, back } => format!("below {limit}, back at {back}"),
            };
            let edges = match (edge.rising, edge.falling) {
                (true, false) => "begins",
                (false, true) => "ends",
                _ => "begins or ends",
            };
            let hold = (!edge.hold.is_zero()).then(|| format!(", held for {}", time(edge.hold)));
            format!("when it {edges} to be {condition}{}", hold.unwrap_or_default())
        }
        Shape::Join { tags, within } => {
            let names: Vec<String> = (0..*tags).map(|slot| name(Slot(slot))).collect();
            format!("of {} within {}", names.join(", "), time(*within))
        }
        Shape::Expect { states, within } => {
            format!("when it is not {} within {}", states.join(", "), time(*within))
        }
        Shape::Transitions(allowed) => format!("of a change that may not be: {allowed:?}"),
        Shape::Window(window) => format!("every {}", time(window.every)),
    }
}
