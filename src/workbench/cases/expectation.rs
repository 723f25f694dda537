//! An event that a test expects, and whether one that came out is it.

use std::fmt::Write as _;

use floorgate_yaml::{Node, NodeKind, Problems, Span, decode, flow};
use serde_json::{Map, Value as Json};

use super::form::EventForm;
use super::seen::{KEYS, Seen, offset};

/// What a test says of an event, in the order of [`KEYS`].
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Where it is written.
    pub span: Span,
    facts: Vec<(&'static str, Json)>,
}

impl Expectation {
    /// Reads an event; what is wrong is in `problems`.
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let form: EventForm = decode(node, problems)?;
        let data = match node.get("data") {
            Some(data) if !matches!(data.kind, NodeKind::Map(_)) => {
                problems
                    .error(
                        data.span,
                        format!("`data`: expected fields, found {}", data.describe()),
                    )
                    .hint("such as `{status: Running}`");
                return None;
            }
            data => data.map(Json::from),
        };
        let text = |text: Option<String>| text.map(Json::from);
        let of = |key: &str| match key {
            "at" => text(form.at.map(|at| offset(at.get()))),
            "type" => Some(form.kind.value.as_str().into()),
            "subject" => text(form.subject.clone()),
            "key" => text(form.key.clone()),
            "topic" => text(form.topic.clone()),
            "initial" => form.initial.map(Json::from),
            "gap" => form.gap.map(Json::from),
            "quality" => form.quality.map(|quality| quality.name().into()),
            "correlation" => text(form.correlation.clone()),
            "time" => text(form.time.map(|time| offset(time.get()))),
            "rule" => text(form.rule.clone()),
            _ => data.clone(),
        };
        let facts = KEYS.iter().filter_map(|key| Some((*key, of(key)?))).collect();
        Some(Self {
            span: node.span,
            facts,
        })
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> &str {
        let kind = self.facts.iter().find(|(key, _)| *key == "type");
        kind.and_then(|(_, kind)| kind.as_str()).unwrap_or_default()
    }

    /// Whether an event is as it is said here.
    #[must_use]
    pub fn is_met_by(&self, seen: &Seen) -> bool {
        self.differing(seen) == 0
    }

    /// How many of its keys say something else than the event.
    pub(crate) fn differing(&self, seen: &Seen) -> usize {
        let differs = |(key, expected): &&(&str, Json)| !holds(expected, &seen.fact(key));
        self.facts.iter().filter(differs).count()
    }

    /// It as YAML.
    pub(crate) fn lines(&self) -> String {
        lines(&self.facts)
    }

    /// An event as YAML, by the keys that are written here.
    pub(crate) fn lines_of(&self, seen: &Seen) -> String {
        let of = |(key, expected): &(&'static str, Json)| (*key, projected(expected, seen.fact(key)));
        lines(&self.facts.iter().map(of).collect::<Vec<_>>())
    }
}

/// Whether a value is what is expected: of an object the fields that are written.
fn holds(expected: &Json, actual: &Json) -> bool {
    match (expected, actual) {
        (Json::Object(expected), Json::Object(actual)) => expected
            .iter()
            .all(|(name, value)| holds(value, actual.get(name).unwrap_or(&Json::Null))),
        (Json::Array(expected), Json::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(one, other)| holds(one, other))
        }
        // 10 and 10.0 are one number, however a device writes it.
        (Json::Number(expected), Json::Number(actual)) => {
            expected == actual
                || (expected.is_f64() || actual.is_f64()) && expected.as_f64() == actual.as_f64()
        }
        _ => expected == actual,
    }
}

/// The part of a value that an expectation speaks of; what is as expected is written as it is there.
fn projected(expected: &Json, actual: Json) -> Json {
    if holds(expected, &actual) {
        return expected.clone();
    }
    match (expected, actual) {
        (Json::Object(expected), Json::Object(mut actual)) => {
            let of = |(name, value): (&String, &Json)| {
                let own = actual.remove(name).unwrap_or(Json::Null);
                (name.clone(), projected(value, own))
            };
            Json::Object(expected.iter().map(of).collect::<Map<String, Json>>())
        }
        (_, actual) => actual,
    }
}

/// An event as an item of a YAML list.
pub(crate) fn lines(facts: &[(&str, Json)]) -> String {
    let mut text = String::new();
    for (key, value) in facts {
        let head = if text.is_empty() { "- " } else { "  " };
        let _ = match value {
            Json::Object(fields) if !fields.is_empty() => {
                writeln!(text, "{head}{key}:\n{}", indented(fields))
            }
            value => writeln!(text, "{head}{key}: {}", flow(value)),
        };
    }
    text
}

/// Fields, each on a line of its own.
fn indented(fields: &Map<String, Json>) -> String {
    let line = |(name, value): (&String, &Json)| {
        let name = flow(&Json::from(name.as_str()));
        format!("    {name}: {}", flow(value))
    };
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}
