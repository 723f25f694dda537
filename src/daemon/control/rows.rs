//! The rows of answers, which are also what `--json` prints.

use floorgate_outbox::{DeadLetter, Event, Lane, LaneState, StoredEvent};
use floorgate_publisher::stored_headers;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How the store stands as a whole: the last row of a status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Whether a gateway runs.
    pub running: bool,
    /// Events that are not delivered.
    pub waiting: u64,
    /// The size of the database and of its log in bytes.
    pub store_bytes: u64,
    pub log_bytes: u64,
    /// Events that were refused for good.
    pub dead_letters: u64,
    /// Whether a broker is reachable; unknown without a gateway.
    pub kafka_up: Option<bool>,
    /// What keeps events from being published.
    pub problems: Vec<String>,
}

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRow {
    pub lane: u32,
    pub topic: String,
    /// None for events that wait for the topic's partition count.
    pub partition: Option<u32>,
    pub epoch: u32,
    /// Numbers on the log: the last one given out, and the last one delivered.
    pub sequence: u64,
    pub delivered: u64,
    pub waiting: u64,
    /// RFC 3339.
    pub oldest_waiting: Option<String>,
    /// Where the last delivered record is, or at most as far as that.
    pub offset: Option<i64>,
    /// Events in the store.
    pub kept: u64,
    /// The place of the last event, a number over all epochs.
    pub place: u64,
}

impl LaneRow {
    pub fn of(state: &LaneState) -> Self {
        let lane = &state.lane;
        Self {
            lane: lane.id.get(),
            topic: lane.topic.to_string(),
            partition: lane.partition,
            epoch: lane.epoch,
            sequence: lane.last_sequence.saturating_sub(lane.base),
            delivered: lane.acknowledged_sequence.saturating_sub(lane.base),
            waiting: lane.depth(),
            oldest_waiting: state.oldest_waiting.map(|time| time.to_string()),
            offset: lane.acknowledged_offset,
            kept: (lane.last_sequence + 1).saturating_sub(state.first_kept),
            place: lane.last_sequence,
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    pub recorded: String,
    pub delivered: bool,
    pub lane: u32,
    pub place: u64,
    pub topic: String,
    pub partition: Option<u32>,
    /// On the log; none for what an earlier epoch delivered.
    pub sequence: Option<u64>,
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub subject: String,
    pub key: String,
    pub headers: Map<String, Value>,
    pub value: Value,
}

impl EventRow {
    pub fn of(state: &LaneState, stored: &StoredEvent) -> Self {
        Self::of_lane(&state.lane, stored)
    }

    fn of_lane(lane: &Lane, stored: &StoredEvent) -> Self {
        let event = &stored.event;
        Self {
            recorded: event.recorded.to_string(),
            delivered: stored.sequence <= lane.acknowledged_sequence,
            lane: lane.id.get(),
            place: stored.sequence,
            topic: lane.topic.to_string(),
            partition: lane.partition,
            sequence: stored
                .sequence
                .checked_sub(lane.base)
                .filter(|sequence| *sequence > 0),
            id: event.id.clone(),
            kind: event.kind.to_string(),
            subject: event.subject.to_string(),
            key: event.key.to_string(),
            headers: headers(event),
            value: value(&event.value),
        }
    }
}

/// An event with what it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceRow {
    #[serde(flatten)]
    pub event: EventRow,
    /// The epoch of its lane.
    pub epoch: u32,
    /// What happened, and what the rule read; none where it is not known.
    pub trace: Option<Value>,
}

impl TraceRow {
    pub fn of(lane: &Lane, stored: &StoredEvent) -> Self {
        Self {
            event: EventRow::of_lane(lane, stored),
            epoch: lane.epoch,
            trace: serde_json::from_str(&stored.event.trace).ok(),
        }
    }
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LetterRow {
    pub number: u64,
    pub refused: String,
    pub reason: String,
    pub topic: String,
    pub partition: Option<u32>,
    pub recorded: String,
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub subject: String,
    pub key: String,
    /// Of the value, in bytes.
    pub size: usize,
    /// Both only where one letter was asked for.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

impl LetterRow {
    pub fn of(letter: &DeadLetter, whole: bool) -> Self {
        let event = &letter.event;
        Self {
            number: letter.number,
            refused: letter.refused.to_string(),
            reason: letter.reason.clone(),
            topic: event.topic.to_string(),
            partition: letter.partition,
            recorded: event.recorded.to_string(),
            id: event.id.clone(),
            kind: event.kind.to_string(),
            subject: event.subject.to_string(),
            key: event.key.to_string(),
            size: event.value.len(),
            headers: if whole { headers(event) } else { Map::new() },
            value: whole.then(|| value(&event.value)),
        }
    }
}

/// Something that is wrong with the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub topic: Option<String>,
    pub partition: Option<u32>,
    pub problem: String,
}

/// What an order came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Events or letters that it was done to.
    pub count: u64,
}

fn headers(event: &Event) -> Map<String, Value> {
    let headers = stored_headers(event).unwrap_or_default();
    headers
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect()
}

/// JSON as such, other text as text, and bytes that are neither as what can be read of them.
fn value(value: &[u8]) -> Value {
    serde_json::from_slice(value)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(value).into_owned()))
}
