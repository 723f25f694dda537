//! What comes late tag by tag, and by clocks that are not the gateway's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_core::Event;
use floorgate_core::plan::*;
use floorgate_sample::{Continuity, Notice, Quality, Sample, SourceId, TagId, Timestamp, Value};

use super::probe::*;
use super::{ALARMS, GOOD, Gateway, STATE, TEMPERATURE, data, sample};

/// A gateway with a rule of a temperature that has to stay above for some seconds.
fn holding(hold: u64) -> Gateway {
    let spec = custom(edge(above(), hold, true, false), &[]);
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(
        &mut gateway,
        &[(TEMPERATURE, float(20.0)), (GOOD, Value::UInt(1))],
    );
    gateway.time = S;
    gateway
}

/// The source is lost, and there again later with what it kept.
fn away(gateway: &mut Gateway, from: i64, until: i64) -> Vec<Event> {
    gateway.time = from;
    let mut events = offline(gateway);
    gateway.time = until;
    events.extend(gateway.notice(Notice::Online(Continuity::Resumed)));
    events
}

fn late(gateway: &mut Gateway, tag: TagId, value: Value, time: i64) -> Vec<Event> {
    let sample = sample(tag, value, Timestamp::from_nanos(time));
    gateway.try_batch(&[], &[sample]).0
}

/// The source has caught up, and time passes.
fn caught_up(gateway: &mut Gateway, until: i64) -> Vec<Event> {
    let mut events = gateway.notice(Notice::CaughtUp);
    events.extend(at(gateway, until));
    events
}

/// What was told but for connections.
fn told(events: &[Event]) -> Vec<String> {
    let of_rules = events
        .iter()
        .filter(|event| &*event.name != "SourceConnectionChanged");
    show(&of_rules.cloned().collect::<Vec<_>>())
}

#[test]
fn a_late_change_of_another_tag_says_nothing_of_what_holds() {
    let mut gateway = holding(10);
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    away(&mut gateway, 2 * S, 100 * S);
    let mut events = late(&mut gateway, GOOD, Value::UInt(5), 60 * S);
    events.extend(late(&mut gateway, TEMPERATURE, float(20.0), 3 * S));
    events.extend(caught_up(&mut gateway, 200 * S));
    assert!(told(&events).is_empty(), "it held for 2 s: {:#?}", told(&events));
}

#[test]
fn what_held_for_long_enough_is_told_of_late_changes_of_its_own() {
    let mut gateway = holding(10);
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    away(&mut gateway, 2 * S, 100 * S);
    let mut events = late(&mut gateway, GOOD, Value::UInt(5), 60 * S);
    assert!(events.is_empty(), "{:#?}", show(&events));
    events.extend(late(&mut gateway, TEMPERATURE, float(20.0), 30 * S));
    assert_eq!(told(&events).len(), 1, "it held for 29 s");
}

#[test]
fn a_late_change_of_another_tag_stops_no_heartbeat() {
    let mut mapping = with(vec![state_rule()]);
    tag(&mut mapping, GOOD).heartbeat = Some(Duration::from_secs(5));
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(GOOD, Value::UInt(1)), (STATE, Value::Int(6))]);
    away(&mut gateway, 2 * S, 30 * S);
    let mut events = Vec::new();
    for beat in 1..15 {
        events.extend(late(
            &mut gateway,
            GOOD,
            Value::UInt(1 + beat),
            2 * S * beat.cast_signed(),
        ));
        events.extend(late(&mut gateway, STATE, Value::Int(4), 29 * S));
    }
    events.extend(caught_up(&mut gateway, 31 * S));
    assert!(
        events.iter().all(|event| data(event)["state"] != "Stale"),
        "{:#?}",
        show(&events)
    );
}

#[test]
fn a_late_change_of_another_tag_makes_nothing_missing() {
    let shape = Shape::Join {
        tags: 2,
        within: Duration::from_secs(10),
    };
    let spec = custom(shape, &[("t", 0), ("g", 1)]);
    let mut gateway = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD], spec)]));
    send(
        &mut gateway,
        &[
            (TEMPERATURE, float(20.0)),
            (GOOD, Value::UInt(1)),
            (ALARMS, Value::UInt(0)),
        ],
    );
    gateway.time = S;
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    away(&mut gateway, 2 * S, 100 * S);
    let mut events = late(&mut gateway, ALARMS, Value::UInt(2), 60 * S);
    events.extend(late(&mut gateway, GOOD, Value::UInt(2), 3 * S));
    events.extend(caught_up(&mut gateway, 200 * S));
    let told = told(&events);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(!told[0].contains("missing"), "{told:#?}");
}

#[test]
fn a_late_change_of_another_tag_makes_no_sequence_too_slow() {
    let states = ["Idle", "Starting"].map(Arc::from).into();
    let shape = Shape::Expect {
        states,
        within: Duration::from_secs(5),
    };
    let mut gateway = begin(with(vec![rule("r.e", &[STATE], custom(shape, &[]))]));
    send(&mut gateway, &[(STATE, Value::Int(6)), (GOOD, Value::UInt(1))]);
    gateway.time = S;
    send(&mut gateway, &[(STATE, Value::Int(4))]);
    away(&mut gateway, 2 * S, 100 * S);
    let mut events = late(&mut gateway, GOOD, Value::UInt(2), 60 * S);
    events.extend(late(&mut gateway, STATE, Value::Int(3), 3 * S));
    events.extend(caught_up(&mut gateway, 200 * S));
    assert!(told(&events).is_empty(), "{:#?}", told(&events));
}

#[test]
fn a_late_change_without_a_time_lets_none_pass() {
    let mut gateway = holding(10);
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    away(&mut gateway, 2 * S, 100 * S);
    let mut other = sample(ALARMS, Value::Int(1), Timestamp::from_nanos(0));
    (other.source_time, other.value, other.quality) = (None, None, Quality::BAD);
    let fell = sample(TEMPERATURE, float(20.0), Timestamp::from_nanos(3 * S));
    let mut events = gateway.try_batch(&[], &[fell, other]).0;
    events.extend(caught_up(&mut gateway, 200 * S));
    assert!(told(&events).is_empty(), "it held for 2 s: {:#?}", told(&events));
}

#[test]
fn a_late_change_without_a_source_time_is_of_the_time_at_which_the_server_took_it() {
    let mut gateway = holding(10);
    away(&mut gateway, 2 * S, 100 * S);
    let rises = |server| {
        let mut sample = sample(TEMPERATURE, float(90.0), Timestamp::from_nanos(0));
        (sample.source_time, sample.server_time) = (None, server);
        sample
    };
    let mut events = gateway
        .try_batch(&[], &[rises(Some(Timestamp::from_nanos(95 * S)))])
        .0;
    events.extend(caught_up(&mut gateway, 104 * S));
    assert!(told(&events).is_empty(), "{:#?}", told(&events));
    events.extend(at(&mut gateway, 106 * S));
    assert_eq!(told(&events).len(), 1, "it is above since 95 s");
}

/// A sample by a clock that is so far ahead of the gateway's, or behind it.
fn by(clock: i64, gateway: &Gateway, tag: TagId, value: Value) -> Sample {
    sample(tag, value, Timestamp::from_nanos(gateway.time + clock))
}

#[test]
fn a_late_change_of_a_clock_that_is_ahead_is_of_the_time_at_which_it_happened() {
    for restarts in [false, true] {
        let mut gateway = holding(20);
        let begins = by(30 * S, &gateway, TEMPERATURE, float(90.0));
        gateway.try_batch(&[], &[begins]);
        gateway.time = 2 * S;
        offline(&mut gateway);
        if restarts {
            gateway = gateway.restart();
        }
        gateway.time = 100 * S;
        gateway.notice(Notice::Online(Continuity::Resumed));
        let mut events = late(&mut gateway, TEMPERATURE, float(20.0), 36 * S);
        events.extend(caught_up(&mut gateway, 200 * S));
        assert!(told(&events).is_empty(), "it held for 5 s: {:#?}", told(&events));
    }
}

#[test]
fn what_begins_late_by_a_clock_that_is_behind_has_not_held_since_before_the_source_was_lost() {
    let mut gateway = holding(60);
    away(&mut gateway, 1000 * S, 1010 * S);
    let mut events = late(&mut gateway, TEMPERATURE, float(90.0), 889 * S);
    events.extend(caught_up(&mut gateway, 1015 * S));
    assert!(told(&events).is_empty(), "{:#?}", told(&events));
    events.extend(at(&mut gateway, 1071 * S));
    assert_eq!(told(&events).len(), 1, "{:#?}", told(&events));
}

#[test]
fn a_late_heartbeat_of_a_clock_that_is_behind_is_of_the_time_at_which_it_beat() {
    let mut mapping = with(vec![state_rule()]);
    tag(&mut mapping, GOOD).heartbeat = Some(Duration::from_secs(5));
    let mut gateway = begin(mapping);
    let clock = -20 * S;
    for beat in 100..110 {
        gateway.time = beat * S;
        let beats = by(clock, &gateway, GOOD, Value::UInt(beat.unsigned_abs()));
        let state = by(clock, &gateway, STATE, Value::Int(6));
        gateway.try_batch(&[], &[beats, state]);
    }
    away(&mut gateway, 110 * S, 112 * S);
    let mut events = late(&mut gateway, GOOD, Value::UInt(112), 112 * S + clock);
    events.extend(caught_up(&mut gateway, 112 * S + S / 2));
    assert!(
        events.iter().all(|event| data(event)["state"] != "Stale"),
        "it beat half a second ago: {:#?}",
        show(&events)
    );
}

#[test]
fn a_value_that_is_old_when_it_is_first_sent_says_nothing_of_clocks() {
    let mut gateway = holding(10);
    send(&mut gateway, &[(TEMPERATURE, float(30.0))]);
    gateway.time = 1000 * S;
    late(&mut gateway, STATE, Value::Int(6), 2 * S);
    away(&mut gateway, 1001 * S, 1100 * S);
    let mut events = late(&mut gateway, TEMPERATURE, float(90.0), 1095 * S);
    events.extend(caught_up(&mut gateway, 1106 * S));
    assert_eq!(told(&events).len(), 1, "it is above since 1095 s");
}

#[test]
fn a_single_value_with_a_time_of_its_own_says_nothing_of_clocks() {
    let mut gateway = holding(10);
    for second in 1000..1005 {
        gateway.time = second * S;
        let high = second % 2 == 0;
        send(
            &mut gateway,
            &[(TEMPERATURE, float(if high { 90.0 } else { 20.0 }))],
        );
    }
    late(&mut gateway, GOOD, Value::UInt(2), 2 * S);
    away(&mut gateway, 1005 * S, 1100 * S);
    let mut events = late(&mut gateway, TEMPERATURE, float(20.0), 1006 * S);
    events.extend(caught_up(&mut gateway, 1200 * S));
    assert!(told(&events).is_empty(), "it held for 2 s: {:#?}", told(&events));
}

#[test]
fn a_device_that_does_not_know_the_year_is_taken_at_its_pace() {
    let year = 365 * 86_400 * S;
    let spec = custom(edge(above(), 600, true, false), &[]);
    let mapping = with(vec![rule("r.h", &[TEMPERATURE], spec)]);
    let mut gateway = Gateway::start(Arc::new(mapping), HashMap::new());
    gateway.time = 50 * year;
    gateway.started = Some(gateway.time);
    gateway.notice(Notice::Online(Continuity::New));
    late(&mut gateway, TEMPERATURE, float(20.0), 5 * S);
    let (lost, back) = (gateway.time + 10 * S, gateway.time + 20 * S);
    away(&mut gateway, lost, back);
    let mut events = late(&mut gateway, TEMPERATURE, float(90.0), 22 * S);
    events.extend(caught_up(&mut gateway, back + S));
    assert!(told(&events).is_empty(), "{:#?}", told(&events));
}

/// A plan of many measurements, each with a window of a minute.
fn many_windows(number: u32) -> Plan {
    let mut mapping = with(Vec::new());
    mapping.tags.clear();
    for index in 0..number {
        mapping.tags.push(Tag {
            key: format!("line/{index}").into(),
            address: 0,
            source: SourceId(0),
            valid: None,
            spec: Arc::new(TagSpec {
                name: "t".into(),
                ..TagSpec::default()
            }),
        });
        let shape = Shape::Window(WindowSpec {
            every: Duration::from_mins(1),
            value: Aggregate::Mean,
        });
        let spec = RuleSpec {
            shape,
            ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
        };
        mapping
            .rules
            .push(rule(&format!("r.{index}"), &[TagId(index)], spec));
    }
    mapping
}

#[test]
fn what_an_outage_of_hours_left_is_told_in_parts() {
    let mut gateway = begin(many_windows(100));
    let values: Vec<_> = (0..100).map(|tag| (TagId(tag), float(1.0))).collect();
    send(&mut gateway, &values);
    away(&mut gateway, S, 5 * 3600 * S);
    gateway.notice(Notice::CaughtUp);
    let mut parts = Vec::new();
    while gateway
        .core
        .next_deadline()
        .is_some_and(|due| due <= gateway.now(0).monotonic)
    {
        parts.push(gateway.advance().len());
    }
    assert!(parts.iter().all(|part| *part <= 5_000), "{parts:?}");
    assert_eq!(parts.iter().sum::<usize>(), 100 * 300, "{parts:?}");
}

#[test]
fn a_longest_silence_in_which_the_engine_stood_still_is_told_once() {
    let mut mapping = with(Vec::new());
    mapping.rules = vec![rule(
        "r.t",
        &[TEMPERATURE],
        RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
    )];
    tag(&mut mapping, TEMPERATURE).at_least_every = Some(Duration::from_mins(1));
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway.time = 3600 * S;
    let events = gateway.advance();
    assert_eq!(events.len(), 1, "{:#?}", show(&events));
    let events = at(&mut gateway, 3661 * S);
    assert_eq!(events.len(), 1, "{:#?}", show(&events));
}

#[test]
fn what_happened_before_a_process_that_began_without_the_source_is_taken_as_of_its_time() {
    let told_of = |is_restarted: bool| {
        let hold = custom(edge(above(), 10, true, false), &[]);
        let window = custom(
            Shape::Window(WindowSpec {
                every: Duration::from_hours(1),
                value: Aggregate::Last,
            }),
            &[],
        );
        let rules = vec![rule("r.h", &[TEMPERATURE], hold), rule("r.w", &[GOOD], window)];
        let mut gateway = begin(with(rules));
        send(
            &mut gateway,
            &[(TEMPERATURE, float(20.0)), (GOOD, Value::UInt(1))],
        );
        gateway.time = 10 * S;
        offline(&mut gateway);
        // Its clock is stored long after the loss, since something waits.
        gateway.time = 100 * S;
        gateway.advance();
        if is_restarted {
            gateway = gateway.restart();
        }
        gateway.notice(Notice::Online(Continuity::Resumed));
        late(&mut gateway, TEMPERATURE, float(90.0), 40 * S);
        told(&caught_up(&mut gateway, 101 * S))
    };
    let events = told_of(false);
    assert_eq!(events.len(), 1, "it has held for a minute: {events:#?}");
    assert_eq!(events, told_of(true));
}
