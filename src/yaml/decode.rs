//! From nodes to types, with every problem in one run.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::DeserializeOwned;

use crate::fault::{DecodeError, Fault, FaultKind, Place, record_unknown_key};
use crate::tree::Tree;
use crate::{Node, Problems, Span, closest};

/// Problems of one value after which decoding stops: what is as wrong as this is another kind of file.
const MOST_PROBLEMS: usize = 200;

/// Decodes a node. Everything wrong is recorded in `problems` with its place; `None` where anything was.
///
/// Types should derive `Deserialize` and must not use `flatten`, `untagged` or internally tagged enums, which
/// lose positions, nor `alias`. Unknown keys of a derived struct are always refused. In the text of
/// [`serde::de::Error::custom`] a second line is the hint.
pub fn decode<T: DeserializeOwned>(node: &Node, problems: &mut Problems) -> Option<T> {
    let before = problems.error_count();
    salvage(node, problems).filter(|_| problems.error_count() == before)
}

/// Like [`decode`], but a value whose only fault is unknown keys is returned without them, so that checks
/// that come after decoding find what else is wrong. `problems` holds the errors all the same.
pub fn salvage<T: DeserializeOwned>(node: &Node, problems: &mut Problems) -> Option<T> {
    draft(node, problems)
        .filter(|draft| draft.whole)
        .map(|draft| draft.value)
}

/// A decoded value, some of whose parts may be made up.
#[derive(Clone, Copy, Debug)]
pub struct Draft<T> {
    /// The value.
    pub value: T,
    /// Whether all of it stood in the file. Otherwise stand-ins (zero, nothing, the first variant) are in place of
    /// what was wrong or missing, without a span: only for checks of the other parts, see
    /// [`Problems::adopt_placed`].
    pub whole: bool,
}

/// Like [`salvage`], but also returns a value with stand-ins in place of what was wrong.
pub fn draft<T: DeserializeOwned>(node: &Node, problems: &mut Problems) -> Option<Draft<T>> {
    run(node, problems)
}

/// Decodes until it succeeds. After each failure a stand-in takes the place of what was wrong, so that the
/// next round gets past it.
fn run<T: DeserializeOwned>(node: &Node, problems: &mut Problems) -> Option<Draft<T>> {
    let mut repairs = Repairs::default();
    let mut whole = true;
    let mut rounds = 0;
    let value = loop {
        let fault = match T::deserialize(Tree::root(node, &repairs)) {
            Ok(value) => break Some(value),
            Err(DecodeError(fault)) => fault,
        };
        whole = false;
        rounds += 1;
        if rounds > MOST_PROBLEMS {
            problems
                .error(
                    node.span,
                    format!("more than {MOST_PROBLEMS} problems here; the others are not shown"),
                )
                .hint("correct these first");
            break None;
        }
        let place = fault
            .place
            .clone()
            .unwrap_or_else(|| Place::value(node, None, false));
        if !fault.silent && !repairs.explains(&fault) {
            fault.record(&place, problems);
        }
        if !repairs.add(&place) {
            break None;
        }
    };
    let unknown = repairs.unknown.into_inner();
    for key in unknown.list {
        record_unknown_key(&key.name, key.span, key.allowed, problems);
    }
    value.map(|value| Draft { value, whole })
}

/// What was wrong in earlier rounds, by the addresses of nodes, which do not move while they are borrowed.
#[derive(Default)]
pub(crate) struct Repairs {
    /// Values that a stand-in takes the place of.
    stand_ins: HashSet<usize>,
    /// Entries that are passed over (values of keys that are wrong).
    skipped: HashSet<usize>,
    /// Names of entries that are passed over because their type takes no stand-in.
    refused: HashSet<String>,
    /// Keys that a mapping lacks and that a stand-in is given for.
    supplied: HashSet<(usize, &'static str)>,
    unknown: RefCell<Unknown>,
}

#[derive(Default)]
struct Unknown {
    seen: HashSet<usize>,
    list: Vec<UnknownKey>,
}

struct UnknownKey {
    mapping: usize,
    name: String,
    span: Span,
    allowed: &'static [&'static str],
}

/// What tells nodes apart: their address.
pub(crate) fn identity(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

impl Repairs {
    pub(crate) fn stands_in(&self, node: &Node) -> bool {
        !self.stand_ins.is_empty() && self.stand_ins.contains(&identity(node))
    }

    pub(crate) fn skips(&self, value: &Node) -> bool {
        !self.skipped.is_empty() && self.skipped.contains(&identity(value))
    }

    /// The keys that a stand-in is given for in this mapping.
    pub(crate) fn supplied(&self, mapping: &Node) -> Vec<&'static str> {
        if self.supplied.is_empty() {
            return Vec::new();
        }
        let mapping = identity(mapping);
        self.supplied
            .iter()
            .filter(|(of, _)| *of == mapping)
            .map(|(_, field)| *field)
            .collect()
    }

    /// Notes an unknown key, once.
    pub(crate) fn unknown_key(
        &self,
        mapping: &Node,
        (name, span, value): &(String, Span, Node),
        allowed: &'static [&'static str],
    ) {
        let mut unknown = self.unknown.borrow_mut();
        if unknown.seen.insert(identity(value)) {
            unknown.list.push(UnknownKey {
                mapping: identity(mapping),
                name: name.clone(),
                span: *span,
                allowed,
            });
        }
    }

    /// Whether a fault only follows from one that is reported: a key that is missing because it is misspelt, or
    /// because it was passed over.
    fn explains(&self, fault: &Fault) -> bool {
        match (&fault.kind, &fault.place) {
            (FaultKind::Missing(field), Some(Place::Missing { mapping, .. })) => {
                self.refused.contains(*field)
                    || self.unknown.borrow().list.iter().any(|key| {
                        key.mapping == *mapping
                            && closest(&key.name, key.allowed.iter().copied()) == Some(*field)
                    })
            }
            _ => false,
        }
    }

    /// Whether the place was not repaired before.
    fn add(&mut self, place: &Place) -> bool {
        match place {
            // A type that takes no stand-in may have a default.
            Place::Value { node, name, .. } => {
                self.stand_ins.insert(*node) || {
                    self.refused.extend(name.clone());
                    self.skipped.insert(*node)
                }
            }
            Place::Key { value, .. } => self.skipped.insert(*value),
            Place::Missing { mapping, field, .. } => self.supplied.insert((*mapping, field)),
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
