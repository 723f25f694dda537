//! A file with tests: from what is written to steps and expectations.

use std::path::{Path, PathBuf};

use floorgate_adapter_api::Adapter;
use floorgate_config::{Mappings, Which, read_mappings};
use floorgate_yaml::{Draft, Node, NodeKind, Problems, Span, draft};

use super::expectation::Expectation;
use super::form::{FileForm, TestForm};
use super::steps::{Step, steps};
use super::subject::Subject;

/// The end of the name of a file with tests.
pub const ENDING: &str = ".test.yaml";

/// A file with tests, and the mappings that they are of.
pub struct TestFile {
    /// The mappings.
    pub mappings: Mappings,
    /// What steps are played to.
    pub subject: Subject,
    /// The tests.
    pub tests: Vec<Test>,
}

/// One test.
pub struct Test {
    /// What is tested, in words.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// The types of events that are looked at, where it says them.
    pub events: Option<Vec<String>>,
    /// What happens.
    pub steps: Vec<Step>,
    /// The events that must come; nothing where that is not written yet.
    pub expect: Option<Vec<Expectation>>,
}

impl Test {
    /// Whether it looks at events of a type.
    #[must_use]
    pub fn looks_at(&self, kind: &str) -> bool {
        match &self.events {
            Some(kinds) => kinds.iter().any(|one| one == kind),
            None => kind != "SourceConnectionChanged",
        }
    }
}

/// Reads a file with tests and its mappings: with the sources of the settings, where they are given. `None` where anything is wrong.
#[must_use]
pub fn read(
    path: &Path,
    settings: Option<&Path>,
    adapters: &[&dyn Adapter],
    problems: &mut Problems,
) -> Option<TestFile> {
    let content = match std::fs::read_to_string(path) {
        Ok(content) => content,
        Err(error) => {
            problems
                .error(None, format!("{} cannot be read: {error}", path.display()))
                .hint("correct its name; it has to be UTF-8 text");
            return None;
        }
    };
    let file = problems.add_file(path, content.as_str());
    let node = floorgate_yaml::parse(file, &content, problems)?;
    if let (None, Some((span, _))) = (node.get("tests"), node.entry("equipment")) {
        problems
            .error(
                span,
                format!("{} is a mapping, and no file of tests of one", path.display()),
            )
            .hint(format!(
                "its tests lie beside it, in a file of their own that ends in {ENDING}"
            ));
        return None;
    }
    let _ = draft::<FileForm>(&node, problems);
    let items = node
        .get("tests")
        .map(|tests| list("tests", tests, problems))
        .unwrap_or_default();
    let files = mapping_files(path, node.get("mapping")?, problems);
    let which = Which {
        settings,
        files: Some(&files),
    };
    let mappings = read_mappings(which, adapters, problems)?;
    let subject = Subject::of_mappings(&mappings);
    let mut read: Vec<Test> = Vec::with_capacity(items.len());
    for node in items {
        let Some(test) = read_test(node, &subject, problems) else {
            continue;
        };
        if let Some(other) = read.iter().find(|other| other.name == test.name) {
            let place = problems.place(other.span);
            problems
                .error(
                    test.span,
                    format!("the test at {place} is named {:?} too", test.name),
                )
                .hint("give each its own name: reports tell them apart by it");
        }
        read.push(test);
    }
    (!problems.has_errors()).then_some(TestFile {
        mappings,
        subject,
        tests: read,
    })
}

/// The files under `mapping`, one or a list.
fn mapping_files(path: &Path, node: &Node, problems: &mut Problems) -> Vec<(PathBuf, Option<Span>)> {
    let items = match &node.kind {
        NodeKind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = Vec::with_capacity(items.len());
    for item in items {
        match item.as_text() {
            Some(name) => files.push((folder.join(name), Some(item.span))),
            None => {
                problems
                    .error(
                        item.span,
                        format!("`mapping`: expected a path, found {}", item.describe()),
                    )
                    .hint("one path or a list of paths, relative to this file, such as `filling-line.yaml`");
            }
        }
    }
    files
}

/// The items of a list.
fn list<'n>(key: &str, node: &'n Node, problems: &mut Problems) -> &'n [Node] {
    if let NodeKind::List(items) = &node.kind {
        return items;
    }
    problems
        .error(
            node.span,
            format!("`{key}`: expected a list, found {}", node.describe()),
        )
        .hint(match key {
            "expect" => "begin each event with `- `, or write `[]` where none may come",
            _ => "begin each item with `- `",
        });
    &[]
}

fn read_test(node: &Node, subject: &Subject, problems: &mut Problems) -> Option<Test> {
    let Draft { value: form, .. } = draft::<TestForm>(node, problems)?;
    let steps = match node.get("steps") {
        Some(_) => steps(node, subject, problems),
        None => Vec::new(),
    };
    let expect = node.get("expect").map(|expect| {
        let items = list("expect", expect, problems).iter();
        items
            .filter_map(|item| Expectation::read(item, problems))
            .collect()
    });
    let kinds = form
        .events
        .map(|kinds| kinds.value.into_iter().map(|kind| kind.value).collect());
    let test = Test {
        name: form.name.value,
        span: form.name.span,
        events: kinds,
        steps,
        expect,
    };
    for expected in test.expect.iter().flatten() {
        if !test.looks_at(expected.kind()) {
            let message = format!("the test does not look at `{}`", expected.kind());
            problems
                .error(expected.span, message)
                .hint("add it to the test's `events`, or remove it here");
        }
    }
    Some(test)
}
