//! Mapping files, and the parts that they include.
//!
//! Every file is read once, whoever names it. A mapping with parts becomes one tree, in which each entry still says in
//! which file it stands; what compiles it need not know of parts.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floorgate_yaml::{Node, NodeKind, Problems, Span, Spanned, closest};

use crate::files;
use crate::merge::Merge;
use crate::overrides::{self, Change};
use crate::version::version;

/// The keys of a part.
const PART_KEYS: [&str; 5] = ["include", "tables", "tags", "run", "events"];

/// The keys that make a file a mapping: they say which machines it is for.
const OWN_KEYS: [&str; 6] = [
    "mapping",
    "for_each",
    "instance",
    "source",
    "equipment",
    "overrides",
];

/// Parts within parts that anybody still finds their way through.
const DEEPEST: usize = 8;

/// More parts of one mapping than anybody writes.
const MOST_PARTS: usize = 100;

/// A mapping with its parts.
pub(crate) struct MappingFile {
    /// The keys of the file, and in them the entries of its parts.
    pub node: Node,
    /// Of the content of all of them, so that any change shows.
    pub version: Arc<str>,
    /// What is other in single instances.
    pub changes: Vec<Change>,
    /// Whether all of its parts are there.
    pub whole: bool,
}

/// A file that was read.
struct File {
    path: PathBuf,
    /// `None` where it is not readable, which is reported.
    content: Option<(Node, Arc<str>)>,
    /// What it includes, once that was looked at.
    includes: Option<Includes>,
}

/// What a file includes, as far as it can be had.
#[derive(Clone, Default)]
struct Includes {
    list: Vec<Include>,
    /// Whether nothing lacks.
    whole: bool,
}

/// What a file includes: the number of the other file, and where it is named.
#[derive(Clone, Copy)]
struct Include {
    file: usize,
    span: Span,
}

/// All files of mappings.
#[derive(Default)]
pub(crate) struct Files {
    list: Vec<File>,
    /// Their numbers by what the file system calls them.
    by_path: HashMap<PathBuf, usize>,
    /// Those that the settings name, and the pattern that does.
    named: Vec<(usize, Spanned<String>)>,
    /// Those that others include, and where.
    included: HashMap<usize, Span>,
    /// Where a circle of files is reported.
    circles: HashSet<Span>,
}

impl Files {
    /// Reads a file that the settings name.
    pub(crate) fn name(&mut self, path: &Path, pattern: &Spanned<String>, problems: &mut Problems) {
        let file = self.read(path, pattern.span, problems);
        if self.named.iter().any(|(other, _)| *other == file) {
            problems
                .error(
                    pattern.span,
                    format!("file {} is named twice, by another path", path.display()),
                )
                .hint("name it once; one of them is a link to the other");
            return;
        }
        self.named.push((file, pattern.clone()));
    }

    /// The mappings among the files that the settings name.
    pub(crate) fn mappings(&mut self, problems: &mut Problems) -> Vec<MappingFile> {
        let named = std::mem::take(&mut self.named);
        let parts: Vec<_> = named
            .iter()
            .map(|(file, _)| {
                let mut parts = Vec::new();
                let whole = self.collect(*file, &mut Vec::new(), &mut parts, problems);
                (parts, whole)
            })
            .collect();
        let mut mappings = Vec::new();
        for ((file, pattern), (parts, whole)) in named.into_iter().zip(parts) {
            if self.is_mapping(file, &pattern, problems) {
                mappings.extend(self.mapping(file, &parts, whole, problems));
            }
        }
        mappings
    }

    /// The number of a file. What is wrong with it is reported where it is named first.
    fn read(&mut self, path: &Path, span: Span, problems: &mut Problems) -> usize {
        let known = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if let Some(&file) = self.by_path.get(&known) {
            return file;
        }
        self.list.push(File {
            path: path.to_path_buf(),
            // What the command line names stands in no file.
            content: files::read(path, Some(span).filter(|span| span.line > 0), problems),
            includes: None,
        });
        self.by_path.insert(known, self.list.len() - 1);
        self.list.len() - 1
    }

    /// Notes the parts of a file, each after those that it includes itself. `false` where any cannot be had.
    fn collect(
        &mut self,
        file: usize,
        above: &mut Vec<usize>,
        parts: &mut Vec<usize>,
        problems: &mut Problems,
    ) -> bool {
        let includes = self.includes(file, problems);
        above.push(file);
        let mut right = includes.whole;
        for Include { file: part, span } in includes.list {
            if above.contains(&part) {
                if self.circles.insert(span) {
                    self.circle(part, above, span, problems);
                }
                right = false;
            } else if !parts.contains(&part) {
                if let Some(problem) = bound(above.len(), parts.len()) {
                    problems
                        .error(span, format!("`include`: {problem}"))
                        .hint("put what belongs together into one file");
                    right = false;
                    break;
                }
                right &= self.collect(part, above, parts, problems);
                parts.push(part);
            }
        }
        above.pop();
        right
    }

    fn circle(&self, part: usize, above: &[usize], span: Span, problems: &mut Problems) {
        let from = above.iter().position(|file| *file == part).unwrap_or_default();
        let by_way: Vec<_> = above[from..]
            .iter()
            .skip(1)
            .map(|file| self.path(*file).display().to_string())
            .collect();
        let path = self.path(part).display();
        let (text, hint) = match by_way.as_slice() {
            [] => (format!("`include`: {path} includes itself"), "remove it"),
            others => (
                format!(
                    "`include`: {path} includes itself by way of {}",
                    others.join(", ")
                ),
                "remove one of them; what both need can stand in a third file",
            ),
        };
        problems.error(span, text).hint(hint);
    }

    fn path(&self, file: usize) -> &Path {
        &self.list[file].path
    }

    fn node(&self, file: usize) -> Option<&Node> {
        self.list[file].content.as_ref().map(|(node, _)| node)
    }

    /// What a file includes. It is looked at once, so that nothing of it is reported for each that includes it.
    fn includes(&mut self, file: usize, problems: &mut Problems) -> Includes {
        if let Some(includes) = &self.list[file].includes {
            return includes.clone();
        }
        let includes = self.read_includes(file, problems);
        self.list[file].includes = Some(includes.clone());
        includes
    }

    fn read_includes(&mut self, file: usize, problems: &mut Problems) -> Includes {
        let Some(node) = self.node(file) else {
            return Includes::default();
        };
        let (paths, mut whole) = node
            .get("include")
            .map_or((Vec::new(), true), |node| paths(node, problems));
        let folder = self
            .path(file)
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default();
        let mut list: Vec<Include> = Vec::with_capacity(paths.len());
        for path in paths {
            let span = path.span;
            let part = self.read(&folder.join(&path.value), span, problems);
            if list.iter().any(|include| include.file == part) {
                problems
                    .error(span, format!("`include`: {} is named twice", path.value))
                    .hint("name it once");
                continue;
            }
            let first = !self.included.contains_key(&part);
            self.included.entry(part).or_insert(span);
            let right = match &self.list[part].content {
                None => false,
                // A circle is told as one.
                Some((node, _)) if part != file => is_part(node, &path, first, problems),
                Some(_) => true,
            };
            whole &= right;
            if right {
                list.push(Include { file: part, span });
            }
        }
        Includes { list, whole }
    }

    /// Whether a file that the settings name is a mapping; where it is none and a pattern did not just match it, that
    /// is reported.
    fn is_mapping(&self, file: usize, pattern: &Spanned<String>, problems: &mut Problems) -> bool {
        let Some(node) = self.node(file) else { return false };
        let path = self.path(file).display();
        if node.get("mapping").is_none()
            && let Some(included) = self.included.get(&file)
        {
            // A pattern matches what lies beside the mappings; naming the file itself is a mistake.
            if !pattern.value.contains(['*', '?']) {
                let place = problems.place(*included);
                problems
                    .error(
                        pattern.span,
                        format!("file {path} is no mapping, but a part that {place} includes"),
                    )
                    .hint("remove it here; it is read with the mappings that include it");
            }
            return false;
        }
        let is_of_parts = |key: &str| PART_KEYS.contains(&key);
        if !node.entries().is_empty() && node.entries().iter().all(|(key, ..)| is_of_parts(key)) {
            problems
                .error(
                    node.span,
                    format!("file {path} is no mapping: it has no `mapping`, `source` and `equipment`"),
                )
                .hint(
                    "add them; or, where it is a part, include it in the mappings that need it, or move it to a folder \
                     that the settings' `mappings` do not match",
                );
            return false;
        }
        true
    }

    /// One tree of a mapping and its parts: of those that are there, where it is not `whole`.
    fn mapping(
        &mut self,
        file: usize,
        parts: &[usize],
        whole: bool,
        problems: &mut Problems,
    ) -> Option<MappingFile> {
        let (node, text) = self.list[file].content.take()?;
        let texts = parts.iter().filter_map(|part| self.list[*part].content.as_ref());
        let version = version(&text, texts.map(|(_, text)| &**text));
        let node = if parts.is_empty() {
            node
        } else {
            let mut merge = Merge::default();
            for &part in parts {
                if let Some(node) = self.node(part) {
                    merge.part(part, node, |other| self.reaches(part, other));
                }
            }
            merge.finish(node, problems)
        };
        let node = if whole { node } else { with_lists(node) };
        Some(MappingFile {
            changes: overrides::read(&node, whole, problems),
            node,
            version,
            whole,
        })
    }

    /// Whether a part includes another one, itself or by way of others.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = HashSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            let includes = self.list[file].includes.iter();
            for include in includes.flat_map(|includes| &includes.list) {
                if include.file == to {
                    return true;
                }
                if seen.insert(include.file) {
                    open.push(include.file);
                }
            }
        }
        false
    }
}

/// A mapping that does not lack the keys which may be in parts that are missing.
fn with_lists(mut node: Node) -> Node {
    let span = node.span;
    for key in ["tags", "events"] {
        if node.get(key).is_none()
            && let NodeKind::Map(entries) = &mut node.kind
        {
            let kind = NodeKind::Null;
            entries.push((key.to_owned(), span, Node { span, kind }));
        }
    }
    node
}

/// What is too much of nested and of all parts.
fn bound(depth: usize, parts: usize) -> Option<String> {
    if depth > DEEPEST {
        Some(format!("parts are nested deeper than {DEEPEST}"))
    } else if parts >= MOST_PARTS {
        Some(format!("more than {MOST_PARTS} parts of one mapping"))
    } else {
        None
    }
}

/// The paths under `include`, one or a list, and whether nothing else stands there.
fn paths(node: &Node, problems: &mut Problems) -> (Vec<Spanned<String>>, bool) {
    let items = match &node.kind {
        NodeKind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let paths: Vec<_> = items
        .iter()
        .filter_map(|item| {
            let path = item.as_text();
            if path.is_none() {
                problems
                    .error(
                        item.span,
                        format!("`include`: expected a path, found {}", item.describe()),
                    )
                    .hint(
                        "one path or a list of paths, relative to this file, such as `[parts/filler.yaml]`",
                    );
            }
            Some(Spanned {
                value: path?.to_owned(),
                span: item.span,
            })
        })
        .collect();
    let right = paths.len() == items.len();
    (paths, right)
}

/// Whether an included file is a part. What else is wrong with its keys is reported with the first that includes it.
fn is_part(node: &Node, path: &Spanned<String>, first: bool, problems: &mut Problems) -> bool {
    if node.get("mapping").is_some() {
        problems
            .error(
                path.span,
                format!("`include`: {} is a whole mapping: it has `mapping`", path.value),
            )
            .hint(format!(
                "include a part, which has only {}; move what both mappings need into one",
                listed(&PART_KEYS)
            ));
        return false;
    }
    if !first {
        return true;
    }
    if !matches!(node.kind, NodeKind::Map(_) | NodeKind::Null) {
        problems
            .error(
                node.span,
                format!("part: expected a mapping, found {}", node.describe()),
            )
            .hint(format!("a part has {}", listed(&PART_KEYS)));
    }
    for (key, span, _) in node.entries() {
        if PART_KEYS.contains(&key.as_str()) {
            continue;
        }
        if OWN_KEYS.contains(&key.as_str()) {
            problems
                .error(*span, format!("`{key}` stands in a part"))
                .hint("it belongs to the mapping that includes this file; a part is for any machine");
            continue;
        }
        let problem = problems.error(*span, format!("unknown key `{key}` of a part"));
        match closest(key, PART_KEYS) {
            Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
            None => problem.hint(format!("keys here: {}", PART_KEYS.join(", "))),
        };
    }
    crate::merge::check_kinds(node, problems);
    true
}

fn listed(keys: &[&str]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    keys.join(", ")
}
