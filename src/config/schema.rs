//! JSON Schema of the files, and the reference of settings made from it.

use std::fmt::Write as _;

use floorgate_adapter_api::Adapter;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::completion;
use crate::event_form::EventForm;
use crate::form::{MappingForm, TagForm};
use crate::overrides;
use crate::settings::Settings;
use crate::source_keys;

/// JSON Schema (2020-12) of the settings' file, with the settings of the given adapters.
#[must_use]
pub fn settings_schema(adapters: &[&dyn Adapter]) -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = root::<Settings>(&mut generator, "floorgate settings");
    let mut variants = Vec::new();
    for adapter in adapters {
        let mut variant = resolved(adapter.settings_schema(&mut generator), &generator);
        let word = json!({ "const": adapter.name(), "description": "The protocol." });
        let mut late_after = generator.subschema_for::<floorgate_yaml::Duration>().to_value();
        late_after["description"] = json!(source_keys::LATE_AFTER);
        let own = [("adapter", word), ("late_after", late_after)];
        let own = own.map(|(key, schema)| (key.to_owned(), schema));
        add_properties(&mut variant, Map::from_iter(own));
        required(&mut variant, "adapter");
        variants.push(variant);
    }
    root["properties"]["sources"]["additionalProperties"] = json!({ "oneOf": variants });
    finish(root, generator)
}

/// JSON Schema (2020-12) of a mapping file, with the addresses of the given adapters, and what an editor may complete.
#[must_use]
pub fn mapping_schema(adapters: &[&dyn Adapter]) -> String {
    let mut whole = serde_json::from_str(&plain_mapping_schema(adapters)).unwrap_or_default();
    completion::add(&mut whole);
    let mut text = serde_json::to_string_pretty(&whole).unwrap_or_default();
    text.push('\n');
    text
}

fn plain_mapping_schema(adapters: &[&dyn Adapter]) -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = root::<MappingForm>(&mut generator, "floorgate mapping");
    let generic = resolved(generator.subschema_for::<TagForm>(), &generator);
    let mut variants = Vec::new();
    for adapter in adapters {
        let mut variant = generic.clone();
        let mut address = resolved(adapter.address_schema(&mut generator), &generator);
        if let Some(keys) = address.get_mut("properties").and_then(Value::as_object_mut) {
            keys.values_mut().for_each(allow_template);
            add_properties(&mut variant, std::mem::take(keys));
        }
        if let Some(names) = address.get("required").and_then(Value::as_array) {
            names
                .iter()
                .filter_map(Value::as_str)
                .for_each(|name| required(&mut variant, name));
        }
        variant["title"] = json!(format!("tag by {}", adapter.name()));
        variants.push(variant);
    }
    let of_instance = &mut root["properties"]["overrides"]["additionalProperties"];
    let event = resolved(generator.subschema_for::<EventForm>(), &generator);
    let definition = resolved_in(of_instance, &generator);
    let tags = variants.iter().map(changed).collect::<Vec<_>>();
    *of_instance = definition;
    of_instance["properties"]["tags"]["additionalProperties"] = json!({ "anyOf": tags });
    of_instance["properties"]["events"]["additionalProperties"] = changed(&event);
    let keys = &mut of_instance["properties"]["events"]["additionalProperties"]["properties"];
    for key in overrides::IDENTITY {
        keys.as_object_mut().and_then(|keys| keys.remove(key));
    }
    root["properties"]["tags"]["additionalProperties"] = json!({ "anyOf": variants });
    let_parts(&mut root);
    finish(root, generator)
}

/// Title of what stands in an override: the keys are those of the shared definition, and explained there.
const CHANGED: &str = "what is other in this instance";

/// A schema of the keys that are other: none is needed, and `null` stands for taking one, or all of it, away.
fn changed(shared: &Value) -> Value {
    let mut own = shared.clone();
    if let Value::Object(own) = &mut own {
        own.remove("required");
        own.insert("type".to_owned(), json!(["object", "null"]));
        own.insert("title".to_owned(), json!(CHANGED));
        own.remove("description");
    }
    let keys = own.get_mut("properties").and_then(Value::as_object_mut);
    for key in keys.into_iter().flat_map(Map::values_mut) {
        let mut or_nothing = Map::new();
        if let Some(description) = key.as_object_mut().and_then(|key| key.remove("description")) {
            or_nothing.insert("description".to_owned(), description);
        }
        or_nothing.insert("anyOf".to_owned(), json!([key.take(), { "type": "null" }]));
        *key = Value::Object(or_nothing);
    }
    own
}

/// Lets the schema of mappings be that of their parts too, so that both begin with the same line: a file that says which
/// machines it is for needs all that a mapping needs.
fn let_parts(root: &mut Value) {
    let needed = root.as_object_mut().and_then(|root| root.remove("required"));
    let names: Vec<Value> = match needed {
        Some(Value::Array(names)) => names,
        _ => Vec::new(),
    };
    let (of_parts, own): (Vec<Value>, Vec<Value>) = names
        .into_iter()
        .partition(|name| *name == "tags" || *name == "events");
    let any: Vec<Value> = own.iter().map(|name| json!({ "required": [name] })).collect();
    root["if"] = json!({ "anyOf": any });
    root["then"] = json!({
        "required": own,
        "anyOf": [{ "required": of_parts }, { "required": ["include"] }],
    });
}

/// Title of what stands beside a value's own form where a parameter of the instance may stand for it.
const TEMPLATE: &str = "with a parameter";

/// Lets text with a placeholder stand for a value of any type.
fn allow_template(schema: &mut Value) {
    let takes_any_text = schema["type"]
        .as_array()
        .map_or(schema["type"] == "string", |types| {
            types.iter().any(|name| name == "string")
        })
        && schema.get("pattern").is_none()
        && schema.get("enum").is_none();
    if takes_any_text {
        return;
    }
    let mut whole = Map::new();
    if let Some(description) = schema
        .as_object_mut()
        .and_then(|schema| schema.remove("description"))
    {
        whole.insert("description".to_owned(), description);
    }
    let template = json!({ "title": TEMPLATE, "type": "string", "pattern": "\\{[a-z_]" });
    whole.insert("anyOf".to_owned(), json!([schema.take(), template]));
    *schema = Value::Object(whole);
}

fn root<T: JsonSchema>(generator: &mut SchemaGenerator, title: &str) -> Value {
    let mut root = resolved(generator.subschema_for::<T>(), generator);
    root["title"] = json!(title);
    root
}

/// The schema itself where it is a reference to a definition.
fn resolved(schema: Schema, generator: &SchemaGenerator) -> Value {
    resolved_in(&schema.to_value(), generator)
}

fn resolved_in(value: &Value, generator: &SchemaGenerator) -> Value {
    let name = value
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.rsplit('/').next());
    match name.and_then(|name| generator.definitions().get(name)) {
        Some(definition) => definition.clone(),
        None => value.clone(),
    }
}

/// Adds properties to a schema of an object.
fn add_properties(schema: &mut Value, properties: Map<String, Value>) {
    match schema.get_mut("properties").and_then(Value::as_object_mut) {
        Some(own) => own.extend(properties),
        None => {
            if let Value::Object(schema) = schema {
                schema.insert("properties".to_owned(), Value::Object(properties));
            }
        }
    }
}

fn required(schema: &mut Value, name: &str) {
    if !schema["required"].is_array() {
        schema["required"] = json!([]);
    }
    if let Value::Array(names) = &mut schema["required"] {
        names.push(json!(name));
    }
}

fn finish(mut root: Value, mut generator: SchemaGenerator) -> String {
    let mut whole = Map::new();
    whole.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    let definitions = generator.take_definitions(true);
    if let Value::Object(root) = &mut root {
        whole.append(root);
    }
    if !definitions.is_empty() {
        whole.insert("$defs".to_owned(), Value::Object(definitions));
    }
    let mut text = serde_json::to_string_pretty(&Value::Object(whole)).unwrap_or_default();
    text.push('\n');
    text
}

/// The reference of all settings and of the mapping language, in Markdown.
#[must_use]
pub fn reference(adapters: &[&dyn Adapter]) -> String {
    let mut text = String::from(
        "# Reference\n\nMade from the program itself. Lengths of time are a whole number and a unit: `us`, `ms`, \
         `s`, `m`, `h`, `d`. Where the \
         default is —, nothing is set, and its meaning says what happens then.\n",
    );
    let settings = serde_json::from_str(&settings_schema(adapters)).unwrap_or_default();
    section("Settings (`floorgate.yaml`)", &settings, "", &mut text);
    let mapping = serde_json::from_str(&plain_mapping_schema(adapters)).unwrap_or_default();
    section("Mappings", &mapping, "", &mut text);
    crate::events::reference(&mut text);
    text
}

fn section(title: &str, root: &Value, path: &str, text: &mut String) {
    let _ = write!(text, "\n## {title}\n\n");
    if let Some(description) = root["description"].as_str() {
        let _ = writeln!(text, "{}\n", paragraphs(description));
    }
    text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    let mut seen = Vec::new();
    rows(root, root, path, &mut seen, text);
}

fn paragraphs(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    paragraphs.join("\n\n")
}

/// The definition that a schema refers to, through `$ref` and through an optional's `anyOf`.
fn definition<'v>(root: &'v Value, schema: &'v Value) -> (&'v Value, Option<&'v str>) {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next())
    {
        return (&root["$defs"][name], Some(name));
    }
    for list in ["anyOf", "allOf"] {
        if let Some(options) = schema[list].as_array() {
            let mut options = options
                .iter()
                .filter(|option| option["type"] != "null" && option["title"] != TEMPLATE);
            if let (Some(only), None) = (options.next(), options.next()) {
                return definition(root, only);
            }
        }
    }
    (schema, None)
}

fn rows<'v>(root: &'v Value, schema: &'v Value, path: &str, seen: &mut Vec<&'v str>, text: &mut String) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let needed = |name: &str| {
        let lists = [
            &schema["required"],
            &schema["then"]["required"],
            &schema["then"]["anyOf"][0]["required"],
        ];
        let mut names = lists.into_iter().filter_map(Value::as_array).flatten();
        names.any(|required| required == name)
    };
    for (name, property) in properties {
        let (target, definition_name) = definition(root, property);
        let meaning = property["description"]
            .as_str()
            .or(target["description"].as_str())
            .unwrap_or_default();
        let default = match &property["default"] {
            _ if needed(name) => "**required**".to_owned(),
            _ if target["properties"].is_object() && !may_be_null(property) => "as below".to_owned(),
            Value::Null | Value::Object(_) => "—".to_owned(),
            value => format!("`{}`", value.to_string().replace('"', "")),
        };
        let _ = writeln!(
            text,
            "| `{path}{name}` | {} | {default} | {} |",
            type_name(root, target),
            cell(meaning)
        );
        if let Some(definition_name) = definition_name {
            if seen.contains(&definition_name) {
                continue;
            }
            seen.push(definition_name);
        }
        nested(root, target, &format!("{path}{name}"), seen, text);
        if let Some(definition_name) = definition_name {
            seen.retain(|seen| *seen != definition_name);
        }
    }
}

/// Whether nothing at all may stand for a value.
fn may_be_null(schema: &Value) -> bool {
    schema["anyOf"]
        .as_array()
        .is_some_and(|options| options.iter().any(|option| option["type"] == "null"))
}

/// What stands below a key: its own keys, those of a list's elements, and of values under names or numbers.
fn nested<'v>(root: &'v Value, target: &'v Value, path: &str, seen: &mut Vec<&'v str>, text: &mut String) {
    let by_number = target["patternProperties"].as_object();
    let steps = [
        (target, ""),
        (&target["items"], "[]"),
        (&target["additionalProperties"], ".NAME"),
    ]
    .into_iter()
    .chain(
        by_number
            .into_iter()
            .flat_map(|by| by.values().map(|value| (value, ".NUMBER"))),
    );
    for (schema, step) in steps {
        let (whole, _) = definition(root, schema);
        if whole["title"] == CHANGED || whole["anyOf"][0]["title"] == CHANGED {
            continue;
        }
        let alternatives = ["oneOf", "anyOf"]
            .into_iter()
            .flat_map(|list| whole[list].as_array().into_iter().flatten())
            .map(|option| definition(root, option).0);
        for form in std::iter::once(whole).chain(alternatives) {
            let adapter = form["properties"]["adapter"]["const"].as_str();
            let adapter = adapter.or_else(|| form["title"].as_str()?.strip_prefix("tag by "));
            let adapter = adapter.map(|name| format!(" ({name})")).unwrap_or_default();
            rows(root, form, &format!("{path}{step}{adapter}."), seen, text);
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn type_name(root: &Value, schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return choice(values.iter());
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        let names: Vec<&Value> = variants
            .iter()
            .flat_map(|variant| match variant["enum"].as_array() {
                Some(values) => values.iter().collect(),
                None => vec![&variant["const"]],
            })
            .filter(|value| !value.is_null())
            .collect();
        if !names.is_empty() {
            return choice(names.into_iter());
        }
    }
    match &schema["const"] {
        Value::Null => {}
        value => return choice(std::iter::once(value)),
    }
    if schema["pattern"]
        .as_str()
        .is_some_and(|pattern| pattern.contains("us|"))
    {
        return "length of time".to_owned();
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect(),
        _ => {
            let options = schema["anyOf"].as_array().into_iter().flatten();
            let names: Vec<String> = options
                .map(|option| type_name(root, definition(root, option).0))
                .collect();
            return names.join(" or ");
        }
    };
    let spoken: Vec<&str> = types
        .into_iter()
        .map(|name| match name {
            "string" => "text",
            "boolean" => "true, false",
            "object" => "mapping",
            "array" => "list",
            name => name,
        })
        .collect();
    spoken.join(" or ")
}

fn choice<'v>(values: impl Iterator<Item = &'v Value>) -> String {
    let names: Vec<String> = values
        .map(|value| format!("`{}`", value.to_string().replace('"', "")))
        .collect();
    names.join(", ")
}
