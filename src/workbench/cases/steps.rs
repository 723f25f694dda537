//! The steps of a case: from what is written to notices and samples.

use std::time::Duration;

use floorgate_core::plan::Priority;
use floorgate_sample::{Continuity, GapScope, Notice, Quality, Sample, SourceId, TagId, Timestamp, Value};
use floorgate_yaml::{Node, NodeKind, Problems, Span, closest};

use super::player::ORIGIN;
use super::subject::Subject;

/// The keys of a step that are no names of sources.
const WORDS: [&str; 10] = [
    "at", "online", "resumed", "offline", "stale", "gap", "history", "restart", "outbox", "read",
];

/// The keys of a value that is written as a mapping.
const VALUE_KEYS: [&str; 6] = ["value", "bad", "quality", "time", "server", "gap"];

/// What happens at one time.
#[derive(Debug)]
pub struct Step {
    /// When, since the beginning.
    pub at: Duration,
    /// What, in order.
    pub actions: Vec<Action>,
    /// Where it is written.
    pub span: Span,
}

/// One thing that happens.
#[derive(Debug)]
pub enum Action {
    /// A source says something of itself, or of its tags.
    Batch {
        /// The source.
        source: SourceId,
        /// What it says of itself.
        notices: Vec<Notice>,
        /// Values of its tags.
        samples: Vec<Sample>,
    },
    /// A source answers what it is asked for: with values, or that it failed.
    Answer {
        /// The source.
        source: SourceId,
        /// Whether it answers everything, and not the oldest request alone.
        all: bool,
        /// What was read; nothing where that failed.
        samples: Option<Vec<Sample>>,
        /// Where it is written.
        span: Span,
    },
    /// The process ends and another one goes on.
    Restart {
        /// How long the gateway is down.
        after: Duration,
        /// How the sources come back.
        continuity: Continuity,
    },
    /// The outbox fills, or there is room again.
    LeaveOutBelow(Option<Priority>),
}

/// Reads all steps; everything wrong is in `problems`.
pub fn steps(input: &Node, subject: &Subject, problems: &mut Problems) -> Vec<Step> {
    let Some(NodeKind::List(items)) = input.get("steps").map(|node| &node.kind) else {
        problems
            .error(input.span, "there are no `steps`")
            .hint("such as `steps: [{at: 1s, plc: {state: 6}}]`");
        return Vec::new();
    };
    let mut reader = Reader {
        subject,
        problems,
        at: Duration::ZERO,
    };
    let mut steps: Vec<Step> = Vec::new();
    let mut earliest = Duration::ZERO;
    for item in items {
        let step = reader.step(item);
        if step.at < earliest {
            reader
                .problems
                .error(item.span, "the step is earlier than the one before it")
                .hint("`at` is the time since the beginning of the case");
        }
        earliest = step.at
            + step
                .actions
                .iter()
                .map(|action| match action {
                    Action::Restart { after, .. } => *after,
                    _ => Duration::ZERO,
                })
                .sum();
        steps.push(step);
    }
    steps
}

struct Reader<'a> {
    subject: &'a Subject,
    problems: &'a mut Problems,
    /// The time of the step.
    at: Duration,
}

impl Reader<'_> {
    fn step(&mut self, node: &Node) -> Step {
        self.at = if let Some(at) = node.get("at") {
            self.duration(at)
        } else {
            self.problems
                .error(node.span, "the step has no time")
                .hint("such as `at: 5s`");
            Duration::ZERO
        };
        let mut actions = Vec::new();
        let mut caught_up = Vec::new();
        for (key, span, value) in node.entries() {
            match key.as_str() {
                "at" => {}
                "online" => self.notices(value, &mut actions, || Notice::Online(Continuity::New)),
                "resumed" => {
                    self.notices(value, &mut actions, || Notice::Online(Continuity::Resumed));
                    self.notices(value, &mut caught_up, || Notice::CaughtUp);
                }
                "offline" => self.notices(value, &mut actions, || Notice::Offline {
                    reason: "connection lost".into(),
                }),
                "stale" => self.notices(value, &mut actions, || Notice::Stale {
                    reason: "no data".into(),
                }),
                "gap" => self.gap(value, &mut actions),
                "history" => self.history(value, &mut actions),
                "restart" => actions.extend(self.restart(value)),
                "outbox" => actions.extend(self.outbox(value)),
                "read" => self.answers(value, &mut caught_up),
                source => {
                    if let Some(source) = self.source(source, *span) {
                        let samples = self.samples(source, value);
                        actions.push(Action::Batch {
                            source,
                            notices: Vec::new(),
                            samples,
                        });
                    }
                }
            }
        }
        // What a resumed source sends in this step is what happened while it was lost.
        actions.append(&mut caught_up);
        Step {
            at: self.at,
            actions,
            span: node.span,
        }
    }

    /// A notice of each source that is named: one, or a list of them.
    fn notices(&mut self, node: &Node, actions: &mut Vec<Action>, notice: impl Fn() -> Notice) {
        let named = match &node.kind {
            NodeKind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for node in named {
            let name = node.as_text().unwrap_or_default();
            if let Some(source) = self.source(name, node.span) {
                actions.push(Action::Batch {
                    source,
                    notices: vec![notice()],
                    samples: Vec::new(),
                });
            }
        }
    }

    /// `history: {plc: [{state: 4}, {state: 6}]}`: what the source kept and is asked for now.
    fn history(&mut self, node: &Node, actions: &mut Vec<Action>) {
        for (name, span, values) in node.entries() {
            if let Some(source) = self.source(name, *span) {
                let samples = self.samples(source, values);
                actions.push(Action::Batch {
                    source,
                    notices: vec![Notice::History],
                    samples,
                });
            }
        }
    }

    /// `gap: plc`, or `gap: {plc: [state, good]}` for some of its tags.
    fn gap(&mut self, node: &Node, actions: &mut Vec<Action>) {
        let reason = || "values were lost".into();
        if node.entries().is_empty() {
            self.notices(node, actions, || Notice::Gap {
                scope: GapScope::Source,
                reason: reason(),
            });
        }
        for (name, span, tags) in node.entries() {
            let Some(source) = self.source(name, *span) else {
                continue;
            };
            let tags = match &tags.kind {
                NodeKind::List(items) => items.as_slice(),
                _ => std::slice::from_ref(tags),
            };
            let tags = tags
                .iter()
                .filter_map(|tag| self.tag(source, tag.as_text().unwrap_or_default(), tag.span))
                .collect();
            actions.push(Action::Batch {
                source,
                notices: vec![Notice::Gap {
                    scope: GapScope::Tags(tags),
                    reason: reason(),
                }],
                samples: Vec::new(),
            });
        }
    }

    /// `restart: new`, `restart: resumed`, or `restart: {after: 10s, sources: resumed}`.
    fn restart(&mut self, node: &Node) -> Option<Action> {
        let (after, sources) = match &node.kind {
            NodeKind::Map(_) => (node.get("after"), node.get("sources").unwrap_or(node)),
            _ => (None, node),
        };
        let after = after.map_or(Duration::ZERO, |after| self.duration(after));
        let continuity = match sources.as_text() {
            Some("new") => Continuity::New,
            Some("resumed") => Continuity::Resumed,
            _ => {
                self.problems
                    .error(sources.span, "it is not said how the sources come back")
                    .hint("`new` (all begins anew) or `resumed` (nothing was missed)");
                return None;
            }
        };
        Some(Action::Restart { after, continuity })
    }

    /// `read: {plc: {cycle_no: 7}}`, or `read: {plc: failed}`: after all else of the step. Of a list each answers one request.
    fn answers(&mut self, node: &Node, actions: &mut Vec<Action>) {
        for (name, span, value) in node.entries() {
            let Some(source) = self.source(name, *span) else {
                continue;
            };
            let (answers, all) = match &value.kind {
                NodeKind::List(items) => (items.as_slice(), false),
                _ => (std::slice::from_ref(value), true),
            };
            for answer in answers {
                let failed = answer.as_text() == Some("failed");
                actions.push(Action::Answer {
                    source,
                    all,
                    samples: (!failed).then(|| self.samples(source, answer)),
                    span: *span,
                });
            }
        }
    }

    fn outbox(&mut self, node: &Node) -> Option<Action> {
        let least = match node.as_text() {
            Some("filling") => Some(Priority::Normal),
            Some("nearly full") => Some(Priority::High),
            Some("has room") => None,
            _ => {
                self.problems
                    .error(node.span, format!("the outbox cannot be {}", node.describe()))
                    .hint(
                        "`filling` (low priority is left out), `nearly full` (normal as well) or `has room`",
                    );
                return None;
            }
        };
        Some(Action::LeaveOutBelow(least))
    }

    /// One mapping of values is read together; a list of them came one after the other.
    fn samples(&mut self, source: SourceId, node: &Node) -> Vec<Sample> {
        let groups = match &node.kind {
            NodeKind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut samples = Vec::new();
        for group in groups {
            if group.entries().is_empty() {
                self.problems
                    .error(
                        group.span,
                        format!("expected values by tag, found {}", group.describe()),
                    )
                    .hint("such as `{state: 6, good: 10}`");
            }
            for (name, span, value) in group.entries() {
                if let Some(tag) = self.tag(source, name, *span) {
                    samples.push(self.sample(tag, value));
                }
            }
        }
        samples
    }

    fn sample(&mut self, tag: TagId, node: &Node) -> Sample {
        // A device behind Modbus says nothing of times.
        let has_times = self.subject.says_when(tag);
        let mut sample = Sample {
            tag,
            value: None,
            quality: Quality::GOOD,
            source_time: has_times.then(|| ORIGIN.after(self.at)),
            server_time: None,
            gap: false,
        };
        if !matches!(node.kind, NodeKind::Map(_)) {
            sample.value = value(node);
            return sample;
        }
        for (key, span, node) in node.entries() {
            match (key.as_str(), &node.kind) {
                ("value", _) => sample.value = value(node),
                ("bad", NodeKind::Bool(true)) => sample.quality = Quality::BAD,
                ("quality", _) => sample.quality = self.quality(node),
                ("time", NodeKind::Text(text)) if text == "none" => sample.source_time = None,
                ("time", _) => sample.source_time = Some(self.time(node)),
                ("server", _) => sample.server_time = Some(self.time(node)),
                ("gap", NodeKind::Bool(gap)) => sample.gap = *gap,
                (key, _) => {
                    self.problems
                        .error(
                            *span,
                            format!("a value has no `{key}` that is {}", node.describe()),
                        )
                        .hint(format!("keys here: {}", VALUE_KEYS.join(", ")));
                }
            }
        }
        sample
    }

    fn quality(&mut self, node: &Node) -> Quality {
        match (&node.kind, node.as_text()) {
            (_, Some("good")) => Quality::GOOD,
            (_, Some("uncertain")) => Quality::UNCERTAIN,
            (_, Some("bad")) => Quality::BAD,
            (NodeKind::Int(code), _) if u32::try_from(*code).is_ok() => {
                Quality(u32::try_from(*code).unwrap_or_default())
            }
            _ => {
                self.problems
                    .error(node.span, format!("{} is no quality", node.describe()))
                    .hint("good, uncertain, bad, or a status code of OPC UA such as 0x800A0000");
                Quality::BAD
            }
        }
    }

    fn time(&mut self, node: &Node) -> Timestamp {
        ORIGIN.after(self.duration(node))
    }

    fn duration(&mut self, node: &Node) -> Duration {
        floorgate_yaml::decode::<floorgate_yaml::Duration>(node, self.problems)
            .unwrap_or_default()
            .get()
    }

    fn source(&mut self, name: &str, span: Span) -> Option<SourceId> {
        let sources = &self.subject.plan.sources;
        let found = sources.iter().position(|source| &*source.name == name);
        if found.is_none() {
            let names = sources.iter().map(|source| &*source.name);
            let names: Vec<&str> = names.chain(WORDS).collect();
            let problem = self.problems.error(span, format!("there is no source `{name}`"));
            match closest(name, names.iter().copied()) {
                Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
                None => problem.hint(format!("known here: {}", names.join(", "))),
            };
        }
        found.and_then(|number| u16::try_from(number).ok()).map(SourceId)
    }

    /// The tag of a source by the end of its name, `state`, `2/state` or `mapping/2/state`.
    fn tag(&mut self, source: SourceId, name: &str, span: Span) -> Option<TagId> {
        let tags = (0_u32..).map(TagId).zip(&self.subject.plan.tags);
        let tags: Vec<_> = tags.filter(|(_, tag)| tag.source == source).collect();
        let found: Vec<_> = tags
            .iter()
            .filter(|(_, tag)| {
                tag.key
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
            })
            .collect();
        if let [(id, _)] = found.as_slice() {
            return Some(*id);
        }
        let (message, keys): (_, Vec<&str>) = if found.is_empty() {
            (
                format!("the source has no tag `{name}`"),
                tags.iter().map(|(_, tag)| &*tag.key).collect(),
            )
        } else {
            (
                format!("several tags are named `{name}`"),
                found.iter().map(|(_, tag)| &*tag.key).collect(),
            )
        };
        self.problems
            .error(span, message)
            .hint(format!("its tags: {}", keys.join(", ")));
        None
    }
}

/// The value in the type that it is written in; nothing for `null`, which is a status without a value.
fn value(node: &Node) -> Option<Value> {
    Some(match &node.kind {
        NodeKind::Null => return None,
        NodeKind::Bool(value) => Value::Bool(*value),
        NodeKind::Int(value) => i64::try_from(*value).map_or_else(
            |_| Value::UInt(u64::try_from(*value).unwrap_or(u64::MAX)),
            Value::Int,
        ),
        NodeKind::Float(value) => Value::Float64(*value),
        NodeKind::Text(text) => Value::text(text.as_str()),
        NodeKind::List(items) => Value::List(items.iter().filter_map(value).collect()),
        NodeKind::Map(entries) => Value::Record(
            entries
                .iter()
                .filter_map(|(name, _, part)| Some((name.as_str().into(), value(part)?)))
                .collect(),
        ),
    })
}
