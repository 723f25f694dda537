//! The order and its run, also while nobody knows which order it is.

use floorgate_core::Event;
use floorgate_sample::{Continuity, Notice, Quality, Sample, Timestamp, Value};
use serde_json::{Value as Json, json};

use super::{Gateway, ORDER, STATUS, data, one, online, plan};

/// An order that runs, and the gateway that has seen it begin.
fn running() -> Gateway {
    let mut gateway = online();
    gateway.tick(&[(STATUS, Value::Int(2)), (ORDER, Value::text("WO-1"))]);
    let event = one(&gateway.tick(&[(STATUS, Value::Int(3))]));
    assert_eq!(event["runId"], "WO-1/filling/line1/filler/1");
    gateway
}

fn order_is_bad(gateway: &mut Gateway) {
    let bad = Sample {
        tag: ORDER,
        value: None,
        quality: Quality::BAD_DEVICE_FAILURE,
        source_time: Some(Timestamp::from_nanos(gateway.time + 1)),
        server_time: None,
        gap: false,
    };
    assert_eq!(gateway.batch(&[], &[bad]), []);
}

fn correlation(event: &Event) -> Option<&str> {
    let line = event
        .headers
        .lines()
        .find_map(|line| line.strip_prefix("ce_correlationid: "));
    assert_eq!(line.is_none(), &*event.subject == "work-order/unknown");
    line
}

#[test]
fn a_run_keeps_its_order_while_the_tag_of_the_order_is_bad() {
    let mut gateway = running();
    order_is_bad(&mut gateway);
    for (raw, status, previous) in [(4, "Interrupted", "Running"), (3, "Running", "Interrupted")] {
        let event = one(&gateway.tick(&[(STATUS, Value::Int(raw))]));
        assert_eq!(event["runId"], "WO-1/filling/line1/filler/1");
        assert_eq!(
            (&event["status"], &event["previousStatus"]),
            (&json!(status), &json!(previous))
        );
    }
    let event = one(&gateway.tick(&[(ORDER, Value::text("")), (STATUS, Value::Int(5))]));
    assert_eq!(
        (&event["workOrderId"], &event["status"]),
        (&json!("WO-1"), &json!("Ended")),
        "the run was latched until its end"
    );
    let event = one(&gateway.tick(&[(STATUS, Value::Int(2))]));
    assert_eq!(
        event["workOrderId"], "unknown",
        "outside a run nothing is latched"
    );
}

#[test]
fn an_order_that_is_sent_after_its_status_begins_no_new_run() {
    for restarted in [false, true] {
        let mut gateway = running();
        if restarted {
            gateway = gateway.restart();
        }
        gateway.notice(Notice::Online(Continuity::New));
        let events = gateway.tick(&[(STATUS, Value::Int(4))]);
        assert_eq!(correlation(&events[0]), None);
        let event = one(&events);
        assert_eq!(
            (
                &event["workOrderId"],
                &event["runId"],
                &event["previousStatus"],
                &event["gap"]
            ),
            (&json!("unknown"), &json!("unknown"), &Json::Null, &json!(true)),
            "the run may have ended unseen"
        );
        assert_eq!(
            one(&gateway.tick(&[(STATUS, Value::Int(3))]))["workOrderId"],
            "unknown"
        );
        assert_eq!(gateway.tick(&[(ORDER, Value::text("WO-1"))]), []);
        let events = gateway.tick(&[(STATUS, Value::Int(4))]);
        assert_eq!(correlation(&events[0]), Some("WO-1/filling/line1/filler/1"));
        assert_eq!(one(&events)["previousStatus"], "Running");
    }
}

#[test]
fn a_gap_that_another_event_of_the_status_told_is_not_forgotten() {
    let mut plan = plan();
    plan.rules[1].inputs = [STATUS].into();
    let mut gateway = Gateway::of(plan);
    gateway.tick(&[(STATUS, Value::Int(2)), (ORDER, Value::text("WO-1"))]);
    gateway.tick(&[(STATUS, Value::Int(3))]);
    gateway.notice(Notice::Offline { reason: "x".into() });
    gateway.notice(Notice::Online(Continuity::New));
    let events = gateway.tick(&[(STATUS, Value::Int(3))]);
    assert_eq!(&*events[0].name, "EquipmentStateChanged");
    assert_eq!(one(&events)["gap"], true);
    let events = gateway.tick(&[(STATUS, Value::Int(4))]);
    assert_eq!(data(&events[0])["workOrderId"], "unknown");
}

#[test]
fn a_run_that_began_without_a_name_is_counted_for_the_order_that_it_turns_out_to_be() {
    for (order, run) in [
        ("WO-1", "WO-1/filling/line1/filler/2"),
        ("WO-2", "WO-2/filling/line1/filler/1"),
    ] {
        let mut gateway = running();
        gateway.tick(&[(STATUS, Value::Int(5))]);
        order_is_bad(&mut gateway);
        let event = one(&gateway.tick(&[(STATUS, Value::Int(3))]));
        assert_eq!(
            (&event["workOrderId"], &event["runId"]),
            (&json!("unknown"), &json!("unknown"))
        );
        gateway.tick(&[(ORDER, Value::text(order))]);
        assert_eq!(one(&gateway.tick(&[(STATUS, Value::Int(4))]))["runId"], run);
    }
}

#[test]
fn another_order_ends_the_run_of_the_one_before() {
    let mut gateway = running();
    gateway.tick(&[(ORDER, Value::text("WO-2"))]);
    let events = gateway.tick(&[(STATUS, Value::Int(4))]);
    let event = data(&events[0]);
    assert_eq!(
        (&event["workOrderId"], &event["previousStatus"]),
        (&json!("WO-2"), &Json::Null)
    );
    assert_eq!(correlation(&events[0]), Some("WO-2/filling/line1/filler/1"));
}
