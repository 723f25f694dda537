//! The mapping compiler: instances, tags and events of a file become rows of the plan.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use floorgate_adapter_api::Adapter;
use floorgate_core::plan::{EquipmentId, Plan};
use floorgate_sample::TagId;
use floorgate_yaml::{Node, NodeKind, Problems, Span, Spanned, closest, decode, salvage};

use crate::bounds;
use crate::check::{expect_list, expect_mapping, is_plain_name};
use crate::companions;
use crate::data::Scope;
use crate::equipment;
use crate::event::{self, EventPlan};
use crate::form::{MappingForm, RunForm};
use crate::in_instance::{Of, Override, Told};
use crate::include::MappingFile;
use crate::latch;
use crate::links;
use crate::mentioned;
use crate::origin::Origin;
use crate::overrides;
use crate::same;
use crate::tag::{self, Tables, TagPlan};
use crate::template::{Instance, Instances, Template};

/// A source as far as mappings need it.
pub(crate) struct KnownSource<'n> {
    pub name: &'n str,
    /// `None` where its adapter is wrong or missing.
    pub adapter: Option<&'n dyn Adapter>,
}

/// What a rule reads at once.
#[derive(Debug)]
pub(crate) struct SnapshotPlan {
    pub tags: Vec<TagId>,
    pub at: Span,
    pub rule: Arc<str>,
}

/// Compiles mapping files, one after the other, into one plan.
pub(crate) struct Compiler<'n> {
    pub sources: Vec<KnownSource<'n>>,
    /// Their places by name: every instance looks its own up.
    pub(crate) by_name: HashMap<&'n str, usize>,
    /// Where a source is named that is not there.
    missing: HashSet<Span>,
    /// Topics by event type, from the settings.
    pub overrides: &'n BTreeMap<String, Spanned<String>>,
    pub plan: Plan,
    /// Tags of each source: number and address.
    pub addresses: Vec<Vec<(TagId, Cow<'n, Node>)>>,
    /// Tags that are read only when a rule asks for them.
    pub on_demand: HashSet<TagId>,
    /// What rules read at once, by source.
    pub snapshots: Vec<Vec<SnapshotPlan>>,
    /// For each source `enterprise.site` of the first equipment that reads from it.
    pub sites: Vec<Option<String>>,
    pub(crate) equipment: HashMap<Arc<str>, EquipmentId>,
    /// The tag that each alarm of an equipment comes from.
    pub(crate) alarms: HashMap<(EquipmentId, Arc<str>), TagId>,
    pub(crate) topics: HashMap<String, Arc<str>>,
    pub(crate) rule_ids: HashSet<Arc<str>>,
    /// Where rules and tags are written, by number.
    pub(crate) rule_places: Vec<Span>,
    pub(crate) tag_places: Vec<Span>,
    mappings: HashSet<String>,
    /// Event types that the mappings use.
    pub events: HashSet<String>,
}

/// Everything of one mapping file that its instances share.
pub(crate) struct Mapping<'n> {
    pub name: String,
    pub instances: Instances,
    pub source: Option<(Template, Span)>,
    pub equipment: Option<(Template, Span)>,
    pub tags: Vec<TagPlan<'n>>,
    /// Where events belong to runs of work orders: what is latched, and where it is written.
    pub run: Option<(RunForm, Span)>,
    /// Shared with the instances in which only other events differ.
    pub events: Vec<Rc<EventPlan<'n>>>,
    pub version: Arc<str>,
    /// Whether all of its parts are there: else what it names may be in one that is missing.
    pub whole: bool,
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
        let snapshots = sources.iter().map(|_| Vec::new()).collect();
        let by_name = sources
            .iter()
            .enumerate()
            .map(|(place, source)| (source.name, place));
        Self {
            on_demand: HashSet::new(),
            snapshots,
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
            rule_places: Vec::new(),
            tag_places: Vec::new(),
            mappings: HashSet::new(),
            events: HashSet::new(),
        }
    }

    /// Compiles one file.
    pub(crate) fn add(&mut self, file: &'n MappingFile, problems: &mut Problems) {
        let node = &file.node;
        // The keys of the file are checked as a whole; each part is then taken from the tree, so that a wrong
        // part keeps no other from being checked.
        let _ = salvage::<MappingForm>(node, problems);
        event::not_yet(node, &["commands"], "writes to the floor", problems);
        let name = text_at(node, "mapping")
            .map(|name| self.mapping_name(&name, problems))
            .unwrap_or_default();
        let naming = text_at(node, "instance");
        let instances = Instances::read(node.get("for_each"), node.span, problems);
        let template = |key: &str, problems: &mut Problems| {
            let text = text_at(node, key)?;
            Some((
                Template::parse(&text, text.span, &instances.parameters, problems)?,
                text.span,
            ))
        };
        let source = template("source", problems);
        let equipment = template("equipment", problems);
        let mut tables = Tables::read(node.get("tables"), file.whole, problems);
        let tags = self.tags(node, source.as_ref(), &instances, &mut tables, problems);
        let run = node.get("run").and_then(|run| {
            let form = match run.kind {
                NodeKind::Null | NodeKind::Bool(true) => RunForm::default(),
                _ => decode::<RunForm>(run, problems)?,
            };
            Some((form, run.span))
        });
        let mut mapping = Mapping {
            run,
            name,
            instances,
            source,
            equipment,
            tags,
            events: Vec::new(),
            version: Arc::clone(&file.version),
            whole: file.whole,
        };
        companions::find(&mut mapping.tags);
        if file.whole {
            links::check_companions(&mapping.tags, problems);
        }
        let mut used = vec![false; mapping.tags.len()];
        let events = self.events(node, &mut mapping, &mut used, problems);
        if let Some(run) = node.get("run") {
            latch::check(run, &mapping.events, problems);
        }
        links::mark_used(&mapping.tags, &mut used, problems);
        links::mark_on_demand(&mut mapping.tags, &mapping.events, &used);
        let events_right = events == Some(true) && file.whole;
        if events_right {
            let run = mapping.run.as_ref().map(|(_, span)| *span);
            links::check_run(run, &mapping.events, "this mapping", problems);
            links::check_silences(&mapping.tags, &used, &mapping.events, problems);
            equipment::check_instances(&mapping, problems);
        }
        if events.is_some() && file.whole {
            links::check_use(&mapping.tags, &used, problems);
        }
        let rows = mapping.tags.len() + mapping.events.len();
        if !bounds::hold(node, mapping.instances.list.len(), rows, problems) {
            return;
        }
        mapping.instances.name(naming.as_ref(), problems);
        let names: Vec<&str> = match file.changes.as_slice() {
            [] => Vec::new(),
            _ => mapping
                .instances
                .list
                .iter()
                .map(|instance| instance.name.as_str())
                .collect(),
        };
        let changes = overrides::by_instance(&file.changes, node, &names, problems);
        if events_right {
            let is_shared = |instance: &&Instance| !changes.contains_key(instance.name.as_str());
            let shared: Vec<_> = mapping.instances.list.iter().filter(is_shared).collect();
            same::check(&mapping, &shared, problems);
        }
        self.rows((&mapping, &used, events_right), &changes, &mut tables, problems);
    }

    /// Adds the rows of all instances of a mapping, of which it is known which tags events use, and whether all events are right.
    fn rows(
        &mut self,
        (mapping, used, whole): (&Mapping<'n>, &[bool], bool),
        changes: &HashMap<&str, Override<'n>>,
        tables: &mut Tables,
        problems: &mut Problems,
    ) {
        let mut told = Told::of(problems, !changes.is_empty());
        for instance in &mapping.instances.list {
            let own = changes.get(instance.name.as_str()).copied();
            let variant = own.map(|own| {
                let shared = (mapping, used, whole);
                self.variant(shared, own, instance, (&mut *tables, &mut told), problems)
            });
            let checked = problems.list().len();
            let (tags, events) = match &variant {
                Some(variant) => (&variant.tags, &variant.events),
                None => (&mapping.tags, &mapping.events),
            };
            self.instance(mapping, (tags, events), instance, problems);
            if let Some(own) = own {
                own.tell(checked, Of::Sources, &mut told, problems);
            }
            told.once_per_place(checked, problems);
        }
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
    pub(crate) fn source(&mut self, name: &str, span: Span, problems: &mut Problems) -> Option<usize> {
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
        expect_mapping("tags", tags, problems);
        let origin = source.and_then(|(template, _)| self.origin(template, instances));
        // Many tags name the same source, and each of its instances is looked at for its keys.
        let mut known: HashMap<&str, Option<Origin<'n>>> = HashMap::new();
        tags.entries()
            .iter()
            .map(|entry| {
                let own = entry.2.get("source").and_then(Node::as_text);
                let origin = match own {
                    Some(text) => &*known.entry(text).or_insert_with(|| {
                        let template =
                            Template::parse(text, entry.1, &instances.parameters, &mut Problems::default())?;
                        self.origin(&template, instances)
                    }),
                    None => &origin,
                };
                tag::read(entry, origin.as_ref(), instances, tables, problems)
            })
            .collect()
    }

    /// Reads the events: whether all of them are right, `None` where it is not known which tags they use. Marks the tags that events use, or
    /// would use if they were right.
    fn events(
        &mut self,
        node: &'n Node,
        mapping: &mut Mapping<'n>,
        used: &mut [bool],
        problems: &mut Problems,
    ) -> Option<bool> {
        let events = node.get("events")?;
        let NodeKind::List(items) = &events.kind else {
            expect_list("events", events, problems);
            return None;
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
        let mut plans = Vec::with_capacity(items.len());
        let (mut right, mut sure) = (true, true);
        for item in items {
            let mut scope = Scope {
                tags: &mapping.tags,
                by_name: &by_name,
                parameters: &mapping.instances.parameters,
                values: first.unwrap_or_default(),
                run: mapping.run.as_ref().map(|(run, _)| run),
                whole: mapping.whole,
                inputs: Vec::new(),
                differs: false,
            };
            let plan = event::read(item, self.overrides, &mut scope, &mapping.version, problems);
            let Some(plan) = plan else {
                sure &= mentioned::mark(item, &scope, used, problems);
                right = false;
                continue;
            };
            for input in &plan.inputs {
                used[*input] = true;
            }
            if !self.events.contains(&plan.event.value) {
                self.events.insert(plan.event.value.clone());
            }
            plans.push(Rc::new(plan));
        }
        remove_namesakes(&mut plans, problems);
        mapping.events = plans;
        sure.then_some(right)
    }
}

/// Takes out events whose name another one has before them, and reports each.
fn remove_namesakes(plans: &mut Vec<Rc<EventPlan<'_>>>, problems: &mut Problems) {
    let mut names: HashSet<&str> = HashSet::with_capacity(plans.len());
    let again: Vec<bool> = plans.iter().map(|plan| !names.insert(&plan.name)).collect();
    let mut again = again.into_iter();
    plans.retain(|plan| {
        if again.next() != Some(true) {
            return true;
        }
        problems
            .error(
                plan.span_of(&["name"]),
                format!("two events of this mapping are named `{}`", plan.name),
            )
            .hint("give each its own `name`");
        false
    });
}

/// The text under a key, where there is one.
fn text_at(node: &Node, key: &str) -> Option<Spanned<String>> {
    let node = node.get(key)?;
    Some(Spanned {
        value: node.as_text()?.to_owned(),
        span: node.span,
    })
}
