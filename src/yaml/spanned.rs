//! Values that remember where they stood.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::{FileId, Span};

/// The name by which the tree's deserializer knows that a span is asked for.
pub(crate) const SPANNED: &str = "$floorgate::Spanned";

/// A decoded value that remembers where it stood, for checks that come after decoding.
///
/// Only [`decode`](crate::decode) can fill the span; in any other deserializer it is the default. Two are equal when
/// their values are, wherever they stood.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stood.
    pub span: Span,
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The numbers that a span travels as through serde.
pub(crate) fn span_parts(span: Span) -> [u32; 5] {
    [span.file.0.into(), span.line, span.column, span.offset, span.len]
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpannedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Spanned<T>, D::Error> {
                Ok(Spanned {
                    value: T::deserialize(inner)?,
                    span: Span::default(),
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Spanned<T>, A::Error> {
                let lost = || de::Error::custom("a value lost its place");
                let value = access.next_element()?.ok_or_else(lost)?;
                let [file, line, column, offset, len] =
                    access.next_element::<[u32; 5]>()?.ok_or_else(lost)?;
                let file = FileId(u16::try_from(file).map_err(|_| lost())?);
                Ok(Spanned {
                    value,
                    span: Span {
                        file,
                        line,
                        column,
                        offset,
                        len,
                    },
                })
            }
        }

        deserializer.deserialize_newtype_struct(SPANNED, SpannedVisitor(PhantomData))
    }
}

/// Written as the value alone.
impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
