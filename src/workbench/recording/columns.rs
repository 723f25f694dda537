//! The columns of a block, and numbers in them.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// The columns. What is alike stands together, so that it packs well.
///
/// - `calls`: a byte for each entry (see [`kind`]) and what it needs: the source, how many notices and samples.
/// - `texts`: length and UTF-8 of each text, in the order in which they are needed.
/// - `times`: of each call the wall clock after that of the call before it, the monotonic clock after what it would be by that, and by how
///   much the receipt was before: twice the folded number of microseconds, or 1 and the nanoseconds where they are no multiple of that.
/// - `tags`: of each sample its tag's number after that of the sample before it.
/// - `forms`: of each sample what it has: bits 0 to 3 the kind of its value, 4 to 6 which times, 7 that its quality is not good, 8 that values
///   before it were lost, from 9 on the decimals of a number that has few.
/// - `values`: the quality where it is not good; whole numbers after the one that the tag had before in the block; 64-bit floating-point numbers
///   that are short in decimals as whole numbers of the last one, after the one with as many; other floating-point numbers as the bits that
///   are others than before; a list as its length and the form of each of its values before that, and a record as a list, with its names in `texts`.
/// - `stamps`: source times after the one before in the block, and server times after their source time, as in `times` but in units of 100 ns.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) calls: Vec<u8>,
    pub(super) texts: Vec<u8>,
    pub(super) times: Vec<u8>,
    pub(super) tags: Vec<u8>,
    pub(super) forms: Vec<u8>,
    pub(super) values: Vec<u8>,
    pub(super) stamps: Vec<u8>,
}

impl Columns {
    pub(super) fn all(&self) -> [&Vec<u8>; 7] {
        [
            &self.calls,
            &self.texts,
            &self.times,
            &self.tags,
            &self.forms,
            &self.values,
            &self.stamps,
        ]
    }
}

/// Kinds of entries.
pub(super) mod kind {
    pub(crate) const NAMES: u8 = 1;
    pub(crate) const CELL: u8 = 2;
    pub(crate) const APPLY: u8 = 3;
    pub(crate) const ANSWER: u8 = 4;
    pub(crate) const ADVANCE: u8 = 5;
    pub(crate) const LEAVE_OUT: u8 = 6;
    pub(crate) const HOLE: u8 = 7;
    pub(crate) const BEGIN: u8 = 8;
    pub(crate) const STANDING: u8 = 9;
}

/// Kinds of values.
pub(super) mod form {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const FALSE: u8 = 1;
    pub(crate) const TRUE: u8 = 2;
    pub(crate) const INT: u8 = 3;
    pub(crate) const UINT: u8 = 4;
    pub(crate) const FLOAT32: u8 = 5;
    pub(crate) const FLOAT64: u8 = 6;
    pub(crate) const TEXT: u8 = 7;
    pub(crate) const BYTES: u8 = 8;
    pub(crate) const TIME: u8 = 9;
    pub(crate) const LIST: u8 = 10;
    pub(crate) const DECIMAL: u8 = 11;
    pub(crate) const RECORD: u8 = 12;
}

/// The most decimals of a number that is kept by them.
pub(super) const MOST_DECIMALS: u8 = 6;
/// What a number is multiplied by to have so many decimals less.
const POWERS: [f64; MOST_DECIMALS as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Whole numbers up to here are exact in 64-bit floating-point numbers (2^53).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number of few decimals: how many, and the whole number of the last one. It is made of them again to the bit.
pub(super) fn decimal(number: f64) -> Option<(u8, i64)> {
    (0..).zip(POWERS).find_map(|(decimals, power)| {
        let whole = (number * power).round();
        #[allow(clippy::cast_possible_truncation)] // it is below 2^53
        let whole = (whole.abs() < EXACT).then_some(whole as i64)?;
        (of_decimal(decimals, whole).to_bits() == number.to_bits()).then_some((decimals, whole))
    })
}

/// The number of so many decimals.
pub(super) fn of_decimal(decimals: u8, whole: i64) -> f64 {
    // More decimals than are ever written stand in a damaged block only.
    whole as f64 / POWERS.get(usize::from(decimals)).unwrap_or(&1.0)
}

/// Which times a sample has.
pub(super) mod stamp {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const SOURCE: u8 = 1;
    pub(crate) const BOTH_SAME: u8 = 2;
    pub(crate) const BOTH: u8 = 3;
    pub(crate) const SERVER: u8 = 4;
}

/// Kinds of notices.
pub(super) mod notice {
    pub(crate) const ONLINE_NEW: u8 = 1;
    pub(crate) const ONLINE_RESUMED: u8 = 2;
    pub(crate) const CAUGHT_UP: u8 = 3;
    pub(crate) const OFFLINE: u8 = 4;
    pub(crate) const STALE: u8 = 5;
    pub(crate) const GAP_SOURCE: u8 = 6;
    pub(crate) const GAP_TAGS: u8 = 7;
    pub(crate) const HISTORY: u8 = 8;
    /// Set beside a kind that has a reason: a runbook's paragraph about it is the text after it.
    pub(crate) const SEE: u8 = 1 << 7;
}

/// The bit of a form that says that the quality is not good, and the one that values were lost.
pub(super) const NOT_GOOD: u64 = 1 << 7;
pub(super) const GAP: u64 = 1 << 8;
/// From this bit on a form has how many decimals a number has.
pub(super) const DECIMALS: u32 = 9;

/// The units of times: what the gateway's clock counts in, and what an OPC UA `DateTime` does (OPC 10000-6 §5.2.2.5).
pub(super) const MICRO: i64 = 1000;
pub(super) const TICK: i64 = 100;

/// What the last values of tags in the block were, as bits.
#[derive(Debug, Default)]
pub(super) struct Last(HashMap<(u32, u8), u64, FixedState>);

impl Last {
    /// A block begins.
    pub(super) fn begin(&mut self) {
        self.0.clear();
    }

    /// Makes the next value of the one before of its form, keeps it and gives it.
    pub(super) fn replace(&mut self, tag: (u32, u8), next: impl FnOnce(u64) -> u64) -> u64 {
        let value = self.0.entry(tag).or_default();
        *value = next(*value);
        *value
    }
}

/// Appends a number in LEB128.
pub(super) fn put(column: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        column.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    column.push(u8::try_from(number).unwrap_or(0));
}

/// Appends a signed number, folded.
pub(super) fn put_signed(column: &mut Vec<u8>, number: i64) {
    put(column, fold(number));
}

/// Appends nanoseconds in larger units, where they are whole.
pub(super) fn put_time(column: &mut Vec<u8>, nanos: i64, unit: i64) {
    if nanos % unit == 0 {
        put(column, fold(nanos / unit) << 1);
    } else {
        put(column, 1);
        put_signed(column, nanos);
    }
}

/// Appends a text.
pub(super) fn put_text(column: &mut Vec<u8>, text: &[u8]) {
    put(column, text.len() as u64);
    column.extend_from_slice(text);
}

pub(super) fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(super) fn unfold(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Reads a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

/// What is wrong with a block whose sum is right: it was written by something else.
pub(super) const ENDS: &str = "a column ends too early";

impl<'a> Cursor<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.0.split_first().ok_or(ENDS)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is too long")
    }

    /// What [`put_time`] appended.
    pub(super) fn time(&mut self, unit: i64) -> Result<i64, &'static str> {
        match self.number()? {
            1 => self.signed(),
            number => Ok(unfold(number >> 1).wrapping_mul(unit)),
        }
    }

    pub(super) fn signed(&mut self) -> Result<i64, &'static str> {
        self.number().map(unfold)
    }

    /// A number that is not larger than what is left could give, so that nothing is reserved for what is not there.
    pub(super) fn count(&mut self, most: usize) -> Result<usize, &'static str> {
        let count = usize::try_from(self.number()?).map_err(|_| ENDS)?;
        if count > most { Err(ENDS) } else { Ok(count) }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let length = usize::try_from(self.number()?).map_err(|_| ENDS)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(ENDS)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text is no UTF-8")
    }
}
