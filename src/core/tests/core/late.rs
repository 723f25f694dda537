//! What is judged while nobody knows, and what comes late.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::*;
use floorgate_sample::{Continuity, Notice, Quality, Timestamp, Value};

use super::probe::*;
use super::{ALARMS, GOOD, Gateway, STATE, TEMPERATURE, data, one, sample};

#[test]
fn debounce_settles_while_offline() {
    let mut mapping = with(vec![state_rule()]);
    tag(&mut mapping, STATE).debounce = Some(Duration::from_secs(3));
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(STATE, Value::Int(4))]);
    gateway.time = 10 * S;
    send(&mut gateway, &[(STATE, Value::Int(6))]);
    gateway.time = 11 * S;
    let events = offline(&mut gateway);
    assert_eq!(data(&events[1])["state"], "unknown");
    let events = at(&mut gateway, 20 * S);
    assert!(events.is_empty(), "{:#?}", show(&events));
}

#[test]
fn hold_ripens_while_offline() {
    let spec = custom(edge(above(), 30, true, false), &[]);
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    gateway.time = 2 * S;
    offline(&mut gateway);
    let events = at(&mut gateway, 60 * S);
    assert!(events.is_empty(), "{:#?}", show(&events));
}

#[test]
fn hold_over_a_gap_says_gap() {
    let spec = custom(edge(above(), 30, true, false), &[]);
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    gateway.time = 2 * S;
    offline(&mut gateway);
    gateway.time = 20 * S;
    gateway.notice(Notice::Online(Continuity::New));
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    let events = at(&mut gateway, 60 * S);
    assert_eq!(one(&events)["gap"], true);
}

#[test]
fn window_of_uncertain_value_stays_uncertain() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut gateway = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    let mut samples = sample(TEMPERATURE, float(20.0), Timestamp::from_nanos(0));
    samples.quality = Quality::UNCERTAIN;
    gateway.batch(&[], &[samples]);
    let events = at(&mut gateway, 30 * S);
    let q: Vec<_> = events
        .iter()
        .map(|events| data(events)["quality"]["class"].clone())
        .collect();
    assert_eq!(q, ["uncertain", "uncertain", "uncertain"]);
}

#[test]
fn debounce_over_downtime() {
    let mapping = || {
        let mut mapping = with(vec![state_rule()]);
        tag(&mut mapping, STATE).debounce = Some(Duration::from_secs(3));
        mapping
    };
    let run = |restart: bool| {
        let mut gateway = begin(mapping());
        send(&mut gateway, &[(STATE, Value::Int(4))]);
        gateway.time = 10 * S;
        let mut events = send(&mut gateway, &[(STATE, Value::Int(6))]);
        gateway.time = 11 * S;
        let back = sample(STATE, Value::Int(4), Timestamp::from_nanos(11 * S + S / 2));
        if restart {
            let time = 20 * S;
            gateway.store();
            gateway.time = time;
            gateway = gateway.restart();
            events.extend(gateway.advance()); // next_deadline() is ZERO: the engine does so at once
            events.extend(
                gateway
                    .try_batch(&[Notice::Online(Continuity::Resumed)], &[back])
                    .0,
            );
            events.extend(gateway.notice(Notice::CaughtUp));
        } else {
            gateway.time = 11 * S + S / 2;
            events.extend(gateway.try_batch(&[], &[back]).0);
        }
        events.extend(at(&mut gateway, 40 * S));
        show(&events)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn window_over_downtime() {
    let spec = || RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let run = |restart: bool| {
        let mut gateway = begin(with(vec![rule("r.m", &[TEMPERATURE], spec())]));
        send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
        let mut events = at(&mut gateway, 19 * S);
        if restart {
            gateway.store();
            gateway.time = 21 * S;
            gateway = gateway.restart();
            events.extend(gateway.advance());
            events.extend(gateway.notice(Notice::Online(Continuity::Resumed)));
            events.extend(gateway.notice(Notice::CaughtUp));
        } else {
            events.extend(at(&mut gateway, 21 * S));
        }
        events.extend(at(&mut gateway, 45 * S));
        events
            .iter()
            .filter(|events| &*events.name == "MeasurementRecorded")
            .map(|events| format!("{} {}", data(events)["from"], data(events)["gap"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn expect_over_downtime() {
    let run = |restart: bool| {
        let states = ["Idle", "Starting"].map(Arc::from).into();
        let mut gateway = begin(with(vec![rule(
            "r.e",
            &[STATE],
            custom(
                Shape::Expect {
                    states,
                    within: Duration::from_secs(5),
                },
                &[],
            ),
        )]));
        send(&mut gateway, &[(STATE, Value::Int(6))]);
        gateway.time = 10 * S;
        let mut events = send(&mut gateway, &[(STATE, Value::Int(4))]);
        let next = sample(STATE, Value::Int(3), Timestamp::from_nanos(12 * S));
        if restart {
            gateway.store();
            gateway.time = 20 * S;
            gateway = gateway.restart();
            events.extend(gateway.advance());
            events.extend(
                gateway
                    .try_batch(&[Notice::Online(Continuity::Resumed)], &[next])
                    .0,
            );
            events.extend(gateway.notice(Notice::CaughtUp));
        } else {
            gateway.time = 12 * S;
            events.extend(gateway.try_batch(&[], &[next]).0);
        }
        events.extend(at(&mut gateway, 40 * S));
        show(&events)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn windows_follow_the_wall_clock() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_mins(1),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut gateway = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    at(&mut gateway, 61 * S);
    // the wall clock is set: two hours forward. Monotonic goes on.
    let step = 7200 * S;
    gateway.time += step;
    gateway.started = Some(gateway.started.unwrap() + step);
    let t = gateway.time + 600 * S;
    let events = at(&mut gateway, t);
    let last = data(events.last().unwrap());
    assert!(
        last["to"].as_str().unwrap() > "1970-01-01T02",
        "at {} it says {}",
        Timestamp::from_nanos(gateway.time),
        last["to"]
    );
}

#[test]
fn a_month_of_windows_is_not_told_one_by_one() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(1),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut gateway = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(1.0))]);
    gateway.time += 30 * 86_400 * S;
    let mut gateway = gateway.restart();
    gateway.batch(&[Notice::Online(Continuity::Resumed), Notice::CaughtUp], &[]);
    let mut events = gateway.advance();
    assert_eq!(events.len(), 1, "that of before: {:#?}", show(&events));
    let soon = gateway.time + 2 * S;
    events.extend(at(&mut gateway, soon));
    assert!((2..5).contains(&events.len()), "{:#?}", show(&events));
    assert_eq!(data(&events[1])["gap"], true, "those between are missing");
}

/// What is measured holds as long as a bit says so; its source begins anew after 20 s.
fn behind_valid(spec: RuleSpec, value: f64) -> Gateway {
    let mut mapping = with(vec![rule("r.v", &[TEMPERATURE], spec)]);
    mapping.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    let mut gateway = begin(mapping);
    let valid = |value: f64| [(ALARMS, Value::Bool(true)), (TEMPERATURE, float(value))];
    send(&mut gateway, &valid(20.0));
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(value))]);
    gateway.time = 2 * S;
    offline(&mut gateway);
    gateway.time = 20 * S;
    gateway.notice(Notice::Online(Continuity::New));
    gateway.advance();
    send(&mut gateway, &valid(value));
    gateway
}

#[test]
fn hold_put_off_behind_valid() {
    let spec = custom(edge(above(), 10, true, false), &[]);
    let mut gateway = behind_valid(spec, 90.0);
    let events = at(&mut gateway, 3600 * S);
    assert_eq!(events.len(), 1, "above for an hour: {:#?}", show(&events));
}

#[test]
fn window_put_off_behind_valid() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut gateway = behind_valid(spec, 20.0);
    let events = at(&mut gateway, 600 * S);
    assert!(events.len() > 50, "{:#?}", show(&events));
}

#[test]
fn asked_behind_what_is_put_off() {
    let run = |restart: bool| {
        let spec = RuleSpec {
            shape: edge(above(), 5, true, true),
            ..snap(&[1], None, &[])
        };
        let mut gateway = begin(with(vec![rule("r.s", &[TEMPERATURE, GOOD], spec)]));
        send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
        gateway.time = S;
        send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
        let mut events = Vec::new();
        // It rises and falls, and asks for both; then it waits again.
        for (time, value) in [(7, 90.0), (8, 20.0), (9, 90.0)] {
            events.extend(at(&mut gateway, time * S));
            events.extend(send(&mut gateway, &[(TEMPERATURE, float(value))]));
        }
        gateway.time = 10 * S;
        offline(&mut gateway);
        if restart {
            gateway = gateway.restart();
        }
        events.extend(at(&mut gateway, 3600 * S));
        show(&events)
    };
    let events = run(false);
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_eq!(events, run(true));
}

/// What two rules tell of a state that stays over losses of a second each, beside a rule that tells the state itself or not.
fn told_over_losses(with_state: bool) -> Vec<String> {
    let held: Box<[Arc<str>]> = ["Held".into()].into();
    let within = Duration::from_mins(1);
    let states = ["Held", "Unholding"].map(Arc::from).into();
    let mut rules = vec![
        rule(
            "r.h",
            &[STATE],
            custom(edge(Condition::Is(held), 60, true, false), &[]),
        ),
        rule("r.e", &[STATE], custom(Shape::Expect { states, within }, &[])),
    ];
    if with_state {
        rules.push(state_rule());
    }
    let mut gateway = begin(with(rules));
    send(&mut gateway, &[(STATE, Value::Int(6))]);
    gateway.time = S;
    send(&mut gateway, &[(STATE, Value::Int(11))]);
    let mut events = Vec::new();
    for n in 1..5 {
        events.extend(at(&mut gateway, n * 30 * S));
        events.extend(offline(&mut gateway));
        gateway.time += S;
        events.extend(gateway.notice(Notice::Online(Continuity::Resumed)));
        events.extend(gateway.notice(Notice::CaughtUp));
    }
    if with_state {
        let told = events
            .iter()
            .filter(|event| &*event.name == "EquipmentStateChanged");
        assert_eq!(told.count(), 8, "{:#?}", show(&events));
    }
    events.retain(|event| &*event.name == "Happened");
    show(&events)
}

#[test]
fn a_hold_beside_a_state_rule() {
    let events = told_over_losses(false);
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_eq!(events, told_over_losses(true));
}

#[test]
fn a_bad_value_after_a_loss_beside_a_state_rule() {
    let run = |with_state: bool| {
        let held: Box<[Arc<str>]> = ["Held".into()].into();
        let spec = custom(edge(Condition::Is(held), 60, true, false), &[]);
        let measured = RuleSpec::of(RuleKind::Measurement { name: "s".into() });
        let mut rules = vec![rule("r.h", &[STATE], spec), rule("r.m", &[STATE], measured)];
        if with_state {
            rules.push(state_rule());
        }
        let mut gateway = begin(with(rules));
        let mut events = send(&mut gateway, &[(STATE, Value::Int(6))]);
        gateway.time = S;
        events.extend(send(&mut gateway, &[(STATE, Value::Int(11))]));
        for value in [None, Some(11), Some(11)] {
            gateway.time += 30 * S;
            events.extend(offline(&mut gateway));
            gateway.time += S;
            events.extend(gateway.notice(Notice::Online(Continuity::Resumed)));
            events.extend(match value {
                Some(value) => send(&mut gateway, &[(STATE, Value::Int(value))]),
                None => bad(&mut gateway, STATE),
            });
            events.extend(gateway.notice(Notice::CaughtUp));
        }
        events.extend(at(&mut gateway, 3600 * S));
        let states = events
            .iter()
            .filter(|event| &*event.name == "EquipmentStateChanged");
        let states = states
            .map(|event| data(event)["state"].clone())
            .collect::<Vec<_>>();
        events.retain(|event| ["Happened", "MeasurementRecorded"].contains(&&*event.name));
        (show(&events), states)
    };
    let (events, states) = run(true);
    assert_eq!(events, run(false).0);
    assert_eq!(states, ["Execute", "Held", "unknown", "Held", "unknown", "Held"]);
}
