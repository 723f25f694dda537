//! The gateway's local socket, through which its tools ask and order while it runs, so that they leave the store's file alone. Without a
//! running gateway they open the store themselves, under its lock, and get the same answers from the same code.
//!
//! One JSON object a line: the request, then rows, at last `{"end":…}` or `{"error":…}`.

mod answer;
mod client;
mod rows;
mod server;
mod streaming;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use client::{Client, ask};
pub use rows::{EventRow, Finding, LaneRow, LetterRow, Outcome, Summary, TraceRow};
pub use server::{Server, bind};
pub use streaming::{begin_stream, connect};

/// The socket in the state folder.
pub fn socket(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// Which events are meant; times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Which {
    pub topic: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub subject: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    /// Only those that are not delivered.
    pub waiting: bool,
}

/// What a tool asks or orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How lanes and store stand.
    Status,
    /// The newest events.
    Newest { count: usize, which: Which },
    /// Events behind a place in each lane, which are given as pairs of lane and sequence; lanes that are not named are read from their first
    /// event on.
    After {
        // No map: its keys would be texts in JSON, and a request is read in a way that makes no numbers of them.
        places: Vec<(u32, u64)>,
        which: Which,
    },
    /// The events whose ids begin with this, with what they were made of.
    Explain { id: String },
    /// All events, lane by lane.
    Export { which: Which },
    /// What is wrong with the store.
    Verify,
    /// Dead letters.
    Letters,
    /// One dead letter.
    Letter { number: u64 },
    /// Dead letters are sent again, or forgotten; all of them where none is named.
    SettleLetters { numbers: Vec<u64>, replay: bool },
    /// Events are sent again out of what is kept, to this topic, whose own events are meant only where `which` names it.
    Replay { which: Which, topic: String },
    /// All partitions that this topic has are used from now on, once what is stored of it is delivered.
    Repartition { topic: String },
    /// A recording of what the core is given follows the answer, until the tool closes its end.
    Record,
    /// The same without the core's own state, a few times a second.
    Watch,
    /// How each source stands.
    Sources,
    /// The tags that are late.
    LateTags,
    /// The tags that are not good by their device's word.
    BadTags,
    /// What devices made of the settings of tags.
    RevisedTags,
    /// The last good values of tags that are unknown now.
    LastGood,
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// One row, as the request's kind has them.
    Row(serde_json::Value),
    /// That was all.
    End,
    /// It cannot be answered.
    Error(Fault),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    pub text: String,
    /// The exit code of the tool.
    pub code: u8,
}
