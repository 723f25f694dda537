//! How a counter counts, as it is written.

use std::borrow::Cow;
use std::fmt;

use floorgate_core::plan::Counter;
use floorgate_yaml::{Problems, Spanned, Within};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

/// How a counter counts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as {width: 32}")]
pub(crate) struct CounterForm {
    /// Its width in bits: 32 counts to 4294967295 and then from 0. 1 to 64. Of a counter with `decimals` it counts the last of them.
    #[serde(default)]
    pub width: Option<Within<u8, 1, 64>>,
    /// Its largest value, where that is not the end of its width (2147483647 for those of `PackML`, 999999.9 of a meter that shows so much).
    #[serde(default)]
    pub max: Option<Amount>,
    /// Largest plausible step: a larger one says `implausible` in its event. A smaller value than before is a rollover when the step over
    /// the end is at most this, else a reset. Without it none is implausible, and a rollover is at most a hundredth of the largest value.
    #[serde(default)]
    pub largest_step: Option<Amount>,
    /// The decimals that it has, 0 to 9: 1 of a meter that counts tenths. What is counted, and the total, have as many.
    #[serde(default)]
    pub decimals: Option<Within<u8, 0, 9>>,
    /// The tag of the same source that is true when the counter is set back (the change of shift): what comes next was
    /// counted from 0.
    #[serde(default)]
    pub reset: Option<Spanned<String>>,
}

/// A number of a counter, in its unit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    Whole(u64),
    Decimal(f64),
}

impl Amount {
    /// In units of the last of so many decimals; `None` where it has more of them, or is too large.
    fn in_units(self, decimals: u8) -> Option<u64> {
        match self {
            Self::Whole(whole) => whole.checked_mul(10_u64.pow(decimals.into())),
            Self::Decimal(number) => {
                let power = 10_f64.powi(decimals.into());
                let units = (number * power).round();
                // Both are the numbers next to the decimal that is written.
                #[allow(clippy::float_cmp)]
                let is_exact = units < 9.0e15 && units / power == number;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is in the range
                is_exact.then_some(units as u64)
            }
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Decimal(number) => number.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;

        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number not below 0")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Amount, E> {
                Ok(Amount::Whole(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Amount, E> {
                u64::try_from(value)
                    .map(Amount::Whole)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Amount, E> {
                if value.is_finite() && value >= 0.0 {
                    Ok(Amount::Decimal(value))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(value), &self))
                }
            }
        }

        deserializer.deserialize_any(AmountVisitor)
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0 })
    }
}

/// The counter that a tag is, where it is one.
pub(crate) fn counter_of(
    name: &str,
    form: &Spanned<CounterForm>,
    problems: &mut Problems,
) -> Option<Counter> {
    let decimals = form.decimals.map_or(0, Within::get);
    let in_units = |key: &str, amount: Amount, problems: &mut Problems| {
        let units = amount.in_units(decimals);
        if units.is_none() {
            let has = match decimals {
                0 => "counts whole numbers".to_owned(),
                1 => "has 1 decimal".to_owned(),
                more => format!("has {more} decimals"),
            };
            problems
                .error(
                    form.span,
                    format!("counter `{name}` {has}, and its `{key}` is {amount}"),
                )
                .hint("say with `decimals` how many the counter shows, or give another number");
        }
        units
    };
    let max = match (form.width, form.max) {
        (Some(width), None) => u64::MAX >> (64 - u32::from(width.get())),
        (None, Some(max)) => match in_units("max", max, problems)? {
            0 => {
                problems
                    .error(
                        form.span,
                        format!("counter `{name}`: a largest value of 0 counts nothing"),
                    )
                    .hint("`max` is the value after which the counter begins with 0 again");
                return None;
            }
            max => max,
        },
        (Some(_), Some(_)) => {
            problems
                .error(form.span, format!("counter `{name}` has both `width` and `max`"))
                .hint("keep `max` where the counter rolls over before its width ends, else `width`");
            return None;
        }
        (None, None) => {
            problems
                .error(
                    form.span,
                    format!("counter `{name}` has neither `width` nor `max`"),
                )
                .hint("such as `{width: 32}`, or `{max: 2147483647}` for PackML's counters");
            return None;
        }
    };
    let largest_step = match form.largest_step {
        Some(step) => Some(in_units("largest_step", step, problems)?),
        None => None,
    };
    let counter = Counter {
        max,
        largest_step,
        decimals,
    };
    if largest_step.is_some_and(|step| step > max || step == 0) {
        let most = in_unit(max, decimals);
        problems
            .error(
                form.span,
                format!("counter `{name}`: `largest_step` is out of range"),
            )
            .hint(format!("{} to {most}", in_unit(1, decimals)));
    }
    Some(counter)
}

/// A number of a counter's units, in the counter's own unit.
pub(crate) fn in_unit(units: u64, decimals: u8) -> String {
    let power = 10_u64.pow(decimals.into());
    match decimals {
        0 => units.to_string(),
        _ => format!(
            "{}.{:0width$}",
            units / power,
            units % power,
            width = usize::from(decimals)
        ),
    }
}
