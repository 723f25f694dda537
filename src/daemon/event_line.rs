//! An event as one line for people.

use std::fmt::Write as _;

use floorgate_core::plan::COMMON_FIELDS;
use serde_json::Value;

use crate::plain::plain;

/// Time, type, equipment and subject, what is not as usual, and the event's own fields. `value` is the record's, structured or not.
pub fn line(time: &str, kind: &str, subject: &str, value: &Value) -> String {
    let data = value
        .get("data")
        .filter(|_| value.get("specversion").is_some())
        .unwrap_or(value);
    let equipment = data.get("equipmentPath").and_then(Value::as_str).unwrap_or("-");
    let mut text = format!("{time}  {kind}  {equipment}  {subject}");
    if data.get("gap") == Some(&Value::Bool(true)) {
        text.push_str("  gap");
    }
    let quality = data.pointer("/quality/class").and_then(Value::as_str);
    if let Some(quality) = quality.filter(|quality| *quality != "good") {
        // Writing to text does not fail.
        let _ = write!(text, "  quality {quality}");
    }
    let Value::Object(fields) = data else {
        let _ = write!(text, "  {data}");
        return plain(&text).into_owned();
    };
    let own = fields
        .iter()
        .filter(|(name, _)| !COMMON_FIELDS.contains(&name.as_str()));
    for (name, value) in own {
        match value {
            Value::String(value) => drop(write!(text, "  {name}={value}")),
            value => drop(write!(text, "  {name}={value}")),
        }
    }
    plain(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_a_device_calls_it() {
        let hostile = json!({"text": "a\n\u{1b}[2J", "n\u{9b}": 1});
        assert_eq!(
            line("10:00", "T", "s\r", &hostile),
            "10:00  T  -  s\\u{d}  text=a\\u{a}\\u{1b}[2J  n\\u{9b}=1"
        );
    }

    #[test]
    fn what_is_as_usual_is_left_out() {
        let usual =
            json!({"delta": 1, "unit": "C62", "equipmentPath": "acme/a", "quality": {"class": "good"}});
        assert_eq!(
            line("10:00", "Count", "counter/good", &usual),
            "10:00  Count  acme/a  counter/good  delta=1  unit=C62"
        );
        let other =
            json!({"specversion": "1.0", "data": {"gap": true, "quality": {"class": "bad"}, "value": null}});
        assert_eq!(
            line("10:00", "M", "s", &other),
            "10:00  M  -  s  gap  quality bad  value=null"
        );
    }
}
