//! How much one mapping may come to: few lines with `for_each` can fill any memory.

use floorgate_yaml::{Node, NodeKind, Problems, Span};

/// Most tags and events of one mapping, over all of its instances: ten times what the largest plants have.
const MOST_ROWS: usize = 2_000_000;

/// Most bytes of text that the instances of one mapping are made of.
const MOST_BYTES: usize = 1024 * 1024 * 1024;

/// Whether a mapping with so many instances stays within bounds; else that is reported at its `for_each`.
pub(crate) fn hold(node: &Node, instances: usize, rows: usize, problems: &mut Problems) -> bool {
    if instances <= 1 {
        return true;
    }
    let total = instances.saturating_mul(rows);
    let what = if total > MOST_ROWS {
        format!("{instances} instances of {rows} tags and events are more than {MOST_ROWS}")
    } else {
        let text: usize = node
            .entries()
            .iter()
            .filter(|(key, ..)| !matches!(key.as_str(), "for_each" | "overrides"))
            .map(|(_, _, value)| length(value))
            .sum();
        if instances.saturating_mul(text) <= MOST_BYTES {
            return true;
        }
        format!("{instances} instances of {text} bytes of text are too large")
    };
    let span: Span = node.get("for_each").map_or(node.span, |for_each| for_each.span);
    problems
        .error(span, format!("`for_each`: {what}"))
        .hint("divide the instances among several mappings and gateways");
    false
}

/// The bytes of all text in a node.
pub(crate) fn length(node: &Node) -> usize {
    match &node.kind {
        NodeKind::Text(text) => text.len(),
        NodeKind::List(items) => items.iter().map(length).sum(),
        NodeKind::Map(entries) => entries
            .iter()
            .map(|(key, _, value)| key.len() + length(value))
            .sum(),
        _ => 0,
    }
}
