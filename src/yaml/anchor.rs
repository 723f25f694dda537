//! What aliases stand for, and how much of it a file may have.

use crate::parse::{MAX_DEPTH, Size};
use crate::refusal::Refusal;
use crate::scalar::Scalar;
use crate::{Node, NodeKind, Span};

/// Anchors and aliases in one file.
const MOST: usize = 10_000;

/// Values and keys that aliases stand for, all together.
const MAX_COPIED: usize = 20_000;

/// Values, keys and bytes that are kept because an alias may stand for them: of nested anchors all have their own copy.
const MAX_KEPT: Size = Size {
    nodes: 1_000_000,
    text: 64 << 20,
};

/// What an anchor names.
pub(crate) enum Anchored<'t> {
    /// It may be a key or a value, and as a key it is text.
    Scalar(Scalar<'t>),
    /// A list or a mapping.
    Tree(Node),
    /// A list or a mapping that is larger than all that aliases may stand for, and so is not kept.
    Large,
}

/// The anchors of a file, by the numbers that the parser gives them.
#[derive(Default)]
pub(crate) struct Anchors<'t> {
    list: Vec<Option<Anchored<'t>>>,
    defined: usize,
    aliases: usize,
    copied: usize,
    kept: Size,
}

impl<'t> Anchors<'t> {
    /// Takes note of an anchor whose list or mapping begins.
    pub(crate) fn announce(&mut self, anchor: usize, span: Span) -> Result<(), Refusal> {
        self.defined += 1;
        if self.defined > MOST {
            return Err(Refusal::bound(span, format!("it has more than {MOST} anchors")));
        }
        if self.list.len() <= anchor {
            self.list.resize_with(anchor + 1, || None);
        }
        Ok(())
    }

    pub(crate) fn keep_scalar(
        &mut self,
        anchor: usize,
        scalar: &Scalar<'t>,
        span: Span,
    ) -> Result<(), Refusal> {
        self.announce(anchor, span)?;
        let size = Size {
            nodes: 1,
            text: scalar.text.len(),
        };
        self.keep(anchor, size, span, || Anchored::Scalar(scalar.clone()))
    }

    pub(crate) fn keep_tree(&mut self, anchor: usize, node: &Node, size: Size) -> Result<(), Refusal> {
        if size.nodes > MAX_COPIED {
            return self.keep(anchor, Size::default(), node.span, || Anchored::Large);
        }
        self.keep(anchor, size, node.span, || Anchored::Tree(node.clone()))
    }

    fn keep(
        &mut self,
        anchor: usize,
        size: Size,
        span: Span,
        what: impl FnOnce() -> Anchored<'t>,
    ) -> Result<(), Refusal> {
        self.kept.nodes += size.nodes;
        self.kept.text += size.text;
        if self.kept.nodes > MAX_KEPT.nodes || self.kept.text > MAX_KEPT.text {
            return Err(Refusal::bound(span, "its anchors name too much".to_owned()));
        }
        if let Some(place) = self.list.get_mut(anchor) {
            *place = Some(what());
        }
        Ok(())
    }

    /// What an alias stands for.
    pub(crate) fn resolve(&mut self, anchor: usize, span: Span) -> Result<&Anchored<'t>, Refusal> {
        self.aliases += 1;
        if self.aliases > MOST {
            return Err(Refusal::bound(span, format!("it has more than {MOST} aliases")));
        }
        self.list.get(anchor).and_then(Option::as_ref).ok_or_else(|| {
            Refusal::new(
                span,
                "the alias stands inside of what it stands for",
                "write the value out",
            )
        })
    }

    /// Counts what an alias stands for.
    pub(crate) fn count(&mut self, nodes: usize, span: Span) -> Result<(), Refusal> {
        self.copied += nodes;
        if self.copied > MAX_COPIED {
            return Err(Refusal::aliases(span));
        }
        Ok(())
    }

    /// A copy of a list or a mapping, all of which stands where the alias does.
    pub(crate) fn copy(
        &mut self,
        anchor: usize,
        at: Span,
        depth: usize,
        size: &mut Size,
    ) -> Result<Node, Refusal> {
        let Some(Some(Anchored::Tree(node))) = self.list.get(anchor) else {
            return Err(Refusal::aliases(at));
        };
        let before = size.nodes;
        let mut copier = Copier {
            at,
            size,
            most: MAX_COPIED - self.copied,
            before,
        };
        let copy = copier.copy(node, depth)?;
        self.copied += size.nodes - before;
        Ok(copy)
    }
}

struct Copier<'s> {
    at: Span,
    size: &'s mut Size,
    /// Values and keys that may still be copied, and how many there were before.
    most: usize,
    before: usize,
}

impl Copier<'_> {
    fn count(&mut self, text: usize) -> Result<(), Refusal> {
        self.size.count(text, self.at)?;
        if self.size.nodes - self.before > self.most {
            return Err(Refusal::aliases(self.at));
        }
        Ok(())
    }

    fn copy(&mut self, node: &Node, depth: usize) -> Result<Node, Refusal> {
        let start = Span { len: 0, ..self.at };
        let (span, kind) = match &node.kind {
            NodeKind::List(_) | NodeKind::Map(_) if depth >= MAX_DEPTH => {
                return Err(Refusal::depth(self.at));
            }
            NodeKind::List(items) => {
                self.count(0)?;
                let items = items.iter().map(|item| self.copy(item, depth + 1));
                (start, NodeKind::List(items.collect::<Result<_, _>>()?))
            }
            NodeKind::Map(entries) => {
                self.count(0)?;
                let mut copies = Vec::with_capacity(entries.len());
                for (key, _, value) in entries {
                    self.count(key.len())?;
                    copies.push((key.clone(), self.at, self.copy(value, depth + 1)?));
                }
                (start, NodeKind::Map(copies))
            }
            NodeKind::Text(text) => {
                self.count(text.len())?;
                (self.at, node.kind.clone())
            }
            _ => {
                self.count(0)?;
                (self.at, node.kind.clone())
            }
        };
        Ok(Node { span, kind })
    }
}
