//! `ProductionCountRecorded` (PackML, ISO 22400), `ScrapRecorded` and `EnergyRecorded`: deltas and a running total that survive
//! rollover, reset and restart.
//!
//! It is counted in units of the counter's last decimal: many small steps of a meter add up to what it shows.
//!
//! A step that is larger than the largest plausible one is counted, since nobody knows better, and says `implausible`; after a
//! gap it may well be right. Where a tag says that the counter is set back, what comes next was counted from zero.

use floorgate_sample::{Quality, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::detect::Cause;
use crate::gate::is_true;
use crate::plan::{CountEvent, Counter, RuleKind};

use super::work_order::Run;
use super::{Context, Draft};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Sum of all deltas on top of the first value seen.
    total: Option<u64>,
    /// What was counted and not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    untold: Option<Untold>,
    /// What was counted in spans of time that are over and not told, the first of them first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spans: Vec<Span>,
    /// The last count before values that are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    /// The counter was said to be set back, and no value came since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    set_back: bool,
    /// Whether the tag that says so did when it was last looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    said: bool,
    /// The decimals in whose units all this is counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    decimals: u8,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde asks for
const fn is_zero(decimals: &u8) -> bool {
    *decimals == 0
}

/// Steps of a counter of which no event was made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
struct Untold {
    /// The value that was told last.
    since: u64,
    /// The value that was counted last.
    #[serde(default)]
    until: u64,
    delta: u64,
    rollover: bool,
    reset: bool,
    #[serde(default)]
    implausible: bool,
    /// Something may have been missed before one of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gap: bool,
    /// One of them was not good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    doubtful: bool,
}

/// What was counted in a span of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Span {
    /// By the wall clock, in nanoseconds.
    from: i64,
    to: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<Run>,
    counted: Untold,
    /// The total at its end.
    total: Option<u64>,
}

/// Spans of other runs that wait to be told; of more, the last ones are told as one that belongs to no run.
const MOST_SPANS: usize = 16;

impl Memory {
    /// Whether something was counted and not told.
    pub(super) fn has_untold(&self) -> bool {
        self.untold.is_some() || !self.spans.is_empty()
    }

    /// The span in which it is counted is over: what was counted belongs to it, and to its run, whenever it is told. Returns whether
    /// anything was counted in it.
    pub(super) fn end_span(&mut self, (from, to, run): (Timestamp, Timestamp, Option<Run>)) -> bool {
        let Some(counted) = self.untold.take() else {
            return false;
        };
        let is_full = self.spans.len() >= MOST_SPANS;
        let is_run = |one: &Run| run.as_ref().is_some_and(|run| run.id == one.id);
        match self.spans.last_mut() {
            Some(last) if is_full || last.run.as_ref().map_or(run.is_none(), is_run) => {
                last.run = last.run.take().filter(is_run);
                last.to = to.as_nanos();
                last.counted.add(counted);
                last.total = self.total;
            }
            _ => self.spans.push(Span {
                from: from.as_nanos(),
                to: to.as_nanos(),
                run,
                counted,
                total: self.total,
            }),
        }
        true
    }

    /// The spans that are over and not told.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Counts on with so many decimals.
    fn turn_to(&mut self, decimals: u8) {
        let before = std::mem::replace(&mut self.decimals, decimals);
        if before == decimals {
            return;
        }
        let turned = |units: &mut u64| {
            let (more, fewer) = (decimals.saturating_sub(before), before.saturating_sub(decimals));
            *units = units.saturating_mul(power_of_ten(more)) / power_of_ten(fewer);
        };
        self.total.iter_mut().chain(&mut self.last).for_each(turned);
        for span in &mut self.spans {
            span.total.iter_mut().for_each(turned);
            span.counted.each_number().into_iter().for_each(turned);
        }
        if let Some(untold) = &mut self.untold {
            untold.each_number().into_iter().for_each(turned);
        }
    }

    /// Counts are told one by one, and not by spans of time: what was counted in one is told with the next count.
    pub(super) fn leave_spans(&mut self) {
        for span in std::mem::take(&mut self.spans).into_iter().rev() {
            let mut counted = span.counted;
            if let Some(later) = self.untold.take() {
                counted.add(later);
            }
            self.untold = Some(counted);
        }
    }
}

impl Span {
    pub(super) fn from(&self) -> Timestamp {
        Timestamp::from_nanos(self.from)
    }

    pub(super) fn to(&self) -> Timestamp {
        Timestamp::from_nanos(self.to)
    }

    /// Whether something may have been missed in it, and how far it can be trusted.
    pub(super) fn trust(&self) -> (bool, Quality) {
        let quality = if self.counted.doubtful {
            Quality::UNCERTAIN
        } else {
            Quality::GOOD
        };
        (self.counted.gap, quality)
    }
}

impl Untold {
    fn each_number(&mut self) -> [&mut u64; 3] {
        [&mut self.since, &mut self.until, &mut self.delta]
    }

    /// Adds what was counted after it.
    fn add(&mut self, later: Self) {
        *self = Self {
            since: self.since,
            until: later.until,
            delta: self.delta.saturating_add(later.delta),
            rollover: self.rollover | later.rollover,
            reset: self.reset | later.reset,
            implausible: self.implausible | later.implausible,
            gap: self.gap | later.gap,
            doubtful: self.doubtful | later.doubtful,
        };
    }
}

/// What a counter did between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) delta: u64,
    rollover: bool,
    reset: bool,
}

pub(super) fn evaluate(
    context: &mut Context<'_>,
    memory: &mut Memory,
    dirty: &mut bool,
    event: &CountEvent,
    unit: &str,
) {
    let (step, total) = if context.note.tell_only {
        if memory.spans.is_empty() {
            return;
        }
        let span = memory.spans.remove(0);
        (span.counted, span.total)
    } else {
        if count(context, memory, dirty).is_none() {
            return;
        }
        let Some(step) = memory.untold.take() else { return };
        (step, memory.total)
    };
    let tag = context.trigger();
    let shown = |units: u64| shown(units, memory.decimals);
    *dirty = true;
    let subject = context.subject(|_| format!("counter/{}", tag.name));
    context.emit(&Draft::new(event.name(), subject), |object| {
        object.field("counterId", &*tag.name);
        match event {
            CountEvent::Production(kind) => object.field("kind", &**kind),
            CountEvent::Energy(medium) => object.field("medium", &**medium),
            CountEvent::Scrap => {}
        }
        object.field("delta", &shown(step.delta));
        object.field("total", &total.map(shown));
        object.field("unit", unit);
        object.field("rawValue", &shown(step.until));
        object.field("rawPrevious", &shown(step.since));
        if step.rollover {
            object.field("rollover", &true);
        }
        if step.reset {
            object.field("reset", &true);
        }
        if step.implausible {
            object.field("implausible", &true);
        }
    });
}

/// Adds the change to what was counted and not told. Gives the counter's value, where it was one.
pub(super) fn count(context: &mut Context<'_>, memory: &mut Memory, dirty: &mut bool) -> Option<u64> {
    let change = context.change;
    let is_counter = context.rule.inputs.first() == Some(&change.tag);
    if let RuleKind::ProductionCount {
        reset: Some(slot), ..
    } = context.rule.spec.kind
    {
        // Whichever of the two is looked at first in a moment: what is said in it is about the count that comes with it.
        let said = context
            .rule
            .inputs
            .get(usize::from(slot.0))
            .and_then(|tag| context.view.value(*tag))
            .map(is_true);
        let found = !is_counter && change.cause == Cause::Initial;
        if let Some(said) = said {
            let before = std::mem::replace(&mut memory.said, said);
            *dirty |= before != said;
            if said && !before && !found && memory.total.is_some() {
                memory.set_back = true;
            }
        }
    }
    if !is_counter {
        return None;
    }
    let tag = context.trigger();
    if !matches!(change.cause, Cause::Initial | Cause::Value) {
        return None;
    }
    let value = change.value.as_ref()?;
    memory.turn_to(tag.counter.map_or(0, |counter| counter.decimals));
    let before = change.previous.as_ref();
    let before = before.and_then(|value| count_of(value, tag.counter));
    let Some(current) = count_of(value, tag.counter) else {
        // What was counted meanwhile is told with the next count.
        memory.last = memory.last.or(before);
        *dirty = true;
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
    let previous = memory.last.take().or(before)?;
    let step = if std::mem::take(&mut memory.set_back) {
        Step {
            delta: current,
            rollover: false,
            reset: true,
        }
    } else {
        step(tag.counter, previous, current)
    };
    let largest = tag.counter.and_then(|counter| counter.largest_step);
    memory.total = Some(memory.total.unwrap_or(previous).saturating_add(step.delta));
    *dirty = true;
    if step.delta > 0 || step.reset {
        let untold = memory.untold.get_or_insert(Untold {
            since: previous,
            until: current,
            delta: 0,
            rollover: false,
            reset: false,
            implausible: false,
            gap: false,
            doubtful: false,
        });
        untold.doubtful |= !change.quality.is_good();
        untold.until = current;
        untold.gap |= change.gap;
        untold.implausible |= !change.gap && largest.is_some_and(|largest| step.delta > largest);
        untold.delta = untold.delta.saturating_add(step.delta);
        untold.rollover |= step.rollover;
        untold.reset |= step.reset;
    }
    Some(current)
}

/// A value in units of the counter's last decimal. Where the counter has decimals a value is taken for the nearest one that it can have.
pub(super) fn count_of(value: &Value, counter: Option<Counter>) -> Option<u64> {
    let decimals = counter.map_or(0, |counter| counter.decimals);
    if let Some(whole) = value.as_i128() {
        let whole = u64::try_from(whole).ok()?;
        return whole.checked_mul(power_of_ten(decimals));
    }
    let units = (value.as_f64()? * power_of_ten(decimals) as f64).round();
    let is_exact = (0.0..=LARGEST_EXACT).contains(&units);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is in the range
    (decimals > 0 && is_exact).then_some(units as u64)
}

/// Up to here a floating-point number has each whole one: 2^53.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

fn power_of_ten(decimals: u8) -> u64 {
    10_u64.saturating_pow(decimals.into())
}

/// What was counted, as it is told.
fn shown(units: u64, decimals: u8) -> Value {
    match decimals {
        0 => Value::UInt(units),
        _ => Value::Float64(units as f64 / power_of_ten(decimals) as f64),
    }
}

/// A smaller value is a rollover only when the step over the end is plausible, else a reset, after which the
/// counter counted from zero.
pub(super) fn step(counter: Option<Counter>, previous: u64, current: u64) -> Step {
    if current >= previous {
        return Step {
            delta: current - previous,
            rollover: false,
            reset: false,
        };
    }
    if let Some(Counter {
        max, largest_step, ..
    }) = counter
    {
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
            decimals: 0,
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

    #[test]
    fn a_meter_is_counted_in_its_last_decimal() {
        let meter = |decimals| {
            Some(Counter {
                max: 999_999,
                largest_step: None,
                decimals,
            })
        };
        for (value, decimals, units) in [
            (Value::Float64(0.3), 1, Some(3)),
            (Value::Float64(3.0 * 0.1), 1, Some(3)),
            (Value::Float32(12_345.678), 1, Some(123_457)),
            (Value::Float64(7.0), 2, Some(700)),
            (Value::UInt(7), 1, Some(70)),
            (Value::Float64(7.0), 0, Some(7)),
            (Value::Float64(7.5), 0, None),
            (Value::Float64(-0.1), 1, None),
            (Value::Float64(f64::NAN), 1, None),
            (Value::Float64(1e300), 1, None),
        ] {
            assert_eq!(
                count_of(&value, meter(decimals)),
                units,
                "{value} with {decimals}"
            );
        }
        assert_eq!(shown(1_234, 1), Value::Float64(123.4));
        assert_eq!(shown(1_234, 0), Value::UInt(1_234));
    }

    #[test]
    fn what_was_counted_is_the_same_with_other_decimals() {
        let mut memory = Memory {
            total: Some(1_234),
            last: Some(56),
            decimals: 1,
            ..Memory::default()
        };
        memory.turn_to(3);
        assert_eq!((memory.total, memory.last), (Some(123_400), Some(5_600)));
        memory.turn_to(0);
        assert_eq!((memory.total, memory.last), (Some(123), Some(5)));
    }
}
