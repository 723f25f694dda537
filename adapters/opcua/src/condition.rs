//! Conditions (OPC 10000-9): what their events come to, and when a server is asked how all of them stand.
//!
//! Between a `RefreshStartEvent` and its end the server tells all conditions, among them changes of the moment. Only the whole says which of those that were
//! raised are not any more. Whatever keeps it from being whole, a lost start, a queue that was too short, an end that does not come, has what was told handed on
//! one by one, with a gap, and the server asked again, after pauses that grow.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Quality, Sample, Timestamp, Value};
use opcua::types::{NodeId, ObjectTypeId, StatusCode, Variant};

use crate::event::{self, Fields, Of};
use crate::item::Tag;
use crate::value::time_of;

/// Conditions that one refresh may tell; a server with more is not believed to have told all.
const MOST_CONDITIONS: usize = 20_000;
/// A refresh that has not ended by then has no end.
const WITHIN: Duration = Duration::from_mins(1);
/// The pauses between refreshes that were not whole: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// After so long without one the next refresh is asked for at once.
const CALM: Duration = Duration::from_mins(10);

/// How an item that tells conditions stands.
#[derive(Debug, Default)]
pub struct Standing {
    /// What a refresh has told so far, where one goes on.
    telling: Option<Telling>,
    /// When the server is to be asked for all conditions.
    due: Option<Instant>,
    /// Until when the refresh that was asked for has to end.
    until: Option<Instant>,
    /// The question is on its way.
    is_asking: bool,
    /// A refresh has ended since it was asked for.
    has_ended: bool,
    /// When the server was last asked.
    asked: Option<Instant>,
    /// How long was waited before that.
    pause: Duration,
    /// What it said then, where it did not agree.
    pub refusal: Option<StatusCode>,
}

impl Standing {
    /// All conditions are to be asked for.
    pub fn want(&mut self, now: Instant) {
        if self.due.is_some() {
            return;
        }
        let is_calm = |asked: Instant| now.saturating_duration_since(asked) > CALM;
        self.pause = if self.asked.is_none_or(is_calm) {
            Duration::ZERO
        } else {
            (self.pause * 2).clamp(PAUSES.0, PAUSES.1)
        };
        self.due = Some(now + self.pause);
    }

    /// Whether the server is to be asked now: not while it tells all conditions, or is asked.
    pub fn is_due(&self, now: Instant) -> bool {
        let is_busy = self.is_asking || self.telling.is_some() || self.until.is_some();
        !is_busy && self.due.is_some_and(|due| due <= now)
    }

    /// The server is asked now.
    pub fn ask(&mut self) {
        (self.is_asking, self.has_ended, self.due) = (true, false, None);
    }

    /// The connection is another: what was asked on the one before is not answered.
    pub fn ask_again(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_asking) {
            self.due = Some(now);
        }
    }

    /// The server was asked, and has agreed or not. It may have told all before it said so.
    pub fn was_asked(&mut self, now: Instant, agreed: bool) {
        (self.is_asking, self.asked) = (false, Some(now));
        let goes_on = self.telling.is_some() || agreed && !self.has_ended;
        self.until = goes_on.then(|| now + WITHIN);
    }

    /// Whether a refresh should have ended by now.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Gives up a refresh that does not end: what it told so far, for tags.
    pub fn give_up(&mut self, tags: &[Tag]) -> Vec<Sample> {
        self.until = None;
        let told = self.telling.take().unwrap_or_default();
        told.into_part(Times::default(), tags)
    }

    /// What an event comes to, for tags. `uris` are the server's namespaces.
    pub fn take(&mut self, tags: &[Tag], mut fields: Fields, uris: &[String], now: Instant) -> Told {
        let times = Times(fields.times());
        let of = match fields.of(Of::EventType) {
            Variant::NodeId(of) => *of,
            _ => NodeId::null(),
        };
        let is = |id: ObjectTypeId| of == id;
        if is(ObjectTypeId::RefreshStartEventType) {
            let before = self.telling.take();
            // One that begins while another goes on takes over what was told: neither is whole.
            self.telling = Some(Telling {
                is_part: before.is_some(),
                ..before.unwrap_or_default()
            });
            self.until.get_or_insert(now + WITHIN);
            return Told::Nothing;
        }
        if is(ObjectTypeId::RefreshEndEventType) {
            (self.until, self.has_ended) = (None, true);
            let Some(telling) = self.telling.take() else {
                // Its start was lost, and what came before: all that it told was taken one by one.
                self.want(now);
                return Told::Lost(lost(tags));
            };
            if telling.is_part {
                self.want(now);
                return Told::Part(telling.into_part(times, tags));
            }
            let all = Value::List(telling.into_records().into());
            return Told::All(times.samples(tags, &Value::Record([("refresh".into(), all)].into()), false));
        }
        let is_overflow = is(ObjectTypeId::EventQueueOverflowEventType);
        if is_overflow || is(ObjectTypeId::RefreshRequiredEventType) {
            if let Some(telling) = self.telling.as_mut().filter(|_| is_overflow) {
                telling.is_part = true;
            }
            self.want(now);
            return if is_overflow {
                Told::Lost(lost(tags))
            } else {
                Told::Nothing
            };
        }
        match (record(&of, &mut fields, uris), &mut self.telling) {
            (Said::Nothing, _) => Told::Nothing,
            (Said::Unknown, Some(telling)) => {
                telling.is_part = true;
                Told::Nothing
            }
            (Said::Unknown, None) => Told::Lost(lost(tags)),
            (Said::State(id, record), Some(telling)) => {
                telling.add(id, times.of_event(), record);
                Told::Nothing
            }
            (Said::State(_, record), None) => Told::One(times.samples(tags, &record, false)),
        }
    }
}

/// What an event comes to.
#[derive(Debug)]
pub enum Told {
    /// Nothing that is to be handed on.
    Nothing,
    /// Something was lost, and all conditions are to be asked for.
    Lost(Vec<Sample>),
    /// All conditions.
    All(Vec<Sample>),
    /// Some of all, of which others may be raised as well.
    Part(Vec<Sample>),
    /// A change of one.
    One(Vec<Sample>),
}

/// The conditions that a refresh has told so far, by id.
#[derive(Debug, Default)]
struct Telling {
    /// With when each was told.
    all: HashMap<Arc<str>, (Option<Timestamp>, Value)>,
    /// What was active or not before it changed meanwhile: told before or seen as it came, nobody can tell.
    passed: Vec<Value>,
    /// There were more.
    is_part: bool,
}

impl Telling {
    /// A change of the moment may stand before the state that it changed (OPC 10000-9 §5.5.7).
    fn add(&mut self, id: Arc<str>, at: Option<Timestamp>, record: Value) {
        let is_full = self.all.len() >= MOST_CONDITIONS;
        match self.all.get_mut(&id) {
            Some((before, _)) if *before > at => {}
            Some(known) => {
                let is_news = is_active(&known.1) != is_active(&record);
                let (_, passed) = std::mem::replace(known, (at, record));
                if is_news && self.passed.len() < MOST_CONDITIONS {
                    self.passed.push(passed);
                } else {
                    self.is_part |= is_news;
                }
            }
            None if is_full => self.is_part = true,
            None => drop(self.all.insert(id, (at, record))),
        }
    }

    /// What changed meanwhile, then how all stand, in an order that is no meaning of its own and the same each time.
    fn into_records(self) -> Vec<Value> {
        let mut all: Vec<_> = self.all.into_iter().collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let stand = all.into_iter().map(|(_, (_, record))| record);
        self.passed.into_iter().chain(stand).collect()
    }

    /// Where it is not all: one by one.
    fn into_part(self, times: Times, tags: &[Tag]) -> Vec<Sample> {
        let records = self.into_records().into_iter();
        records
            .flat_map(|record| times.samples(tags, &record, true))
            .collect()
    }
}

/// When an event happened, and when the server took it.
#[derive(Clone, Copy, Default)]
struct Times([Option<opcua::types::DateTime>; 2]);

impl Times {
    fn of_event(self) -> Option<Timestamp> {
        time_of(self.0[0], None)
    }

    fn samples(self, tags: &[Tag], value: &Value, gap: bool) -> Vec<Sample> {
        let [source_time, server_time] = self.0.map(|time| time_of(time, None));
        let of = move |tag: &Tag| Sample {
            tag: tag.id,
            value: Some(value.clone()),
            quality: Quality::GOOD,
            source_time,
            server_time,
            gap,
        };
        tags.iter().map(of).collect()
    }
}

/// That something was lost.
fn lost(tags: &[Tag]) -> Vec<Sample> {
    tags.iter().map(|tag| event::lost(tag.id)).collect()
}

/// What an event says of a condition.
enum Said {
    /// Nothing: it is of none, or of one of its former states.
    Nothing,
    /// Whether it is active cannot be told by the server.
    Unknown,
    /// Its id, and its record.
    State(Arc<str>, Value),
}

/// Whether the condition of a record is active.
fn is_active(record: &Value) -> bool {
    record.part("active") == Some(&Value::Bool(true))
}

/// What an event of this type says of a condition.
fn record(of: &NodeId, fields: &mut Fields, uris: &[String]) -> Said {
    let id: Arc<str> = match fields.of(Of::Condition) {
        // The number of a namespace may be another after the server was started anew.
        Variant::NodeId(id) if !id.is_null() => match uris.get(usize::from(id.namespace)) {
            Some(uri) if id.namespace > 0 => format!("nsu={uri};{}", id.identifier).into(),
            _ => id.to_string().into(),
        },
        _ => return Said::Nothing,
    };
    // A branch is a former state that waits to be acknowledged, beside the present one (OPC 10000-9 §5.5.2).
    if matches!(fields.of(Of::Branch), Variant::NodeId(branch) if !branch.is_null()) {
        return Said::Nothing;
    }
    // One that is disabled is not looked at any more; one without a state of activity is active while it is of interest.
    let retain = fields.is(Of::Retain);
    let is_enabled = fields.is(Of::Enabled) != Some(false);
    let active = match (fields.of(Of::Active), retain) {
        (Variant::Boolean(active), _) => active && is_enabled,
        (Variant::StatusCode(status), _) if !status.is_good() => return Said::Unknown,
        (_, Some(retain)) => retain && is_enabled,
        (_, None) => return Said::Nothing,
    };
    let kind = match of.as_u32() {
        Some(number) if of.namespace == 0 => ObjectTypeId::try_from(number).map(|id| format!("{id:?}")),
        _ => Err(()),
    };
    let mut parts: Vec<(Arc<str>, Value)> = vec![
        ("condition".into(), Value::Text(Arc::clone(&id))),
        ("active".into(), Value::Bool(active)),
        (
            "type".into(),
            Value::text(kind.unwrap_or_else(|()| of.to_string())),
        ),
    ];
    let mut put = |name: &str, value: Option<Value>| parts.extend(value.map(|value| (name.into(), value)));
    put("name", fields.value(Of::Name));
    put("source", fields.value(Of::SourceName));
    put("message", fields.value(Of::Message));
    put("severity", fields.value(Of::Severity));
    let acknowledged = fields.value(Of::Acknowledged);
    let is_acknowledged = acknowledged == Some(Value::Bool(true));
    put("acknowledged", acknowledged);
    put(
        "acknowledgedAt",
        fields.value(Of::AcknowledgedAt).filter(|_| is_acknowledged),
    );
    put("since", fields.value(Of::ActiveSince).filter(|_| active));
    Said::State(id, Value::Record(parts.into()))
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
