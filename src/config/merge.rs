//! How a mapping and its parts become one.

use std::collections::HashMap;

use floorgate_yaml::{Node, NodeKind, Problems, Span};

use crate::check::{expect_list, expect_mapping};

/// The entries of the parts that were taken so far, each part after those that it includes itself.
#[derive(Default)]
pub(crate) struct Merge {
    tables: Named,
    tags: Named,
    run: Named,
    events: Vec<Node>,
    /// Where the keys stand first.
    keys: HashMap<&'static str, (Span, Span)>,
}

/// Entries by name, in the order in which they came.
#[derive(Default)]
struct Named {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

struct Entry {
    name: String,
    span: Span,
    node: Node,
    /// The part that it is of.
    part: usize,
    /// Where another part, that does not include this one, has the same name.
    other: Option<(usize, Span)>,
}

/// Reports keys of a part that are of the wrong kind.
pub(crate) fn check_kinds(node: &Node, problems: &mut Problems) {
    for key in ["tables", "tags"] {
        if let Some(value) = node.get(key) {
            expect_mapping(key, value, problems);
        }
    }
    if let Some(events) = node.get("events") {
        expect_list("events", events, problems);
    }
}

impl Named {
    /// Takes an entry; one of a part that includes the other's replaces it in its place.
    fn take(
        &mut self,
        part: usize,
        (name, span, node): &(String, Span, Node),
        includes: &impl Fn(usize) -> bool,
    ) {
        let new = Entry {
            name: name.clone(),
            span: *span,
            node: node.clone(),
            part,
            other: None,
        };
        let Some(&place) = self.places.get(name) else {
            self.places.insert(name.clone(), self.entries.len());
            self.entries.push(new);
            return;
        };
        let old = &mut self.entries[place];
        if !includes(old.part) {
            old.other.get_or_insert((part, *span));
        } else if let Some(other) = old.other.filter(|(other, _)| !includes(*other)) {
            *old = Entry {
                other: Some(other),
                ..new
            };
        } else {
            *old = new;
        }
    }

    /// Puts the mapping's own entries after those of the parts, or in the place of those with the same name.
    fn finish(
        mut self,
        what: &str,
        own: Vec<(String, Span, Node)>,
        problems: &mut Problems,
    ) -> Vec<(String, Span, Node)> {
        let mut added = Vec::new();
        for (name, span, node) in own {
            match self.places.get(&name) {
                Some(&place) => {
                    let entry = &mut self.entries[place];
                    (entry.span, entry.node, entry.other) = (span, node, None);
                }
                None => added.push((name, span, node)),
            }
        }
        let of_parts = self.entries.into_iter().map(|entry| {
            if let Some((_, span)) = entry.other {
                let place = problems.place(entry.span);
                let name = match what {
                    "run" => "`run`".to_owned(),
                    what => format!("{what} `{}`", entry.name),
                };
                problems
                    .error(span, format!("{name} stands in another part too: {place}"))
                    .hint("remove one of them, or say in the mapping itself what it is, which replaces both");
            }
            (entry.name, entry.span, entry.node)
        });
        of_parts.chain(added).collect()
    }
}

impl Merge {
    /// Takes the entries of a part; `includes` says whether it includes another one.
    pub(crate) fn part(&mut self, part: usize, node: &Node, includes: impl Fn(usize) -> bool) {
        for key in ["tables", "tags", "run", "events"] {
            let Some((span, value)) = node.entry(key) else {
                continue;
            };
            self.keys.entry(key).or_insert((span, value.span));
            match (key, &value.kind) {
                ("run", _) => self
                    .run
                    .take(part, &(key.to_owned(), span, value.clone()), &includes),
                ("tables", NodeKind::Map(entries)) => {
                    for entry in entries {
                        self.tables.take(part, entry, &includes);
                    }
                }
                ("tags", NodeKind::Map(entries)) => {
                    for entry in entries {
                        self.tags.take(part, entry, &includes);
                    }
                }
                ("events", NodeKind::List(items)) => self.events.extend(items.iter().cloned()),
                // It is reported with the part.
                _ => {}
            }
        }
    }

    /// The mapping with the entries of its parts before its own.
    pub(crate) fn finish(mut self, node: Node, problems: &mut Problems) -> Node {
        check_kinds(&node, problems);
        let NodeKind::Map(entries) = node.kind else {
            return node;
        };
        let mut own: HashMap<&'static str, Node> = HashMap::new();
        let mut whole = Vec::new();
        for (key, span, value) in entries {
            match ["tables", "tags", "run", "events"]
                .into_iter()
                .find(|name| *name == key)
            {
                Some(name) => {
                    self.keys.insert(name, (span, value.span));
                    own.insert(name, value);
                }
                None => whole.push((key, span, value)),
            }
        }
        let mut entries_of = |key: &str| match own.remove(key).map(|node| node.kind) {
            Some(NodeKind::Map(entries)) => entries,
            _ => Vec::new(),
        };
        let tables = self.tables.finish("table", entries_of("tables"), problems);
        let tags = self.tags.finish("tag", entries_of("tags"), problems);
        let run = own
            .remove("run")
            .zip(self.keys.get("run"))
            .map(|(node, (span, _))| ("run".to_owned(), *span, node));
        whole.extend(self.run.finish("run", run.into_iter().collect(), problems));
        if let Some(NodeKind::List(items)) = own.remove("events").map(|node| node.kind) {
            self.events.extend(items);
        }
        let merged = [
            ("tables", NodeKind::Map(tables)),
            ("tags", NodeKind::Map(tags)),
            ("events", NodeKind::List(self.events)),
        ];
        for (key, kind) in merged {
            if let Some((key_span, span)) = self.keys.get(key) {
                whole.push((key.to_owned(), *key_span, Node { span: *span, kind }));
            }
        }
        Node {
            span: node.span,
            kind: NodeKind::Map(whole),
        }
    }
}
