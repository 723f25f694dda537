//! A gateway of a few rules, for what the corners of one rule are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::*;
use floorgate_core::{Event, Input};
use floorgate_sample::{
    Answer, Continuity, Notice, Quality, RequestId, Sample, SourceId, TagId, Timestamp, Value,
};

pub(super) use super::plant::tag;
use super::{Gateway, STATE, TEMPERATURE, data, plan, sample};

pub(super) const S: i64 = 1_000_000_000;

pub(super) fn custom(shape: Shape, fields: &[(&str, u16)]) -> RuleSpec {
    RuleSpec {
        shape,
        data: fields
            .iter()
            .map(|(n, samples)| (Arc::from(*n), Field::Input(Slot(*samples))))
            .collect(),
        ..RuleSpec::of(RuleKind::Custom {
            event: "Happened".into(),
            domain: "mes".into(),
            subject: None,
        })
    }
}
pub(super) fn rule(id: &str, inputs: &[TagId], spec: RuleSpec) -> Rule {
    Rule {
        id: id.into(),
        equipment: EquipmentId(0),
        inputs: inputs.into(),
        topic: "t".into(),
        run: None,
        spec: Arc::new(spec),
    }
}
pub(super) fn with(rules: Vec<Rule>) -> Plan {
    let mut mapping = plan();
    mapping.rules = rules;
    tag(&mut mapping, TEMPERATURE).at_least_every = None;
    mapping
}
pub(super) fn begin(mapping: Plan) -> Gateway {
    let mut gateway = Gateway::start(Arc::new(mapping), HashMap::new());
    gateway.started = Some(0);
    gateway.notice(Notice::Online(Continuity::New));
    gateway
}
pub(super) fn float(v: f64) -> Value {
    Value::Float64(v)
}
pub(super) fn at(gateway: &mut Gateway, t: i64) -> Vec<Event> {
    // time passes, deadline by deadline
    let mut events = Vec::new();
    for _ in 0..100_000 {
        let started = gateway.started.unwrap();
        if let Some(d) = gateway
            .core
            .next_deadline()
            .map(|d| started + i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
            .filter(|d| *d <= t)
        {
            gateway.time = gateway.time.max(d);
            events.extend(gateway.advance());
        } else {
            gateway.time = t;
            return events;
        }
    }
    panic!("no end")
}
pub(super) fn send(gateway: &mut Gateway, values: &[(TagId, Value)]) -> Vec<Event> {
    let t = Timestamp::from_nanos(gateway.time);
    let samples: Vec<Sample> = values.iter().map(|(k, v)| sample(*k, v.clone(), t)).collect();
    gateway.try_batch(&[], &samples).0
}
pub(super) fn bad(gateway: &mut Gateway, k: TagId) -> Vec<Event> {
    let mut samples = sample(k, Value::Bool(true), Timestamp::from_nanos(gateway.time));
    samples.value = None;
    samples.quality = Quality::BAD;
    gateway.try_batch(&[], &[samples]).0
}
pub(super) fn offline(gateway: &mut Gateway) -> Vec<Event> {
    gateway.notice(Notice::Offline { reason: "x".into() })
}
pub(super) fn show(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|events| format!("{} @{} {}", events.name, events.time, data(events)))
        .collect()
}
pub(super) fn edge(condition: Condition, hold: u64, rising: bool, falling: bool) -> Shape {
    Shape::Edge(EdgeSpec {
        condition,
        rising,
        falling,
        hold: Duration::from_secs(hold),
    })
}
pub(super) fn above() -> Condition {
    Condition::Above {
        limit: 80.0,
        back: 80.0,
    }
}
pub(super) fn state_rule() -> Rule {
    rule("r.state", &[STATE], RuleSpec::of(RuleKind::EquipmentState))
}

pub(super) fn answer(gateway: &mut Gateway, id: RequestId, samples: &[Sample]) -> Vec<Event> {
    answer_with(gateway, id, Ok(()), samples)
}

pub(super) fn answer_with(
    gateway: &mut Gateway,
    request: RequestId,
    result: Result<(), String>,
    samples: &[Sample],
) -> Vec<Event> {
    let now = gateway.now(0);
    let mut events = Vec::new();
    gateway.core.answer(
        &Answer { request, result },
        Input {
            source: SourceId(0),
            received: now.wall,
            notices: &[],
            samples,
            now,
        },
        &mut events,
    );
    gateway.store();
    events
}

pub(super) fn snap(tags: &[u16], unchanged: Option<u16>, fields: &[(&str, u16)]) -> RuleSpec {
    RuleSpec {
        snapshot: Some(Snapshot {
            tags: tags.iter().map(|samples| Slot(*samples)).collect(),
            unchanged: unchanged.map(Slot),
        }),
        ..custom(Shape::Every, fields)
    }
}
