//! How the tree is read from text: the parser's events, one after the other.
//!
//! Large files are many small lists and mappings. What is inside of open ones therefore waits on two stacks that all
//! of them share, and each takes its own off in one piece when it ends.

use std::collections::HashSet;
use std::mem;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use crate::anchor::{Anchored, Anchors};
use crate::duplicate::{canonical, remove_repeated};
use crate::refusal::Refusal;
use crate::scalar::{Carrier, Meaning, Scalar};
use crate::{FileId, Node, NodeKind, Problems, Span};

/// Nesting that no configuration needs; the recursion of every later step is bounded by it.
pub(crate) const MAX_DEPTH: usize = 48;

/// Values and keys in one file, those that aliases stand for included.
const MAX_NODES: usize = 4_000_000;

/// Bytes of text in one file, that which aliases stand for included.
const MAX_TEXT: usize = 64 << 20;

/// Reads one document. `None` where the text is no YAML: the reason is then in `problems`.
///
/// Refused besides malformed text: more than one document, nesting deeper than 48, aliases that multiply (at most
/// 20,000 values and keys may come from aliases), more than 4,000,000 values and keys, and application tags. Of
/// duplicate keys each further one is an error, and the tree has the first. The key `<<` takes in the entries of the
/// mapping, or of the list of mappings, that is its value; what is there stays, and of several the first counts.
pub fn parse(file: FileId, text: &str, problems: &mut Problems) -> Option<Node> {
    let start = Span {
        file,
        line: 1,
        column: 1,
        ..Span::default()
    };
    let read = if u32::try_from(text.len()).is_ok() {
        Builder::new(file, problems).read(text)
    } else {
        Err(Refusal::new(
            start,
            "the file is larger than 4 GiB",
            "split it, or use `for_each` in a mapping",
        ))
    };
    match read {
        Ok(node) => Some(node),
        Err(refusal) => {
            problems.error(refusal.span, refusal.message).hint(refusal.hint);
            None
        }
    }
}

/// What was read so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Size {
    /// Values and keys.
    pub(crate) nodes: usize,
    /// Bytes of their text.
    pub(crate) text: usize,
}

impl Size {
    /// Counts a value or a key with its text; an error where that is more than a file may have.
    pub(crate) fn count(&mut self, text: usize, span: Span) -> Result<(), Refusal> {
        self.nodes += 1;
        self.text += text;
        if self.nodes > MAX_NODES {
            return Err(Refusal::bound(
                span,
                format!("it has more than {MAX_NODES} values and keys"),
            ));
        }
        if self.text > MAX_TEXT {
            return Err(Refusal::bound(
                span,
                format!("its texts are longer than {MAX_TEXT} bytes, with all that its aliases stand for"),
            ));
        }
        Ok(())
    }
}

type Entry = (String, Span, Node);

/// A list or a mapping that has not ended.
struct Open {
    span: Span,
    anchor: usize,
    /// What had been read when it began.
    before: Size,
    /// Where its items or entries begin on their stack.
    first: usize,
    inside: Inside,
}

enum Inside {
    List,
    Map(Pairs),
}

#[derive(Default)]
struct Pairs {
    key: Option<Key>,
    /// Entries that merge keys take in.
    merged: Vec<Entry>,
}

/// A key whose value is due.
enum Key {
    Named(String, Span),
    Merge,
}

struct Builder<'t, 'p> {
    file: FileId,
    problems: &'p mut Problems,
    open: Vec<Open>,
    items: Vec<Node>,
    entries: Vec<Entry>,
    anchors: Anchors<'t>,
    size: Size,
    root: Option<Node>,
}

impl<'t, 'p> Builder<'t, 'p> {
    fn new(file: FileId, problems: &'p mut Problems) -> Self {
        Self {
            file,
            problems,
            open: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
            anchors: Anchors::default(),
            size: Size::default(),
            root: None,
        }
    }

    fn read(mut self, text: &'t str) -> Result<Node, Refusal> {
        let options = granit_parser::options! {
            flow_nesting_limit: MAX_DEPTH,
            emit_comments: false,
        };
        let mut last = Span::default();
        for event in Parser::<StrInput<'t>>::new_from_str_with_options(text, options) {
            let (event, at) = event.map_err(|error| Refusal::syntax(self.file, text, &error))?;
            let span = span_of(self.file, &at);
            last = span;
            self.take(event, span)?;
        }
        // A file without any document is nothing.
        Ok(self.root.unwrap_or(Node {
            span: last,
            kind: NodeKind::Null,
        }))
    }

    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), Refusal> {
        if self.root.is_some() && event.is_node() {
            return Err(Refusal::new(
                span,
                "the file holds more than one document",
                "remove `---`, or split the file",
            ));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.size.count(text.len(), span)?;
                let scalar = Scalar {
                    text,
                    is_plain: matches!(style, ScalarStyle::Plain),
                    meaning: meaning(tag.as_deref(), Carrier::Scalar, span)?,
                };
                if anchor != 0 {
                    self.anchors.keep_scalar(anchor, &scalar, span)?;
                }
                self.scalar(scalar, span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                meaning(tag.as_deref(), Carrier::List, span)?;
                self.begin(Inside::List, self.items.len(), anchor, span)
            }
            Event::MappingStart(_, anchor, tag) => {
                meaning(tag.as_deref(), Carrier::Map, span)?;
                let inside = Inside::Map(Pairs::default());
                self.begin(inside, self.entries.len(), anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    /// The mapping that stands where a key is due.
    fn keyless(&mut self) -> Option<&mut Pairs> {
        match &mut self.open.last_mut()?.inside {
            Inside::Map(pairs) if pairs.key.is_none() => Some(pairs),
            _ => None,
        }
    }

    fn scalar(&mut self, scalar: Scalar<'t>, span: Span) -> Result<(), Refusal> {
        let Some(pairs) = self.keyless() else {
            let kind = scalar.into_value().ok_or_else(|| {
                Refusal::new(
                    span,
                    "the value is not what its tag says",
                    "remove the tag that begins with `!`, or correct the value",
                )
            })?;
            return self.place(Node { span, kind });
        };
        pairs.key = Some(if scalar.is_merge_key() {
            Key::Merge
        } else {
            let text = scalar
                .into_key()
                .ok_or_else(|| Refusal::key(span, "nothing, or has a tag"))?;
            Key::Named(text, span)
        });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Refusal> {
        let depth = self.open.len();
        let is_key = self.keyless().is_some();
        match self.anchors.resolve(anchor, span)? {
            Anchored::Scalar(scalar) => {
                self.size.count(scalar.text.len(), span)?;
                let scalar = scalar.clone();
                self.anchors.count(1, span)?;
                self.scalar(scalar, span)
            }
            Anchored::Tree(_) if is_key => Err(Refusal::key(span, "a list or a mapping")),
            Anchored::Tree(_) => {
                let node = self.anchors.copy(anchor, span, depth, &mut self.size)?;
                self.place(node)
            }
            Anchored::Large => Err(Refusal::aliases(span)),
        }
    }

    fn begin(&mut self, inside: Inside, first: usize, anchor: usize, span: Span) -> Result<(), Refusal> {
        if self.keyless().is_some() {
            return Err(Refusal::key(span, "a list or a mapping"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Refusal::depth(span));
        }
        if anchor != 0 {
            self.anchors.announce(anchor, span)?;
        }
        let before = self.size;
        self.size.count(0, span)?;
        self.open.push(Open {
            span: Span { len: 0, ..span },
            anchor,
            before,
            first,
            inside,
        });
        Ok(())
    }

    /// Ends the innermost list or mapping.
    fn end(&mut self) -> Result<(), Refusal> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let kind = match open.inside {
            Inside::List => NodeKind::List(self.items.drain(open.first..).collect()),
            Inside::Map(pairs) => {
                let mut entries: Vec<Entry> = self.entries.drain(open.first..).collect();
                remove_repeated(&mut entries, self.problems);
                if !pairs.merged.is_empty() {
                    merge(&mut entries, pairs.merged);
                }
                NodeKind::Map(entries)
            }
        };
        let node = Node {
            span: open.span,
            kind,
        };
        if open.anchor != 0 {
            let size = Size {
                nodes: self.size.nodes - open.before.nodes,
                text: self.size.text - open.before.text,
            };
            self.anchors.keep_tree(open.anchor, &node, size)?;
        }
        self.place(node)
    }

    /// Puts a value where it belongs.
    fn place(&mut self, node: Node) -> Result<(), Refusal> {
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.root = Some(node),
            Some(Inside::List) => self.items.push(node),
            Some(Inside::Map(pairs)) => match mem::take(&mut pairs.key) {
                Some(Key::Named(key, span)) => self.entries.push((key, span, node)),
                Some(Key::Merge) => take_in(node, &mut pairs.merged)?,
                None => return Err(Refusal::key(node.span, "a list or a mapping")),
            },
        }
        Ok(())
    }
}

/// What a tag says; an error where it says nothing that this place can be.
fn meaning(tag: Option<&Tag>, carrier: Carrier, span: Span) -> Result<Meaning, Refusal> {
    Meaning::of(tag, carrier).ok_or_else(|| Refusal::tag(span, &tag.map(Tag::original).unwrap_or_default()))
}

/// Adds the entries of the value of a merge key.
fn take_in(node: Node, merged: &mut Vec<Entry>) -> Result<(), Refusal> {
    match node.kind {
        NodeKind::Null => {}
        NodeKind::Map(entries) => merged.extend(entries),
        NodeKind::List(items) => {
            for item in items {
                take_in(item, merged)?;
            }
        }
        _ => {
            return Err(Refusal::new(
                node.span,
                "`<<` takes in a mapping or a list of mappings, and this is neither",
                "name a mapping with `&`, and take it in with `<<: *name`",
            ));
        }
    }
    Ok(())
}

/// Adds what is merged and not there; of several with one key the first.
fn merge(entries: &mut Vec<Entry>, merged: Vec<Entry>) {
    let mut taken: HashSet<String> = entries
        .iter()
        .map(|(key, ..)| canonical(key).into_owned())
        .collect();
    for entry in merged {
        if taken.insert(canonical(&entry.0).into_owned()) {
            entries.push(entry);
        }
    }
    entries.shrink_to_fit();
}

fn span_of(file: FileId, at: &granit_parser::Span) -> Span {
    let start = at.start.byte_offset().unwrap_or_default();
    let end = at.end.byte_offset().unwrap_or_default();
    Span {
        file,
        line: small(at.start.line()),
        column: small(at.start.col()).saturating_add(1),
        offset: small(start),
        len: small(end.saturating_sub(start)),
    }
}

/// A position of a text that is smaller than 4 GiB.
pub(crate) fn small(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
