//! Tags that an event names which is wrong: they are used as soon as it is right.

use floorgate_yaml::{Node, NodeKind, Problems, closest};

use crate::data::Scope;
use crate::vocabulary::{snake, standard};

/// Marks the tags that an event seems to use. `false` where there are too many wrong names to tell which tags they are meant to be.
pub(crate) fn mark(event: &Node, scope: &Scope<'_>, used: &mut [bool], problems: &mut Problems) -> bool {
    for input in &scope.inputs {
        used[*input] = true;
    }
    let named = event.get("type").and_then(Node::as_text);
    let fields = named
        .and_then(standard)
        .map(|event| event.fields)
        .unwrap_or_default();
    for field in fields {
        for name in [field.name, snake(field.name).as_str(), "order"] {
            if let Some(place) = scope.by_name.get(name) {
                used[*place] = true;
            }
        }
    }
    let texts = event.entries().iter().filter(|(key, ..)| key != "type");
    mark_all(texts.map(|(_, _, value)| value), scope, used, problems)
}

/// All are looked at, also after the first that is too much.
fn mark_all<'n>(
    nodes: impl Iterator<Item = &'n Node>,
    scope: &Scope<'_>,
    used: &mut [bool],
    problems: &mut Problems,
) -> bool {
    let unsure = nodes.filter(|node| !mark_texts(node, scope, used, problems));
    unsure.count() == 0
}

fn mark_texts(node: &Node, scope: &Scope<'_>, used: &mut [bool], problems: &mut Problems) -> bool {
    match &node.kind {
        NodeKind::Text(text) => {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for place in words.filter_map(|word| scope.by_name.get(word)) {
                used[*place] = true;
            }
            if scope.by_name.contains_key(text.as_str()) {
                return true;
            }
            if !problems.may_suggest(scope.tags.len()) {
                return false;
            }
            // A slip in a name is the mistake, and not that its tag has no use.
            let similar = closest(text, scope.tags.iter().map(|tag| tag.name));
            if let Some(place) = similar.and_then(|similar| scope.by_name.get(similar)) {
                used[*place] = true;
            }
            true
        }
        NodeKind::List(items) => mark_all(items.iter(), scope, used, problems),
        NodeKind::Map(entries) => mark_all(entries.iter().map(|(_, _, value)| value), scope, used, problems),
        _ => true,
    }
}
