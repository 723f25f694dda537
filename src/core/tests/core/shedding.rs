//! A nearly full outbox: what matters least makes no event, and is made up for.

use std::collections::HashSet;
use std::sync::Arc;

use floorgate_core::Event;
use floorgate_core::expression::Expression;
use floorgate_core::plan::{Plan, Priority, RuleKind, Slot};
use floorgate_sample::{Continuity, Notice, Quality, Value};
use serde_json::Value as Json;

use super::{GOOD, Gateway, ORDER, STATE, STATUS, TEMPERATURE, data, names, plan};

/// The plan with the priorities that mappings give by themselves.
fn ranked() -> Plan {
    let mut plan = plan();
    for rule in &mut plan.rules {
        let spec = Arc::get_mut(&mut rule.spec).unwrap();
        spec.priority = match spec.kind {
            RuleKind::Measurement { .. } => Priority::Low,
            RuleKind::WorkOrderStatus { .. } | RuleKind::Alarm { .. } => Priority::High,
            _ => Priority::Normal,
        };
    }
    plan
}

/// The same with a type of the plant's own in place of the measurement.
fn with_own_type() -> Plan {
    let mut plan = ranked();
    for rule in &mut plan.rules {
        let spec = Arc::get_mut(&mut rule.spec).unwrap();
        if matches!(spec.kind, RuleKind::Measurement { .. }) {
            spec.kind = RuleKind::Custom {
                event: "Weighed".into(),
                domain: "mes".into(),
                subject: None,
            };
        }
    }
    plan
}

/// A gateway that has told a state, a count and a temperature.
fn running() -> Gateway {
    on(ranked())
}

fn on(plan: Plan) -> Gateway {
    let mut gateway = Gateway::of(plan);
    gateway.tick(&[
        (ORDER, Value::text("WO-1")),
        (STATUS, Value::Int(3)),
        (STATE, Value::Int(6)),
        (GOOD, Value::UInt(10)),
        (TEMPERATURE, Value::Float64(20.0)),
    ]);
    gateway
}

fn of<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| &*event.name == name).collect()
}

#[test]
fn low_priority_is_left_out_first_and_told_once_there_is_room() {
    let mut gateway = running();
    gateway.core.leave_out_below(Some(Priority::Normal));
    for temperature in [30.0, 40.0, 50.0] {
        assert!(
            gateway
                .tick(&[(TEMPERATURE, Value::Float64(temperature))])
                .is_empty()
        );
    }
    let events = gateway.tick(&[(STATE, Value::Int(11)), (TEMPERATURE, Value::Float64(60.0))]);
    assert_eq!(names(&events), ["EquipmentStateChanged"]);
    assert_eq!(gateway.core.take_shed().low, 4);
    assert!(gateway.advance().is_empty(), "there is no room yet");

    gateway.core.leave_out_below(None);
    assert!(
        gateway
            .core
            .next_deadline()
            .is_some_and(|deadline| deadline.is_zero())
    );
    let events = gateway.advance();
    assert_eq!(names(&events), ["MeasurementRecorded"]);
    let event = data(&events[0]);
    assert_eq!(
        (&event["value"], &event["gap"]),
        (&Json::from(60.0), &Json::from(true))
    );
    assert!(gateway.advance().is_empty(), "once");
    let next = gateway.tick(&[(TEMPERATURE, Value::Float64(70.0))]);
    assert_eq!(data(&next[0])["gap"], Json::Null);
}

#[test]
fn high_priority_goes_on_and_a_counter_loses_nothing() {
    let mut gateway = running();
    gateway.core.leave_out_below(Some(Priority::High));
    for good in [11, 13, 20] {
        assert!(
            gateway
                .tick(&[(GOOD, Value::UInt(good)), (STATE, Value::Int(11))])
                .is_empty()
        );
    }
    assert_eq!(
        names(&gateway.tick(&[(STATUS, Value::Int(4))])),
        ["WorkOrderStatusChanged"]
    );
    assert_eq!(gateway.core.take_shed().normal, 4);

    gateway.core.leave_out_below(Some(Priority::Normal));
    let events = gateway.advance();
    let state = data(of(&events, "EquipmentStateChanged")[0]);
    assert_eq!(
        (&state["state"], &state["previousState"]),
        (&Json::from("Held"), &Json::from("Execute"))
    );
    let count = data(of(&events, "ProductionCountRecorded")[0]);
    assert_eq!(
        (&count["delta"], &count["rawPrevious"], &count["rawValue"]),
        (&10.into(), &10.into(), &20.into())
    );
    assert_eq!(count["total"], 20);
    assert_eq!(events.len(), 2);
}

#[test]
fn what_is_owed_survives_a_restart() {
    let mut gateway = running();
    gateway.core.leave_out_below(Some(Priority::High));
    gateway.tick(&[
        (STATE, Value::Int(11)),
        (TEMPERATURE, Value::Float64(50.0)),
        (GOOD, Value::UInt(12)),
    ]);
    gateway.store();
    let mut gateway = gateway.restart();
    gateway.notice(Notice::Online(Continuity::New));
    assert!(gateway.advance().is_empty(), "nothing is known yet");
    // The values are those that were left out: none of them is a change.
    let events = gateway.tick(&[
        (STATE, Value::Int(11)),
        (TEMPERATURE, Value::Float64(50.0)),
        (GOOD, Value::UInt(12)),
    ]);
    assert!(events.is_empty(), "{:?}", names(&events));
    let mut told: Vec<String> = gateway
        .advance()
        .iter()
        .map(|event| event.name.to_string())
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "EquipmentStateChanged",
            "MeasurementRecorded",
            "ProductionCountRecorded"
        ]
    );
}

#[test]
fn a_state_that_is_lost_meanwhile_is_told_as_unknown() {
    let mut gateway = running();
    gateway.core.leave_out_below(Some(Priority::High));
    let events = gateway.notice(Notice::Offline { reason: "x".into() });
    assert_eq!(names(&events), ["SourceConnectionChanged"]);
    gateway.core.leave_out_below(None);
    let events = gateway.advance();
    let state = data(of(&events, "EquipmentStateChanged")[0]);
    assert_eq!(
        (&state["state"], &state["previousState"]),
        (&Json::from("unknown"), &Json::from("Execute"))
    );
}

#[test]
fn what_happened_is_not_made_up_for_and_the_next_one_says_so() {
    let mut gateway = on(with_own_type());
    gateway.core.leave_out_below(Some(Priority::Normal));
    // Bad and good again with the same value: nothing happened.
    let mut samples = gateway.moment(&[(TEMPERATURE, Value::Float64(20.0))]);
    samples[0].quality = Quality::BAD_NO_COMMUNICATION;
    gateway.batch(&[], &samples);
    gateway.tick(&[(TEMPERATURE, Value::Float64(20.0))]);
    assert_eq!(gateway.core.take_shed().low, 0);
    gateway.tick(&[(TEMPERATURE, Value::Float64(21.0))]);
    assert_eq!(gateway.core.take_shed().low, 1);

    gateway.core.leave_out_below(None);
    assert!(gateway.advance().is_empty());
    let events = gateway.tick(&[(TEMPERATURE, Value::Float64(22.0))]);
    assert_eq!(names(&events), ["Weighed"]);
    assert_eq!(data(&events[0])["gap"], true);
}

#[test]
fn a_source_that_resumes_is_caught_up_with_before_a_debt_is_paid() {
    let mut gateway = running();
    gateway.core.leave_out_below(Some(Priority::Normal));
    gateway.tick(&[(TEMPERATURE, Value::Float64(50.0))]);
    gateway.notice(Notice::Offline { reason: "x".into() });
    gateway.core.leave_out_below(None);
    assert!(gateway.advance().is_empty(), "nothing is known");
    gateway.notice(Notice::Online(Continuity::Resumed));
    assert!(gateway.advance().is_empty(), "what is known is old");
    gateway.notice(Notice::CaughtUp);
    let events = gateway.advance();
    assert_eq!(names(&events), ["MeasurementRecorded"]);
    assert_eq!(data(&events[0])["value"], 50.0);
}

#[test]
fn a_guard_that_forbids_a_change_forbids_a_debt() {
    let mut plan = ranked();
    for rule in &mut plan.rules {
        if matches!(rule.spec.kind, RuleKind::ProductionCount { .. }) {
            rule.inputs = [GOOD, STATE].into();
            let guard = Expression::compile("state == \"Execute\"", |_| Some(Slot(1))).unwrap();
            Arc::get_mut(&mut rule.spec).unwrap().when = Some(guard);
        }
    }
    let mut gateway = on(plan);
    gateway.tick(&[(STATE, Value::Int(11))]);
    gateway.core.leave_out_below(Some(Priority::High));
    gateway.tick(&[(GOOD, Value::UInt(60))]);
    gateway.core.leave_out_below(None);
    gateway.advance();
    let events = gateway.tick(&[(STATE, Value::Int(6)), (GOOD, Value::UInt(61))]);
    let count = data(of(&events, "ProductionCountRecorded")[0]);
    assert_eq!(count["delta"], 1, "what was counted while held is no production");
}

#[test]
fn what_is_paid_has_ids_of_its_own() {
    let mut gateway = running();
    let mut events = Vec::new();
    for state in [11, 6, 11] {
        gateway.core.leave_out_below(Some(Priority::High));
        events.extend(gateway.tick(&[(STATE, Value::Int(state))]));
        events.extend(gateway.notice(Notice::Offline { reason: "x".into() }));
        events.extend(gateway.notice(Notice::Online(Continuity::Resumed)));
        events.extend(gateway.notice(Notice::CaughtUp));
        gateway.core.leave_out_below(None);
        events.extend(gateway.advance());
        events.extend(gateway.notice(Notice::Offline { reason: "x".into() }));
        events.extend(gateway.notice(Notice::Online(Continuity::Resumed)));
        events.extend(gateway.notice(Notice::CaughtUp));
        events.extend(gateway.advance());
    }
    let ids: HashSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), events.len());
    assert!(of(&events, "EquipmentStateChanged").len() >= 6);
}
