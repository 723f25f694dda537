//! Review probes.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::*;
use floorgate_core::{Event, Input};
use floorgate_sample::{Answer, Continuity, Notice, Quality, Sample, SourceId, TagId, Timestamp, Value};

use super::{ALARMS, GOOD, Gateway, ORDER, STATE, STATUS, TEMPERATURE, data, names, one, plan, sample};

const S: i64 = 1_000_000_000;

fn custom(shape: Shape, fields: &[(&str, u16)]) -> RuleSpec {
    RuleSpec {
        shape,
        data: fields
            .iter()
            .map(|(n, s)| (Arc::from(*n), Field::Input(Slot(*s))))
            .collect(),
        ..RuleSpec::of(RuleKind::Custom {
            event: "Happened".into(),
            domain: "mes".into(),
            subject: None,
        })
    }
}
fn rule(id: &str, inputs: &[TagId], spec: RuleSpec) -> Rule {
    Rule {
        id: id.into(),
        equipment: EquipmentId(0),
        inputs: inputs.into(),
        topic: "t".into(),
        run: None,
        spec: Arc::new(spec),
    }
}
fn tag(plan: &mut Plan, tag: TagId) -> &mut TagSpec {
    Arc::get_mut(&mut plan.tags[tag.index()].spec).unwrap()
}
fn with(rules: Vec<Rule>) -> Plan {
    let mut p = plan();
    p.rules = rules;
    tag(&mut p, TEMPERATURE).at_least_every = None;
    p
}
fn begin(p: Plan) -> Gateway {
    let mut g = Gateway::start(Arc::new(p), HashMap::new());
    g.started = Some(0);
    g.notice(Notice::Online(Continuity::New));
    g
}
fn f(v: f64) -> Value {
    Value::Float64(v)
}
fn at(g: &mut Gateway, t: i64) -> Vec<Event> {
    // time passes, deadline by deadline
    let mut events = Vec::new();
    for _ in 0..100_000 {
        let started = g.started.unwrap();
        match g
            .core
            .next_deadline()
            .map(|d| started + d.as_nanos() as i64)
            .filter(|d| *d <= t)
        {
            Some(d) => {
                g.time = g.time.max(d);
                events.extend(g.advance());
            }
            None => {
                g.time = t;
                return events;
            }
        }
    }
    panic!("no end")
}
fn send(g: &mut Gateway, values: &[(TagId, Value)]) -> Vec<Event> {
    let t = Timestamp::from_nanos(g.time);
    let s: Vec<Sample> = values.iter().map(|(k, v)| sample(*k, v.clone(), t)).collect();
    g.try_batch(&[], &s).0
}
fn bad(g: &mut Gateway, k: TagId) -> Vec<Event> {
    let mut s = sample(k, Value::Bool(true), Timestamp::from_nanos(g.time));
    s.value = None;
    s.quality = Quality::BAD;
    g.try_batch(&[], &[s]).0
}
fn offline(g: &mut Gateway) -> Vec<Event> {
    g.notice(Notice::Offline { reason: "x".into() })
}
fn show(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|e| format!("{} @{} {}", e.name, e.time, data(e)))
        .collect()
}
fn edge(condition: Condition, hold: u64, rising: bool, falling: bool) -> Shape {
    Shape::Edge(EdgeSpec {
        condition,
        rising,
        falling,
        hold: Duration::from_secs(hold),
    })
}
fn above() -> Condition {
    Condition::Above {
        limit: 80.0,
        back: 80.0,
    }
}
fn state_rule() -> Rule {
    rule("r.state", &[STATE], RuleSpec::of(RuleKind::EquipmentState))
}

// 1 ------------------------------------------------ infinite loop: shape of another kind in the cell
#[test]
fn r01_shape_changed_on_reload_ends() {
    let m = |shape| {
        with(vec![rule(
            "r.m",
            &[TEMPERATURE],
            RuleSpec {
                shape,
                ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
            },
        )])
    };
    let mut g = begin(m(Shape::Window(WindowSpec {
        every: Duration::from_secs(60),
        value: Aggregate::Mean,
    })));
    send(&mut g, &[(TEMPERATURE, f(20.0))]);
    g.store();
    let (time, cells) = (g.time, g.cells.clone());
    drop(g);
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut g = Gateway::start(Arc::new(m(edge(above(), 0, true, false))), cells);
        g.time = time + 61 * S;
        g.started = Some(time);
        g.advance();
        let _ = tx.send(());
    });
    assert!(
        rx.recv_timeout(Duration::from_secs(5)).is_ok(),
        "advance() does not come back"
    );
}

// 2 ------------------------------------------------ heartbeats
fn beating() -> Gateway {
    let mut p = with(vec![state_rule()]);
    tag(&mut p, GOOD).heartbeat = Some(Duration::from_secs(2));
    begin(p)
}
#[test]
fn r02a_heartbeat_that_was_bad_returns() {
    let mut g = beating();
    send(&mut g, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    g.time = S;
    bad(&mut g, GOOD);
    let e = at(&mut g, 5 * S);
    assert_eq!(
        names(&e),
        ["SourceConnectionChanged", "EquipmentStateChanged"],
        "stale"
    );
    let mut all = Vec::new();
    for n in 0..20 {
        g.time += S;
        all.extend(send(&mut g, &[(GOOD, Value::UInt(10 + n))]));
    }
    assert!(!all.is_empty(), "it beats for 20 s and the source is Stale still");
}
#[test]
fn r02b_heartbeat_resent_the_same_while_stopped() {
    let mut g = beating();
    send(&mut g, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    let e = at(&mut g, 3 * S);
    assert_eq!(
        names(&e),
        ["SourceConnectionChanged", "EquipmentStateChanged"],
        "stale"
    );
    send(&mut g, &[(GOOD, Value::UInt(1))]);
    at(&mut g, 6 * S);
    let mut all = Vec::new();
    for n in 0..20 {
        g.time += S;
        all.extend(send(&mut g, &[(GOOD, Value::UInt(10 + n))]));
    }
    assert!(!all.is_empty(), "it beats for 20 s and the source is Stale still");
}
#[test]
fn r02c_held_of_an_earlier_session_comes_back() {
    let mut g = beating();
    send(&mut g, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(4))]);
    at(&mut g, 3 * S); // stale
    send(&mut g, &[(STATE, Value::Int(6))]); // held
    g.time = 4 * S;
    offline(&mut g);
    g.time = 5 * S;
    g.notice(Notice::Online(Continuity::New));
    g.time = 6 * S;
    let e = send(&mut g, &[(GOOD, Value::UInt(2)), (STATE, Value::Int(3))]);
    assert_eq!(one(&e)["state"], "Starting");
    let e = at(&mut g, 9 * S); // stale
    assert_eq!(names(&e), ["SourceConnectionChanged", "EquipmentStateChanged"]);
    g.time = 10 * S;
    let e = send(&mut g, &[(GOOD, Value::UInt(3))]);
    assert_eq!(data(e.last().unwrap())["state"], "Starting", "{:#?}", show(&e));
}
#[test]
fn r02d_valid_and_heartbeat() {
    let mut p = with(vec![rule(
        "r.m",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    )]);
    tag(&mut p, GOOD).heartbeat = Some(Duration::from_secs(2));
    p.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    let mut g = begin(p);
    send(
        &mut g,
        &[
            (GOOD, Value::UInt(1)),
            (ALARMS, Value::Bool(true)),
            (TEMPERATURE, f(20.0)),
        ],
    );
    at(&mut g, 3 * S); // stale
    send(&mut g, &[(TEMPERATURE, f(21.0))]);
    g.time = 4 * S;
    let mut e = send(&mut g, &[(GOOD, Value::UInt(2))]);
    e.extend(at(&mut g, 5 * S));
    assert!(e.iter().any(|e| data(e)["value"] == 21.0), "{:#?}", show(&e));
}
#[test]
fn r02e_state_of_an_old_session_is_not_told_as_known() {
    let mut g = beating();
    send(&mut g, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    g.time = S;
    offline(&mut g);
    g.time = 2 * S;
    g.notice(Notice::Online(Continuity::New)); // STATE is not sent in this session
    at(&mut g, 5 * S); // no beat: stale
    let e = send(&mut g, &[(GOOD, Value::UInt(2))]);
    assert!(!names(&e).contains(&"EquipmentStateChanged"), "{:#?}", show(&e));
}
#[test]
fn r02f_state_of_an_old_session_resumed() {
    let mut g = begin(with(vec![state_rule()]));
    send(&mut g, &[(STATE, Value::Int(6))]);
    g.time = S;
    offline(&mut g);
    g.time = 2 * S;
    g.notice(Notice::Online(Continuity::New));
    g.time = 3 * S;
    offline(&mut g);
    g.time = 4 * S;
    g.notice(Notice::Online(Continuity::Resumed));
    let e = g.notice(Notice::CaughtUp);
    assert!(!names(&e).contains(&"EquipmentStateChanged"), "{:#?}", show(&e));
}
#[test]
fn r02g_engine_stall_is_no_stopped_heartbeat() {
    let mut g = beating();
    send(&mut g, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    // received at 1 s, evaluated at 10 s (the disk was full)
    g.time = 10 * S;
    let mut events = Vec::new();
    let now = g.now(0);
    let s = [sample(GOOD, Value::UInt(2), Timestamp::from_nanos(S))];
    g.core.apply(
        Input {
            source: SourceId(0),
            received: Timestamp::from_nanos(S),
            notices: &[],
            samples: &s,
            now,
        },
        &mut events,
    );
    assert!(events.is_empty(), "{:#?}", show(&events));
}

// 3 ------------------------------------------------ gap for ever
#[test]
fn r03a_window_gap_once() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut g = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    send(&mut g, &[(TEMPERATURE, f(20.0))]);
    at(&mut g, 11 * S);
    offline(&mut g);
    g.notice(Notice::Online(Continuity::New));
    let mut e = Vec::new();
    for n in 0..5 {
        e.extend(send(&mut g, &[(TEMPERATURE, f(21.0 + n as f64))]));
        let t = g.time + 10 * S;
        e.extend(at(&mut g, t));
    }
    let gaps: Vec<bool> = e
        .iter()
        .filter(|e| &*e.name == "MeasurementRecorded")
        .map(|e| data(e)["gap"] == true)
        .collect();
    assert_eq!(gaps.iter().filter(|g| **g).count(), 1, "{gaps:?}");
}
#[test]
fn r03b_join_gap_once() {
    let spec = custom(
        Shape::Join {
            tags: 2,
            within: Duration::from_secs(2),
        },
        &[],
    );
    let mut g = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD], spec)]));
    send(&mut g, &[(TEMPERATURE, f(0.0)), (GOOD, Value::UInt(0))]);
    offline(&mut g);
    g.notice(Notice::Online(Continuity::New));
    let mut gaps = Vec::new();
    for n in 1..6 {
        g.time += 10 * S;
        send(&mut g, &[(TEMPERATURE, f(n as f64))]);
        g.time += S;
        let e = send(&mut g, &[(GOOD, Value::UInt(n))]);
        gaps.push(one(&e)["gap"] == true);
    }
    assert_eq!(gaps, [true, false, false, false, false]);
}
#[test]
fn r03c_hold_gap_once() {
    let spec = custom(edge(above(), 2, true, false), &[]);
    let mut g = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut g, &[(TEMPERATURE, f(0.0))]);
    offline(&mut g);
    g.notice(Notice::Online(Continuity::New));
    let mut gaps = Vec::new();
    for _ in 0..4 {
        g.time += S;
        send(&mut g, &[(TEMPERATURE, f(90.0))]);
        let t = g.time + 3 * S;
        gaps.push(one(&at(&mut g, t))["gap"] == true);
        send(&mut g, &[(TEMPERATURE, f(0.0))]);
    }
    assert_eq!(gaps, [true, false, false, false]);
}

// 4 ------------------------------------------------ unknown told as known
#[test]
fn r04a_debounce_settles_while_offline() {
    let mut p = with(vec![state_rule()]);
    tag(&mut p, STATE).debounce = Some(Duration::from_secs(3));
    let mut g = begin(p);
    send(&mut g, &[(STATE, Value::Int(4))]);
    g.time = 10 * S;
    send(&mut g, &[(STATE, Value::Int(6))]);
    g.time = 11 * S;
    let e = offline(&mut g);
    assert_eq!(data(&e[1])["state"], "unknown");
    let e = at(&mut g, 20 * S);
    assert!(e.is_empty(), "{:#?}", show(&e));
}
#[test]
fn r04b_hold_ripens_while_offline() {
    let spec = custom(edge(above(), 30, true, false), &[]);
    let mut g = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut g, &[(TEMPERATURE, f(20.0))]);
    g.time = S;
    send(&mut g, &[(TEMPERATURE, f(90.0))]);
    g.time = 2 * S;
    offline(&mut g);
    let e = at(&mut g, 60 * S);
    assert!(e.is_empty(), "{:#?}", show(&e));
}
#[test]
fn r04c_hold_over_a_gap_says_gap() {
    let spec = custom(edge(above(), 30, true, false), &[]);
    let mut g = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut g, &[(TEMPERATURE, f(20.0))]);
    g.time = S;
    send(&mut g, &[(TEMPERATURE, f(90.0))]);
    g.time = 2 * S;
    offline(&mut g);
    g.time = 20 * S;
    g.notice(Notice::Online(Continuity::New));
    send(&mut g, &[(TEMPERATURE, f(90.0))]);
    let e = at(&mut g, 60 * S);
    assert_eq!(one(&e)["gap"], true);
}
#[test]
fn r04d_window_of_uncertain_value_stays_uncertain() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut g = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    let mut s = sample(TEMPERATURE, f(20.0), Timestamp::from_nanos(0));
    s.quality = Quality::UNCERTAIN;
    g.batch(&[], &[s]);
    let e = at(&mut g, 30 * S);
    let q: Vec<_> = e.iter().map(|e| data(e)["quality"]["class"].clone()).collect();
    assert_eq!(q, ["uncertain", "uncertain", "uncertain"]);
}

// 5 ------------------------------------------------ restart with time passing, nothing missed
#[test]
fn r05a_debounce_over_downtime() {
    let p = || {
        let mut p = with(vec![state_rule()]);
        tag(&mut p, STATE).debounce = Some(Duration::from_secs(3));
        p
    };
    let run = |restart: bool| {
        let mut g = begin(p());
        send(&mut g, &[(STATE, Value::Int(4))]);
        g.time = 10 * S;
        let mut e = send(&mut g, &[(STATE, Value::Int(6))]);
        g.time = 11 * S;
        let back = sample(STATE, Value::Int(4), Timestamp::from_nanos(11 * S + S / 2));
        if restart {
            let time = 20 * S;
            g.store();
            g.time = time;
            g = g.restart();
            e.extend(g.advance()); // next_deadline() is ZERO: the engine does so at once
            e.extend(g.try_batch(&[Notice::Online(Continuity::Resumed)], &[back]).0);
            e.extend(g.notice(Notice::CaughtUp));
        } else {
            g.time = 11 * S + S / 2;
            e.extend(g.try_batch(&[], &[back]).0);
        }
        e.extend(at(&mut g, 40 * S));
        show(&e)
    };
    assert_eq!(run(false), run(true));
}
#[test]
fn r05b_window_over_downtime() {
    let spec = || RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let run = |restart: bool| {
        let mut g = begin(with(vec![rule("r.m", &[TEMPERATURE], spec())]));
        send(&mut g, &[(TEMPERATURE, f(20.0))]);
        let mut e = at(&mut g, 19 * S);
        if restart {
            g.store();
            g.time = 21 * S;
            g = g.restart();
            e.extend(g.advance());
            e.extend(g.notice(Notice::Online(Continuity::Resumed)));
            e.extend(g.notice(Notice::CaughtUp));
        } else {
            e.extend(at(&mut g, 21 * S));
        }
        e.extend(at(&mut g, 45 * S));
        e.iter()
            .filter(|e| &*e.name == "MeasurementRecorded")
            .map(|e| format!("{} {}", data(e)["from"], data(e)["gap"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(true));
}
#[test]
fn r05c_expect_over_downtime() {
    let run = |restart: bool| {
        let states = ["Idle", "Starting"].map(Arc::from).into();
        let mut g = begin(with(vec![rule(
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
        send(&mut g, &[(STATE, Value::Int(6))]);
        g.time = 10 * S;
        let mut e = send(&mut g, &[(STATE, Value::Int(4))]);
        let next = sample(STATE, Value::Int(3), Timestamp::from_nanos(12 * S));
        if restart {
            g.store();
            g.time = 20 * S;
            g = g.restart();
            e.extend(g.advance());
            e.extend(g.try_batch(&[Notice::Online(Continuity::Resumed)], &[next]).0);
            e.extend(g.notice(Notice::CaughtUp));
        } else {
            g.time = 12 * S;
            e.extend(g.try_batch(&[], &[next]).0);
        }
        e.extend(at(&mut g, 40 * S));
        show(&e)
    };
    assert_eq!(run(false), run(true));
}

// 6 ------------------------------------------------ dropped in silence
#[test]
fn r06a_hold_after_a_bad_value() {
    let spec = custom(edge(above(), 10, true, false), &[]);
    let mut g = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut g, &[(TEMPERATURE, f(20.0))]);
    g.time = S;
    send(&mut g, &[(TEMPERATURE, f(90.0))]);
    g.time = 2 * S;
    bad(&mut g, TEMPERATURE);
    g.time = 3 * S;
    send(&mut g, &[(TEMPERATURE, f(90.0))]);
    let e = at(&mut g, 3600 * S);
    assert_eq!(e.len(), 1, "it is above for an hour, and nobody hears of it");
}
#[test]
fn r06b_alarm_found_ended_with_emit() {
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
    let mut p = with(vec![rule("r.a", &[TEMPERATURE], spec)]);
    tag(&mut p, TEMPERATURE).initial = InitialPolicy::Emit;
    let mut g = begin(p);
    send(&mut g, &[(TEMPERATURE, f(20.0))]);
    g.time = S;
    assert_eq!(names(&send(&mut g, &[(TEMPERATURE, f(90.0))])), ["AlarmRaised"]);
    let mut g = g.restart();
    g.time = 2 * S;
    g.notice(Notice::Online(Continuity::New));
    let e = send(&mut g, &[(TEMPERATURE, f(20.0))]);
    g.time = 3 * S;
    let again = send(&mut g, &[(TEMPERATURE, f(90.0))]);
    assert_eq!(
        (names(&e), names(&again)),
        (vec!["AlarmCleared"], vec!["AlarmRaised"])
    );
}
#[test]
fn r06d_join_drops_the_first_of_two() {
    let spec = custom(
        Shape::Join {
            tags: 2,
            within: Duration::from_secs(10),
        },
        &[("t", 0)],
    );
    let mut g = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD], spec)]));
    send(&mut g, &[(TEMPERATURE, f(0.0)), (GOOD, Value::UInt(0))]);
    g.time = S;
    let mut e = send(&mut g, &[(TEMPERATURE, f(1.0))]);
    g.time = 2 * S;
    e.extend(send(&mut g, &[(TEMPERATURE, f(2.0))]));
    g.time = 3 * S;
    e.extend(send(&mut g, &[(GOOD, Value::UInt(2))]));
    e.extend(at(&mut g, 60 * S));
    assert_eq!(e.len(), 2, "{:#?}", show(&e));
}

// 7 ------------------------------------------------ wrong data
#[test]
fn r07a_join_of_late_data_tells_its_own_values() {
    let spec = custom(
        Shape::Join {
            tags: 2,
            within: Duration::from_secs(2),
        },
        &[("t", 0)],
    );
    let mut g = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD], spec)]));
    send(&mut g, &[(TEMPERATURE, f(0.0)), (GOOD, Value::UInt(0))]);
    g.time = 100 * S;
    let s = [
        sample(TEMPERATURE, f(1.0), Timestamp::from_nanos(10 * S)),
        sample(TEMPERATURE, f(2.0), Timestamp::from_nanos(50 * S)),
    ];
    let e = g.try_batch(&[], &s).0;
    assert_eq!(one(&e)["t"], 1.0, "{:#?}", show(&e));
}
#[test]
fn r07b_join_within_from_the_first() {
    let spec = custom(
        Shape::Join {
            tags: 3,
            within: Duration::from_secs(2),
        },
        &[],
    );
    let mut g = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD, ORDER], spec)]));
    send(
        &mut g,
        &[
            (TEMPERATURE, f(0.0)),
            (GOOD, Value::UInt(0)),
            (ORDER, Value::text("a")),
        ],
    );
    g.time = 100 * S;
    let s = [
        sample(TEMPERATURE, f(1.0), Timestamp::from_nanos(10_000_000_000)),
        sample(GOOD, Value::UInt(1), Timestamp::from_nanos(11_500_000_000)),
        sample(ORDER, Value::text("b"), Timestamp::from_nanos(13_000_000_000)),
    ];
    let mut e = g.try_batch(&[], &s).0;
    e.extend(at(&mut g, 200 * S));
    assert!(data(&e[0])["missing"].is_array(), "{:#?}", show(&e));
}
#[test]
fn r07c_join_ids_collide() {
    let spec = custom(
        Shape::Join {
            tags: 2,
            within: Duration::from_secs(2),
        },
        &[],
    );
    let mut g = begin(with(vec![rule("r.j", &[STATUS, ALARMS], spec)]));
    send(
        &mut g,
        &[(STATUS, Value::Bool(false)), (ALARMS, Value::Bool(false))],
    );
    let t = Timestamp::from_nanos(10 * S);
    g.time = 10 * S;
    let mut e = g.try_batch(&[], &[sample(STATUS, Value::Bool(true), t)]).0;
    e.extend(at(&mut g, 20 * S));
    e.extend(g.try_batch(&[], &[sample(ALARMS, Value::Bool(true), t)]).0);
    e.extend(at(&mut g, 30 * S));
    assert_eq!(e.len(), 2, "{:#?}", show(&e));
    assert_ne!(e[0].id, e[1].id, "{:#?}", show(&e));
}
#[test]
fn r07d_late_hold_tells_its_own_value() {
    let spec = custom(edge(above(), 10, true, false), &[("t", 0)]);
    let mut g = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut g, &[(TEMPERATURE, f(20.0))]);
    g.time = 100 * S;
    let s = [
        sample(TEMPERATURE, f(90.0), Timestamp::from_nanos(10 * S)),
        sample(TEMPERATURE, f(30.0), Timestamp::from_nanos(50 * S)),
    ];
    let e = g.try_batch(&[], &s).0;
    assert_eq!(one(&e)["t"], 90.0, "{:#?}", show(&e));
}
fn answer(g: &mut Gateway, id: floorgate_sample::RequestId, samples: &[Sample]) -> Vec<Event> {
    let now = g.now(0);
    let mut events = Vec::new();
    g.core.answer(
        &Answer {
            request: id,
            result: Ok(()),
        },
        Input {
            source: SourceId(0),
            received: now.wall,
            notices: &[],
            samples,
            now,
        },
        &mut events,
    );
    g.store();
    events
}
fn snap(tags: &[u16], unchanged: Option<u16>, fields: &[(&str, u16)]) -> RuleSpec {
    RuleSpec {
        snapshot: Some(Snapshot {
            tags: tags.iter().map(|s| Slot(*s)).collect(),
            unchanged: unchanged.map(Slot),
        }),
        ..custom(Shape::Every, fields)
    }
}
#[test]
fn r07e_snapshot_applies_the_mask() {
    let mut p = with(vec![rule(
        "r.s",
        &[STATE, GOOD],
        snap(&[1], Some(1), &[("n", 1)]),
    )]);
    tag(&mut p, GOOD).field = Some(BitField {
        mask: 0x0F00,
        shift: 8,
    });
    let mut g = begin(p);
    send(&mut g, &[(STATE, Value::Int(4)), (GOOD, Value::UInt(0x0755))]);
    g.core.take_requests();
    g.time = S;
    send(&mut g, &[(STATE, Value::Int(6))]);
    let id = g.core.take_requests()[0].id;
    let s = [sample(GOOD, Value::UInt(0x0755), Timestamp::from_nanos(S))];
    let e = one(&answer(&mut g, id, &s));
    assert_eq!((&e["n"], &e["snapshot"]), (&7.into(), &"complete".into()));
}
#[test]
fn r07f_snapshot_of_a_bad_value_is_not_good() {
    let p = with(vec![rule("r.s", &[STATE, GOOD], snap(&[1], None, &[("n", 1)]))]);
    let mut g = begin(p);
    send(&mut g, &[(STATE, Value::Int(4))]);
    let id = g.core.take_requests()[0].id;
    let mut s = sample(GOOD, Value::UInt(7), Timestamp::from_nanos(S));
    s.quality = Quality::BAD;
    let e = one(&answer(&mut g, id, &[s]));
    assert_ne!(e["quality"]["class"], "good", "{e}");
}
#[test]
fn r07g_snapshot_tells_the_trigger_as_it_was() {
    let p = with(vec![rule(
        "r.s",
        &[ORDER, GOOD],
        RuleSpec {
            data: vec![
                ("from".into(), Field::Previous),
                ("to".into(), Field::Input(Slot(0))),
                ("n".into(), Field::Input(Slot(1))),
            ],
            ..snap(&[1], None, &[])
        },
    )]);
    let mut g = begin(p);
    send(&mut g, &[(ORDER, Value::text("A"))]);
    g.core.take_requests();
    g.time = S;
    send(&mut g, &[(ORDER, Value::text("B"))]);
    let id = g.core.take_requests()[0].id;
    g.time += S / 10;
    send(&mut g, &[(ORDER, Value::text("C"))]);
    let s = [sample(GOOD, Value::UInt(7), Timestamp::from_nanos(S))];
    let e = one(&answer(&mut g, id, &s));
    assert_eq!((&e["from"], &e["to"]), (&"A".into(), &"B".into()));
}
#[test]
fn r07h_snapshot_belongs_to_the_run_of_its_trigger() {
    let mut p = plan();
    p.rules.truncate(1);
    let mut r = rule("r.s", &[ALARMS, GOOD], snap(&[1], None, &[]));
    r.run = Some(RuleId(0));
    p.rules.push(r);
    let mut g = begin(p);
    send(
        &mut g,
        &[
            (ORDER, Value::text("WO-1")),
            (STATUS, Value::Int(3)),
            (ALARMS, Value::Bool(false)),
        ],
    );
    g.core.take_requests();
    g.time = S;
    send(&mut g, &[(ALARMS, Value::Bool(true))]);
    let id = g.core.take_requests()[0].id;
    g.time += S / 10;
    send(&mut g, &[(ORDER, Value::text("WO-2")), (STATUS, Value::Int(3))]);
    g.time += S / 10;
    send(&mut g, &[(STATUS, Value::Int(1))]);
    g.time += S / 10;
    send(&mut g, &[(STATUS, Value::Int(3))]);
    let s = [sample(GOOD, Value::UInt(7), Timestamp::from_nanos(S))];
    let e = one(&answer(&mut g, id, &s));
    assert_eq!(e["workOrderId"], "WO-1", "{e}");
}
#[test]
fn r07i_window_of_counts_belongs_to_its_run() {
    let mut p = plan();
    p.rules.truncate(1);
    let kind = RuleKind::ProductionCount {
        event: CountEvent::Production("good".into()),
        unit: "C62".into(),
        reset: None,
    };
    let mut r = rule(
        "r.c",
        &[GOOD],
        RuleSpec {
            shape: Shape::Window(WindowSpec {
                every: Duration::from_secs(900),
                value: Aggregate::Mean,
            }),
            ..RuleSpec::of(kind)
        },
    );
    r.run = Some(RuleId(0));
    p.rules.push(r);
    let mut g = begin(p);
    send(
        &mut g,
        &[
            (ORDER, Value::text("WO-1")),
            (STATUS, Value::Int(3)),
            (GOOD, Value::UInt(0)),
        ],
    );
    g.time = 10 * S;
    send(&mut g, &[(GOOD, Value::UInt(500))]);
    g.time = 890 * S;
    send(&mut g, &[(STATUS, Value::Int(5))]);
    g.time = 891 * S;
    send(&mut g, &[(ORDER, Value::text("WO-2")), (STATUS, Value::Int(1))]);
    g.time = 892 * S;
    send(&mut g, &[(STATUS, Value::Int(3))]);
    let e = at(&mut g, 901 * S);
    let e = one(&e);
    assert_ne!(
        e["workOrderId"], "WO-2",
        "500 pieces of WO-1 are told as WO-2's: {e}"
    );
}

// 8 ------------------------------------------------ counts
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
fn r08a_reset_in_the_same_moment() {
    let run = |order: [usize; 2]| {
        let mut g = begin(counting(true, Shape::Every));
        send(&mut g, &[(GOOD, Value::UInt(100)), (ALARMS, Value::Bool(false))]);
        g.time = S;
        let s = [(GOOD, Value::UInt(5)), (ALARMS, Value::Bool(true))];
        let mut e = send(&mut g, &[s[order[0]].clone(), s[order[1]].clone()]);
        g.time = 2 * S;
        e.extend(send(&mut g, &[(GOOD, Value::UInt(8))]));
        data(e.last().unwrap())["total"].clone()
    };
    assert_eq!(run([1, 0]), run([0, 1]));
}
#[test]
fn r08b_reset_found_at_the_start() {
    let mut g = begin(counting(true, Shape::Every));
    send(&mut g, &[(GOOD, Value::UInt(1000)), (ALARMS, Value::Bool(true))]);
    g.time = S;
    let e = send(&mut g, &[(GOOD, Value::UInt(1001))]);
    assert_eq!(one(&e)["delta"], 1);
}
#[test]
fn r08c_window_when() {
    let mut p = counting(
        false,
        Shape::Window(WindowSpec {
            every: Duration::from_secs(10),
            value: Aggregate::Mean,
        }),
    );
    let r = &mut p.rules[0];
    r.inputs = [GOOD, ALARMS].into();
    let mut spec = (*r.spec).clone();
    spec.when = Some(floorgate_core::expression::Expression::compile("a", |_| Some(Slot(1))).unwrap());
    r.spec = Arc::new(spec);
    let mut g = begin(p);
    send(&mut g, &[(GOOD, Value::UInt(0)), (ALARMS, Value::Bool(false))]);
    g.time = S;
    send(&mut g, &[(GOOD, Value::UInt(500))]);
    let mut e = at(&mut g, 3605 * S);
    send(&mut g, &[(ALARMS, Value::Bool(true)), (GOOD, Value::UInt(501))]);
    e.extend(at(&mut g, 3620 * S));
    let e = one(&e);
    assert_eq!(e["delta"], 1, "500 pieces of an hour ago: {e}");
}

// 9 ------------------------------------------------ others
#[test]
fn r09a_debounce_and_silent() {
    let mut p = with(vec![state_rule()]);
    let t = tag(&mut p, TEMPERATURE);
    t.debounce = Some(Duration::from_secs(1));
    t.initial = InitialPolicy::Silent;
    p.rules.push(rule(
        "r.m",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    ));
    let mut g = begin(p);
    send(&mut g, &[(TEMPERATURE, f(1.0))]);
    let mut g = g.restart();
    g.time = 2 * S;
    g.notice(Notice::Online(Continuity::New));
    let mut e = send(&mut g, &[(TEMPERATURE, f(2.0))]);
    e.extend(at(&mut g, 10 * S));
    assert!(e.is_empty(), "never emitted: {:#?}", show(&e));
}
#[test]
fn r09b_debounce_and_emit() {
    let mut p = with(vec![]);
    let t = tag(&mut p, TEMPERATURE);
    t.debounce = Some(Duration::from_secs(1));
    t.initial = InitialPolicy::Emit;
    p.rules.push(rule(
        "r.m",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    ));
    let mut g = begin(p);
    send(&mut g, &[(TEMPERATURE, f(1.0))]);
    let mut g = g.restart();
    g.time = 2 * S;
    g.notice(Notice::Online(Continuity::New));
    let mut e = send(&mut g, &[(TEMPERATURE, f(2.0))]);
    e.extend(at(&mut g, 10 * S));
    assert!(
        e[0].headers.contains("initial"),
        "{} {:#?}",
        e[0].headers,
        show(&e)
    );
}
#[test]
fn r09c_expect_back_from_ignored() {
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
    let mut p = with(vec![
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
    tag(&mut p, STATE).values = Some(Arc::new(table));
    let mut g = begin(p);
    send(&mut g, &[(STATE, Value::Int(2))]);
    let mut e = Vec::new();
    for (n, v) in [1, 99, 1, 2].into_iter().enumerate() {
        g.time = (n as i64 + 1) * S;
        e.extend(send(&mut g, &[(STATE, Value::Int(v))]));
    }
    assert_eq!(e.len(), 1, "only that it left Idle at last: {:#?}", show(&e));
}
#[test]
fn r09d_most_waiting_is_a_bound() {
    let p = with(vec![rule("r.s", &[GOOD, ORDER], snap(&[1], None, &[]))]);
    let mut g = begin(p);
    g.time = S;
    let s: Vec<Sample> = (0..1000)
        .map(|n| sample(GOOD, Value::UInt(n), Timestamp::from_nanos(S + n as i64)))
        .collect();
    g.try_batch(&[], &s);
    g.advance();
    let cell = &g.cells["rule:r.s"];
    assert!(
        cell.matches("\"due\"").count() <= 16,
        "{} wait, a cell of {} bytes",
        cell.matches("\"due\"").count(),
        cell.len()
    );
}
#[test]
fn r09e_new_silence_of_a_known_value() {
    let m = || {
        rule(
            "r.m",
            &[TEMPERATURE],
            RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
        )
    };
    let mut g = begin(with(vec![m()]));
    send(&mut g, &[(TEMPERATURE, f(1.0))]);
    g.store();
    let mut p = with(vec![m()]);
    tag(&mut p, TEMPERATURE).at_least_every = Some(Duration::from_secs(60));
    let mut h = Gateway::start(Arc::new(p), g.cells.clone());
    h.started = Some(g.time);
    h.time = g.time;
    h.notice(Notice::Online(Continuity::Resumed));
    h.notice(Notice::CaughtUp);
    let e = at(&mut h, 3600 * S);
    assert!(!e.is_empty(), "an hour of silence");
}
#[test]
fn r09f_windows_follow_the_wall_clock() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(60),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut g = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    send(&mut g, &[(TEMPERATURE, f(1.0))]);
    at(&mut g, 61 * S);
    // the wall clock is set: two hours forward. Monotonic goes on.
    let step = 7200 * S;
    g.time += step;
    g.started = Some(g.started.unwrap() + step);
    let t = g.time + 600 * S;
    let e = at(&mut g, t);
    let last = data(e.last().unwrap());
    assert!(
        last["to"].as_str().unwrap() > "1970-01-01T02",
        "at {} it says {}",
        Timestamp::from_nanos(g.time),
        last["to"]
    );
}
#[test]
fn r09g_catching_up_windows_takes_no_time() {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(1),
            value: Aggregate::Mean,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut g = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    send(&mut g, &[(TEMPERATURE, f(1.0))]);
    g.time += 30 * 86_400 * S;
    let mut g = g.restart();
    let began = std::time::Instant::now();
    g.advance();
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "{:?} for one rule and 30 days",
        began.elapsed()
    );
}
#[test]
fn r09i_asked_again_is_stored() {
    let mut g = begin(with(vec![rule("r.s", &[STATE, GOOD], snap(&[1], None, &[]))]));
    send(&mut g, &[(STATE, Value::Int(4))]);
    let run = |mut g: Gateway, restart: bool| {
        g.time = 2 * S;
        g.notice(Notice::Offline { reason: "x".into() });
        g.time = 3 * S;
        g.notice(Notice::Online(Continuity::Resumed));
        g.time = 4 * S;
        g.notice(Notice::Offline { reason: "x".into() });
        if restart {
            g.time = 5 * S;
            g = g.restart();
        }
        at(&mut g, 60 * S)
    };
    let mut h = begin(with(vec![rule("r.s", &[STATE, GOOD], snap(&[1], None, &[]))]));
    send(&mut h, &[(STATE, Value::Int(4))]);
    let (a, b) = (run(g, false), run(h, true));
    assert_eq!(one(&a)["gap"], one(&b)["gap"]);
}
#[test]
fn r09j_valid_tag_snapshot() {
    let mut p = with(vec![rule(
        "r.s",
        &[STATE, TEMPERATURE],
        snap(&[1], None, &[("t", 1)]),
    )]);
    p.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    let mut g = begin(p);
    send(&mut g, &[(ALARMS, Value::Bool(false)), (STATE, Value::Int(4))]);
    let id = g.core.take_requests()[0].id;
    let e = one(&answer(
        &mut g,
        id,
        &[sample(TEMPERATURE, f(5.0), Timestamp::from_nanos(S))],
    ));
    assert!(e["t"].is_null(), "{e}");
}
#[test]
fn r09k_heartbeat_quality_is_no_beat() {
    let mut g = beating();
    let mut all = Vec::new();
    for n in 0..10 {
        g.time += S;
        let mut s = sample(GOOD, Value::UInt(1), Timestamp::from_nanos(g.time));
        if n % 2 == 1 {
            s.quality = Quality::UNCERTAIN;
        }
        all.extend(g.try_batch(&[], &[s]).0);
    }
    assert!(!all.is_empty(), "the value has been the same for 10 s");
}
#[test]
fn r09l_held_bit_set_before_value_gap() {
    let mut p = with(vec![rule(
        "r.m",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    )]);
    p.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    let mut g = begin(p);
    send(&mut g, &[(ALARMS, Value::Bool(true)), (TEMPERATURE, f(5.0))]);
    g.time = S;
    send(&mut g, &[(ALARMS, Value::Bool(false))]);
    g.time = 2 * S;
    send(&mut g, &[(TEMPERATURE, f(6.0))]);
    g.time = 3 * S;
    let e = one(&send(&mut g, &[(ALARMS, Value::Bool(true))]));
    assert!(e["gap"].is_null(), "nothing was missed: {e}");
}
#[test]
fn r10c_removed_snapshot_drops_nothing() {
    let mut g = begin(with(vec![rule("r.s", &[STATE, GOOD], snap(&[1], None, &[]))]));
    send(&mut g, &[(STATE, Value::Int(4))]);
    g.store();
    let mut h = Gateway::start(
        Arc::new(with(vec![rule("r.s", &[STATE], custom(Shape::Every, &[]))])),
        g.cells.clone(),
    );
    h.started = Some(0);
    h.time = g.time;
    h.notice(Notice::Online(Continuity::Resumed));
    h.notice(Notice::CaughtUp);
    let e = at(&mut h, 100 * S);
    let failures = h.core.take_failures();
    assert!(e.len() == 1 || failures.count == 1, "{e:?} {failures:?}");
}
