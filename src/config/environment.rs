//! Settings from the environment, laid over those of the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{Environment, Source};
use floorgate_yaml::{Node, NodeKind, Problems, Span, parse};

/// Begins the name of every variable that is a setting.
const PREFIX: &str = "FLOORGATE";

/// Variables of the command line, which are no settings.
const OF_THE_COMMAND_LINE: &[&str] = &["config", "log", "log_format"];

/// Lays variables over the settings. What is wrong in a variable's value is reported under its name.
pub(crate) fn overlay(settings: &mut Node, variables: BTreeMap<String, String>, problems: &mut Problems) {
    let named: BTreeMap<String, String> = variables
        .keys()
        .map(|name| (name.to_ascii_lowercase(), name.clone()))
        .collect();
    let environment = Environment::with_prefix(PREFIX)
        .prefix_separator("_")
        .separator("__")
        .source(Some(variables.into_iter().collect()));
    let layer = match environment.collect() {
        Ok(layer) => layer,
        Err(error) => {
            problems
                .error(None, format!("the environment is not readable: {error}"))
                .hint("`FLOORGATE_KAFKA__BROKERS` lies over the key `brokers` below `kafka`");
            return;
        }
    };
    let mut layer: Vec<(String, String)> = layer
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.into_string().ok()?)))
        .filter(|(key, _)| !OF_THE_COMMAND_LINE.contains(&key.as_str()))
        .collect();
    layer.sort();
    for (key, value) in layer {
        let variable = format!("{PREFIX}_{}", key.replace('.', "__")).to_ascii_lowercase();
        let variable = named.get(&variable).cloned().unwrap_or(variable);
        let file = problems.add_file(&PathBuf::from(format!("${variable}")), value.clone());
        let Some(mut node) = parse(file, &value, problems) else {
            continue;
        };
        without_lines(&mut node);
        place(
            settings,
            &key,
            node,
            Span {
                file,
                ..Span::default()
            },
        );
    }
}

/// A variable has no lines worth showing: problems in it show its name alone.
fn without_lines(node: &mut Node) {
    node.span = Span {
        file: node.span.file,
        ..Span::default()
    };
    match &mut node.kind {
        NodeKind::List(items) => items.iter_mut().for_each(without_lines),
        NodeKind::Map(entries) => entries.iter_mut().for_each(|(_, span, value)| {
            *span = Span {
                file: span.file,
                ..Span::default()
            };
            without_lines(value);
        }),
        _ => {}
    }
}

/// Puts a value under a path of keys; `-` in a key of the file counts as `_`, and case does not count.
fn place(node: &mut Node, path: &str, value: Node, span: Span) {
    let (key, rest) = match path.split_once('.') {
        Some((key, rest)) => (key, Some(rest)),
        None => (path, None),
    };
    if !matches!(node.kind, NodeKind::Map(_)) {
        node.kind = NodeKind::Map(Vec::new());
    }
    let NodeKind::Map(entries) = &mut node.kind else {
        return;
    };
    let found = entries
        .iter()
        .position(|(name, ..)| name.replace('-', "_").eq_ignore_ascii_case(key));
    let index = found.unwrap_or(entries.len());
    if found.is_none() {
        entries.push((
            key.to_owned(),
            span,
            Node {
                span,
                kind: NodeKind::Map(Vec::new()),
            },
        ));
    }
    let (_, _, child) = &mut entries[index];
    match rest {
        Some(rest) => place(child, rest, value, span),
        None => *child = value,
    }
}
