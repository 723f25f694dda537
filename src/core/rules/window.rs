//! Windows of time: the smallest, largest and mean value of a measurement, and counts that are summed.
//!
//! Windows are as long as the mapping says and begin at multiples of that since 1970, by the gateway's wall clock. What a value
//! weighs in the mean is how long it was, since a device that tells only changes would count a value that stays as little as one
//! that flickers. A value that is known goes on into the next window; while none is known, nothing is told.

use std::time::Duration;

use floorgate_sample::{Quality, TagId, Timestamp, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::detect::{Cause, Change};
use crate::machine::change_without_sample;
use crate::plan::{Aggregate, WindowSpec};

use super::shape::Due;
use super::work_order::Run;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    open: Option<Open>,
    /// The run in which it is counted, or was in the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    run: Option<Run>,
    /// Since when it is counted what no window has, by the wall clock, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    since: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    /// When it began, by the wall clock, in nanoseconds.
    from: i64,
    /// When it ends, by the wall clock.
    to: i64,
    /// And by the core's.
    due: Duration,
    /// Values that came in it.
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    max: Option<f64>,
    /// Sum of the values, each times its seconds.
    sum: f64,
    /// Seconds in which a value was known.
    seconds: f64,
    /// The value that holds, and since when on the core's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    last: Option<(f64, Duration)>,
    /// Something may have been missed in it, or the value was unknown for a time.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    gap: bool,
    /// The time of the core's clock up to which nobody watched: windows until then are told of a value that may not have been so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    unwatched: Option<Duration>,
    /// Whether any value was not good.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    doubtful: bool,
    /// Whether the value that holds is not good.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    last_doubtful: bool,
}

/// Windows that are told one after the other when time has passed of which nobody told; of more only the first is, and the next says
/// `gap`.
const MOST_AT_ONCE: u32 = 1000;
/// What the wall clock may differ from where a window should end; windows then begin anew by it.
const DRIFT: Duration = Duration::from_secs(1);

/// A moment on the clock of people and on that of timers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    pub(crate) clock: Duration,
}

impl Memory {
    pub(crate) fn due(&self) -> Option<Duration> {
        self.open.as_ref().map(|open| open.due)
    }

    /// Nobody watched for a time until now. Returns whether anything is to be stored.
    pub(crate) fn mark(&mut self, now: Duration) -> bool {
        let open = self.open.as_mut();
        open.is_some_and(|open| {
            let overdue = (open.due < now).then_some(now);
            let unwatched = open.unwatched.max(overdue);
            let is_noted = std::mem::replace(&mut open.unwatched, unwatched) == unwatched;
            !std::mem::replace(&mut open.gap, true) || !is_noted
        })
    }

    /// Whether it goes on with a value, which has to be known for that.
    pub(crate) fn has_value(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.last.is_some())
    }

    /// Opens a window where none is.
    pub(crate) fn open(&mut self, spec: WindowSpec, now: Moment) {
        if self.open.is_none() {
            self.open = Some(Open::begin(spec, now, None));
        }
    }

    /// Takes a change of the measurement. Returns whether anything is to be stored.
    pub(crate) fn see(&mut self, spec: WindowSpec, change: &Change, now: Moment, out: &mut Vec<Due>) -> bool {
        if change.cause == Cause::Silence {
            return false;
        }
        let value = change
            .value
            .as_ref()
            .and_then(Value::as_f64)
            .filter(|value| value.is_finite());
        if value.is_none() && self.open.is_none() {
            return false;
        }
        // What comes late belongs to the window of its time.
        while self.due().is_some_and(|due| due <= now.clock) {
            self.close(spec, change.tag, now, out);
        }
        if value.is_none() && self.open.is_none() {
            return true;
        }
        self.open(spec, now);
        let Some(open) = &mut self.open else { return false };
        open.weigh(now.clock);
        open.gap |= change.gap;
        open.last = value.map(|value| {
            (
                value,
                open.last.map_or(now.clock, |(_, since)| since.max(now.clock)),
            )
        });
        if let Some(value) = value {
            open.n += 1;
            open.count(value);
            open.last_doubtful = !change.quality.is_good();
            open.doubtful |= open.last_doubtful;
        } else {
            open.gap = true;
        }
        true
    }

    /// The window ends: what it was, and the next one where there is a value. `tag` is the trigger.
    pub(crate) fn close(&mut self, spec: WindowSpec, tag: TagId, now: Moment, out: &mut Vec<Due>) {
        let Some(mut open) = self.open.take() else { return };
        open.weigh(open.due);
        let end = Timestamp::from_nanos(open.to);
        if let Some((value, _)) = open.last {
            self.open = Some(open.next(spec, value, now));
        }
        let (Some(min), Some(max)) = (open.min, open.max) else {
            return;
        };
        let mean = if open.seconds > 0.0 {
            open.sum / open.seconds
        } else {
            open.last.map_or(max, |(value, _)| value)
        };
        let (name, value) = match spec.value {
            Aggregate::Mean => ("mean", Some(mean)),
            Aggregate::Min => ("min", Some(min)),
            Aggregate::Max => ("max", Some(max)),
            Aggregate::Last => ("last", open.last.map(|(value, _)| value)),
        };
        let milliseconds = u64::try_from(spec.every.as_millis()).unwrap_or(u64::MAX);
        let quality = if open.doubtful {
            Quality::UNCERTAIN
        } else {
            Quality::GOOD
        };
        let fields = vec![
            (
                "agg".into(),
                json!({
                    "fn": name, "windowMs": milliseconds, "n": open.n,
                    "min": min, "max": max, "mean": mean,
                }),
            ),
            ("from".into(), json!(Timestamp::from_nanos(open.from).to_string())),
            ("to".into(), json!(end.to_string())),
        ];
        out.push(Due {
            fields,
            ..Due::new(Change {
                cause: Cause::Value,
                value: value.map(Value::Float64),
                gap: open.gap,
                received: Some(end),
                ..change_without_sample(tag, quality)
            })
        });
    }

    /// Another run begins now, and what is counted in it.
    pub(crate) fn begin_run(&mut self, now: Timestamp, run: Option<Run>) {
        if self.open.is_none() {
            self.run = run;
            self.count_from(now);
        }
    }

    /// Counts from now on what is in no window yet.
    pub(crate) fn count_from(&mut self, now: Timestamp) {
        self.since = Some(now.as_nanos());
    }

    /// Opens a window where none is, for what is counted in a run. It began before the first count in it, as far as it was counted then.
    pub(crate) fn open_for(&mut self, spec: WindowSpec, now: Moment, run: Option<Run>) {
        if self.open.is_some() {
            return;
        }
        self.run = run;
        let mut open = Open::begin(spec, now, None);
        if let Some(since) = self.since {
            let every = i64::try_from(spec.every.as_nanos()).unwrap_or(i64::MAX);
            let begin = open.to.saturating_sub(every);
            open.from = begin.max(since).min(open.from);
        }
        self.open = Some(open);
    }

    /// The run in which it is counted.
    pub(crate) fn run_id(&self) -> Option<&str> {
        self.run.as_ref().map(|run| &*run.id)
    }

    /// The span of a window that ends, where only its length matters: counts are summed elsewhere.
    pub(crate) fn close_span(&mut self, now: Timestamp) -> Option<(Timestamp, Timestamp, Option<Run>)> {
        let open = self.open.take()?;
        let to = Timestamp::from_nanos(open.to).min(now);
        self.count_from(to);
        Some((Timestamp::from_nanos(open.from), to, self.run.clone()))
    }
}

impl Open {
    fn begin(spec: WindowSpec, now: Moment, value: Option<f64>) -> Self {
        let every = i64::try_from(spec.every.as_nanos()).unwrap_or(i64::MAX).max(1);
        let from = now.wall.as_nanos();
        let left = every - from.rem_euclid(every);
        Self {
            from,
            to: from.saturating_add(left),
            due: now.clock + Duration::from_nanos(left.unsigned_abs()),
            n: 0,
            min: value,
            max: value,
            sum: 0.0,
            seconds: 0.0,
            last: value.map(|value| (value, now.clock)),
            gap: false,
            unwatched: None,
            doubtful: false,
            last_doubtful: false,
        }
    }

    /// The window after this one, which begins with its last value. Where the wall clock was set, or more windows have passed than are
    /// told, it is the one of now.
    fn next(&self, spec: WindowSpec, value: f64, now: Moment) -> Self {
        let passed = now.clock.saturating_sub(self.due);
        let was_to_end = now.wall.before(passed);
        let to = Timestamp::from_nanos(self.to);
        let drift = was_to_end.since(to).max(to.since(was_to_end));
        let skips = passed / MOST_AT_ONCE >= spec.every;
        let begin = if skips {
            now
        } else {
            Moment {
                wall: if drift > DRIFT { was_to_end } else { to },
                clock: self.due,
            }
        };
        let unwatched = self.unwatched.filter(|until| begin.clock < *until);
        Self {
            gap: skips || unwatched.is_some(),
            unwatched,
            doubtful: self.last_doubtful || unwatched.is_some(),
            last_doubtful: self.last_doubtful,
            ..Self::begin(spec, begin, Some(value))
        }
    }

    /// Adds what the last value weighs until now.
    fn weigh(&mut self, until: Duration) {
        if let Some((value, since)) = &mut self.last {
            let seconds = until.saturating_sub(*since).as_secs_f64();
            self.sum += *value * seconds;
            self.seconds += seconds;
            *since = until.max(*since);
        }
    }

    fn count(&mut self, value: f64) {
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = Some(self.max.map_or(value, |max| max.max(value)));
    }
}
