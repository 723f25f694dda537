//! Gaps: every one reaches what waits, and is told by the next event of a rule that has taken it over.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::Event;
use floorgate_core::expression::Expression;
use floorgate_core::plan::*;
use floorgate_core::table::Transition;
use floorgate_sample::{Continuity, GapScope, Notice, Timestamp, Value};

use super::probe::*;
use super::{ALARMS, Gateway, STATE, TEMPERATURE, data, one, sample};

fn watching(shape: Shape) -> Gateway {
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE], custom(shape, &[]))]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway
}

fn largest() -> Gateway {
    let shape = Shape::Window(WindowSpec {
        every: Duration::from_secs(10),
        value: Aggregate::Max,
    });
    let spec = RuleSpec {
        shape,
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut gateway = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway
}

fn overflow(gateway: &mut Gateway, value: f64) -> Vec<Event> {
    let mut after = sample(TEMPERATURE, float(value), Timestamp::from_nanos(gateway.time));
    after.gap = true;
    gateway.try_batch(&[], &[after]).0
}

fn begins_anew(gateway: &mut Gateway) {
    offline(gateway);
    gateway.notice(Notice::Online(Continuity::New));
}

fn gaps(events: &[Event]) -> Vec<bool> {
    let told = events
        .iter()
        .filter(|event| &*event.name != "SourceConnectionChanged");
    told.map(|event| data(event)["gap"] == true).collect()
}

#[test]
fn an_overflow_while_it_holds() {
    let mut gateway = watching(edge(above(), 10, true, false));
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    gateway.time = 3 * S;
    let mut events = overflow(&mut gateway, 90.0);
    events.extend(at(&mut gateway, 30 * S));
    assert_eq!(one(&events)["gap"], true, "values were lost while it held");
}

#[test]
fn an_overflow_in_a_window() {
    let mut gateway = largest();
    gateway.time = 3 * S;
    overflow(&mut gateway, 20.0);
    assert_eq!(gaps(&at(&mut gateway, 21 * S)), [true, false]);
}

#[test]
fn the_second_gap_of_a_tag() {
    let mut gateway = largest();
    let gap = || Notice::Gap {
        scope: GapScope::Tags(vec![TEMPERATURE]),
        reason: "x".into(),
    };
    gateway.time = 3 * S;
    gateway.notice(gap());
    let mut events = at(&mut gateway, 11 * S);
    gateway.time = 13 * S;
    gateway.notice(gap());
    events.extend(at(&mut gateway, 31 * S));
    assert_eq!(gaps(&events), [true, true, false]);
}

#[test]
fn a_gap_that_an_edge_takes_and_does_not_tell() {
    for restarts in [false, true] {
        let mut gateway = watching(edge(above(), 0, true, false));
        gateway.time = S;
        send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
        gateway.time = 100 * S;
        begins_anew(&mut gateway);
        let mut events = send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
        if restarts {
            gateway = gateway.restart();
            gateway.batch(&[Notice::Online(Continuity::Resumed), Notice::CaughtUp], &[]);
        }
        for value in [90.0, 20.0, 90.0] {
            gateway.time += S;
            events.extend(send(&mut gateway, &[(TEMPERATURE, float(value))]));
        }
        assert_eq!(gaps(&events), [true, false], "{restarts}: {:#?}", show(&events));
    }
}

#[test]
fn a_gap_of_a_hold_that_is_given_up() {
    let mut gateway = watching(edge(above(), 5, true, false));
    begins_anew(&mut gateway);
    let mut events = Vec::new();
    for (time, value) in [(1, 90.0), (2, 20.0), (10, 90.0), (20, 20.0), (21, 90.0)] {
        events.extend(at(&mut gateway, time * S));
        events.extend(send(&mut gateway, &[(TEMPERATURE, float(value))]));
    }
    events.extend(at(&mut gateway, 40 * S));
    assert_eq!(gaps(&events), [true, false], "{:#?}", show(&events));
}

#[test]
fn a_gap_that_a_guard_rejects() {
    let mut spec = custom(edge(above(), 0, true, false), &[]);
    spec.when = Some(Expression::compile("a", |_| Some(Slot(1))).unwrap());
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE, ALARMS], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    begins_anew(&mut gateway);
    let mut events = Vec::new();
    for (value, is_let) in [
        (90.0, false),
        (20.0, true),
        (90.0, true),
        (20.0, true),
        (90.0, true),
    ] {
        gateway.time += S;
        events.extend(send(
            &mut gateway,
            &[(ALARMS, Value::Bool(is_let)), (TEMPERATURE, float(value))],
        ));
    }
    assert_eq!(gaps(&events), [true, false], "{:#?}", show(&events));
}

#[test]
fn a_gap_that_another_rule_tells() {
    let mut mapping = with(vec![
        rule("r.h", &[TEMPERATURE], custom(edge(above(), 0, true, false), &[])),
        rule(
            "r.m",
            &[TEMPERATURE],
            RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
        ),
    ]);
    tag(&mut mapping, TEMPERATURE).at_least_every = None;
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    begins_anew(&mut gateway);
    let mut events = Vec::new();
    for value in [30.0, 90.0] {
        gateway.time += S;
        events.extend(send(&mut gateway, &[(TEMPERATURE, float(value))]));
    }
    events.retain(|event| &*event.name == "Happened");
    assert_eq!(
        gaps(&events),
        [true],
        "the edge has told nothing since: {:#?}",
        show(&events)
    );
}

#[test]
fn a_transition_after_a_gap() {
    let state = |name: &str| Arc::<str>::from(name);
    let allowed: Transition = (state("Idle"), [state("Starting")].into());
    let spec = custom(Shape::Transitions([allowed].into()), &[]);
    let mut gateway = begin(with(vec![rule("r.t", &[STATE], spec)]));
    send(&mut gateway, &[(STATE, Value::Int(4))]);
    begins_anew(&mut gateway);
    let mut events = Vec::new();
    for value in [6, 4, 6] {
        gateway.time += S;
        events.extend(send(&mut gateway, &[(STATE, Value::Int(value))]));
    }
    assert_eq!(
        gaps(&events),
        [true],
        "that from Idle to Execute after it: {:#?}",
        show(&events)
    );
}

#[test]
fn gap_before_a_value_settles_is_told_with_it_over_a_restart_too() {
    for is_restarted in [false, true] {
        let mut mapping = with(vec![state_rule()]);
        tag(&mut mapping, STATE).debounce = Some(Duration::from_secs(3));
        let mut gateway = begin(mapping);
        send(&mut gateway, &[(STATE, Value::Int(4))]);
        gateway.time = S;
        send(&mut gateway, &[(STATE, Value::Int(6))]);
        gateway.time = 2 * S;
        let reason = "test".into();
        let scope = GapScope::Source;
        gateway.notice(Notice::Gap { scope, reason });
        send(&mut gateway, &[(STATE, Value::Int(6))]);
        if is_restarted {
            gateway = gateway.restart();
            gateway.batch(&[Notice::Online(Continuity::Resumed), Notice::CaughtUp], &[]);
        }
        let event = one(&at(&mut gateway, 5 * S));
        assert_eq!(
            (&event["state"], &event["gap"]),
            (&"Execute".into(), &true.into())
        );
    }
}
