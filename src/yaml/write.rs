//! Values as YAML on one line, as people write them.

use serde_json::Value;

/// A value in flow style: `{state: 6, order: WO-1}`. It reads back as the same value.
#[must_use]
pub fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => written(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", written(key), flow(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// Text as it stands in YAML: plain where nothing in it has a meaning there, else in quotes.
fn written(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./ ".contains(&byte))
        && !text.ends_with(' ')
        // Words of the core schema.
        && !["true", "false", "null"].contains(&text.to_ascii_lowercase().as_str());
    if is_plain || is_time(text) {
        text.to_owned()
    } else {
        // A string of JSON is one of YAML.
        Value::from(text).to_string()
    }
}

/// A length of time, such as `1500ms`, is text and not a number.
fn is_time(text: &str) -> bool {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    unit.len() < text.len() && ["us", "ms", "s", "m", "h", "d"].contains(&unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{FileId, Problems, parse};

    #[test]
    fn what_is_written_reads_back_as_the_same() {
        let value = json!({
            "text": ["WO-1", "", "1", "1s", "15d", "1e5", "1_000", "-1s", "true", "Null", "~", "a: b", "a #b", "- a", "{x}", "a\nb", "ü€", "end ", "0x1", ".inf"],
            "of numbers": [0, -1, 1.5, 1e300, u64::MAX / 2],
            "1": {"null": null, "yes": true, "deep": {"": []}},
        });
        let text = flow(&value);
        let mut problems = Problems::default();
        let node = parse(FileId::default(), &text, &mut problems);
        assert_eq!(problems.render(false), "", "{text}");
        assert_eq!(node.map(|node| Value::from(&node)), Some(value), "{text}");
    }

    #[test]
    fn what_needs_no_quotes_has_none() {
        let value = json!({"state": 6, "order": "WO-1", "path": "acme/busan", "empty": "", "at": "1500ms"});
        assert_eq!(
            flow(&value),
            r#"{state: 6, order: WO-1, path: acme/busan, empty: "", at: 1500ms}"#
        );
    }
}
