//! What is wrong in one instance alone: it is told with the instance, and where its override stands. The shared
//! definition is right, so that nobody would look for the mistake there.

use std::collections::HashSet;

use floorgate_yaml::{Node, NodeKind, Problems, Severity, Span};

use crate::overrides::Change;

/// What was found before the instances are looked at, and where they were found wrong since.
pub(crate) struct Told {
    /// Where errors are, or anything that an instance before has.
    places: HashSet<Span>,
    /// Where the override of this instance has something.
    own: Vec<Span>,
    /// What the shared definition has, in words: an instance whose override does not change it has it too.
    shared: HashSet<(Span, String)>,
}

impl Told {
    /// Takes note of all that was found; of its words only where there are `overrides`.
    pub(crate) fn of(problems: &Problems, overrides: bool) -> Self {
        let found = || {
            let all = problems.list().iter();
            all.filter_map(|problem| Some((problem, problem.span?)))
        };
        let wrong = found().filter(|(problem, _)| problem.severity == Severity::Error);
        Self {
            places: wrong.map(|(_, span)| span).collect(),
            own: Vec::new(),
            shared: found()
                .filter(|_| overrides)
                .map(|(problem, span)| (span, problem.message.clone()))
                .collect(),
        }
    }

    /// Keeps of what an instance's rows have, found after the first `checked` problems, the first at each place: what is wrong with one
    /// line of a template is said once. What the next one has is then held against all of this one's.
    pub(crate) fn once_per_place(&mut self, checked: usize, problems: &mut Problems) {
        for problem in problems.take_after(checked) {
            if problem.span.is_none_or(|span| self.places.insert(span)) {
                problems.put(problem);
            }
        }
        self.places.extend(self.own.drain(..));
    }
}

/// The override of one instance, and how it is written.
#[derive(Clone, Copy)]
pub(crate) struct Override<'n> {
    pub change: &'n Change,
    pub written: &'n Node,
}

/// What a problem is of, where its words do not say.
#[derive(Clone, Copy)]
pub(crate) enum Of<'t> {
    /// A tag that is read for the instance.
    Tag(&'t str),
    /// An event that is, and those of its tags that mean something else there.
    Event(&'t str, &'t [&'t str]),
    /// The instance as a whole.
    Instance,
    /// Its rows: of what is found there only sources that do not go together are its own.
    Sources,
}

impl Override<'_> {
    /// Says of what was found after the first `checked` problems that it is so in this instance, at its override.
    pub(crate) fn tell(self, checked: usize, of: Of<'_>, told: &mut Told, problems: &mut Problems) {
        let named = format!("instance `{}`", self.change.instance);
        for mut problem in problems.take_after(checked) {
            if let Some(span) = problem.span {
                // It is so in all instances.
                let is_known = told.shared.contains(&(span, problem.message.clone()));
                if is_known || told.places.contains(&span) {
                    continue;
                }
                if span != self.change.span && !holds(self.written, span) {
                    let culprit = self.culprit(&problem.message, of);
                    if culprit.is_none() && matches!(of, Of::Sources) {
                        problems.put(problem);
                        continue;
                    }
                    let hint = problem.hint.take().unwrap_or_default();
                    problem.hint(format!("{hint}; see {}", problems.place(span)));
                    problem.span = Some(culprit.unwrap_or(self.change.span));
                }
                if problem.span.is_some_and(|span| told.places.contains(&span)) {
                    continue;
                }
                told.own.extend(problem.span);
            }
            if !problem.message.contains(&named) {
                problem.message = format!("in {named}: {}", problem.message);
            }
            problems.put(problem);
        }
    }

    /// Where the override of what a message is about stands.
    fn culprit(self, message: &str, of: Of<'_>) -> Option<Span> {
        let named = |(name, ..): &&(String, Span, Node)| message.contains(&format!("tag `{name}`"));
        let moved = |(name, _, node): &&(String, Span, Node)| {
            node.get("source").is_some() && message.contains(&format!("`{name}`"))
        };
        let tags = self.entries("tags");
        let tag = |name: &str| tags.iter().find(|(known, ..)| known == name);
        let event = |name: &str| self.entries("events").iter().find(|(known, ..)| known == name);
        let entry = match of {
            Of::Tag(name) => tag(name),
            Of::Event(name, others) => tags
                .iter()
                .find(named)
                .or_else(|| event(name))
                .or_else(|| others.iter().find_map(|name| tag(name))),
            Of::Instance => tags.iter().find(named),
            Of::Sources => tags.iter().find(moved),
        };
        entry.map(|entry| key_of(entry, message))
    }

    fn entries(&self, key: &str) -> &[(String, Span, Node)] {
        self.written.get(key).map(Node::entries).unwrap_or_default()
    }
}

/// Where the key of an override stands that a message is about: the only one, or one that it names; else the name of the tag or event.
fn key_of((_, span, node): &(String, Span, Node), message: &str) -> Span {
    match node.entries() {
        [(_, key, _)] => *key,
        keys => keys
            .iter()
            .find(|(key, ..)| message.contains(&format!("`{key}`")))
            .map_or(*span, |(_, key, _)| *key),
    }
}

/// Whether a place is in a node.
fn holds(node: &Node, place: Span) -> bool {
    let covers = |span: Span| {
        span.file == place.file
            && (span.offset..=span.offset.saturating_add(span.len)).contains(&place.offset)
    };
    let is_in = |node: &Node| covers(node.span) || holds(node, place);
    match &node.kind {
        NodeKind::List(items) => items.iter().any(is_in),
        _ => node
            .entries()
            .iter()
            .any(|(_, span, value)| covers(*span) || is_in(value)),
    }
}
