//! How long a state lasted.

use floorgate_sample::{Quality, Sample, Timestamp, Value};
use serde_json::{Value as Json, json};

use super::{Gateway, STATE, one, online, sample};

fn state(gateway: &mut Gateway, second: i64, raw: i64, quality: Quality, gap: bool) -> Json {
    let sample = Sample {
        quality,
        gap,
        ..sample(
            STATE,
            Value::Int(raw),
            Timestamp::from_nanos(second * 1_000_000_000),
        )
    };
    one(&gateway.batch(&[], &[sample]))
}

#[test]
fn another_quality_of_a_state_does_not_end_it() {
    let mut gateway = online();
    state(&mut gateway, 1, 6, Quality::GOOD, false);
    let event = state(&mut gateway, 3, 6, Quality::UNCERTAIN, false);
    assert_eq!(event["quality"]["class"], "uncertain");
    assert_eq!(
        (
            &event["state"],
            &event["previousState"],
            &event["previousDurationMs"]
        ),
        (&json!("Execute"), &json!("Execute"), &Json::Null)
    );
    state(&mut gateway, 4, 6, Quality::GOOD, false);
    let event = state(&mut gateway, 6, 11, Quality::GOOD, false);
    assert_eq!(event["previousDurationMs"], 5000);
}

#[test]
fn after_a_gap_a_state_is_known_to_last_from_there_only() {
    let mut gateway = online();
    state(&mut gateway, 1, 6, Quality::GOOD, false);
    let event = state(&mut gateway, 3, 6, Quality::UNCERTAIN, true);
    assert_eq!(event["previousDurationMs"], Json::Null);
    let event = state(&mut gateway, 4, 11, Quality::GOOD, false);
    assert_eq!(event["previousDurationMs"], 1000);
}
