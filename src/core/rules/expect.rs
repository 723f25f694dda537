//! States in an expected order, and transitions that may not be.

use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::detect::{Cause, Change};
use crate::plan::TagSpec;
use crate::table::Transition;

use super::Fields;
use super::shape::Due;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    run: Option<Run>,
}

/// A sequence that has begun.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    /// How many states came as expected.
    reached: usize,
    /// When the first one came, on the core's clock.
    began: Duration,
    /// And by the device.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    began_at: Option<i64>,
    /// Nobody watched for a time in which a state may have come.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    gap: bool,
    due: Duration,
}

/// The name of a state of a tag.
pub(crate) fn name_of(tag: &TagSpec, value: Option<&floorgate_sample::Value>) -> Option<String> {
    let value = value?;
    match &tag.values {
        Some(table) => table.name_of(value).map(str::to_owned),
        None => Some(value.to_string()),
    }
}

impl Memory {
    pub(crate) fn due(&self) -> Option<Duration> {
        self.run.as_ref().map(|run| run.due)
    }

    /// Nobody watched for a time in which a state may have come. Returns whether anything is to be stored.
    pub(crate) fn mark(&mut self) -> bool {
        let run = self.run.as_mut();
        run.is_some_and(|run| !std::mem::replace(&mut run.gap, true))
    }

    /// Takes a change of the state. Returns whether anything is to be stored.
    pub(crate) fn see(
        &mut self,
        (states, within): (&[Arc<str>], Duration),
        tag: &TagSpec,
        change: &Change,
        at: Duration,
        out: &mut Vec<Due>,
    ) -> bool {
        if change.cause == Cause::Initial {
            return self.run.take().is_some();
        }
        let late = self.late(states, within, tag, change);
        let was_late = late.is_some();
        out.extend(late);
        if change.value.is_none() {
            // Where the sequence stood is not known any more, and no deviation is invented.
            return self.run.take().is_some() || was_late;
        }
        let Some(name) = name_of(tag, change.value.as_ref()) else {
            return was_late;
        };
        if change.cause != Cause::Value {
            return was_late;
        }
        if change.gap {
            self.run = None;
        }
        if let Some(run) = &mut self.run {
            let is_same = run.reached.checked_sub(1).and_then(|last| states.get(last));
            if is_same.is_some_and(|state| **state == *name) {
                // Back from a value that is to be ignored, or another number of the same state.
                return was_late;
            }
        }
        if let Some(run) = &mut self.run {
            if states.get(run.reached).is_some_and(|next| **next == *name) {
                run.reached += 1;
                if run.reached == states.len() {
                    self.run = None;
                }
                return true;
            }
            let began = run.began_at.map(Timestamp::from_nanos);
            let elapsed = began.zip(change.source_time).map(|(began, now)| now.since(began));
            let at = elapsed.map_or(at, |elapsed| run.began + elapsed);
            let fields = told("order", states, run, at, &name);
            out.push(Due {
                fields,
                ..Due::new(change.clone())
            });
            self.run = None;
        }
        if states.first().is_some_and(|first| **first == *name) {
            self.run = Some(Run {
                reached: 1,
                began: at,
                began_at: change.source_time.map(Timestamp::as_nanos),
                gap: false,
                due: at + within,
            });
        }
        true
    }

    /// A sequence that took too long by the device's times, which are all that is known of what comes late.
    fn late(&mut self, states: &[Arc<str>], within: Duration, tag: &TagSpec, change: &Change) -> Option<Due> {
        let run = self.run.as_ref()?;
        let began = run.began_at.map(Timestamp::from_nanos)?;
        if change.gap || change.source_time?.since(began) <= within {
            return None;
        }
        let name = name_of(tag, change.previous.as_ref()).unwrap_or_else(|| "unknown".to_owned());
        let fields = told("timeout", states, run, run.due, &name);
        self.run = None;
        Some(Due {
            fields,
            ..Due::new(Change {
                value: change.previous.clone(),
                source_time: None,
                server_time: None,
                received: Some(began.after(within)),
                ..change.clone()
            })
        })
    }

    /// The time for the whole sequence is over.
    pub(crate) fn expire(&mut self, states: &[Arc<str>], change: Change, name: &str, out: &mut Vec<Due>) {
        if let Some(run) = self.run.take() {
            let fields = told("timeout", states, &run, run.due, name);
            let gap = run.gap;
            out.push(Due {
                fields,
                ..Due::new(Change { gap, ..change })
            });
        }
    }
}

fn told(reason: &str, states: &[Arc<str>], run: &Run, at: Duration, name: &str) -> Fields {
    let elapsed = at.saturating_sub(run.began).as_millis();
    vec![
        ("deviation".into(), json!(reason)),
        ("expected".into(), json!(states.get(run.reached))),
        ("actual".into(), json!(name)),
        (
            "reached".into(),
            json!(run.reached.checked_sub(1).and_then(|last| states.get(last))),
        ),
        (
            "elapsedMs".into(),
            json!(u64::try_from(elapsed).unwrap_or(u64::MAX)),
        ),
    ]
}

/// Whether a change is one that may not be: both states are known, nothing was missed between them, and the table does not have it.
pub(crate) fn forbidden(transitions: &[Transition], tag: &TagSpec, change: &Change) -> Option<Due> {
    if change.cause != Cause::Value || change.gap {
        return None;
    }
    let from = name_of(tag, change.previous.as_ref())?;
    let to = name_of(tag, change.value.as_ref())?;
    let (_, allowed) = transitions.iter().find(|(state, _)| **state == *from)?;
    if from == to || allowed.iter().any(|one| **one == *to) {
        return None;
    }
    Some(Due {
        fields: vec![
            ("from".into(), json!(from)),
            ("to".into(), json!(to)),
            ("allowed".into(), json!(allowed)),
        ],
        ..Due::new(change.clone())
    })
}
