//! What the core knows of a source.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{SourceId, TagId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::machine::Core;
use crate::state::is_zero;

/// State of a source's connection, as `SourceConnectionChanged` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Connection {
    /// Values flow.
    Online,
    /// The source is lost.
    Offline,
    /// The source is connected and silent for longer than it should be.
    Stale,
}

/// How often the time of the last good value is stored while the connection stays as it is.
const LAST_GOOD_EVERY: Duration = Duration::from_mins(1);

impl Core {
    /// When the last good value of a source was received; of an earlier process up to a minute before that.
    #[must_use]
    pub fn last_good(&self, source: SourceId) -> Option<Timestamp> {
        self.sources.get(source.index())?.last_good
    }

    /// A heartbeat of a source that has stopped while the source is connected, so that it is stale: its tag.
    #[must_use]
    pub fn stopped_heartbeat(&self, source: SourceId) -> Option<TagId> {
        let has_stopped = |tag: &TagId| {
            let waiting = self
                .tags
                .get(tag.index())
                .and_then(|state| state.waiting.as_ref());
            waiting.is_some_and(|waiting| waiting.stopped)
        };
        if self.sources.get(source.index())?.stopped == 0 {
            return None;
        }
        self.index
            .source(source)
            .heartbeats
            .iter()
            .copied()
            .find(has_stopped)
    }
}

/// State of a source.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each says a thing of its own; together they are no state machine
pub(crate) struct SourceState {
    pub(crate) name: Arc<str>,
    /// The last state that an event told, from this process or an earlier one.
    pub(crate) told: Option<Connection>,
    /// Whether its values hold now.
    pub(crate) online: bool,
    /// How many of its heartbeats have stopped.
    pub(crate) stopped: u32,
    /// Tags with values that were held while its heartbeats had stopped.
    pub(crate) held: Vec<TagId>,
    /// Tags whose timers were due while it was not watched, or while they were unknown.
    pub(crate) put_off: Vec<TagId>,
    /// Whether changes from before it was back may still come: what is known may be of the past.
    pub(crate) catching_up: bool,
    /// How often it began anew, in this process and earlier ones; a tag that has not been seen since is unknown.
    pub(crate) session: u32,
    /// Whether it was online in this process.
    pub(crate) begun: bool,
    /// How often changes of any of its tags may have been missed, in this process and earlier ones.
    pub(crate) gaps: u32,
    /// When the last good value was received; of an earlier process up to [`LAST_GOOD_EVERY`] before that.
    pub(crate) last_good: Option<Timestamp>,
    /// What the gateway's clock is ahead of the device's.
    pub(crate) ahead: Ahead,
    /// Up to when it was watched at least, on the core's clock: what it hands over later happened after that.
    pub(crate) watched: Duration,
    /// What of it is stored, or will be with the next commit.
    stored_good: Option<Timestamp>,
    pub(crate) dirty: bool,
    /// The stream of its own events.
    pub(crate) stream: usize,
}

/// Changes that say what the clocks differ by: more than half of them have to agree on it.
const COMPARED: usize = 15;

/// What the gateway's clock was ahead of the device's when changes last came as they happened, their way included, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Ahead(VecDeque<i64>);

impl Ahead {
    /// What changes said, the oldest first.
    pub(crate) fn of(all: Vec<i64>) -> Self {
        let more = all.len().saturating_sub(COMPARED);
        Self(all.into_iter().skip(more).collect())
    }

    /// What changes said, the oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = i64> {
        self.0.iter().copied()
    }

    /// A change came as it happened. Returns whether nothing was known before.
    pub(crate) fn note(&mut self, ahead: i64) -> bool {
        let is_first = self.0.is_empty();
        if self.0.len() == COMPARED {
            self.0.pop_front();
        }
        self.0.push_back(ahead);
        is_first
    }

    /// What it is mostly: single values may have times of their own.
    pub(crate) fn usual(&self) -> Option<i64> {
        let mut sorted: Vec<i64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) / 2).copied()
    }
}

#[derive(Serialize, Deserialize)]
struct StoredSource {
    state: Connection,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    last_good: Option<i64>,
    #[serde(skip_serializing_if = "is_zero", default)]
    gaps: u32,
    #[serde(skip_serializing_if = "is_zero", default)]
    session: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ahead: Option<i64>,
    /// Up to when it was watched, while it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    watched: Option<Duration>,
}

impl SourceState {
    /// A source as an earlier process left it; `clock` is the time that it last stored.
    pub(crate) fn new(
        name: &Arc<str>,
        stream: usize,
        clock: Duration,
        stored: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let restored: Option<StoredSource> =
            stored(&cell(name)).and_then(|text| serde_json::from_str(&text).ok());
        let last_good = restored
            .as_ref()
            .and_then(|s| s.last_good)
            .map(Timestamp::from_nanos);
        Self {
            name: Arc::clone(name),
            told: restored.as_ref().map(|s| s.state),
            online: false,
            stopped: 0,
            held: Vec::new(),
            put_off: Vec::new(),
            catching_up: false,
            session: restored.as_ref().map_or(0, |s| s.session),
            begun: false,
            gaps: restored.as_ref().map_or(0, |s| s.gaps),
            last_good,
            ahead: Ahead(restored.as_ref().and_then(|s| s.ahead).into_iter().collect()),
            watched: restored.as_ref().and_then(|s| s.watched).unwrap_or(clock),
            stored_good: last_good,
            dirty: false,
            stream,
        }
    }

    /// Whether the adapter has a connection: a heartbeat that stopped is no loss of it.
    pub(crate) fn is_connected(&self) -> bool {
        self.online || self.stopped > 0
    }

    /// Whether what is received of it is what happens now: timers judge nothing while it is not.
    pub(crate) fn is_watched(&self) -> bool {
        self.online && !self.catching_up
    }

    /// Changes of any of its tags may have been missed.
    pub(crate) fn note_gap(&mut self) {
        self.gaps = self.gaps.wrapping_add(1);
        self.dirty = true;
    }

    /// A good value was received.
    pub(crate) fn see_good(&mut self, received: Timestamp) {
        self.last_good = Some(received);
        // The clock may have been set back.
        let is_old = |stored: Timestamp| received < stored || received.since(stored) >= LAST_GOOD_EVERY;
        if self.stored_good.is_none_or(is_old) {
            self.stored_good = Some(received);
            self.dirty = true;
        }
    }

    /// Key and text of the source's cell.
    pub(crate) fn save(&self) -> Option<(Arc<str>, String)> {
        let stored = StoredSource {
            state: self.told?,
            last_good: self.last_good.map(Timestamp::as_nanos),
            gaps: self.gaps,
            session: self.session,
            ahead: self.ahead.usual(),
            watched: (!self.is_watched()).then_some(self.watched),
        };
        Some((cell(&self.name).into(), serde_json::to_string(&stored).ok()?))
    }
}

impl Connection {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::Offline => "Offline",
            Self::Stale => "Stale",
        }
    }
}

fn cell(name: &str) -> String {
    format!("source:{name}")
}
