//! What is printed of a look.

use std::path::PathBuf;

use floorgate_adapter_api::{Point, PointKind, Scalar};
use floorgate_workbench::draft::Mapping;
use serde_json::{Value, json};

use crate::printing::print;
use crate::registry::browse::Browsed;

/// Most things that were missed which are shown; `--json` and the mapping have more.
const MOST_MISSED: usize = 10;

/// Prints everything as one JSON object.
pub fn json(browsed: &Browsed, mappings: &[Mapping], files: &[PathBuf]) -> anyhow::Result<()> {
    let survey = &browsed.survey;
    let of_mapping = |(place, mapping): (usize, &Mapping)| {
        json!({
            "name": mapping.name, "file": files.get(place), "instances": mapping.instances, "tags": mapping.tags,
            "events": mapping.events, "standardEvents": mapping.standard,
            "text": if files.is_empty() { Value::from(mapping.text.as_str()) } else { Value::Null },
        })
    };
    let all = json!({
        "partial": survey.is_partial, "nodes": browsed.nodes, "variables": browsed.variables,
        "properties": browsed.properties, "missed": survey.missed,
        "points": survey.points.iter().map(point).collect::<Vec<_>>(),
        "mappings": mappings.iter().enumerate().map(of_mapping).collect::<Vec<_>>(),
    });
    print(&format!("{all}\n"))?;
    Ok(())
}

fn point(point: &Point) -> Value {
    let kind = match point.kind {
        PointKind::Bit => "bit",
        PointKind::Whole => "whole",
        PointKind::Float => "float",
        PointKind::Text => "text",
        PointKind::Other => "other",
    };
    let address = point.address.iter();
    let address: serde_json::Map<String, Value> = address
        .map(|(key, value)| ((*key).to_owned(), scalar(value)))
        .collect();
    let states = point.states.iter();
    let states: Vec<Value> = states
        .map(|(number, name)| json!({"value": number, "name": name}))
        .collect();
    let role = point
        .role
        .map(|role| json!({"event": role.event, "field": role.field, "values": role.values}));
    json!({
        "path": point.path, "address": address, "kind": kind, "unit": point.unit, "range": point.range,
        "states": states, "description": point.description, "value": point.value, "role": role,
    })
}

fn scalar(value: &Scalar) -> Value {
    match value {
        Scalar::Bool(value) => json!(value),
        Scalar::Int(value) => json!(value),
        Scalar::Float(value) => json!(value),
        Scalar::Text(value) => json!(value),
        Scalar::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), scalar(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// Tells on standard error what it came to.
pub fn summary(browsed: &Browsed, mappings: &[Mapping], files: &[PathBuf]) {
    let survey = &browsed.survey;
    let templates = mappings.iter().filter(|mapping| mapping.instances > 0);
    let instances: usize = templates.clone().map(|mapping| mapping.instances).sum();
    let events: usize = mappings.iter().map(|mapping| mapping.events).sum();
    let standard: usize = mappings.iter().map(|mapping| mapping.standard).sum();
    eprintln!(
        "{} nodes, {} variables; {}{events} events{}; {} could not be looked at",
        browsed.nodes,
        browsed.variables,
        match templates.count() {
            0 => String::new(),
            templates => format!("{templates} templates with {instances} instances, "),
        },
        match standard {
            0 => String::new(),
            standard => format!(", {standard} of them by companion specifications"),
        },
        survey.missed.len()
    );
    if survey.is_partial {
        eprintln!("ended before all was seen: there may be more");
    }
    for missed in survey.missed.iter().take(MOST_MISSED) {
        eprintln!("  {missed}");
    }
    if let Some(more @ 1..) = survey.missed.len().checked_sub(MOST_MISSED) {
        eprintln!("  and {more} more: --json lists them");
    }
    for file in files {
        eprintln!("wrote {}", file.display());
    }
    if !files.is_empty() {
        eprintln!("read it, add the source to floorgate.yaml as its head says, then run `floorgate check`");
    }
}
