//! What is another in one mapping than in another, for who consumes its events and for who runs it.

mod facts;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floorgate_adapter_api::Adapter;
use floorgate_config::{Mappings, Which, read_mappings};
use floorgate_yaml::{FileId, Problems, Span};
use serde::Serialize;

use facts::facts;
pub(crate) use words::kind;

/// Mappings and where they are written.
#[derive(Debug)]
pub struct Side {
    mappings: Mappings,
    problems: Problems,
}

/// The difference of two mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether anything differs.
    pub differs: bool,
    /// What differs that consumers see: `rules`, `topic`, `type`, `key`, `subject`, `fields` and the like.
    pub consumers_see: BTreeSet<String>,
    /// Topics that nothing went to before.
    pub topics_added: Vec<Arc<str>>,
    /// Topics that nothing goes to any more.
    pub topics_removed: Vec<Arc<str>>,
    /// Rules that were not there before.
    pub added: Vec<Listed>,
    /// Rules that are not there any more.
    pub removed: Vec<Listed>,
    /// Rules that are in both.
    pub changed: Vec<Changed>,
}

/// A rule that is in one of both only. Instances that are written in one place are one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The first instance's id.
    pub rule: Arc<str>,
    /// How many instances there are.
    pub instances: usize,
    /// Where it is written.
    pub at: String,
    /// Its event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The first instance's topic.
    pub topic: Arc<str>,
}

/// A rule that is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The first instance's id.
    pub rule: Arc<str>,
    /// How many instances changed in the same way.
    pub instances: usize,
    /// Where it was written.
    pub was_at: String,
    /// Where it is written.
    pub at: String,
    /// What is another, of the first instance.
    pub changes: Vec<Change>,
}

/// One thing that is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is.
    pub what: String,
    /// What it was; nothing where it was not there.
    pub was: Option<String>,
    /// What it is; nothing where it is not there any more.
    pub is: Option<String>,
    /// Whether consumers see it.
    pub consumers_see: bool,
}

/// Reads a mapping, or all mappings of settings. What is wrong is in the problems.
pub fn read(path: &Path, adapters: &[&dyn Adapter]) -> Result<Side, Problems> {
    let mut problems = Problems::default();
    let files: [(PathBuf, Option<Span>); 1] = [(path.to_path_buf(), None)];
    let which = if is_mapping(path) {
        Which {
            settings: None,
            files: Some(&files),
        }
    } else {
        Which {
            settings: Some(path),
            files: None,
        }
    };
    match read_mappings(which, adapters, &mut problems) {
        Some(mappings) => Ok(Side { mappings, problems }),
        None => Err(problems),
    }
}

/// Whether a file says of itself that it is a mapping.
fn is_mapping(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let node = floorgate_yaml::parse(FileId::default(), &text, &mut Problems::default());
    node.is_some_and(|node| node.get("mapping").is_some())
}

/// Compares mappings.
#[must_use]
pub fn compare(old: &Side, new: &Side) -> Report {
    let mut report = Report::default();
    let mut earlier: HashMap<&str, usize> = HashMap::new();
    let rules = old.mappings.plan.rules.iter().enumerate();
    earlier.extend(rules.map(|(number, rule)| (&*rule.id, number)));
    let other: HashSet<Arc<str>> = HashSet::from_iter(
        new.mappings
            .outline
            .difference(&old.mappings.outline)
            .rules_changed,
    );
    let mut added: BTreeMap<Span, Listed> = BTreeMap::new();
    let mut changed: BTreeMap<(Span, Span, Vec<String>), Changed> = BTreeMap::new();
    for (number, rule) in new.mappings.plan.rules.iter().enumerate() {
        let Some(before) = earlier.remove(&*rule.id) else {
            new.list(number, &mut added);
            continue;
        };
        let mut found = changes(&facts(&old.mappings, before), &facts(&new.mappings, number));
        if found.is_empty() {
            // What has no word here is told all the same.
            if !other.contains(&rule.id) {
                continue;
            }
            found.push(Change {
                what: "how it or its tags are read".to_owned(),
                was: None,
                is: None,
                consumers_see: false,
            });
        }
        let (was_at, at) = (old.mappings.rules[before], new.mappings.rules[number]);
        let what = found.iter().map(|change| change.what.clone()).collect();
        let entry = changed.entry((was_at, at, what)).or_insert_with(|| Changed {
            rule: Arc::clone(&rule.id),
            instances: 0,
            was_at: old.place(was_at),
            at: new.place(at),
            changes: found,
        });
        entry.instances += 1;
    }
    let mut removed: BTreeMap<Span, Listed> = BTreeMap::new();
    let mut gone: Vec<usize> = earlier.into_values().collect();
    gone.sort_unstable();
    for number in gone {
        old.list(number, &mut removed);
    }
    let (before, now) = (old.mappings.plan.topics(), new.mappings.plan.topics());
    report.topics_added = now.difference(&before).cloned().collect();
    report.topics_removed = before.difference(&now).cloned().collect();
    report.added = added.into_values().collect();
    report.removed = removed.into_values().collect();
    report.changed = changed.into_values().collect();
    report.sum_up();
    report
}

impl Side {
    /// Adds a rule to those of its place.
    fn list(&self, number: usize, listed: &mut BTreeMap<Span, Listed>) {
        let (rule, span) = (&self.mappings.plan.rules[number], self.mappings.rules[number]);
        let entry = listed.entry(span).or_insert_with(|| Listed {
            rule: Arc::clone(&rule.id),
            instances: 0,
            at: self.place(span),
            kind: kind(&rule.spec.kind).to_owned(),
            topic: Arc::clone(&rule.topic),
        });
        entry.instances += 1;
    }

    /// File and line.
    fn place(&self, span: Span) -> String {
        let path = self
            .problems
            .file(span.file)
            .map(|(path, _)| path.display().to_string());
        format!("{}:{}", path.unwrap_or_default(), span.line)
    }
}

impl Report {
    fn sum_up(&mut self) {
        if !self.added.is_empty() || !self.removed.is_empty() {
            self.consumers_see.insert("rules".to_owned());
        }
        if !self.topics_added.is_empty() || !self.topics_removed.is_empty() {
            self.consumers_see.insert("topic".to_owned());
        }
        for change in self.changed.iter().flat_map(|changed| &changed.changes) {
            if change.consumers_see {
                let word = match change.what.split(' ').next().unwrap_or_default() {
                    "field" => "fields",
                    word => word,
                };
                self.consumers_see.insert(word.to_owned());
            }
        }
        self.differs = !self.consumers_see.is_empty() || !self.changed.is_empty();
    }
}

fn changes(before: &facts::Facts, now: &facts::Facts) -> Vec<Change> {
    let mut changes = Vec::new();
    for (consumers_see, before, now) in [
        (true, &before.outside, &now.outside),
        (false, &before.inside, &now.inside),
    ] {
        let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        for name in names {
            let (was, is) = (before.get(name), now.get(name));
            if was != is {
                changes.push(Change {
                    what: name.clone(),
                    was: was.cloned(),
                    is: is.cloned(),
                    consumers_see,
                });
            }
        }
    }
    changes
}
