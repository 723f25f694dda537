//! The mapping language, as it is written.
//!
//! The doc comments here are the language's reference and the hover texts of editors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use floorgate_core::plan::{COMMON_FIELDS, Priority};
use floorgate_yaml::{Duration, Spanned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::skip::Skip;

/// A mapping: what changes of one kind of machine mean.
///
/// `{name}` in `source`, `equipment`, the addresses of tags, topics and constants stands for a parameter of
/// `for_each`; `{{` and `}}` are braces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it checks the keys; the parts are read from the tree")]
pub(crate) struct MappingForm {
    /// Name of the mapping, unique among all: the first part of its tags' and rules' names, under which state is
    /// stored. Renaming it starts its counters and runs anew.
    pub mapping: Spanned<String>,
    /// The instances: a list of parameters, `[{line: 1, plc: a}, {line: 2, plc: b}]`, or a set of them with
    /// ranges, `{line: 1..40, plc: a}`. Without it there is one instance.
    #[serde(default)]
    #[schemars(with = "Option<ForEachSchema>")]
    pub for_each: Skip,
    /// Name of an instance, unique in the mapping. Without it: the value of its first parameter.
    #[serde(default)]
    pub instance: Option<Spanned<String>>,
    /// The source of its tags, by its name in the settings.
    pub source: Spanned<String>,
    /// Path of the equipment, `enterprise/site/area/line/cell` (ISA-95), at least enterprise and site and one more.
    pub equipment: Spanned<String>,
    /// Value tables of the plant's own, by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, TableForm>")]
    pub tables: Skip,
    /// Tags by name; a name is a letter followed by letters, digits and `_`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub tags: Skip,
    /// What changes mean.
    #[schemars(with = "Vec<EventForm>")]
    pub events: Skip,
}

/// Parameters of instances.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it only describes what is decoded by hand")]
pub(crate) enum ForEachSchema {
    /// Every combination of the values: a value, a list of values, or a range such as `1..40`.
    Combinations(BTreeMap<String, serde_json::Value>),
    /// One instance for each element.
    List(Vec<BTreeMap<String, serde_json::Value>>),
}

/// A tag. Keys besides these are its address, in the words of the source's adapter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagForm {
    /// Another source than the mapping's.
    #[serde(default)]
    pub source: Option<Spanned<String>>,
    /// Names of the values: a table of the standards (`isa95-job-state`, `isa95-job-state-v1`, `packml-state`,
    /// `packml-mode`, `machinery-item-state`) or one of the mapping's `tables`.
    #[serde(default)]
    pub values: Option<Spanned<String>>,
    /// Unit of the value as code of UN/ECE Recommendation 20: `CEL` °C, `C62` pieces, `KWT` kW, `MMT` mm.
    #[serde(default)]
    pub unit: Option<Spanned<String>>,
    /// Smallest change that counts, against the last value that counted: in the tag's unit (`0.5`), or in per
    /// cent of its `range` (`2%`).
    #[serde(default)]
    pub deadband: Option<Spanned<DeadbandForm>>,
    /// Lowest and highest value, `[0, 150]`; a deadband in per cent refers to their distance.
    #[serde(default)]
    pub range: Option<Spanned<(f64, f64)>>,
    /// Longest silence of a measurement: without a change for this long `MeasurementRecorded` tells the value again.
    /// At least 100ms.
    #[serde(default)]
    pub at_least_every: Option<Spanned<Duration>>,
    /// The tag is a counter, and how it counts.
    #[serde(default)]
    pub counter: Option<Spanned<CounterForm>>,
    /// The tag is an alarm word (or one bit): its alarms by bit, from 0. A negative number of a signed type counts as
    /// the narrowest word of 16, 32 or 64 bits that holds it and the bits named here: where a device has a wider signed
    /// word, name its highest bit; a type without sign is exact.
    #[serde(default)]
    pub bits: Option<Spanned<BTreeMap<u8, Spanned<BitForm>>>>,
    /// What the first value after a start is. `emit` is not for counters, and `silent` only for measurements and events
    /// of the plant's own.
    /// A source that goes on where an earlier start left off has no first value.
    #[serde(default)]
    pub initial: InitialForm,
}

/// The keys of a tag that are the mapping's; the others are the adapter's.
pub(crate) const TAG_KEYS: &[&str] = &[
    "source",
    "values",
    "unit",
    "deadband",
    "range",
    "at_least_every",
    "counter",
    "bits",
    "initial",
];

/// Smallest change that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DeadbandForm {
    /// In the tag's unit.
    Absolute(f64),
    /// In per cent of the tag's range.
    Percent(f64),
}

impl<'de> Deserialize<'de> for DeadbandForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DeadbandVisitor;

        impl Visitor<'_> for DeadbandVisitor {
            type Value = DeadbandForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number not below 0 such as 0.5, or per cent of the range such as 2%")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<DeadbandForm, E> {
                if value.is_finite() && value >= 0.0 {
                    Ok(DeadbandForm::Absolute(value))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(value), &self))
                }
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<DeadbandForm, E> {
                self.visit_f64(value as f64)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<DeadbandForm, E> {
                self.visit_f64(value as f64)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DeadbandForm, E> {
                text.strip_suffix('%')
                    .and_then(|number| number.trim().parse::<f64>().ok())
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(DeadbandForm::Percent)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(DeadbandVisitor)
    }
}

impl JsonSchema for DeadbandForm {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Deadband".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "number", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?%$" },
            ]
        })
    }
}

/// How a counter counts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CounterForm {
    /// Its width in bits: 32 counts to 4294967295 and then from 0. 1 to 64.
    #[serde(default)]
    pub width: Option<u8>,
    /// Its largest value, where that is not the end of its width (2147483647 for those of `PackML`).
    #[serde(default)]
    pub max: Option<u64>,
    /// Largest plausible step. A smaller value than before is a rollover when the step over the end is at most
    /// this, else a reset. Without it: a hundredth of the largest value.
    #[serde(default)]
    pub largest_step: Option<u64>,
}

/// One alarm of an alarm word.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BitForm {
    /// The alarm's code at the plant.
    pub code: String,
    /// 1 (lowest) to 1000 (OPC 10000-5 §6.4.2). 500 when not said.
    #[serde(default)]
    pub severity: Option<Spanned<u16>>,
    /// Text for people.
    #[serde(default)]
    pub text: Option<String>,
    /// Category at the plant.
    #[serde(default)]
    pub category: Option<String>,
}

/// What the first value after a start is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InitialForm {
    /// It is compared with the stored value: equal is no event, different is a change after a gap. Without a
    /// stored value it is emitted as initial.
    #[default]
    Compare,
    /// It is always emitted as initial. Not for counters: what was counted meanwhile would be in no total.
    Emit,
    /// It is never emitted. Only for measurements and types of the plant's own: the others tell what happened since
    /// their last event.
    Silent,
}

/// A value table: the names of a device's values.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableForm {
    /// The state model that events name.
    #[serde(default)]
    pub model: Model,
    /// What becomes of a value that is not in the table: `unknown` (the default; the raw value stands beside it),
    /// `ignore` (no event), or another name.
    #[serde(default)]
    pub unmapped: Option<String>,
    /// Names by value: a number, or text where the device speaks in words.
    pub values: BTreeMap<String, EntryForm>,
}

/// The state model that a table follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Model {
    /// The plant's own.
    #[default]
    Custom,
    /// `PackML` (OPC 30050).
    Packml,
    /// OPC UA for Machinery (OPC 40001-1).
    Machinery,
    /// `MTConnect`.
    Mtconnect,
    /// Weihenstephan Standards.
    Weihenstephan,
    /// Job Control of ISA-95 (OPC 10031-4): states of work orders.
    Isa95,
}

impl Model {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Packml => "packml",
            Self::Machinery => "machinery",
            Self::Mtconnect => "mtconnect",
            Self::Weihenstephan => "weihenstephan",
            Self::Isa95 => "isa95",
        }
    }
}

/// The name of a value, or the name and what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct EntryForm(pub EntryFields);

/// A named value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryFields {
    /// Its name.
    pub name: String,
    /// Equipment category (OPC 40001-1).
    #[serde(default)]
    pub category: Option<Category>,
    /// Sub-state of a work order (OPC 10031-4): `Waiting`, `Held` and so on.
    #[serde(default)]
    pub sub_state: Option<String>,
}

/// Equipment category (`MachineryItemState`, OPC 40001-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub(crate) enum Category {
    NotAvailable,
    OutOfService,
    NotExecuting,
    Executing,
}

impl Category {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotAvailable => "NotAvailable",
            Self::OutOfService => "OutOfService",
            Self::NotExecuting => "NotExecuting",
            Self::Executing => "Executing",
        }
    }
}

impl<'de> Deserialize<'de> for EntryForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;

        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = EntryForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or {name, category, sub_state}")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<EntryForm, E> {
                Ok(EntryForm(EntryFields {
                    name: name.to_owned(),
                    category: None,
                    sub_state: None,
                }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EntryForm, A::Error> {
                EntryFields::deserialize(MapAccessDeserializer::new(map)).map(EntryForm)
            }
        }

        deserializer.deserialize_any(EntryVisitor)
    }
}

impl JsonSchema for EntryForm {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Entry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = generator.subschema_for::<EntryFields>();
        json_schema!({ "anyOf": [{ "type": "string" }, fields] })
    }
}

/// What a change means. The standard events are `WorkOrderStatusChanged`, `EquipmentStateChanged`,
/// `ProductionCountRecorded`, `Alarm` (which makes `AlarmRaised` and `AlarmCleared`) and `MeasurementRecorded`;
/// any other type is the plant's own, and its data is what `data` says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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
    /// Name of the measurement (`MeasurementRecorded`). Without it: the trigger's name.
    #[serde(default)]
    pub measurement: Option<Spanned<String>>,
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
    /// Topic of its events, in place of the settings' and `<enterprise>.<site>.<domain>.<entity>.v1`.
    #[serde(default)]
    pub topic: Option<Spanned<String>>,
}

impl EventForm {
    /// What is written, else what is usual of the type.
    pub(crate) fn priority(&self) -> Priority {
        match (self.priority.map(|priority| priority.value), self.event.as_str()) {
            (Some(PriorityForm::Low), _) | (None, "MeasurementRecorded") => Priority::Low,
            (Some(PriorityForm::Normal), _) | (None, "EquipmentStateChanged" | "ProductionCountRecorded") => {
                Priority::Normal
            }
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
