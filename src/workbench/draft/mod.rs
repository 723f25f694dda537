//! A first mapping of what was found in a device.
//!
//! It knows no protocol: an adapter says what it found as a [`Survey`], and addresses are taken over as they are. What repeats becomes a
//! template ([`group`]) whose parameters are what differs in the addresses ([`parameters`]); what a companion specification
//! says becomes a standard event, other numbers measurements ([`rules`]). Nothing is guessed: what a mapping cannot use, or what
//! somebody has to decide, is a comment. The same survey gives the same bytes.

mod group;
mod head;
mod names;
mod parameters;
mod rules;
mod template;
mod tree;
mod write;

use floorgate_adapter_api::Survey;

use group::Group;
use tree::Tree;

/// What a survey does not say.
#[derive(Clone, Debug)]
pub struct DraftOptions {
    /// Name of the mapping; those of templates begin with it.
    pub name: String,
    /// Name of the source in the settings.
    pub source: String,
    /// Name of the adapter, for the settings that the head shows.
    pub adapter: &'static str,
    /// Path of the equipment that all of it belongs to.
    pub equipment: String,
    /// Where the JSON Schema of mappings lies, as the first line is to name it.
    pub schema: String,
    /// What the mapping was made of, in words: the address that was looked at.
    pub origin: String,
}

/// A mapping that was written; each is a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its name.
    pub name: String,
    /// What the file holds.
    pub text: String,
    /// How many instances it has; 0 where it is no template.
    pub instances: usize,
    /// How many tags it has, those of one instance.
    pub tags: usize,
    /// How many events it has, those of one instance.
    pub events: usize,
    /// How many of them are standard events by a companion specification.
    pub standard: usize,
}

/// Writes the mappings: one for each template, and one for what does not repeat. There is at least one.
#[must_use]
pub fn mappings(survey: &Survey, options: &DraftOptions) -> Vec<Mapping> {
    let tree = Tree::new(&survey.points);
    let levels = options.equipment.split('/').count();
    let groups = group::groups(&survey.points, &tree, levels);
    let mut taken = names::Taken::default();
    let mut written = Vec::with_capacity(groups.len());
    for (place, group) in groups.iter().enumerate() {
        let name = taken.plain(&mapping_name(options, group));
        let head = head::head(survey, options, group, place == 0);
        written.push(write::mapping(&survey.points, options, &name, group, &head));
    }
    written
}

/// All mappings as one stream of YAML, for a terminal: each document is to become a file.
#[must_use]
pub fn stream(mappings: &[Mapping]) -> String {
    let texts: Vec<&str> = mappings.iter().map(|mapping| mapping.text.as_str()).collect();
    texts.join("---\n")
}

fn mapping_name(options: &DraftOptions, group: &Group) -> String {
    let base = names::plain(&options.name, 60);
    match &group.kind {
        Some(kind) => format!("{base}-{}", names::plain(kind, 30)),
        None => base,
    }
}
