//! Values of tags.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::Timestamp;

/// A value of a tag, in the type that the device gave it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A boolean, a coil, a discrete input.
    Bool(bool),
    /// A signed integer of up to 64 bits.
    Int(i64),
    /// An unsigned integer of up to 64 bits.
    UInt(u64),
    /// A 32-bit floating-point number, kept apart so that 0.1 stays 0.1 in an event.
    Float32(f32),
    /// A 64-bit floating-point number.
    Float64(f64),
    /// Text.
    Text(Arc<str>),
    /// Raw bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Time(Timestamp),
    /// An array.
    List(Arc<[Value]>),
    /// Named parts, in the device's order, each name once: a structure. A part that the device left empty is not among them.
    Record(Arc<[(Arc<str>, Value)]>),
}

/// Largest integer up to which every integer is exact in a JSON number (RFC 8259 §6: 2^53 − 1).
const EXACT_IN_JSON: u64 = (1 << 53) - 1;

impl Value {
    /// How deep lists and records may be within one another: adapters hand on none that is deeper, and recordings hold none.
    pub const DEEPEST: usize = 32;

    /// How many lists and records are within one another; 0 of what is neither.
    #[must_use]
    pub fn levels(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::levels).max().unwrap_or(0),
            Self::Record(parts) => 1 + parts.iter().map(|(_, part)| part.levels()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// Whether both are the same value of the same type. Unlike `==`, NaN is the same as NaN and
    /// −0 the same as 0, so that neither makes a storm of changes.
    #[must_use]
    #[allow(clippy::float_cmp)] // another bit pattern is another value: a device says what it says
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float32(a), Self::Float32(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::Float64(a), Self::Float64(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.same(b))
            }
            (Self::Record(a), Self::Record(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.0 == b.0 && a.1.same(&b.1))
            }
            (a, b) => a == b,
        }
    }

    /// The part of a record with this name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&Self> {
        let Self::Record(parts) = self else { return None };
        parts.iter().find(|(own, _)| &**own == name).map(|(_, part)| part)
    }

    /// As a number for deadbands and expressions; `None` for what is no number.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Bool(b) => Some(f64::from(u8::from(b))),
            Self::Int(i) => Some(i as f64),
            Self::UInt(u) => Some(u as f64),
            Self::Float32(f) => Some(f64::from(f)),
            Self::Float64(f) => Some(f),
            _ => None,
        }
    }

    /// As an integer for value tables, counters and bits; a floating-point number counts when it is whole.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // guarded by the range check before it
    pub fn as_i128(&self) -> Option<i128> {
        match *self {
            Self::Bool(b) => Some(i128::from(b)),
            Self::Int(i) => Some(i128::from(i)),
            Self::UInt(u) => Some(i128::from(u)),
            Self::Float32(_) | Self::Float64(_) => {
                let f = self.as_f64()?;
                (f.fract() == 0.0 && f.abs() < 9.0e18).then_some(f as i128)
            }
            _ => None,
        }
    }

    /// As text; `None` for what is no text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(i) => write!(f, "{i}"),
            Self::UInt(u) => write!(f, "{u}"),
            Self::Float32(x) => write!(f, "{x}"),
            Self::Float64(x) => write!(f, "{x}"),
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Time(time) => write!(f, "{time}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Record(parts) => {
                f.write_str("{")?;
                for (index, (name, part)) in parts.iter().enumerate() {
                    write!(f, "{}{name}: {part}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// As it stands in an event: a JSON number where that is exact, else text (integers from 2^53 on, NaN,
/// infinities); bytes as lower-case hexadecimal.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Int(i) if i.unsigned_abs() <= EXACT_IN_JSON => serializer.serialize_i64(*i),
            Self::UInt(u) if *u <= EXACT_IN_JSON => serializer.serialize_u64(*u),
            Self::Float32(x) if x.is_finite() => serializer.serialize_f32(*x),
            Self::Float64(x) if x.is_finite() => serializer.serialize_f64(*x),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items.iter()),
            Self::Record(parts) => serializer.collect_map(parts.iter().map(|(name, part)| (&**name, part))),
            other => serializer.collect_str(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_negative_zero_are_no_change() {
        assert!(Value::Float64(f64::NAN).same(&Value::Float64(f64::NAN)));
        assert!(Value::Float32(0.0).same(&Value::Float32(-0.0)));
        let record = |part| Value::Record([("a".into(), Value::Float64(part))].into());
        assert!(record(f64::NAN).same(&record(f64::NAN)) && !record(0.0).same(&record(1.0)));
        assert!(
            !Value::Int(1).same(&Value::UInt(1)),
            "a tag that changes its type has changed"
        );
    }

    #[test]
    fn whole_floats_are_integers_and_others_are_not() {
        assert_eq!(Value::Float32(7.0).as_i128(), Some(7));
        assert_eq!(Value::Float64(7.5).as_i128(), None);
        assert_eq!(Value::Float64(f64::INFINITY).as_i128(), None);
    }
}
