//! What is monitored: nodes, events and conditions, and the tags that come of each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::time::Duration;

use floorgate_adapter_api::{Node, Problems, Span, TagId, TagSpec};
use floorgate_yaml::{Draft, draft};
use opcua::types::{Identifier, NodeId};

use crate::address::{Address, NamespaceName, NodeAddress, ServerDeadband};
use crate::field::Field;
use crate::settings::millis;

/// The longest publishing interval of a tag's own: until a subscription was heard it is not known whether anything was missed.
const SLOWEST: Duration = Duration::from_mins(1);

/// A tag.
#[derive(Debug)]
pub struct Tag {
    /// Its number in the gateway.
    pub id: TagId,
    /// Its name, for messages.
    pub name: Box<str>,
    /// The part of the value, or of the event's field, that is its own.
    pub field: Option<Field>,
}

/// What one item tells, and the tags that come of it.
#[derive(Debug)]
pub struct Item {
    node: Place,
    /// What it tells of the node.
    pub what: What,
    /// Its tags, one after the other in [`LaidOut::tags`].
    pub tags: Range<u32>,
    /// The sampling interval that is asked for, in milliseconds, where that is not the source's.
    pub sampling_millis: Option<f32>,
    /// The publishing interval that is asked for, in milliseconds, where that is not the source's.
    pub publishing_millis: Option<f32>,
    /// The queue size that is asked for, where that is not the source's.
    pub queue_size: Option<u32>,
    /// The smallest change that the server is to report.
    pub deadband: Option<ServerDeadband>,
}

/// What an item tells.
#[derive(Debug)]
pub enum What {
    /// The value of the node.
    Value,
    /// Events of the node, of one type where it is given: of each the field that each tag names.
    Events(Option<Place>, Box<[Box<str>]>),
    /// The conditions of the node.
    Conditions,
}

/// A node as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    namespace: Namespace,
    identifier: Identifier,
}

/// A namespace; a URI is a place in [`LaidOut::uris`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Namespace {
    Index(u16),
    Uri(u16),
}

impl Place {
    /// The node on a server with these namespaces (in the order of [`LaidOut::uris`]); `None` where its namespace is not among them.
    pub fn node_id(&self, namespaces: &[Option<u16>]) -> Option<NodeId> {
        let namespace = match self.namespace {
            Namespace::Index(index) => index,
            Namespace::Uri(uri) => namespaces.get(usize::from(uri)).copied().flatten()?,
        };
        Some(NodeId {
            namespace,
            identifier: self.identifier.clone(),
        })
    }

    /// The place of its namespace's URI, where it is named by URI.
    pub fn uri(&self) -> Option<usize> {
        match self.namespace {
            Namespace::Index(_) => None,
            Namespace::Uri(uri) => Some(usize::from(uri)),
        }
    }
}

impl Item {
    /// Its node on a server with these namespaces.
    pub fn node_id(&self, namespaces: &[Option<u16>]) -> Option<NodeId> {
        self.node.node_id(namespaces)
    }

    /// The place of its namespace's URI, where it is named by URI.
    pub fn uri(&self) -> Option<usize> {
        self.node.uri()
    }

    /// Whether it tells conditions. These have subscriptions of their own: a refresh is of a subscription, and tells all of its events again.
    pub fn is_of_conditions(&self) -> bool {
        matches!(self.what, What::Conditions)
    }

    /// What tells it apart from others: where it is, and what it tells.
    pub fn text(&self) -> String {
        format!("{:?};{:?};{:?}", self.node, self.what, self.deadband)
    }
}

/// Tags of a source with what they come of.
#[derive(Debug, Default)]
pub struct LaidOut {
    /// What is monitored or polled; an item's place here is its handle minus one at the server.
    pub items: Vec<Item>,
    /// The tags that come of it.
    pub tags: Vec<Tag>,
    /// The tags that are read only when they are asked for, each with its node.
    pub on_demand: Vec<(Tag, Place)>,
    /// The namespace URIs that are named.
    pub uris: Vec<String>,
}

/// A tag that is read from its address, with what its item is.
struct Read {
    tag: Tag,
    node: Place,
    of: Of,
    sampling_millis: Option<f32>,
    publishing_millis: Option<f32>,
    queue_size: Option<u32>,
    deadband: Option<ServerDeadband>,
    on_demand: bool,
}

/// What a tag is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Of {
    Value,
    Events(Option<Place>, Box<str>),
    Conditions,
}

/// What tags of one item have in common.
#[derive(PartialEq, Eq, Hash)]
struct Common {
    node: Place,
    is_of_events: bool,
    event_type: Option<Place>,
    sampling_millis: Option<u32>,
    publishing_millis: Option<u32>,
    queue_size: Option<u32>,
    deadband: Option<(bool, u64)>,
}

impl LaidOut {
    /// Lays tags out; everything wrong is recorded.
    pub fn of(specs: &[TagSpec<'_>], problems: &mut Problems) -> Option<Self> {
        let mut items = Self::default();
        let mut known = HashMap::new();
        let mut read = Vec::with_capacity(specs.len());
        for spec in specs {
            read.extend(items.read(spec, &mut known, problems));
        }
        if read.len() < specs.len() {
            return None;
        }
        // Tags of one item stand together; a part of a value or of an event shares it with the other parts.
        let mut shared: HashMap<Common, usize> = HashMap::new();
        let mut groups: Vec<Vec<Read>> = Vec::with_capacity(read.len());
        for tag in read {
            if tag.on_demand {
                items.on_demand.push((tag.tag, tag.node));
                continue;
            }
            if tag.tag.field.is_none() && !matches!(tag.of, Of::Events(..)) {
                groups.push(vec![tag]);
                continue;
            }
            match shared.entry(tag.common()) {
                Entry::Occupied(place) => groups[*place.get()].push(tag),
                Entry::Vacant(place) => {
                    place.insert(groups.len());
                    groups.push(vec![tag]);
                }
            }
        }
        for group in groups {
            items.push(group);
        }
        Some(items)
    }

    fn push(&mut self, group: Vec<Read>) {
        let start = u32::try_from(self.tags.len()).unwrap_or(u32::MAX);
        let mut fields = Vec::new();
        let mut item = None;
        for read in group {
            if let Of::Events(_, field) = &read.of {
                fields.push(field.clone());
            }
            self.tags.push(read.tag);
            item.get_or_insert(Item {
                node: read.node,
                what: match read.of {
                    Of::Value => What::Value,
                    Of::Events(of, _) => What::Events(of, Box::default()),
                    Of::Conditions => What::Conditions,
                },
                tags: start..start,
                sampling_millis: read.sampling_millis,
                publishing_millis: read.publishing_millis,
                queue_size: read.queue_size,
                deadband: read.deadband,
            });
        }
        let end = u32::try_from(self.tags.len()).unwrap_or(u32::MAX);
        if let Some(mut item) = item {
            item.tags = start..end;
            if let What::Events(_, names) = &mut item.what {
                *names = fields.into();
            }
            self.items.push(item);
        }
    }

    /// Reads one tag; `None` where it is wrong.
    fn read(
        &mut self,
        spec: &TagSpec<'_>,
        known: &mut HashMap<String, u16>,
        problems: &mut Problems,
    ) -> Option<Read> {
        let before = problems.list().len();
        let Draft {
            value: address,
            whole,
        } = draft::<Address>(spec.address, problems)?;
        check(&address, spec, problems);
        let kinds = [
            ("node", &address.node),
            ("events", &address.events),
            ("conditions", &address.conditions),
        ];
        let mut given = kinds
            .iter()
            .filter_map(|(key, text)| Some((*key, text.as_deref()?)));
        let Some((key, text)) = given.next() else {
            if whole {
                problems
                    .error(spec.address.span, format!("tag {} has no address", spec.name))
                    .hint("write `node` for a variable, `events` for events, or `conditions` for alarms of the server");
            }
            return None;
        };
        // What stands in for a node is no address to look at.
        let is_read = whole || problems.are_silent_on(key, spec.address, before);
        if !is_read {
            return None;
        }
        let node = self.place(spec, (key, text), known, problems)?;
        let event_type = match address.event_type.as_deref() {
            Some(text) => Some(self.place(spec, ("event_type", text), known, problems)?),
            None => None,
        };
        let at = span(spec.address, "field");
        let field = match address.field.as_deref().map(Field::parse) {
            Some(Ok(field)) => Some(field),
            None => None,
            Some(Err(error)) => {
                problems
                    .error(at, format!("tag {}: {error}", spec.name))
                    .hint("write `Recipe.Name`, `[3]` or `Steps[2].Time`");
                return None;
            }
        };
        let (of, field) = match key {
            "events" => {
                let (name, rest) = field.map(Field::split_first).unwrap_or_default();
                (Of::Events(event_type, name), (!rest.is_whole()).then_some(rest))
            }
            "conditions" => (Of::Conditions, None),
            _ => (Of::Value, field),
        };
        #[allow(clippy::cast_possible_truncation)] // milliseconds in the precision of a float are enough
        let [sampling_millis, publishing_millis] = [address.sampling_interval, address.publishing_interval]
            .map(|interval| interval.map(|interval| millis(interval) as f32));
        Some(Read {
            tag: Tag {
                id: spec.id,
                name: spec.name.into(),
                field,
            },
            node,
            of,
            sampling_millis,
            publishing_millis,
            queue_size: address.queue_size,
            deadband: address.server_deadband,
            on_demand: spec.on_demand,
        })
    }

    /// A node that an address names; `None` where it is none.
    fn place(
        &mut self,
        spec: &TagSpec<'_>,
        (key, text): (&str, &str),
        known: &mut HashMap<String, u16>,
        problems: &mut Problems,
    ) -> Option<Place> {
        let node = match NodeAddress::parse(text) {
            Ok(node) => node,
            Err(error) => {
                problems
                    .error(
                        span(spec.address, key),
                        format!("{key} of tag {}: {error}", spec.name),
                    )
                    .hint("write nsu=NAMESPACE-URI;s=NAME, ns=2;s=NAME, ns=2;i=42 or i=2258");
                return None;
            }
        };
        let namespace = match node.namespace {
            NamespaceName::Index(index) => Namespace::Index(index),
            NamespaceName::Uri(uri) => {
                if let Some(number) = known.get(uri) {
                    Namespace::Uri(*number)
                } else {
                    let Ok(number) = u16::try_from(self.uris.len()) else {
                        problems
                            .error(spec.address.span, "more than 65536 namespaces in one source")
                            .hint("divide the tags among several sources");
                        return None;
                    };
                    self.uris.push(uri.to_owned());
                    known.insert(uri.to_owned(), number);
                    Namespace::Uri(number)
                }
            }
        };
        Some(Place {
            namespace,
            identifier: node.identifier,
        })
    }
}

impl Read {
    fn common(&self) -> Common {
        Common {
            node: self.node.clone(),
            is_of_events: matches!(self.of, Of::Events(..)),
            event_type: match &self.of {
                Of::Events(of, _) => of.clone(),
                Of::Value | Of::Conditions => None,
            },
            sampling_millis: self.sampling_millis.map(f32::to_bits),
            publishing_millis: self.publishing_millis.map(f32::to_bits),
            queue_size: self.queue_size,
            deadband: self.deadband.map(|deadband| match deadband {
                ServerDeadband::Absolute(absolute) => (false, absolute.to_bits()),
                ServerDeadband::Percent(percent) => (true, percent.to_bits()),
            }),
        }
    }
}

/// Reports keys of an address that do not go together.
fn check(address: &Address, spec: &TagSpec<'_>, problems: &mut Problems) {
    let name = spec.name;
    let at = |key: &str| span(spec.address, key);
    if address.queue_size == Some(0) {
        problems
            .error(at("queue_size"), format!("`queue_size` of tag {name} is 0"))
            .hint("it is at least 1");
    }
    if let Some(interval) = address.publishing_interval
        && (interval.get().is_zero() || interval.get() > SLOWEST)
    {
        problems
            .error(
                at("publishing_interval"),
                format!("`publishing_interval` of tag {name} is {interval}"),
            )
            .hint("it is above 0 and at most `1min`; how often the server looks at the node is `sampling_interval`");
    }
    let kinds = [
        ("node", address.node.is_some()),
        ("events", address.events.is_some()),
        ("conditions", address.conditions.is_some()),
    ];
    let mut given = kinds.iter().filter(|(_, is)| *is).map(|(key, _)| *key);
    let (first, second) = (given.next(), given.next());
    if let (Some(first), Some(second)) = (first, second) {
        problems
            .error(
                at(second),
                format!("tag {name} has `{first}` and `{second}`, and is of one of them"),
            )
            .hint("give each a tag of its own");
    }
    let is_of_events = first == Some("events");
    if is_of_events
        && address
            .field
            .as_deref()
            .is_none_or(|field| field.starts_with('['))
    {
        problems
            .error(
                at("events"),
                format!("tag {name} does not say which field of the events it is"),
            )
            .hint("such as `field: Message`, or `field: JobState[0].StateNumber`");
    }
    let misplaced = [
        (
            "event_type",
            address.event_type.is_some() && !is_of_events,
            "it is of `events`",
        ),
        (
            "field",
            address.field.is_some() && first == Some("conditions"),
            "a condition is told as a whole",
        ),
        (
            "sampling_interval",
            address.sampling_interval.is_some() && first != Some("node"),
            "what happens is not sampled",
        ),
        (
            "server_deadband",
            address.server_deadband.is_some() && first != Some("node"),
            "what happens has no deadband",
        ),
    ];
    for (key, is, why) in misplaced {
        if is && first.is_some() {
            problems
                .error(at(key), format!("`{key}` of tag {name} has no meaning here"))
                .hint(format!("remove it: {why}"));
        }
    }
    if spec.on_demand && first.is_some_and(|first| first != "node") {
        problems
            .error(
                spec.address.span,
                format!("tag {name} tells what happens, and is read in a snapshot"),
            )
            .hint("what happened cannot be read afterwards: take it out of `snapshot`");
    }
}

fn span(node: &Node, key: &str) -> Span {
    node.get(key).map_or(node.span, |value| value.span)
}
