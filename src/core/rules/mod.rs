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
use crate::shedding::Owed;
use crate::source::SourceState;
use crate::state::TagState;

pub(crate) use emit::{Draft, Emitter, source_event};

/// What a rule remembers; kinds that need nothing have none.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    memory: Option<Box<Memory>>,
    /// An event was left out and not made up for.
    pub(crate) owed: Option<Owed>,
    dirty: bool,
    /// The subject of its events where it is always the same, once there was one.
    subject: Option<Arc<str>>,
}

/// A cell's text.
#[derive(Debug, Serialize, Deserialize)]
struct Cell<M> {
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    memory: Option<M>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owed: Option<Owed>,
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
        let cell: Option<Cell<Memory>> = cell.and_then(|text| serde_json::from_str(text).ok());
        let (memory, owed) = cell.map_or((None, None), |cell| (cell.memory, cell.owed));
        let memory = match (kind, memory) {
            (RuleKind::WorkOrderStatus { .. }, Some(memory @ Memory::WorkOrder(_)))
            | (RuleKind::EquipmentState, Some(memory @ Memory::EquipmentState(_)))
            | (RuleKind::ProductionCount { .. }, Some(memory @ Memory::Count(_)))
            | (RuleKind::Alarm, Some(memory @ Memory::Alarm(_))) => memory,
            (RuleKind::WorkOrderStatus { .. }, _) => Memory::WorkOrder(work_order::Memory::default()),
            (RuleKind::EquipmentState, _) => Memory::EquipmentState(equipment_state::Memory::default()),
            (RuleKind::ProductionCount { .. }, _) => Memory::Count(count::Memory::default()),
            (RuleKind::Alarm, _) => Memory::Alarm(alarm::Memory::default()),
            (RuleKind::Measurement { .. } | RuleKind::Custom { .. }, _) => {
                return Self {
                    owed,
                    ..Self::default()
                };
            }
        };
        Self {
            memory: Some(Box::new(memory)),
            owed,
            ..Self::default()
        }
    }

    /// The cell's text; the state is clean afterwards.
    pub(crate) fn save(&mut self) -> Option<String> {
        self.dirty = false;
        let cell = Cell {
            memory: self.memory.as_deref(),
            owed: self.owed,
        };
        serde_json::to_string(&cell).ok()
    }

    fn owe(&mut self, owed: Option<Owed>) {
        self.dirty |= self.owed != owed;
        self.owed = owed;
    }

    /// Whether there is anything that another core has to go on from.
    pub(crate) fn remembers(&self) -> bool {
        self.memory.is_some() || self.owed.is_some()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether the change makes unknown what the rule has told: no guard may keep a told state standing.
    fn takes_back(&self, change: &Change) -> bool {
        match self.memory.as_deref() {
            Some(Memory::EquipmentState(memory)) => change.cause == Cause::Lost && memory.is_known(),
            _ => false,
        }
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

    /// Writes the fields that the mapping adds. One that cannot be computed is null, and `failures` says why.
    fn write(
        &self,
        rule: &Rule,
        fields: &[(Arc<str>, Field)],
        object: &mut crate::json::Object<'_>,
        failures: &mut Failures,
    ) {
        for (name, field) in fields {
            match field {
                Field::Input(slot) => object.put(name, &self.operand(rule, *slot)),
                Field::Constant(constant) => object.put(name, constant),
                Field::Computed(expression) => {
                    let value = expression
                        .evaluate(|slot| self.operand(rule, slot))
                        .unwrap_or_else(|error| {
                            failures.add(&rule.id, || format!("field {name:?} is null: {error}"));
                            serde_json::Value::Null
                        });
                    object.put(name, &value);
                }
                Field::Object(fields) => {
                    object.open(name);
                    self.write(rule, fields, object, failures);
                    object.close();
                }
            }
        }
    }
}

/// What rules could not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many there were.
    pub count: u64,
    /// The first few of them.
    pub first: Vec<Failure>,
}

/// Why a change made no event, or one with a field that is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule.
    pub rule: Arc<str>,
    /// The reason, and what became of the event.
    pub reason: String,
}

/// How many failures are told with their reasons; of the others only the number.
const TOLD_FAILURES: usize = 16;

impl Failures {
    pub(crate) fn add(&mut self, rule: &Arc<str>, reason: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < TOLD_FAILURES {
            self.first.push(Failure {
                rule: Arc::clone(rule),
                reason: reason(),
            });
        }
    }
}

/// Whether a rule's guard lets it look at a change. One that fails, or is neither true nor false, is a failure.
fn is_let(rule: &Rule, state: &RuleState, change: &Change, view: View<'_>, failures: &mut Failures) -> bool {
    let Some(guard) = rule.spec.when.as_ref().filter(|_| !state.takes_back(change)) else {
        return true;
    };
    match guard.evaluate(|slot| view.operand(rule, slot)) {
        Ok(serde_json::Value::Bool(is_let)) => is_let,
        Ok(other) => {
            failures.add(&rule.id, || {
                format!("no event, since its `when` gives {other}, which is neither true nor false")
            });
            false
        }
        Err(error) => {
            failures.add(&rule.id, || format!("no event, since its `when` fails: {error}"));
            false
        }
    }
}

/// Takes a change of which a rule makes no event, since there is no room for it. Returns whether it would have made one.
pub(crate) fn leave_out(
    rule: &Rule,
    state: &mut RuleState,
    change: &Change,
    view: View<'_>,
    emitter: &mut Emitter,
    outcome: Outcome<'_>,
) -> bool {
    let happened = matches!(change.cause, Cause::Initial | Cause::Value);
    let would_tell = match rule.spec.kind {
        RuleKind::EquipmentState | RuleKind::Measurement { .. } => change.cause != Cause::Silence,
        _ => happened,
    };
    if !would_tell || !is_let(rule, state, change, view, outcome.failures) {
        return false;
    }
    if let (RuleKind::ProductionCount { .. }, Some(Memory::Count(memory))) =
        (&rule.spec.kind, state.memory.as_deref_mut())
    {
        let mut context = Context::new(rule, change, view, emitter, outcome);
        count::count(&mut context, memory, &mut state.dirty);
        let owes = memory.has_untold();
        if owes {
            state.owe(Some(Owed::Change));
        }
        return owes;
    }
    state.owe(Some(Owed::after(state.owed, change.cause)));
    true
}

/// Evaluates a rule on a change of its trigger. What fails is said in `failures`.
pub(crate) fn evaluate(
    rule: &Rule,
    state: &mut RuleState,
    change: &Change,
    view: View<'_>,
    emitter: &mut Emitter,
    outcome: Outcome<'_>,
) {
    let after_a_gap;
    let mut change = change;
    if state.owed.is_some() {
        after_a_gap = Change {
            gap: change.gap || change.cause != Cause::Initial,
            ..change.clone()
        };
        change = &after_a_gap;
    }
    let Outcome { events, failures } = outcome;
    if !is_let(rule, state, change, view, failures) {
        return;
    }
    let before = events.len();
    let mut context = Context::new(rule, change, view, emitter, Outcome { events, failures });
    let RuleState {
        memory,
        dirty,
        subject,
        ..
    } = state;
    match (&rule.spec.kind, memory.as_deref_mut()) {
        (RuleKind::WorkOrderStatus { order }, Some(Memory::WorkOrder(memory))) => {
            work_order::evaluate(&mut context, memory, dirty, *order);
        }
        (RuleKind::EquipmentState, Some(Memory::EquipmentState(memory))) => {
            equipment_state::evaluate(&mut context, memory, dirty);
        }
        (RuleKind::ProductionCount { kind, unit }, Some(Memory::Count(memory))) => {
            count::evaluate(&mut context, memory, dirty, kind, unit);
        }
        (RuleKind::Alarm, Some(Memory::Alarm(memory))) => alarm::evaluate(&mut context, memory, dirty),
        (RuleKind::Measurement { name }, _) => measurement(&mut context, subject, name),
        (
            RuleKind::Custom {
                event,
                domain,
                subject,
            },
            _,
        ) => custom(&mut context, event, domain, *subject),
        _ => context.fail(|| "no event, since the rule's memory is of another kind".to_owned()),
    }
    if context.events.len() > before {
        state.owe(None);
    }
}

/// Where a rule puts what it makes of a change.
pub(crate) struct Outcome<'a> {
    pub(crate) events: &'a mut Vec<Event>,
    pub(crate) failures: &'a mut Failures,
}

/// Everything a rule needs while it looks at one change.
pub(crate) struct Context<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) change: &'a Change,
    pub(crate) view: View<'a>,
    pub(crate) emitter: &'a mut Emitter,
    pub(crate) events: &'a mut Vec<Event>,
    pub(crate) failures: &'a mut Failures,
}

impl<'a> Context<'a> {
    fn new(
        rule: &'a Rule,
        change: &'a Change,
        view: View<'a>,
        emitter: &'a mut Emitter,
        Outcome { events, failures }: Outcome<'a>,
    ) -> Self {
        Self {
            rule,
            change,
            view,
            emitter,
            events,
            failures,
        }
    }

    /// Says why the change made no event.
    pub(crate) fn fail(&mut self, reason: impl FnOnce() -> String) {
        self.failures.add(&self.rule.id, reason);
    }

    /// The tag that triggered the rule.
    pub(crate) fn trigger(&self) -> &'a crate::plan::TagSpec {
        &self.view.plan.tags[self.change.tag.index()].spec
    }

    /// The path of the rule's equipment.
    pub(crate) fn equipment(&self) -> &'a Arc<str> {
        &self.view.plan.equipment[self.rule.equipment.0 as usize].path
    }
}

/// What the machine's own words were: the tag, and its value before any table.
#[derive(Serialize)]
struct VendorStatus<'a> {
    tag: &'a str,
    raw: Option<&'a Value>,
}

fn measurement(context: &mut Context<'_>, subject: &mut Option<Arc<str>>, name: &str) {
    let subject = subject.get_or_insert_with(|| format!("measurement/{name}").into());
    let (change, unit) = (context.change, context.trigger().unit.as_ref());
    context.emit(
        &Draft::new("MeasurementRecorded", Arc::clone(subject)),
        |object| {
            object.field("name", name);
            object.field("value", &change.value);
            object.field("unit", &unit);
        },
    );
}

fn custom(context: &mut Context<'_>, event: &str, domain: &str, subject: Option<Slot>) {
    if !matches!(context.change.cause, Cause::Initial | Cause::Value) {
        return;
    }
    let subject = subject
        .and_then(|slot| context.view.operand(context.rule, slot))
        .map_or_else(
            || format!("equipment/{}", context.equipment()),
            |value| value.to_string(),
        );
    let draft = Draft {
        domain,
        ..Draft::new(event, subject)
    };
    context.emit(&draft, |_| {});
}
