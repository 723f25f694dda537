//! What is told later is about the moment in which it happened.

use std::time::Duration;

use floorgate_core::plan::*;
use floorgate_sample::{Continuity, Notice, Quality, Sample, Timestamp, Value};

use super::probe::*;
use super::{ALARMS, GOOD, Gateway, ORDER, STATE, STATUS, TEMPERATURE, data, one, plan, sample};

#[test]
fn join_of_late_data_tells_its_own_values() {
    let spec = custom(
        Shape::Join {
            tags: 2,
            within: Duration::from_secs(2),
        },
        &[("t", 0)],
    );
    let mut gateway = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(0.0)), (GOOD, Value::UInt(0))]);
    gateway.time = 100 * S;
    let samples = [
        sample(TEMPERATURE, float(1.0), Timestamp::from_nanos(10 * S)),
        sample(TEMPERATURE, float(2.0), Timestamp::from_nanos(50 * S)),
    ];
    let events = gateway.try_batch(&[], &samples).0;
    assert_eq!(one(&events)["t"], 1.0, "{:#?}", show(&events));
}

#[test]
fn join_within_from_the_first() {
    let spec = custom(
        Shape::Join {
            tags: 3,
            within: Duration::from_secs(2),
        },
        &[],
    );
    let mut gateway = begin(with(vec![rule("r.j", &[TEMPERATURE, GOOD, ORDER], spec)]));
    send(
        &mut gateway,
        &[
            (TEMPERATURE, float(0.0)),
            (GOOD, Value::UInt(0)),
            (ORDER, Value::text("a")),
        ],
    );
    gateway.time = 100 * S;
    let samples = [
        sample(TEMPERATURE, float(1.0), Timestamp::from_nanos(10_000_000_000)),
        sample(GOOD, Value::UInt(1), Timestamp::from_nanos(11_500_000_000)),
        sample(ORDER, Value::text("b"), Timestamp::from_nanos(13_000_000_000)),
    ];
    let mut events = gateway.try_batch(&[], &samples).0;
    events.extend(at(&mut gateway, 200 * S));
    assert!(data(&events[0])["missing"].is_array(), "{:#?}", show(&events));
}

#[test]
fn join_ids_collide() {
    let spec = custom(
        Shape::Join {
            tags: 2,
            within: Duration::from_secs(2),
        },
        &[],
    );
    let mut gateway = begin(with(vec![rule("r.j", &[STATUS, ALARMS], spec)]));
    send(
        &mut gateway,
        &[(STATUS, Value::Bool(false)), (ALARMS, Value::Bool(false))],
    );
    let t = Timestamp::from_nanos(10 * S);
    gateway.time = 10 * S;
    let mut events = gateway.try_batch(&[], &[sample(STATUS, Value::Bool(true), t)]).0;
    events.extend(at(&mut gateway, 20 * S));
    events.extend(gateway.try_batch(&[], &[sample(ALARMS, Value::Bool(true), t)]).0);
    events.extend(at(&mut gateway, 30 * S));
    assert_eq!(events.len(), 2, "{:#?}", show(&events));
    assert_ne!(events[0].id, events[1].id, "{:#?}", show(&events));
}

#[test]
fn late_hold_tells_its_own_value() {
    let spec = custom(edge(above(), 10, true, false), &[("t", 0)]);
    let mut gateway = begin(with(vec![rule("r.h", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway.time = 100 * S;
    let samples = [
        sample(TEMPERATURE, float(90.0), Timestamp::from_nanos(10 * S)),
        sample(TEMPERATURE, float(30.0), Timestamp::from_nanos(50 * S)),
    ];
    let events = gateway.try_batch(&[], &samples).0;
    assert_eq!(one(&events)["t"], 90.0, "{:#?}", show(&events));
}

#[test]
fn snapshot_applies_the_mask() {
    let mut mapping = with(vec![rule(
        "r.s",
        &[STATE, GOOD],
        snap(&[1], Some(1), &[("n", 1)]),
    )]);
    tag(&mut mapping, GOOD).field = Some(BitField {
        mask: 0x0F00,
        shift: 8,
    });
    let mut gateway = begin(mapping);
    send(
        &mut gateway,
        &[(STATE, Value::Int(4)), (GOOD, Value::UInt(0x0755))],
    );
    gateway.core.take_requests();
    gateway.time = S;
    send(&mut gateway, &[(STATE, Value::Int(6))]);
    let id = gateway.core.take_requests()[0].id;
    let samples = [sample(GOOD, Value::UInt(0x0755), Timestamp::from_nanos(S))];
    let events = one(&answer(&mut gateway, id, &samples));
    assert_eq!(
        (&events["n"], &events["snapshot"]),
        (&7.into(), &"complete".into())
    );
}

#[test]
fn snapshot_of_a_bad_value_is_not_good() {
    let mapping = with(vec![rule("r.s", &[STATE, GOOD], snap(&[1], None, &[("n", 1)]))]);
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(STATE, Value::Int(4))]);
    let id = gateway.core.take_requests()[0].id;
    let mut samples = sample(GOOD, Value::UInt(7), Timestamp::from_nanos(S));
    samples.quality = Quality::BAD;
    let events = one(&answer(&mut gateway, id, &[samples]));
    assert_ne!(events["quality"]["class"], "good", "{events}");
}

#[test]
fn snapshot_tells_the_trigger_as_it_was() {
    let mapping = with(vec![rule(
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
    let mut gateway = begin(mapping);
    send(&mut gateway, &[(ORDER, Value::text("A"))]);
    gateway.core.take_requests();
    gateway.time = S;
    send(&mut gateway, &[(ORDER, Value::text("B"))]);
    let id = gateway.core.take_requests()[0].id;
    gateway.time += S / 10;
    send(&mut gateway, &[(ORDER, Value::text("C"))]);
    let samples = [sample(GOOD, Value::UInt(7), Timestamp::from_nanos(S))];
    let events = one(&answer(&mut gateway, id, &samples));
    assert_eq!((&events["from"], &events["to"]), (&"A".into(), &"B".into()));
}

#[test]
fn snapshot_belongs_to_the_run_of_its_trigger() {
    let mut mapping = plan();
    mapping.rules.truncate(1);
    let mut added = rule("r.s", &[ALARMS, GOOD], snap(&[1], None, &[]));
    added.run = Some(RuleId(0));
    mapping.rules.push(added);
    let mut gateway = begin(mapping);
    send(
        &mut gateway,
        &[
            (ORDER, Value::text("WO-1")),
            (STATUS, Value::Int(3)),
            (ALARMS, Value::Bool(false)),
        ],
    );
    gateway.core.take_requests();
    gateway.time = S;
    send(&mut gateway, &[(ALARMS, Value::Bool(true))]);
    let id = gateway.core.take_requests()[0].id;
    gateway.time += S / 10;
    send(
        &mut gateway,
        &[(ORDER, Value::text("WO-2")), (STATUS, Value::Int(3))],
    );
    gateway.time += S / 10;
    send(&mut gateway, &[(STATUS, Value::Int(1))]);
    gateway.time += S / 10;
    send(&mut gateway, &[(STATUS, Value::Int(3))]);
    let samples = [sample(GOOD, Value::UInt(7), Timestamp::from_nanos(S))];
    let events = one(&answer(&mut gateway, id, &samples));
    assert_eq!(events["workOrderId"], "WO-1", "{events}");
}

#[test]
fn window_of_counts_belongs_to_its_run() {
    let mut mapping = plan();
    mapping.rules.truncate(1);
    let kind = RuleKind::ProductionCount {
        event: CountEvent::Production("good".into()),
        unit: "C62".into(),
        reset: None,
    };
    let mut added = rule(
        "r.c",
        &[GOOD],
        RuleSpec {
            shape: Shape::Window(WindowSpec {
                every: Duration::from_mins(15),
                value: Aggregate::Mean,
            }),
            ..RuleSpec::of(kind)
        },
    );
    added.run = Some(RuleId(0));
    mapping.rules.push(added);
    let mut gateway = begin(mapping);
    send(
        &mut gateway,
        &[
            (ORDER, Value::text("WO-1")),
            (STATUS, Value::Int(3)),
            (GOOD, Value::UInt(0)),
        ],
    );
    gateway.time = 10 * S;
    send(&mut gateway, &[(GOOD, Value::UInt(500))]);
    gateway.time = 890 * S;
    send(&mut gateway, &[(STATUS, Value::Int(5))]);
    gateway.time = 891 * S;
    send(
        &mut gateway,
        &[(ORDER, Value::text("WO-2")), (STATUS, Value::Int(1))],
    );
    gateway.time = 892 * S;
    send(&mut gateway, &[(STATUS, Value::Int(3))]);
    let events = at(&mut gateway, 901 * S);
    let events = one(&events);
    assert_ne!(
        events["workOrderId"], "WO-2",
        "500 pieces of WO-1 are told as WO-2's: {events}"
    );
}

#[test]
fn most_waiting_is_a_bound() {
    let mapping = with(vec![rule("r.s", &[GOOD, ORDER], snap(&[1], None, &[]))]);
    let mut gateway = begin(mapping);
    gateway.time = S;
    let samples: Vec<Sample> = (0..1000)
        .map(|n| sample(GOOD, Value::UInt(n), Timestamp::from_nanos(S + n.cast_signed())))
        .collect();
    gateway.try_batch(&[], &samples);
    gateway.advance();
    let cell = &gateway.cells["rule:r.s"];
    assert!(
        cell.matches("\"due\"").count() <= 16,
        "{} wait, a cell of {} bytes",
        cell.matches("\"due\"").count(),
        cell.len()
    );
}

#[test]
fn asked_again_is_stored() {
    let mut gateway = begin(with(vec![rule("r.s", &[STATE, GOOD], snap(&[1], None, &[]))]));
    send(&mut gateway, &[(STATE, Value::Int(4))]);
    let run = |mut gateway: Gateway, restart: bool| {
        gateway.time = 2 * S;
        gateway.notice(Notice::Offline { reason: "x".into() });
        gateway.time = 3 * S;
        gateway.notice(Notice::Online(Continuity::Resumed));
        gateway.time = 4 * S;
        gateway.notice(Notice::Offline { reason: "x".into() });
        if restart {
            gateway.time = 5 * S;
            gateway = gateway.restart();
        }
        at(&mut gateway, 60 * S)
    };
    let mut other = begin(with(vec![rule("r.s", &[STATE, GOOD], snap(&[1], None, &[]))]));
    send(&mut other, &[(STATE, Value::Int(4))]);
    let (a, b) = (run(gateway, false), run(other, true));
    assert_eq!(one(&a)["gap"], one(&b)["gap"]);
}

#[test]
fn valid_tag_snapshot() {
    let mut mapping = with(vec![rule(
        "r.s",
        &[STATE, TEMPERATURE],
        snap(&[1], None, &[("t", 1)]),
    )]);
    mapping.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    let mut gateway = begin(mapping);
    send(
        &mut gateway,
        &[(ALARMS, Value::Bool(false)), (STATE, Value::Int(4))],
    );
    let id = gateway.core.take_requests()[0].id;
    let events = one(&answer(
        &mut gateway,
        id,
        &[sample(TEMPERATURE, float(5.0), Timestamp::from_nanos(S))],
    ));
    assert!(events["t"].is_null(), "{events}");
}

/// A device whose clock is set back, and loses its battery: its own order counts, and its times stay as they came.
#[test]
fn a_clock_that_goes_backwards_changes_the_order_of_nothing() {
    let mut gateway = begin(plan());
    gateway.time = 100 * S;
    send(&mut gateway, &[(GOOD, Value::UInt(0)), (STATE, Value::Int(4))]);
    gateway.time = 110 * S;
    let battery = 0; // 1970
    let batches = [
        vec![(GOOD, Value::UInt(1), 101), (GOOD, Value::UInt(2), 41)],
        vec![(GOOD, Value::UInt(3), 40), (STATE, Value::Int(6), 39)],
        vec![(STATE, Value::Int(4), battery), (GOOD, Value::UInt(4), battery)],
        // A state of now before one that the battery took the time of.
        vec![(STATE, Value::Int(6), 102), (STATE, Value::Int(4), battery)],
        // It counts from there, each time alike.
        vec![
            (STATE, Value::Int(6), 5),
            (STATE, Value::Int(4), battery),
            (STATE, Value::Int(6), 5),
        ],
        vec![
            (STATE, Value::Int(4), battery),
            (STATE, Value::Int(6), 5),
            (STATE, Value::Int(4), battery),
        ],
    ];
    let (mut counts, mut states) = (Vec::new(), Vec::new());
    let mut ids = Vec::new();
    for batch in batches {
        let samples: Vec<Sample> = batch
            .into_iter()
            .map(|(tag, value, at)| sample(tag, value, Timestamp::from_nanos(at * S)))
            .collect();
        for event in gateway.batch(&[], &samples) {
            let (data, at) = (data(&event), event.time.as_nanos() / S);
            assert_ne!(data["gap"], true, "{data}");
            match &*event.name {
                "EquipmentStateChanged" => states.push((data["state"].clone(), at)),
                _ => counts.push((data["rawValue"].clone(), data["delta"].clone(), at)),
            }
            ids.push(event.id);
        }
    }
    let counted = [(1, 101), (2, 41), (3, 40), (4, battery)];
    assert_eq!(counts, counted.map(|(value, at)| (value.into(), 1.into(), at)));
    let told = [
        ("Execute", 39),
        ("Idle", battery),
        ("Execute", 102),
        ("Idle", battery),
        ("Execute", 5),
        ("Idle", battery),
        ("Execute", 5),
        ("Idle", battery),
        ("Execute", 5),
        ("Idle", battery),
    ];
    assert_eq!(states, told.map(|(state, at)| (state.into(), at)));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 14, "each happened once");
}
