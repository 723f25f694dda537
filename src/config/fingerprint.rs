//! What a source is to its adapter, as a number: a source with the same one need not be stopped when the configuration changes.
//!
//! It is made of everything that the adapter is handed, whatever that means to it, and of the little that another meaning of a tag would change for
//! the source as a whole. Where something stands in a file is no part of it. That of a source is compared within
//! one process only; that of an address stands in recordings too.

use std::hash::{DefaultHasher, Hash, Hasher};

use floorgate_adapter_api::{SourceSpec, TagSpec};
use floorgate_core::plan::{Plan, Tag};
use floorgate_yaml::{Node, NodeKind};

/// The fingerprint of a source; `tags` are those of all tags.
pub(crate) fn of_source(adapter: &str, spec: &SourceSpec<'_>, tags: &[u64], plan: &Plan) -> u64 {
    let mut hasher = DefaultHasher::new();
    adapter.hash(&mut hasher);
    spec.name.hash(&mut hasher);
    of_node(spec.settings).hash(&mut hasher);
    (spec.base, spec.state).hash(&mut hasher);
    spec.tags.len().hash(&mut hasher);
    for tag in &spec.tags {
        tags.get(tag.id.index()).hash(&mut hasher);
        if let Some(row) = plan.tags.get(tag.id.index()) {
            of_state(row, plan, &mut hasher);
        }
    }
    for snapshot in &spec.snapshots {
        snapshot.rule.hash(&mut hasher);
        snapshot.tags.len().hash(&mut hasher);
        for tag in &snapshot.tags {
            plan.tags.get(tag.index()).map(|tag| &tag.key).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The fingerprint of a tag with that of its address: what its adapter is told of it.
pub(crate) fn of_tag(tag: &TagSpec<'_>, address: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    tag.name.hash(&mut hasher);
    address.hash(&mut hasher);
    tag.on_demand.hash(&mut hasher);
    hasher.finish()
}

/// What decides whether the source is there, and whether what was received before is the tag's value: its heartbeat, the tag that says whether
/// it holds, the bits that it is.
fn of_state(tag: &Tag, plan: &Plan, hasher: &mut impl Hasher) {
    tag.spec.heartbeat.hash(hasher);
    tag.spec.field.map(|field| (field.mask, field.shift)).hash(hasher);
    let valid = tag.valid.and_then(|valid| plan.tags.get(valid.index()));
    valid.map(|valid| &valid.key).hash(hasher);
}

/// The fingerprint of a node: its content, in which the entries of a mapping have no order.
pub(crate) fn of_node(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::mem::discriminant(&node.kind).hash(&mut hasher);
    match &node.kind {
        NodeKind::Null => {}
        NodeKind::Bool(value) => value.hash(&mut hasher),
        NodeKind::Int(value) => value.hash(&mut hasher),
        NodeKind::Float(value) => value.to_bits().hash(&mut hasher),
        NodeKind::Text(text) => text.hash(&mut hasher),
        NodeKind::List(items) => {
            items.len().hash(&mut hasher);
            for item in items {
                of_node(item).hash(&mut hasher);
            }
        }
        NodeKind::Map(entries) => {
            entries.len().hash(&mut hasher);
            let all = entries.iter().fold(0_u64, |all, (key, _, value)| {
                let mut entry = DefaultHasher::new();
                (key, of_node(value)).hash(&mut entry);
                all.wrapping_add(entry.finish())
            });
            all.hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use floorgate_yaml::{FileId, Problems, parse};

    use super::*;

    fn of(text: &str) -> u64 {
        let node = parse(FileId::default(), text, &mut Problems::default());
        of_node(&node.expect("it is YAML"))
    }

    #[test]
    fn content_counts_and_neither_place_nor_order_of_keys_does() {
        let one = of("{a: 1, b: [x, {c: null}]}");
        assert_eq!(one, of("\n\nb:\n- x\n- {c: ~}\na: 1\n"));
        for other in [
            "{a: 1, b: [{c: null}, x]}",
            "{a: '1', b: [x, {c: null}]}",
            "{a: 1.0, b: [x, {c: null}]}",
            "{a: 1, b: [x, {c: null}], d: 1}",
            "{a: 1, b: [x, {c: false}]}",
            "{b: 1, a: [x, {c: null}]}",
        ] {
            assert_ne!(one, of(other), "{other}");
        }
    }
}
