//! A value that fits nearly every type, in the place of one that is wrong or missing.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor};

use crate::Span;
use crate::fault::DecodeError;
use crate::spanned::{SPANNED, span_parts};

type Result<T> = std::result::Result<T, DecodeError>;

/// Types that hold themselves get no stand-in deeper than this.
const MAX_DEPTH: u8 = 16;

/// Gives zero, empty text, nothing, an empty list, a mapping with stand-ins for all fields, or the first
/// variant. Where a type refuses that, the fault is silent: what it stands in for is reported already.
#[derive(Clone, Copy, Default)]
pub(crate) struct StandIn {
    depth: u8,
}

impl StandIn {
    fn deeper(self) -> Result<Self> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::expected("less").silent());
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl IntoDeserializer<'_, DecodeError> for StandIn {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! give {
    ($($method:ident => $visit:ident($($value:expr)?);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            visitor.$visit($($value)?).map_err(DecodeError::silent)
        }
    )*};
}

impl<'de> Deserializer<'de> for StandIn {
    type Error = DecodeError;

    give! {
        deserialize_any => visit_u64(0);
        deserialize_bool => visit_bool(false);
        deserialize_i8 => visit_u64(0);
        deserialize_i16 => visit_u64(0);
        deserialize_i32 => visit_u64(0);
        deserialize_i64 => visit_u64(0);
        deserialize_i128 => visit_u64(0);
        deserialize_u8 => visit_u64(0);
        deserialize_u16 => visit_u64(0);
        deserialize_u32 => visit_u64(0);
        deserialize_u64 => visit_u64(0);
        deserialize_u128 => visit_u64(0);
        deserialize_f32 => visit_f64(0.0);
        deserialize_f64 => visit_f64(0.0);
        deserialize_char => visit_char('0');
        deserialize_str => visit_str("");
        deserialize_string => visit_str("");
        deserialize_identifier => visit_str("");
        deserialize_bytes => visit_bytes(b"");
        deserialize_byte_buf => visit_bytes(b"");
        deserialize_option => visit_none();
        deserialize_unit => visit_unit();
        deserialize_ignored_any => visit_unit();
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == SPANNED {
            return visitor.visit_seq(SpannedStandIn {
                given: 0,
                value: self.deeper()?,
            });
        }
        visitor
            .visit_newtype_struct(self.deeper()?)
            .map_err(DecodeError::silent)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_tuple(0, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        let elements = vec![self.deeper()?; length];
        visitor
            .visit_seq(SeqDeserializer::new(elements.into_iter()))
            .map_err(DecodeError::silent)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let value = self.deeper()?;
        let entries = fields.iter().map(|field| (*field, value));
        visitor
            .visit_map(MapDeserializer::new(entries))
            .map_err(DecodeError::silent)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let variant = variants.first().copied().unwrap_or_default();
        visitor
            .visit_enum(FirstVariant {
                variant,
                content: self.deeper()?,
            })
            .map_err(DecodeError::silent)
    }
}

struct SpannedStandIn {
    given: u8,
    value: StandIn,
}

impl<'de> serde::de::SeqAccess<'de> for SpannedStandIn {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.given += 1;
        match self.given {
            1 => seed.deserialize(self.value).map(Some),
            2 => seed
                .deserialize(SeqDeserializer::new(span_parts(Span::default()).into_iter()))
                .map(Some),
            _ => Ok(None),
        }
    }
}

struct FirstVariant {
    variant: &'static str,
    content: StandIn,
}

impl<'de> EnumAccess<'de> for FirstVariant {
    type Error = DecodeError;
    type Variant = StandIn;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, StandIn)> {
        Ok((seed.deserialize(self.variant.into_deserializer())?, self.content))
    }
}

impl<'de> VariantAccess<'de> for StandIn {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_struct("", fields, visitor)
    }
}
