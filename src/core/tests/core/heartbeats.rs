//! Heartbeats that stop and return, whatever happens meanwhile.

use std::time::Duration;

use floorgate_core::Input;
use floorgate_core::plan::*;
use floorgate_sample::{Continuity, Notice, Quality, SourceId, Timestamp, Value};

use super::probe::*;
use super::{ALARMS, GOOD, Gateway, STATE, TEMPERATURE, data, names, one, sample};

fn beating() -> Gateway {
    let mut mapping = with(vec![state_rule()]);
    tag(&mut mapping, GOOD).heartbeat = Some(Duration::from_secs(2));
    begin(mapping)
}

#[test]
fn heartbeat_that_was_bad_returns() {
    let mut gateway = beating();
    send(&mut gateway, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    gateway.time = S;
    bad(&mut gateway, GOOD);
    let events = at(&mut gateway, 5 * S);
    assert_eq!(
        names(&events),
        ["SourceConnectionChanged", "EquipmentStateChanged"],
        "stale"
    );
    assert_eq!(gateway.core.stopped_heartbeat(SourceId(0)), Some(GOOD));
    let mut all = Vec::new();
    for n in 0..20 {
        gateway.time += S;
        all.extend(send(&mut gateway, &[(GOOD, Value::UInt(10 + n))]));
    }
    assert!(!all.is_empty(), "it beats for 20 s and the source is Stale still");
    assert_eq!(gateway.core.stopped_heartbeat(SourceId(0)), None);
    assert_eq!(gateway.core.stopped_heartbeat(SourceId(9)), None, "there is none");
}

#[test]
fn what_was_last_known_of_a_lost_source_can_be_told() {
    let mut gateway = beating();
    send(&mut gateway, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    let told = |gateway: &Gateway| -> Vec<_> {
        let values = gateway.core.last_good_values();
        values.map(|(tag, value, _)| (tag, value.clone())).collect()
    };
    assert!(told(&gateway).is_empty(), "it is known");
    let good_at = gateway.core.last_good(SourceId(0));
    assert!(good_at.is_some());
    gateway.time = S;
    bad(&mut gateway, GOOD);
    assert_eq!(told(&gateway), [(GOOD, Value::UInt(1))]);
    let reason = "connection refused".into();
    gateway.batch(&[Notice::Offline { reason }], &[]);
    assert_eq!(told(&gateway), [(STATE, Value::Int(6)), (GOOD, Value::UInt(1))]);
    assert_eq!(gateway.core.last_good(SourceId(0)), good_at);
    // Another process knows it, too.
    let gateway = gateway.restart();
    assert_eq!(told(&gateway), [(STATE, Value::Int(6)), (GOOD, Value::UInt(1))]);
}

#[test]
fn heartbeat_that_never_came_stays_stopped_over_a_restart() {
    let mut gateway = beating();
    gateway.time = S;
    let mut gateway = gateway.restart();
    gateway.batch(&[Notice::Online(Continuity::Resumed), Notice::CaughtUp], &[]);
    let events = at(&mut gateway, 2 * S + S / 10);
    assert_eq!(
        one(&events)["state"],
        "Stale",
        "it counts from the session's begin"
    );
    let mut gateway = gateway.restart();
    let again = [Notice::Online(Continuity::Resumed), Notice::CaughtUp];
    assert!(gateway.batch(&again, &[]).is_empty(), "it never beat");
    let events = send(&mut gateway, &[(GOOD, Value::UInt(1))]);
    assert!(events.is_empty(), "the first value is no beat yet");
    let events = send(&mut gateway, &[(GOOD, Value::UInt(2))]);
    assert_eq!(one(&events)["state"], "Online");
}

/// The gap before a state that came while the heartbeat had stopped, after a restart or without one.
fn gap_of_a_held_state(is_restarted: bool) -> bool {
    let mut gateway = beating();
    send(&mut gateway, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    at(&mut gateway, 3 * S);
    for gap in [true, false] {
        let mut held = sample(STATE, Value::Int(4), Timestamp::from_nanos(gateway.time));
        held.gap = gap;
        gateway.try_batch(&[], &[held]);
    }
    if is_restarted {
        gateway = gateway.restart();
        gateway.batch(&[Notice::Online(Continuity::Resumed), Notice::CaughtUp], &[]);
    }
    let events = send(&mut gateway, &[(GOOD, Value::UInt(2))]);
    let told = data(events.last().unwrap());
    assert_eq!(told["state"], "Idle");
    told["gap"] == true
}

#[test]
fn gap_before_a_held_state_is_told() {
    assert!(gap_of_a_held_state(false));
    assert!(gap_of_a_held_state(true));
}

#[test]
fn heartbeat_resent_the_same_while_stopped() {
    let mut gateway = beating();
    send(&mut gateway, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    let events = at(&mut gateway, 3 * S);
    assert_eq!(
        names(&events),
        ["SourceConnectionChanged", "EquipmentStateChanged"],
        "stale"
    );
    send(&mut gateway, &[(GOOD, Value::UInt(1))]);
    at(&mut gateway, 6 * S);
    let mut all = Vec::new();
    for n in 0..20 {
        gateway.time += S;
        all.extend(send(&mut gateway, &[(GOOD, Value::UInt(10 + n))]));
    }
    assert!(!all.is_empty(), "it beats for 20 s and the source is Stale still");
}

#[test]
fn held_of_an_earlier_session_comes_back() {
    let mut gateway = beating();
    send(&mut gateway, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(4))]);
    at(&mut gateway, 3 * S); // stale
    send(&mut gateway, &[(STATE, Value::Int(6))]); // held
    gateway.time = 4 * S;
    offline(&mut gateway);
    gateway.time = 5 * S;
    gateway.notice(Notice::Online(Continuity::New));
    gateway.time = 6 * S;
    let events = send(&mut gateway, &[(GOOD, Value::UInt(2)), (STATE, Value::Int(3))]);
    assert_eq!(one(&events)["state"], "Starting");
    let events = at(&mut gateway, 9 * S); // stale
    assert_eq!(
        names(&events),
        ["SourceConnectionChanged", "EquipmentStateChanged"]
    );
    gateway.time = 10 * S;
    let events = send(&mut gateway, &[(GOOD, Value::UInt(3))]);
    assert_eq!(
        data(events.last().unwrap())["state"],
        "Starting",
        "{:#?}",
        show(&events)
    );
}

#[test]
fn valid_and_heartbeat() {
    let mut mapping = with(vec![rule(
        "r.m",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    )]);
    tag(&mut mapping, GOOD).heartbeat = Some(Duration::from_secs(2));
    mapping.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    let mut gateway = begin(mapping);
    send(
        &mut gateway,
        &[
            (GOOD, Value::UInt(1)),
            (ALARMS, Value::Bool(true)),
            (TEMPERATURE, float(20.0)),
        ],
    );
    at(&mut gateway, 3 * S); // stale
    send(&mut gateway, &[(TEMPERATURE, float(21.0))]);
    gateway.time = 4 * S;
    let mut events = send(&mut gateway, &[(GOOD, Value::UInt(2))]);
    events.extend(at(&mut gateway, 5 * S));
    assert!(
        events.iter().any(|events| data(events)["value"] == 21.0),
        "{:#?}",
        show(&events)
    );
}

#[test]
fn state_of_an_old_session_is_not_told_as_known() {
    let mut gateway = beating();
    send(&mut gateway, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    gateway.time = S;
    offline(&mut gateway);
    gateway.time = 2 * S;
    gateway.notice(Notice::Online(Continuity::New)); // STATE is not sent in this session
    at(&mut gateway, 5 * S); // no beat: stale
    let events = send(&mut gateway, &[(GOOD, Value::UInt(2))]);
    assert!(
        !names(&events).contains(&"EquipmentStateChanged"),
        "{:#?}",
        show(&events)
    );
}

#[test]
fn state_of_an_old_session_resumed() {
    let mut gateway = begin(with(vec![state_rule()]));
    send(&mut gateway, &[(STATE, Value::Int(6))]);
    gateway.time = S;
    offline(&mut gateway);
    gateway.time = 2 * S;
    gateway.notice(Notice::Online(Continuity::New));
    gateway.time = 3 * S;
    offline(&mut gateway);
    gateway.time = 4 * S;
    gateway.notice(Notice::Online(Continuity::Resumed));
    let events = gateway.notice(Notice::CaughtUp);
    assert!(
        !names(&events).contains(&"EquipmentStateChanged"),
        "{:#?}",
        show(&events)
    );
}

#[test]
fn engine_stall_is_no_stopped_heartbeat() {
    let mut gateway = beating();
    send(&mut gateway, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    // received at 1 s, evaluated at 10 s (the disk was full)
    gateway.time = 10 * S;
    let mut events = Vec::new();
    let now = gateway.now(0);
    let samples = [sample(GOOD, Value::UInt(2), Timestamp::from_nanos(S))];
    gateway.core.apply(
        Input {
            source: SourceId(0),
            received: Timestamp::from_nanos(S),
            notices: &[],
            samples: &samples,
            now,
        },
        &mut events,
    );
    assert!(events.is_empty(), "{:#?}", show(&events));
}

#[test]
fn heartbeat_quality_is_no_beat() {
    let mut gateway = beating();
    let mut all = Vec::new();
    for n in 0..10 {
        gateway.time += S;
        let mut samples = sample(GOOD, Value::UInt(1), Timestamp::from_nanos(gateway.time));
        if n % 2 == 1 {
            samples.quality = Quality::UNCERTAIN;
        }
        all.extend(gateway.try_batch(&[], &[samples]).0);
    }
    assert!(!all.is_empty(), "the value has been the same for 10 s");
}
