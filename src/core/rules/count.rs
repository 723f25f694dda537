//! `ProductionCountRecorded` (PackML, ISO 22400): deltas and a running total that survive rollover, reset and restart.

use floorgate_sample::Value;
use serde::{Deserialize, Serialize};

use crate::detect::Cause;
use crate::plan::Counter;

use super::{Context, Draft};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Sum of all deltas on top of the first value seen.
    total: Option<u64>,
    /// What was counted and not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    untold: Option<Untold>,
}

/// Steps of a counter of which no event was made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Untold {
    /// The value that was told last.
    since: u64,
    delta: u64,
    rollover: bool,
    reset: bool,
}

impl Memory {
    /// Whether something was counted and not told.
    pub(super) fn has_untold(&self) -> bool {
        self.untold.is_some()
    }
}

/// What a counter did between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    delta: u64,
    rollover: bool,
    reset: bool,
}

pub(super) fn evaluate(
    context: &mut Context<'_>,
    memory: &mut Memory,
    dirty: &mut bool,
    kind: &str,
    unit: &str,
) {
    let Some(current) = count(context, memory, dirty) else {
        return;
    };
    let Some(step) = memory.untold.take() else { return };
    let total = memory.total;
    let tag = context.trigger();
    let subject = format!("counter/{}", tag.name);
    context.emit(&Draft::new("ProductionCountRecorded", subject), |object| {
        object.field("counterId", &*tag.name);
        object.field("kind", kind);
        object.field("delta", &Value::UInt(step.delta));
        object.field("total", &total.map(Value::UInt));
        object.field("unit", unit);
        object.field("rawValue", &Value::UInt(current));
        object.field("rawPrevious", &Value::UInt(step.since));
        if step.rollover {
            object.field("rollover", &true);
        }
        if step.reset {
            object.field("reset", &true);
        }
    });
}

/// Adds the change to what was counted and not told. Gives the counter's value, where it was one.
pub(super) fn count(context: &mut Context<'_>, memory: &mut Memory, dirty: &mut bool) -> Option<u64> {
    let change = context.change;
    let tag = context.trigger();
    if !matches!(change.cause, Cause::Initial | Cause::Value) {
        return None;
    }
    let value = change.value.as_ref()?;
    let Some(current) = count_of(value) else {
        context.fail(|| {
            format!(
                "no event: counter {:?} has the value {value}, which is no count",
                tag.name
            )
        });
        return None;
    };
    if change.cause == Cause::Initial {
        // Nothing is known of what was counted before: the total begins here and no delta is invented.
        memory.total.get_or_insert(current);
        *dirty = true;
        return None;
    }
    let previous = change.previous.as_ref().and_then(count_of)?;
    let step = step(tag.counter, previous, current);
    memory.total = Some(memory.total.unwrap_or(previous).saturating_add(step.delta));
    *dirty = true;
    if step.delta > 0 || step.reset {
        let untold = memory.untold.get_or_insert(Untold {
            since: previous,
            delta: 0,
            rollover: false,
            reset: false,
        });
        untold.delta = untold.delta.saturating_add(step.delta);
        untold.rollover |= step.rollover;
        untold.reset |= step.reset;
    }
    Some(current)
}

fn count_of(value: &Value) -> Option<u64> {
    value.as_i128().and_then(|number| u64::try_from(number).ok())
}

/// A smaller value is a rollover only when the step over the end is plausible, else a reset, after which the
/// counter counted from zero.
fn step(counter: Option<Counter>, previous: u64, current: u64) -> Step {
    if current >= previous {
        return Step {
            delta: current - previous,
            rollover: false,
            reset: false,
        };
    }
    if let Some(Counter { max, largest_step }) = counter {
        let over_the_end = max
            .saturating_sub(previous)
            .saturating_add(1)
            .saturating_add(current);
        // Without a largest step, only a step from the last to the first hundredth of the range passes for a rollover.
        let plausible = largest_step.unwrap_or(max / 100);
        if previous <= max && over_the_end <= plausible {
            return Step {
                delta: over_the_end,
                rollover: true,
                reset: false,
            };
        }
    }
    Step {
        delta: current,
        rollover: false,
        reset: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollover_only_within_the_largest_step() {
        let counter = Some(Counter {
            max: 65_535,
            largest_step: Some(100),
        });
        let rolled = Step {
            delta: 13,
            rollover: true,
            reset: false,
        };
        assert_eq!(step(counter, 65_530, 7), rolled);
        assert_eq!(
            step(counter, 65_000, 7),
            Step {
                delta: 7,
                rollover: false,
                reset: true
            }
        );
        assert_eq!(
            step(counter, 10, 12),
            Step {
                delta: 2,
                rollover: false,
                reset: false
            }
        );
        assert_eq!(
            step(None, 65_535, 0),
            Step {
                delta: 0,
                rollover: false,
                reset: true
            }
        );
    }
}
