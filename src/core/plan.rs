//! The plan: what configuration and mappings come to, as flat tables that a change walks by number.
//!
//! What equal instances share (a tag's meaning, a rule's form) is behind one `Arc`; an instance is a small
//! row. Keys and rule ids are stable names: stored state is found by them after the mapping changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{SourceId, TagId};

use crate::expression::Expression;
use crate::table::ValueTable;

/// Number of a piece of equipment in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EquipmentId(pub u32);

/// Everything the core needs to know, resolved.
#[derive(Debug, Default)]
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
#[derive(Debug)]
pub struct SourceRow {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Topic of its `SourceConnectionChanged` events.
    pub topic: Arc<str>,
}

/// A piece of equipment: the work unit that events are about, and their ordering scope.
#[derive(Debug)]
pub struct Equipment {
    /// Path in the ISA-95 hierarchy, `enterprise/site/area/line/cell`.
    pub path: Arc<str>,
}

/// One tag of one instance.
#[derive(Debug)]
pub struct Tag {
    /// Stable name, `mapping/instance/tag` (`mapping/tag` where there is one instance).
    pub key: Arc<str>,
    /// The source that delivers it.
    pub source: SourceId,
    /// What all instances share.
    pub spec: Arc<TagSpec>,
}

/// What a tag means.
#[derive(Debug, Default)]
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
}

/// Smallest change that counts, compared with the last value that counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deadband {
    /// In the tag's unit; a percentage was resolved against the tag's range when the plan was made.
    pub absolute: f64,
}

/// How a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Largest value before the counter starts again at 0.
    pub max: u64,
    /// Largest plausible step between two values; a smaller value is a rollover only when the step over the
    /// end is at most this, else a reset.
    pub largest_step: Option<u64>,
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
    /// Compared with the stored value: equal is no event, different is a change after a gap. Without a
    /// stored value it is emitted as initial.
    #[default]
    Compare,
    /// Always emitted as initial.
    Emit,
    /// Never emitted: the stored value is replaced silently.
    Silent,
}

/// Number of a tag among a rule's inputs. Input 0 is the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u16);

/// One rule of one instance.
#[derive(Debug)]
pub struct Rule {
    /// Stable name, unique in the plan: `mapping.instance.event`.
    pub id: Arc<str>,
    /// What its events are about.
    pub equipment: EquipmentId,
    /// Tags that the rule reads, by [`Slot`]; the first one triggers it.
    pub inputs: Box<[TagId]>,
    /// Topic of its events.
    pub topic: Arc<str>,
    /// What all instances share.
    pub spec: Arc<RuleSpec>,
}

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Clone, Debug)]
pub struct RuleSpec {
    /// What it makes of a change.
    pub kind: RuleKind,
    /// What becomes of its events while the outbox fills.
    pub priority: Priority,
    /// The rule is silent while this is not true.
    pub when: Option<Expression>,
    /// Further fields of the event's data, in order; a field of the same name that the rule writes is replaced. None of [`COMMON_FIELDS`].
    pub data: Vec<(Arc<str>, Field)>,
    /// Version of the mapping file, `sha256:` and twelve hexadecimal digits.
    pub version: Arc<str>,
}

/// Where the value of a field comes from.
#[derive(Clone, Debug)]
pub enum Field {
    /// A tag's latest value: by its table's name where it has one, null while unknown.
    Input(Slot),
    /// Always the same.
    Constant(serde_json::Value),
    /// Computed; null where that fails.
    Computed(Expression),
    /// An object of fields.
    Object(Vec<(Arc<str>, Field)>),
}

/// What a rule makes of a change of its trigger.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// `WorkOrderStatusChanged`: the trigger's table names the status (OPC 10031-4).
    WorkOrderStatus {
        /// The tag with the work order's id.
        order: Slot,
    },
    /// `EquipmentStateChanged`: the trigger's table names the state and its category.
    EquipmentState,
    /// `ProductionCountRecorded`: the trigger is a counter.
    ProductionCount {
        /// `good`, `total` or `consumed`.
        kind: Arc<str>,
        /// UN/ECE code; C62 (one) unless the tag has another.
        unit: Arc<str>,
    },
    /// `AlarmRaised` and `AlarmCleared`: the trigger is an alarm word or a single bit.
    Alarm,
    /// `MeasurementRecorded`.
    Measurement {
        /// Name of the measurement.
        name: Arc<str>,
    },
    /// An event type of the user's own; its data is the rule's `data`.
    Custom {
        /// Type name, `PascalCase`.
        event: Arc<str>,
        /// `mes` or `wms`.
        domain: Arc<str>,
        /// Subject; the equipment path unless given.
        subject: Option<Slot>,
    },
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

impl Plan {
    /// Every topic that its events go to.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        let rules = self.rules.iter().map(|rule| &rule.topic);
        rules
            .chain(self.sources.iter().map(|source| &source.topic))
            .cloned()
            .collect()
    }

    /// The rules of each tag, as an index for [`crate::Core`]: offsets by tag, and rule numbers.
    #[must_use]
    pub(crate) fn rules_by_tag(&self) -> (Vec<u32>, Vec<u32>) {
        let mut offsets = vec![0_u32; self.tags.len() + 1];
        for rule in &self.rules {
            if let Some(trigger) = rule.inputs.first() {
                offsets[trigger.index() + 1] += 1;
            }
        }
        for index in 1..offsets.len() {
            offsets[index] += offsets[index - 1];
        }
        let mut next = offsets.clone();
        let mut rules = vec![0_u32; offsets.last().copied().unwrap_or(0) as usize];
        for (number, rule) in (0_u32..).zip(&self.rules) {
            if let Some(trigger) = rule.inputs.first() {
                let place = &mut next[trigger.index()];
                rules[*place as usize] = number;
                *place += 1;
            }
        }
        (offsets, rules)
    }
}
