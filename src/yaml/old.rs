//! The positioned tree, and how it is read from text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, UserMessageFormatter};

use crate::{FileId, Node, NodeKind, Problems, Span};

/// Nesting that no configuration needs; the recursion of every later step is bounded by it.
const MAX_DEPTH: usize = 48;

/// Reads one document. `None` where the text is no YAML: the reason is then in `problems`.
///
/// Refused besides malformed text: more than one document, nesting deeper than 48, aliases that multiply (at most
/// 20,000 events of the parser may come from aliases), and application tags. Of duplicate keys each further one is an
/// error, and the tree has the first.
pub fn parse(file: FileId, text: &str, problems: &mut Problems) -> Option<Node> {
    if u32::try_from(text.len()).is_err() {
        let start = Span {
            file,
            ..Span::default()
        };
        problems
            .error(start, "the file is larger than 4 GiB")
            .hint("split it, or use `for_each` in a mapping");
        return None;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 2,
            max_events: 8_000_000,
            max_nodes: 4_000_000,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_buffered_comment_events: 100_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 16,
        },
        // Told below, all of them.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        emit_comments: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Raw>(text, options) {
        Ok(Raw(mut node)) => {
            node.settle(file, problems);
            Some(node)
        }
        Err(error) => {
            record(file, text, &error, problems);
            None
        }
    }
}

fn record(file: FileId, text: &str, error: &Error, problems: &mut Problems) {
    let error = error.without_snippet();
    let start = Span {
        file,
        line: 1,
        column: 1,
        ..Span::default()
    };
    let span = error
        .location()
        .map_or(start, |location| match location.span().byte_offset() {
            Some(_) => span_of(file, location),
            None => Span {
                offset: offset_of(text, location),
                ..span_of(file, location)
            },
        });
    // What is wrong behind an alias is told where the alias stands.
    let mut cause = error;
    while let Error::AliasError { error, .. } = cause {
        cause = error.without_snippet();
    }
    let (message, hint) = match cause {
        Error::Budget { .. } => (
            format!("the file is refused: {}", plain(cause)),
            "a configuration needs no such nesting, size or number of aliases",
        ),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => (
            "the file is refused: its aliases multiply beyond every bound".to_owned(),
            "write the values out, or use `for_each` in a mapping",
        ),
        Error::MultipleDocuments { .. } => (
            "the file holds more than one document".to_owned(),
            "remove `---`, or split the file",
        ),
        Error::UnsupportedTag { tag, .. } => (
            format!("tag `{tag}` is unknown"),
            "put text that begins with `!` in quotes",
        ),
        Error::UnknownAnchor { .. } => (
            "the alias has no anchor".to_owned(),
            "put text that begins with `*` in quotes, or name the anchor with `&` before it is used",
        ),
        _ => (
            format!("not readable as YAML: {}", plain(cause)),
            syntax_hint(text, span),
        ),
    };
    problems.error(span, message).hint(hint);
}

/// The parser's message in this product's form: one line, no capital, no full stop, no position.
fn plain(error: &Error) -> String {
    let text = error.render_with_formatter(&UserMessageFormatter);
    let text = text.lines().next().unwrap_or_default();
    let text = text.split(" at line ").next().unwrap_or(text);
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.trim_end_matches('.').to_owned()
}

fn syntax_hint(text: &str, span: Span) -> &'static str {
    let line_number = usize::try_from(span.line).unwrap_or_default().saturating_sub(1);
    let line = text.lines().nth(line_number).unwrap_or_default();
    if text
        .lines()
        .take(line_number + 1)
        .any(|line| line.trim_start_matches(' ').starts_with('\t'))
    {
        return "indent with spaces; YAML takes no tabs there";
    }
    let column = usize::try_from(span.column).unwrap_or_default();
    if line.find(": {").is_some_and(|at| at + 3 < column) {
        return "text that begins with `{` needs quotes, as in \"{line}\"; `{a: 1}` is a mapping";
    }
    "look for a missing colon, quote, comma or bracket here or on the line before"
}

fn span_of(file: FileId, location: Location) -> Span {
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let span = location.span();
    Span {
        file,
        line: small(location.line()),
        column: small(location.column()),
        offset: small(span.byte_offset().unwrap_or_default()),
        len: small(span.byte_len().unwrap_or_default()),
    }
}

/// The offset in bytes of a place that the parser knows by line and column only.
fn offset_of(text: &str, location: Location) -> u32 {
    let before = usize::try_from(location.line())
        .unwrap_or_default()
        .saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let column = usize::try_from(location.column())
        .unwrap_or_default()
        .saturating_sub(1);
    let line = text
        .get(line_start..)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default();
    let in_line = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    u32::try_from(line_start + in_line).unwrap_or(u32::MAX)
}

/// A node as the parser's deserializer gives it; its file is filled in afterwards.
struct Raw(Node);

/// The value of a [`Raw`].
struct RawKind(NodeKind);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<RawKind>::deserialize(deserializer)?;
        let mut span = span_of(FileId::default(), spanned.referenced);
        let kind = spanned.value.0;
        if matches!(kind, NodeKind::List(_) | NodeKind::Map(_)) {
            span.len = 0;
        }
        Ok(Self(Node { span, kind }))
    }
}

trait Settle {
    fn settle(&mut self, file: FileId, problems: &mut Problems);
}
impl Settle for Node {
    /// Fills in the file, and takes keys out that stand there twice.
    fn settle(&mut self, file: FileId, problems: &mut Problems) {
        self.span.file = file;
        match &mut self.kind {
            NodeKind::List(items) => items.iter_mut().for_each(|item| item.settle(file, problems)),
            NodeKind::Map(entries) => {
                for (_, span, value) in entries.iter_mut() {
                    span.file = file;
                    value.settle(file, problems);
                }
                let mut repeated = repeated(entries).into_iter().peekable();
                if repeated.peek().is_none() {
                    return;
                }
                let mut place = 0..;
                entries.retain(|(key, span, _)| {
                    if repeated.next_if_eq(&place.next().unwrap_or_default()).is_none() {
                        return true;
                    }
                    problems
                        .error(*span, format!("key `{key}` stands twice in one mapping"))
                        .hint("keep one of them; only the lines below the same parent count as one mapping");
                    false
                });
            }
            _ => {}
        }
    }
}

/// Mappings of no more entries are looked through for repeated keys without a table: nearly all are that short.
const FEW: usize = 8;

/// Places of the entries whose key stood before them, in rising order.
fn repeated(entries: &[(String, Span, Node)]) -> Vec<usize> {
    let keys = entries.iter().map(|(key, ..)| canonical(key)).enumerate();
    if entries.len() <= FEW {
        let stood =
            |place: usize, key: &str| entries[..place].iter().any(|(other, ..)| canonical(other) == key);
        return keys
            .filter(|(place, key)| stood(*place, key))
            .map(|(place, _)| place)
            .collect();
    }
    let mut seen = HashSet::with_capacity(entries.len());
    keys.filter_map(|(place, key)| (!seen.insert(key)).then_some(place))
        .collect()
}

/// 7 and 07 are one key where numbers are meant.
fn canonical(key: &str) -> Cow<'_, str> {
    if !key.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+')) {
        return Cow::Borrowed(key);
    }
    key.parse::<i128>()
        .map_or(Cow::Borrowed(key), |number| Cow::Owned(number.to_string()))
}

impl<'de> Deserialize<'de> for RawKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = RawKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Null))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Int(value.into())))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Int(value.into())))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Int(value)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Float(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Text(value.to_owned())))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<RawKind, E> {
        Ok(RawKind(NodeKind::Text(value)))
    }

    // Large files are many small lists and mappings: none keeps more memory than it needs.
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawKind, A::Error> {
        let mut items = Vec::new();
        while let Some(Raw(item)) = access.next_element()? {
            items.push(item);
        }
        items.shrink_to_fit();
        Ok(RawKind(NodeKind::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawKind, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, Raw(value))) = access.next_entry::<serde_saphyr::Spanned<String>, Raw>()? {
            entries.push((key.value, span_of(FileId::default(), key.referenced), value));
        }
        entries.shrink_to_fit();
        Ok(RawKind(NodeKind::Map(entries)))
    }
}
