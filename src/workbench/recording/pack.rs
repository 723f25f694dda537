//! From entries to blocks.

use floorgate_core::Now;
use floorgate_core::plan::Priority;
use floorgate_sample::{Continuity, GapScope, Notice, Sample, Timestamp, Value};

use super::columns::{
    Columns, DECIMALS, GAP, Last, MICRO, NOT_GOOD, TICK, decimal, form, kind, notice, put, put_signed,
    put_text, put_time, stamp,
};
use super::{Call, Entry, frame};

/// A block ends when it holds this much, unpacked.
const FULL: usize = 256 * 1024;

/// Packs entries into blocks.
#[derive(Debug, Default)]
pub struct Packer {
    columns: Columns,
    wall: i64,
    monotonic: i64,
    tag: i64,
    stamp: i64,
    last: Last,
}

impl Packer {
    /// Adds an entry.
    pub fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Names(names) => {
                self.columns.calls.push(kind::NAMES);
                let json = serde_json::to_vec(names).unwrap_or_default();
                put_text(&mut self.columns.texts, &json);
            }
            Entry::Cell(key, text) => {
                self.columns.calls.push(kind::CELL);
                put_text(&mut self.columns.texts, key.as_bytes());
                put_text(&mut self.columns.texts, text.as_bytes());
            }
            Entry::Standing(samples) => {
                self.columns.calls.push(kind::STANDING);
                self.samples(samples);
            }
            Entry::Begin { now, connected } => {
                self.columns.calls.push(kind::BEGIN);
                self.time(*now);
                put(&mut self.columns.calls, connected.len() as u64);
                for (source, has_caught_up) in connected {
                    put(&mut self.columns.calls, u64::from(source.0));
                    self.columns.calls.push(u8::from(*has_caught_up));
                }
            }
            Entry::Hole(samples) => {
                self.columns.calls.push(kind::HOLE);
                put(&mut self.columns.calls, *samples);
            }
            Entry::Call(call) => self.call(call),
        }
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Apply {
                source,
                now,
                received,
                notices,
                samples,
            } => {
                self.head(kind::APPLY, source.0, *now, *received);
                put(&mut self.columns.calls, notices.len() as u64);
                for notice in notices {
                    self.notice(notice);
                }
                self.samples(samples);
            }
            Call::Answer {
                source,
                now,
                received,
                request,
                rule,
                result,
                samples,
            } => {
                self.head(kind::ANSWER, source.0, *now, *received);
                put(&mut self.columns.calls, request.0);
                self.columns
                    .calls
                    .push(u8::from(rule.is_some()) | u8::from(result.is_err()) << 1);
                let texts = rule
                    .as_deref()
                    .into_iter()
                    .chain(result.as_ref().err().map(String::as_str));
                for text in texts {
                    put_text(&mut self.columns.texts, text.as_bytes());
                }
                self.samples(samples);
            }
            Call::Advance { now } => {
                self.columns.calls.push(kind::ADVANCE);
                self.time(*now);
            }
            Call::LeaveOutBelow { least } => {
                let least = match least {
                    None => 0,
                    Some(Priority::Low) => 1,
                    Some(Priority::Normal) => 2,
                    Some(Priority::High) => 3,
                };
                self.columns.calls.extend([kind::LEAVE_OUT, least]);
            }
        }
    }

    fn head(&mut self, kind: u8, source: u16, now: Now, received: Timestamp) {
        self.columns.calls.push(kind);
        put(&mut self.columns.calls, u64::from(source));
        self.time(now);
        let before = now.wall.as_nanos().wrapping_sub(received.as_nanos());
        put_time(&mut self.columns.times, before, MICRO);
    }

    fn time(&mut self, now: Now) {
        let wall = now.wall.as_nanos();
        let monotonic = i64::try_from(now.monotonic.as_nanos()).unwrap_or(i64::MAX);
        let passed = wall.wrapping_sub(self.wall);
        put_time(&mut self.columns.times, passed, MICRO);
        let beside = monotonic.wrapping_sub(self.monotonic.wrapping_add(passed));
        put_time(&mut self.columns.times, beside, MICRO);
        (self.wall, self.monotonic) = (wall, monotonic);
    }

    fn notice(&mut self, notice: &Notice) {
        let calls = &mut self.columns.calls;
        let (kind, reason) = match notice {
            Notice::Online(Continuity::New) => return calls.push(notice::ONLINE_NEW),
            Notice::Online(Continuity::Resumed) => return calls.push(notice::ONLINE_RESUMED),
            Notice::CaughtUp => return calls.push(notice::CAUGHT_UP),
            Notice::History => return calls.push(notice::HISTORY),
            Notice::Offline { reason } => (notice::OFFLINE, reason),
            Notice::Stale { reason } => (notice::STALE, reason),
            Notice::Gap {
                scope: GapScope::Source,
                reason,
            } => (notice::GAP_SOURCE, reason),
            Notice::Gap {
                scope: GapScope::Tags(_),
                reason,
            } => (notice::GAP_TAGS, reason),
        };
        calls.push(kind | reason.see.as_ref().map_or(0, |_| notice::SEE));
        if let Notice::Gap {
            scope: GapScope::Tags(tags),
            ..
        } = notice
        {
            put(calls, tags.len() as u64);
            for tag in tags {
                put(calls, u64::from(tag.0));
            }
        }
        put_text(&mut self.columns.texts, reason.told.as_bytes());
        if let Some(see) = &reason.see {
            put_text(&mut self.columns.texts, see.as_bytes());
        }
    }

    fn samples(&mut self, samples: &[Sample]) {
        put(&mut self.columns.calls, samples.len() as u64);
        for sample in samples {
            self.sample(sample);
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let tag = i64::from(sample.tag.0);
        put_signed(&mut self.columns.tags, tag - self.tag);
        self.tag = tag;
        let short = sample.value.as_ref().and_then(short);
        let kind = (sample.value.as_ref()).map_or(u64::from(form::NONE), |value| form_of(value, short));
        let stamps = match (sample.source_time, sample.server_time) {
            (None, None) => stamp::NONE,
            (Some(_), None) => stamp::SOURCE,
            (Some(source), Some(server)) if source == server => stamp::BOTH_SAME,
            (Some(_), Some(_)) => stamp::BOTH,
            (None, Some(_)) => stamp::SERVER,
        };
        let mut form = kind | u64::from(stamps) << 4;
        if sample.quality.0 != 0 {
            form |= NOT_GOOD;
            put(&mut self.columns.values, u64::from(sample.quality.0));
        }
        if sample.gap {
            form |= GAP;
        }
        put(&mut self.columns.forms, form);
        if let Some(value) = &sample.value {
            self.value(sample.tag.0, value, short);
        }
        if let Some(source) = sample.source_time {
            self.stamp(source);
        }
        if let Some(server) = sample.server_time.filter(|_| stamps != stamp::BOTH_SAME) {
            self.stamp(server);
        }
    }

    fn stamp(&mut self, time: Timestamp) {
        let time = time.as_nanos();
        let passed = time.wrapping_sub(self.stamp);
        self.stamp = time;
        put_time(&mut self.columns.stamps, passed, TICK);
    }

    fn value(&mut self, tag: u32, value: &Value, short: Option<(u8, i64)>) {
        let values = &mut self.columns.values;
        let place = (tag, 0);
        match value {
            Value::Bool(_) => {}
            Value::Int(int) => {
                self.last.replace(place, |before| {
                    put_signed(values, int.wrapping_sub(before.cast_signed()));
                    int.cast_unsigned()
                });
            }
            Value::UInt(uint) => {
                self.last.replace(place, |before| {
                    put_signed(values, uint.wrapping_sub(before).cast_signed());
                    *uint
                });
            }
            Value::Float32(float) => {
                self.last.replace(place, |before| {
                    let bits = u64::from(float.to_bits());
                    put(values, bits ^ before);
                    bits
                });
            }
            Value::Float64(float) => {
                if let Some((decimals, whole)) = short {
                    self.last.replace((tag, 1 + decimals), |before| {
                        put_signed(values, whole.wrapping_sub(before.cast_signed()));
                        whole.cast_unsigned()
                    });
                    return;
                }
                self.last.replace(place, |before| {
                    let bits = float.to_bits();
                    // Mostly the lower bits of a mantissa are 0 in both.
                    put(values, (bits ^ before).reverse_bits());
                    bits
                });
            }
            Value::Text(text) => put_text(&mut self.columns.texts, text.as_bytes()),
            Value::Bytes(bytes) => put_text(&mut self.columns.texts, bytes),
            Value::Time(time) => put_signed(values, time.as_nanos()),
            Value::List(items) => {
                put(values, items.len() as u64);
                items.iter().for_each(|item| self.inner(tag, item));
            }
            Value::Record(parts) => {
                put(values, parts.len() as u64);
                for (name, part) in parts.iter() {
                    put_text(&mut self.columns.texts, name.as_bytes());
                    self.inner(tag, part);
                }
            }
        }
    }

    /// A value within another one.
    fn inner(&mut self, tag: u32, value: &Value) {
        let short = short(value);
        put(&mut self.columns.values, form_of(value, short));
        self.value(tag, value, short);
    }

    /// Whether anything was added since the last block.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        !self.columns.calls.is_empty()
    }

    /// Whether the block is large enough to be taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.columns
            .all()
            .iter()
            .map(|column| column.len())
            .sum::<usize>()
            >= FULL
    }

    /// The block, as it stands in the file; none where nothing was added since the last one.
    pub fn block(&mut self) -> Option<Vec<u8>> {
        let columns = std::mem::take(&mut self.columns);
        if columns.calls.is_empty() {
            return None;
        }
        let mut content = Vec::new();
        for column in columns.all() {
            put_text(&mut content, column);
        }
        (self.wall, self.monotonic, self.tag, self.stamp) = (0, 0, 0, 0);
        self.last.begin();
        Some(frame(&content))
    }
}

/// A number of few decimals, as how many and the whole number of the last one.
fn short(value: &Value) -> Option<(u8, i64)> {
    match value {
        Value::Float64(float) => decimal(*float),
        _ => None,
    }
}

/// The kind of a value, with how many decimals it has where that says all of it.
fn form_of(value: &Value, short: Option<(u8, i64)>) -> u64 {
    let kind = match value {
        Value::Bool(false) => form::FALSE,
        Value::Bool(true) => form::TRUE,
        Value::Int(_) => form::INT,
        Value::UInt(_) => form::UINT,
        Value::Float32(_) => form::FLOAT32,
        Value::Float64(_) => match short {
            Some((decimals, _)) => return u64::from(form::DECIMAL) | u64::from(decimals) << DECIMALS,
            None => form::FLOAT64,
        },
        Value::Text(_) => form::TEXT,
        Value::Bytes(_) => form::BYTES,
        Value::Time(_) => form::TIME,
        Value::List(_) => form::LIST,
        Value::Record(_) => form::RECORD,
    };
    u64::from(kind)
}
