//! The rule that made an event, as the mapping has it now.

use std::sync::Arc;

use floorgate_config::Mappings;
use floorgate_core::plan::{Plan, Rule, Shape};
use floorgate_core::table::ValueTable;
use floorgate_sample::Value as Raw;
use floorgate_yaml::Problems;
use serde::Serialize;
use serde_json::Value;

use crate::control::EventRow;

/// The rule of an event.
#[derive(Debug, Serialize)]
pub struct Made {
    pub rule: String,
    /// File, line and column.
    pub place: String,
    /// The line.
    pub excerpt: String,
    /// The tag that triggers it.
    pub trigger: String,
    /// What the mapping lets it wait for.
    pub timers: Vec<String>,
    /// That the mapping is another now than when the event was made.
    pub changed: Option<String>,
    #[serde(skip)]
    values: Option<Arc<ValueTable>>,
}

impl Made {
    /// The rule that an event names; none where there is none of that name.
    pub fn of(event: &EventRow, mappings: &Mappings, problems: &Problems) -> Option<Self> {
        let data = super::data(&event.value);
        let id = data.pointer("/mapping/ruleId")?.as_str()?;
        let plan = &mappings.plan;
        let number = plan.rules.iter().position(|rule| &*rule.id == id)?;
        let rule = &plan.rules[number];
        let span = mappings.rules.get(number).copied().unwrap_or_default();
        let line = problems.file(span.file).and_then(|(_, text)| {
            let line = usize::try_from(span.line).ok()?;
            text.lines().nth(line.checked_sub(1)?)
        });
        let trigger = plan.tags.get(rule.inputs.first()?.index())?;
        let version = data.pointer("/mapping/version").and_then(Value::as_str);
        let changed = version.filter(|version| *version != &*rule.spec.version).map(|version| {
            format!(
                "the mapping is another now ({}) than when it was made ({version}): the line may be another",
                rule.spec.version
            )
        });
        Some(Self {
            rule: id.to_owned(),
            place: problems.place(span),
            excerpt: line.unwrap_or_default().trim().to_owned(),
            trigger: trigger.key.to_string(),
            timers: timers(plan, rule),
            changed,
            values: trigger.spec.values.clone(),
        })
    }

    /// A raw value of the trigger, with its name where it has one.
    pub fn named(&self, value: &Value) -> String {
        let raw = match value {
            Value::Bool(bit) => Some(Raw::Bool(*bit)),
            Value::Number(number) => number.as_i64().map(Raw::Int),
            Value::String(text) => Some(Raw::text(text.as_str())),
            _ => None,
        };
        let name = self
            .values
            .as_ref()
            .zip(raw)
            .and_then(|(table, raw)| table.name_of(&raw).map(str::to_owned));
        match (name, value) {
            (Some(name), value) => format!("{value} ({name})"),
            (None, Value::Null) => "unknown".to_owned(),
            (None, value) => value.to_string(),
        }
    }
}

fn timers(plan: &Plan, rule: &Rule) -> Vec<String> {
    let mut timers = Vec::new();
    for tag in rule.inputs.iter().take(rule.spec.shape.triggers()) {
        let Some(tag) = plan.tags.get(tag.index()) else {
            continue;
        };
        if let Some(debounce) = tag.spec.debounce {
            timers.push(format!(
                "{} counts once it has been the same for {debounce:?}, from when it was first seen",
                tag.key
            ));
        }
    }
    match &rule.spec.shape {
        Shape::Edge(edge) if !edge.hold.is_zero() => {
            timers.push(format!("the condition has to hold for {:?}", edge.hold));
        }
        Shape::Join { within, .. } => {
            timers.push(format!("its tags may come within {within:?} of each other"));
        }
        Shape::Expect { within, .. } => timers.push(format!("the expected states may take {within:?}")),
        Shape::Window(window) => timers.push(format!(
            "it is told at the end of each window of {:?}",
            window.every
        )),
        Shape::Every | Shape::Edge(_) | Shape::Transitions(_) => {}
    }
    if rule.spec.snapshot.is_some() {
        timers.push("it waits for values that are read from the source in one request".to_owned());
    }
    timers
}
