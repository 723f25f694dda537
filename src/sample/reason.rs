//! Why something is not as it should be.

use std::borrow::Cow;
use std::fmt;

/// Why something is not as it should be, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// In the device's or the system's own words.
    pub told: Cow<'static, str>,
    /// The paragraph of a runbook that says what to do about it, by its name; `None` where there is none.
    pub see: Option<Cow<'static, str>>,
}

impl Reason {
    /// A reason of which a runbook says what to do.
    pub fn new(told: impl Into<Cow<'static, str>>, see: &'static str) -> Self {
        Self {
            told: told.into(),
            see: Some(Cow::Borrowed(see)),
        }
    }

    /// Both, borrowed.
    #[must_use]
    pub fn words(&self) -> (&str, Option<&str>) {
        (&self.told, self.see.as_deref())
    }
}

impl From<&'static str> for Reason {
    fn from(told: &'static str) -> Self {
        Self {
            told: Cow::Borrowed(told),
            see: None,
        }
    }
}

impl From<String> for Reason {
    fn from(told: String) -> Self {
        Self {
            told: Cow::Owned(told),
            see: None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}
