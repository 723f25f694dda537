//! The error of the tree's deserializer, and its words.

use std::borrow::Cow;
use std::fmt;

use serde::de;

use crate::decode::identity;
use crate::{Node, Problems, Span, closest};

/// What went wrong in decoding, and where; the place is filled in by the innermost node on the way out.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) place: Option<Place>,
    /// It only follows from something that is reported.
    pub(crate) silent: bool,
}

#[derive(Debug)]
pub(crate) enum FaultKind {
    Expected(String),
    UnknownKey {
        name: String,
        keys: &'static [&'static str],
    },
    UnknownVariant {
        name: String,
        variants: &'static [&'static str],
    },
    Missing(&'static str),
    Other(String),
}

/// Where a fault is, as what can be repaired.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Value {
        node: usize,
        span: Span,
        name: Option<String>,
        element: bool,
        found: String,
    },
    Key {
        value: usize,
        span: Span,
        name: String,
    },
    Missing {
        mapping: usize,
        span: Span,
        name: Option<String>,
        element: bool,
        field: &'static str,
    },
}

impl Place {
    pub(crate) fn value(node: &Node, name: Option<&str>, element: bool) -> Self {
        Self::Value {
            node: identity(node),
            span: node.span,
            name: name.map(str::to_owned),
            element,
            found: node.describe(),
        }
    }
}

impl Fault {
    fn new(kind: FaultKind) -> Box<Self> {
        Box::new(Self {
            kind,
            place: None,
            silent: false,
        })
    }

    pub(crate) fn record(&self, place: &Place, problems: &mut Problems) {
        match place {
            Place::Value {
                span,
                name,
                element,
                found,
                ..
            } => {
                let subject = match name {
                    Some(name) if *element => format!("element of `{name}`: "),
                    Some(name) => format!("`{name}`: "),
                    None => String::new(),
                };
                self.record_value(*span, &subject, found, problems);
            }
            Place::Key { span, name, .. } => {
                self.record_value(*span, &format!("key `{name}`: "), &format!("`{name}`"), problems);
            }
            Place::Missing {
                span,
                name,
                element,
                field,
                ..
            } => {
                let owner = match name {
                    Some(name) if *element => format!("an element of `{name}`"),
                    Some(name) => format!("`{name}`"),
                    None => "this mapping".to_owned(),
                };
                problems
                    .error(*span, format!("{owner} lacks the key `{field}`"))
                    .hint(format!("add `{field}: …` here"));
            }
        }
    }

    fn record_value(&self, span: Span, subject: &str, found: &str, problems: &mut Problems) {
        match &self.kind {
            FaultKind::Expected(expected) => {
                let expected = spoken(expected);
                problems
                    .error(span, format!("{subject}expected {expected}, found {found}"))
                    .hint(type_hint(expected, found));
            }
            FaultKind::UnknownVariant { name, variants } => {
                let problem = problems.error(span, format!("{subject}unknown value `{name}`"));
                match closest(name, variants.iter().copied()) {
                    Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
                    None => problem.hint(format!("one of: {}", variants.join(", "))),
                };
            }
            FaultKind::UnknownKey { name, keys } => record_unknown_key(name, span, keys, problems),
            FaultKind::Missing(field) => {
                problems
                    .error(span, format!("{subject}lacks the key `{field}`"))
                    .hint(format!("add `{field}: …` here"));
            }
            FaultKind::Other(text) => {
                let (message, hint) = text.split_once('\n').unwrap_or((
                    text,
                    "compare it with the settings reference, `floorgate reference`",
                ));
                problems.error(span, format!("{subject}{message}")).hint(hint);
            }
        }
    }
}

/// Reports a key that a mapping does not take.
pub(crate) fn record_unknown_key(name: &str, span: Span, keys: &[&str], problems: &mut Problems) {
    let problem = problems.error(span, format!("unknown key `{name}`"));
    match closest(name, keys.iter().copied()) {
        Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
        None if keys.is_empty() => problem.hint("remove it; there are no keys here"),
        None => problem.hint(format!("keys here: {}", keys.join(", "))),
    };
}

/// serde's names of types in words for those who write YAML.
fn spoken(expected: &str) -> &str {
    match expected {
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "u128" | "usize" => "an integer from 0",
        "i8" => "an integer from -128 to 127",
        "i16" => "an integer from -32768 to 32767",
        "i32" => "an integer from -2147483648 to 2147483647",
        "i64" | "i128" | "isize" => "an integer",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "path string" => "a path",
        "a tuple of size 2" => "a list of two",
        "unit" => "nothing",
        text if text.starts_with("struct ") => "a mapping",
        text if text.starts_with("a nonzero") => "an integer other than 0",
        text => text,
    }
}

fn type_hint(expected: &str, found: &str) -> Cow<'static, str> {
    let quoted = found.strip_prefix('"').and_then(|found| found.strip_suffix('"'));
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    if let Some(name) = found
        .strip_prefix('{')
        .and_then(|found| found.strip_suffix("}, which is a mapping"))
    {
        return format!("text that begins with a brace needs quotes: \"{{{name}}}\"").into();
    }
    let hint = match (expected, quoted) {
        ("true or false", Some("yes" | "on" | "Yes" | "On" | "YES" | "ON" | "y")) => "write `true`",
        ("true or false", Some("no" | "off" | "No" | "Off" | "NO" | "OFF" | "n")) => "write `false`",
        ("text", None) if !found.starts_with("a ") && found != "nothing" => "put it in quotes",
        ("a mapping", _) => "write `key: value` lines below it, or `{key: value}`",
        ("a list", _) => "write `- …` lines below it, or `[…, …]`",
        ("nothing", _) => "remove it",
        (_, Some(text))
            if (expected.starts_with("an integer") || expected == "a number") && is_number(text) =>
        {
            "remove the quotes, and leading zeros"
        }
        (_, None) if expected.starts_with("an integer") && found.contains(['.', 'e']) && is_number(found) => {
            "write it without a point and an exponent"
        }
        _ => return format!("write {expected}").into(),
    };
    hint.into()
}

/// The boxed form is serde's error: it goes through every `Result` of decoding and should be small.
#[derive(Debug)]
pub(crate) struct DecodeError(pub(crate) Box<Fault>);

impl DecodeError {
    pub(crate) fn expected(expected: impl Into<String>) -> Self {
        Self(Fault::new(FaultKind::Expected(expected.into())))
    }

    /// Fills in the place where there is none yet.
    pub(crate) fn at(mut self, place: impl FnOnce(&FaultKind) -> Place) -> Self {
        if self.0.place.is_none() {
            self.0.place = Some(place(&self.0.kind));
        }
        self
    }

    pub(crate) fn silent(mut self) -> Self {
        self.0.silent = true;
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            FaultKind::Expected(expected) => write!(f, "expected {expected}"),
            FaultKind::UnknownKey { name, .. } => write!(f, "unknown key `{name}`"),
            FaultKind::UnknownVariant { name, .. } => write!(f, "unknown value `{name}`"),
            FaultKind::Missing(field) => write!(f, "key `{field}` is missing"),
            FaultKind::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(Fault::new(FaultKind::Other(text.to_string())))
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self(Fault::new(FaultKind::Other(format!(
            "expected {expected}, found {length} elements\nadd what is missing, or remove what is too much"
        ))))
    }

    fn unknown_variant(name: &str, variants: &'static [&'static str]) -> Self {
        Self(Fault::new(FaultKind::UnknownVariant {
            name: name.to_owned(),
            variants,
        }))
    }

    fn unknown_field(name: &str, keys: &'static [&'static str]) -> Self {
        Self(Fault::new(FaultKind::UnknownKey {
            name: name.to_owned(),
            keys,
        }))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Fault::new(FaultKind::Missing(field)))
    }
}
