//! What a tool needs of a configuration that may not be complete yet: where the gateway keeps its keys, and the settings of one source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use floorgate_yaml::{Node, Problems, closest};

use crate::environment;
use crate::files;
use crate::settings::default_state_dir;
use crate::source_keys;

/// Where a gateway is at home.
#[derive(Debug)]
pub struct Place {
    /// The folder of the settings' file, to which paths in it are relative.
    pub base: PathBuf,
    /// The folder for the store, keys and certificates.
    pub state: PathBuf,
    /// The source that was asked for.
    pub source: Option<PlacedSource>,
}

/// A source as it is written.
#[derive(Debug)]
pub struct PlacedSource {
    /// The name of its adapter, empty where there is none.
    pub adapter: String,
    /// The adapter's own settings.
    pub settings: Node,
}

/// Reads it from a settings' file, and nothing else of that: mappings may be missing or wrong. `None` where the file or the source is not
/// there, which `problems` has.
#[must_use]
pub fn place(path: &Path, source: Option<&str>, problems: &mut Problems) -> Option<Place> {
    let (mut node, _) = files::read(path, None, problems)?;
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("FLOORGATE_"))
        .collect();
    environment::overlay(&mut node, variables, problems);
    let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let state = match node.get("state_dir") {
        None => default_state_dir(),
        Some(written) => {
            let Some(folder) = written.as_text() else {
                problems
                    .error(
                        written.span,
                        format!("`state_dir`: expected a folder, found {}", written.describe()),
                    )
                    .hint("such as `/var/lib/floorgate`");
                return None;
            };
            PathBuf::from(folder)
        }
    };
    let state = base.join(state);
    let source = match source {
        Some(name) => Some(find(&node, name, problems)?),
        None => None,
    };
    Some(Place { base, state, source })
}

fn find(node: &Node, name: &str, problems: &mut Problems) -> Option<PlacedSource> {
    let sources = node.get("sources");
    let entries = sources.map(Node::entries).unwrap_or_default();
    let Some((_, _, source)) = entries.iter().find(|(known, ..)| known == name) else {
        let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        let span = sources.map_or(node.span, |sources| sources.span);
        let problem = problems.error(span, format!("source `{name}` is not in the settings"));
        match closest(name, names.iter().copied()) {
            Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
            None if names.is_empty() => problem.hint("add it below `sources`, or say the address instead"),
            None => problem.hint(format!("sources: {}", names.join(", "))),
        };
        return None;
    };
    Some(PlacedSource {
        adapter: source
            .get("adapter")
            .and_then(Node::as_text)
            .unwrap_or_default()
            .to_owned(),
        settings: source_keys::of_adapter(source),
    })
}
