//! From registers to values.

use floorgate_sample::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decimal::{Linear, Scaled};

/// Order of the bytes of a number over its registers; A is the most significant byte.
///
/// 64-bit numbers follow the same two questions: is the first register the most significant one (`ABCD`, `BADC`) or the
/// least (`CDAB`, `DCBA`), and is a register's first byte its most significant one (`ABCD`, `CDAB`) or not. 16-bit
/// numbers and text have only the second.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub(crate) enum WordOrder {
    /// Big-endian, as the Modbus specification sends registers.
    #[default]
    #[serde(rename = "ABCD")]
    Abcd,
    /// Registers swapped.
    #[serde(rename = "CDAB")]
    Cdab,
    /// Bytes swapped in each register.
    #[serde(rename = "BADC")]
    Badc,
    /// Little-endian: both.
    #[serde(rename = "DCBA")]
    Dcba,
}

impl WordOrder {
    pub(crate) fn swaps_words(self) -> bool {
        matches!(self, Self::Cdab | Self::Dcba)
    }

    pub(crate) fn swaps_bytes(self) -> bool {
        matches!(self, Self::Badc | Self::Dcba)
    }

    fn word(self, word: u16) -> u16 {
        if self.swaps_bytes() {
            word.swap_bytes()
        } else {
            word
        }
    }

    /// The words as one number of up to 64 bits.
    fn number(self, words: &[u16]) -> u64 {
        let join = |number: u64, word: &u16| number << 16 | u64::from(self.word(*word));
        if self.swaps_words() {
            words.iter().rev().fold(0, join)
        } else {
            words.iter().fold(0, join)
        }
    }
}

/// Encoding of text.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// ASCII; a byte from 128 on makes the value bad.
    #[default]
    Ascii,
    /// ISO 8859-1: every byte is a character.
    Latin1,
    /// UTF-8; a sequence that is none makes the value bad.
    Utf8,
}

/// What the registers of a tag are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A coil or discrete input, or this bit of a register (0 is the least significant).
    Bit(u8),
    /// An integer.
    Integer {
        /// Whether its highest bit is the sign.
        signed: bool,
        /// How it stands in an event.
        shown: Shown,
    },
    /// A 32-bit floating-point number (IEEE 754).
    Float32,
    /// A 64-bit floating-point number.
    Float64,
    /// Text.
    Text {
        /// Length in bytes.
        bytes: u16,
        encoding: Encoding,
        /// Whether the text ends at the first NUL and loses white space at its end.
        trim: bool,
    },
}

/// The type that an integer has after scaling, the same for every value of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Int,
    UInt,
    Float,
}

impl Shown {
    /// The type that can show every integer from `least` to `most` after scaling.
    pub(crate) fn of(least: i128, most: i128, signed: bool, linear: &Linear) -> Self {
        let (Scaled::Whole(a), Scaled::Whole(b)) = (linear.of_integer(least), linear.of_integer(most)) else {
            return Self::Float;
        };
        let (low, high) = (a.min(b), a.max(b));
        if !signed && low >= 0 && u64::try_from(high).is_ok() {
            Self::UInt
        } else if i64::try_from(low).is_ok() && i64::try_from(high).is_ok() {
            Self::Int
        } else {
            Self::Float
        }
    }
}

/// How the registers of a tag become its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decode {
    pub kind: Kind,
    pub order: WordOrder,
    pub linear: Linear,
}

impl Decode {
    /// What of the words makes a difference: of a bit in a register, the bit.
    pub(crate) fn significant(&self, word: u16) -> u16 {
        match self.kind {
            Kind::Bit(bit) => self.order.word(word) >> bit & 1,
            _ => word,
        }
    }

    /// The value; `None` where the bytes are no text of the encoding.
    pub(crate) fn value(&self, words: &[u16]) -> Option<Value> {
        match self.kind {
            Kind::Bit(_) => Some(Value::Bool(self.significant(*words.first()?) == 1)),
            Kind::Integer { signed, shown } => Some(self.integer(words, signed, shown)),
            Kind::Float32 => {
                let bits = u32::try_from(self.order.number(words)).ok()?;
                let number = f32::from_bits(bits);
                if self.linear.is_identity() {
                    return Some(Value::Float32(number));
                }
                // The number that the 32 bits stand for when written out: 0.1 stays 0.1 and does not become
                // 0.10000000149 on its way to 64 bits.
                let written = format!("{number}").parse().unwrap_or(f64::NAN);
                Some(Value::Float64(self.linear.of_float(written)))
            }
            Kind::Float64 => Some(Value::Float64(
                self.float(f64::from_bits(self.order.number(words))),
            )),
            Kind::Text {
                bytes,
                encoding,
                trim,
            } => self.text(words, bytes, encoding, trim),
        }
    }

    fn float(&self, number: f64) -> f64 {
        if self.linear.is_identity() {
            number
        } else {
            self.linear.of_float(number)
        }
    }

    fn integer(&self, words: &[u16], signed: bool, shown: Shown) -> Value {
        let number = self.order.number(words);
        let unused = 64 - 16 * u32::try_from(words.len().clamp(1, 4)).unwrap_or(4);
        let raw = if signed {
            i128::from((number << unused).cast_signed() >> unused)
        } else {
            i128::from(number)
        };
        let scaled = self.linear.of_integer(raw);
        match (shown, scaled) {
            (Shown::Int, Scaled::Whole(whole)) => {
                i64::try_from(whole).map_or(Value::Float64(whole as f64), Value::Int)
            }
            (Shown::UInt, Scaled::Whole(whole)) => {
                u64::try_from(whole).map_or(Value::Float64(whole as f64), Value::UInt)
            }
            (Shown::Float, Scaled::Whole(whole)) => Value::Float64(whole as f64),
            (_, Scaled::Fraction(fraction)) => Value::Float64(fraction),
        }
    }

    fn text(&self, words: &[u16], bytes: u16, encoding: Encoding, trim: bool) -> Option<Value> {
        let mut raw: Vec<u8> = words
            .iter()
            .flat_map(|&word| self.order.word(word).to_be_bytes())
            .collect();
        raw.truncate(usize::from(bytes));
        if trim && let Some(end) = raw.iter().position(|&byte| byte == 0) {
            raw.truncate(end);
        }
        let text = match encoding {
            Encoding::Ascii if !raw.is_ascii() => return None,
            Encoding::Ascii | Encoding::Utf8 => String::from_utf8(raw).ok()?,
            Encoding::Latin1 => raw.into_iter().map(char::from).collect(),
        };
        Some(Value::text(if trim { text.trim_end() } else { text.as_str() }))
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
