//! The envelope: CloudEvents 1.0 in the Kafka protocol binding, binary or structured.
//!
//! Header lines and value are made once, here; what is stored is what is sent.

use std::fmt::Write as _;
use std::sync::Arc;

use floorgate_sample::Timestamp;
use uuid::Uuid;

/// What the core needs to know of the gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The gateway's id, stable for its life.
    pub gateway: Arc<str>,
    /// Prefix of event types: `io.floorgate` makes `io.floorgate.mes.WorkOrderStatusChanged.v1`.
    pub type_prefix: Arc<str>,
    /// How events stand in a record.
    pub encoding: Encoding,
    /// Epoch of the `sequence` attribute in streams of which nothing is stored: higher than in any store before, as seconds
    /// since 1970 are.
    pub stream_epoch: u32,
    /// Unique for each start of the process: part of the ids of events that have no time of their own.
    pub incarnation: Uuid,
}

/// How an event stands in a Kafka record (CloudEvents Kafka Protocol Binding 1.0.2 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Attributes as headers, the data as value.
    #[default]
    Binary,
    /// One JSON document as value.
    Structured,
}

/// An event, ready to be stored and sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Topic.
    pub topic: Arc<str>,
    /// Key of the record: the ordering scope.
    pub key: Arc<str>,
    /// CloudEvents `id`.
    pub id: Uuid,
    /// CloudEvents `type`.
    pub event_type: Arc<str>,
    /// The type's own name, `WorkOrderStatusChanged`: for metrics and people.
    pub name: Arc<str>,
    /// CloudEvents `subject`.
    pub subject: Arc<str>,
    /// CloudEvents `time`.
    pub time: Timestamp,
    /// CloudEvents `recordedtime`: when the event was derived.
    pub recorded: Timestamp,
    /// Headers that all events of one stream and type share, a line each: `name: value`. A value may be `{id}`, `{subject}`, `{key}`,
    /// `{recorded}` or `{trace}`, which stands for what the event itself says of that.
    pub shared_headers: Arc<str>,
    /// The other headers, a line each: `name: value`.
    pub headers: String,
    /// Value of the record.
    pub value: Vec<u8>,
    /// Why it was made, as JSON: what happened to the rule's trigger, its raw value before and now, and those of the rule's other inputs by name.
    /// Empty where it is about a source.
    pub trace: String,
}

/// Whether an event tells something that happened now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emission {
    /// It happened.
    Live,
    /// It is the state found at the start.
    Initial,
    /// It happened while the source could not be reached, and was read from its history.
    Backfill,
}

/// What goes into an envelope.
pub(crate) struct Attributes<'a> {
    pub(crate) id: Uuid,
    pub(crate) source: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) time: &'a str,
    pub(crate) recorded: &'a str,
    pub(crate) key: &'a str,
    pub(crate) sequence: (u32, u64),
    pub(crate) correlation: Option<&'a str>,
    pub(crate) emission: Emission,
}

/// The headers that all events of a source and a type share. What stands in braces is filled in when the record is made: it is stored beside
/// the headers anyway.
pub(crate) fn shared_headers(encoding: Encoding, source: &str, event_type: &str) -> String {
    match encoding {
        Encoding::Binary => {
            let mut headers = String::from(
                "content-type: application/json\nce_specversion: 1.0\nce_id: {id}\nce_subject: {subject}\n\
                 ce_recordedtime: {recorded}\nce_partitionkey: {key}\nce_traceparent: {trace}\n",
            );
            for (name, value) in [("source", source), ("type", event_type)] {
                push_header(&mut headers, name, value);
            }
            headers
        }
        Encoding::Structured => "content-type: application/cloudevents+json; charset=UTF-8\n".to_owned(),
    }
}

/// Makes an event's own headers and its value from its attributes and its data.
pub(crate) fn seal(encoding: Encoding, attributes: &Attributes<'_>, data: Vec<u8>) -> (String, Vec<u8>) {
    match encoding {
        Encoding::Binary => {
            let mut headers = String::with_capacity(192);
            attributes.each_own(|name, value| push_header(&mut headers, name, value));
            (headers, data)
        }
        Encoding::Structured => {
            let mut object = crate::json::Object::new(&[]);
            attributes.each_shared(|name, value| object.put(name, value));
            attributes.each_own(|name, value| object.put(name, value));
            object.put("datacontenttype", "application/json");
            object.raw("data", &data);
            (String::new(), object.finish())
        }
    }
}

fn push_header(headers: &mut String, name: &str, value: &str) {
    headers.push_str("ce_");
    headers.push_str(name);
    headers.push_str(": ");
    push_header_value(headers, value);
    headers.push('\n');
}

impl Attributes<'_> {
    /// Those that [`shared_headers`] has in binary mode.
    fn each_shared(&self, mut visit: impl FnMut(&str, &str)) {
        let mut buffer = [0; 36];
        visit("specversion", "1.0");
        visit("id", self.id.hyphenated().encode_lower(&mut buffer));
        visit("source", self.source);
        visit("type", self.event_type);
        visit("subject", self.subject);
        visit("recordedtime", self.recorded);
        visit("partitionkey", self.key);
        // A trace that begins with the event: W3C Trace Context §3.2.2 asks for ids that are not zero, which the
        // version bits of the event's id ensure.
        let (high, low) = self.id.as_u64_pair();
        visit("traceparent", &format!("00-{high:016x}{low:016x}-{low:016x}-01"));
    }

    fn each_own(&self, mut visit: impl FnMut(&str, &str)) {
        visit("time", self.time);
        // Compared as text, therefore of fixed width (CloudEvents sequence extension).
        let mut text = String::with_capacity(32);
        push_number(&mut text, u64::from(self.sequence.0), 10);
        text.push('-');
        push_number(&mut text, self.sequence.1, 20);
        visit("sequence", &text);
        if let Some(correlation) = self.correlation {
            visit("correlationid", correlation);
        }
        visit(
            "emission",
            match self.emission {
                Emission::Live => "live",
                Emission::Initial => "initial",
                Emission::Backfill => "backfill",
            },
        );
    }
}

/// Writes a decimal number, with leading zeros up to a width.
pub(crate) fn push_number(text: &mut String, number: u64, width: usize) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number);
    text.extend(std::iter::repeat_n('0', width.saturating_sub(digits.len())));
    text.push_str(digits);
}

/// Percent-encodes what would break a header line, and the percent sign itself. The publisher undoes it.
fn push_header_value(line: &mut String, value: &str) {
    let breaks = |c: char| matches!(c, '\n' | '\r' | '%');
    if !value.contains(breaks) {
        line.push_str(value);
        return;
    }
    for c in value.chars() {
        if breaks(c) {
            let _ = write!(line, "%{:02X}", u32::from(c));
        } else {
            line.push(c);
        }
    }
}

/// Times as text, remembered: most of an event's times are the same as those of the event before. The four that were asked for
/// last are there.
#[derive(Debug, Default)]
pub(crate) struct TimeTexts {
    entries: [TimeText; 4],
    asked: u64,
}

#[derive(Debug, Default)]
struct TimeText {
    time: Option<Timestamp>,
    text: String,
    /// When it was last asked for.
    asked: u64,
}

impl TimeTexts {
    /// The number of a time's text, to be read with [`TimeTexts::get`] before three others were asked for.
    pub(crate) fn put(&mut self, time: Timestamp) -> usize {
        self.asked += 1;
        let known = self.entries.iter().position(|entry| entry.time == Some(time));
        let index = known.unwrap_or_else(|| {
            let oldest = (0..self.entries.len()).min_by_key(|&index| self.entries[index].asked);
            let index = oldest.unwrap_or(0);
            let entry = &mut self.entries[index];
            entry.time = Some(time);
            entry.text.clear();
            let _ = write!(entry.text, "{time}");
            index
        });
        self.entries[index].asked = self.asked;
        index
    }

    pub(crate) fn get(&self, index: usize) -> &str {
        &self.entries[index].text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes<'static> {
        Attributes {
            id: Uuid::from_u128(0xb5b8_ba86_7e1c_5236_aa8d_42d2_2112_9a38),
            source: "urn:floorgate:gw:acme",
            event_type: "io.floorgate.mes.X.v1",
            subject: "a%b\nc",
            time: "2026-08-17T14:05:12.301Z",
            recorded: "2026-08-17T14:05:12.379Z",
            key: "acme/line1",
            sequence: (7, 184_212),
            correlation: None,
            emission: Emission::Live,
        }
    }

    #[test]
    fn binary_mode_has_a_line_for_each_attribute() {
        let (headers, value) = seal(Encoding::Binary, &attributes(), b"{}".to_vec());
        assert!(
            headers.contains("ce_sequence: 0000000007-00000000000000184212\n"),
            "{headers}"
        );
        assert_eq!(value, b"{}");
        let shared = shared_headers(Encoding::Binary, "urn:a%b", "io.floorgate.mes.X.v1");
        assert!(
            shared.contains("\nce_source: urn:a%25b\nce_type: io.floorgate.mes.X.v1\n"),
            "{shared}"
        );
        assert!(shared.contains("\nce_subject: {subject}\n"), "{shared}");
    }

    #[test]
    fn a_time_that_was_just_asked_for_is_not_forgotten_for_the_next_one() {
        let mut times = TimeTexts::default();
        let time = |second: i64| Timestamp::from_nanos(second * 1_000_000_000);
        for second in 0..4 {
            times.put(time(second));
        }
        let (known, new) = (times.put(time(0)), times.put(time(9)));
        assert_eq!(
            (times.get(known), times.get(new)),
            ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:09.000Z")
        );
    }

    #[test]
    fn structured_mode_is_one_document() {
        let (headers, value) = seal(Encoding::Structured, &attributes(), br#"{"a":1}"#.to_vec());
        assert_eq!(headers, "");
        let shared = shared_headers(Encoding::Structured, "urn:a", "X");
        assert!(shared.starts_with("content-type: application/cloudevents+json"));
        let document: serde_json::Value = serde_json::from_slice(&value).unwrap_or_default();
        assert_eq!(document["data"]["a"], 1);
        assert_eq!(document["subject"], "a%b\nc");
        assert_eq!(
            document["traceparent"],
            "00-b5b8ba867e1c5236aa8d42d221129a38-aa8d42d221129a38-01"
        );
    }
}
