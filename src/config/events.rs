//! The standard events' part of the reference.

use std::fmt::Write as _;

use crate::vocabulary::{EventType, Field, Identity, Made, Origin, SOURCE, STANDARD, snake};

/// The events' part of the reference.
pub(crate) fn reference(text: &mut String) {
    text.push_str(
        "\n## Standard events\n\nWhat an event's data has besides what [every event has](../mappings/README.md). A field in **bold** is always there: \
         where the gateway does not make it, it comes from the tag of its name (`cycleNo` or `cycle_no`), or from `data`; the others are \
         there where such a tag is, or `data` names them. Their JSON Schema is [events.schema.json](../mappings/events.schema.json).\n\n\
         | type | means | subject, and key where that is not the equipment | fields | follows |\n|---|---|---|---|---|\n",
    );
    for event in STANDARD.iter().chain([&SOURCE]) {
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
            "SourceConnectionChanged" => "`source/<name>`; the key is the name",
            "MeasurementRecorded" => "`measurement/<name>`",
            _ => "`counter/<tag>`",
        }
        .to_owned(),
    }
}
