//! `AlarmRaised` and `AlarmCleared` of conditions (OPC 10000-9): many alarms that one tag tells of, each by its id.
//!
//! The tag happens. Each of its values is a record of one condition, or `{refresh: [record, …]}`: all that the source has to say of its
//! conditions now, after it could not be heard. What is raised and does not stand in it was cleared unseen.
//!
//! The guard and the fields of an event see the record of its own condition, also where all are told; of one that was cleared unseen there is none. The guard is asked
//! when a condition begins: what was raised is cleared, whatever it says by then.

use std::collections::BTreeMap;
use std::sync::Arc;

use floorgate_sample::{Timestamp, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::detect::{Cause, Change};
use crate::json::Object;
use crate::plan::Slot;

use super::alarm::{self, UNMAPPED_SEVERITY};
use super::{Context, Draft, View};

/// Conditions of one rule that are remembered as raised, so that its cell is bounded.
const MOST_RAISED: usize = 10_000;
/// The input that tells of the conditions.
const TRIGGER: Slot = Slot(0);

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Conditions that are raised, by id.
    raised: BTreeMap<Arc<str>, Raised>,
    /// Whether the source ever said how all of them stand.
    #[serde(default)]
    seen: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Raised {
    occurrence: Uuid,
    /// When it was raised, in nanoseconds.
    at: Option<i64>,
    #[serde(default)]
    acknowledged: bool,
    /// When it was acknowledged, where that was seen.
    #[serde(default)]
    acknowledged_at: Option<i64>,
    told: Told,
}

/// What events say of a condition.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    name: Arc<str>,
    source: Option<Arc<str>>,
    severity: u16,
    text: Option<Arc<str>>,
    category: Option<Arc<str>>,
}

/// A condition as its source tells it.
struct Condition {
    id: Arc<str>,
    active: bool,
    acknowledged: bool,
    acknowledged_at: Option<Timestamp>,
    since: Option<Timestamp>,
    told: Told,
}

impl Condition {
    /// Takes it from a record; `None` where that is none of a condition.
    fn read(record: &Value) -> Option<Self> {
        let text = |name| match record.part(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(Arc::clone(text)),
            _ => None,
        };
        let is = |name| match record.part(name) {
            Some(Value::Bool(is)) => Some(*is),
            _ => None,
        };
        let time = |name| match record.part(name) {
            Some(Value::Time(time)) => Some(*time),
            _ => None,
        };
        let id = text("condition")?;
        let severity = record.part("severity").and_then(Value::as_i128);
        Some(Self {
            active: is("active")?,
            acknowledged: is("acknowledged").unwrap_or_default(),
            acknowledged_at: time("acknowledgedAt"),
            since: time("since"),
            told: Told {
                name: text("name").unwrap_or_else(|| Arc::clone(&id)),
                source: text("source"),
                // OPC 10000-5 §6.4.2: 1 to 1000.
                severity: severity.map_or(UNMAPPED_SEVERITY, |severity| {
                    u16::try_from(severity.clamp(1, 1000)).unwrap_or(UNMAPPED_SEVERITY)
                }),
                text: text("message"),
                category: text("type"),
            },
            id,
        })
    }
}

/// All conditions, where a value tells of all.
fn refreshed(value: &Value) -> Option<&[Value]> {
    match value.part("refresh")? {
        Value::List(all) => Some(all),
        _ => None,
    }
}

impl Memory {
    /// How a change that tells of all conditions is to be told: what is found at first is no change, and later nobody saw when it happened.
    pub(super) fn found(&self, change: &Change) -> Option<Change> {
        refreshed(change.value.as_ref()?)?;
        Some(Change {
            cause: if self.seen { change.cause } else { Cause::Initial },
            gap: self.seen,
            ..change.clone()
        })
    }
}

pub(super) fn evaluate(context: &mut Context<'_>, memory: &mut Memory, dirty: &mut bool) {
    let Some(value) = &context.change.value else {
        return;
    };
    let Some(all) = refreshed(value) else {
        see(context, memory, dirty, value, 0);
        return;
    };
    *dirty = true;
    let mut part = 0;
    let mut active = Vec::with_capacity(all.len());
    for record in all {
        part += 1;
        active.extend(see(context, memory, dirty, record, part));
    }
    active.sort_unstable();
    let gone = memory
        .raised
        .keys()
        .filter(|id| active.binary_search(id).is_err());
    for id in gone.cloned().collect::<Vec<_>>() {
        part += 1;
        if let Some(raised) = memory.raised.remove(&id) {
            let hidden = [TRIGGER];
            let view = View {
                hidden: &hidden,
                ..context.view
            };
            clear(&mut context.seeing(view), &raised, part);
        }
    }
    memory.seen = true;
}

/// Takes a record, `part` is 0 where it came alone and not with all; the condition's id where it is active.
fn see(
    context: &mut Context<'_>,
    memory: &mut Memory,
    dirty: &mut bool,
    record: &Value,
    part: u32,
) -> Option<Arc<str>> {
    let Some(condition) = Condition::read(record) else {
        context.fail(|| format!("no event: {record} is no condition"));
        return None;
    };
    let active = condition.active.then(|| Arc::clone(&condition.id));
    let read = [(TRIGGER, Some(record.clone()))];
    let view = View {
        read: &read,
        ..context.view
    };
    take(&mut context.seeing(view), memory, dirty, condition, part);
    active
}

/// Takes what is told of a condition.
fn take(context: &mut Context<'_>, memory: &mut Memory, dirty: &mut bool, condition: Condition, part: u32) {
    let Condition { id, active, .. } = &condition;
    let since = condition.since.map(Timestamp::as_nanos);
    // After a time in which nobody looked it may be another occurrence of the same.
    let is_another = |raised: &Raised| {
        context.change.gap && since.zip(raised.at).is_some_and(|(since, before)| since > before)
    };
    let over = memory
        .raised
        .get(id)
        .is_some_and(|raised| !active || is_another(raised));
    if over && let Some(mut raised) = memory.raised.remove(id) {
        *dirty = true;
        if !active {
            // When it was acknowledged meanwhile, only the condition itself can say.
            raised.acknowledge(&condition, None);
        }
        clear(context, &raised, part);
    }
    if !active {
        return;
    }
    if let Some(raised) = memory.raised.get_mut(id) {
        let seen = context.change.source_time.filter(|_| part == 0);
        *dirty |= raised.acknowledge(&condition, seen);
        return;
    }
    if !context.is_let() {
        return;
    }
    if memory.raised.len() >= MOST_RAISED {
        // Its end could not be told, and it would begin again with each of its records.
        context.fail(|| format!("no event: {MOST_RAISED} conditions are raised, and {id} is one more"));
        return;
    }
    let occurrence = raise(context, &condition, part);
    *dirty = true;
    // Of one that is found nobody knows since when, unless it says so.
    let seen = context.change.source_time.filter(|_| part == 0);
    let raised = Raised {
        occurrence,
        at: since.or(seen.map(Timestamp::as_nanos)),
        acknowledged: condition.acknowledged,
        acknowledged_at: condition.acknowledged_at.map(Timestamp::as_nanos),
        told: condition.told,
    };
    memory.raised.insert(condition.id, raised);
}

impl Raised {
    /// Takes over that it was acknowledged, as it is `seen` now or as the condition says; whether that is news.
    fn acknowledge(&mut self, condition: &Condition, seen: Option<Timestamp>) -> bool {
        if !condition.acknowledged || self.acknowledged {
            return false;
        }
        self.acknowledged = true;
        self.acknowledged_at = condition.acknowledged_at.or(seen).map(Timestamp::as_nanos);
        true
    }
}

impl Told {
    /// Its id at the plant.
    fn id(&self, equipment: &str) -> String {
        match &self.source {
            Some(source) => format!("{equipment}/{source}/{}", self.name),
            None => format!("{equipment}/{}", self.name),
        }
    }

    fn write(&self, equipment: &str, occurrence: Uuid, object: &mut Object<'_>) {
        let told = alarm::Told {
            id: &self.id(equipment),
            code: &self.name,
            severity: self.severity,
            text: self.text.as_deref(),
            category: self.category.as_deref(),
        };
        told.write(occurrence, object);
        if let Some(source) = &self.source {
            object.field("source", &**source);
        }
    }
}

fn raise(context: &mut Context<'_>, condition: &Condition, part: u32) -> Uuid {
    let equipment = Arc::clone(context.equipment());
    let occurrence = context.next_id(part);
    let draft = Draft {
        part,
        ..Draft::new("AlarmRaised", format!("alarm/{}", condition.told.name))
    };
    context.emit_with_id(&draft, occurrence, |object| {
        condition.told.write(&equipment, occurrence, object);
        if let Some(since) = &condition.since {
            object.field("raisedAt", since);
        }
    });
    occurrence
}

fn clear(context: &mut Context<'_>, raised: &Raised, part: u32) {
    let equipment = Arc::clone(context.equipment());
    let at = raised.at.map(Timestamp::from_nanos);
    // Nobody saw the end of one that is found cleared.
    let until = context.change.source_time.filter(|_| !context.change.gap);
    let draft = Draft {
        // A condition may be cleared and raised again in what one record tells.
        part: part | 1 << 31,
        ..Draft::new("AlarmCleared", format!("alarm/{}", raised.told.name))
    };
    context.emit(&draft, |object| {
        raised.told.write(&equipment, raised.occurrence, object);
        alarm::write_past(at, until, object);
        if let Some(at) = raised.acknowledged_at {
            object.field("ackAt", &Timestamp::from_nanos(at));
        }
    });
}
