//! What waits while the mapping is changed: what was seen is of the tags of which it was seen.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::Event;
use floorgate_core::plan::*;
use floorgate_sample::{Continuity, Notice, TagId, Timestamp, Value};
use serde_json::Value as Json;

use super::probe::*;
use super::{GOOD, Gateway, ORDER, STATE, TEMPERATURE, data, one, sample};

/// A gateway that goes on with another form of the rule `r.h`.
fn goes_on(gateway: &mut Gateway, inputs: &[TagId], spec: RuleSpec) -> Gateway {
    gateway.store();
    let mapping = with(vec![rule("r.h", inputs, spec)]);
    let mut other = Gateway::start(Arc::new(mapping), gateway.cells.clone());
    other.started = Some(gateway.time);
    other.time = gateway.time;
    other.notice(Notice::Online(Continuity::Resumed));
    other.notice(Notice::CaughtUp);
    other
}

/// Three inputs that are known, and a hold of a minute that has begun.
fn holding() -> Gateway {
    let spec = custom(edge(above(), 60, true, false), &[("good", 1)]);
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE, GOOD], spec)]));
    let samples = [
        (TEMPERATURE, float(20.0)),
        (GOOD, Value::UInt(777)),
        (ORDER, Value::text("WO-1")),
    ];
    send(&mut gateway, &samples);
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    gateway
}

fn with_an_order() -> RuleSpec {
    custom(edge(above(), 60, true, false), &[("order", 1), ("good", 2)])
}

#[test]
fn what_was_seen_under_another_mapping() {
    let mut gateway = holding();
    let inputs = [TEMPERATURE, ORDER, GOOD];
    let mut other = goes_on(&mut gateway, &inputs, with_an_order());
    other.time = 2 * S;
    send(&mut other, &[(GOOD, Value::UInt(778))]);
    let event = one(&at(&mut other, 70 * S));
    assert_eq!(
        (&event["order"], &event["good"], &event["gap"]),
        (&Json::Null, &777.into(), &true.into()),
        "nobody saw the order then"
    );
}

#[test]
fn what_was_seen_under_the_same_mapping() {
    let mut gateway = holding();
    let spec = || custom(edge(above(), 60, true, false), &[("good", 1)]);
    gateway.store();
    // As it was stored before the inputs were.
    let key = "rule:r.h";
    let mut cell: Json = serde_json::from_str(&gateway.cells[key]).unwrap();
    cell["progress"]
        .as_object_mut()
        .unwrap()
        .remove("inputs")
        .unwrap();
    gateway.cells.insert(key.into(), cell.to_string());
    let mut other = goes_on(&mut gateway, &[TEMPERATURE, GOOD], spec());
    let event = one(&at(&mut other, 70 * S));
    assert_eq!((&event["good"], &event["gap"]), (&777.into(), &Json::Null));
}

#[test]
fn a_hold_of_a_tag_that_triggers_no_more() {
    let mut gateway = holding();
    let mut other = goes_on(&mut gateway, &[GOOD, TEMPERATURE], with_an_order());
    assert!(at(&mut other, 70 * S).is_empty(), "it held of another tag");
}

#[test]
fn a_join_in_another_order() {
    let spec = |fields: &[(&str, u16)]| {
        let within = Duration::from_secs(10);
        custom(Shape::Join { tags: 3, within }, fields)
    };
    let before = spec(&[("state", 0), ("t", 1), ("good", 2)]);
    let mut gateway = begin(with(vec![rule("r.h", &[STATE, TEMPERATURE, GOOD], before)]));
    let samples = [
        (STATE, Value::Int(4)),
        (TEMPERATURE, float(20.0)),
        (GOOD, Value::UInt(7)),
    ];
    send(&mut gateway, &samples);
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    let after = spec(&[("state", 0), ("good", 1), ("t", 2)]);
    let mut other = goes_on(&mut gateway, &[STATE, GOOD, TEMPERATURE], after);
    let event = one(&at(&mut other, 20 * S));
    assert_eq!(
        (&event["t"], &event["good"], &event["gap"]),
        (&90.0.into(), &Json::Null, &true.into())
    );
    assert_eq!(event["missing"], serde_json::json!(["state", "good"]));
}

#[test]
fn an_event_that_waits_for_its_values() {
    let before = snap(&[1], None, &[("n", 1), ("order", 2)]);
    let mut gateway = begin(with(vec![rule("r.h", &[STATE, GOOD, ORDER], before)]));
    let samples = [(ORDER, Value::text("WO-1")), (TEMPERATURE, float(20.0))];
    send(&mut gateway, &samples);
    gateway.time = S;
    send(&mut gateway, &[(STATE, Value::Int(4))]);
    let after = snap(&[1], None, &[("n", 1), ("t", 2), ("order", 3)]);
    let inputs = [STATE, GOOD, TEMPERATURE, ORDER];
    let mut other = goes_on(&mut gateway, &inputs, after);
    let request = other.core.take_requests()[0].id;
    let read = [sample(GOOD, Value::UInt(7), Timestamp::from_nanos(S))];
    let events: Vec<Event> = answer(&mut other, request, &read);
    assert_eq!(events.len(), 1);
    let event = data(&events[0]);
    assert_eq!(
        (&event["n"], &event["t"], &event["order"], &event["gap"]),
        (&7.into(), &Json::Null, &"WO-1".into(), &true.into())
    );
}
