//! An event as a test sees it: by the keys that a test writes.

use std::time::Duration;

use floorgate_core::Event;
use floorgate_core::plan::COMMON_FIELDS;
use serde_json::{Map, Value as Json};

use super::player::ORIGIN;

/// An event that came out.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The rule that made it; none of a source's own events.
    pub rule: Option<String>,
    at: Duration,
    event: Event,
    data: Map<String, Json>,
}

/// The keys of an event in a test, in the order in which they are shown.
pub(crate) const KEYS: [&str; 12] = [
    "at",
    "type",
    "subject",
    "key",
    "topic",
    "initial",
    "gap",
    "quality",
    "correlation",
    "time",
    "rule",
    "data",
];

impl Seen {
    /// The event that was made at a time. Its data is an object: the core makes no other.
    #[must_use]
    pub fn new(at: Duration, event: Event) -> Self {
        let data = match serde_json::from_slice(&event.value) {
            Ok(Json::Object(data)) => data,
            _ => Map::new(),
        };
        let rule = data.get("mapping").and_then(|mapping| mapping["ruleId"].as_str());
        Self {
            rule: rule.map(str::to_owned),
            at,
            event,
            data,
        }
    }

    /// Its type as the data's schema has it: `AlarmRaised`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.event.name
    }

    /// A field of its data.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Json> {
        self.data.get(name)
    }

    /// What a test compares under a key.
    pub(crate) fn fact(&self, key: &str) -> Json {
        match key {
            "at" => offset(self.at).into(),
            "type" => self.kind().into(),
            "subject" => (*self.event.subject).into(),
            "key" => (*self.event.key).into(),
            "topic" => (*self.event.topic).into(),
            "initial" => (self.attribute("emission").as_deref() == Some("initial")).into(),
            "gap" => (self.data.get("gap") == Some(&Json::Bool(true))).into(),
            "quality" => self
                .data
                .get("quality")
                .map_or(Json::Null, |quality| quality["class"].clone()),
            "correlation" => self.attribute("correlationid").into(),
            "time" => when(self.event.time.as_nanos()).into(),
            "rule" => self.rule.clone().into(),
            _ => Json::Object(self.data.clone()),
        }
    }

    /// What a test says of it when it says what matters: what is as usual is left out, and so are ids, which another release makes in another way.
    pub(crate) fn facts(&self) -> Vec<(&'static str, Json)> {
        let mut facts: Vec<(&'static str, Json)> =
            ["at", "type", "subject"].map(|key| (key, self.fact(key))).into();
        for key in ["initial", "gap"] {
            facts.extend(Some((key, self.fact(key))).filter(|(_, fact)| *fact == true));
        }
        facts.extend(Some(("quality", self.fact("quality"))).filter(|(_, fact)| fact != "good"));
        let is_id = |value: &Json| {
            value
                .as_str()
                .is_some_and(|text| uuid::Uuid::try_parse(text).is_ok())
        };
        let own = self
            .data
            .iter()
            .filter(|(name, value)| !COMMON_FIELDS.contains(&name.as_str()) && !is_id(value));
        let own: Map<String, Json> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        facts.push(("data", Json::Object(own)));
        facts
    }

    /// An attribute of its envelope.
    fn attribute(&self, name: &str) -> Option<String> {
        let lines = self
            .event
            .shared_headers
            .lines()
            .chain(self.event.headers.lines());
        let mut attributes = lines.filter_map(|line| line.strip_prefix("ce_")?.split_once(": "));
        let (_, value) = attributes.find(|(known, _)| *known == name)?;
        // As header lines are written.
        Some(
            value
                .replace("%0A", "\n")
                .replace("%0D", "\r")
                .replace("%25", "%"),
        )
    }
}

/// A time since the beginning of a test, as a step has it.
#[must_use]
pub fn offset(time: Duration) -> String {
    let micros = time.as_micros();
    if micros.is_multiple_of(1_000_000) {
        format!("{}s", micros / 1_000_000)
    } else if micros.is_multiple_of(1_000) {
        format!("{}ms", micros / 1_000)
    } else {
        format!("{micros}us")
    }
}

/// A point in time as a step has it, also one before the beginning.
#[must_use]
pub fn when(nanos: i64) -> String {
    let since = nanos.saturating_sub(ORIGIN.as_nanos());
    let sign = if since < 0 { "-" } else { "" };
    format!("{sign}{}", offset(Duration::from_nanos(since.unsigned_abs())))
}
