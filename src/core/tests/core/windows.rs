//! Windows: the time that they stand for.

use std::time::Duration;

use floorgate_core::plan::*;
use floorgate_core::{Event, Input};
use floorgate_sample::{Continuity, Notice, SourceId, Timestamp};
use serde_json::Value as Json;

use super::probe::*;
use super::{Gateway, TEMPERATURE, data, sample};

/// A measurement of windows that long.
fn measured(seconds: u64, value: Aggregate) -> Gateway {
    let spec = RuleSpec {
        shape: Shape::Window(WindowSpec {
            every: Duration::from_secs(seconds),
            value,
        }),
        ..RuleSpec::of(RuleKind::Measurement { name: "t".into() })
    };
    let mut gateway = begin(with(vec![rule("r.m", &[TEMPERATURE], spec)]));
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    gateway
}

fn of_windows(events: &[Event]) -> impl Iterator<Item = Json> {
    let told = events
        .iter()
        .filter(|event| &*event.name != "SourceConnectionChanged");
    told.map(data)
}

#[test]
fn windows_in_which_nobody_watched() {
    let run = |restarts: bool| {
        let mut gateway = measured(10, Aggregate::Mean);
        gateway.time = 5 * S;
        offline(&mut gateway);
        gateway.time = 65 * S;
        gateway.notice(Notice::Online(Continuity::New));
        if restarts {
            gateway = gateway.restart();
            gateway.notice(Notice::Online(Continuity::Resumed));
            gateway.notice(Notice::CaughtUp);
        }
        let mut events = send(&mut gateway, &[(TEMPERATURE, float(80.0))]);
        events.extend(at(&mut gateway, 91 * S));
        of_windows(&events)
            .map(|event| (event["gap"] == true, event["quality"]["class"] == "good"))
            .collect::<Vec<_>>()
    };
    let mut expected = vec![(true, true)];
    expected.extend([(true, false); 6]);
    expected.extend([(false, true); 2]);
    assert_eq!(run(false), expected, "nobody knows what was between 5 s and 65 s");
    assert_eq!(run(true), expected);
}

/// Takes values each half minute, received then and looked at only now.
fn take_held(gateway: &mut Gateway, numbers: std::ops::RangeInclusive<i32>) -> Vec<Event> {
    let mut events = Vec::new();
    for number in numbers {
        gateway.time += S / 100;
        let now = gateway.now(0);
        let received = Timestamp::from_nanos(i64::from(number) * 30 * S);
        let samples = [sample(TEMPERATURE, float(f64::from(number)), received)];
        let input = Input {
            source: SourceId(0),
            received,
            notices: &[],
            samples: &samples,
            now,
        };
        gateway.core.apply(input, &mut events);
    }
    gateway.store();
    events
}

#[test]
fn windows_of_held_batches() {
    let run = |restarts: bool| {
        let mut gateway = measured(60, Aggregate::Max);
        // An hour of a full disk.
        gateway.time = 3600 * S;
        let mut events = take_held(&mut gateway, 1..=3);
        if restarts {
            gateway = gateway.restart();
        }
        events.extend(take_held(&mut gateway, 4..=6));
        of_windows(&events)
            .map(|event| (event["from"].clone(), event["to"].clone(), event["value"].clone()))
            .collect::<Vec<_>>()
    };
    let told = |from: &str, to: &str, value: f64| {
        let time = |time: &str| format!("1970-01-01T00:{time}Z").into();
        (time(from), time(to), value.into())
    };
    let expected: Vec<(Json, Json, Json)> = vec![
        told("00:00.005", "01:00.000", 20.0),
        told("01:00.000", "02:00.000", 3.0),
        told("02:00.000", "03:00.000", 5.0),
    ];
    assert_eq!(run(false), expected);
    assert_eq!(run(true), expected);
}
