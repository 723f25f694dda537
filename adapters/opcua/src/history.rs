//! Histories of nodes as a server tells them, page by page (OPC 10000-11), and what is known of those that were told.

use std::collections::{HashMap, VecDeque};

use floorgate_adapter_api::Timestamp;
use opcua::types::{ByteString, DataValue, HistoryData, HistoryReadResult, NodeId, StatusCode};

use crate::value::time_of;

/// Pages of one node that tell nothing, one after the other, and say that there is more.
const MOST_EMPTY: u8 = 100;
/// Values that are remembered as told, since they may be sent again; of more it is not known.
const MOST_REMEMBERED: usize = 1_000_000;

/// The time of the last value that was taken, and how many were of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    pub time: Timestamp,
    count: usize,
}

/// How a history ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to its end.
    Whole,
    /// The server did not tell all of it.
    Part,
    /// The server keeps none.
    None,
}

/// The history of one item, as far as it is read.
#[derive(Debug)]
pub struct History {
    pub place: u32,
    pub node: NodeId,
    /// What was read and not handed on.
    pub values: VecDeque<(Timestamp, DataValue)>,
    /// Where the server goes on; null where it is asked by time.
    pub continuation: ByteString,
    /// The last value that was read.
    pub last: Option<Last>,
    /// The server has lost where it was: it is asked for what is after the last value, and of no other node with it.
    pub begins_again: bool,
    /// How it ended, where nothing more is read of it.
    pub end: Option<End>,
    /// What was read before, as long as it comes again.
    known: Option<Last>,
    /// Values without any time were left out.
    is_untimed: bool,
    empty: u8,
}

impl History {
    /// One that is to be read, what was read of it before aside.
    pub fn new(place: u32, node: NodeId, last: Option<Last>) -> Self {
        Self {
            place,
            node,
            values: VecDeque::new(),
            continuation: ByteString::null(),
            last,
            begins_again: false,
            end: None,
            known: None,
            is_untimed: false,
            empty: 0,
        }
    }

    /// Whether more of it has to be read before anything later can be handed on.
    pub fn is_lacking(&self) -> bool {
        self.values.is_empty() && self.end.is_none()
    }

    /// Up to when nothing more of it can come before: `None` where all is read. It is read from `from` on.
    pub fn horizon(&self, from: Timestamp) -> Option<Timestamp> {
        let known = self.last.map(|last| last.time);
        self.end
            .is_none()
            .then(|| known.map_or(from, |known| known.max(from)))
    }

    /// From when on it is asked for where the others are from `from` on.
    pub fn begin(&self, from: Timestamp) -> Timestamp {
        let last = self.last.filter(|_| self.begins_again);
        last.map_or(from, |last| last.time)
    }

    /// Takes an answer to the question for `most` values over.
    pub fn take(&mut self, result: HistoryReadResult, most: usize) {
        let status = result.status_code;
        let (is_by_time, was_read) = (self.continuation.is_null(), self.last.is_some());
        if matches!(
            status,
            StatusCode::BadNoContinuationPoints | StatusCode::BadContinuationPointInvalid
        ) {
            self.continuation = ByteString::null();
            // Twice in a row it would be for ever.
            if std::mem::replace(&mut self.begins_again, true) {
                self.end = Some(End::Part);
            }
            return;
        }
        let data = result.history_data.into_inner_as::<HistoryData>();
        let values = data.and_then(|data| data.data_values).unwrap_or_default();
        let (before, given) = (self.values.len(), values.len());
        if is_by_time {
            // It begins with what was read of that time before.
            self.known = self.last;
        }
        for value in values {
            // A bound that there is none of is no value.
            if matches!(
                value.status,
                Some(StatusCode::BadBoundNotFound | StatusCode::BadNoData)
            ) {
                continue;
            }
            let Some(time) = time_of_one(&value) else {
                self.is_untimed = true;
                continue;
            };
            if let Some(known) = &mut self.known
                && (time < known.time || time == known.time && known.count > 0)
            {
                known.count -= usize::from(time == known.time);
                continue;
            }
            self.known = None;
            self.note(time);
            self.values.push_back((time, value));
        }
        self.begins_again = false;
        self.continuation = result.continuation_point;
        let is_new = self.values.len() > before;
        self.empty = if is_new { 0 } else { self.empty + 1 };
        if status.is_bad() {
            // What was never told has its gap from the connection.
            self.end = Some(if was_read { End::Part } else { End::None });
        } else if self.continuation.is_null() {
            // A server that cannot go on where it was may have more than it was asked for.
            let may_have_more = is_by_time && given >= most;
            self.begins_again = is_new && may_have_more;
            let is_part = may_have_more || self.is_untimed;
            let end = if is_part { End::Part } else { End::Whole };
            self.end = (!self.begins_again).then_some(end);
        } else if self.empty >= MOST_EMPTY {
            self.end = Some(End::Part);
        }
    }

    fn note(&mut self, time: Timestamp) {
        match &mut self.last {
            Some(last) if last.time == time => last.count += 1,
            Some(last) if last.time > time => {}
            last => *last = Some(Last { time, count: 1 }),
        }
    }
}

/// What is to be read of histories, and what was: it goes on over connections.
#[derive(Debug)]
pub struct Backfill {
    /// From here on it is to be read: all that is older was handed on, or is not to be.
    pub from: Timestamp,
    /// Whether there is anything left to be read.
    pub is_due: bool,
    /// How often the connection was lost meanwhile.
    pub losses: u32,
    /// Of each item the last value that was handed on.
    pub last: HashMap<u32, Last>,
    /// When it was read, by the server's clock.
    pub until: Timestamp,
    /// What is from here on may be sent again, as a change.
    overlap: Timestamp,
    /// The times of what was handed on since, and of the last one before, of each item in milliseconds.
    remembered: HashMap<u32, Vec<i64>>,
    count: usize,
}

/// What a value that is sent is beside what was handed on of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// It is newer.
    New,
    /// It was handed on.
    Told,
    /// Its time is before that of what was handed on, and the server took it after that: it is what holds now.
    Present,
    /// It is older than what was handed on, and was not among it: the historian did not keep it.
    Missed,
}

impl Backfill {
    /// What is to be read from a time on.
    pub fn due(from: Timestamp) -> Self {
        Self {
            from,
            is_due: true,
            losses: 0,
            last: HashMap::new(),
            until: from,
            overlap: from,
            remembered: HashMap::new(),
            count: 0,
        }
    }

    /// Items are made anew: what is from `overlap` on they may send again.
    pub fn remember_from(&mut self, overlap: Timestamp) {
        self.overlap = overlap;
        self.remembered.clear();
        self.count = 0;
    }

    /// A value was handed on.
    pub fn tell(&mut self, place: u32, time: Timestamp) {
        let last = self.last.entry(place).or_insert(Last { time, count: 0 });
        if last.time < time {
            *last = Last { time, count: 0 };
        }
        last.count += usize::from(last.time == time);
        if self.count >= MOST_REMEMBERED {
            return;
        }
        let (time, overlap) = (millis(time), millis(self.overlap));
        let times = self.remembered.entry(place).or_default();
        if time < overlap && times.last().is_some_and(|last| *last < overlap) {
            times.pop();
            self.count -= 1;
        }
        let at = times.partition_point(|before| *before <= time);
        times.insert(at, time);
        self.count += 1;
    }

    /// What a value that an item sends is.
    pub fn beside(&self, place: u32, value: &DataValue) -> Beside {
        let (Some(last), Some(time)) = (self.last.get(&place), time_of_one(value)) else {
            return Beside::New;
        };
        let taken = time_of(value.server_timestamp, None);
        if time >= last.time || taken.is_some_and(|taken| taken > self.until) {
            return Beside::New;
        }
        if taken.is_some_and(|taken| taken >= last.time) {
            return Beside::Present;
        }
        // Some historians round the times of what they keep.
        let is_known = |times: &Vec<i64>| times.binary_search(&millis(time)).is_ok();
        if self.remembered.get(&place).is_some_and(is_known) {
            Beside::Told
        } else {
            Beside::Missed
        }
    }
}

/// When a value came to be, or was taken where it does not say so.
fn time_of_one(value: &DataValue) -> Option<Timestamp> {
    time_of(value.source_timestamp.or(value.server_timestamp), None)
}

fn millis(time: Timestamp) -> i64 {
    time.as_nanos().div_euclid(1_000_000)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
