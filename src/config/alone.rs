//! Mappings alone: their plan, without the work of sources, for what looks at mappings and runs no gateway.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floorgate_adapter_api::{Adapter, TagSpec};
use floorgate_core::plan::{Plan, SourceRow};
use floorgate_yaml::{Draft, Node, Problems, Span, Spanned, draft};
use serde_json::Value as Json;

use crate::environment;
use crate::event;
use crate::files;
use crate::fingerprint;
use crate::form::TAG_KEYS;
use crate::include::{self, MappingFile};
use crate::mapping::{Compiler, KnownSource};
use crate::settings::{Events, Settings};
use crate::template::{Instances, Template};
use crate::{Outline, patterns, read_sources, variables};

/// Mappings that were read without a gateway.
#[derive(Debug)]
pub struct Mappings {
    /// What the core runs.
    pub plan: Arc<Plan>,
    /// The gateway's id, where there are settings.
    pub gateway: Option<String>,
    /// Prefix of event types.
    pub type_prefix: String,
    /// The sources, in the order of [`Plan::sources`].
    pub sources: Vec<MappedSource>,
    /// Where each rule is written, by its number.
    pub rules: Vec<Span>,
    /// The address of each tag, by its number.
    pub addresses: Vec<Json>,
    /// Where each tag is written, by its number.
    pub tags: Vec<Span>,
    /// What is compared with other mappings.
    pub outline: Outline,
}

/// A source that mappings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedSource {
    /// Its name.
    pub name: Arc<str>,
    /// Whether its device says when a value came to be.
    pub has_source_time: bool,
}

/// Which mappings are meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which<'a> {
    /// The settings, for sources, topics and the prefix of event types. Without them a source is read by the adapter that knows the
    /// keys of its tags' addresses.
    pub settings: Option<&'a Path>,
    /// The files, and where each is named; `None` for those that the settings name.
    pub files: Option<&'a [(PathBuf, Option<Span>)]>,
}

/// Reads mappings. No socket is opened, and addresses are not looked at beyond their keys. `None` where anything is wrong.
#[must_use]
pub fn read_mappings(
    which: Which<'_>,
    adapters: &[&dyn Adapter],
    problems: &mut Problems,
) -> Option<Mappings> {
    let before = problems.error_count();
    let settings = match which.settings {
        Some(path) => Some(read_settings(path, problems)?),
        None => None,
    };
    let mut read = include::Files::default();
    for (path, named) in files_of(which, settings.as_ref(), problems) {
        let pattern = Spanned {
            value: path.display().to_string(),
            span: named.unwrap_or_default(),
        };
        read.name(&path, &pattern, problems);
    }
    let checked = problems.list().len();
    let mappings = read.mappings(problems);
    let nothing = BTreeMap::new();
    let overrides = settings
        .as_ref()
        .map_or(&nothing, |(_, settings)| &settings.kafka.topics.overrides);
    let guessed = match settings {
        Some(_) => Vec::new(),
        None => guess(&mappings, adapters),
    };
    let known: Vec<KnownSource<'_>> = match &settings {
        Some((node, _)) => read_sources(node, adapters, problems)
            .into_iter()
            .map(|source| KnownSource {
                name: source.name,
                adapter: source.adapter,
            })
            .collect(),
        None => guessed
            .iter()
            .map(|(name, adapter)| KnownSource {
                name,
                adapter: *adapter,
            })
            .collect(),
    };
    let mut compiler = Compiler::new(known, overrides);
    for mapping in &mappings {
        compiler.add(mapping, problems);
    }
    problems.drop_repeated(checked);
    let settings = settings.as_ref().map(|(_, settings)| settings);
    (problems.error_count() == before).then(|| finish(compiler, settings))
}

fn read_settings(path: &Path, problems: &mut Problems) -> Option<(Node, Settings)> {
    let (mut node, _) = files::read(path, None, problems)?;
    environment::overlay(&mut node, variables(), problems);
    let Draft { value, whole } = draft::<Settings>(&node, problems)?;
    if whole {
        value.check(problems);
    }
    Some((node, value))
}

fn files_of(
    which: Which<'_>,
    settings: Option<&(Node, Settings)>,
    problems: &mut Problems,
) -> Vec<(PathBuf, Option<Span>)> {
    if let Some(files) = which.files {
        return files.to_vec();
    }
    let Some(((node, _), path)) = settings.zip(which.settings) else {
        return Vec::new();
    };
    let base = path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for pattern in patterns(node) {
        for path in files::matching(base, &pattern, problems) {
            found.push((path, Some(pattern.span)));
        }
    }
    found
}

/// The sources that mappings name, in the order in which they do, each with the adapter that knows most of the keys that its tags have.
fn guess<'a>(
    mappings: &[MappingFile],
    adapters: &[&'a dyn Adapter],
) -> Vec<(String, Option<&'a dyn Adapter>)> {
    let mut votes: Vec<(String, Vec<usize>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for MappingFile { node, .. } in mappings {
        let mut scratch = Problems::default();
        let instances = Instances::read(node.get("for_each"), node.span, &mut scratch);
        let mut by_text: HashMap<&str, Vec<String>> = HashMap::new();
        let tags = node.get("tags").map(Node::entries).unwrap_or_default();
        for (_, _, tag) in tags {
            let source = tag.get("source").or_else(|| node.get("source"));
            let Some(text) = source.and_then(Node::as_text) else {
                continue;
            };
            let of_all = by_text
                .entry(text)
                .or_insert_with(|| named(text, &instances, &mut scratch));
            let own = |key: &&(String, Span, Node)| !TAG_KEYS.contains(&key.0.as_str());
            for name in of_all {
                let place = *places.entry(name.clone()).or_insert_with(|| {
                    votes.push((name.clone(), vec![0; adapters.len()]));
                    votes.len() - 1
                });
                for (adapter, count) in adapters.iter().zip(&mut votes[place].1) {
                    let knows =
                        |key: &&(String, Span, Node)| adapter.address_keys().contains(&key.0.as_str());
                    *count += tag.entries().iter().filter(own).filter(knows).count();
                }
            }
        }
    }
    let adapter_of = |counts: &[usize]| {
        let most = counts.iter().copied().max().filter(|most| *most > 0)?;
        let place = counts.iter().position(|count| *count == most)?;
        adapters.get(place).copied()
    };
    votes
        .into_iter()
        .map(|(name, counts)| (name, adapter_of(&counts)))
        .collect()
}

/// The sources that a text names in all instances.
fn named(text: &str, instances: &Instances, problems: &mut Problems) -> Vec<String> {
    let Some(template) = Template::parse(text, Span::default(), &instances.parameters, problems) else {
        return Vec::new();
    };
    if template.is_constant() {
        return vec![template.fill(&[])];
    }
    let mut names: Vec<String> = instances
        .list
        .iter()
        .map(|instance| template.fill(&instance.values))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn finish(mut compiler: Compiler<'_>, settings: Option<&Settings>) -> Mappings {
    let gateway = settings.map(|settings| settings.gateway.value.clone());
    let count = compiler.plan.tags.len();
    let mut prints = vec![0; count];
    let mut addresses = vec![Json::Null; count];
    let mut sources = Vec::new();
    let numbers = 0..compiler.sources.len();
    for number in numbers {
        let topic = compiler.source_topic(number, gateway.as_deref().unwrap_or("gateway"));
        let source = &compiler.sources[number];
        let name: Arc<str> = source.name.into();
        sources.push(MappedSource {
            name: Arc::clone(&name),
            has_source_time: source.adapter.is_none_or(Adapter::has_source_time),
        });
        compiler.plan.sources.push(SourceRow {
            name,
            topic: topic.into(),
        });
        for (id, address) in &compiler.addresses[number] {
            let tag = &compiler.plan.tags[id.index()];
            let spec = TagSpec {
                id: *id,
                name: &tag.key,
                address,
                on_demand: compiler.on_demand.contains(id),
            };
            prints[id.index()] = fingerprint::of_tag(&spec, tag.address);
            addresses[id.index()] = Json::from(&**address);
        }
    }
    let (rules, tags) = (compiler.rule_places, compiler.tag_places);
    let plan = Arc::new(compiler.plan);
    let prefix = settings.map_or_else(
        || Events::default().type_prefix.value,
        |settings| settings.events.type_prefix.value.clone(),
    );
    Mappings {
        outline: Outline {
            plan: Arc::clone(&plan),
            tags: prints,
            sources: BTreeMap::new(),
        },
        plan,
        gateway,
        type_prefix: prefix,
        sources,
        rules,
        addresses,
        tags,
    }
}

impl Compiler<'_> {
    /// The topic of what is told of a source itself.
    pub(crate) fn source_topic(&self, number: usize, gateway: &str) -> String {
        let (event, entity) = event::SOURCE_CONNECTION;
        match (self.overrides.get(event), &self.sites[number]) {
            (Some(topic), _) => topic.value.clone(),
            (None, Some(site)) => format!("{site}.mes.{entity}.v1"),
            (None, None) => format!("{gateway}.mes.{entity}.v1"),
        }
    }
}
