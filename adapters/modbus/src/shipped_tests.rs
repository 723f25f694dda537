//! Each mapping that is shipped, and each example of the documentation, is read in the fewest requests there are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floorgate_adapter_api::TagSpec;
use floorgate_sample::TagId;
use floorgate_yaml::{Node, NodeKind, Problems, Span, parse};
use tokio::time::Instant;

use super::Extent;
use super::tests::{allowed, fewest};
use crate::address::{self, Point, Table};
use crate::group::Group;
use crate::settings::{self, Checked};

/// Tables that a tag of a Modbus device names.
const TABLES: [&str; 5] = ["coil", "discrete", "input", "holding", "fifo"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The YAML files of a folder and the folders in it, but those that are tests of mappings.
fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let is = |path: &Path, extension: &str| path.extension().is_some_and(|own| own == extension);
        let is_test = path.file_stem().is_some_and(|stem| is(Path::new(stem), "test"));
        if path.is_dir() {
            yaml_files(&path, found);
        } else if is(&path, "yaml") && !is_test {
            found.push(path);
        }
    }
}

/// The blocks of YAML in a page.
fn blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks
        .filter_map(|rest| rest.split("```").next().map(str::to_owned))
        .collect()
}

/// The text once for each instance, as `for_each: {name: 1..2, other: a}` says. What is no such set is not known here.
fn instances(text: &str, for_each: Option<&Node>) -> Vec<String> {
    if let Some(list) = for_each.filter(|node| !matches!(node.kind, NodeKind::Map(_))) {
        panic!("instances that this test cannot make: {}", list.describe());
    }
    let mut texts = vec![text.to_owned()];
    for (name, _, values) in for_each.map_or(&[][..], Node::entries) {
        let values = values.as_text().map_or_else(|| values.describe(), str::to_owned);
        let values: Vec<String> = match values.split_once("..") {
            Some((first, last)) => {
                let [first, last] = [first, last].map(|end| end.parse::<u32>().expect("a number"));
                (first..=last).map(|value| value.to_string()).collect()
            }
            None => vec![values],
        };
        let filled = |text: &String| {
            let of = |value: &String| text.replace(&format!("\"{{{name}}}\""), value);
            values.iter().map(of).collect::<Vec<_>>()
        };
        texts = texts.iter().flat_map(filled).collect();
    }
    texts
}

fn read(name: &str, text: &str) -> Node {
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new(name), text);
    let node = parse(file, text, &mut problems);
    node.unwrap_or_else(|| panic!("{}", problems.render(false)))
}

/// The tags of a mapping that are of a Modbus device.
fn tags(mapping: &Node) -> impl Iterator<Item = &(String, Span, Node)> {
    let tags = mapping.get("tags").map_or(&[][..], Node::entries);
    tags.iter()
        .filter(|(_, _, keys)| TABLES.iter().any(|table| keys.get(table).is_some()))
}

/// Where the tags of a text are, over all instances.
fn points(name: &str, text: &str, settings: &Checked) -> Vec<Point> {
    let node = read(name, text);
    let mut points = Vec::new();
    if tags(&node).next().is_none() {
        return points;
    }
    for text in instances(text, node.get("for_each")) {
        let node = read(name, &text);
        for (tag, _, keys) in tags(&node) {
            // What is the mapping's of a tag is none of the adapter's business.
            let own = |key: &str| address::KEYS.contains(&key);
            let entries = keys.entries().iter().filter(|(key, ..)| own(key)).cloned();
            let address = Node {
                span: keys.span,
                kind: NodeKind::Map(entries.collect()),
            };
            let spec = TagSpec {
                id: TagId(u32::try_from(points.len()).expect("few tags")),
                name: tag,
                address: &address,
                on_demand: false,
            };
            let mut problems = Problems::default();
            let point = address::check(&spec, settings, &mut problems);
            points.push(point.unwrap_or_else(|| panic!("{name}: {}", problems.render(false))));
        }
    }
    points
}

/// Compares the requests of all polls with the fewest.
fn compare(name: &str, text: &str, settings: &str) -> usize {
    let node = read("settings.yaml", &format!("connect: tcp://127.0.0.1\n{settings}"));
    let mut problems = Problems::default();
    let settings = settings::check(&node, Path::new(""), &mut problems);
    let settings = settings.unwrap_or_else(|| panic!("{}", problems.render(false)));
    let points: Vec<Arc<Point>> = points(name, text, &settings).into_iter().map(Arc::new).collect();
    let groups = Group::all("kit", &points, &settings, Instant::now());
    for group in &groups {
        for table in Table::ALL {
            let asked = (0..).map_while(|index| group.request(index));
            let asked = asked.filter(|(of, _)| *of == table).count();
            let wanted = points
                .iter()
                .filter(|point| (point.unit, point.table, point.every) == (group.unit, table, group.every()));
            let wanted: Vec<Extent> = wanted.map(|point| point.extent).collect();
            let limits = settings.limits(table);
            let mut best = asked;
            let ask = |items: &[usize]| allowed(items, &wanted, &[], limits);
            fewest(0, &mut Vec::new(), &mut best, &ask, wanted.len());
            assert_eq!(
                asked,
                best,
                "{name}: unit {}, {}: {wanted:?}",
                group.unit,
                table.name()
            );
        }
    }
    points.len()
}

#[test]
fn what_is_shipped_is_read_in_the_fewest_requests() {
    let root = repository();
    let mut files = Vec::new();
    for folder in ["mappings", "config", "examples"] {
        yaml_files(&root.join(folder), &mut files);
    }
    let mut texts: Vec<(String, String)> = files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("it can be read");
            (file.display().to_string(), text)
        })
        .collect();
    let page = fs::read_to_string(root.join("adapters/modbus/README.md")).expect("it can be read");
    texts.extend(
        blocks(&page)
            .into_iter()
            .map(|block| ("README.md".to_owned(), block)),
    );
    for settings in ["", "max_gap: 4", "max_gap: 8\nmax_registers: 12"] {
        let with_tags = texts
            .iter()
            .filter(|(name, text)| compare(name, text, settings) > 0)
            .map(|(name, _)| name.rsplit('/').next().unwrap_or_default());
        let with_tags: Vec<&str> = with_tags.collect();
        for known in ["conveyor.yaml", "registers.yaml", "bit-field.yaml", "README.md"] {
            assert!(with_tags.contains(&known), "{known} is not among {with_tags:?}");
        }
    }
}
