//! Counters that are set back, and counts of a span of time.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::Event;
use floorgate_core::expression::Expression;
use floorgate_core::plan::*;
use floorgate_sample::{Continuity, Notice, Value};

use super::probe::*;
use super::{ALARMS, GOOD, Gateway, ORDER, STATUS, data, one, plan};

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
    spec.when = Some(Expression::compile("a", |_| Some(Slot(1))).unwrap());
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

/// What is counted in runs while a bit is set.
fn in_runs(shape: Shape) -> Plan {
    let mut mapping = plan();
    mapping.rules.truncate(1);
    let mut added = counting(false, shape).rules.remove(0);
    let mut spec = (*added.spec).clone();
    spec.when = Some(Expression::compile("a", |_| Some(Slot(1))).unwrap());
    spec.priority = Priority::Low;
    added.spec = Arc::new(spec);
    added.run = Some(RuleId(0));
    mapping.rules.push(added);
    mapping
}

/// The same in windows of a minute; 500 are counted in one of WO-1.
fn counting_in_runs() -> Gateway {
    let mut gateway = begin(in_runs(Shape::Window(WindowSpec {
        every: Duration::from_mins(1),
        value: Aggregate::Mean,
    })));
    let samples = [(GOOD, Value::UInt(0)), (ALARMS, Value::Bool(true))];
    send(&mut gateway, &samples);
    order(&mut gateway, "WO-1");
    gateway.time = 10 * S;
    send(&mut gateway, &[(GOOD, Value::UInt(500))]);
    gateway
}

fn order(gateway: &mut Gateway, order: &str) -> Vec<Event> {
    let mut events = send(gateway, &[(STATUS, Value::Int(5))]);
    gateway.time += S;
    let samples = [(ORDER, Value::text(order)), (STATUS, Value::Int(3))];
    events.extend(send(gateway, &samples));
    events
}

/// Orders and deltas of counts.
fn counts(events: &[Event]) -> Vec<(String, u64)> {
    let counts = events
        .iter()
        .filter(|event| event.name.ends_with("CountRecorded"));
    counts
        .map(data)
        .map(|data| {
            let order = data["workOrderId"].as_str().unwrap_or_default();
            (order.to_owned(), data["delta"].as_u64().unwrap_or_default())
        })
        .collect()
}

#[test]
fn counts_of_a_guard_that_closes() {
    let mut gateway = counting_in_runs();
    gateway.time = 50 * S;
    send(&mut gateway, &[(ALARMS, Value::Bool(false))]);
    let mut events = at(&mut gateway, 61 * S);
    assert_eq!(counts(&events), [("WO-1".to_owned(), 500)]);
    gateway.time = 70 * S;
    events.extend(send(&mut gateway, &[(ALARMS, Value::Bool(true))]));
    events.extend(order(&mut gateway, "WO-2"));
    gateway.time = 72 * S;
    events.extend(send(&mut gateway, &[(GOOD, Value::UInt(501))]));
    events.extend(at(&mut gateway, 200 * S));
    assert_eq!(
        counts(&events),
        [("WO-1".to_owned(), 500), ("WO-2".to_owned(), 1)]
    );
}

#[test]
fn counts_that_were_left_out_keep_their_run() {
    let run = |restarts: bool, again: bool| {
        let mut gateway = counting_in_runs();
        gateway.core.leave_out_below(Some(Priority::Normal));
        let mut events = at(&mut gateway, 65 * S);
        gateway.time = 66 * S;
        events.extend(send(&mut gateway, &[(GOOD, Value::UInt(507))]));
        gateway.time = 70 * S;
        events.extend(order(&mut gateway, "WO-2"));
        if restarts {
            gateway = gateway.restart();
            gateway.core.leave_out_below(Some(Priority::Normal));
            gateway.notice(Notice::Online(Continuity::Resumed));
            gateway.notice(Notice::CaughtUp);
        }
        if again {
            gateway.time = 80 * S;
            events.extend(send(&mut gateway, &[(GOOD, Value::UInt(508))]));
        }
        events.extend(at(&mut gateway, 200 * S));
        assert!(counts(&events).is_empty(), "there is no room for them");
        gateway.core.leave_out_below(None);
        counts(&at(&mut gateway, 400 * S))
    };
    let of = |order: &str, delta| (order.to_owned(), delta);
    for restarts in [false, true] {
        assert_eq!(run(restarts, true), [of("WO-1", 507), of("WO-2", 1)]);
        assert_eq!(
            run(restarts, false),
            [of("WO-1", 507)],
            "nothing is counted any more"
        );
    }
}

/// What is counted in more runs than are kept apart is told all the same: the first ones each of their run, the others together and of none.
#[test]
fn more_runs_that_were_left_out_than_are_kept_apart() {
    const RUNS: u64 = 20;
    let mut gateway = counting_in_runs();
    gateway.core.leave_out_below(Some(Priority::Normal));
    for run in 2..=RUNS {
        let start = i64::try_from(run).unwrap() * 70 * S;
        at(&mut gateway, start);
        order(&mut gateway, &format!("WO-{run}"));
        gateway.time += S;
        send(&mut gateway, &[(GOOD, Value::UInt(500 + run))]);
    }
    at(&mut gateway, 3_000 * S);
    gateway.core.leave_out_below(None);
    let told = counts(&at(&mut gateway, 3_200 * S));
    let (last, kept) = told.split_last().unwrap();
    let of_runs: Vec<String> = (1..).take(kept.len()).map(|run| format!("WO-{run}")).collect();
    assert_eq!(
        kept.iter().map(|(order, _)| order.clone()).collect::<Vec<_>>(),
        of_runs
    );
    assert_eq!(last.0, "", "of several runs it is of none");
    assert!(kept.len() >= 15, "{told:?}");
    let sum: u64 = told.iter().map(|(_, delta)| delta).sum();
    assert_eq!(sum, 500 + RUNS, "{told:?}");
}

/// Where the mapping tells counts one by one from now on, what was counted in windows is told with the next count.
#[test]
fn a_mapping_that_has_no_windows_any_more() {
    let mut gateway = counting_in_runs();
    gateway.core.leave_out_below(Some(Priority::Normal));
    at(&mut gateway, 65 * S);
    gateway.time = 66 * S;
    order(&mut gateway, "WO-2");
    gateway.time = 70 * S;
    send(&mut gateway, &[(GOOD, Value::UInt(507))]);
    gateway.store();
    let mut other = Gateway::start(Arc::new(in_runs(Shape::Every)), gateway.cells.clone());
    (other.started, other.time) = (Some(gateway.time), gateway.time);
    other.notice(Notice::Online(Continuity::Resumed));
    other.notice(Notice::CaughtUp);
    other.time = 80 * S;
    let told = counts(&send(&mut other, &[(GOOD, Value::UInt(510))]));
    assert_eq!(told, [("WO-2".to_owned(), 510)]);
}
