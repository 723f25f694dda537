use super::*;
use crate::plan::Deadband;

fn sample(value: impl Into<Option<f64>>, quality: Quality) -> Sample {
    Sample {
        tag: TagId(0),
        value: value.into().map(Value::Float64),
        quality,
        source_time: Some(Timestamp::from_nanos(1)),
        server_time: None,
        gap: false,
    }
}

/// What one sample means.
fn one(spec: &TagSpec, state: &mut TagState, sample: &Sample, gaps: u32) -> Option<Change> {
    let arrival = Arrival {
        clock: Duration::ZERO,
        received: Timestamp::from_nanos(2),
        gaps,
    };
    let mut changes = Vec::new();
    detect(spec, state, sample, arrival, &mut changes);
    assert!(changes.len() < 2, "{changes:?}");
    changes.pop()
}

fn causes(spec: &TagSpec, state: &mut TagState, samples: &[Sample]) -> Vec<Option<Cause>> {
    let change = |sample| one(spec, state, sample, 0).map(|change| change.cause);
    samples.iter().map(change).collect()
}

#[test]
fn the_first_value_is_initial_and_the_same_again_is_nothing() {
    let mut state = TagState::default();
    let samples = [1.0, 1.0, 2.0, 2.0].map(|v| sample(v, Quality::GOOD));
    let found = causes(&TagSpec::default(), &mut state, &samples);
    assert_eq!(found, [Some(Cause::Initial), None, Some(Cause::Value), None]);
}

#[test]
fn a_restart_tells_only_what_changed_and_says_gap() {
    let stored = TagState {
        counted: Some(Value::Float64(1.0)),
        ..TagState::default()
    }
    .save();
    let restore = || {
        stored
            .as_deref()
            .and_then(|cell| TagState::restore(TagId(0), cell))
            .unwrap_or_default()
    };
    let spec = TagSpec::default();
    assert!(one(&spec, &mut restore(), &sample(1.0, Quality::GOOD), 1).is_none());
    let change = one(&spec, &mut restore(), &sample(2.0, Quality::GOOD), 1);
    assert!(change.is_some_and(|c| c.cause == Cause::Value && c.gap && c.previous.is_some()));
}

#[test]
fn a_deadband_cannot_be_crept_through() {
    let spec = TagSpec {
        deadband: Some(Deadband { absolute: 1.0 }),
        ..TagSpec::default()
    };
    let samples = [0.0, 0.6, 0.9, 1.2, 0.4, 0.1].map(|v| sample(v, Quality::GOOD));
    let found = causes(&spec, &mut TagState::default(), &samples);
    assert_eq!(
        found,
        [
            Some(Cause::Initial),
            None,
            None,
            Some(Cause::Value),
            None,
            Some(Cause::Value)
        ]
    );
}

#[test]
fn bad_is_told_once_and_the_return_is_told() {
    let good = |v| sample(v, Quality::GOOD);
    let bad = || sample(None, Quality::BAD);
    let samples = [
        good(1.0),
        bad(),
        bad(),
        good(1.0),
        sample(1.0, Quality::UNCERTAIN),
    ];
    let found = causes(&TagSpec::default(), &mut TagState::default(), &samples);
    let expected = [
        Some(Cause::Initial),
        Some(Cause::Lost),
        None,
        Some(Cause::Quality),
        Some(Cause::Quality),
    ];
    assert_eq!(found, expected);
}

#[test]
fn changes_of_one_source_time_are_told_apart_also_over_a_restart() {
    let samples = [
        sample(1.0, Quality::GOOD),
        sample(None, Quality::BAD),
        sample(1.0, Quality::GOOD),
        sample(None, Quality::BAD),
        sample(1.0, Quality::UNCERTAIN),
        sample(1.0, Quality::GOOD),
    ];
    let mut state = TagState::default();
    let mut ordinals = Vec::new();
    for sample in &samples {
        ordinals.extend(one(&TagSpec::default(), &mut state, sample, 0).map(|change| change.ordinal));
        state = state
            .save()
            .and_then(|cell| TagState::restore(TagId(0), &cell))
            .unwrap_or_default();
    }
    assert_eq!(ordinals, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn nan_makes_one_change_and_no_storm() {
    let spec = TagSpec {
        deadband: Some(Deadband { absolute: 1.0 }),
        ..TagSpec::default()
    };
    let samples = [1.0, f64::NAN, f64::NAN, 1.0].map(|v| sample(v, Quality::GOOD));
    let found = causes(&spec, &mut TagState::default(), &samples);
    assert_eq!(
        found,
        [Some(Cause::Initial), Some(Cause::Value), None, Some(Cause::Value)]
    );
}
