//! Whether an event's data is what the schema of the standard events says: the words of JSON Schema that it uses, and no others.

use serde_json::Value as Json;

/// Holds a value against a schema. The error names the place, and what the schema says of it.
pub(super) fn holds(schema: &Json, value: &Json, at: &str) -> Result<(), String> {
    let object = schema
        .as_object()
        .ok_or_else(|| format!("{at}: the schema is {schema}"))?;
    for (word, says) in object {
        let is_right = match word.as_str() {
            "title" | "description" | "examples" => true,
            "type" => match says {
                Json::Array(types) => types.iter().any(|one| is_a(value, one)),
                one => is_a(value, one),
            },
            "enum" => says.as_array().is_some_and(|values| values.contains(value)),
            "const" => says == value,
            "minimum" => value
                .as_f64()
                .zip(says.as_f64())
                .is_none_or(|(value, least)| value >= least),
            "maximum" => value
                .as_f64()
                .zip(says.as_f64())
                .is_none_or(|(value, most)| value <= most),
            "format" => says == "date-time" && value.as_str().is_none_or(is_a_time),
            "required" => {
                let mut names = says.as_array().into_iter().flatten().filter_map(Json::as_str);
                !value.is_object() || names.all(|name| value.get(name).is_some())
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name);
                says == false && names.all(|name| known.get(name).is_some())
            }
            "properties" => {
                for (name, schema) in says.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(name) {
                        holds(schema, value, &format!("{at}/{name}"))?;
                    }
                }
                true
            }
            "items" => {
                for (place, value) in value.as_array().into_iter().flatten().enumerate() {
                    holds(says, value, &format!("{at}/{place}"))?;
                }
                true
            }
            _ => return Err(format!("{at}: `{word}` of the schema is not looked at")),
        };
        if !is_right {
            return Err(format!("{at} is {value}, and the schema says {word} {says}"));
        }
    }
    Ok(())
}

fn is_a(value: &Json, one: &Json) -> bool {
    match one.as_str() {
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => value.is_null(),
    }
}

/// RFC 3339 in UTC.
fn is_a_time(text: &str) -> bool {
    let form = "0000-00-00T00:00:00";
    let Some((head, rest)) = text.split_at_checked(form.len()) else {
        return false;
    };
    let fits = |(one, form): (u8, u8)| {
        if form == b'0' {
            one.is_ascii_digit()
        } else {
            one == form
        }
    };
    let fraction = rest.strip_suffix('Z');
    head.bytes().zip(form.bytes()).all(fits)
        && fraction.is_some_and(|rest| {
            rest.is_empty()
                || rest
                    .strip_prefix('.')
                    .is_some_and(|digits| digits.bytes().all(|one| one.is_ascii_digit()))
        })
}
