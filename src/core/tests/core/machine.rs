//! Moments, sources and their loss, gaps, restarts.

use std::time::Duration;

use floorgate_core::{Event, Now};
use floorgate_sample::{Continuity, GapScope, Notice, Quality, Reason, Sample, Timestamp, Value};
use serde_json::{Value as Json, json};

use super::{ALARMS, GOOD, ORDER, STATE, STATUS, TEMPERATURE, data, names, one, online, sample};

#[test]
fn an_order_and_its_status_of_one_moment_are_seen_together_whatever_their_order() {
    let mut gateway = online();
    let event = one(&gateway.tick(&[(STATUS, Value::Int(2)), (ORDER, Value::text("WO-1"))]));
    assert_eq!(event["workOrderId"], "WO-1");
    assert_eq!(event["status"], "AllowedToStart");
    assert_eq!(event["previousStatus"], Json::Null);
    assert_eq!(event["runId"], "WO-1/filling/line1/filler/0");
    gateway.tick(&[(GOOD, Value::UInt(7))]);
    let event = one(&gateway.tick(&[(STATUS, Value::Int(3))]));
    assert_eq!(event["runId"], "WO-1/filling/line1/filler/1");
    assert_eq!(event["previousStatus"], "AllowedToStart");
    assert_eq!(event["vendorStatus"], json!({"tag": "status", "raw": 3}));
    assert_eq!(event["quantity"], json!({"good": 7, "unit": "C62"}));
}

#[test]
fn the_envelope_names_stream_key_and_run() {
    let mut gateway = online();
    gateway.tick(&[(ORDER, Value::text("WO-1"))]);
    let events = gateway.tick(&[(STATUS, Value::Int(3))]);
    let event = &events[0];
    let headers = format!("{}{}", event.shared_headers, event.headers);
    assert_eq!(&*event.subject, "work-order/WO-1");
    assert_eq!(&*event.key, "acme/busan/filling/line1/filler");
    for line in [
        "ce_type: io.floorgate.mes.WorkOrderStatusChanged.v1",
        "ce_source: urn:floorgate:gw:acme:busan:filling:line1:filler",
        "ce_subject: {subject}",
        "ce_partitionkey: {key}",
        "ce_sequence: 0000000001-00000000000000000001",
        "ce_correlationid: WO-1/filling/line1/filler/1",
        "ce_emission: initial",
        "ce_time: 1970-01-01T00:00:02.000Z",
    ] {
        assert!(
            headers.lines().any(|found| found == line),
            "{line} is not in\n{headers}"
        );
    }
}

#[test]
fn a_stream_whose_counter_may_be_behind_goes_on_in_a_new_epoch() {
    let mut gateway = online();
    let sequence = |gateway: &mut crate::Gateway, state| {
        let events = gateway.tick(&[(STATE, Value::Int(state))]);
        let line = events[0]
            .headers
            .lines()
            .find_map(|line| line.strip_prefix("ce_sequence: "));
        line.expect("a sequence").to_owned()
    };
    assert_eq!(sequence(&mut gateway, 6), "0000000001-00000000000000000001");
    gateway.core.renew_streams(40);
    assert_eq!(sequence(&mut gateway, 11), "0000000040-00000000000000000001");
    let mut gateway = gateway.restart();
    gateway.notice(Notice::Online(Continuity::New));
    assert_eq!(sequence(&mut gateway, 6), "0000000040-00000000000000000002");
}

#[test]
fn a_restart_tells_only_what_changed_and_marks_the_gap() {
    let mut gateway = online();
    gateway.tick(&[(STATE, Value::Int(6)), (GOOD, Value::UInt(10))]);
    let mut gateway = gateway.restart();
    assert_eq!(gateway.notice(Notice::Online(Continuity::New)), []);
    let events = gateway.tick(&[(STATE, Value::Int(6)), (GOOD, Value::UInt(15))]);
    let event = one(&events);
    assert_eq!(
        (&event["delta"], &event["total"], &event["gap"]),
        (&json!(5), &json!(15), &json!(true))
    );
    let event = one(&gateway.tick(&[(STATE, Value::Int(11))]));
    assert_eq!(
        (&event["state"], &event["gap"]),
        (&json!("Held"), &json!(true)),
        "nobody saw what was between"
    );
    assert_eq!(event["previousDurationMs"], Json::Null, "nor how long it was");
    let event = one(&gateway.tick(&[(STATE, Value::Int(6))]));
    assert_eq!(event["gap"], Json::Null);
}

#[test]
fn a_lost_source_makes_states_unknown_and_its_resumption_known_again() {
    let mut gateway = online();
    gateway.tick(&[(STATE, Value::Int(6)), (ORDER, Value::text("WO-1"))]);
    let lost = gateway.notice(Notice::Offline {
        reason: "connection refused".into(),
    });
    assert_eq!(names(&lost), ["SourceConnectionChanged", "EquipmentStateChanged"]);
    assert_eq!(data(&lost[0])["reason"], "connection refused");
    assert_eq!(data(&lost[0]).get("see"), None);
    let state = data(&lost[1]);
    assert_eq!(
        (&state["state"], &state["quality"]["class"]),
        (&json!("unknown"), &json!("bad"))
    );
    let back = gateway.batch(&[Notice::Online(Continuity::Resumed), Notice::CaughtUp], &[]);
    assert_eq!(names(&back), ["SourceConnectionChanged", "EquipmentStateChanged"]);
    let state = data(&back[1]);
    assert_eq!(
        (&state["state"], &state["previousState"], &state["gap"]),
        (&json!("Execute"), &json!("unknown"), &Json::Null)
    );
    let event = one(&gateway.tick(&[(STATUS, Value::Int(3))]));
    assert_eq!(event["workOrderId"], "WO-1", "what was known before holds again");
}

#[test]
fn a_loss_tells_where_it_stands_what_to_do() {
    let mut gateway = online();
    let silent = gateway.notice(Notice::Stale {
        reason: Reason::new("no answer within 4s", "pump-silent"),
    });
    let told = data(&silent[0]);
    assert_eq!(
        (&told["reason"], &told["see"]),
        (&json!("no answer within 4s"), &json!("pump-silent"))
    );
    let back = gateway.batch(&[Notice::Online(Continuity::New)], &[]);
    assert_eq!(data(&back[0]).get("see"), None);
}

#[test]
fn what_changed_during_a_loss_is_told_before_any_state_is_known_again() {
    let mut gateway = online();
    gateway.tick(&[(STATE, Value::Int(6))]);
    gateway.notice(Notice::Offline { reason: "x".into() });
    // A change from the time of the loss comes after the connection, and so does a second loss.
    assert_eq!(
        names(&gateway.notice(Notice::Online(Continuity::Resumed))),
        ["SourceConnectionChanged"],
        "nobody knows yet whether the state still holds"
    );
    let state = one(&gateway.tick(&[(STATE, Value::Int(11))]));
    assert_eq!(
        (&state["state"], &state["previousState"], &state["gap"]),
        (&json!("Held"), &json!("unknown"), &Json::Null)
    );
    assert_eq!(
        names(&gateway.notice(Notice::CaughtUp)),
        [] as [&str; 0],
        "told already"
    );
    gateway.notice(Notice::Offline { reason: "y".into() });
    gateway.notice(Notice::Online(Continuity::Resumed));
    gateway.notice(Notice::Offline { reason: "z".into() });
    gateway.notice(Notice::Online(Continuity::Resumed));
    let state = one(&gateway.notice(Notice::CaughtUp));
    assert_eq!(
        (&state["state"], &state["previousState"]),
        (&json!("Held"), &json!("unknown"))
    );
}

#[test]
fn after_a_new_session_nothing_is_known_until_it_is_sent() {
    let mut gateway = online();
    gateway.tick(&[(STATE, Value::Int(6)), (ORDER, Value::text("WO-1"))]);
    gateway.notice(Notice::Offline {
        reason: "reset".into(),
    });
    assert_eq!(
        names(&gateway.notice(Notice::Online(Continuity::New))),
        ["SourceConnectionChanged"]
    );
    let event = one(&gateway.tick(&[(STATUS, Value::Int(3))]));
    assert_eq!(
        (&event["workOrderId"], &event["runId"]),
        (&json!("unknown"), &json!("unknown"))
    );
    let event = one(&gateway.tick(&[(STATE, Value::Int(6))]));
    assert_eq!(
        (&event["state"], &event["gap"]),
        (&json!("Execute"), &json!(true))
    );
}

#[test]
fn an_alarm_is_raised_and_cleared_under_one_occurrence_also_over_a_restart() {
    let mut gateway = online();
    gateway.tick(&[(ALARMS, Value::UInt(0))]);
    let events = gateway.tick(&[(ALARMS, Value::UInt(0b101))]);
    assert_eq!(names(&events), ["AlarmRaised", "AlarmRaised"]);
    let (known, unknown) = (data(&events[0]), data(&events[1]));
    assert_eq!(
        (&known["code"], &known["severity"]),
        (&json!("E-STOP"), &json!(900))
    );
    assert_eq!(
        (&unknown["code"], &unknown["unmapped"]),
        (&json!("alarms.2"), &json!(true))
    );
    let mut gateway = gateway.restart();
    gateway.notice(Notice::Online(Continuity::New));
    let cleared = one(&gateway.tick(&[(ALARMS, Value::UInt(0b100))]));
    assert_eq!(cleared["occurrenceId"], known["occurrenceId"]);
    assert_eq!(
        (&cleared["durationMs"], &cleared["raisedAt"]),
        (&json!(1000), &json!("1970-01-01T00:00:02.000Z"))
    );
}

#[test]
fn every_change_of_a_tag_within_a_batch_is_told_in_its_order() {
    let mut gateway = online();
    let at = |nanos| Timestamp::from_nanos(nanos);
    let samples = [
        sample(STATE, Value::Int(6), at(30)),
        sample(TEMPERATURE, Value::Float64(1.0), at(10)),
        sample(TEMPERATURE, Value::Float64(2.0), at(20)),
        sample(TEMPERATURE, Value::Float64(3.0), at(20)),
    ];
    let events = gateway.batch(&[], &samples);
    let values: Vec<Json> = events.iter().map(|event| data(event)["value"].clone()).collect();
    assert_eq!(values, [json!(1.0), json!(2.0), json!(3.0), Json::Null]);
    let mut ids: Vec<_> = events.iter().map(|event| event.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_gap_of_one_tag_is_said_by_its_next_event_only() {
    let mut gateway = online();
    gateway.tick(&[(STATE, Value::Int(6)), (GOOD, Value::UInt(1))]);
    gateway.notice(Notice::Gap {
        scope: GapScope::Tags(vec![STATE]),
        reason: "overflow".into(),
    });
    assert_eq!(one(&gateway.tick(&[(GOOD, Value::UInt(2))]))["gap"], Json::Null);
    assert_eq!(one(&gateway.tick(&[(STATE, Value::Int(2))]))["gap"], true);
    assert_eq!(one(&gateway.tick(&[(STATE, Value::Int(6))]))["gap"], Json::Null);
}

#[test]
fn a_silent_tag_is_told_again_after_its_longest_silence_and_not_while_unknown() {
    let mut gateway = online();
    gateway.tick(&[(TEMPERATURE, Value::Float64(21.5))]);
    let mut at = |seconds| {
        let mut events = Vec::new();
        let monotonic = Duration::from_secs(seconds);
        gateway.core.advance(
            Now {
                wall: Timestamp::from_nanos(0),
                monotonic,
            },
            &mut events,
        );
        events
    };
    assert_eq!(at(59), []);
    assert_eq!(one(&at(60))["value"], 21.5);
    assert_eq!(at(119), []);
    assert_eq!(at(120).len(), 1);
    gateway.notice(Notice::Offline {
        reason: "gone".into(),
    });
    let mut events = Vec::new();
    let now = Now {
        wall: Timestamp::from_nanos(0),
        monotonic: Duration::from_mins(5),
    };
    gateway.core.advance(now, &mut events);
    assert_eq!(events, []);
}

#[test]
fn a_value_that_is_told_again_says_the_gap_before_it() {
    for scope in [GapScope::Source, GapScope::Tags(vec![TEMPERATURE])] {
        let mut gateway = online();
        gateway.tick(&[(TEMPERATURE, Value::Float64(21.5))]);
        gateway.notice(Notice::Gap {
            scope,
            reason: "overflow".into(),
        });
        let now = Now {
            wall: Timestamp::from_nanos(0),
            monotonic: Duration::from_mins(1),
        };
        let mut events = Vec::new();
        gateway.core.advance(now, &mut events);
        assert_eq!(one(&events)["gap"], true);
        let next = one(&gateway.tick(&[(TEMPERATURE, Value::Float64(22.0))]));
        assert_eq!(next["gap"], Json::Null);
    }
}

#[test]
fn a_state_that_was_told_as_unknown_is_told_again_after_a_restart() {
    let mut gateway = online();
    gateway.tick(&[(STATE, Value::Int(6))]);
    gateway.notice(Notice::Offline { reason: "x".into() });
    let mut gateway = gateway.restart();
    gateway.notice(Notice::Online(Continuity::New));
    let event = one(&gateway.tick(&[(STATE, Value::Int(6))]));
    assert_eq!(
        (&event["state"], &event["previousState"], &event["gap"]),
        (&json!("Execute"), &json!("unknown"), &json!(true))
    );
    let mut gateway = gateway.restart();
    gateway.notice(Notice::Online(Continuity::New));
    assert_eq!(gateway.tick(&[(STATE, Value::Int(6))]), [], "it is known again");
}

#[test]
fn the_last_good_value_before_a_kill_is_known_to_the_minute() {
    let mut gateway = online();
    for _ in 0..150 {
        gateway.tick(&[(STATE, Value::Int(6))]);
    }
    let mut gateway = gateway.restart();
    let events = gateway.notice(Notice::Offline { reason: "x".into() });
    // Received 5 ms after the first, the 61st and the 121st of 150 values, one each second.
    assert_eq!(data(&events[0])["lastGoodAt"], "1970-01-01T00:02:01.005Z");
}

#[test]
fn a_tag_that_is_bad_from_the_start_is_initial_and_no_change() {
    let mut gateway = online();
    let bad = |time| Sample {
        value: None,
        quality: Quality::BAD_OUT_OF_RANGE,
        ..sample(STATE, Value::Bool(false), Timestamp::from_nanos(time))
    };
    let emission = |events: &[Event]| -> String {
        let line = events[0]
            .headers
            .lines()
            .find(|line| line.starts_with("ce_emission: "));
        line.unwrap_or_default().to_owned()
    };
    let events = gateway.batch(&[], &[bad(1)]);
    assert_eq!(one(&events)["state"], "unknown");
    assert_eq!(emission(&events), "ce_emission: initial");
    let events = gateway.tick(&[(STATE, Value::Int(6))]);
    assert_eq!(emission(&events), "ce_emission: initial");
    let events = gateway.batch(&[], &[bad(2_000_000_000)]);
    assert_eq!(emission(&events), "ce_emission: live");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let run = || {
        let mut gateway = online();
        let mut events = gateway.tick(&[(STATE, Value::Int(6)), (GOOD, Value::UInt(1))]);
        events.extend(gateway.notice(Notice::Offline { reason: "x".into() }));
        events
    };
    assert_eq!(run(), run());
}
