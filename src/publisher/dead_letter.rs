//! Records that are refused for good: what takes their place on the log.

use floorgate_outbox::{Burial, Row};
use floorgate_sample::Timestamp;
use rdkafka::error::RDKafkaErrorCode;
use serde_json::Value;

use crate::record::{HEADER_DEAD_LETTER, encode, is_header};
use crate::report::Report;
use crate::worker::{Slot, Worker};

/// Whether a broker or the client refuses the record itself, whenever it comes.
pub(crate) fn is_about_record(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidRecord
    )
}

/// The headers of its own that a stub has: the row's, as far as they can be read, and the reason.
fn stub_headers(row: &Row, reason: &str) -> String {
    let mut headers = String::new();
    for line in row.headers.lines().filter(|line| is_header(line)) {
        headers.push_str(line);
        headers.push('\n');
    }
    headers + HEADER_DEAD_LETTER + ": " + &encode(reason)
}

/// A stub's value: in CloudEvents' structured mode the event without its data, otherwise nothing.
fn stub_value(row: &Row) -> Vec<u8> {
    match serde_json::from_slice(&row.value) {
        Ok(Value::Object(mut event)) if event.contains_key("specversion") => {
            event.shift_remove("data");
            event.shift_remove("data_base64");
            Value::Object(event).to_string().into_bytes()
        }
        _ => Vec::new(),
    }
}

/// Whether the row is a stub already.
fn is_stub(row: &Row) -> bool {
    let mut lines = row.headers.lines();
    lines.any(|line| {
        line.strip_prefix(HEADER_DEAD_LETTER)
            .is_some_and(|rest| rest.starts_with(':'))
    })
}

impl Slot {
    /// Whether the lane's next record was refused for good when it was sent alone.
    pub(crate) fn is_refused_for_good(&self) -> bool {
        let next = self.lane.next();
        let failure = self.lane.failure();
        self.attempts > 1
            && !self.awaits_stub
            && failure.is_some_and(|failure| failure.for_good && failure.sequence == next)
    }
}

impl Worker {
    /// Asks for a stub in the place of a record that was refused for good, and keeps its lane still until there is one.
    pub(crate) fn bury(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        let Some(failure) = slot.lane.failure().cloned() else {
            return;
        };
        let rows = match self
            .reader
            .lane_rows(slot.lane.id, failure.sequence.saturating_sub(1), 1, 1)
        {
            Ok(rows) => rows,
            Err(error) => return self.store_failed(error),
        };
        let Some(row) = rows.first().filter(|row| row.sequence == failure.sequence) else {
            return;
        };
        if is_stub(row) {
            return;
        }
        slot.awaits_stub = true;
        self.shared.report(Report::Refused(Burial {
            lane: slot.lane.id,
            sequence: row.sequence,
            refused: Timestamp::now(),
            headers: stub_headers(row, &failure.reason),
            value: stub_value(row),
            reason: failure.reason,
        }));
    }

    /// A stub is in the store: the lane goes on with it.
    pub(crate) fn replaced(&mut self, slot: usize) {
        let Some(slot) = self.slots.get_mut(slot) else {
            return;
        };
        let Slot {
            lane,
            awaits_stub,
            held_until,
            attempts,
            ..
        } = slot;
        self.cached = self.cached.saturating_sub(lane.forget_rows());
        (*awaits_stub, *held_until, *attempts) = (false, None, 0);
    }
}

#[cfg(test)]
mod tests {
    use floorgate_outbox::{Commit, Event, Options, Store};

    use super::*;

    fn row(headers: &str, value: &str) -> Row {
        let folder =
            std::env::temp_dir().join(format!("floorgate-stub-{}-{}", std::process::id(), value.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let (mut store, _) = Store::open(&Options::new(folder.join("outbox.db"))).unwrap();
        let mut commit = Commit::default();
        commit.events.push(Event {
            topic: "topic".into(),
            key: "key".into(),
            partition: Some(0),
            id: "id".to_owned(),
            kind: "Kind".into(),
            subject: "subject".into(),
            recorded: Timestamp::from_nanos(0),
            shared_headers: "".into(),
            headers: headers.to_owned(),
            value: value.into(),
            trace: String::new(),
        });
        let row = store.commit(&mut commit).unwrap().rows.remove(0);
        std::fs::remove_dir_all(&folder).unwrap();
        row
    }

    #[test]
    fn a_stub_says_why_and_keeps_what_names_the_event() {
        let mut row = row("a: b\nnot a header", "[1, 2]");
        assert!(!is_stub(&row));
        row.headers = stub_headers(&row, "too\nlarge");
        assert_eq!(row.headers, "a: b\nfloorgate_dead_letter: too%0Alarge");
        assert_eq!(stub_value(&row), b"");
        assert!(is_stub(&row));
    }

    #[test]
    fn a_structured_event_loses_only_its_data() {
        let row = row(
            "",
            r#"{"specversion":"1.0","id":"7","data":{"a":1},"subject":"s"}"#,
        );
        let stub = String::from_utf8(stub_value(&row)).unwrap();
        assert_eq!(stub, r#"{"specversion":"1.0","id":"7","subject":"s"}"#);
    }
}
