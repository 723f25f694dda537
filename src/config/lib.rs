//! Configuration: the daemon's settings and the mapping language, from files to a plan.
//!
//! [`load`] reads the settings, lays the environment over them, compiles every mapping and lets each source's
//! adapter lay out its work. It opens no socket, and it reports everything wrong in one run.

mod alarm;
mod alone;
mod bounds;
mod check;
mod combination;
mod companions;
mod completion;
mod condition;
mod constant;
mod contradiction;
mod counter;
mod data;
mod difference;
mod environment;
mod equipment;
mod event;
mod event_form;
mod event_schema;
mod events;
mod files;
mod filling;
mod fingerprint;
mod fit;
mod form;
mod happening;
mod implied;
mod in_instance;
mod include;
mod inner;
mod instance;
mod kind;
mod latch;
mod links;
mod literal;
mod mapping;
mod mentioned;
mod merge;
mod names;
mod numbered;
mod origin;
mod overrides;
mod place;
mod range;
mod reach;
mod restart;
mod same;
mod schema;
pub mod settings;
mod shape;
mod skip;
mod snapshot;
mod source_keys;
mod standard;
mod states;
mod tag;
mod tag_times;
mod template;
mod unit;
mod variant;
mod version;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::{Adapter, SnapshotSpec, Source, SourceSpec, TagSpec};
use floorgate_core::plan::{Plan, SourceRow};
use floorgate_yaml::{Draft, Node, NodeKind, Problems, Span, Spanned, closest, draft};

pub use alone::{MappedSource, Mappings, Which, read_mappings};
pub use difference::{Difference, Outline};
pub use event_schema::events_schema;
use mapping::{Compiler, KnownSource};
pub use place::{Place, PlacedSource, place};
pub use schema::{mapping_schema, reference, settings_schema};
pub use settings::Settings;

/// A configuration that can be run.
pub struct Loaded {
    /// The daemon's settings; paths in them are relative to [`Loaded::base`].
    pub settings: Settings,
    /// The folder of the settings' file.
    pub base: PathBuf,
    /// What the core runs.
    pub plan: Arc<Plan>,
    /// The sources, in the order of [`Plan::sources`].
    pub sources: Vec<LoadedSource>,
    /// What is compared with the next configuration.
    pub outline: Outline,
    /// The files of the mappings.
    pub mappings: Vec<PathBuf>,
}

impl Loaded {
    /// The folder for the store, keys and certificates.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.base.join(&self.settings.state_dir)
    }
}

/// A source that is laid out and not started.
pub struct LoadedSource {
    /// Its name.
    pub name: Arc<str>,
    /// The name of its adapter.
    pub adapter: &'static str,
    /// How many tags it delivers.
    pub tags: usize,
    /// Whether its device says when a value came to be.
    pub has_source_time: bool,
    /// Without a good value of any tag for this long, it is told as late.
    pub late_after: Option<Duration>,
    /// The source itself.
    pub source: Box<dyn Source>,
}

impl std::fmt::Debug for LoadedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "LoadedSource({}, {}, {} tags)",
            self.name, self.adapter, self.tags
        )
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("settings", &self.settings)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// Loads a configuration with the environment of the process. No socket is opened. `None` where anything is
/// wrong; warnings alone do not prevent it.
#[must_use]
pub fn load(path: &Path, adapters: &[&dyn Adapter]) -> (Option<Loaded>, Problems) {
    load_with(path, adapters, variables())
}

/// The variables of the process's environment that settings may be in.
#[must_use]
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("FLOORGATE_"))
        .collect()
}

/// [`load`] with an environment of the caller's.
#[must_use]
pub fn load_with(
    path: &Path,
    adapters: &[&dyn Adapter],
    variables: BTreeMap<String, String>,
) -> (Option<Loaded>, Problems) {
    let mut problems = Problems::default();
    let loaded = load_into(path, adapters, variables, &mut problems);
    (loaded.filter(|_| !problems.has_errors()), problems)
}

fn load_into(
    path: &Path,
    adapters: &[&dyn Adapter],
    variables: BTreeMap<String, String>,
    problems: &mut Problems,
) -> Option<Loaded> {
    let (mut node, _) = files::read(path, None, problems)?;
    environment::overlay(&mut node, variables, problems);
    let settings = draft::<Settings>(&node, problems);
    let settings = settings.and_then(
        |Draft {
             value: settings,
             whole,
         }| {
            if whole {
                settings.check(problems);
                return Some(settings);
            }
            let mut found = Problems::default();
            settings.check(&mut found);
            // What is lacking is reported at the protocol.
            problems.adopt_placed(found, Some(settings.kafka.security.protocol.span));
            None
        },
    );
    let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut files = vec![path.to_path_buf()];
    let mut read = include::Files::default();
    for pattern in patterns(&node) {
        for path in files::matching(&base, &pattern, problems) {
            if files.contains(&path) {
                problems
                    .error(pattern.span, format!("file {} is named twice", path.display()))
                    .hint("name it once; a pattern may match it as well");
                continue;
            }
            read.name(&path, &pattern, problems);
            files.push(path);
        }
    }
    let before = problems.list().len();
    let mappings = read.mappings(problems);
    let nothing = BTreeMap::new();
    let overrides = settings
        .as_ref()
        .map_or(&nothing, |settings| &settings.kafka.topics.overrides);
    let sources = read_sources(&node, adapters, problems);
    let known = sources
        .iter()
        .map(|source| KnownSource {
            name: source.name,
            adapter: source.adapter,
        })
        .collect();
    let mut compiler = Compiler::new(known, overrides);
    for mapping in &mappings {
        compiler.add(mapping, problems);
    }
    // A part is the same in all mappings that include it, and a tag in all instances that an override does not change.
    problems.drop_repeated(before);
    for event in overrides.iter().filter(|(event, _)| !event::is_built_in(event)) {
        if mappings.iter().all(|mapping| mapping.whole) && !compiler.events.contains(event.0) {
            problems
                .warning(
                    event.1.span,
                    format!("topic of `{}`: no mapping makes such events", event.0),
                )
                .hint("remove it, or correct the name to that of an event's `type`");
        }
    }
    let state = settings.as_ref().map_or_else(
        || PathBuf::from("state"),
        |settings| base.join(&settings.state_dir),
    );
    let gateway = settings
        .as_ref()
        .map_or("", |settings| settings.gateway.value.as_str());
    let mut prints = Prints::default();
    let loaded = plan_sources(
        &sources,
        &mut compiler,
        gateway,
        (&base, &state),
        &mut prints,
        problems,
    );
    let plan = Arc::new(compiler.plan);
    Some(Loaded {
        settings: settings?,
        base,
        outline: Outline {
            plan: Arc::clone(&plan),
            tags: prints.tags,
            sources: prints.sources,
        },
        plan,
        sources: loaded?,
        mappings: files.split_off(1),
    })
}

/// The patterns of mapping files, also where other settings are wrong.
fn patterns(node: &Node) -> Vec<Spanned<String>> {
    match node.get("mappings").map(|node| &node.kind) {
        Some(NodeKind::List(items)) => items
            .iter()
            .filter_map(|item| {
                Some(Spanned {
                    value: item.as_text()?.to_owned(),
                    span: item.span,
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A source of the settings.
struct SourceEntry<'n> {
    name: &'n str,
    span: Span,
    adapter: Option<&'n dyn Adapter>,
    late_after: Option<Duration>,
    /// The adapter's own settings.
    settings: Node,
}

fn read_sources<'n>(
    node: &'n Node,
    adapters: &[&'n dyn Adapter],
    problems: &mut Problems,
) -> Vec<SourceEntry<'n>> {
    let Some(sources) = node.get("sources") else {
        return Vec::new();
    };
    check::expect_mapping("sources", sources, problems);
    let names: Vec<&'static str> = adapters.iter().map(|adapter| adapter.name()).collect();
    if sources.entries().len() > usize::from(u16::MAX) {
        problems
            .error(sources.span, "more than 65535 sources")
            .hint("divide them among several gateways");
        return Vec::new();
    }
    let mut read = Vec::new();
    for (name, span, source) in sources.entries() {
        if !check::is_plain_name(name, 64) {
            problems
                .error(*span, format!("source {name:?} is no plain name"))
                .hint("up to 64 letters, digits, `-`, `_` and `.`");
        }
        let adapter = match source.get("adapter") {
            None => {
                problems
                    .error(source.span, format!("source `{name}` lacks the key `adapter`"))
                    .hint(format!("add `adapter: …`, one of: {}", names.join(", ")));
                None
            }
            Some(word) => {
                let found = adapters
                    .iter()
                    .find(|adapter| word.as_text() == Some(adapter.name()));
                if found.is_none() {
                    let text = word
                        .as_text()
                        .map_or_else(|| word.describe(), |text| format!("`{text}`"));
                    let problem =
                        problems.error(word.span, format!("source `{name}`: adapter {text} is unknown"));
                    match closest(word.as_text().unwrap_or_default(), names.iter().copied()) {
                        Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
                        None => problem.hint(format!("one of: {}", names.join(", "))),
                    };
                }
                found.copied()
            }
        };
        read.push(SourceEntry {
            name,
            span: *span,
            adapter,
            late_after: source_keys::late_after(name, source, problems),
            settings: source_keys::of_adapter(source),
        });
    }
    read
}

/// The fingerprints of tags, by number, and of sources.
#[derive(Default)]
struct Prints {
    tags: Vec<u64>,
    sources: BTreeMap<Arc<str>, u64>,
}

/// Completes the plan's sources and lets the adapters lay out their work.
fn plan_sources(
    sources: &[SourceEntry<'_>],
    compiler: &mut Compiler<'_>,
    gateway: &str,
    (base, state): (&Path, &Path),
    prints: &mut Prints,
    problems: &mut Problems,
) -> Option<Vec<LoadedSource>> {
    prints.tags = vec![0; compiler.plan.tags.len()];
    let mut loaded = Vec::new();
    for (number, entry) in sources.iter().enumerate() {
        let topic = compiler.source_topic(number, gateway);
        let name: Arc<str> = entry.name.into();
        compiler.plan.sources.push(SourceRow {
            name: Arc::clone(&name),
            topic: topic.into(),
        });
        let addresses = std::mem::take(&mut compiler.addresses[number]);
        if addresses.is_empty() && !problems.has_errors() {
            problems
                .warning(entry.span, format!("source `{}` has no tags", entry.name))
                .hint("remove it, or name it as `source` of a mapping");
        }
        let Some(adapter) = entry.adapter else { continue };
        let tags: Vec<TagSpec<'_>> = addresses
            .iter()
            .filter_map(|(id, address)| {
                let tag = compiler.plan.tags.get(id.index())?;
                Some(TagSpec {
                    id: *id,
                    name: &tag.key,
                    address,
                    on_demand: compiler.on_demand.contains(id),
                })
            })
            .collect();
        let count = tags.len();
        let spec = SourceSpec {
            name: entry.name,
            settings: &entry.settings,
            tags,
            snapshots: compiler.snapshots[number]
                .iter()
                .map(|snapshot| SnapshotSpec {
                    tags: snapshot.tags.clone(),
                    at: snapshot.at,
                    rule: &snapshot.rule,
                })
                .collect(),
            base,
            state,
        };
        for tag in &spec.tags {
            let place = tag.id.index();
            prints.tags[place] = fingerprint::of_tag(tag, compiler.plan.tags[place].address);
        }
        let print = fingerprint::of_source(adapter.name(), &spec, &prints.tags, &compiler.plan);
        prints.sources.insert(Arc::clone(&name), print);
        let before = problems.list().len();
        let source = adapter.plan(spec, problems);
        problems.once_per_place(before);
        if let Some(source) = source {
            loaded.push(LoadedSource {
                name,
                adapter: adapter.name(),
                tags: count,
                has_source_time: adapter.has_source_time(),
                late_after: entry.late_after,
                source,
            });
        }
    }
    (loaded.len() == sources.len()).then_some(loaded)
}
