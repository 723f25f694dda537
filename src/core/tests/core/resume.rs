//! A source that kept what happened between two processes: the second goes on as if there had been one.

use std::sync::Arc;

use fastrand::Rng;
use floorgate_core::Event;
use floorgate_core::plan::{Deadband, Field, Plan, Slot};
use floorgate_sample::{Continuity, GapScope, Notice, Quality, Sample, TagId, Value};

use super::{ALARMS, GOOD, Gateway, ORDER, STATE, STATUS, TEMPERATURE, data, online, plan};

/// Histories that are tried.
const HISTORIES: u64 = 600;
/// What happens in one.
const STEPS: usize = 30;

const TAGS: [TagId; 6] = [ORDER, STATUS, STATE, GOOD, ALARMS, TEMPERATURE];

/// A batch of the source.
#[derive(Clone, Debug)]
pub struct Step(pub Vec<Notice>, pub Vec<Sample>);

fn value(tag: TagId, random: &mut Rng) -> Value {
    match tag {
        ORDER => Value::text(["", "WO-1", "WO-2"][random.usize(..3)]),
        STATUS => Value::Int(random.i64(..8)),
        STATE => Value::Int(random.i64(..12)),
        GOOD => Value::UInt(random.u64(..6) * 20_000 % 65_536),
        ALARMS => Value::UInt(random.u64(..4)),
        // Its deadband is 1.5.
        _ => Value::Float64(f64::from(random.u8(..8))),
    }
}

/// The plan with a deadband, and a rule that shows the latest value of that tag.
pub fn with_deadband() -> Plan {
    let mut plan = plan();
    let spec = Arc::get_mut(&mut plan.tags[TEMPERATURE.index()].spec).unwrap();
    spec.deadband = Some(Deadband { absolute: 1.5 });
    let rule = plan
        .rules
        .iter_mut()
        .find(|rule| rule.inputs[0] == STATE)
        .unwrap();
    rule.inputs = [STATE, TEMPERATURE].into();
    let spec = Arc::get_mut(&mut rule.spec).unwrap();
    spec.data = vec![("temperature".into(), Field::Input(Slot(1)))];
    plan
}

/// Values of some of the tags, one of a number on average, and not all of them good.
fn samples(gateway: &mut Gateway, random: &mut Rng, one_of: u8) -> Vec<Sample> {
    let mut values = Vec::new();
    for tag in TAGS {
        if random.u8(..one_of) == 0 {
            values.push((tag, value(tag, random)));
        }
    }
    let mut samples = gateway.moment(&values);
    for sample in &mut samples {
        sample.gap = random.u8(..15) == 0;
        if random.u8(..8) == 0 {
            (sample.value, sample.quality) = (None, Quality::BAD);
        }
    }
    samples
}

pub fn step(gateway: &mut Gateway, random: &mut Rng, online: &mut bool) -> Step {
    let reason = "test".into();
    if !std::mem::replace(online, true) {
        if random.bool() {
            return Step(vec![Notice::Online(Continuity::Resumed)], Vec::new());
        }
        // A source that begins anew sends everything; before it has, it says nothing of where it was.
        let notices = vec![Notice::Online(Continuity::New)];
        return Step(notices, samples(gateway, random, 1));
    }
    let notice = match random.u8(..20) {
        0 => Notice::Gap {
            scope: GapScope::Source,
            reason,
        },
        1 => Notice::Gap {
            scope: GapScope::Tags(vec![STATE, GOOD]),
            reason,
        },
        2 => {
            *online = false;
            Notice::Offline { reason }
        }
        3 => Notice::CaughtUp,
        _ => return Step(Vec::new(), samples(gateway, random, 3)),
    };
    Step(vec![notice], Vec::new())
}

fn apply(gateway: &mut Gateway, Step(notices, samples): &Step) -> Vec<Event> {
    gateway.try_batch(notices, samples).0
}

fn told(events: &[Event]) -> Vec<(String, String, String, String)> {
    let of = |event: &Event| {
        let mut data = data(event);
        if let Some(fields) = data.as_object_mut() {
            // It is stored once a minute.
            fields.remove("lastGoodAt");
        }
        (
            event.id.to_string(),
            event.shared_headers.to_string(),
            event.headers.clone(),
            data.to_string(),
        )
    };
    events.iter().map(of).collect()
}

pub fn same(whole: &[Event], parted: &[Event], when: &str) {
    let (whole, parted) = (told(whole), told(parted));
    for (one, other) in whole.iter().zip(&parted) {
        assert_eq!(one, other, "{when}");
    }
    let kinds = |told: &[(String, String, String, String)]| -> Vec<String> {
        told.iter().map(|(.., data)| data.clone()).collect()
    };
    assert_eq!(
        whole.len(),
        parted.len(),
        "{when}: {:#?} and {:#?}",
        kinds(&whole),
        kinds(&parted)
    );
}

#[test]
fn whatever_happened_a_restart_that_misses_nothing_changes_no_event() {
    for seed in 0..HISTORIES {
        let mut random = Rng::with_seed(seed);
        let mut whole = Gateway::of(with_deadband());
        let mut parted = Gateway::of(with_deadband());
        let mut is_online = true;
        for number in 0..STEPS {
            let step = step(&mut whole, &mut random, &mut is_online);
            parted.time = whole.time;
            let (one, other) = (apply(&mut whole, &step), apply(&mut parted, &step));
            same(&one, &other, &format!("seed {seed}, step {number}: {step:?}"));
            if random.u8(..6) == 0 {
                parted = parted.restart();
                if is_online {
                    let again = [Notice::Online(Continuity::Resumed), Notice::CaughtUp];
                    // In one process nothing would have been behind.
                    let behind = [Notice::CaughtUp];
                    let caught_up = whole.try_batch(&behind, &[]).0;
                    let resumed = parted.try_batch(&again, &[]).0;
                    assert_eq!(
                        told(&caught_up),
                        told(&resumed),
                        "seed {seed}, after step {number}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_gap_that_was_not_told_is_told_by_the_next_process() {
    let mut gateway = online();
    gateway.tick(&[(GOOD, Value::UInt(10)), (STATE, Value::Int(6))]);
    gateway.notice(Notice::Gap {
        scope: GapScope::Tags(vec![GOOD]),
        reason: "test".into(),
    });
    let mut gateway = gateway.restart();
    gateway.notice(Notice::Online(Continuity::Resumed));
    let events = gateway.tick(&[(GOOD, Value::UInt(12)), (STATE, Value::Int(11))]);
    let gaps: Vec<_> = events.iter().map(|event| data(event)["gap"] == true).collect();
    assert_eq!(gaps, [true, false], "the count has one, the state has none");
}

#[test]
fn without_the_sources_memory_the_time_between_is_a_gap() {
    let mut gateway = online();
    gateway.tick(&[(GOOD, Value::UInt(10))]);
    let mut gateway = gateway.restart();
    gateway.notice(Notice::Online(Continuity::New));
    let events = gateway.tick(&[(GOOD, Value::UInt(12))]);
    assert_eq!(data(&events[0])["gap"], true);
    // And it is not told twice.
    let mut gateway = gateway.restart();
    gateway.notice(Notice::Online(Continuity::Resumed));
    let events = gateway.tick(&[(GOOD, Value::UInt(13))]);
    assert_eq!(data(&events[0])["gap"], serde_json::Value::Null);
}
