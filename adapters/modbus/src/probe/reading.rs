//! What registers may be: each in all types and word orders, with a mark at what is plausible.

use std::ops::Range;

use floorgate_sample::Value;
use serde::Serialize;

use crate::decimal::{Decimal, Linear};
use crate::decode::{Decode, Kind, Shown, WordOrder};

/// The word orders, in the order in which they are shown.
pub(crate) const ORDERS: [WordOrder; 4] =
    [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba];
/// Their names.
pub const ORDER_NAMES: [&str; 4] = ["ABCD", "CDAB", "BADC", "DCBA"];

/// Plausible floating-point numbers: what a plant measures is neither smaller nor larger.
const LEAST_FLOAT: f64 = 1e-6;
const MOST_FLOAT: f64 = 1e9;
/// Plausible integers of 32 bits and more: what fits on a counter's display. One of which a register is 0 is seen better as `u16`.
const MOST_WHOLE: i128 = 9_999_999;
/// Fewest registers of a text.
const LEAST_TEXT: usize = 3;

/// Registers that were read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub start: u32,
    pub words: Vec<u16>,
}

/// One register, and what it is the beginning of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Its address, counted from 0.
    pub address: u32,
    /// As it was sent.
    pub hex: String,
    /// Unsigned.
    pub u16: u16,
    /// Signed.
    pub i16: i16,
    /// Its two bytes as characters; `.` for what is none.
    pub text: String,
    /// With the registers behind it: each type in all word orders.
    pub wide: Vec<Wide>,
}

/// A number over several registers, in all word orders.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wide {
    /// Its type as an address names it: `f32`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its value in each order.
    pub orders: Vec<InOrder>,
}

/// A number in one word order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InOrder {
    /// `ABCD`.
    pub word_order: &'static str,
    /// The number; as text where JSON has none for it (not a number, infinite).
    pub value: Number,
    /// It is of a size that is usual for what plants measure and count. It says no more than that.
    pub plausible: bool,
}

/// A number as JSON has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Number {
    /// Whole and not negative.
    UInt(u64),
    /// Whole.
    Int(i64),
    /// 32 bits.
    Float32(f32),
    /// 64 bits.
    Float64(f64),
    /// `NaN`, `inf`.
    Text(String),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UInt(number) => write!(f, "{number}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float32(number) => write_float(f, (*number).into(), &number.to_string()),
            Self::Float64(number) => write_float(f, *number, &number.to_string()),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// As it is written out, or with an exponent where that would be long.
fn write_float(f: &mut std::fmt::Formatter<'_>, number: f64, written: &str) -> std::fmt::Result {
    if number == 0.0 || (1e-5..1e10).contains(&number.abs()) {
        f.write_str(written)
    } else {
        write!(f, "{number:.2e}")
    }
}

/// The types over several registers: name, registers, kind.
const WIDE: [(&str, usize, Kind); 6] = [
    ("f32", 2, Kind::Float32),
    ("u32", 2, UNSIGNED),
    ("i32", 2, SIGNED),
    ("f64", 4, Kind::Float64),
    ("u64", 4, UNSIGNED),
    ("i64", 4, SIGNED),
];
const UNSIGNED: Kind = Kind::Integer {
    signed: false,
    shown: Shown::UInt,
};
const SIGNED: Kind = Kind::Integer {
    signed: true,
    shown: Shown::Int,
};

/// All registers of a block, with numbers over up to `widest` registers. Numbers whose registers are all 0 are left out.
pub(super) fn readings(block: &Block, widest: usize) -> Vec<Reading> {
    (block.start..)
        .zip(0..block.words.len())
        .map(|(address, at)| {
            let word = block.words[at];
            Reading {
                address,
                hex: format!("{word:04X}"),
                u16: word,
                i16: word.cast_signed(),
                text: word.to_be_bytes().map(shown).iter().collect(),
                wide: wide(&block.words[at..], widest),
            }
        })
        .collect()
}

fn shown(byte: u8) -> char {
    if is_printable(byte) { char::from(byte) } else { '.' }
}

fn is_printable(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

fn wide(words: &[u16], widest: usize) -> Vec<Wide> {
    WIDE.into_iter()
        .filter(|(_, len, _)| *len <= widest)
        .filter_map(|(kind, len, of)| {
            let words = words.get(..len)?;
            if words.iter().all(|word| *word == 0) {
                return None;
            }
            Some(Wide {
                kind,
                orders: ORDERS
                    .into_iter()
                    .zip(ORDER_NAMES)
                    .filter_map(|(order, word_order)| {
                        let value = decoded(words, of, order)?;
                        let is_float = matches!(of, Kind::Float32 | Kind::Float64);
                        Some(InOrder {
                            word_order,
                            plausible: is_plausible(&value) && (is_float || !words.contains(&0)),
                            value: number(&value),
                        })
                    })
                    .collect(),
            })
        })
        .collect()
}

/// As the adapter itself would read it.
fn decoded(words: &[u16], kind: Kind, order: WordOrder) -> Option<Value> {
    let linear = Linear::new(Decimal::ONE, Decimal::ZERO);
    Decode { kind, order, linear }.value(words)
}

fn number(value: &Value) -> Number {
    match value {
        Value::UInt(number) => Number::UInt(*number),
        Value::Int(number) => Number::Int(*number),
        Value::Float32(number) if number.is_finite() => Number::Float32(*number),
        Value::Float64(number) if number.is_finite() => Number::Float64(*number),
        Value::Float32(number) => Number::Text(number.to_string()),
        Value::Float64(number) => Number::Text(number.to_string()),
        other => Number::Text(format!("{other:?}")),
    }
}

fn is_plausible(value: &Value) -> bool {
    let whole = |number: i128| number != 0 && number.abs() <= MOST_WHOLE;
    let float = |number: f64| (LEAST_FLOAT..=MOST_FLOAT).contains(&number.abs());
    match value {
        Value::UInt(number) => whole((*number).into()),
        Value::Int(number) => whole((*number).into()),
        Value::Float32(number) => float((*number).into()),
        Value::Float64(number) => float(*number),
        _ => false,
    }
}

/// Of how many pairs of registers each word order makes a plausible `f32`: that the right one is seen.
///
/// Pairs are those that stand at an even distance from the beginning of a block of registers that are not 0, where a
/// device would put a table of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Pairs that were looked at.
    pub pairs: usize,
    /// Of these, plausible in `ABCD`, `CDAB`, `BADC` and `DCBA`.
    pub plausible: [usize; 4],
    /// In any of them.
    pub in_any: usize,
}

impl Tally {
    pub(super) fn add(&mut self, block: &Block) {
        for run in runs(&block.words) {
            for pair in block.words[run].chunks_exact(2) {
                self.pairs += 1;
                let is_plausible = |order| {
                    let value = decoded(pair, Kind::Float32, order);
                    value.is_some_and(|value| is_plausible(&value))
                };
                let found = ORDERS.map(is_plausible);
                for (count, is_plausible) in self.plausible.iter_mut().zip(found) {
                    *count += usize::from(is_plausible);
                }
                self.in_any += usize::from(found.contains(&true));
            }
        }
    }

    /// The order that makes sense of more pairs than each other, and of two in three of those that make sense at all.
    pub(super) fn best(&self) -> Option<usize> {
        let best = (0..4).max_by_key(|at| self.plausible[*at])?;
        let most = self.plausible[best];
        let is_alone = (0..4).all(|at| at == best || self.plausible[at] < most);
        (is_alone && most * 3 >= self.in_any * 2).then_some(best)
    }
}

/// Neighbouring registers of which no two in a row are 0, each beginning at an even distance from the block's beginning
/// and of an even length where the block has one more.
fn runs(words: &[u16]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, pair) in words.chunks(2).enumerate() {
        if pair.iter().all(|word| *word == 0) {
            continue;
        }
        let (start, end) = (at * 2, at * 2 + pair.len());
        match found.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => found.push(start..end),
        }
    }
    found
}

/// A text in the registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextFound {
    /// Its first register.
    pub address: u32,
    /// How many there are.
    pub registers: usize,
    /// `ABCD`, or `BADC` where each register's bytes are swapped.
    pub word_order: &'static str,
    /// The text.
    pub text: String,
}

/// Texts of a block: at least three registers of printable characters, ended by NUL or by what is none.
pub(super) fn texts(block: &Block) -> Vec<TextFound> {
    let mut found = Vec::new();
    for (order, word_order) in [(WordOrder::Abcd, "ABCD"), (WordOrder::Badc, "BADC")] {
        let mut at = 0;
        while at < block.words.len() {
            let len = text_length(&block.words[at..], order);
            if len >= LEAST_TEXT {
                let kind = Kind::Text {
                    bytes: u16::try_from(len * 2).unwrap_or(u16::MAX),
                    encoding: crate::decode::Encoding::Ascii,
                    trim: true,
                };
                if let Some(Value::Text(text)) = decoded(&block.words[at..at + len], kind, order) {
                    found.push(TextFound {
                        address: block.start + u32::try_from(at).unwrap_or_default(),
                        registers: len,
                        word_order,
                        text: text.to_string(),
                    });
                }
            }
            at += len.max(1);
        }
    }
    // The same registers in both orders: the one that reads as words has its spaces and capitals where they belong, which
    // nobody can tell from here. Both are shown.
    found.sort_by_key(|text| text.address);
    found
}

/// How many registers from the first on are one text, the one with its NUL included.
fn text_length(words: &[u16], order: WordOrder) -> usize {
    let mut len = 0;
    for word in words {
        let [first, second] = if order.swaps_bytes() {
            word.to_le_bytes()
        } else {
            word.to_be_bytes()
        };
        if !is_printable(first) {
            break;
        }
        len += 1;
        if !is_printable(second) {
            if second != 0 {
                len -= 1;
            }
            break;
        }
    }
    len
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
