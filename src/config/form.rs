//! The mapping language, as it is written.
//!
//! The doc comments here are the language's reference and the hover texts of editors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use floorgate_yaml::{Duration, Spanned, Within};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::counter::CounterForm;
use crate::event_form::{EventForm, Names};
use crate::skip::Skip;

/// A mapping: what changes of one kind of machine mean.
///
/// `{name}` in `source`, `equipment`, the addresses of tags, topics and constants stands for a parameter of
/// `for_each`; `{{` and `}}` are braces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it checks the keys; the parts are read from the tree")]
pub(crate) struct MappingForm {
    /// Parts that the mapping takes over: one path or a list, relative to this file. A part is a file with only `tables`, `tags`,
    /// `run`, `events` and `include`, for any machine: `{name}` in it is filled by the mapping that includes it. Its entries
    /// come before those of the mapping. A tag or a table of the mapping replaces the whole one of the same name, and so does
    /// `run`; events are added.
    #[serde(default)]
    #[schemars(with = "Names")]
    pub include: Skip,
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
    /// What is other in single instances, by their names. All other instances share one definition.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, OverrideSchema>")]
    pub overrides: Skip,
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
    /// Every event of this mapping says to which run of a work order it belongs: `workOrderId`, `runId`, and the run's id as
    /// correlation. Needs one `WorkOrderStatusChanged` here.
    #[serde(default)]
    #[schemars(with = "Option<RunForm>")]
    pub run: Skip,
    /// Kept for commands to the floor; not there yet.
    #[serde(default)]
    #[schemars(skip)]
    pub commands: Skip,
    /// What changes mean.
    #[schemars(with = "Vec<EventForm>")]
    pub events: Skip,
}

/// What events say of the run that they belong to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "nothing, or a mapping such as {latch: {lotId: lot}}"
)]
pub(crate) struct RunForm {
    /// Fields and their tags, `{lotId: lot}`: read when the run begins, and in each of its events until it ends. Their names are
    /// none that an event has by itself.
    #[serde(default)]
    pub latch: BTreeMap<String, Spanned<String>>,
}

/// Parameters of instances.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it only describes what is decoded by hand")]
pub(crate) enum ForEachSchema {
    /// Every combination of the values: a value, a range such as `1..40`, or a list of these.
    Combinations(BTreeMap<String, serde_json::Value>),
    /// One instance for each element.
    List(Vec<BTreeMap<String, serde_json::Value>>),
}

/// What is other in one instance.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it only describes what is read from the tree")]
pub(crate) struct OverrideSchema {
    /// Tags by name. Keys that are given replace those of the tag as a whole (a `counter` says all of itself), `null` takes a key
    /// away, and `null` in place of a tag leaves it out.
    #[serde(default)]
    pub tags: BTreeMap<String, serde_json::Value>,
    /// Events by the last part of their rules' ids: their `name`, else type and trigger, `ProductionCountRecorded.good`. Keys are
    /// replaced and taken away as those of tags are, and `null` in place of an event leaves it out. The rule keeps its id.
    #[serde(default)]
    pub events: BTreeMap<String, serde_json::Value>,
}

/// A tag. Keys besides these are its address, in the words of the source's adapter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagForm {
    /// Another source than the mapping's.
    #[serde(default)]
    pub source: Option<Spanned<String>>,
    /// Names of the values: a table of the standards (`isa95-job-state`, `isa95-job-state-v1`, `packml-state`,
    /// `packml-mode`, `machinery-item-state`, `machinery-operation-mode`, `result-evaluation`, `mtconnect-execution`,
    /// `weihenstephan-state`, `weihenstephan-program`, `weihenstephan-mode`, `vda5050-action-status`) or one of the mapping's `tables`.
    #[serde(default, deserialize_with = "table_name")]
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
    pub bits: Option<Spanned<BTreeMap<u64, Spanned<BitForm>>>>,
    /// The bits of an integer that are the value, such as `0x0F00` of a control word; they are moved to the right end.
    #[serde(default)]
    pub mask: Option<Spanned<u64>>,
    /// How many places the bits of `mask` are moved to the right, where that is not to the right end.
    #[serde(default)]
    pub shift: Option<Spanned<Within<u8, 0, 63>>>,
    /// A value counts when it has been the same for this long, such as `500ms`; its event then has the time at which it was
    /// first seen. A bad value and the first one ever do not wait.
    #[serde(default)]
    pub debounce: Option<Spanned<Duration>>,
    /// The tag is a heartbeat: when it has not changed for this long while the source is connected, the source is stale
    /// (`SourceConnectionChanged`) and its equipment's states are unknown, until it changes again.
    #[serde(default)]
    pub heartbeat: Option<Spanned<Duration>>,
    /// The tag is late when it has not changed for this long, such as `10m`, counted from the start where it never did: the
    /// log, `floorgate tags` and `floorgate_tags_late` say so. Nothing else changes, no quality and no event: to make its source stale
    /// is for `heartbeat`.
    #[serde(default)]
    pub late_after: Option<Spanned<Duration>>,
    /// The tag of the same source that says whether this one's values hold (true, or not 0). While it does not, this one is
    /// unknown; what was received last counts when it does.
    #[serde(default)]
    pub valid: Option<Spanned<String>>,
    /// What the first value after a start is. `emit` is not for counters, and `silent` only for measurements and events
    /// of the plant's own. Conditions, `join`, `expect` and `transitions` take neither; a `window` and an alarm take `emit`.
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
    "mask",
    "shift",
    "debounce",
    "heartbeat",
    "late_after",
    "valid",
    "initial",
];

/// The name of a table. A table itself is answered with where it belongs.
struct TableName(String);

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = TableName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a table")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<TableName, E> {
                Ok(TableName(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<TableName, A::Error> {
                Err(de::Error::custom(
                    "expected the name of a table, found a table\nput it below `tables`, such as \
                     `tables: {state: {values: {0: Idle, 1: Busy}}}`, and write its name here: `values: state`",
                ))
            }
        }

        deserializer.deserialize_any(NameVisitor)
    }
}

fn table_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Spanned<String>>, D::Error> {
    let name = Option::<Spanned<TableName>>::deserialize(deserializer)?;
    Ok(name.map(|name| Spanned {
        value: name.value.0,
        span: name.span,
    }))
}

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

/// One alarm of an alarm word.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as {code: E17, text: Jam}")]
pub(crate) struct BitForm {
    /// The alarm's code at the plant.
    pub code: String,
    /// 1 (lowest) to 1000 (OPC 10000-5 §6.4.2). 500 when not said.
    #[serde(default)]
    pub severity: Option<Within<u16, 1, 1000>>,
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
#[serde(
    deny_unknown_fields,
    expecting = "a mapping such as {values: {0: Idle, 1: Busy}}"
)]
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
