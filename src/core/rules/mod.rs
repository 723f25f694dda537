//! Rules: what a change of a tag means.
//!
//! Each kind of rule is a module with its state. A rule looks at the change and at the latest values of its other
//! inputs, and makes at most a few events.

mod alarm;
mod count;
mod emit;
mod equipment_state;
mod work_order;

use std::sync::Arc;

use floorgate_sample::{TagId, Value};
use serde::{Deserialize, Serialize};

use crate::detect::{Cause, Change};
use crate::envelope::Event;
use crate::plan::{Field, Plan, Rule, RuleKind, Slot};
use crate::source::SourceState;
use crate::state::TagState;

pub(crate) use emit::{Draft, Emitter, source_event};

/// What a rule remembers; kinds that need nothing have none.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    memory: Option<Box<Memory>>,
    dirty: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum Memory {
    WorkOrder(work_order::Memory),
    EquipmentState(equipment_state::Memory),
    Count(count::Memory),
    Alarm(alarm::Memory),
}

impl RuleState {
    /// The memory of an earlier process, where there is one and it is of the rule's kind.
    pub(crate) fn restore(kind: &RuleKind, cell: Option<&str>) -> Self {
        let stored: Option<Memory> = cell.and_then(|text| serde_json::from_str(text).ok());
        let memory = match (kind, stored) {
            (RuleKind::WorkOrderStatus { .. }, Some(memory @ Memory::WorkOrder(_)))
            | (RuleKind::EquipmentState, Some(memory @ Memory::EquipmentState(_)))
            | (RuleKind::ProductionCount { .. }, Some(memory @ Memory::Count(_)))
            | (RuleKind::Alarm, Some(memory @ Memory::Alarm(_))) => memory,
            (RuleKind::WorkOrderStatus { .. }, _) => Memory::WorkOrder(work_order::Memory::default()),
            (RuleKind::EquipmentState, _) => Memory::EquipmentState(equipment_state::Memory::default()),
            (RuleKind::ProductionCount { .. }, _) => Memory::Count(count::Memory::default()),
            (RuleKind::Alarm, _) => Memory::Alarm(alarm::Memory::default()),
            (RuleKind::Measurement { .. } | RuleKind::Custom { .. }, _) => return Self::default(),
        };
        Self {
            memory: Some(Box::new(memory)),
            dirty: false,
        }
    }

    /// The cell's text; the state is clean afterwards.
    pub(crate) fn save(&mut self) -> Option<String> {
        self.dirty = false;
        serde_json::to_string(self.memory.as_deref()?).ok()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }
}

/// What a rule may look at beside the change.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tags: &'a [TagState],
    pub(crate) sources: &'a [SourceState],
}

impl<'a> View<'a> {
    /// The latest value of a tag; `None` while it is unknown.
    pub(crate) fn value(&self, tag: TagId) -> Option<&'a Value> {
        let state = self.tags.get(tag.index())?;
        let source = self
            .sources
            .get(self.plan.tags.get(tag.index())?.source.index())?;
        state
            .latest
            .as_ref()
            .filter(|_| source.online && state.session == source.session)
    }

    /// The value of a rule's input as expressions and fields see it: by its table's name where it has one.
    fn operand(&self, rule: &Rule, slot: Slot) -> Option<Value> {
        let tag = *rule.inputs.get(usize::from(slot.0))?;
        let value = self.value(tag)?;
        match self.plan.tags.get(tag.index())?.spec.values.as_ref() {
            Some(table) => table.name_of(value).map(Value::text),
            None => Some(value.clone()),
        }
    }

    /// Writes the fields that the mapping adds.
    fn write(
        &self,
        rule: &Rule,
        fields: &[(Arc<str>, Field)],
        object: &mut crate::json::Object<'_>,
    ) -> Result<(), String> {
        for (name, field) in fields {
            match field {
                Field::Input(slot) => object.put(name, &self.operand(rule, *slot)),
                Field::Constant(constant) => object.put(name, constant),
                Field::Computed(expression) => {
                    let value = expression
                        .evaluate(|slot| self.operand(rule, slot))
                        .map_err(|e| e.to_string())?;
                    object.put(name, &value);
                }
                Field::Object(fields) => {
                    object.open(name);
                    self.write(rule, fields, object)?;
                    object.close();
                }
            }
        }
        Ok(())
    }
}

/// Evaluates a rule on a change of its trigger. An error means that this change made no event.
pub(crate) fn evaluate(
    rule: &Rule,
    state: &mut RuleState,
    change: &Change,
    view: View<'_>,
    emitter: &mut Emitter,
    events: &mut Vec<Event>,
) -> Result<(), String> {
    if let Some(guard) = &rule.spec.when {
        let open = guard
            .evaluate(|slot| view.operand(rule, slot))
            .map_err(|error| error.to_string())?;
        if open != serde_json::Value::Bool(true) {
            return Ok(());
        }
    }
    let mut context = Context {
        rule,
        change,
        view,
        emitter,
        events,
    };
    let RuleState { memory, dirty } = state;
    match (&rule.spec.kind, memory.as_deref_mut()) {
        (RuleKind::WorkOrderStatus { order }, Some(Memory::WorkOrder(memory))) => {
            work_order::evaluate(&mut context, memory, dirty, *order)
        }
        (RuleKind::EquipmentState, Some(Memory::EquipmentState(memory))) => {
            equipment_state::evaluate(&mut context, memory, dirty)
        }
        (RuleKind::ProductionCount { kind, unit }, Some(Memory::Count(memory))) => {
            count::evaluate(&mut context, memory, dirty, kind, unit)
        }
        (RuleKind::Alarm, Some(Memory::Alarm(memory))) => alarm::evaluate(&mut context, memory, dirty),
        (RuleKind::Measurement { name }, _) => measurement(&mut context, name),
        (
            RuleKind::Custom {
                event,
                domain,
                subject,
            },
            _,
        ) => custom(&mut context, event, domain, *subject),
        _ => Err("the rule's memory is of another kind".to_owned()),
    }
}

/// Everything a rule needs while it looks at one change.
pub(crate) struct Context<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) change: &'a Change,
    pub(crate) view: View<'a>,
    pub(crate) emitter: &'a mut Emitter,
    pub(crate) events: &'a mut Vec<Event>,
}

impl<'a> Context<'a> {
    /// The tag that triggered the rule.
    pub(crate) fn trigger(&self) -> &'a crate::plan::TagSpec {
        &self.view.plan.tags[self.change.tag.index()].spec
    }

    /// The path of the rule's equipment.
    pub(crate) fn equipment(&self) -> &'a Arc<str> {
        &self.view.plan.equipment[self.rule.equipment.0 as usize].path
    }
}

fn measurement(context: &mut Context<'_>, name: &str) -> Result<(), String> {
    let subject = format!("measurement/{name}");
    let (change, unit) = (context.change, context.trigger().unit.as_ref());
    context.emit(&Draft::new("MeasurementRecorded", &subject), |object| {
        object.field("name", name);
        object.field("value", &change.value);
        object.field("unit", &unit);
    })?;
    Ok(())
}

fn custom(context: &mut Context<'_>, event: &str, domain: &str, subject: Option<Slot>) -> Result<(), String> {
    if !matches!(context.change.cause, Cause::Initial | Cause::Value) {
        return Ok(());
    }
    let subject = subject
        .and_then(|slot| context.view.operand(context.rule, slot))
        .map_or_else(
            || format!("equipment/{}", context.equipment()),
            |value| value.to_string(),
        );
    let draft = Draft {
        domain,
        ..Draft::new(event, &subject)
    };
    context.emit(&draft, |_| {})?;
    Ok(())
}
