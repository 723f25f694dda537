//! What the standard events look like: a JSON Schema of their data for who consumes them, and their part of the reference.

use std::fmt::Write as _;

use floorgate_core::plan::COMMON_FIELDS;
use serde_json::{Map, Value, json};

use crate::vocabulary::{EventType, Field, Form, Identity, Made, Origin, STANDARD, snake};

/// JSON Schema (2020-12) of the data of all standard events, each in `$defs` under its type.
#[must_use]
pub fn events_schema() -> String {
    let mut definitions = Map::new();
    for event in STANDARD {
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
    let mut required: Vec<&str> = COMMON_FIELDS.into_iter().filter(|name| *name != "gap").collect();
    for field in event.fields {
        properties.insert(field.name.to_owned(), schema_of(field));
        if field.required {
            required.push(field.name);
        }
    }
    json!({
        "title": name,
        "description": description(event),
        "type": "object",
        "properties": properties,
        "required": required,
    })
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

/// Every field may be null where nothing is known, but for those that the gateway makes.
fn schema_of(field: &Field) -> Value {
    let name = match field.form {
        Form::Text => "string",
        Form::Number => "number",
        Form::Integer => "integer",
        Form::Truth => "boolean",
        Form::List => "array",
        Form::Object => "object",
        Form::Anything => return json!({}),
    };
    match field.form {
        // What the device sends as a number is one, and beyond what JSON holds exactly it is text.
        Form::Text if field.origin != Origin::Made => json!({ "type": [name, "number", "null"] }),
        Form::Integer | Form::Number => json!({ "type": [name, "string", "null"] }),
        _ => json!({ "type": [name, "null"] }),
    }
}

/// The fields of every event.
fn common() -> Map<String, Value> {
    let time = json!({ "type": "string", "format": "date-time" });
    let properties = json!({
        "equipmentPath": { "type": "string", "description": "enterprise/site/area/line/cell (ISA-95)" },
        "timestamps": {
            "type": "object",
            "properties": { "source": time, "server": time, "received": time },
            "required": ["received"],
        },
        "timeBasis": { "enum": ["source", "server", "received"], "description": "which of them is the event's time" },
        "quality": {
            "type": "object",
            "properties": { "class": { "enum": ["good", "uncertain", "bad"] }, "statusCode": { "type": "string" } },
            "required": ["class", "statusCode"],
        },
        "gap": { "const": true, "description": "something may have been missed before this" },
        "mapping": {
            "type": "object",
            "properties": { "ruleId": { "type": "string" }, "version": { "type": "string" } },
            "required": ["ruleId", "version"],
        },
    });
    match properties {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}

/// The events' part of the reference.
pub(crate) fn reference(text: &mut String) {
    text.push_str(
        "\n## Standard events\n\nWhat an event's data has besides what [every event has](../mappings/README.md). A field in **bold** is always there: \
         where the gateway does not make it, it comes from the tag of its name (`cycleNo` or `cycle_no`), or from `data`; the others are \
         there where such a tag is, or `data` names them. Their JSON Schema is [events.schema.json](../mappings/events.schema.json).\n\n\
         | type | means | subject, and key where that is not the equipment | fields | follows |\n|---|---|---|---|---|\n",
    );
    for event in STANDARD {
        let fields: Vec<String> = event.fields.iter().map(shown).collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            event.name,
            event.meaning,
            identity(event),
            fields.join(", "),
            if event.aligns.is_empty() {
                "—"
            } else {
                event.aligns
            },
        );
    }
}

fn shown(field: &Field) -> String {
    let from = match field.origin {
        Origin::Made | Origin::Tag => "",
        Origin::Trigger => " (the trigger)",
        Origin::Previous => " (the trigger before)",
    };
    if field.required {
        format!("**`{}`**{from}", field.name)
    } else {
        format!("`{}`{from}", field.name)
    }
}

fn identity(event: &EventType) -> String {
    let of = |identity: Identity| match identity.subject.first() {
        None => "the equipment".to_owned(),
        Some(field) if identity.is_key => format!("`{}<{}>`, the key too", identity.prefix, snake(field)),
        Some(field) => format!("`{}<{}>`", identity.prefix, snake(field)),
    };
    match event.made {
        Made::OfChanges(identity) | Made::OfEdges(identity) => of(identity),
        Made::Itself => match event.name {
            "WorkOrderStatusChanged" => "`work-order/<order>`",
            "EquipmentStateChanged" => "`equipment/<path>`",
            "Alarm" => "`alarm/<code>`",
            "MeasurementRecorded" => "`measurement/<name>`",
            _ => "`counter/<tag>`",
        }
        .to_owned(),
    }
}
