//! Windows: the time that they stand for.

use std::time::Duration;

use floorgate_core::plan::*;
use floorgate_core::Event;
use floorgate_sample::{Continuity, Notice};

use serde_json::Value as Json;

use super::probe::*;
use super::{Gateway, TEMPERATURE, data};

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
