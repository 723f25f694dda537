//! A part of a file that is there, and is decoded on its own.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// Takes anything: large parts are decoded piece by piece, so that one wrong piece does not keep the others
/// from being checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Skip;

impl<'de> Deserialize<'de> for Skip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}
