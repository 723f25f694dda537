//! What a mapping says of single instances: from what is written to the tags and events of these instances.

use std::collections::{BTreeMap, HashMap, HashSet};

use floorgate_yaml::{Node, NodeKind, Problems, Span, closest};

use crate::bounds;
use crate::check::expect_mapping;
use crate::event::rule_name;
use crate::form::TAG_KEYS;
use crate::in_instance::Override;

/// What is other in one instance.
#[derive(Debug)]
pub(crate) struct Change {
    /// Name of the instance.
    pub instance: String,
    /// Where the name stands.
    pub span: Span,
    /// Tags by name.
    pub tags: BTreeMap<String, TagChange>,
    /// Events by the last part of their rules' ids.
    pub events: BTreeMap<String, EventChange>,
}

impl Change {
    /// About how many bytes its tags and events are.
    fn size(&self) -> usize {
        let tags = self.tags.values().filter_map(|tag| tag.entry.as_ref());
        let tags = tags.map(|(_, _, node)| node);
        let events = self.events.values().filter_map(|event| match event {
            EventChange::Keys(node) => Some(node),
            EventChange::LeftOut => None,
        });
        tags.chain(events).map(bounds::length).sum()
    }
}

/// What is other of an event.
#[derive(Debug)]
pub(crate) enum EventChange {
    /// The instance has no such event.
    LeftOut,
    /// The event with all of its keys.
    Keys(Node),
}

/// What is other of a tag.
#[derive(Debug)]
pub(crate) struct TagChange {
    /// Where its name stands in the override.
    pub span: Span,
    /// The tag with all of its keys; `None` where it is left out.
    pub entry: Option<(String, Span, Node)>,
    /// Whether its values mean something else, and not only where they come from is another place.
    pub means_other: bool,
}

/// Keys of an event that make it another rule.
pub(crate) const IDENTITY: [&str; 2] = ["name", "type"];

/// Most bytes of the tags and events that overrides come to: each has the keys of the shared definition too.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// The tags and events that overrides may name.
struct Shared<'n> {
    tags: HashMap<&'n str, &'n (String, Span, Node)>,
    events: HashMap<String, &'n Node>,
    /// Whether there are no others, in a part that cannot be had.
    whole: bool,
}

/// Reads `overrides` of a mapping, of which all parts are there or not. What each instance comes to has the keys of the shared definition and
/// its own.
pub(crate) fn read(mapping: &Node, whole: bool, problems: &mut Problems) -> Vec<Change> {
    let Some(node) = mapping.get("overrides") else {
        return Vec::new();
    };
    expect_mapping("overrides", node, problems);
    let tags = mapping.get("tags").map(Node::entries).unwrap_or_default();
    let events = match mapping.get("events").map(|events| &events.kind) {
        Some(NodeKind::List(items)) => items.as_slice(),
        _ => &[],
    };
    let shared = Shared {
        tags: tags.iter().map(|entry| (entry.0.as_str(), entry)).collect(),
        events: events
            .iter()
            .filter_map(|event| Some((name_of(event)?, event)))
            .collect(),
        whole,
    };
    let mut changes = Vec::with_capacity(node.entries().len());
    let mut size = 0_usize;
    for entry in node.entries() {
        let change = change(entry, &shared, problems);
        size = size.saturating_add(change.size());
        if size > MOST_BYTES {
            problems
                .error(entry.1, "`overrides`: what they come to is too large")
                .hint("divide the instances among several mappings, or make a parameter of what differs");
            return Vec::new();
        }
        changes.push(change);
    }
    changes
}

/// Reads what is other in one instance.
fn change(
    (instance, span, node): &(String, Span, Node),
    shared: &Shared<'_>,
    problems: &mut Problems,
) -> Change {
    let mut change = Change {
        instance: instance.clone(),
        span: *span,
        tags: BTreeMap::new(),
        events: BTreeMap::new(),
    };
    let what = format!("override of instance `{instance}`");
    if !expect_entries(&what, *span, node, problems) {
        return change;
    }
    for (key, span, value) in node.entries() {
        match key.as_str() {
            "tags" if expect_entries(&format!("`tags` in the {what}"), *span, value, problems) => {
                for entry in value.entries() {
                    if let Some(tag) = tag(entry, instance, shared, problems) {
                        change.tags.insert(entry.0.clone(), tag);
                    }
                }
            }
            "events" if expect_entries(&format!("`events` in the {what}"), *span, value, problems) => {
                for entry in value.entries() {
                    if let Some(event) = event(entry, instance, shared, problems) {
                        change.events.insert(entry.0.clone(), event);
                    }
                }
            }
            "tags" | "events" => {}
            _ => {
                let problem = problems.error(*span, format!("unknown key `{key}` of the {what}"));
                match closest(key, ["tags", "events"]) {
                    Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
                    None => problem
                        .hint("keys here: tags, events; what else differs is a parameter of `for_each`"),
                };
            }
        }
    }
    change
}

/// Whether a node has entries; where it has none, that is reported.
fn expect_entries(what: &str, span: Span, node: &Node, problems: &mut Problems) -> bool {
    match &node.kind {
        NodeKind::Map(entries) if !entries.is_empty() => return true,
        NodeKind::Map(_) | NodeKind::Null => problems
            .warning(span, format!("{what} changes nothing"))
            .hint("remove it, or write below it what is other there"),
        _ => problems
            .error(
                node.span,
                format!("{what}: expected a mapping, found {}", node.describe()),
            )
            .hint("such as `{tags: {NAME: {KEY: value}}, events: {NAME: {KEY: value}}}`"),
    };
    false
}

/// Reads what is other of a tag.
fn tag(
    (name, span, node): &(String, Span, Node),
    instance: &str,
    shared: &Shared<'_>,
    problems: &mut Problems,
) -> Option<TagChange> {
    let Some((_, shared_span, of_all)) = shared.tags.get(name.as_str()) else {
        let known = || shared.tags.keys().copied().collect();
        if shared.whole {
            unknown(("tag", shared.tags.len()), name, *span, instance, known, problems);
        }
        return None;
    };
    let what = format!("tag `{name}` of instance `{instance}`");
    if node.kind == NodeKind::Null {
        return Some(TagChange {
            span: *span,
            entry: None,
            means_other: false,
        });
    }
    if !expect_entries(&what, *span, node, problems) {
        return None;
    }
    let means_other = node
        .entries()
        .iter()
        .any(|(key, ..)| TAG_KEYS.contains(&key.as_str()) && key != "source");
    Some(TagChange {
        span: *span,
        entry: Some((name.clone(), *shared_span, merged(of_all, node, &what, problems)?)),
        means_other,
    })
}

/// Reads what is other of an event.
fn event(
    (name, span, node): &(String, Span, Node),
    instance: &str,
    shared: &Shared<'_>,
    problems: &mut Problems,
) -> Option<EventChange> {
    let Some(of_all) = shared.events.get(name) else {
        let known = || shared.events.keys().map(String::as_str).collect();
        if shared.whole {
            let count = shared.events.len();
            unknown(("event", count), name, *span, instance, known, problems);
        }
        return None;
    };
    if node.kind == NodeKind::Null {
        return Some(EventChange::LeftOut);
    }
    let what = format!("event `{name}` of instance `{instance}`");
    if !expect_entries(&what, *span, node, problems) {
        return None;
    }
    let mut own = node.clone();
    if let NodeKind::Map(entries) = &mut own.kind {
        entries.retain(|(key, span, _)| {
            let is_identity = IDENTITY.contains(&key.as_str());
            if is_identity {
                problems
                    .error(*span, format!("`{key}` of {what} cannot be another"))
                    .hint("remove it: the rule is the same in all instances; `null` in place of the event leaves it out");
            }
            !is_identity
        });
    }
    merged(of_all, &own, &what, problems).map(EventChange::Keys)
}

/// The keys of the shared definition, and in place of these the ones that are given; `null` takes a key away. What
/// changes nothing is reported. `None` where the shared definition has no keys: that is reported there.
fn merged(of_all: &Node, own: &Node, what: &str, problems: &mut Problems) -> Option<Node> {
    let NodeKind::Map(mut entries) = of_all.kind.clone() else {
        return None;
    };
    for (key, span, value) in own.entries() {
        let place = entries.iter().position(|(name, ..)| name == key);
        let as_before = match place {
            Some(place) if value.kind == NodeKind::Null => {
                entries.remove(place);
                false
            }
            Some(place) => {
                let as_before = same(&entries[place].2, value);
                entries[place] = (key.clone(), *span, value.clone());
                as_before
            }
            None if value.kind == NodeKind::Null => true,
            None => {
                entries.push((key.clone(), *span, value.clone()));
                false
            }
        };
        if as_before {
            problems
                .warning(*span, format!("`{key}` of {what} changes nothing"))
                .hint("remove it: it is so in all instances");
        }
    }
    Some(Node {
        span: own.span,
        kind: NodeKind::Map(entries),
    })
}

/// Whether two nodes say the same, wherever they stand.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.kind, &other.kind) {
        (NodeKind::List(one), NodeKind::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (NodeKind::Map(entries), NodeKind::Map(others)) => {
            entries.len() == others.len()
                && entries
                    .iter()
                    .all(|(key, _, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        (one, other) => one == other,
    }
}

/// The last part of the id that an event's rule will have.
fn name_of(event: &Node) -> Option<String> {
    let text = |key: &str| event.get(key).and_then(Node::as_text);
    match text("name") {
        Some(name) => Some(name.to_owned()),
        None => Some(rule_name(text("type")?, text("trigger"))),
    }
}

/// Reports a name that is none of the so many tags or events of the mapping.
fn unknown<'n>(
    (kind, count): (&str, usize),
    name: &str,
    span: Span,
    instance: &str,
    known: impl FnOnce() -> Vec<&'n str>,
    problems: &mut Problems,
) {
    // After many wrong names nobody looks at what they may mean.
    let mut names = if problems.may_suggest(count) {
        known()
    } else {
        Vec::new()
    };
    names.sort_unstable();
    let similar = closest(name, names.iter().copied());
    let problem = problems.error(
        span,
        format!("override of instance `{instance}`: there is no {kind} `{name}` in this mapping"),
    );
    match (similar, names.len()) {
        (Some(similar), _) => problem.hint(format!("did you mean `{similar}`?")),
        (None, 1..=20) => problem.hint(format!("{kind}s here: {}", names.join(", "))),
        (None, _) => problem.hint(format!("this mapping has {count} {kind}s, none with such a name")),
    };
}

/// The changes by instance; those of instances that the mapping has not are reported.
pub(crate) fn by_instance<'n>(
    changes: &'n [Change],
    mapping: &'n Node,
    names: &[&str],
    problems: &mut Problems,
) -> HashMap<&'n str, Override<'n>> {
    let Some((span, written)) = mapping.entry("overrides") else {
        return HashMap::new();
    };
    if mapping.get("for_each").is_none() {
        problems
            .error(span, "`overrides` has no instances to refer to")
            .hint(
                "without `for_each` there is one machine: say it at its tags and events, or add `for_each`",
            );
        return HashMap::new();
    }
    let known: HashSet<&str> = names.iter().copied().collect();
    for change in changes {
        // Without any, what is wrong with them is reported.
        if known.is_empty() || known.contains(change.instance.as_str()) {
            continue;
        }
        // The next number is no better than any other.
        let is_number = change.instance.parse::<i64>().is_ok();
        let similar = if !is_number && problems.may_suggest(names.len()) {
            closest(&change.instance, names.iter().copied())
        } else {
            None
        };
        let problem = problems.error(
            change.span,
            format!("override: there is no instance `{}`", change.instance),
        );
        match (similar, names) {
            (Some(similar), _) => problem.hint(format!("did you mean `{similar}`?")),
            (None, [first, .., last]) if names.len() > 20 => problem.hint(format!(
                "this mapping has {} instances, from `{first}` to `{last}`",
                names.len()
            )),
            (None, names) => problem.hint(format!("instances here: {}", names.join(", "))),
        };
    }
    // Each was read from the entry in its place.
    changes
        .iter()
        .zip(written.entries())
        .map(|(change, (name, _, written))| (name.as_str(), Override { change, written }))
        .collect()
}
