//! What a scalar means: the core schema of YAML 1.2, and the tags that say otherwise.

use std::borrow::Cow;

use granit_parser::Tag;

use crate::NodeKind;

/// Where YAML's own tags are at home.
const YAML: &str = "tag:yaml.org,2002:";

/// A tag that has a meaning here; no other is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// There is no tag: what it looks like decides.
    Open,
    /// `!`: a scalar is text.
    Text,
    Null,
    Bool,
    Int,
    Float,
    List,
    Map,
    /// `!!merge`, which may only stand at the key `<<`.
    Merge,
}

/// What carries a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Scalar,
    List,
    Map,
}

impl Meaning {
    /// The meaning of a tag; `None` for one that is unknown, or that does not fit what carries it.
    pub(crate) fn of(tag: Option<&Tag>, carrier: Carrier) -> Option<Self> {
        let Some(tag) = tag else {
            return Some(Self::Open);
        };
        let (name, is_local) = match tag.suffix_in_namespace(YAML) {
            Some(name) => (name, false),
            None => (tag.suffix_in_namespace("!")?, true),
        };
        // `!` alone says that what carries it is what it is: text, a list or a mapping.
        if is_local && matches!(&*name, "" | "!") {
            return Some(if carrier == Carrier::Scalar {
                Self::Text
            } else {
                Self::Open
            });
        }
        let meaning = match name.strip_prefix('!').unwrap_or(&name) {
            "str" => Self::Text,
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "seq" => Self::List,
            "map" => Self::Map,
            "merge" if !is_local => Self::Merge,
            _ => return None,
        };
        let fits = match carrier {
            Carrier::List => meaning == Self::List,
            Carrier::Map => meaning == Self::Map,
            Carrier::Scalar => !matches!(meaning, Self::List | Self::Map),
        };
        fits.then_some(meaning)
    }
}

/// A scalar as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Scalar<'t> {
    pub(crate) text: Cow<'t, str>,
    /// Neither in quotes nor a block.
    pub(crate) is_plain: bool,
    pub(crate) meaning: Meaning,
}

impl Scalar<'_> {
    /// Whether this is the key that takes other mappings in.
    pub(crate) fn is_merge_key(&self) -> bool {
        self.text == "<<"
            && match self.meaning {
                Meaning::Merge => true,
                Meaning::Open => self.is_plain,
                _ => false,
            }
    }

    /// The text, where it may be a key: keys are text whatever they look like.
    pub(crate) fn into_key(self) -> Option<String> {
        let is_text = match self.meaning {
            Meaning::Text => true,
            Meaning::Open => !(self.is_plain && is_nothing(&self.text)),
            _ => false,
        };
        is_text.then(|| self.text.into_owned())
    }

    /// The value; `None` where it is not what its tag says.
    pub(crate) fn into_value(self) -> Option<NodeKind> {
        match self.meaning {
            Meaning::Open if self.is_plain => {
                Some(plain(&self.text).unwrap_or_else(|| NodeKind::Text(self.text.into_owned())))
            }
            Meaning::Open | Meaning::Text => Some(NodeKind::Text(self.text.into_owned())),
            Meaning::Null => Some(NodeKind::Null),
            Meaning::Bool => boolean(trimmed(&self.text)).map(NodeKind::Bool),
            Meaning::Int => integer(trimmed(&self.text)).map(NodeKind::Int),
            Meaning::Float => float(trimmed(&self.text)).map(NodeKind::Float),
            Meaning::List | Meaning::Map | Meaning::Merge => None,
        }
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// What a plain scalar without a tag is; `None` for text.
fn plain(text: &str) -> Option<NodeKind> {
    if is_nothing(text) {
        return Some(NodeKind::Null);
    }
    let text = trimmed(text);
    // Nearly all that begin with a letter are text.
    match text.as_bytes().first()? {
        b't' | b'T' | b'f' | b'F' => boolean(text).map(NodeKind::Bool),
        // Leading zeros and underscores are for codes and dates, which are text.
        b'0'..=b'9' | b'+' | b'-' | b'.' if !text.contains('_') && !has_leading_zero(text) => integer(text)
            .map(NodeKind::Int)
            .or_else(|| float(text).map(NodeKind::Float)),
        _ => None,
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Whether it is decimal digits that begin with a zero and are not zero alone.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// An integer of 64 bits, signed or not: decimal, or after `0x`, `0o` and `0b`. Between digits may be underscores.
fn integer(text: &str) -> Option<i128> {
    let (is_negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => return None,
        _ => (10, unsigned),
    };
    let mut value: u64 = 0;
    let mut follows_digit = false;
    for character in digits.chars() {
        if character == '_' && follows_digit {
            follows_digit = false;
            continue;
        }
        let digit = character.to_digit(radix)?;
        value = value
            .checked_mul(u64::from(radix))?
            .checked_add(u64::from(digit))?;
        follows_digit = true;
    }
    let value = i128::from(value);
    match (follows_digit, is_negative) {
        (false, _) => None,
        (true, false) => Some(value),
        (true, true) => i64::try_from(-value).is_ok().then_some(-value),
    }
}

/// A number with a point or an exponent, `.inf` or `.nan`. One beyond all that 64 bits can say is infinite.
fn float(text: &str) -> Option<f64> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match unsigned {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let value: f64 = text.parse().ok()?;
    // Rust has words for infinity that YAML takes for text.
    (value.is_finite() || value.is_infinite() && unsigned.starts_with(|first: char| first.is_ascii_digit()))
        .then_some(value)
}
