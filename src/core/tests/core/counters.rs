//! Counters that are set back, and counts of a span of time.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::*;
use floorgate_sample::Value;

use super::probe::*;
use super::{ALARMS, GOOD, data, one};

fn counting(reset: bool, shape: Shape) -> Plan {
    let kind = RuleKind::ProductionCount {
        event: CountEvent::Production("good".into()),
        unit: "C62".into(),
        reset: reset.then_some(Slot(1)),
    };
    with(vec![rule(
        "r.c",
        &[GOOD, ALARMS],
        RuleSpec {
            shape,
            ..RuleSpec::of(kind)
        },
    )])
}

#[test]
fn reset_in_the_same_moment() {
    let run = |order: [usize; 2]| {
        let mut gateway = begin(counting(true, Shape::Every));
        send(
            &mut gateway,
            &[(GOOD, Value::UInt(100)), (ALARMS, Value::Bool(false))],
        );
        gateway.time = S;
        let samples = [(GOOD, Value::UInt(5)), (ALARMS, Value::Bool(true))];
        let mut events = send(
            &mut gateway,
            &[samples[order[0]].clone(), samples[order[1]].clone()],
        );
        gateway.time = 2 * S;
        events.extend(send(&mut gateway, &[(GOOD, Value::UInt(8))]));
        data(events.last().unwrap())["total"].clone()
    };
    assert_eq!(run([1, 0]), run([0, 1]));
}

#[test]
fn reset_found_at_the_start() {
    let mut gateway = begin(counting(true, Shape::Every));
    send(
        &mut gateway,
        &[(GOOD, Value::UInt(1000)), (ALARMS, Value::Bool(true))],
    );
    gateway.time = S;
    let events = send(&mut gateway, &[(GOOD, Value::UInt(1001))]);
    assert_eq!(one(&events)["delta"], 1);
}

#[test]
fn window_when() {
    let mut mapping = counting(
        false,
        Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
    );
    let added = &mut mapping.rules[0];
    added.inputs = [GOOD, ALARMS].into();
    let mut spec = (*added.spec).clone();
    spec.when = Some(floorgate_core::expression::Expression::compile("a", |_| Some(Slot(1))).unwrap());
    added.spec = Arc::new(spec);
    let mut gateway = begin(mapping);
    send(
        &mut gateway,
        &[(GOOD, Value::UInt(0)), (ALARMS, Value::Bool(false))],
    );
    gateway.time = S;
    send(&mut gateway, &[(GOOD, Value::UInt(500))]);
    let mut events = at(&mut gateway, 3605 * S);
    send(
        &mut gateway,
        &[(ALARMS, Value::Bool(true)), (GOOD, Value::UInt(501))],
    );
    events.extend(at(&mut gateway, 3620 * S));
    let events = one(&events);
    assert_eq!(events["delta"], 1, "500 pieces of an hour ago: {events}");
}
