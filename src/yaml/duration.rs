//! Lengths of time as people write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A length of time: a whole number with a unit, `us`, `ms`, `s`, `m`, `h` or `d`; `0` needs none.
///
/// At most 365 days, so that sums of settings cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(time::Duration);

/// Longest length of time that a setting takes.
const LONGEST: time::Duration = time::Duration::from_hours(365 * 24);

/// Text that is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no length of time")]
pub struct NoDuration {
    text: String,
}

impl Duration {
    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }

    /// From seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(time::Duration::from_secs(secs))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn get(self) -> time::Duration {
        self.0
    }

    /// In milliseconds, rounded down.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        let wrong = || NoDuration {
            text: text.to_owned(),
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let micros = match unit.trim_start_matches(' ') {
            "us" | "µs" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" | "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            "" if number == 0 => 1,
            _ => return Err(wrong()),
        };
        let duration = number
            .checked_mul(micros)
            .map(time::Duration::from_micros)
            .ok_or_else(wrong)?;
        if duration > LONGEST {
            Err(wrong())
        } else {
            Ok(Self(duration))
        }
    }
}

/// In the largest unit that is exact.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let units = [
            (86_400_000_000, "d"),
            (3_600_000_000, "h"),
            (60_000_000, "m"),
            (1_000_000, "s"),
            (1_000, "ms"),
        ];
        match units
            .into_iter()
            .find(|(unit, _)| micros > 0 && micros.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{}{name}", micros / unit),
            None if micros == 0 => f.write_str("0s"),
            None => write!(f, "{micros}us"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;

        impl Visitor<'_> for DurationVisitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as 500ms, 10s, 5m or 1h")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse()
                    .map_err(|_| de::Error::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
                match number {
                    0 => Ok(Duration::default()),
                    _ => Err(E::custom(format!(
                        "{number} has no unit\nwrite {number}ms, {number}s or {number}m"
                    ))),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(de::Error::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }

        deserializer.deserialize_any(DurationVisitor)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?(us|µs|ms|s|m|min|h|d)$",
            "maximum": 0,
            "minimum": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, millis) in [
            ("10ms", 10),
            ("1s", 1_000),
            ("5m", 300_000),
            ("2 h", 7_200_000),
            ("0", 0),
        ] {
            assert_eq!(
                text.parse::<Duration>().map(Duration::as_millis),
                Ok(millis),
                "{text}"
            );
        }
        for text in [
            "",
            "ms",
            "10",
            "1.5s",
            "-1s",
            "10 parsecs",
            "99999999999999999999s",
            "366d",
            "1s ",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["0s", "1us", "1500us", "10ms", "90s", "5m", "1h", "2d"] {
            assert_eq!(
                text.parse::<Duration>().map(|d| d.to_string()).as_deref(),
                Ok(text)
            );
        }
    }
}
