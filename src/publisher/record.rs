//! A stored row as a Kafka record.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use floorgate_outbox::{Event, LaneId, Row};
use floorgate_sample::Timestamp;
use foldhash::fast::RandomState;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use thiserror::Error;

/// Kafka header: the gateway's name in its configuration. A lane is one gateway's part of a partition.
pub const HEADER_GATEWAY: &str = "floorgate_gateway";
/// Kafka header: the lane's epoch, a decimal number.
pub const HEADER_LANE_EPOCH: &str = "floorgate_lane_epoch";
/// Kafka header: the record's place in its lane, a decimal number, contiguous from 1 within an epoch.
pub const HEADER_LANE_SEQUENCE: &str = "floorgate_lane_sequence";
/// Kafka header: what tells the processes that wrote to a lane apart.
pub const HEADER_INCARNATION: &str = "floorgate_incarnation";
/// Kafka header, `true`: the record was sent before and may be on the log already.
pub const HEADER_POSSIBLE_DUPLICATE: &str = "floorgate_possible_duplicate";
/// Kafka header, `true`: the record was sent in a transaction, so that only reading committed records tells whether it counts.
pub const HEADER_TRANSACTIONAL: &str = "floorgate_transactional";

/// Kafka header: the event was refused for good and is kept by the gateway; this record stands in its place and tells the reason.
pub const HEADER_DEAD_LETTER: &str = "floorgate_dead_letter";

/// Kafka header, `true`: an operator had the event sent again.
pub const HEADER_REPLAYED: &str = "floorgate_replayed";

/// Headers of the lane that each record has.
const LANE_HEADERS: usize = 4;

/// Room for the row's own headers and the lane's.
const OWN_HEADERS: usize = 8;

/// What every record of a lane carries.
pub(crate) struct LaneMark<'a> {
    pub(crate) gateway: &'a str,
    pub(crate) epoch: u32,
    pub(crate) sequence: u64,
    pub(crate) incarnation: &'a str,
    pub(crate) possible_duplicate: bool,
    pub(crate) transactional: bool,
}

/// A stored header that cannot be a Kafka header.
#[derive(Debug, Error)]
#[error("stored header line `{line}` is not `name: value`")]
pub struct HeaderError {
    line: String,
}

/// Shared header texts whose reading is remembered at most. There is one for each stream and type.
const REMEMBERED: usize = 4096;

/// Makes the headers of records, one after the other.
#[derive(Debug, Default)]
pub(crate) struct HeaderMaker {
    /// What was read from shared texts.
    read: HashMap<Arc<str>, Vec<(String, Content)>, RandomState>,
    /// The last time that was written, and its text: the rows of one commit mostly have the same.
    recorded: Option<Timestamp>,
    recorded_text: String,
    trace: String,
}

/// A shared header's value, or what of the row it stands for.
#[derive(Debug)]
enum Content {
    Text(String),
    Id,
    Subject,
    Key,
    Recorded,
    Trace,
}

/// Reads the headers that many rows share.
fn read(text: &str) -> Result<Vec<(String, Content)>, HeaderError> {
    let headers = text.lines().map(|line| {
        let (name, value) = split(line)?;
        let content = match value {
            "{id}" => Content::Id,
            "{subject}" => Content::Subject,
            "{key}" => Content::Key,
            "{recorded}" => Content::Recorded,
            "{trace}" => Content::Trace,
            value => Content::Text(decode(value).into_owned()),
        };
        Ok((name.to_owned(), content))
    });
    headers.collect()
}

impl HeaderMaker {
    /// The headers of a record: those that the row shares with others and its own, one `name: value` a line, and the lane's. In shared ones
    /// the row's id, subject, key, time and trace stand where `{id}`, `{subject}`, `{key}`, `{recorded}` and `{trace}` are.
    pub(crate) fn make(&mut self, row: &Row, mark: &LaneMark<'_>) -> Result<OwnedHeaders, HeaderError> {
        if self.recorded != Some(row.recorded) {
            self.recorded = Some(row.recorded);
            self.recorded_text = row.recorded.to_string();
        }
        if self.read.len() >= REMEMBERED {
            self.read.clear();
        }
        let shared = match self.read.entry(Arc::clone(&row.shared_headers)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(read(&row.shared_headers)?),
        };
        let mut headers = OwnedHeaders::new_with_capacity(shared.len() + OWN_HEADERS);
        for (name, content) in &*shared {
            let value = match content {
                Content::Text(text) => text,
                Content::Id => &row.id,
                Content::Subject => &*row.subject,
                Content::Key => &*row.key,
                Content::Recorded => &self.recorded_text,
                Content::Trace => {
                    write_trace(&mut self.trace, &row.id);
                    &self.trace
                }
            };
            headers = add(headers, name, value);
        }
        for line in row.headers.lines() {
            let (name, value) = split(line)?;
            headers = add(headers, name, &decode(value));
        }
        let mut digits = itoa::Buffer::new();
        headers = add(headers, HEADER_GATEWAY, mark.gateway);
        headers = add(headers, HEADER_LANE_EPOCH, digits.format(mark.epoch));
        headers = add(headers, HEADER_LANE_SEQUENCE, digits.format(mark.sequence));
        headers = add(headers, HEADER_INCARNATION, mark.incarnation);
        if mark.possible_duplicate {
            headers = add(headers, HEADER_POSSIBLE_DUPLICATE, "true");
        }
        if mark.transactional {
            headers = add(headers, HEADER_TRANSACTIONAL, "true");
        }
        Ok(headers)
    }
}

fn add(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}

/// A trace that begins with the event: W3C Trace Context §3.2.2, trace and parent made from the event's id.
fn write_trace(trace: &mut String, id: &str) {
    trace.clear();
    trace.push_str("00-");
    trace.extend(id.chars().filter(|c| *c != '-'));
    let parent = trace.len().saturating_sub(16).max(3);
    let parent = trace.get(parent..).unwrap_or_default().to_owned();
    trace.push('-');
    trace.push_str(&parent);
    trace.push_str("-01");
}

/// Name and value of a line.
fn split(line: &str) -> Result<(&str, &str), HeaderError> {
    let end = line.bytes().position(|byte| matches!(byte, b':' | 0));
    let parts = end.and_then(|end| {
        let (name, rest) = line.split_at(end);
        Some((name, rest.strip_prefix(": ")?)).filter(|(name, _)| !name.is_empty())
    });
    parts.ok_or_else(|| HeaderError {
        line: line.to_owned(),
    })
}

/// The headers that a stored event has on the log, but for those of its lane; an error says what cannot be a header.
pub fn stored_headers(event: &Event) -> Result<Vec<(String, String)>, HeaderError> {
    let row = Row {
        lane: LaneId::default(),
        sequence: 0,
        recorded: event.recorded,
        id: event.id.clone(),
        subject: Arc::clone(&event.subject),
        key: Arc::clone(&event.key),
        shared_headers: Arc::clone(&event.shared_headers),
        headers: event.headers.clone(),
        value: Vec::new(),
    };
    let mark = LaneMark {
        gateway: "",
        epoch: 0,
        sequence: 0,
        incarnation: "",
        possible_duplicate: false,
        transactional: false,
    };
    HeaderMaker::default().make(&row, &mark).map(|headers| {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let own = headers.iter().take(headers.count() - LANE_HEADERS);
        own.map(|header| (header.key.to_owned(), text(header.value)))
            .collect()
    })
}

/// Whether a line can be a header.
pub(crate) fn is_header(line: &str) -> bool {
    split(line).is_ok()
}

/// Encodes what cannot stand in a line.
pub(crate) fn encode(value: &str) -> String {
    value
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Undoes the encoding of what cannot stand in a line: `%25`, `%0D` and `%0A`. Anything else stays as it is.
fn decode(value: &str) -> Cow<'_, str> {
    if !value.bytes().any(|byte| byte == b'%') {
        return Cow::Borrowed(value);
    }
    Cow::Owned(
        value
            .replace("%0A", "\n")
            .replace("%0D", "\r")
            .replace("%25", "%"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use floorgate_outbox::{Commit, Event, Options, Store};
    use rdkafka::message::Headers;

    use super::*;
    use crate::fuzzing::with_seeds;

    fn pairs(headers: &OwnedHeaders) -> Vec<(String, String)> {
        headers
            .iter()
            .map(|header| {
                let value = header
                    .value
                    .map(|value| String::from_utf8_lossy(value).into_owned());
                (header.key.to_owned(), value.unwrap_or_default())
            })
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    const ID: &str = "b5b8ba86-7e1c-5236-aa8d-42d221129a38";

    /// A row as a store gives it.
    fn row(shared_headers: &str, headers: &str) -> Row {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("floorgate-record-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (mut store, _) = Store::open(&Options::new(folder.join("outbox.db"))).unwrap();
        let topic: Arc<str> = "topic".into();
        store.pin_topic(&topic, 1).unwrap();
        let event = Event {
            topic,
            key: "acme/line1".into(),
            partition: None,
            id: ID.to_owned(),
            kind: "Kind".into(),
            subject: "a: b\n100%".into(),
            recorded: Timestamp::from_nanos(1_786_975_512_301_000_000),
            shared_headers: shared_headers.into(),
            headers: headers.to_owned(),
            value: Vec::new(),
            trace: String::new(),
        };
        let mut commit = Commit {
            events: vec![event],
            ..Commit::default()
        };
        let row = store.commit(&mut commit).unwrap().rows.remove(0);
        std::fs::remove_dir_all(&folder).unwrap();
        row
    }

    fn mark(possible_duplicate: bool) -> LaneMark<'static> {
        LaneMark {
            gateway: "busan-filling-1",
            epoch: 2,
            sequence: 17,
            incarnation: "7f3a",
            transactional: false,
            possible_duplicate,
        }
    }

    #[test]
    fn headers_of_the_row_come_first_and_the_lane_marks_follow() {
        let row = row(
            "ce_type: A\nce_id: {id}\nce_subject: {subject}\nce_partitionkey: {key}\nce_recordedtime: {recorded}\n\
             ce_traceparent: {trace}\nce_source: urn:a%25\n",
            "ce_note: {id}%0A100%25\n",
        );
        let headers = HeaderMaker::default().make(&row, &mark(true)).unwrap();
        assert_eq!(
            pairs(&headers),
            [
                pair("ce_type", "A"),
                pair("ce_id", ID),
                pair("ce_subject", "a: b\n100%"),
                pair("ce_partitionkey", "acme/line1"),
                pair("ce_recordedtime", "2026-08-17T14:05:12.301Z"),
                pair(
                    "ce_traceparent",
                    "00-b5b8ba867e1c5236aa8d42d221129a38-aa8d42d221129a38-01"
                ),
                pair("ce_source", "urn:a%"),
                pair("ce_note", "{id}\n100%"),
                pair(HEADER_GATEWAY, "busan-filling-1"),
                pair(HEADER_LANE_EPOCH, "2"),
                pair(HEADER_LANE_SEQUENCE, "17"),
                pair(HEADER_INCARNATION, "7f3a"),
                pair(HEADER_POSSIBLE_DUPLICATE, "true"),
            ]
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for stored in ["ce_type", ": A", "ce\0type: A", "a: b\n\nc: d"] {
            let made = HeaderMaker::default().make(&row("", stored), &mark(false));
            assert!(made.is_err(), "{stored:?}");
        }
        assert!(HeaderMaker::default().make(&row("", ""), &mark(false)).is_ok());
    }

    fn strange(random: &mut fastrand::Rng) -> String {
        const PARTS: [&str; 18] = [
            "",
            ":",
            ": ",
            "\n",
            "\r",
            "\r\n",
            "\0",
            "%",
            "%0A",
            "%25",
            "%2",
            "-",
            "a",
            "\u{20ac}",
            "{id}",
            "{trace}",
            "{recorded}",
            "{",
        ];
        (0..random.usize(..12))
            .map(|_| PARTS[random.usize(..PARTS.len())])
            .collect()
    }

    #[test]
    fn no_stored_text_is_too_strange() {
        let mut row = row("", "");
        let mut maker = HeaderMaker::default();
        let mut made = 0_u64;
        with_seeds(20_000, |random| {
            row.shared_headers = strange(random).into();
            row.headers = strange(random);
            row.id = strange(random);
            row.subject = strange(random).into();
            row.key = strange(random).into();
            row.recorded = Timestamp::from_nanos(random.i64(..));
            let Ok(headers) = maker.make(&row, &mark(random.bool())) else {
                return;
            };
            made += 1;
            let lines = row.shared_headers.lines().chain(row.headers.lines());
            let names = lines.map(|line| line.split(':').next());
            let own = headers.iter().map(|header| Some(header.key));
            assert!(
                own.take(names.clone().count()).eq(names),
                "{row:?} became {headers:?}"
            );
        });
        assert!(made > 0);
    }

    #[test]
    fn an_encoded_percent_sign_does_not_make_a_line_feed() {
        assert_eq!(decode("%250A"), "%0A");
    }
}
