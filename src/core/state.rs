//! How values and states are written into cells: losslessly, unlike in events, where large integers are text.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Quality, Sample, TagId, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::clock::Entries;
use crate::plan::TagSpec;

/// A [`Value`] in a cell. One-letter tags keep cells short: they are written for every change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum StoredValue {
    #[serde(rename = "b")]
    Bool(bool),
    #[serde(rename = "i")]
    Int(i64),
    #[serde(rename = "u")]
    UInt(u64),
    /// Bits of a 32-bit float that is no finite number.
    #[serde(rename = "fx")]
    FloatBits32(u32),
    #[serde(rename = "f")]
    Float32(f32),
    #[serde(rename = "dx")]
    FloatBits64(u64),
    #[serde(rename = "d")]
    Float64(f64),
    #[serde(rename = "s")]
    Text(Arc<str>),
    #[serde(rename = "x")]
    Bytes(Arc<[u8]>),
    #[serde(rename = "t")]
    Time(i64),
    #[serde(rename = "l")]
    List(Vec<StoredValue>),
    #[serde(rename = "r")]
    Record(Vec<(Arc<str>, StoredValue)>),
}

impl From<&Value> for StoredValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(i) => Self::Int(*i),
            Value::UInt(u) => Self::UInt(*u),
            Value::Float32(f) if f.is_finite() => Self::Float32(*f),
            Value::Float32(f) => Self::FloatBits32(f.to_bits()),
            Value::Float64(f) if f.is_finite() => Self::Float64(*f),
            Value::Float64(f) => Self::FloatBits64(f.to_bits()),
            Value::Text(text) => Self::Text(Arc::clone(text)),
            Value::Bytes(bytes) => Self::Bytes(Arc::clone(bytes)),
            Value::Time(time) => Self::Time(time.as_nanos()),
            Value::List(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Record(parts) => Self::Record(
                parts
                    .iter()
                    .map(|(name, part)| (Arc::clone(name), part.into()))
                    .collect(),
            ),
        }
    }
}

impl From<StoredValue> for Value {
    fn from(stored: StoredValue) -> Self {
        match stored {
            StoredValue::Bool(b) => Self::Bool(b),
            StoredValue::Int(i) => Self::Int(i),
            StoredValue::UInt(u) => Self::UInt(u),
            StoredValue::Float32(f) => Self::Float32(f),
            StoredValue::FloatBits32(bits) => Self::Float32(f32::from_bits(bits)),
            StoredValue::Float64(f) => Self::Float64(f),
            StoredValue::FloatBits64(bits) => Self::Float64(f64::from_bits(bits)),
            StoredValue::Text(text) => Self::Text(text),
            StoredValue::Bytes(bytes) => Self::Bytes(bytes),
            StoredValue::Time(nanos) => Self::Time(Timestamp::from_nanos(nanos)),
            StoredValue::List(items) => Self::List(items.into_iter().map(Self::from).collect()),
            StoredValue::Record(parts) => Self::Record(
                parts
                    .into_iter()
                    .map(|(name, part)| (name, part.into()))
                    .collect(),
            ),
        }
    }
}

/// The baseline of a tag.
#[derive(Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // as in the state itself
struct StoredTag {
    /// The last value that counted; none where only that it is lost was ever told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    v: Option<StoredValue>,
    /// The latest value, where it is another: within the deadband.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    k: Option<StoredValue>,
    /// Source time of the last change in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    t: Option<i64>,
    /// How many changes before it had that source time.
    #[serde(skip_serializing_if = "is_zero", default)]
    o: u32,
    /// Where that count begins.
    #[serde(skip_serializing_if = "is_zero", default)]
    w: u32,
    /// Its quality.
    #[serde(skip_serializing_if = "is_zero", default)]
    q: u32,
    /// It was told as lost since.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    l: bool,
    /// The last that was received of it was no usable value.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    b: bool,
    /// Something may have been missed since its last event.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    g: bool,
    /// The gaps of its source that it has taken over.
    #[serde(skip_serializing_if = "is_zero", default)]
    n: u32,
    /// The session of its source in which it was last sent.
    #[serde(skip_serializing_if = "is_zero", default)]
    e: u32,
    /// A value that has not been the same for long enough yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    c: Option<StoredCandidate>,
    /// The last that was received of a tag that another one says to be valid or not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    h: Option<StoredSample>,
    /// When its longest silence ends, on the core's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    s: Option<Duration>,
    /// Its longest silence ended while it was unknown.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    u: bool,
    /// When its heartbeat stops, on the core's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    d: Option<Duration>,
    /// Its heartbeat has stopped.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    p: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredSample {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    v: Option<StoredValue>,
    #[serde(skip_serializing_if = "is_zero", default)]
    q: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    t: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    e: Option<i64>,
    /// Something may have been missed before it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    g: bool,
}

impl StoredSample {
    fn of(value: Option<&Value>, quality: Quality, times: (Option<Timestamp>, Option<Timestamp>)) -> Self {
        Self {
            v: value.map(StoredValue::from),
            q: quality.0,
            t: times.0.map(Timestamp::as_nanos),
            e: times.1.map(Timestamp::as_nanos),
            g: false,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct StoredCandidate {
    #[serde(flatten)]
    sample: StoredSample,
    received: i64,
    due: Duration,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde asks for
pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A value that has not been the same for long enough to count.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The value.
    pub(crate) value: Value,
    /// Its quality.
    pub(crate) quality: Quality,
    /// When it was first seen, by the device.
    pub(crate) source_time: Option<Timestamp>,
    /// And by the server.
    pub(crate) server_time: Option<Timestamp>,
    /// And by the gateway.
    pub(crate) received: Timestamp,
    /// When it counts, on the core's clock.
    pub(crate) due: Duration,
}

/// What few tags have: values that wait, or are of an earlier process, and timers.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// The value that will count if it stays.
    pub(crate) candidate: Option<Candidate>,
    /// The last that was received, where another tag says whether it is valid.
    pub(crate) held: Option<Sample>,
    /// When its longest silence ends.
    pub(crate) silence: Option<Duration>,
    /// It was unknown when its longest silence ended.
    pub(crate) overdue: bool,
    /// When its source is stale unless it changes.
    pub(crate) heartbeat: Option<Duration>,
    /// It did not change in time.
    pub(crate) stopped: bool,
    /// The latest value of an earlier process, where it was another than the one that counted.
    pub(crate) latest_before: Option<Value>,
    /// Its entries among the timers.
    pub(crate) entries: Entries,
}

impl Waiting {
    /// Drops what another plan let wait and this one does not. A value that has no need to settle any more counts at once.
    pub(crate) fn suit(&mut self, spec: &TagSpec) {
        if spec.debounce.is_none()
            && let Some(candidate) = &mut self.candidate
        {
            candidate.due = Duration::ZERO;
        }
        if spec.at_least_every.is_none() {
            (self.silence, self.overdue) = (None, false);
        }
        if spec.heartbeat.is_none() {
            (self.heartbeat, self.stopped) = (None, false);
        }
    }

    /// When it is to be looked at next.
    pub(crate) fn due(&self) -> Option<Duration> {
        let candidate = self.candidate.as_ref().map(|candidate| candidate.due);
        candidate
            .into_iter()
            .chain(self.silence)
            .chain(self.heartbeat)
            .min()
    }
}

/// What change detection knows of a tag: two cache lines, since of many tags each one is seldom in a cache.
#[derive(Debug, Default)]
#[repr(align(64))]
#[allow(clippy::struct_excessive_bools)] // each says a thing of its own; together they are no state machine
pub(crate) struct TagState {
    /// The last value that counted, from this process or an earlier one.
    pub(crate) counted: Option<Value>,
    /// Source time of the last change, a loss included.
    pub(crate) changed_at: Option<Timestamp>,
    /// Quality of `counted`.
    pub(crate) counted_quality: Quality,
    /// The latest value, `None` while unknown: before the first one, after loss of the source, while bad.
    pub(crate) latest: Option<Value>,
    /// Something was received since the start.
    pub(crate) fresh: bool,
    /// A change to bad or unknown was told to the rules, by this process or an earlier one, and not yet taken back.
    pub(crate) lost: bool,
    /// The last that was received, by this process or an earlier one, was no usable value.
    pub(crate) bad: bool,
    /// Something may have been missed since the last event of this tag.
    pub(crate) gap: bool,
    /// How many times the source had a gap when this tag last took it over.
    pub(crate) gaps_seen: u32,
    /// How many changes before the last one had the same source time: tells equal changes apart.
    pub(crate) ordinal: u32,
    /// Where that begins: 0 until the device's clock went backwards.
    pub(crate) first_ordinal: u32,
    /// The session of the source that last delivered a value.
    pub(crate) session: u32,
    /// The session of the source whose history the last change was read from, in this process; 0 where it came as it happened.
    pub(crate) history: u32,
    /// The moment that last touched the tag.
    pub(crate) moment: u32,
    /// The state is to be stored with the next commit.
    pub(crate) dirty: bool,
    /// A rule told of it in this moment.
    pub(crate) told: bool,
    /// A rule that tells later has taken its gap over in this moment.
    pub(crate) taken: bool,
    /// Timers of it, or of rules that it triggers, were due while its source was not watched or it was unknown.
    pub(crate) put_off: bool,
    /// A rule of it may owe an event.
    pub(crate) owing: bool,
    /// Where the rules that it triggers are among those of all tags.
    pub(crate) rules: Range<u32>,
    /// The key of its cell, once it was stored.
    pub(crate) cell: Option<Arc<str>>,
    /// What waits, where anything can.
    pub(crate) waiting: Option<Box<Waiting>>,
}

impl TagState {
    /// The state of an earlier process, from its cell.
    pub(crate) fn restore(tag: TagId, cell: &str) -> Option<Self> {
        let stored: StoredTag = serde_json::from_str(cell).ok()?;
        let time = |nanos: Option<i64>| nanos.map(Timestamp::from_nanos);
        let candidate = stored.c.and_then(|candidate| {
            Some(Candidate {
                value: candidate.sample.v?.into(),
                quality: Quality(candidate.sample.q),
                source_time: time(candidate.sample.t),
                server_time: time(candidate.sample.e),
                received: Timestamp::from_nanos(candidate.received),
                due: candidate.due,
            })
        });
        let held = stored.h.map(|held| Sample {
            tag,
            value: held.v.map(Value::from),
            quality: Quality(held.q),
            source_time: time(held.t),
            server_time: time(held.e),
            gap: held.g,
        });
        let times = stored.s.or(stored.d).is_some() || stored.u || stored.p;
        let latest_before = stored.k.map(Value::from);
        let waits = candidate.is_some() || held.is_some() || times || latest_before.is_some();
        let waiting = Waiting {
            candidate,
            held,
            silence: stored.s,
            overdue: stored.u,
            heartbeat: stored.d,
            stopped: stored.p,
            latest_before,
            ..Waiting::default()
        };
        Some(Self {
            waiting: waits.then(|| Box::new(waiting)),
            counted: stored.v.map(Value::from),
            changed_at: stored.t.map(Timestamp::from_nanos),
            ordinal: stored.o,
            first_ordinal: stored.w,
            counted_quality: Quality(stored.q),
            lost: stored.l,
            bad: stored.b,
            gaps_seen: stored.n,
            session: stored.e,
            // Where nobody was watching between the processes, the source says so when it begins anew.
            gap: stored.g,
            ..Self::default()
        })
    }

    /// The source had kept what happened between the processes: its value is what it was, until it is sent.
    pub(crate) fn resume(&mut self) {
        self.fresh = self.counted.is_some();
        self.know_as_before();
    }

    /// Its latest value is known.
    pub(crate) fn know(&mut self) {
        let before = self
            .waiting
            .as_deref_mut()
            .and_then(|waiting| waiting.latest_before.take());
        self.latest = before.or_else(|| self.counted.clone());
    }

    /// What was known to an earlier process is known.
    pub(crate) fn know_as_before(&mut self) {
        if !self.bad {
            self.know();
        }
    }

    /// What waits, made where there was nothing.
    pub(crate) fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    /// Takes over whether the source had a gap, by the number of gaps it had so far.
    pub(crate) fn see_gaps(&mut self, gaps: u32) {
        if self.gaps_seen != gaps {
            self.gaps_seen = gaps;
            self.gap = true;
        }
    }

    /// Whether a value of a history, of this source time, is not newer than the last change. Values of one time follow one another within a history; where
    /// the last change is from elsewhere, it may be one of them.
    pub(crate) fn is_older(&self, source_time: Option<Timestamp>) -> bool {
        if self.history == self.session {
            self.changed_at > source_time
        } else {
            self.changed_at >= source_time
        }
    }

    /// Counts a change of this source time, and returns how many before it had the same. Where the device's clock went backwards, counts begin at a
    /// number made of the times before from then on: a clock without a battery comes to the same times again and again, and what happens then is something else.
    pub(crate) fn count_change(&mut self, source_time: Option<Timestamp>) -> u32 {
        self.ordinal = match (self.changed_at, source_time) {
            (Some(before), Some(now)) if before == now => self.ordinal.wrapping_add(1),
            (Some(before), Some(now)) if before > now => {
                let nanos = before.as_nanos().cast_unsigned();
                let folded = u32::try_from((nanos ^ (nanos >> 32)) & u64::from(u32::MAX)).unwrap_or(u32::MAX);
                // The same times may come in each round.
                self.first_ordinal = self.first_ordinal.wrapping_mul(0x9E37_79B1).wrapping_add(folded);
                self.first_ordinal
            }
            _ => self.first_ordinal,
        };
        self.changed_at = source_time;
        self.dirty = true;
        self.ordinal
    }

    /// The latest value, where it is another than the one that counted.
    fn within_deadband(&self) -> Option<&Value> {
        let counted = self.counted.as_ref()?;
        let waiting = self.waiting.as_deref();
        let before = waiting.and_then(|waiting| waiting.latest_before.as_ref());
        let latest = self.latest.as_ref().or(before)?;
        (!latest.same(counted)).then_some(latest)
    }

    /// Whether anything is stored of it: nothing is while nothing was ever told of the tag, and none was watched that happens.
    pub(crate) fn has_cell(&self) -> bool {
        // A heartbeat is waited for before it was ever received.
        let waits =
            |waiting: &Waiting| waiting.held.is_some() || waiting.heartbeat.is_some() || waiting.stopped;
        let happened = self.changed_at.is_some();
        let was_watched = self.session != 0;
        self.counted.is_some()
            || self.lost
            || happened
            || was_watched
            || self.waiting.as_deref().is_some_and(waits)
    }

    /// The cell's text; `None` while nothing was ever told of the tag.
    pub(crate) fn save(&self) -> Option<String> {
        if !self.has_cell() {
            return None;
        }
        let waiting = self.waiting.as_deref();
        let candidate = waiting.and_then(|waiting| waiting.candidate.as_ref());
        let held = waiting.and_then(|waiting| waiting.held.as_ref());
        let stored = StoredTag {
            c: candidate.map(|c| StoredCandidate {
                sample: StoredSample::of(Some(&c.value), c.quality, (c.source_time, c.server_time)),
                received: c.received.as_nanos(),
                due: c.due,
            }),
            h: held.map(|held| StoredSample {
                g: held.gap,
                ..StoredSample::of(
                    held.value.as_ref(),
                    held.quality,
                    (held.source_time, held.server_time),
                )
            }),
            s: waiting.and_then(|waiting| waiting.silence),
            u: waiting.is_some_and(|waiting| waiting.overdue),
            d: waiting.and_then(|waiting| waiting.heartbeat),
            p: waiting.is_some_and(|waiting| waiting.stopped),
            v: self.counted.as_ref().map(StoredValue::from),
            k: self.within_deadband().map(StoredValue::from),
            t: self.changed_at.map(Timestamp::as_nanos),
            o: self.ordinal,
            w: self.first_ordinal,
            q: self.counted_quality.0,
            l: self.lost,
            b: self.bad,
            g: self.gap,
            n: self.gaps_seen,
            e: self.session,
        };
        serde_json::to_string(&stored).ok()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
