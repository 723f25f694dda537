//! A JSON Schema of the standard events' data, for who consumes them.

use floorgate_core::plan::COMMON_FIELDS;
use floorgate_core::table::ValueTable;
use serde_json::{Map, Value, json};

use crate::inner::meaning_of;
use crate::vocabulary::{EventType, Field, Form, SOURCE, STANDARD};

/// JSON Schema (2020-12) of the data of all standard events, each in `$defs` under its type.
#[must_use]
pub fn events_schema() -> String {
    let mut definitions = Map::new();
    for event in STANDARD.iter().chain([&SOURCE]) {
        let names: &[&str] = match event.name {
            "Alarm" => &["AlarmRaised", "AlarmCleared"],
            name => &[name],
        };
        for name in names {
            definitions.insert((*name).to_owned(), definition(event, name));
        }
    }
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "data of floorgate's events",
        "description": "A mapping may add fields. What is not known is null or \"unknown\".",
        "$defs": definitions,
    });
    let mut text = serde_json::to_string_pretty(&whole).unwrap_or_default();
    text.push('\n');
    text
}

fn definition(event: &EventType, name: &str) -> Value {
    let mut properties = common();
    let is_of_a_source = event.name == SOURCE.name;
    let mut required: Vec<&str> = COMMON_FIELDS.into_iter().filter(|name| *name != "gap").collect();
    if is_of_a_source {
        let has = |name: &str| matches!(name, "timestamps" | "timeBasis" | "quality");
        properties.retain(|name, _| has(name));
        required.retain(|name| has(name));
    }
    for field in event.fields {
        properties.insert(field.name.to_owned(), schema_of(field));
        if field.required {
            required.push(field.name);
        }
    }
    if event.name == "EquipmentStateChanged" {
        properties["state"]["examples"] = states().into();
    }
    let mut definition = json!({
        "title": name,
        "description": description(event),
        "type": "object",
        "properties": properties,
        "required": required,
    });
    if is_of_a_source {
        definition["additionalProperties"] = false.into();
    }
    definition
}

/// The states of equipment that the tables of the standards name; the plant's own tables have others.
fn states() -> Vec<String> {
    let tables = ValueTable::STANDARD.iter();
    let entries = tables
        .filter_map(|name| ValueTable::standard(name))
        .flat_map(|table| table.entries);
    let states = entries.filter(|entry| entry.category.is_some());
    states
        .map(|entry| entry.name.to_string())
        .chain(["unknown".to_owned()])
        .collect()
}

fn description(event: &EventType) -> String {
    if event.aligns.is_empty() {
        format!("{}.", sentence(event.meaning))
    } else {
        format!("{} ({}).", sentence(event.meaning), event.aligns)
    }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_uppercase(), characters.as_str())
    })
}

/// Every field may be null where nothing is known.
fn schema_of(field: &Field) -> Value {
    let mut schema = match field.form {
        // What the device sends as a number is one.
        Form::Text if field.may_be_number() => json!({ "type": ["string", "number", "null"] }),
        Form::Id => json!({ "type": ["string", "number", "null"] }),
        Form::Text => json!({ "type": ["string", "null"] }),
        // Beyond what JSON holds exactly it is text.
        Form::Number => json!({ "type": ["number", "string", "null"] }),
        Form::Integer => json!({ "type": ["integer", "string", "null"] }),
        Form::Truth => json!({ "type": ["boolean", "null"] }),
        Form::Anything => json!({}),
        Form::Time => json!({ "type": ["string", "null"], "format": "date-time" }),
        Form::Milliseconds => json!({ "type": ["integer", "null"], "minimum": 0 }),
        Form::Severity => json!({ "type": ["integer", "null"], "minimum": 1, "maximum": 1000 }),
        Form::OneOf(names) => {
            let names = names.iter().map(|name| Value::from(*name));
            json!({ "enum": names.chain([Value::Null]).collect::<Vec<_>>() })
        }
        Form::Mostly(names) if field.may_be_number() => {
            json!({ "type": ["string", "number", "null"], "examples": names })
        }
        Form::Mostly(names) => json!({ "type": ["string", "null"], "examples": names }),
        Form::Object(fields) => {
            let mut schema = object(fields);
            schema["type"] = json!(["object", "null"]);
            schema
        }
        Form::Texts => json!({ "type": ["array", "null"], "items": { "type": ["string", "number"] } }),
        Form::List(fields) => {
            let mut item = object(fields);
            item["type"] = "object".into();
            json!({ "type": ["array", "null"], "items": item })
        }
    };
    if let Some(meaning) = meaning_of(field.name) {
        schema["description"] = meaning.into();
    }
    schema
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), schema_of(field)))
        .collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut schema = json!({});
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// The fields of every event, and those that a rule of any event may have.
fn common() -> Map<String, Value> {
    let time = json!({ "type": "string", "format": "date-time" });
    let properties = json!({
        "equipmentPath": { "type": "string", "description": "enterprise/site/area/line/cell (ISA-95)" },
        "timestamps": {
            "type": "object",
            "properties": { "source": time, "server": time, "received": time },
            "required": ["received"],
            "additionalProperties": false,
        },
        "timeBasis": { "enum": ["source", "server", "received"], "description": "which of them is the event's time" },
        "quality": {
            "type": "object",
            "properties": {
                "class": { "enum": ["good", "uncertain", "bad"] },
                "statusCode": {
                    "type": "string",
                    "description": "OPC UA status code, eight hexadecimal digits behind 0x",
                },
            },
            "required": ["class", "statusCode"],
            "additionalProperties": false,
        },
        "gap": { "const": true, "description": "something may have been missed before this" },
        "mapping": {
            "type": "object",
            "properties": { "ruleId": { "type": "string" }, "version": { "type": "string" } },
            "required": ["ruleId", "version"],
            "additionalProperties": false,
        },
        "workOrderId": {
            "type": ["string", "number", "null"],
            "description": "the work order whose run it belongs to; a number where `data` names a tag that is one",
        },
        "runId": { "type": ["string", "null"], "description": "the run that it belongs to" },
        "snapshot": {
            "enum": ["complete", "incomplete", "changed", "failed"],
            "description": "how it went to read what was read for it",
        },
        "missing": {
            "type": "array",
            "items": { "type": "string" },
            "description": "tags of a join that did not come in time",
        },
        "missed": { "type": "integer", "minimum": 1, "description": "how many of the PLC's numbers were skipped" },
    });
    match properties {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}
