//! What `input.yaml` says beside the steps.

use floorgate_yaml::{Node, NodeKind, Problems};
use serde_json::Value as Json;

/// The keys of the file.
const KEYS: [&str; 6] = ["mapping", "sources", "topics", "restartable", "because", "steps"];

/// What `input.yaml` says beside the steps.
pub(super) struct Input {
    /// Files of mappings, relative to the case.
    pub(super) mappings: Vec<String>,
    /// Settings of the sources by name, where they are not the usual ones.
    pub(super) sources: Option<Json>,
    /// Topics by event type, as the settings may have them.
    pub(super) topics: Json,
    /// Why a restart in which nothing was missed makes a difference, where it does.
    pub(super) not_restartable: Option<String>,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            mappings: vec!["mapping.yaml".to_owned()],
            sources: None,
            topics: Json::Object(serde_json::Map::new()),
            not_restartable: None,
        }
    }
}

impl Input {
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Self {
        let mut input = Self::default();
        let mut because = None;
        let mut restartable = true;
        for (key, span, value) in node.entries() {
            match (key.as_str(), &value.kind) {
                ("mapping", NodeKind::Text(path)) => input.mappings = vec![path.clone()],
                ("mapping", NodeKind::List(paths)) => {
                    input.mappings = paths
                        .iter()
                        .filter_map(|path| path.as_text().map(str::to_owned))
                        .collect();
                }
                ("sources", NodeKind::Map(_)) => input.sources = Some(value.into()),
                ("topics", NodeKind::Map(_)) => input.topics = value.into(),
                ("restartable", NodeKind::Bool(is_so)) => restartable = *is_so,
                ("because", NodeKind::Text(reason)) => because = Some(reason.clone()),
                ("steps", _) => {}
                (key, _) if KEYS.contains(&key) => {
                    problems.error(value.span, format!("`{key}` cannot be {}", value.describe()));
                }
                (key, _) => {
                    problems
                        .error(*span, format!("unknown key `{key}`"))
                        .hint(format!("keys here: {}", KEYS.join(", ")));
                }
            }
        }
        if restartable == because.is_some() {
            problems
                .error(node.span, "`restartable: false` and `because: …` go together")
                .hint("say why a restart in which nothing was missed makes a difference");
        }
        input.not_restartable = because;
        input
    }
}
