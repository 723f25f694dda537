//! Integers with bounds of their own.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// An integer from `LEAST` to `MOST`, so that what is beyond is told by these bounds and not by those of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Within<T, const LEAST: u64, const MOST: u64>(T);

impl<T: Copy, const LEAST: u64, const MOST: u64> Within<T, LEAST, MOST> {
    /// The number.
    pub fn get(self) -> T {
        self.0
    }
}

impl<'de, T: TryFrom<u64>, const LEAST: u64, const MOST: u64> Deserialize<'de> for Within<T, LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WithinVisitor<T, const LEAST: u64, const MOST: u64>(PhantomData<T>);

        impl<T: TryFrom<u64>, const LEAST: u64, const MOST: u64> Visitor<'_> for WithinVisitor<T, LEAST, MOST> {
            type Value = Within<T, LEAST, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer from {LEAST} to {MOST}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                let found = Some(number).filter(|number| (LEAST..=MOST).contains(number));
                found
                    .and_then(|number| T::try_from(number).ok())
                    .map(Within)
                    .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_u64(WithinVisitor(PhantomData))
    }
}

impl<T, const LEAST: u64, const MOST: u64> JsonSchema for Within<T, LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("From{LEAST}To{MOST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}
