//! What waits: gaps that are told once, conditions, policies and mappings that change.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::*;
use floorgate_sample::{Continuity, Notice, Value};

use super::probe::*;
use super::{ALARMS, GOOD, Gateway, STATE, TEMPERATURE, data, names, one};

#[test]
fn shape_changed_on_reload_ends() {
    let measured = |shape| {
        with(vec![rule(
            "r.m",
            &[TEMPERATURE],
            RuleSpec {
                shape,
                ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
            },
        )])
    };
    let mut gateway = begin(measured(Shape::Window(WindowSpec {
        every: Duration::from_mins(1),
        value: Aggregate::Mean,
    })));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway.store();
    let (time, cells) = (gateway.time, gateway.cells.clone());
    drop(gateway);
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut gateway = Gateway::start(Arc::new(measured(edge(above(), 0, true, false))), cells);
        gateway.time = time + 61 * S;
        gateway.started = Some(time);
        gateway.advance();
        let _ = tx.send(());
    });
    assert!(
        rx.recv_timeout(Duration::from_secs(5)).is_ok(),
        "advance() does not come back"
    );
}

#[test]
fn window_gap_once() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut gateway = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    at(&mut gateway, 11 * S);
    offline(&mut gateway);
    gateway.notice(Notice::Online(Continuity::New));
    let mut events = Vec::new();
    for n in 0..5 {
        events.extend(send(&mut gateway, &[(TEMPERATURE, float(21.0 + f64::from(n)))]));
        let t = gateway.time + 10 * S;
        events.extend(at(&mut gateway, t));
    }
    let gaps: Vec<bool> = events
        .iter()
        .filter(|events| &*events.name == "MeasurementRecorded")
        .map(|events| data(events)["gap"] == true)
        .collect();
    assert_eq!(gaps.iter().filter(|gateway| **gateway).count(), 1, "{gaps:?}");
}

#[test]
fn join_gap_once() {
    let spec = custom(
        Shape::Join {
            tags: 2,
            within: Duration::from_secs(2),
        },
        &[],
    );
    let mut gateway = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(0.0)), (GOOD, Value::UInt(0))]);
    offline(&mut gateway);
    gateway.notice(Notice::Online(Continuity::New));
    let mut gaps = Vec::new();
    for n in 1..6 {
        gateway.time += 10 * S;
        send(&mut gateway, &[(TEMPERATURE, float(n as f64))]);
        gateway.time += S;
        let events = send(&mut gateway, &[(GOOD, Value::UInt(n))]);
        gaps.push(one(&events)["gap"] == true);
    }
    assert_eq!(gaps, [true, false, false, false, false]);
}

#[test]
fn hold_gap_once() {
    let spec = custom(edge(above(), 2, true, false), &[]);
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(0.0))]);
    offline(&mut gateway);
    gateway.notice(Notice::Online(Continuity::New));
    let mut gaps = Vec::new();
    for _ in 0..4 {
        gateway.time += S;
        send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
        let t = gateway.time + 3 * S;
        gaps.push(one(&at(&mut gateway, t))["gap"] == true);
        send(&mut gateway, &[(TEMPERATURE, float(0.0))]);
    }
    assert_eq!(gaps, [true, false, false, false]);
}

#[test]
fn hold_after_a_bad_value() {
    let spec = custom(edge(above(), 10, true, false), &[]);
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    gateway.time = 2 * S;
    bad(&mut gateway, TEMPERATURE);
    gateway.time = 3 * S;
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    let events = at(&mut gateway, 3600 * S);
    assert_eq!(events.len(), 1, "it is above for an hour, and nobody hears of it");
}

#[test]
fn alarm_found_ended_with_emit() {
    let bit = AlarmBit {
        bit: 0,
        code: "HOT".into(),
        text: None,
        severity: 500,
        category: None,
    };
    let spec = RuleSpec {
        shape: edge(above(), 0, true, true),
        ..RuleSpec::of(RuleKind::Alarm {
            of_condition: Some(bit),
        })
    };
    let mut mapping = with(vec![rule("r.a", &[TEMPERATURE], spec)]);
    tag(&mut mapping, TEMPERATURE).initial = InitialPolicy::Emit;
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway.time = S;
    assert_eq!(
        names(&send(&mut gateway, &[(TEMPERATURE, float(90.0))])),
        ["AlarmRaised"]
    );
    let mut gateway = gateway.restart();
    gateway.time = 2 * S;
    gateway.notice(Notice::Online(Continuity::New));
    let events = send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway.time = 3 * S;
    let again = send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    assert_eq!(
        (names(&events), names(&again)),
        (vec!["AlarmCleared"], vec!["AlarmRaised"])
    );
}

#[test]
fn join_drops_the_first_of_two() {
    let spec = custom(
        Shape::Join {
            tags: 2,
            within: Duration::from_secs(10),
        },
        &[("t", 0)],
    );
    let mut gateway = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(0.0)), (GOOD, Value::UInt(0))]);
    gateway.time = S;
    let mut events = send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    gateway.time = 2 * S;
    events.extend(send(&mut gateway, &[(TEMPERATURE, float(2.0))]));
    gateway.time = 3 * S;
    events.extend(send(&mut gateway, &[(GOOD, Value::UInt(2))]));
    events.extend(at(&mut gateway, 60 * S));
    assert_eq!(events.len(), 2, "{:#?}", show(&events));
}

#[test]
fn debounce_and_silent() {
    let mut mapping = with(vec![state_rule()]);
    let t = tag(&mut mapping, TEMPERATURE);
    t.debounce = Some(Duration::from_secs(1));
    t.initial = InitialPolicy::Silent;
    mapping.rules.push(rule(
        "r.m",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    ));
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    let mut gateway = gateway.restart();
    gateway.time = 2 * S;
    gateway.notice(Notice::Online(Continuity::New));
    let mut events = send(&mut gateway, &[(TEMPERATURE, float(2.0))]);
    events.extend(at(&mut gateway, 10 * S));
    assert!(events.is_empty(), "never emitted: {:#?}", show(&events));
}

#[test]
fn debounce_and_emit() {
    let mut mapping = with(vec![]);
    let t = tag(&mut mapping, TEMPERATURE);
    t.debounce = Some(Duration::from_secs(1));
    t.initial = InitialPolicy::Emit;
    mapping.rules.push(rule(
        "r.m",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    ));
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    let mut gateway = gateway.restart();
    gateway.time = 2 * S;
    gateway.notice(Notice::Online(Continuity::New));
    let mut events = send(&mut gateway, &[(TEMPERATURE, float(2.0))]);
    events.extend(at(&mut gateway, 10 * S));
    assert!(
        events[0].headers.contains("initial"),
        "{} {:#?}",
        events[0].headers,
        show(&events)
    );
}

#[test]
fn expect_back_from_ignored() {
    use floorgate_core::table::{Entry, Key, Unmapped, ValueTable};
    let entry = |n, name: &str| Entry {
        key: Key::Number(n),
        name: name.into(),
        category: None,
        sub_state: None,
    };
    let table = ValueTable {
        name: "own".into(),
        model: "custom".into(),
        entries: vec![entry(1, "Idle"), entry(2, "Starting")],
        unmapped: Unmapped::Ignore,
    };
    let states = ["Idle", "Starting"].map(Arc::from).into();
    let names: Box<[Arc<str>]> = ["Idle".into()].into();
    let mut mapping = with(vec![
        rule(
            "r.e",
            &[STATE],
            custom(
                Shape::Expect {
                    states,
                    within: Duration::from_secs(50),
                },
                &[],
            ),
        ),
        rule(
            "r.b",
            &[STATE],
            custom(edge(Condition::Is(names), 0, false, true), &[]),
        ),
    ]);
    tag(&mut mapping, STATE).values = Some(Arc::new(table));
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(STATE, Value::Int(2))]);
    let mut events = Vec::new();
    for (n, v) in [1, 99, 1, 2].into_iter().enumerate() {
        gateway.time = (i64::try_from(n).unwrap_or(0) + 1) * S;
        events.extend(send(&mut gateway, &[(STATE, Value::Int(v))]));
    }
    assert_eq!(
        events.len(),
        1,
        "only that it left Idle at last: {:#?}",
        show(&events)
    );
}

#[test]
fn new_silence_of_a_known_value() {
    let measured = || {
        rule(
            "r.m",
            &[TEMPERATURE],
            RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
        )
    };
    let mut gateway = begin(with(vec![measured()]));
    send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    gateway.store();
    let mut mapping = with(vec![measured()]);
    tag(&mut mapping, TEMPERATURE).at_least_every = Some(Duration::from_mins(1));
    let mut other = Gateway::start(Arc::new(mapping), gateway.cells.clone());
    other.started = Some(gateway.time);
    other.time = gateway.time;
    other.notice(Notice::Online(Continuity::Resumed));
    other.notice(Notice::CaughtUp);
    let events = at(&mut other, 3600 * S);
    assert!(!events.is_empty(), "an hour of silence");
}

#[test]
fn held_bit_set_before_value_gap() {
    let mut mapping = with(vec![rule(
        "r.m",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    )]);
    mapping.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    let mut gateway = begin(mapping);
    send(
        &mut gateway,
        &[(ALARMS, Value::Bool(true)), (TEMPERATURE, float(5.0))],
    );
    gateway.time = S;
    send(&mut gateway, &[(ALARMS, Value::Bool(false))]);
    gateway.time = 2 * S;
    send(&mut gateway, &[(TEMPERATURE, float(6.0))]);
    gateway.time = 3 * S;
    let events = one(&send(&mut gateway, &[(ALARMS, Value::Bool(true))]));
    assert!(events["gap"].is_null(), "nothing was missed: {events}");
}

#[test]
fn removed_snapshot_drops_nothing() {
    let mut gateway = begin(with(vec![rule("r.s", &[STATE, GOOD], snap(&[1], None, &[]))]));
    send(&mut gateway, &[(STATE, Value::Int(4))]);
    gateway.store();
    let mut other = Gateway::start(
        Arc::new(with(vec![rule("r.s", &[STATE], custom(Shape::Every, &[]))])),
        gateway.cells.clone(),
    );
    other.started = Some(0);
    other.time = gateway.time;
    other.notice(Notice::Online(Continuity::Resumed));
    other.notice(Notice::CaughtUp);
    let events = at(&mut other, 100 * S);
    let failures = other.core.take_failures();
    assert!(
        events.len() == 1 || failures.count == 1,
        "{events:?} {failures:?}"
    );
}
