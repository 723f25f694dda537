//! Rules whose inputs are of two sources.

use std::time::Duration;

use floorgate_core::expression::Expression;
use floorgate_core::plan::*;
use floorgate_core::{Event, Input};
use floorgate_sample::{Continuity, GapScope, Notice, Sample, SourceId, Timestamp, Value};

use super::probe::*;
use super::{GOOD, Gateway, ORDER, STATUS, TEMPERATURE, data, one, plan, sample};

/// A gateway of a rule; the count is of a second source.
fn two(rule: Rule) -> Gateway {
    of_two(with(vec![rule]))
}

fn of_two(mut mapping: Plan) -> Gateway {
    mapping.sources.push(SourceRow {
        name: "b".into(),
        topic: "t".into(),
    });
    mapping.tags[GOOD.index()].source = SourceId(1);
    let mut gateway = begin(mapping);
    second(&mut gateway, &[Notice::Online(Continuity::New)], &[counted(0, 0)]);
    send(&mut gateway, &[(TEMPERATURE, float(0.0))]);
    gateway
}

/// What the second source sends.
fn second(gateway: &mut Gateway, notices: &[Notice], samples: &[Sample]) -> Vec<Event> {
    let now = gateway.now(0);
    let input = Input {
        source: SourceId(1),
        received: now.wall,
        notices,
        samples,
        now,
    };
    let mut events = Vec::new();
    gateway.core.apply(input, &mut events);
    gateway.store();
    events
}

fn counted(value: u64, time: i64) -> Sample {
    sample(GOOD, Value::UInt(value), Timestamp::from_nanos(time))
}

fn lost() -> Notice {
    Notice::Offline { reason: "x".into() }
}

fn joined() -> Gateway {
    let shape = Shape::Join {
        tags: 2,
        within: Duration::from_secs(10),
    };
    two(rule(
        "r.j",
        &[TEMPERATURE, GOOD],
        custom(shape, &[("t", 0), ("g", 1)]),
    ))
}

fn happened(mut events: Vec<Event>) -> Vec<Event> {
    events.retain(|event| &*event.name == "Happened");
    events
}

#[test]
fn a_value_of_a_source_that_catches_up() {
    let guarded = |when: Option<&str>| {
        let mut spec = custom(Shape::Every, &[("t", 1)]);
        spec.when = when.map(|when| Expression::compile(when, |_| Some(Slot(1))).unwrap());
        let mut gateway = two(rule("r.x", &[GOOD, TEMPERATURE], spec));
        send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
        gateway.time = S;
        offline(&mut gateway);
        gateway.time = 3600 * S;
        gateway.notice(Notice::Online(Continuity::Resumed));
        let meanwhile = second(&mut gateway, &[], &[counted(1, 3600 * S)]);
        gateway.time += S;
        gateway.notice(Notice::CaughtUp);
        let later = second(&mut gateway, &[], &[counted(2, 3601 * S)]);
        (meanwhile, later)
    };
    let (meanwhile, later) = guarded(None);
    let meanwhile = one(&meanwhile);
    assert!(meanwhile["t"].is_null(), "of an hour ago: {meanwhile}");
    assert_eq!(one(&later)["t"], 20.0);
    let (meanwhile, later) = guarded(Some("t == 20.0"));
    assert_eq!((meanwhile.len(), later.len()), (0, 1));
}

#[test]
fn a_run_of_a_source_that_catches_up() {
    let mut mapping = with(plan().rules.drain(..1).collect());
    let mut counting = rule("r.c", &[GOOD], custom(Shape::Every, &[]));
    counting.run = Some(RuleId(0));
    mapping.rules.push(counting);
    let mut gateway = of_two(mapping);
    send(
        &mut gateway,
        &[(ORDER, Value::text("WO-1")), (STATUS, Value::Int(3))],
    );
    let mut orders = Vec::new();
    let mut count = |gateway: &mut Gateway, n| {
        let events = second(gateway, &[], &[counted(n, gateway.time)]);
        orders.push(one(&events)["workOrderId"].clone());
    };
    gateway.time = S;
    count(&mut gateway, 1);
    offline(&mut gateway);
    gateway.time = 3600 * S;
    gateway.notice(Notice::Online(Continuity::Resumed));
    count(&mut gateway, 2);
    gateway.time += S;
    gateway.notice(Notice::CaughtUp);
    count(&mut gateway, 3);
    assert_eq!(orders[0], "WO-1");
    assert_ne!(orders[1], "WO-1", "it may be over for long");
    assert_eq!(orders[2], "WO-1");
}

#[test]
fn a_gap_of_the_second_source_of_a_join() {
    let mut gateway = joined();
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    gateway.time = 2 * S;
    let gap = Notice::Gap {
        scope: GapScope::Source,
        reason: "x".into(),
    };
    second(&mut gateway, &[gap], &[]);
    assert_eq!(one(&at(&mut gateway, 60 * S))["gap"], true);
}

#[test]
fn a_join_whose_second_source_is_away() {
    let mut gateway = joined();
    gateway.time = S;
    second(&mut gateway, &[lost()], &[]);
    gateway.time = 2 * S;
    let mut events = send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    events.extend(at(&mut gateway, 60 * S));
    let resumed = [Notice::Online(Continuity::Resumed)];
    events.extend(second(&mut gateway, &resumed, &[counted(1, 3 * S)]));
    events.extend(second(&mut gateway, &[Notice::CaughtUp], &[]));
    events.extend(at(&mut gateway, 120 * S));
    let told = one(&happened(events));
    assert_eq!((&told["t"], &told["g"]), (&1.0.into(), &1.into()), "{told}");
    assert!(told["missing"].is_null(), "{told}");
}

#[test]
fn a_join_that_lacks_what_was_never_sent() {
    let mut gateway = joined();
    gateway.time = S;
    let mut events = send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    gateway.time = 2 * S;
    second(&mut gateway, &[lost()], &[]);
    events.extend(at(&mut gateway, 60 * S));
    assert!(happened(events).is_empty(), "it may have come");
    second(&mut gateway, &[Notice::Online(Continuity::New)], &[]);
    let events = happened(at(&mut gateway, 61 * S));
    let told = one(&events);
    assert_eq!(told["missing"][0], "good");
    assert_eq!(
        data(&events[0])["gap"],
        true,
        "nobody knows whether it came: {told}"
    );
}
