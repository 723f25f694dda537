//! What two mappings make of one recording, event by event.
//!
//! Two events are the same one where type, subject and time are the same. Ids, sequence numbers and the mapping's version are not compared: they
//! differ in any two mappings.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use floorgate_core::Event;
use floorgate_sample::Timestamp;
use serde_json::{Map, Value, json};

use crate::plain::plain;

/// What makes two events the same one; the last number parts those that are alike.
type Name = (Timestamp, Arc<str>, Arc<str>, usize);

/// What consumers see of an event.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    topic: Arc<str>,
    key: Arc<str>,
    data: Map<String, Value>,
}

/// The events of both.
#[derive(Debug, Default)]
pub struct Comparison {
    events: BTreeMap<Name, (Option<Seen>, Option<Seen>)>,
}

impl Comparison {
    /// Adds an event of the mapping that is looked at.
    pub fn add_ours(&mut self, event: &Event) {
        self.add(event, |pair| &mut pair.0);
    }

    /// Adds an event of the one that it is compared with.
    pub fn add_theirs(&mut self, event: &Event) {
        self.add(event, |pair| &mut pair.1);
    }

    fn add(&mut self, event: &Event, side: impl Fn(&mut (Option<Seen>, Option<Seen>)) -> &mut Option<Seen>) {
        let mut name: Name = (event.time, Arc::clone(&event.name), Arc::clone(&event.subject), 0);
        let place = loop {
            let place = side(self.events.entry(name.clone()).or_default());
            if place.is_none() {
                break place;
            }
            name.3 += 1;
        };
        *place = Some(Seen {
            topic: Arc::clone(&event.topic),
            key: Arc::clone(&event.key),
            data: data(&event.value),
        });
    }

    /// How many are alike and how many are not.
    pub fn summary(&self) -> String {
        let (mut same, mut removed, mut added, mut changed) = (0, 0, 0, 0);
        for pair in self.events.values() {
            match pair {
                (Some(ours), Some(theirs)) if ours == theirs => same += 1,
                (Some(_), Some(_)) => changed += 1,
                (Some(_), None) => removed += 1,
                (None, _) => added += 1,
            }
        }
        format!(
            "{same} events are the same, {changed} differ, {removed} are only in the first, {added} only in the second"
        )
    }

    /// Prints what differs, in the order of time.
    pub fn print(&self, out: &mut dyn Write, json: bool) -> io::Result<()> {
        for ((time, kind, subject, _), (ours, theirs)) in &self.events {
            let (sign, word) = match (ours, theirs) {
                (Some(ours), Some(theirs)) if ours == theirs => continue,
                (Some(_), Some(_)) => ('~', "differs"),
                (Some(_), None) => ('-', "only in the first"),
                (None, _) => ('+', "only in the second"),
            };
            let fields = fields(ours.as_ref(), theirs.as_ref());
            if json {
                let fields: Map<String, Value> = fields
                    .into_iter()
                    .map(|(name, ours, theirs)| (name, json!([ours, theirs])))
                    .collect();
                let row = json!({
                    "difference": word, "time": time.to_string(), "type": kind, "subject": subject, "fields": fields,
                });
                writeln!(out, "{row}")?;
                continue;
            }
            let line = format!("{sign} {time}  {kind}  {subject}");
            writeln!(out, "{}", plain(&line))?;
            for (name, ours, theirs) in fields {
                let line = match (ours, theirs) {
                    (Some(ours), Some(theirs)) => format!("    {name}: {ours} -> {theirs}"),
                    (Some(value), None) => format!("  - {name}: {value}"),
                    (None, Some(value)) => format!("  + {name}: {value}"),
                    (None, None) => continue,
                };
                writeln!(out, "{}", plain(&line))?;
            }
        }
        Ok(())
    }
}

/// The data of an event, of a structured one too, without the version of its mapping.
fn data(value: &[u8]) -> Map<String, Value> {
    let Ok(Value::Object(mut object)) = serde_json::from_slice(value) else {
        let text = String::from_utf8_lossy(value).into_owned();
        return Map::from_iter([("value".to_owned(), Value::String(text))]);
    };
    if let Some(Value::Object(data)) = object.remove("data") {
        object = data;
    }
    object.remove("mapping");
    object
}

type Difference = (String, Option<Value>, Option<Value>);

/// The fields in which two differ, or all of the only one.
fn fields(ours: Option<&Seen>, theirs: Option<&Seen>) -> Vec<Difference> {
    let all = |seen: Option<&Seen>| {
        let mut fields = Map::new();
        if let Some(seen) = seen {
            fields.insert("(topic)".to_owned(), json!(seen.topic));
            fields.insert("(key)".to_owned(), json!(seen.key));
            fields.extend(seen.data.clone());
        }
        fields
    };
    let (ours, mut theirs) = (all(ours), all(theirs));
    let mut differences = Vec::new();
    for (name, value) in ours {
        let other = theirs.remove(&name);
        if other.as_ref() != Some(&value) {
            differences.push((name, Some(value), other));
        }
    }
    differences.extend(theirs.into_iter().map(|(name, value)| (name, None, Some(value))));
    differences
}
