//! What an address says of the values that come from it.

/// What the values of a tag are, as far as its address says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// What they are.
    pub kind: GivenKind,
    /// How far numbers next to each other are apart, in units of their last decimal, where they are no floating-point numbers.
    pub step: u64,
    /// What the adapter calls that, `u16` or `coil`, for messages.
    pub written: &'static str,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenKind {
    /// True or false.
    Bit,
    /// Whole numbers, of all the bits of their type.
    Whole {
        /// The smallest.
        least: i64,
        /// The largest.
        most: u64,
    },
    /// Floating-point numbers, which may be whole.
    Float,
    /// Whole numbers, times or plus something that is not whole.
    Fraction {
        /// The smallest, in units of the last decimal.
        least: i64,
        /// The largest, in the same.
        most: u64,
        /// How many decimals they have.
        decimals: u8,
    },
    /// Text.
    Text,
}
