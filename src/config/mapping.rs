//! The mapping compiler: instances, tags and events of a file become rows of the plan.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use floorgate_adapter_api::Adapter;
use floorgate_core::plan::{EquipmentId, Plan, Rule, RuleKind, Tag};
use floorgate_sample::{SourceId, TagId};
use floorgate_yaml::{Node, NodeKind, Problems, Span, Spanned, closest, salvage};
use sha2::{Digest, Sha256};

use crate::bounds;
use crate::check::is_plain_name;
use crate::data::Scope;
use crate::equipment::site_of;
use crate::event::{self, EventPlan, Topic};
use crate::form::MappingForm;
use crate::tag::{self, Tables, TagPlan};
use crate::template::{Instance, Instances, Template};

/// A source as far as mappings need it.
pub(crate) struct KnownSource<'n> {
    pub name: &'n str,
    /// `None` where its adapter is wrong or missing.
    pub adapter: Option<&'n dyn Adapter>,
}

/// Compiles mapping files, one after the other, into one plan.
pub(crate) struct Compiler<'n> {
    pub sources: Vec<KnownSource<'n>>,
    /// Their places by name: every instance looks its own up.
    by_name: HashMap<&'n str, usize>,
    /// Where a source is named that is not there.
    missing: HashSet<Span>,
    /// Topics by event type, from the settings.
    pub overrides: &'n BTreeMap<String, Spanned<String>>,
    pub plan: Plan,
    /// Tags of each source: number and address.
    pub addresses: Vec<Vec<(TagId, Cow<'n, Node>)>>,
    /// For each source `enterprise.site` of the first equipment that reads from it.
    pub sites: Vec<Option<String>>,
    pub(crate) equipment: HashMap<Arc<str>, EquipmentId>,
    /// The tag that each alarm of an equipment comes from.
    pub(crate) alarms: HashMap<(EquipmentId, Arc<str>), TagId>,
    topics: HashMap<String, Arc<str>>,
    rule_ids: HashSet<Arc<str>>,
    mappings: HashSet<String>,
    /// Event types that the mappings use.
    pub events: HashSet<String>,
}

/// Everything of one mapping file that its instances share.
struct Mapping<'n> {
    name: String,
    instances: Instances,
    source: Option<(Template, Span)>,
    equipment: Option<(Template, Span)>,
    tags: Vec<TagPlan<'n>>,
    events: Vec<EventPlan<'n>>,
    version: Arc<str>,
}

/// Version of a mapping: of its content, so that any change shows.
fn version(text: &str) -> Arc<str> {
    let digest = Sha256::digest(text.as_bytes());
    let hex = digest
        .iter()
        .take(6)
        .fold(String::from("sha256:"), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
    hex.into()
}

impl<'n> Compiler<'n> {
    pub(crate) fn new(
        sources: Vec<KnownSource<'n>>,
        overrides: &'n BTreeMap<String, Spanned<String>>,
    ) -> Self {
        let (addresses, sites) = (
            sources.iter().map(|_| Vec::new()).collect(),
            vec![None; sources.len()],
        );
        let by_name = sources
            .iter()
            .enumerate()
            .map(|(place, source)| (source.name, place));
        Self {
            by_name: by_name.collect(),
            missing: HashSet::new(),
            sources,
            overrides,
            plan: Plan::default(),
            addresses,
            sites,
            equipment: HashMap::new(),
            alarms: HashMap::new(),
            topics: HashMap::new(),
            rule_ids: HashSet::new(),
            mappings: HashSet::new(),
            events: HashSet::new(),
        }
    }

    /// Compiles one file.
    pub(crate) fn add(&mut self, node: &'n Node, text: &str, problems: &mut Problems) {
        // The keys of the file are checked as a whole; each part is then taken from the tree, so that a wrong
        // part keeps no other from being checked.
        let _ = salvage::<MappingForm>(node, problems);
        let name = text_at(node, "mapping")
            .map(|name| self.mapping_name(&name, problems))
            .unwrap_or_default();
        let naming = text_at(node, "instance");
        let instances = Instances::read(node.get("for_each"), naming.as_ref(), node.span, problems);
        let template = |key: &str, problems: &mut Problems| {
            let text = text_at(node, key)?;
            Some((
                Template::parse(&text, text.span, &instances.parameters, problems)?,
                text.span,
            ))
        };
        let source = template("source", problems);
        let equipment = template("equipment", problems);
        let mut tables = Tables::read(node.get("tables"), problems);
        let tags = self.tags(node, source.as_ref(), &instances, &mut tables, problems);
        let mut mapping = Mapping {
            name,
            instances,
            source,
            equipment,
            tags,
            events: Vec::new(),
            version: version(text),
        };
        let mut used = vec![false; mapping.tags.len()];
        let events_right = self.events(node, &mut mapping, &mut used, problems);
        if events_right {
            event::check_use(&mapping.tags, &used, &mapping.events, problems);
        }
        let rows = mapping.tags.len() + mapping.events.len();
        if !bounds::hold(node, mapping.instances.list.len(), rows, problems) {
            return;
        }
        let before = problems.list().len();
        for instance in &mapping.instances.list {
            self.instance(&mapping, instance, problems);
        }
        problems.once_per_place(before);
    }

    fn mapping_name(&mut self, name: &Spanned<String>, problems: &mut Problems) -> String {
        if !is_plain_name(name, 100) {
            problems
                .error(name.span, format!("`mapping`: {:?} is no plain name", name.value))
                .hint("letters, digits, `-`, `_` and `.`");
        }
        if !self.mappings.insert(name.value.clone()) {
            problems
                .error(
                    name.span,
                    format!("another file has a mapping `{}` already", name.value),
                )
                .hint("names of mappings are unique: state is stored under them");
        }
        name.value.clone()
    }

    /// The source with a name, or the problem that there is none.
    fn source(&mut self, name: &str, span: Span, problems: &mut Problems) -> Option<usize> {
        let found = self.by_name.get(name).copied();
        // One line of a template is told once, and a hundred thousand instances need not look for what it may mean.
        if found.is_none() && self.missing.insert(span) {
            let problem = problems.error(span, format!("source `{name}` is not in the settings"));
            match closest(name, self.sources.iter().map(|source| source.name)) {
                Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
                None if self.sources.is_empty() => problem.hint("add it below `sources` of the settings"),
                None => {
                    let names: Vec<_> = self.sources.iter().map(|source| source.name).collect();
                    problem.hint(format!("sources: {}", names.join(", ")))
                }
            };
        }
        found
    }

    /// Keys that addresses may have: those of the adapters of all instances' sources. `None` where any is unknown.
    fn address_keys(&self, template: &Template, instances: &Instances) -> Option<Vec<&'static str>> {
        let names: BTreeSet<String> = if template.is_constant() {
            BTreeSet::from([template.fill(&[])])
        } else {
            let of = |instance: &Instance| template.fill(&instance.values);
            instances.list.iter().map(of).collect()
        };
        let mut keys: Vec<&'static str> = Vec::new();
        for name in &names {
            let source = &self.sources[*self.by_name.get(name.as_str())?];
            keys.extend(source.adapter?.address_keys());
        }
        keys.sort_unstable();
        keys.dedup();
        // Without instances no source is known, and no key is wrong.
        (!names.is_empty()).then_some(keys)
    }

    fn tags(
        &self,
        node: &'n Node,
        source: Option<&(Template, Span)>,
        instances: &Instances,
        tables: &mut Tables,
        problems: &mut Problems,
    ) -> Vec<TagPlan<'n>> {
        let Some(tags) = node.get("tags") else {
            return Vec::new();
        };
        tag::expect_mapping("tags", tags, problems);
        let keys = source.and_then(|(template, _)| self.address_keys(template, instances));
        // Many tags name the same source, and each of its instances is looked at for its keys.
        let mut known: HashMap<&str, Option<Vec<&'static str>>> = HashMap::new();
        tags.entries()
            .iter()
            .map(|entry| {
                let own = entry.2.get("source").and_then(Node::as_text);
                let keys = match own {
                    Some(text) => &*known.entry(text).or_insert_with(|| {
                        let template =
                            Template::parse(text, entry.1, &instances.parameters, &mut Problems::default())?;
                        self.address_keys(&template, instances)
                    }),
                    None => &keys,
                };
                let keys = keys.as_deref();
                tag::read(entry, keys, &instances.parameters, tables, problems)
            })
            .collect()
    }

    /// Reads the events; `false` where any is wrong. Marks the tags that events use.
    fn events(
        &mut self,
        node: &'n Node,
        mapping: &mut Mapping<'n>,
        used: &mut [bool],
        problems: &mut Problems,
    ) -> bool {
        let Some(events) = node.get("events") else {
            return false;
        };
        let NodeKind::List(items) = &events.kind else {
            if events.kind != NodeKind::Null {
                problems
                    .error(
                        events.span,
                        format!("`events`: expected a list, found {}", events.describe()),
                    )
                    .hint("write `- {type: …, trigger: …}` lines below it");
            }
            return false;
        };
        let by_name: HashMap<&str, usize> = mapping
            .tags
            .iter()
            .enumerate()
            .map(|(place, tag)| (tag.name, place))
            .collect();
        let first = mapping
            .instances
            .list
            .first()
            .map(|instance| instance.values.as_slice());
        let mut names = HashSet::new();
        let mut plans = Vec::new();
        let mut right = true;
        for item in items {
            let mut scope = Scope {
                tags: &mapping.tags,
                by_name: &by_name,
                parameters: &mapping.instances.parameters,
                values: first.unwrap_or_default(),
                inputs: Vec::new(),
                differs: false,
            };
            let plan = event::read(item, self.overrides, &mut scope, &mapping.version, problems);
            let Some(plan) = plan else {
                right = false;
                continue;
            };
            for input in &plan.inputs {
                used[*input] = true;
            }
            self.events.insert(plan.form.event.value.clone());
            if !names.insert(plan.name.clone()) {
                let span = plan
                    .form
                    .name
                    .as_ref()
                    .map_or(plan.form.event.span, |name| name.span);
                problems
                    .error(
                        span,
                        format!("two events of this mapping are named `{}`", plan.name),
                    )
                    .hint("give each its own `name`");
                continue;
            }
            plans.push(plan);
        }
        mapping.events = plans;
        right
    }

    /// Adds the rows of one instance.
    fn instance(&mut self, mapping: &Mapping<'n>, instance: &Instance, problems: &mut Problems) {
        // What can be had is gone through, also where something else is wrong: one mistake hides no other.
        let values = instance.values.as_slice();
        let place = mapping.equipment.as_ref().and_then(|(equipment, span)| {
            let path = equipment.fill(values);
            Some((self.equipment(&path, *span, problems)?, site_of(&path), *span))
        });
        let source = mapping
            .source
            .as_ref()
            .and_then(|(source, span)| self.source(&source.fill(values), *span, problems));
        let prefix = |separator: char| match instance.name.as_str() {
            "" => format!("{}{separator}", mapping.name),
            name => format!("{}{separator}{name}{separator}", mapping.name),
        };
        let key_prefix = prefix('/');
        let rows: Vec<_> = mapping
            .tags
            .iter()
            .map(|tag| self.tag(mapping, tag, source, &key_prefix, values, problems))
            .collect();
        let Some((equipment, site, equipment_span)) = place else {
            return;
        };
        for tag in rows.iter().flatten() {
            let source = self.plan.tags[tag.index()].source;
            self.sites[source.index()].get_or_insert_with(|| site.clone());
        }
        // A rule needs all of its inputs; the plan is not used where one lacks.
        let numbers: Option<Vec<TagId>> = rows.into_iter().collect();
        let id_prefix = prefix('.');
        for event in &mapping.events {
            let topic = match &event.topic {
                Topic::Template(template, span) => self.topic(template.fill(values), *span, problems),
                Topic::Standard(rest) => self.topic(format!("{site}.{rest}"), equipment_span, problems),
            };
            let Some(numbers) = &numbers else { continue };
            let spec = event.spec(&mapping.instances.parameters, values);
            let id: Arc<str> = format!("{id_prefix}{}", event.name).into();
            if !self.rule_ids.insert(Arc::clone(&id)) && !problems.has_errors() {
                problems
                    .error(instance.span, format!("two rules have the id `{id}`"))
                    .hint("give one of the mappings, instances or events another name");
            }
            let inputs = event
                .inputs
                .iter()
                .filter_map(|place| numbers.get(*place).copied())
                .collect();
            if let (RuleKind::Alarm, Some(trigger)) = (&spec.kind, &event.form.trigger)
                && let Some(&tag) = event.inputs.first().and_then(|place| numbers.get(*place))
            {
                self.alarm_codes(equipment, tag, trigger.span, problems);
            }
            self.plan.rules.push(Rule {
                id,
                equipment,
                inputs,
                topic,
                spec,
            });
        }
    }

    /// Adds the row of a tag. `None` where it has no address or no source: that is a problem already.
    fn tag(
        &mut self,
        mapping: &Mapping<'n>,
        tag: &TagPlan<'n>,
        source: Option<usize>,
        key_prefix: &str,
        values: &[NodeKind],
        problems: &mut Problems,
    ) -> Option<TagId> {
        let source = match &tag.source {
            None => source?,
            Some(own) => {
                let template = Template::parse(own, own.span, &mapping.instances.parameters, problems)?;
                self.source(&template.fill(values), own.span, problems)?
            }
        };
        let address = tag.address.as_ref()?;
        let node = match address.shared() {
            Some(node) => Cow::Borrowed(node),
            None => Cow::Owned(address.fill(&mapping.instances.parameters, values)),
        };
        let id = TagId(u32::try_from(self.plan.tags.len()).ok()?);
        self.addresses[source].push((id, node));
        self.plan.tags.push(Tag {
            key: format!("{key_prefix}{}", tag.name).into(),
            source: SourceId(u16::try_from(source).unwrap_or(u16::MAX)),
            spec: tag.spec.clone().unwrap_or_default(),
        });
        Some(id)
    }

    /// One `Arc` for each topic.
    fn topic(&mut self, name: String, span: Span, problems: &mut Problems) -> Arc<str> {
        if let Some(topic) = self.topics.get(&name) {
            return Arc::clone(topic);
        }
        check_topic(&name, span, problems);
        let topic: Arc<str> = name.as_str().into();
        self.topics.insert(name, Arc::clone(&topic));
        topic
    }
}

/// Kafka's rule for names of topics (`org.apache.kafka.common.internals.Topic`).
fn check_topic(name: &str, span: Span, problems: &mut Problems) {
    if !is_plain_name(name, 249) || name == "." || name == ".." {
        problems
            .error(span, format!("topic {name:?} is no name of a topic"))
            .hint("up to 249 letters, digits, `-`, `_` and `.`");
    }
}

/// The text under a key, where there is one.
fn text_at(node: &Node, key: &str) -> Option<Spanned<String>> {
    let node = node.get(key)?;
    Some(Spanned {
        value: node.as_text()?.to_owned(),
        span: node.span,
    })
}
