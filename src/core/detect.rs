//! Change detection: what a sample means beside the last value that counted.
//!
//! Compared are quality class, type and value, the latter with the tag's deadband. The first value without a
//! baseline is initial and never a change. A value that differs from the baseline of an earlier process is a
//! change with a gap: nobody saw when it happened, or what was in between.
//!
//! A tag that happens has no state: each of its values is a change, and none is compared.
//!
//! With a debounce, a value that differs waits until it has been the same for long enough, by the device's times or by the
//! core's clock, and then counts from when it was first seen. A bad value and the first one ever do not wait.

use std::time::Duration;

use floorgate_sample::{Quality, QualityClass, Sample, TagId, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::plan::{BitField, InitialPolicy, TagSpec};
use crate::state::{Candidate, TagState};

/// Why there is a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Cause {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Value => "value",
            Self::Quality => "quality",
            Self::Lost => "lost",
            Self::Silence => "silence",
        }
    }
}

/// Which of a tag's rules see a change: that a source is lost is one to those that tell states of equipment alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Audience {
    /// All of them.
    #[default]
    All,
    /// Those that tell states of equipment.
    States,
    /// All but those, which have told it already.
    Others,
}

impl Audience {
    /// Whether a rule sees it, one that tells a state of equipment or another.
    pub(crate) fn has(self, tells_state: bool) -> bool {
        match self {
            Self::All => true,
            Self::States => tells_state,
            Self::Others => !tells_state,
        }
    }
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
    /// When the gateway received it, where that was before the moment in which it is told.
    pub received: Option<Timestamp>,
    /// Which of its rules see it.
    pub(crate) audience: Audience,
}

/// When and how a sample came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// On the core's clock.
    pub(crate) clock: Duration,
    /// When the gateway received it.
    pub(crate) received: Timestamp,
    /// How many gaps the tag's source had so far.
    pub(crate) gaps: u32,
}

/// Takes a sample over into the tag's state and adds what it means to `changes`.
pub(crate) fn detect(
    spec: &TagSpec,
    state: &mut TagState,
    sample: &Sample,
    arrival: Arrival,
    changes: &mut Vec<Change>,
) {
    let first = !state.fresh;
    state.fresh = true;
    state.see_gaps(arrival.gaps);
    if sample.gap && !std::mem::replace(&mut state.gap, true) {
        state.dirty = true;
    }

    let usable = sample.value.as_ref().filter(|_| !sample.quality.is_bad());
    if spec.happens.is_some() {
        changes.extend(happen(state, sample, usable));
        return;
    }
    let part = match (spec.field, usable) {
        (Some(field), Some(value)) => bits_of(field, value),
        (_, value) => value.cloned(),
    };
    let Some(value) = part else {
        settle_if_stable(spec, state, sample, None, changes);
        changes.extend(lose(state, sample));
        return;
    };
    let value = &value;
    if state.counted.is_none() {
        // Of a value that was never known nothing was missed.
        state.gap = false;
    }
    // What the first value after a start is, the policy says, and that does not wait.
    let follows = !first || spec.initial == InitialPolicy::Compare;
    if spec.debounce.is_some() && follows && !debounced(spec, state, sample, value, arrival, changes) {
        if first {
            // Until it settles, what counted before is what is known, as if there had been one process.
            state.know_as_before();
        }
        return;
    }
    // What a deadband holds back is no event, and known all the same.
    state.dirty |= state.latest.as_ref().is_some_and(|latest| !latest.same(value));
    state.latest = Some(value.clone());
    let was_bad = std::mem::take(&mut state.bad);
    state.dirty |= was_bad;
    let returned = std::mem::take(&mut state.lost);

    let cause = match &state.counted {
        None if spec.initial == InitialPolicy::Silent => {
            state.count_change(sample.source_time);
            count(state, sample.quality, value);
            return;
        }
        None => Cause::Initial,
        Some(_) if first && spec.initial == InitialPolicy::Emit => Cause::Initial,
        Some(_) if first && spec.initial == InitialPolicy::Silent => {
            state.count_change(sample.source_time);
            count(state, sample.quality, value);
            return;
        }
        Some(counted) if !within(spec, counted, value) => Cause::Value,
        Some(_) if returned || class_differs(state.counted_quality, sample.quality) => Cause::Quality,
        Some(_) => return,
    };
    let previous = if cause == Cause::Initial && state.counted.is_none() {
        None
    } else {
        state.counted.clone()
    };
    let gap = state.gap;
    let ordinal = state.count_change(sample.source_time);
    // Where only its source was lost meanwhile, that was told as a state alone.
    let is_of_loss =
        cause == Cause::Quality && !was_bad && !class_differs(state.counted_quality, sample.quality);
    let audience = if is_of_loss {
        Audience::States
    } else {
        Audience::All
    };
    if cause == Cause::Quality {
        // The baseline keeps the value that counted, so that a deadband cannot be crept through.
        state.counted_quality = sample.quality;
    } else {
        count(state, sample.quality, value);
    }
    changes.push(Change {
        tag: sample.tag,
        cause,
        previous,
        value: Some(value.clone()),
        quality: sample.quality,
        gap,
        ordinal,
        source_time: sample.source_time,
        server_time: sample.server_time,
        received: None,
        audience,
    });
}

/// Something happened: nothing is compared, and nothing that is bad or missing takes a state away.
fn happen(state: &mut TagState, sample: &Sample, value: Option<&Value>) -> Option<Change> {
    state.latest = value.cloned();
    let Some(value) = value else {
        // What it was is not known, and cannot be asked for again.
        state.dirty |= !std::mem::replace(&mut state.gap, true);
        return None;
    };
    let gap = state.gap;
    Some(Change {
        tag: sample.tag,
        cause: Cause::Value,
        previous: None,
        value: Some(value.clone()),
        quality: sample.quality,
        gap,
        ordinal: state.count_change(sample.source_time),
        source_time: sample.source_time,
        server_time: sample.server_time,
        received: None,
        audience: Audience::All,
    })
}

/// The bits of a value that are the tag's; `None` where it is no integer.
pub(crate) fn bits_of(field: BitField, value: &Value) -> Option<Value> {
    let number = value.as_i128()?;
    // Of a negative number the bits are those of its two's complement.
    let word = u64::try_from(number)
        .or_else(|_| i64::try_from(number).map(i64::cast_unsigned))
        .ok()?;
    Some(Value::UInt((word & field.mask) >> field.shift))
}

/// Lets a value that differs wait. Returns whether the sample is to be compared with the baseline now.
fn debounced(
    spec: &TagSpec,
    state: &mut TagState,
    sample: &Sample,
    value: &Value,
    arrival: Arrival,
    changes: &mut Vec<Change>,
) -> bool {
    settle_if_stable(spec, state, sample, Some(value), changes);
    let differs = state
        .counted
        .as_ref()
        .is_some_and(|counted| !within(spec, counted, value));
    let debounce = spec.debounce.unwrap_or_default();
    let waiting = state.waiting();
    if !differs {
        let flapped = waiting.candidate.take().is_some();
        state.dirty |= flapped;
        return true;
    }
    let stays = waiting
        .candidate
        .as_ref()
        .is_some_and(|candidate| within(spec, &candidate.value, value));
    if !stays {
        waiting.candidate = Some(Candidate {
            value: value.clone(),
            quality: sample.quality,
            source_time: sample.source_time,
            server_time: sample.server_time,
            received: arrival.received,
            due: arrival.clock + debounce,
        });
        state.dirty = true;
    }
    false
}

/// Lets the waiting value count where the device's times say that it was the same for long enough: what comes late comes all at once.
fn settle_if_stable(
    spec: &TagSpec,
    state: &mut TagState,
    sample: &Sample,
    value: Option<&Value>,
    changes: &mut Vec<Change>,
) {
    let Some(candidate) = state.waiting.as_ref().and_then(|w| w.candidate.as_ref()) else {
        return;
    };
    let lasted = candidate
        .source_time
        .zip(sample.source_time)
        .is_some_and(|(first, now)| now.since(first) >= spec.debounce.unwrap_or_default());
    if lasted {
        changes.extend(settle(state, sample.tag));
    } else if value.is_none() {
        state.waiting().candidate = None;
        state.dirty = true;
    }
}

/// The waiting value counts.
pub(crate) fn settle(state: &mut TagState, tag: TagId) -> Option<Change> {
    let candidate = state.waiting.as_mut()?.candidate.take()?;
    state.latest = Some(candidate.value.clone());
    state.bad = false;
    state.lost = false;
    let previous = state.counted.clone();
    let ordinal = state.count_change(candidate.source_time);
    count(state, candidate.quality, &candidate.value);
    Some(Change {
        tag,
        cause: Cause::Value,
        previous,
        value: Some(candidate.value),
        quality: candidate.quality,
        gap: state.gap,
        ordinal,
        source_time: candidate.source_time,
        server_time: candidate.server_time,
        received: Some(candidate.received),
        audience: Audience::All,
    })
}

/// The value became bad: told once, until a usable one comes again.
fn lose(state: &mut TagState, sample: &Sample) -> Option<Change> {
    // A good status without a value is still no value.
    let quality = if sample.quality.is_bad() {
        sample.quality
    } else {
        Quality::BAD
    };
    state.latest = None;
    state.bad_quality = quality;
    let was_bad = std::mem::replace(&mut state.bad, true);
    state.dirty |= !was_bad;
    let was_lost = std::mem::replace(&mut state.lost, true);
    if was_lost && was_bad {
        return None;
    }
    // That its source was lost was told as a state alone.
    let audience = if was_lost { Audience::Others } else { Audience::All };
    Some(Change {
        tag: sample.tag,
        cause: Cause::Lost,
        previous: state.counted.clone(),
        value: None,
        quality,
        gap: state.gap && state.counted.is_some(),
        ordinal: state.count_change(sample.source_time),
        source_time: sample.source_time,
        server_time: sample.server_time,
        received: None,
        audience,
    })
}

fn count(state: &mut TagState, quality: Quality, value: &Value) {
    state.counted = Some(value.clone());
    state.counted_quality = quality;
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
#[path = "detect_tests.rs"]
mod tests;
