//! From nodes to types.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Node, Problems, Span};

/// A decoded value that remembers where it stood, for checks that come after decoding.
///
/// Only [`decode`] can fill the span; in any other deserializer it is the default.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stood.
    pub span: Span,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let _ = deserializer;
        todo!("Spanned")
    }
}

/// Decodes a node. Everything wrong is recorded in `problems` with its place; `None` where anything was.
///
/// Types should derive `Deserialize` with `deny_unknown_fields` and must not use `flatten`, `untagged` or
/// internally tagged enums, which lose positions.
pub fn decode<T: DeserializeOwned>(node: &Node, problems: &mut Problems) -> Option<T> {
    let _ = (node, problems);
    todo!("decode")
}
