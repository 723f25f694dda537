//! The parts that a case's mapping includes.

use std::fs;
use std::path::{Component, Path, PathBuf};

use floorgate_yaml::{Node, NodeKind, Problems, parse};

/// Copies the parts of a mapping, and theirs, to where they are for its copy in `folder`, and returns their texts. What is not
/// there is left out: the gateway is to say so.
pub(super) fn copied(mapping: &Path, text: &str, folder: &Path) -> Result<String, String> {
    let mut texts = String::new();
    let beside = mapping.parent().unwrap_or(Path::new(""));
    let mut seen = Vec::new();
    let mut open = included(Path::new(""), text);
    while let Some(part) = open.pop() {
        if part.components().any(|step| step == Component::ParentDir) {
            return Err(format!(
                "{}: a part of a case lies beside its mapping or below that",
                part.display()
            ));
        }
        let Ok(text) = fs::read_to_string(beside.join(&part)) else {
            continue;
        };
        if seen.contains(&part) {
            continue;
        }
        let copy = folder.join(&part);
        fs::create_dir_all(copy.parent().unwrap_or(folder)).expect("a writable folder");
        fs::write(copy, &text).expect("a writable folder");
        open.extend(included(&part, &text));
        texts.push_str(&text);
        seen.push(part);
    }
    Ok(texts)
}

/// The paths that a file includes, relative to what the file's own is relative to.
pub(super) fn included(file: &Path, text: &str) -> Vec<PathBuf> {
    let mut problems = Problems::default();
    let id = problems.add_file(file, text);
    let node = parse(id, text, &mut problems);
    let include = node.as_ref().and_then(|node| node.get("include"));
    let items: Vec<&Node> = match include.map(|node| (node, &node.kind)) {
        Some((_, NodeKind::List(items))) => items.iter().collect(),
        Some((node, _)) => vec![node],
        None => Vec::new(),
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let paths = items.into_iter().filter_map(Node::as_text);
    paths.map(|path| folder.join(path)).collect()
}
