//! Events of a mapping, as they are written.
//!
//! The doc comments here are the language's reference and the hover texts of editors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use floorgate_core::plan::{Aggregate, COMMON_FIELDS, Priority};
use floorgate_yaml::{Duration, Spanned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::form::BitForm;
use crate::skip::Skip;

/// What a change means. The standard events are those of [the table](../mappings/README.md); any other type is the plant's own, and its
/// data is what `data` says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as {type: …, trigger: …}")]
pub(crate) struct EventForm {
    /// The event's type, in `PascalCase`.
    #[serde(rename = "type")]
    pub event: Spanned<String>,
    /// Last part of the rule's id, unique in the mapping. Without it: the type and the trigger.
    #[serde(default)]
    pub name: Option<Spanned<String>>,
    /// The tag whose change makes the event.
    #[serde(default)]
    #[schemars(required)]
    pub trigger: Option<Spanned<String>>,
    /// The tag with the work order's id (`WorkOrderStatusChanged`). Without it: the tag named `order`.
    #[serde(default)]
    pub order: Option<Spanned<String>>,
    /// What is counted (`ProductionCountRecorded`): `good`, `total` or `consumed`. Without it: the trigger's name,
    /// where it is one of these.
    #[serde(default)]
    pub kind: Option<Spanned<CountKind>>,
    /// What is measured (`EnergyRecorded`): `electricity`, `gas`, `water`, `steam`, `compressed-air` or the plant's own word.
    #[serde(default)]
    pub medium: Option<Spanned<String>>,
    /// Name of the measurement (`MeasurementRecorded`). Without it: the trigger's name.
    #[serde(default)]
    pub measurement: Option<Spanned<String>>,
    /// The event is made when the trigger becomes true (`rising`), ceases to be (`falling`), or both; a number is true when it is not 0.
    /// `every` makes it of every change, where the type has an edge of its own.
    #[serde(default)]
    pub edge: Option<Spanned<EdgeForm>>,
    /// The event is made when the trigger becomes this state, or one of these, by the names of its table.
    #[serde(default)]
    pub becomes: Option<Spanned<Names>>,
    /// The event is made when the trigger ceases to be this state, or one of these.
    #[serde(default)]
    pub leaves: Option<Spanned<Names>>,
    /// The event is made when the trigger rises above this value; of `Alarm` it is the condition.
    #[serde(default)]
    pub above: Option<Spanned<f64>>,
    /// The event is made when the trigger falls below this value; of `Alarm` it is the condition.
    #[serde(default)]
    pub below: Option<Spanned<f64>>,
    /// How far the value must come back before `above` or `below` can be met again, in the tag's unit: `above: 80` with `hysteresis: 5`
    /// ends at 75, without one at 80.
    #[serde(default)]
    pub hysteresis: Option<Spanned<f64>>,
    /// How long a condition (`edge: rising`, `becomes`, `above`, `below`) has to hold before it counts. The event then has the time at
    /// which it began.
    #[serde(default)]
    pub hold: Option<Spanned<Duration>>,
    /// The alarm of a condition, in place of the trigger's `bits`: of `above`, `below` or `becomes`, else that the trigger is true.
    #[serde(default)]
    pub alarm: Option<Spanned<BitForm>>,
    /// Tags that belong together with the trigger: the event is made when all of them have changed. What has not by the end of `within`
    /// is null and named in `missing`, and the event's quality is uncertain.
    #[serde(default)]
    pub join: Option<Spanned<Vec<Spanned<String>>>>,
    /// States in the order in which the trigger is expected to take them. The event is made when it does not, or not `within` the time: its
    /// `deviation` is `order` or `timeout`, beside `expected`, `actual`, `reached` and `elapsedMs`.
    #[serde(default)]
    pub expect: Option<Spanned<Vec<Spanned<String>>>>,
    /// The time of `join` and `expect`, such as `2s`.
    #[serde(default)]
    pub within: Option<Spanned<Duration>>,
    /// States and those that may follow each, `{Idle: [Starting], …}`, or `packml-state` for those of PackML. The event is made of a change
    /// that may not be, with `from`, `to` and `allowed`; states without an entry may go anywhere.
    #[serde(default)]
    pub transitions: Option<Spanned<TransitionsForm>>,
    /// The event tells a span of time, such as `60s`, at its end: of a measurement the smallest, largest and mean value, of a counter
    /// what was counted. Windows begin at multiples of their length.
    #[serde(default)]
    pub window: Option<Spanned<Duration>>,
    /// What stands as the value of a window: `mean` (weighted by time, the default), `min`, `max` or `last`.
    #[serde(default)]
    pub aggregate: Option<Spanned<AggregateForm>>,
    /// Tags that are read from the source in one request when the event is due, so that its data belongs together. What only snapshots
    /// need is not watched besides. The event's `snapshot` says how it went: `complete`, `changed` or `failed`. States, work orders, counts
    /// and alarms have none: they tell every change at once.
    #[serde(default)]
    pub snapshot: Option<Spanned<Vec<Spanned<String>>>>,
    /// One of the `snapshot`'s tags that must read as it was when the trigger changed, such as the cycle's number: else the values may be
    /// of the next one, and the event says `changed`.
    #[serde(default)]
    pub unchanged: Option<Spanned<String>>,
    /// The tag with the PLC's own number of the event, a `counter`: where one was skipped, the event says `gap` and how many are `missed`.
    #[serde(default)]
    pub sequence: Option<Spanned<String>>,
    /// The tag whose value is the event's correlation id, such as a transport's.
    #[serde(default)]
    pub correlation: Option<Spanned<String>>,
    /// The tag whose value is the record's key and with that the ordering scope, such as a handling unit. Without it: the equipment.
    #[serde(default)]
    pub key: Option<Spanned<String>>,
    /// Domain of an event of the plant's own: `mes` (the default) or `wms`.
    #[serde(default)]
    pub domain: Option<Spanned<Domain>>,
    /// The tag whose value is the subject of an event of the plant's own. Without it: the equipment.
    #[serde(default)]
    pub subject: Option<Spanned<String>>,
    /// What becomes of its events when the outbox is nearly full of what Kafka has not taken: `low` is left out for the last fifth
    /// of the room (the default of `MeasurementRecorded`), `normal` for the last tenth (the default of `EquipmentStateChanged` and
    /// `ProductionCountRecorded`), `high` never (the default of the plant's own types, and always so of `WorkOrderStatusChanged` and `Alarm`).
    /// What was left out is counted. When there is room again, measurements and states are told as they are then and counts in full; the
    /// next event of a type of the plant's own says `gap`.
    #[serde(default)]
    pub priority: Option<Spanned<PriorityForm>>,
    /// Condition over tags, in CEL; while it is not true or cannot be computed, no event is made. That a state is not known any
    /// more is told whatever the condition says.
    #[serde(default)]
    pub when: Option<Spanned<String>>,
    /// Further fields of the event's data: a tag's name, `= expression` in CEL over tags, a number, `true`, `false`,
    /// `{constant: …}` for fixed text, or an object of these. A field that cannot be computed is null. The fields that
    /// every event has (`equipmentPath`, `timestamps`, `timeBasis`, `quality`, `gap`, `mapping`) cannot be replaced.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    #[schemars(extend("propertyNames" = {"not": {"enum": COMMON_FIELDS}}))]
    #[allow(dead_code, reason = "it is read from the tree")]
    pub data: Skip,
    /// Kept for acknowledging to the PLC; not there yet.
    #[serde(default)]
    #[schemars(skip)]
    #[allow(dead_code, reason = "it is refused where it stands in the tree")]
    pub acknowledge: Skip,
    /// Kept for handshakes with the PLC; not there yet.
    #[serde(default)]
    #[schemars(skip)]
    #[allow(dead_code, reason = "it is refused where it stands in the tree")]
    pub handshake: Skip,
    /// Topic of its events, in place of the settings' and `<enterprise>.<site>.<domain>.<entity>.v1`.
    #[serde(default)]
    pub topic: Option<Spanned<String>>,
}

impl EventForm {
    /// Whether it tells what a counter counted.
    pub(crate) fn counts(&self) -> bool {
        matches!(
            self.event.as_str(),
            "ProductionCountRecorded" | "ScrapRecorded" | "EnergyRecorded"
        )
    }

    /// Whether its events follow the trigger change by change, so that none may be passed over or wait for anything.
    pub(crate) fn tells_every_change(&self) -> bool {
        self.counts()
            || matches!(
                self.event.as_str(),
                "WorkOrderStatusChanged" | "EquipmentStateChanged"
            )
    }

    /// What is written, else what is usual of the type.
    pub(crate) fn priority(&self) -> Priority {
        match (self.priority.map(|priority| priority.value), self.event.as_str()) {
            (Some(PriorityForm::Low), _) | (None, "MeasurementRecorded") => Priority::Low,
            (Some(PriorityForm::Normal), _)
            | (
                None,
                "EquipmentStateChanged"
                | "EquipmentModeChanged"
                | "ProductionCountRecorded"
                | "EnergyRecorded",
            ) => Priority::Normal,
            (Some(PriorityForm::High) | None, _) => Priority::High,
        }
    }
}

/// What becomes of events when the outbox is nearly full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PriorityForm {
    /// Left out first.
    Low,
    /// Left out when only the last reserve is left.
    Normal,
    /// Never left out.
    High,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CountKind {
    /// Good pieces.
    Good,
    /// All pieces.
    Total,
    /// What was used up.
    Consumed,
}

impl CountKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Total => "total",
            Self::Consumed => "consumed",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Good, Self::Total, Self::Consumed]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// The business system that an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Domain {
    /// Manufacturing execution.
    Mes,
    /// Warehouse management.
    Wms,
}

impl Domain {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mes => "mes",
            Self::Wms => "wms",
        }
    }
}

/// Which edge of the trigger counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EdgeForm {
    /// It becomes true.
    Rising,
    /// It ceases to be true.
    Falling,
    /// Both.
    Both,
    /// Every change, where the type would look at an edge.
    Every,
}

/// What stands for the values of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AggregateForm {
    /// The mean, weighted by time.
    Mean,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The last value.
    Last,
}

impl AggregateForm {
    pub(crate) const fn aggregate(self) -> Aggregate {
        match self {
            Self::Mean => Aggregate::Mean,
            Self::Min => Aggregate::Min,
            Self::Max => Aggregate::Max,
            Self::Last => Aggregate::Last,
        }
    }
}

/// A name, or a list of them.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// One.
    One(String),
    /// Several, each where it stands.
    Several(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a list of names")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names::One(name.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Names, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(Names::Several)
            }
        }

        deserializer.deserialize_any(NamesVisitor)
    }
}

impl JsonSchema for Names {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Names".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// Transitions of a standard, or the plant's own.
#[derive(Clone, Debug)]
pub(crate) enum TransitionsForm {
    /// Those of a standard, by its name.
    Standard(String),
    /// States that may follow, by state.
    Own(Vec<(Spanned<String>, Vec<Spanned<String>>)>),
}

impl<'de> Deserialize<'de> for TransitionsForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TransitionsVisitor;

        impl<'de> Visitor<'de> for TransitionsVisitor {
            type Value = TransitionsForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a standard, or {State: [states that may follow]}")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<TransitionsForm, E> {
                Ok(TransitionsForm::Standard(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TransitionsForm, A::Error> {
                let mut own = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    own.push(entry);
                }
                Ok(TransitionsForm::Own(own))
            }
        }

        deserializer.deserialize_any(TransitionsVisitor)
    }
}

impl JsonSchema for TransitionsForm {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Transitions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": ["packml-state"] },
                { "type": "object", "additionalProperties": { "type": "array", "items": { "type": "string" } } },
            ]
        })
    }
}
