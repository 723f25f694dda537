//! How a load tag's event stands in a Kafka record.

use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::observer::{Reading, RecordSize};

/// Tags of one equipment: its number is the tag's without the last two digits.
pub const TAGS_PER_EQUIPMENT: usize = 100;

/// Sizes of records, added up.
#[derive(Debug, Default)]
pub struct Sizes {
    records: u64,
    value: usize,
    headers: usize,
    header_count: usize,
}

impl Sizes {
    /// The mean record.
    pub fn mean(&self) -> RecordSize {
        let records = self.records.max(1) as f64;
        RecordSize {
            value: self.value as f64 / records,
            headers: self.headers as f64 / records,
            header_count: self.header_count as f64 / records,
        }
    }
}

/// Reads a record; `None` when it is not a value of a load tag.
pub fn read(message: &BorrowedMessage<'_>, sizes: &mut Sizes) -> Option<Reading> {
    let value = message.payload()?;
    let (mut time, mut subject) = (None, None);
    sizes.records += 1;
    sizes.value += value.len();
    for header in message.headers()?.iter() {
        sizes.header_count += 1;
        sizes.headers += header.key.len() + header.value.map_or(0, <[u8]>::len);
        match header.key {
            "ce_time" => time = header.value,
            "ce_subject" => subject = header.value,
            _ => {}
        }
    }
    let equipment = trailing_number(message.key()?)?;
    Some(Reading {
        tag: equipment * TAGS_PER_EQUIPMENT + trailing_number(subject?)?,
        value: json_value(value)?,
        time: micros(time?)?,
    })
}

/// The number at the end of `…/line0012` or `measurement/t05`.
fn trailing_number(text: &[u8]) -> Option<usize> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = std::str::from_utf8(&text[text.len() - digits..]).ok()?;
    digits.parse().ok()
}

/// The integer of the field `value`, as a number or as text.
fn json_value(json: &[u8]) -> Option<i64> {
    const FIELD: &[u8] = b"\"value\":";
    let at = json.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    let rest = &json[at..];
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    let end = rest
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// A time of RFC 3339 in microseconds since 1970.
fn micros(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().map(jiff::Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_ends() {
        assert_eq!(trailing_number(b"bench/plant/hall/line0012"), Some(12));
        assert_eq!(trailing_number(b"measurement/t05"), Some(5));
        assert_eq!(trailing_number(b"measurement/t"), None);
        assert_eq!(trailing_number(b""), None);
    }

    #[test]
    fn the_value_is_read_as_number_and_as_text() {
        assert_eq!(
            json_value(br#"{"name":"t05","value":123,"unit":null}"#),
            Some(123)
        );
        assert_eq!(
            json_value(br#"{"value":"1786975512301000"}"#),
            Some(1_786_975_512_301_000)
        );
        assert_eq!(json_value(br#"{"value":null}"#), None);
        assert_eq!(json_value(br#"{"name":"t05"}"#), None);
    }

    #[test]
    fn times_are_read_to_the_microsecond() {
        assert_eq!(
            micros(b"2026-08-17T14:05:12.301250Z"),
            Some(1_786_975_512_301_250)
        );
        assert_eq!(micros(b"yesterday"), None);
    }
}
