//! An event as one line for people.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use floorgate_core::plan::COMMON_FIELDS;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::plain::plain;

/// An object's fields, as they stand there.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'a> Fields<'a> {
    fn of(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(field, _)| field == name)?;
        Some(found.1.get())
    }
}

/// Appends time, type, equipment and subject, what is not as usual, and the event's own fields. `value` is the record's, structured or not.
pub fn line(text: &mut String, time: &str, kind: &str, subject: &str, value: &[u8]) {
    let begin = text.len();
    append(text, time, kind, subject, value);
    // What a device calls something is shown and not obeyed.
    if let Cow::Owned(shown) = plain(&text[begin..]) {
        text.replace_range(begin.., &shown);
    }
}

fn append(text: &mut String, time: &str, kind: &str, subject: &str, value: &[u8]) {
    // Writing to text does not fail.
    let _ = write!(text, "{time}  {kind}");
    let Some(mut fields) = Fields::of(value) else {
        let _ = write!(text, "  -  {subject}  {}", String::from_utf8_lossy(value));
        return;
    };
    if fields.get("specversion").is_some()
        && let Some(data) = fields.get("data").and_then(|data| Fields::of(data.as_bytes()))
    {
        fields = data;
    }
    text.push_str("  ");
    push(text, fields.get("equipmentPath").unwrap_or("-"));
    let _ = write!(text, "  {subject}");
    if fields.get("gap") == Some("true") {
        text.push_str("  gap");
    }
    let quality = fields
        .get("quality")
        .and_then(|quality| Fields::of(quality.as_bytes())?.get("class"));
    if let Some(quality) = quality.filter(|quality| *quality != "\"good\"") {
        text.push_str("  quality ");
        push(text, quality);
    }
    let own = fields
        .0
        .iter()
        .filter(|(name, _)| !COMMON_FIELDS.contains(&&**name));
    for (name, value) in own {
        let _ = write!(text, "  {name}=");
        push(text, value.get());
    }
}

/// Appends a value: a text without quotes, where nothing in it is escaped.
fn push(text: &mut String, json: &str) {
    let inner = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    text.push_str(inner.filter(|inner| !inner.contains('\\')).unwrap_or(json));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let mut text = String::new();
        line(&mut text, "10:00", "Count", "counter/good", value.as_bytes());
        text
    }

    #[test]
    fn an_event_is_one_line_whatever_a_device_calls_it() {
        let hostile = "{\"text\":\"a\\n\\u001b[2J\",\"n\u{9b}\":1}";
        let mut text = String::new();
        line(&mut text, "10:00", "T", "s\r", hostile.as_bytes());
        assert_eq!(text, r#"10:00  T  -  s\u{d}  text="a\n\u001b[2J"  n\u{9b}=1"#);
    }

    #[test]
    fn what_is_as_usual_is_left_out() {
        let usual = r#"{"delta":1,"unit":"C62","equipmentPath":"acme/a","quality":{"class":"good"}}"#;
        assert_eq!(
            shown(usual),
            "10:00  Count  acme/a  counter/good  delta=1  unit=C62"
        );
        let other = r#"{"specversion":"1.0","data":{"gap":true,"quality":{"class":"bad"},"value":null,"text":"a\nb"}}"#;
        assert_eq!(
            shown(other),
            r#"10:00  Count  -  counter/good  gap  quality bad  value=null  text="a\nb""#
        );
        assert_eq!(shown("no JSON"), "10:00  Count  -  counter/good  no JSON");
    }
}
