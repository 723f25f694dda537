//! Why a text is not read at all, in words for those who wrote it.

use granit_parser::{ErrorKind, ScanError};

use crate::parse::{MAX_DEPTH, small};
use crate::{FileId, Span};

/// The one problem that ends the reading of a file.
pub(crate) struct Refusal {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

impl Refusal {
    pub(crate) fn new(span: Span, message: impl Into<String>, hint: &'static str) -> Self {
        Self {
            span,
            message: message.into(),
            hint,
        }
    }

    /// More than any file needs.
    pub(crate) fn bound(span: Span, what: impl std::fmt::Display) -> Self {
        Self::new(
            span,
            format!("the file is refused: {what}"),
            "a configuration needs no such nesting, size or number of aliases",
        )
    }

    pub(crate) fn depth(span: Span) -> Self {
        Self::bound(
            span,
            format_args!("lists and mappings are nested deeper than {MAX_DEPTH}"),
        )
    }

    pub(crate) fn aliases(span: Span) -> Self {
        Self::new(
            span,
            "the file is refused: its aliases multiply beyond every bound",
            "write the values out, or use `for_each` in a mapping",
        )
    }

    pub(crate) fn key(span: Span, what: &str) -> Self {
        Self::new(
            span,
            format!("a key is text, and this one is {what}"),
            "write a word before the colon, in quotes where it has other signs than letters and digits",
        )
    }

    pub(crate) fn tag(span: Span, tag: &str) -> Self {
        Self::new(
            span,
            format!("tag `{tag}` is unknown"),
            "put text that begins with `!` in quotes",
        )
    }

    /// What the parser does not take.
    pub(crate) fn syntax(file: FileId, text: &str, error: &ScanError) -> Self {
        let at = error.marker();
        let span = Span {
            file,
            line: small(at.line()),
            column: small(at.col()).saturating_add(1),
            offset: small(at.byte_offset().unwrap_or_default()),
            len: 0,
        };
        match error.kind() {
            ErrorKind::UnknownAnchor => Self::new(
                span,
                "the alias has no anchor",
                "put text that begins with `*` in quotes, or name the anchor with `&` before it is used",
            ),
            ErrorKind::RecursionLimitExceeded => Self::depth(span),
            _ => Self::new(
                span,
                format!("not readable as YAML: {}", plain(&error.info())),
                hint(text, span),
            ),
        }
    }
}

/// The parser's message in this product's form: one line without a full stop.
fn plain(message: &str) -> &str {
    message.lines().next().unwrap_or_default().trim_end_matches('.')
}

fn hint(text: &str, span: Span) -> &'static str {
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
    "look for a missing colon, quote, comma or bracket here or on the line before; lines of one mapping begin in the same column"
}
