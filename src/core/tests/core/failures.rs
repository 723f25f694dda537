//! Rules that fail: what can be said is said, and what cannot is counted.

use std::sync::Arc;

use floorgate_core::Event;
use floorgate_core::expression::Expression;
use floorgate_core::plan::{Field, Plan, RuleKind, Slot};
use floorgate_sample::{Continuity, Notice, TagId, Value};
use serde_json::Value as Json;

use super::{ALARMS, GOOD, Gateway, ORDER, STATE, STATUS, data, names, plan};

/// The plan with a field `rate` in every event of some rules, which cannot be computed while `good` is unknown.
fn plan_with_rate(of: impl Fn(&RuleKind) -> bool) -> Plan {
    let mut plan = plan();
    for rule in plan.rules.iter_mut().filter(|rule| of(&rule.spec.kind)) {
        let mut inputs: Vec<TagId> = rule.inputs.to_vec();
        let slot = Slot(u16::try_from(inputs.len()).unwrap());
        inputs.push(GOOD);
        rule.inputs = inputs.into();
        let rate = Expression::compile("good / 2", |_| Some(slot)).unwrap();
        let fields = vec![
            ("rate".into(), Field::Computed(rate)),
            ("line".into(), Field::Constant(1.into())),
        ];
        Arc::get_mut(&mut rule.spec).unwrap().data = vec![("extra".into(), Field::Object(fields))];
    }
    plan
}

fn sequence(event: &Event) -> &str {
    event
        .headers
        .lines()
        .find_map(|line| line.strip_prefix("ce_sequence: "))
        .unwrap()
}

#[test]
fn a_field_that_cannot_be_computed_is_null_and_the_event_goes_out() {
    let mut gateway = Gateway::of(plan_with_rate(|kind| {
        matches!(kind, RuleKind::WorkOrderStatus { .. })
    }));
    let samples = gateway.moment(&[(ORDER, Value::text("WO-1")), (STATUS, Value::Int(3))]);
    let (events, failures) = gateway.try_batch(&[], &samples);
    let event = data(&events[0]);
    assert_eq!(event["status"], "Running");
    assert_eq!(event["extra"], serde_json::json!({"rate": null, "line": 1}));
    assert_eq!(failures.count, 1);
    assert_eq!(&*failures.first[0].rule, "line.1");
    assert!(
        failures.first[0].reason.starts_with("field \"rate\" is null: "),
        "{failures:?}"
    );
    gateway.tick(&[(GOOD, Value::UInt(8))]);
    let next = gateway.tick(&[(STATUS, Value::Int(4))]);
    assert_eq!(data(&next[0])["extra"]["rate"], 4);
    assert_eq!(
        [sequence(&events[0]), sequence(&next[0])],
        [
            "0000000001-00000000000000000001",
            "0000000001-00000000000000000002"
        ],
        "the stream has no hole"
    );
}

#[test]
fn every_failure_is_counted_and_the_first_few_are_told() {
    let mut gateway = Gateway::of(plan_with_rate(|kind| matches!(kind, RuleKind::Alarm { .. })));
    for (word, name) in [(0xFFFF_FFFF, "AlarmRaised"), (0, "AlarmCleared")] {
        let samples = gateway.moment(&[(ALARMS, Value::UInt(word))]);
        let (events, failures) = gateway.try_batch(&[], &samples);
        assert_eq!(events.len(), 32);
        assert!(
            events
                .iter()
                .all(|event| &*event.name == name && data(event)["extra"]["rate"] == Json::Null)
        );
        assert_eq!((failures.count, failures.first.len()), (32, 16));
    }
}

/// The plan with a guard over `good` on the equipment's state.
fn plan_with_guard(guard: &str) -> Plan {
    let mut plan = plan();
    let rule = plan
        .rules
        .iter_mut()
        .find(|rule| matches!(rule.spec.kind, RuleKind::EquipmentState));
    let rule = rule.unwrap();
    rule.inputs = [STATE, GOOD].into();
    let guard = Expression::compile(guard, |_| Some(Slot(1))).unwrap();
    Arc::get_mut(&mut rule.spec).unwrap().when = Some(guard);
    plan
}

#[test]
fn a_guard_keeps_no_state_standing_that_is_not_known_any_more() {
    let mut gateway = Gateway::of(plan_with_guard("good > 5"));
    gateway.tick(&[(GOOD, Value::UInt(4)), (STATE, Value::Int(6))]);
    let lost = || [Notice::Offline { reason: "x".into() }];
    let (events, _) = gateway.try_batch(&lost(), &[]);
    assert_eq!(
        names(&events),
        ["SourceConnectionChanged"],
        "nothing was told, nothing is taken back"
    );

    gateway.notice(Notice::Online(Continuity::New));
    let told = gateway.tick(&[(GOOD, Value::UInt(6)), (STATE, Value::Int(6))]);
    assert!(
        names(&told).contains(&"EquipmentStateChanged"),
        "{:?}",
        names(&told)
    );
    let (events, failures) = gateway.try_batch(&lost(), &[]);
    assert_eq!(
        names(&events),
        ["SourceConnectionChanged", "EquipmentStateChanged"]
    );
    assert_eq!(data(&events[1])["state"], "unknown");
    assert_eq!(failures.count, 0, "{failures:?}");
}

#[test]
fn a_guard_that_is_neither_true_nor_false_is_a_failure() {
    let mut gateway = Gateway::of(plan_with_guard("good + 1"));
    let samples = gateway.moment(&[(GOOD, Value::UInt(4)), (STATE, Value::Int(6))]);
    let (events, failures) = gateway.try_batch(&[], &samples);
    assert!(!names(&events).contains(&"EquipmentStateChanged"));
    assert_eq!(failures.count, 1);
    assert!(
        failures.first[0]
            .reason
            .ends_with("gives 5, which is neither true nor false"),
        "{failures:?}"
    );
}
