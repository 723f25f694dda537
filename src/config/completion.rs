//! What an editor offers where the plant may write names of its own beside those of the standards: event types and value tables, each
//! with its meaning.

use floorgate_core::table::{Key, ValueTable};
use serde_json::{Map, Value, json};

use crate::vocabulary::STANDARD;

/// Adds the names to a schema of mappings, wherever it has a type of events or a table of values.
pub(crate) fn add(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(keys)) = object.get_mut("properties") {
                offer(keys, ("type", "trigger"), events);
                offer(keys, ("values", "deadband"), tables);
            }
            object.values_mut().for_each(add);
        }
        Value::Array(items) => items.iter_mut().for_each(add),
        _ => {}
    }
}

/// Offers names for a key that stands beside another one.
fn offer(keys: &mut Map<String, Value>, (key, beside): (&str, &str), names: fn() -> Vec<Value>) {
    let is_there = keys.contains_key(beside);
    let key = keys.get_mut(key).and_then(Value::as_object_mut);
    if let Some(key) = key.filter(|key| is_there && !key.contains_key("anyOf")) {
        let own = json!({ "description": "one of the plant's own" });
        let names: Vec<Value> = names().into_iter().chain([own]).collect();
        key.insert("anyOf".to_owned(), names.into());
    }
}

fn events() -> Vec<Value> {
    let event = |event: &crate::vocabulary::EventType| {
        let aligns = if event.aligns.is_empty() {
            String::new()
        } else {
            format!(" ({})", event.aligns)
        };
        json!({ "const": event.name, "description": format!("{}{aligns}", event.meaning) })
    };
    STANDARD.iter().map(event).collect()
}

fn tables() -> Vec<Value> {
    let tables = ValueTable::STANDARD.iter();
    let tables = tables.filter_map(|name| ValueTable::standard(name));
    let offered = tables.map(|table| {
        let entry = |entry: &floorgate_core::table::Entry| match &entry.key {
            Key::Number(number) => format!("{number} {}", entry.name),
            Key::Text(_) => entry.name.to_string(),
        };
        let entries: Vec<String> = table.entries.iter().map(entry).collect();
        json!({ "const": &*table.name, "description": entries.join(", ") })
    });
    offered.collect()
}
