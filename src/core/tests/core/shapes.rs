//! Rules that do not look at every change: the corners that folders of cases do not reach.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::{RuleKind, RuleSpec, Shape, Slot, Snapshot};
use floorgate_core::{Event, Input, Request};
use floorgate_sample::{Answer, Continuity, Notice, Sample, SourceId, TagId, Value};

use super::{GOOD, Gateway, ORDER, STATE, TEMPERATURE, data, one, plan, sample};

/// A rule on the state that reads order, count and temperature when it is due; the count must not change meanwhile.
pub fn reading() -> Gateway {
    let mut plan = plan();
    plan.rules.truncate(1);
    let rule = &mut plan.rules[0];
    rule.inputs = [STATE, ORDER, GOOD, TEMPERATURE].into();
    let snapshot = Snapshot {
        tags: [Slot(1), Slot(2), Slot(3)].into(),
        unchanged: Some(Slot(2)),
    };
    let field = |name: &str, slot| (Arc::from(name), floorgate_core::plan::Field::Input(Slot(slot)));
    rule.spec = Arc::new(RuleSpec {
        shape: Shape::Every,
        snapshot: Some(snapshot),
        data: vec![field("order", 1), field("temperature", 3)],
        ..RuleSpec::of(RuleKind::Custom {
            event: "Cycle".into(),
            domain: "mes".into(),
            subject: None,
        })
    });
    let mut gateway = Gateway::of(plan);
    gateway.tick(&[(GOOD, Value::UInt(7))]);
    gateway
}

pub fn asked(gateway: &mut Gateway) -> Request {
    let mut requests = gateway.core.take_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

pub fn answer(gateway: &mut Gateway, request: &Request, count: u64) -> Vec<Event> {
    let time = floorgate_sample::Timestamp::from_nanos(gateway.time);
    let values = [
        (ORDER, Value::text("WO-1")),
        (GOOD, Value::UInt(count)),
        (TEMPERATURE, Value::Float64(20.5)),
    ];
    let samples = values.map(|(tag, value): (TagId, Value)| sample(tag, value, time));
    take(gateway, request, Ok(()), &samples)
}

fn take(
    gateway: &mut Gateway,
    request: &Request,
    result: Result<(), String>,
    samples: &[Sample],
) -> Vec<Event> {
    let mut events = Vec::new();
    let now = gateway.now(0);
    let input = Input {
        source: SourceId(0),
        received: now.wall,
        notices: &[],
        samples,
        now,
    };
    let answer = Answer {
        request: request.id,
        result,
    };
    gateway.core.answer(&answer, input, &mut events);
    gateway.store();
    events
}

#[test]
fn what_is_read_belongs_to_its_event_and_changes_nothing_else() {
    let mut gateway = reading();
    assert!(
        gateway.tick(&[(STATE, Value::Int(6))]).is_empty(),
        "it waits for the answer"
    );
    let request = asked(&mut gateway);
    assert_eq!(request.tags, [ORDER, GOOD, TEMPERATURE]);
    let event = one(&answer(&mut gateway, &request, 7));
    assert_eq!(
        (&event["order"], &event["temperature"], &event["snapshot"]),
        (&"WO-1".into(), &20.5.into(), &"complete".into())
    );
    assert_eq!(event["quality"]["class"], "good");
    assert!(
        answer(&mut gateway, &request, 7).is_empty(),
        "one event for one answer"
    );
}

#[test]
fn values_of_the_next_cycle_are_not_passed_off_as_of_this_one() {
    let mut gateway = reading();
    gateway.tick(&[(STATE, Value::Int(6))]);
    let request = asked(&mut gateway);
    let event = one(&answer(&mut gateway, &request, 8));
    assert_eq!(
        (&event["snapshot"], &event["quality"]["class"]),
        (&"changed".into(), &"uncertain".into())
    );
}

#[test]
fn an_event_waits_for_its_values_over_a_restart_and_says_so() {
    let mut gateway = reading();
    gateway.tick(&[(STATE, Value::Int(6))]);
    let mut gateway = gateway.restart();
    assert!(
        gateway.core.take_requests().is_empty(),
        "nobody is there to be asked"
    );
    gateway.notice(Notice::Online(Continuity::Resumed));
    let request = asked(&mut gateway);
    let event = one(&answer(&mut gateway, &request, 7));
    assert_eq!(
        (&event["snapshot"], &event["gap"]),
        (&"complete".into(), &true.into())
    );
}

#[test]
fn what_is_read_for_a_change_that_comes_late_says_so() {
    let mut gateway = reading();
    gateway.started = Some(gateway.time);
    let reason = "test".into();
    gateway.notice(Notice::Offline { reason });
    gateway.notice(Notice::Online(Continuity::Resumed));
    gateway.tick(&[(STATE, Value::Int(6))]);
    let request = asked(&mut gateway);
    let event = one(&answer(&mut gateway, &request, 7));
    assert_eq!(
        (&event["snapshot"], &event["gap"]),
        (&"complete".into(), &true.into()),
        "another cycle may have begun before it was back"
    );

    gateway.notice(Notice::CaughtUp);
    for (waited, gap) in [(0, None), (60_000_000_000, Some(true))] {
        // What was received waits while nothing can be stored.
        let samples = gateway.moment(&[(STATE, Value::Int(4 + i64::from(gap.is_some())))]);
        let received = gateway.now(0).wall;
        gateway.time += waited;
        let now = gateway.now(0);
        let input = Input {
            source: SourceId(0),
            received,
            notices: &[],
            samples: &samples,
            now,
        };
        gateway.core.apply(input, &mut Vec::new());
        let request = asked(&mut gateway);
        let event = one(&answer(&mut gateway, &request, 7));
        assert_eq!(event["gap"].as_bool(), gap, "{event}");
    }
}

#[test]
fn without_an_answer_the_event_is_made_without_its_values() {
    let mut gateway = reading();
    gateway.started = Some(gateway.time);
    gateway.tick(&[(STATE, Value::Int(6))]);
    let request = asked(&mut gateway);
    let event = one(&take(
        &mut gateway,
        &request,
        Err("device is busy".to_owned()),
        &[],
    ));
    assert_eq!(event["snapshot"], "failed");
    assert!(event["order"].is_null());
    assert_eq!(gateway.core.take_failures().count, 1);

    gateway.tick(&[(STATE, Value::Int(4))]);
    gateway.time += i64::try_from(Duration::from_mins(1).as_nanos()).unwrap_or(i64::MAX);
    let events = gateway.advance();
    assert_eq!(data(&events[0])["snapshot"], "failed", "nobody answers for ever");
}
