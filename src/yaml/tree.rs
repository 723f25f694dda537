//! serde's deserializer over nodes.

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::decode::{Repairs, identity};
use crate::fault::{DecodeError, FaultKind, Place};
use crate::spanned::{SPANNED, span_parts};
use crate::stand_in::StandIn;
use crate::{Node, NodeKind, Span};

type Result<T> = std::result::Result<T, DecodeError>;

/// A node in decoding.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    node: &'a Node,
    repairs: &'a Repairs,
    /// The key that the node, or the list that it is an element of, stands under.
    name: Option<&'a str>,
    element: bool,
}

impl<'a> Tree<'a> {
    pub(crate) fn root(node: &'a Node, repairs: &'a Repairs) -> Self {
        Self {
            node,
            repairs,
            name: None,
            element: false,
        }
    }

    fn place(self) -> Place {
        Place::value(self.node, self.name, self.element)
    }

    /// The place of a fault that arose while this node was visited as a mapping.
    fn place_in_mapping(self, kind: &FaultKind) -> Place {
        match kind {
            FaultKind::Missing(field) => Place::Missing {
                mapping: identity(self.node),
                span: self.node.span,
                name: self.name.map(str::to_owned),
                element: self.element,
                field,
            },
            _ => self.place(),
        }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let visited: Result<V::Value> = match &self.node.kind {
            NodeKind::Null => visitor.visit_unit(),
            NodeKind::Bool(value) => visitor.visit_bool(*value),
            NodeKind::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => visitor.visit_i128(*value),
            },
            NodeKind::Float(value) => visitor.visit_f64(*value),
            NodeKind::Text(text) => visitor.visit_str(text),
            NodeKind::List(items) => return self.visit_list(items, visitor),
            NodeKind::Map(_) => return self.visit_mapping(None, visitor),
        };
        visited.map_err(|error| error.at(|_| self.place()))
    }

    /// Where a stand-in was refused: an entry can be passed over, an element cannot.
    fn refused(self, error: DecodeError) -> DecodeError {
        if self.element {
            error
        } else {
            error.at(|_| self.place())
        }
    }

    fn visit_list<'de, V: Visitor<'de>>(self, items: &[Node], visitor: V) -> Result<V::Value> {
        let mut access = Elements {
            of: self,
            rest: items.iter(),
        };
        let value = visitor
            .visit_seq(&mut access)
            .map_err(|error| error.at(|_| self.place()))?;
        match access.rest.len() {
            0 => Ok(value),
            extra => {
                let (all, taken) = (items.len(), items.len() - extra);
                Err(DecodeError::custom(format!(
                    "expected {taken} elements, found {all}\nremove what is too much"
                ))
                .at(|_| self.place()))
            }
        }
    }

    /// As a mapping; as that of a struct when its fields are given.
    fn visit_mapping<'de, V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value> {
        let NodeKind::Map(entries) = &self.node.kind else {
            let expected = (&visitor as &dyn Expected).to_string();
            return Err(DecodeError::expected(expected).at(|_| self.place()));
        };
        let supplied = self.repairs.supplied(self.node);
        let mut access = Entries {
            of: self,
            fields,
            rest: entries.iter(),
            supplied,
            value: None,
        };
        visitor
            .visit_map(&mut access)
            .map_err(|error| error.at(|kind| self.place_in_mapping(kind)))
    }
}

macro_rules! or_stand_in {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            if self.repairs.stands_in(self.node) {
                return StandIn::default().$method(visitor).map_err(|error| self.refused(error));
            }
            self.visit(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tree<'_> {
    type Error = DecodeError;

    or_stand_in! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_unit deserialize_seq deserialize_map deserialize_identifier
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.node.kind {
            NodeKind::Null => visitor.visit_none(),
            _ if self.repairs.stands_in(self.node) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == SPANNED {
            // A stand-in stands nowhere.
            let span = if self.repairs.stands_in(self.node) {
                Span::default()
            } else {
                self.node.span
            };
            return visitor.visit_seq(ValueAndSpan {
                value: Some(self),
                span: Some(span),
            });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        if self.repairs.stands_in(self.node) {
            return StandIn::default().deserialize_struct(name, fields, visitor);
        }
        self.visit_mapping(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        if self.repairs.stands_in(self.node) {
            return StandIn::default().deserialize_enum(name, variants, visitor);
        }
        let (variant, content) = match &self.node.kind {
            NodeKind::Text(text) => (text.as_str(), None),
            NodeKind::Map(entries) if entries.len() == 1 => (entries[0].0.as_str(), Some(&entries[0].2)),
            _ => {
                let expected = format!("one of {}", variants.join(", "));
                return Err(DecodeError::expected(expected).at(|_| self.place()));
            }
        };
        let content = content.map(|node| Tree {
            node,
            repairs: self.repairs,
            name: Some(variant),
            element: false,
        });
        visitor
            .visit_enum(Variant { variant, content })
            .map_err(|error| error.at(|kind| self.place_in_mapping(kind)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        if self.repairs.stands_in(self.node) {
            return StandIn::default().deserialize_tuple(length, visitor);
        }
        self.visit(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }
}

struct Elements<'a> {
    of: Tree<'a>,
    rest: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for &mut Elements<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some(node) = self.rest.next() else {
            return Ok(None);
        };
        let tree = Tree {
            node,
            element: true,
            ..self.of
        };
        seed.deserialize(tree)
            .map(Some)
            .map_err(|error| error.at(|kind| tree.place_in_mapping(kind)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'a> {
    of: Tree<'a>,
    fields: Option<&'static [&'static str]>,
    rest: std::slice::Iter<'a, (String, Span, Node)>,
    supplied: Vec<&'static str>,
    /// The value whose key was given last; none where a stand-in is due.
    value: Option<(&'a str, &'a Node)>,
}

impl<'de> MapAccess<'de> for &mut Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        for entry in self.rest.by_ref() {
            let (name, span, value) = entry;
            if self.of.repairs.skips(value) {
                continue;
            }
            if let Some(fields) = self.fields
                && !fields.contains(&name.as_str())
            {
                self.of.repairs.unknown_key(self.of.node, entry, fields);
                continue;
            }
            self.value = Some((name, value));
            return seed
                .deserialize(Key {
                    text: name,
                    span: *span,
                    value,
                })
                .map(Some);
        }
        match self.supplied.pop() {
            Some(field) => {
                self.value = None;
                seed.deserialize(field.into_deserializer()).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        match self.value.take() {
            // A type may also refuse a value after it was visited.
            Some((name, node)) => {
                let tree = Tree {
                    node,
                    repairs: self.of.repairs,
                    name: Some(name),
                    element: false,
                };
                seed.deserialize(tree)
                    .map_err(|error| error.at(|kind| tree.place_in_mapping(kind)))
            }
            None => seed.deserialize(StandIn::default()),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len() + self.supplied.len())
    }
}

/// A key, which is text in the tree whatever it looks like; a type that wants a number gets one.
struct Key<'a> {
    text: &'a str,
    span: Span,
    value: &'a Node,
}

impl Key<'_> {
    fn place(&self) -> Place {
        Place::Key {
            value: identity(self.value),
            span: self.span,
            name: self.text.to_owned(),
        }
    }

    fn visit_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let visited: Result<V::Value> = match (self.text.parse::<i64>(), self.text.parse::<u64>()) {
            (Ok(number), _) => visitor.visit_i64(number),
            (_, Ok(number)) => visitor.visit_u64(number),
            _ => visitor.visit_str(self.text),
        };
        visited.map_err(|error| error.at(|_| self.place()))
    }
}

macro_rules! numeric_key {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.visit_number(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = DecodeError;

    numeric_key! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor
            .visit_str(self.text)
            .map_err(|error: DecodeError| error.at(|_| self.place()))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == SPANNED {
            let span = self.span;
            return visitor.visit_seq(ValueAndSpan {
                value: Some(self),
                span: Some(span),
            });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor
            .visit_enum(Variant {
                variant: self.text,
                content: None,
            })
            .map_err(|error| error.at(|_| self.place()))
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// What [`Spanned`](crate::Spanned) asks for: a value and the parts of its span.
struct ValueAndSpan<D> {
    value: Option<D>,
    span: Option<Span>,
}

impl<'de, D: Deserializer<'de, Error = DecodeError>> SeqAccess<'de> for ValueAndSpan<D> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if let Some(value) = self.value.take() {
            return seed.deserialize(value).map(Some);
        }
        match self.span.take() {
            Some(span) => seed
                .deserialize(SeqDeserializer::new(span_parts(span).into_iter()))
                .map(Some),
            None => Ok(None),
        }
    }
}

struct Variant<'a> {
    variant: &'a str,
    content: Option<Tree<'a>>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = DecodeError;
    type Variant = Content<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content<'a>)> {
        let variant = seed.deserialize(self.variant.into_deserializer())?;
        Ok((variant, Content(self.content)))
    }
}

struct Content<'a>(Option<Tree<'a>>);

impl Content<'_> {
    fn missing<T>() -> Result<T> {
        Err(DecodeError::expected("a mapping with the variant's content"))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        match self.0 {
            Some(tree) if tree.node.kind != NodeKind::Null => {
                Err(DecodeError::expected("nothing").at(|_| tree.place()))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.0.map_or_else(Self::missing, |tree| seed.deserialize(tree))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        self.0
            .map_or_else(Self::missing, |tree| tree.deserialize_tuple(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.0
            .map_or_else(Self::missing, |tree| tree.deserialize_struct("", fields, visitor))
    }
}
