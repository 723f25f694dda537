//! Change detection: what a sample means beside the last value that counted.
//!
//! Compared are quality class, type and value, the latter with the tag's deadband. The first value without a
//! baseline is initial and never a change. A value that differs from the baseline of an earlier process is a
//! change with a gap: nobody saw when it happened, or what was in between.

use floorgate_sample::{Quality, QualityClass, Sample, TagId, Timestamp, Value};

use crate::plan::{InitialPolicy, TagSpec};
use crate::state::TagState;

/// Why there is a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The first value ever known of the tag, or the first after a start where the policy is to emit it.
    Initial,
    /// Another value.
    Value,
    /// The value is the same within its deadband; its quality class is another, or it is known again.
    Quality,
    /// The value is bad or unknown now.
    Lost,
    /// Nothing changed for the tag's longest silence.
    Silence,
}

/// What happened to a tag.
#[derive(Clone, Debug)]
pub struct Change {
    /// The tag.
    pub tag: TagId,
    /// Why.
    pub cause: Cause,
    /// The last value that counted before.
    pub previous: Option<Value>,
    /// The value now; `None` when it is lost.
    pub value: Option<Value>,
    /// Its quality.
    pub quality: Quality,
    /// Something may have been missed before.
    pub gap: bool,
    /// How many changes of the tag before this one had the same source time.
    pub ordinal: u32,
    /// When it happened, by the device.
    pub source_time: Option<Timestamp>,
    /// When the server took it.
    pub server_time: Option<Timestamp>,
}

/// Takes a sample over into the tag's state and tells what it means; `None` for nothing.
///
/// `gaps` counts the gaps of the tag's source so far.
pub(crate) fn detect(spec: &TagSpec, state: &mut TagState, sample: &Sample, gaps: u32) -> Option<Change> {
    let first = !state.fresh;
    state.fresh = true;
    state.see_gaps(gaps);
    if sample.gap && !std::mem::replace(&mut state.gap, true) {
        state.dirty = true;
    }

    let Some(value) = sample.value.as_ref().filter(|_| !sample.quality.is_bad()) else {
        return lose(state, sample);
    };
    if state.counted.is_none() {
        // Of a value that was never known nothing was missed.
        state.gap = false;
    }
    // What a deadband holds back is no event, and known all the same.
    state.dirty |= state.latest.as_ref().is_some_and(|latest| !latest.same(value));
    state.latest = Some(value.clone());
    state.dirty |= std::mem::take(&mut state.bad);
    let returned = std::mem::take(&mut state.lost);

    let cause = match &state.counted {
        None if spec.initial == InitialPolicy::Silent => {
            state.count_change(sample.source_time);
            count(state, sample, value);
            return None;
        }
        None => Cause::Initial,
        Some(_) if first && spec.initial == InitialPolicy::Emit => Cause::Initial,
        Some(_) if first && spec.initial == InitialPolicy::Silent => {
            state.count_change(sample.source_time);
            count(state, sample, value);
            return None;
        }
        Some(counted) if !within(spec, counted, value) => Cause::Value,
        Some(_) if returned || class_differs(state.counted_quality, sample.quality) => Cause::Quality,
        Some(_) => return None,
    };
    let previous = if cause == Cause::Initial && state.counted.is_none() {
        None
    } else {
        state.counted.clone()
    };
    let gap = state.gap;
    let ordinal = state.count_change(sample.source_time);
    if cause == Cause::Quality {
        // The baseline keeps the value that counted, so that a deadband cannot be crept through.
        state.counted_quality = sample.quality;
    } else {
        count(state, sample, value);
    }
    Some(Change {
        tag: sample.tag,
        cause,
        previous,
        value: Some(value.clone()),
        quality: sample.quality,
        gap,
        ordinal,
        source_time: sample.source_time,
        server_time: sample.server_time,
    })
}

/// The value became bad: told once, until a usable one comes again.
fn lose(state: &mut TagState, sample: &Sample) -> Option<Change> {
    state.latest = None;
    state.dirty |= !std::mem::replace(&mut state.bad, true);
    if std::mem::replace(&mut state.lost, true) {
        return None;
    }
    Some(Change {
        tag: sample.tag,
        cause: Cause::Lost,
        previous: state.counted.clone(),
        value: None,
        // A good status without a value is still no value.
        quality: if sample.quality.is_bad() {
            sample.quality
        } else {
            Quality::BAD
        },
        gap: state.gap && state.counted.is_some(),
        ordinal: state.count_change(sample.source_time),
        source_time: sample.source_time,
        server_time: sample.server_time,
    })
}

fn count(state: &mut TagState, sample: &Sample, value: &Value) {
    state.counted = Some(value.clone());
    state.counted_quality = sample.quality;
}

/// Whether the value has not left the deadband around the last one that counted.
fn within(spec: &TagSpec, counted: &Value, value: &Value) -> bool {
    if counted.same(value) {
        return true;
    }
    let Some(deadband) = spec.deadband else {
        return false;
    };
    if std::mem::discriminant(counted) != std::mem::discriminant(value) {
        return false;
    }
    match (counted.as_f64(), value.as_f64()) {
        // NaN compares with nothing, so that a change to or from it always counts.
        (Some(before), Some(now)) => (now - before).abs() < deadband.absolute,
        _ => false,
    }
}

fn class_differs(a: Quality, b: Quality) -> bool {
    let usable = |quality: Quality| quality.class() == QualityClass::Good;
    usable(a) != usable(b)
}

#[cfg(test)]
mod tests {
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

    fn causes(spec: &TagSpec, state: &mut TagState, samples: &[Sample]) -> Vec<Option<Cause>> {
        samples
            .iter()
            .map(|s| detect(spec, state, s, 0).map(|change| change.cause))
            .collect()
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
        let restore = || stored.as_deref().and_then(TagState::restore).unwrap_or_default();
        let spec = TagSpec::default();
        assert!(detect(&spec, &mut restore(), &sample(1.0, Quality::GOOD), 1).is_none());
        let change = detect(&spec, &mut restore(), &sample(2.0, Quality::GOOD), 1);
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
        for one in &samples {
            ordinals.extend(detect(&TagSpec::default(), &mut state, one, 0).map(|change| change.ordinal));
            state = state
                .save()
                .and_then(|cell| TagState::restore(&cell))
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
}
