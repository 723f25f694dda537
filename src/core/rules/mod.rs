//! Rules: what a change of a tag means.
//!
//! Each kind of rule is a module with its state. A rule looks at the change and at the latest values of its other
//! inputs, and makes at most a few events.

mod alarm;
mod condition;
mod count;
mod edge;
mod emit;
mod equipment_state;
mod expect;
mod failure;
mod join;
mod progress;
mod seen;
mod shape;
mod snapshot;
mod span;
mod trace;
mod view;
mod window;
mod work_order;

use std::borrow::Cow;
use std::sync::Arc;

use floorgate_sample::Value;
use serde::{Deserialize, Serialize};

use crate::detect::{Cause, Change};
use crate::envelope::Event;
use crate::plan::{Plan, Rule, RuleKind, Shape, Slot, Subject};
use crate::shedding::Owed;
use crate::table::ValueTable;

pub(crate) use emit::{Draft, Emitter, source_event};
pub use failure::{Failure, Failures};
pub(crate) use progress::Progress;
pub(crate) use seen::Moved;
pub use snapshot::Request;
pub(crate) use view::View;

/// What a rule remembers; kinds that need nothing have none.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    memory: Option<Box<Memory>>,
    /// What it waits for, of a rule that does not look at every change.
    progress: Option<Box<Progress>>,
    /// An event was left out and not made up for.
    pub(crate) owed: Option<Owed>,
    dirty: bool,
    labels: Labels,
}

/// What all events of a rule have in common, once there was one.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// Their subject, where it is always the same.
    subject: Option<Arc<str>>,
    /// The headers that they share, where they are all of one type.
    headers: Option<Arc<str>>,
}

/// A cell's text.
#[derive(Debug, Serialize, Deserialize)]
struct Cell<M, P> {
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    memory: Option<M>,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    progress: Option<P>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owed: Option<Owed>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Memory {
    WorkOrder(work_order::Memory),
    EquipmentState(equipment_state::Memory),
    Count(count::Memory),
    Alarm(alarm::Memory),
    Conditions(condition::Memory),
}

impl RuleState {
    /// The memory of an earlier process, where there is one and it is of the rule's kind.
    pub(crate) fn restore(plan: &Plan, rule: &Rule, cell: Option<&str>) -> Self {
        let spec = &*rule.spec;
        let cell: Option<Cell<Memory, Progress>> = cell.and_then(|text| serde_json::from_str(text).ok());
        let (memory, progress, owed) =
            cell.map_or((None, None, None), |cell| (cell.memory, cell.progress, cell.owed));
        let memory = match (&spec.kind, memory) {
            (RuleKind::WorkOrderStatus { .. }, Some(memory @ Memory::WorkOrder(_)))
            | (RuleKind::EquipmentState, Some(memory @ Memory::EquipmentState(_)))
            | (RuleKind::ProductionCount { .. }, Some(memory @ Memory::Count(_)))
            | (RuleKind::Alarm { .. }, Some(memory @ Memory::Alarm(_)))
            | (RuleKind::Conditions, Some(memory @ Memory::Conditions(_))) => Some(memory),
            (RuleKind::WorkOrderStatus { .. }, _) => Some(Memory::WorkOrder(work_order::Memory::default())),
            (RuleKind::EquipmentState, _) => Some(Memory::EquipmentState(equipment_state::Memory::default())),
            (RuleKind::ProductionCount { .. }, _) => Some(Memory::Count(count::Memory::default())),
            (RuleKind::Alarm { .. }, _) => Some(Memory::Alarm(alarm::Memory::default())),
            (RuleKind::Conditions, _) => Some(Memory::Conditions(condition::Memory::default())),
            (RuleKind::Measurement { .. } | RuleKind::Custom { .. }, _) => None,
        };
        let memory = memory.map(|mut memory| {
            if let Memory::Count(memory) = &mut memory
                && !matches!(spec.shape, Shape::Window(_))
            {
                memory.leave_spans();
            }
            Box::new(memory)
        });
        Self {
            memory,
            progress: Progress::of(plan, rule, progress.unwrap_or_default()).map(Box::new),
            owed,
            ..Self::default()
        }
    }

    /// The cell's text; the state is clean afterwards.
    pub(crate) fn save(&mut self) -> Option<String> {
        self.dirty = false;
        let cell = Cell {
            memory: self.memory.as_deref(),
            progress: self.progress.as_deref(),
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
        self.memory.is_some() || self.progress.is_some() || self.owed.is_some()
    }

    pub(crate) fn progress_mut(&mut self) -> Option<&mut Progress> {
        self.progress.as_deref_mut()
    }

    /// The run of a work order that other rules' events belong to in this moment.
    fn run(&self, path: &str, moment: u32) -> Option<work_order::Run> {
        match self.memory.as_deref() {
            Some(Memory::WorkOrder(memory)) => memory.run(work_order::below_site(path), moment),
            _ => None,
        }
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

/// Whether a rule's guard lets it look at a change.
fn is_let(rule: &Rule, state: &RuleState, change: &Change, view: View<'_>, failures: &mut Failures) -> bool {
    // Of conditions it is asked for each of them, and only when it begins.
    let is_of_each = matches!(rule.spec.kind, RuleKind::Conditions);
    is_of_each || state.takes_back(change) || guards(rule, view, failures)
}

/// What a rule's guard says. One that fails, or is neither true nor false, is a failure.
fn guards(rule: &Rule, view: View<'_>, failures: &mut Failures) -> bool {
    let Some(guard) = &rule.spec.when else { return true };
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
        let scene = Scene {
            rule,
            change,
            note: &Note::NONE,
            run: None,
            moment: 0,
        };
        let mut context = Context::new(scene, &mut state.labels, view, emitter, outcome);
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

/// What a rule looks at.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) change: &'a Change,
    pub(crate) note: &'a Note,
    /// The run that its events belong to.
    pub(crate) run: Option<&'a work_order::Run>,
    pub(crate) moment: u32,
}

/// Further fields of an event.
pub(crate) type Fields = Vec<(Cow<'static, str>, serde_json::Value)>;

/// What is told of a change beside it.
#[derive(Debug, Default)]
pub(crate) struct Note {
    /// Whether the rule's condition began or ceased to hold.
    rising: Option<bool>,
    /// Further fields of the event.
    fields: Fields,
    /// Inputs that did not come in time.
    missing: Vec<Slot>,
    /// Inputs as they were when it happened, or were read for the event.
    read: Vec<(Slot, Option<Value>)>,
    /// Tells events of one change apart.
    part: u32,
    /// The run that its event belongs to.
    run: RunOf,
    /// What was counted is told, and nothing is added to it.
    tell_only: bool,
}

/// The run that an event belongs to.
#[derive(Debug, Default)]
enum RunOf {
    /// The one that is open now.
    #[default]
    Now,
    /// The one that was open when it happened, or none.
    Then(Option<work_order::Run>),
}

impl Note {
    pub(crate) const NONE: Self = Self {
        rising: None,
        fields: Vec::new(),
        missing: Vec::new(),
        read: Vec::new(),
        part: 0,
        run: RunOf::Now,
        tell_only: false,
    };
}

/// Evaluates a rule on a change of its trigger. What fails is said in `failures`.
pub(crate) fn evaluate(
    scene: Scene<'_>,
    state: &mut RuleState,
    view: View<'_>,
    emitter: &mut Emitter,
    outcome: Outcome<'_>,
) {
    let has_gap = state.progress.as_deref().is_some_and(Progress::has_gap);
    let after_a_gap = (has_gap || state.owed.is_some()).then(|| Change {
        gap: scene.change.gap || scene.change.cause != Cause::Initial,
        ..scene.change.clone()
    });
    let change = after_a_gap.as_ref().unwrap_or(scene.change);
    let found = match state.memory.as_deref() {
        Some(Memory::Conditions(memory)) => memory.found(change),
        _ => None,
    };
    let change = found.as_ref().unwrap_or(change);
    let scene = Scene { change, ..scene };
    let Outcome { events, failures } = outcome;
    // What is only told was let in when it was counted.
    if !scene.note.tell_only && !is_let(scene.rule, state, scene.change, view, failures) {
        return;
    }
    let before = events.len();
    let RuleState {
        memory,
        dirty,
        labels,
        ..
    } = state;
    let mut context = Context::new(scene, labels, view, emitter, Outcome { events, failures });
    match (&scene.rule.spec.kind, memory.as_deref_mut()) {
        (RuleKind::WorkOrderStatus { order, latch }, Some(Memory::WorkOrder(memory))) => {
            work_order::evaluate(&mut context, memory, dirty, *order, latch);
        }
        (RuleKind::EquipmentState, Some(Memory::EquipmentState(memory))) => {
            equipment_state::evaluate(&mut context, memory, dirty);
        }
        (RuleKind::ProductionCount { event, unit, .. }, Some(Memory::Count(memory))) => {
            count::evaluate(&mut context, memory, dirty, event, unit);
        }
        (RuleKind::Alarm { of_condition }, Some(Memory::Alarm(memory))) => {
            alarm::evaluate(&mut context, memory, dirty, of_condition.as_ref());
        }
        (RuleKind::Conditions, Some(Memory::Conditions(memory))) => {
            condition::evaluate(&mut context, memory, dirty);
        }
        (RuleKind::Measurement { name }, _) => measurement(&mut context, name),
        (
            RuleKind::Custom {
                event,
                domain,
                subject,
            },
            _,
        ) => custom(&mut context, event, domain, subject.as_ref()),
        _ => context.fail(|| "no event, since the rule's memory is of another kind".to_owned()),
    }
    if context.events.len() > before {
        state.owe(None);
        if let Some(progress) = state.progress.as_deref_mut().filter(|_| has_gap) {
            progress.tell_gap();
            state.dirty = true;
        }
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
    note: &'a Note,
    run: Option<&'a work_order::Run>,
    moment: u32,
    labels: &'a mut Labels,
    pub(crate) view: View<'a>,
    pub(crate) emitter: &'a mut Emitter,
    pub(crate) events: &'a mut Vec<Event>,
    pub(crate) failures: &'a mut Failures,
}

impl<'a> Context<'a> {
    fn new(
        scene: Scene<'a>,
        labels: &'a mut Labels,
        view: View<'a>,
        emitter: &'a mut Emitter,
        Outcome { events, failures }: Outcome<'a>,
    ) -> Self {
        Self {
            rule: scene.rule,
            change: scene.change,
            note: scene.note,
            run: scene.run,
            moment: scene.moment,
            labels,
            view,
            emitter,
            events,
            failures,
        }
    }

    /// The same, with what is seen of its own.
    fn seeing<'b>(&'b mut self, view: View<'b>) -> Context<'b> {
        Context {
            view,
            labels: self.labels,
            emitter: self.emitter,
            events: self.events,
            failures: self.failures,
            ..*self
        }
    }

    /// Whether the rule's guard lets it tell what is seen.
    fn is_let(&mut self) -> bool {
        guards(self.rule, self.view, self.failures)
    }

    /// Says why the change made no event.
    pub(crate) fn fail(&mut self, reason: impl FnOnce() -> String) {
        self.failures.add(&self.rule.id, reason);
    }

    /// The tag that triggered the rule.
    pub(crate) fn trigger(&self) -> &'a crate::plan::TagSpec {
        &self.view.plan.tags[self.change.tag.index()].spec
    }

    /// The subject of a rule whose events are all about the same.
    pub(crate) fn subject(&mut self, make: impl FnOnce(&Self) -> String) -> Arc<str> {
        if let Some(subject) = &self.labels.subject {
            return Arc::clone(subject);
        }
        let subject = self.emitter.subject(make(self));
        self.labels.subject = Some(Arc::clone(&subject));
        subject
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

/// Whether a table says that a value is to be ignored.
fn ignored(table: Option<&Arc<ValueTable>>, value: Option<&Value>) -> bool {
    let named = table.zip(value).map(|(table, value)| table.name_of(value));
    matches!(named, Some(None))
}

fn measurement(context: &mut Context<'_>, name: &str) {
    let subject = context.subject(|_| format!("measurement/{name}"));
    let (change, unit) = (context.change, context.trigger().unit.as_ref());
    context.emit(&Draft::new("MeasurementRecorded", subject), |object| {
        object.field("name", name);
        object.field("value", &change.value);
        object.field("unit", &unit);
    });
}

fn custom(context: &mut Context<'_>, event: &str, domain: &str, subject: Option<&Subject>) {
    if !matches!(context.change.cause, Cause::Initial | Cause::Value) {
        return;
    }
    let about = subject.and_then(|subject| Some((subject, context.view.operand(context.rule, subject.tag)?)));
    if let Some((subject, value)) = &about
        && subject.needed
        && value.as_text().is_some_and(str::is_empty)
    {
        return;
    }
    let subject = match (about, subject) {
        (Some((subject, value)), _) => format!("{}{value}", subject.prefix).into(),
        (None, Some(subject)) if !subject.prefix.is_empty() => format!("{}unknown", subject.prefix).into(),
        (None, Some(_)) => format!("equipment/{}", context.equipment()).into(),
        (None, None) => context.subject(|context| format!("equipment/{}", context.equipment())),
    };
    let draft = Draft {
        domain,
        part: context.note.part,
        ..Draft::new(event, subject)
    };
    context.emit(&draft, |_| {});
}
