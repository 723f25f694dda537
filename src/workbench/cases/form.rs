//! Tests of mappings, as they are written.
//!
//! The doc comments here are the hover texts of editors.

use std::collections::BTreeMap;

use floorgate_yaml::{Duration, Spanned};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

/// Tests of mappings: what happens to their tags, and exactly the events that come of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it checks the keys; the parts are read from the tree")]
pub(crate) struct FileForm {
    /// The mapping that is tested, one path or a list, relative to this file.
    #[schemars(with = "Paths")]
    pub mapping: IgnoredAny,
    /// The tests.
    #[schemars(with = "Vec<TestForm>")]
    pub tests: IgnoredAny,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum Paths {
    One(String),
    Many(Vec<String>),
}

/// One test. It begins with a gateway that knows nothing, at 2026-01-01T00:00:00Z.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the parts are read from the tree")]
pub(crate) struct TestForm {
    /// What is tested, in words.
    pub name: Spanned<String>,
    /// The types of events that are looked at. Without it: all but `SourceConnectionChanged`.
    #[serde(default)]
    pub events: Option<Spanned<Vec<Spanned<String>>>>,
    /// What happens, in the order of time.
    #[schemars(with = "Vec<StepForm>")]
    pub steps: IgnoredAny,
    /// The events that must come, in this order, and no others. Of each the keys that are written are compared.
    #[serde(default)]
    #[schemars(with = "Vec<EventForm>")]
    pub expect: Option<IgnoredAny>,
}

/// What happens at one time. A further key is the name of a source, and its value what it sends: values by tag that were read together, or
/// a list of these that came one after the other. A tag of an instance is `2/state`.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct StepForm {
    /// When, since the beginning: `5s`, `1500ms`.
    at: Duration,
    /// Sources that connect and begin anew.
    online: Option<Paths>,
    /// Sources that connect again and have missed nothing: what they send in this step happened meanwhile.
    resumed: Option<Paths>,
    /// Sources that are lost.
    offline: Option<Paths>,
    /// Sources that are connected and silent for too long.
    stale: Option<Paths>,
    /// Sources that may have lost values, or `{plc: [state]}` for some of their tags.
    gap: Option<Json>,
    /// What a source kept while it could not be reached, and is asked for now: values as a source sends them, by source.
    history: Option<BTreeMap<String, Json>>,
    /// The gateway is started again: `resumed` (nothing was missed), `new`, or `{after: 10s, sources: new}`.
    restart: Option<Json>,
    /// The outbox is `filling` (low priority is left out), `nearly full` (normal too) or `has room`.
    outbox: Option<Fullness>,
    /// What a `snapshot` reads, by source: values by tag, or `failed`. Of a list each answers one request.
    read: Option<BTreeMap<String, Json>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used")]
enum Fullness {
    Filling,
    #[serde(rename = "nearly full")]
    NearlyFull,
    #[serde(rename = "has room")]
    HasRoom,
}

/// An event that must come.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "`data` is read from the tree")]
pub(crate) struct EventForm {
    /// When it is made, since the beginning.
    #[serde(default)]
    pub at: Option<Duration>,
    /// Its type, such as `AlarmRaised`.
    #[serde(rename = "type")]
    pub kind: Spanned<String>,
    /// What it is about, as `ce_subject` has it.
    #[serde(default)]
    pub subject: Option<String>,
    /// The record's key.
    #[serde(default)]
    pub key: Option<String>,
    /// Its topic.
    #[serde(default)]
    pub topic: Option<String>,
    /// Whether it was found at a start and is no change.
    #[serde(default)]
    pub initial: Option<bool>,
    /// Whether something may have been missed before it.
    #[serde(default)]
    pub gap: Option<bool>,
    /// The class of its quality.
    #[serde(default)]
    pub quality: Option<QualityForm>,
    /// What it belongs to, as `ce_correlationid` has it.
    #[serde(default)]
    pub correlation: Option<String>,
    /// The event's own time, since the beginning: the device's where it has one.
    #[serde(default)]
    pub time: Option<Duration>,
    /// The id of the rule that makes it.
    #[serde(default)]
    pub rule: Option<String>,
    /// Fields of its data. Those that are written are compared, within objects too; `null` is one that is null or not there.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Json>")]
    pub data: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QualityForm {
    Good,
    Uncertain,
    Bad,
}

impl QualityForm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }
}

/// JSON Schema (2020-12) of files with tests of mappings.
#[must_use]
pub fn schema() -> String {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<FileForm>();
    schema.insert("title".to_owned(), "floorgate tests of mappings".into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
