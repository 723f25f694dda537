//! Quality of a value, in the layout of an OPC UA status code.

use std::fmt;

/// How far a value can be trusted, as an OPC UA `StatusCode` (OPC 10000-4 §7.39).
///
/// The two highest bits are the severity; adapters of other protocols use the codes below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Quality(pub u32);

/// The severity of a [`Quality`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QualityClass {
    /// The value is what the device says, now.
    Good,
    /// The value may be used with care: the device doubts it.
    Uncertain,
    /// The value must not be used.
    Bad,
}

impl Quality {
    /// `Good` (0x00000000).
    pub const GOOD: Self = Self(0);
    /// `Uncertain` (0x40000000).
    pub const UNCERTAIN: Self = Self(0x4000_0000);
    /// `Bad` (0x80000000): no reason known.
    pub const BAD: Self = Self(0x8000_0000);
    /// `BadCommunicationError` (0x80050000): the link failed while the value was read.
    pub const BAD_COMMUNICATION_ERROR: Self = Self(0x8005_0000);
    /// `BadTimeout` (0x800A0000): the device did not answer in time.
    pub const BAD_TIMEOUT: Self = Self(0x800A_0000);
    /// `BadNoCommunication` (0x80310000): the source is not reachable.
    pub const BAD_NO_COMMUNICATION: Self = Self(0x8031_0000);
    /// `BadOutOfRange` (0x803C0000): the address is not there, or the value does not fit.
    pub const BAD_OUT_OF_RANGE: Self = Self(0x803C_0000);
    /// `BadDeviceFailure` (0x808B0000): the device reports a failure of its own.
    pub const BAD_DEVICE_FAILURE: Self = Self(0x808B_0000);
    /// `BadDecodingError` (0x80070000): the bytes are no value of the configured type.
    pub const BAD_DECODING_ERROR: Self = Self(0x8007_0000);

    /// The severity, from the two highest bits. The reserved fourth severity counts as bad.
    #[must_use]
    pub fn class(self) -> QualityClass {
        match self.0 >> 30 {
            0 => QualityClass::Good,
            1 => QualityClass::Uncertain,
            _ => QualityClass::Bad,
        }
    }

    /// The one of the two that can be trusted less.
    #[must_use]
    pub fn max_severity(self, other: Self) -> Self {
        let severity = |quality: Self| match quality.class() {
            QualityClass::Good => 0,
            QualityClass::Uncertain => 1,
            QualityClass::Bad => 2,
        };
        if severity(other) > severity(self) {
            other
        } else {
            self
        }
    }

    /// Whether the value may be shown as good.
    #[must_use]
    pub fn is_good(self) -> bool {
        self.class() == QualityClass::Good
    }

    /// Whether the value must not be used.
    #[must_use]
    pub fn is_bad(self) -> bool {
        self.class() == QualityClass::Bad
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08X}", self.0)
    }
}

impl QualityClass {
    /// The word used in events: `good`, `uncertain` or `bad`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_is_read_from_the_two_highest_bits() {
        assert_eq!(Quality(0x0000_0480).class(), QualityClass::Good);
        assert_eq!(Quality(0x408F_0000).class(), QualityClass::Uncertain);
        assert_eq!(Quality(0x8034_0000).class(), QualityClass::Bad);
        assert_eq!(Quality(0xC000_0000).class(), QualityClass::Bad);
    }
}
