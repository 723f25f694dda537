//! The plan: what configuration and mappings come to, as flat tables that a change walks by number.
//!
//! What equal instances share (a tag's meaning, a rule's form) is behind one `Arc`; an instance is a small row. Keys and rule ids are
//! stable names: stored state is found by them after the mapping changed.

use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Happening, SourceId, TagId, Value};
use serde::{Deserialize, Serialize};

use crate::detect::bits_of;
use crate::expression::Expression;
use crate::table::{Transitions, ValueTable};

/// Number of a piece of equipment in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EquipmentId(pub u32);

/// Everything the core needs to know, resolved.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Sources, by [`SourceId`].
    pub sources: Vec<SourceRow>,
    /// Equipment, by [`EquipmentId`].
    pub equipment: Vec<Equipment>,
    /// Tags, by [`TagId`].
    pub tags: Vec<Tag>,
    /// Rules, in the order of the mapping files.
    pub rules: Vec<Rule>,
}

/// A source.
#[derive(Clone, Debug)]
pub struct SourceRow {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Topic of its `SourceConnectionChanged` events.
    pub topic: Arc<str>,
}

/// A piece of equipment: the work unit that events are about, and their ordering scope.
#[derive(Clone, Debug)]
pub struct Equipment {
    /// Path in the ISA-95 hierarchy, `enterprise/site/area/line/cell`.
    pub path: Arc<str>,
}

/// One tag of one instance.
#[derive(Clone, Debug)]
pub struct Tag {
    /// Stable name, `mapping/instance/tag` (`mapping/tag` where there is one instance).
    pub key: Arc<str>,
    /// The source that delivers it.
    pub source: SourceId,
    /// What its address is to the source, as a number: the same one is the same place in the device.
    pub address: u64,
    /// The tag that says whether its values hold; while that is not true, this one is unknown.
    pub valid: Option<TagId>,
    /// What all instances share.
    pub spec: Arc<TagSpec>,
}

/// What a tag means.
#[derive(Debug, Default, PartialEq)]
pub struct TagSpec {
    /// Name in the mapping, unique there.
    pub name: Arc<str>,
    /// Unit of the value as UN/ECE Recommendation 20 code.
    pub unit: Option<Arc<str>>,
    /// Smallest change that counts.
    pub deadband: Option<Deadband>,
    /// Longest silence of a measurement: without a change for this long, the value is emitted again.
    pub at_least_every: Option<Duration>,
    /// Names of the values of an enumeration.
    pub values: Option<Arc<ValueTable>>,
    /// How a counter counts.
    pub counter: Option<Counter>,
    /// The alarms of an alarm word.
    pub bits: Option<Arc<[AlarmBit]>>,
    /// What the first value after a start is.
    pub initial: InitialPolicy,
    /// The bits of an integer that are the value.
    pub field: Option<BitField>,
    /// A value counts when it has been the same for this long, and from when it was first seen.
    pub debounce: Option<Duration>,
    /// While the value does not change for this long, the source is stale.
    pub heartbeat: Option<Duration>,
    /// While it does not change for this long, it is told as late. No rule sees that: whoever runs the core watches it.
    pub late_after: Option<Duration>,
    /// Each value is something that happened: there is no state, and so none to compare with.
    pub happens: Option<Happening>,
}

/// Some bits of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitField {
    /// The bits.
    pub mask: u64,
    /// How many places they are moved to the right.
    pub shift: u8,
}

impl BitField {
    /// These bits of a value; `None` where it is no integer.
    #[must_use]
    pub fn of(self, value: &Value) -> Option<Value> {
        bits_of(self, value)
    }
}

/// Smallest change that counts, compared with the last value that counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deadband {
    /// In the tag's unit; a percentage was resolved against the tag's range when the plan was made.
    pub absolute: f64,
}

/// How a counter counts, in units of its last decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Largest value before the counter starts again at 0.
    pub max: u64,
    /// Largest plausible step between two values; a smaller value is a rollover only when the step over the end is at most this.
    pub largest_step: Option<u64>,
    /// Decimals that it has, 0 to 9: of a meter of 12345.6 one.
    pub decimals: u8,
}

/// One bit of an alarm word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmBit {
    /// The bit, from 0.
    pub bit: u8,
    /// The alarm's code at the plant.
    pub code: Arc<str>,
    /// Text for people.
    pub text: Option<Arc<str>>,
    /// 1 (lowest) to 1000, as in OPC UA (OPC 10000-5 §6.4.2).
    pub severity: u16,
    /// Category at the plant.
    pub category: Option<Arc<str>>,
}

/// What the first value after a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InitialPolicy {
    /// Compared with the stored value: equal is no event, different is a change after a gap. Without one it is emitted as initial.
    #[default]
    Compare,
    /// Always emitted as initial.
    Emit,
    /// Never emitted: the stored value is replaced silently.
    Silent,
}

/// Number of a tag among a rule's inputs. Input 0 is the trigger, and of a join the next ones are too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u16);

/// One rule of one instance.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Stable name, unique in the plan: `mapping.instance.event`.
    pub id: Arc<str>,
    /// What its events are about.
    pub equipment: EquipmentId,
    /// Tags that the rule reads, by [`Slot`]; the first one triggers it.
    pub inputs: Box<[TagId]>,
    /// Topic of its events.
    pub topic: Arc<str>,
    /// The rule whose run its events belong to: a `WorkOrderStatusChanged` of the same instance.
    pub run: Option<RuleId>,
    /// What all instances share.
    pub spec: Arc<RuleSpec>,
}

/// Number of a rule in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// Fields of every event's data that say how it is known; no mapping replaces them.
pub const COMMON_FIELDS: [&str; 6] = [
    "equipmentPath",
    "timestamps",
    "timeBasis",
    "quality",
    "gap",
    "mapping",
];

/// How long events of a rule are made while the outbox fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Left out first.
    Low,
    /// Left out when only the last reserve is left.
    #[default]
    Normal,
    /// Never left out.
    High,
}

/// The form of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSpec {
    /// What it makes of a change.
    pub kind: RuleKind,
    /// What becomes of its events while the outbox fills.
    pub priority: Priority,
    /// Which changes of the trigger it looks at, and when.
    pub shape: Shape,
    /// The rule is silent while this is not true.
    pub when: Option<Expression>,
    /// The PLC's own number of the event: where one was skipped, the event says `gap`.
    pub sequence: Option<Slot>,
    /// The tag whose value is the correlation id.
    pub correlation: Option<Slot>,
    /// The tag whose value is the record's key and the ordering scope, in place of the equipment.
    pub key: Option<Slot>,
    /// Values that are read from the source in one request when the event is due.
    pub snapshot: Option<Snapshot>,
    /// Further fields of the event's data, in order; a field of the same name that the rule writes is replaced. None of [`COMMON_FIELDS`].
    pub data: Vec<(Arc<str>, Field)>,
    /// Version of the mapping file, `sha256:` and twelve hexadecimal digits.
    pub version: Arc<str>,
}

/// Which changes of its trigger a rule looks at, and when it does.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shape {
    /// Every change.
    #[default]
    Every,
    /// A condition that begins, or ends, to hold.
    Edge(EdgeSpec),
    /// Values that belong together: inputs 0 to `tags` - 1, each of which triggers the rule.
    Join {
        /// How many there are, 2 to 64.
        tags: u16,
        /// How long after the first of them the last one may come.
        within: Duration,
    },
    /// States in the order in which they are expected; the rule is silent while they come like that.
    Expect {
        /// Names of the states.
        states: Box<[Arc<str>]>,
        /// How long it may take from the first to the last.
        within: Duration,
    },
    /// States and those that may follow; the rule looks only at a change that may not be.
    Transitions(Transitions),
    /// What the trigger was in a span of time, told at its end.
    Window(WindowSpec),
}

impl Shape {
    /// How many of a rule's inputs trigger it, from the first on.
    #[must_use]
    pub fn triggers(&self) -> usize {
        match self {
            Self::Join { tags, .. } => usize::from(*tags),
            _ => 1,
        }
    }
}

/// A condition on the trigger, and which of its edges counts.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeSpec {
    /// The condition.
    pub condition: Condition,
    /// The rule looks when the condition begins to hold.
    pub rising: bool,
    /// The rule looks when the condition ceases to hold.
    pub falling: bool,
    /// How long the condition has to hold before it counts, from when it began.
    pub hold: Duration,
}

/// A condition on the value of a tag.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// It is true, or a number that is not 0.
    True,
    /// It is one of these, by the names of the tag's table, or as text.
    Is(Box<[Arc<str>]>),
    /// It rises above `limit`, and until it is at `back` or below.
    Above {
        /// The condition begins above this.
        limit: f64,
        /// It ends at this and below, at most `limit`.
        back: f64,
    },
    /// It falls below `limit`, and until it is at `back` or above.
    Below {
        /// The condition begins below this.
        limit: f64,
        /// It ends at this and above, at least `limit`.
        back: f64,
    },
}

/// A span of time and what is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Its length. Windows begin at multiples of it since 1970.
    pub every: Duration,
    /// What the event's value is; counts are always summed.
    pub value: Aggregate,
}

/// What stands for the values of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// The mean, weighted by how long each value was.
    #[default]
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The last.
    Last,
}

/// Values that are read in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What is read.
    pub tags: Box<[Slot]>,
    /// One of them that must read as it was when the rule was triggered; else the values may belong to another one.
    pub unchanged: Option<Slot>,
}

/// Where the value of a field comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// A tag's latest value: by its table's name where it has one, null while unknown.
    Input(Slot),
    /// The trigger's value before the change, by its table's name where it has one.
    Previous,
    /// Always the same.
    Constant(serde_json::Value),
    /// Computed; null where that fails.
    Computed(Expression),
    /// An object of fields.
    Object(Vec<(Arc<str>, Field)>),
}

/// What a rule makes of a change of its trigger.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// `WorkOrderStatusChanged`: the trigger's table names the status (OPC 10031-4).
    WorkOrderStatus {
        /// The tag with the work order's id.
        order: Slot,
        /// Fields that are read when a run begins and are in every event that belongs to it.
        latch: Vec<(Arc<str>, Slot)>,
    },
    /// `EquipmentStateChanged`: the trigger's table names the state and its category.
    EquipmentState,
    /// `ProductionCountRecorded` and its like: the trigger is a counter.
    ProductionCount {
        /// Which of them.
        event: CountEvent,
        /// UN/ECE code; C62 (one) unless the tag has another.
        unit: Arc<str>,
        /// A tag that is true when the counter is set back; what follows then is no rollover. Slot 1.
        reset: Option<Slot>,
    },
    /// `AlarmRaised` and `AlarmCleared`: the trigger is an alarm word or a single bit, or has a condition.
    Alarm {
        /// The alarm of the rule's condition, where it has one.
        of_condition: Option<AlarmBit>,
    },
    /// `AlarmRaised` and `AlarmCleared` of conditions (OPC 10000-9): the trigger happens, and its values are records of one of many conditions.
    Conditions,
    /// `MeasurementRecorded`.
    Measurement {
        /// Name of the measurement.
        name: Arc<str>,
    },
    /// Any other event: its data is the rule's `data`.
    Custom {
        /// Type name, `PascalCase`.
        event: Arc<str>,
        /// `mes` or `wms`.
        domain: Arc<str>,
        /// Subject; the equipment unless given.
        subject: Option<Subject>,
    },
}

/// What an event is about, from a tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// What stands before the value, `handling-unit/` for example.
    pub prefix: Arc<str>,
    /// The tag.
    pub tag: Slot,
    /// Whether there is no event while it is empty: a crane that moves without a handling unit moves none.
    pub needed: bool,
}

impl RuleSpec {
    /// A rule of a kind that looks at every change, with nothing besides.
    #[must_use]
    pub fn of(kind: RuleKind) -> Self {
        Self {
            kind,
            priority: Priority::default(),
            shape: Shape::default(),
            when: None,
            sequence: None,
            correlation: None,
            key: None,
            snapshot: None,
            data: Vec::new(),
            version: "sha256:0".into(),
        }
    }
}

/// What is counted, and by which event it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountEvent {
    /// `ProductionCountRecorded` of this kind: `good`, `total` or `consumed`.
    Production(Arc<str>),
    /// `ScrapRecorded`.
    Scrap,
    /// `EnergyRecorded` of this medium: `electricity`, `gas`, `water`, `compressed-air` and so on.
    Energy(Arc<str>),
}

impl CountEvent {
    /// The event's type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Production(_) => "ProductionCountRecorded",
            Self::Scrap => "ScrapRecorded",
            Self::Energy(_) => "EnergyRecorded",
        }
    }
}

impl RuleKind {
    /// Whether it tells what is, so that it can tell later what it left out; the others tell what happened.
    pub(crate) fn makes_up(&self) -> bool {
        matches!(
            self,
            Self::EquipmentState | Self::Measurement { .. } | Self::ProductionCount { .. }
        )
    }
}
