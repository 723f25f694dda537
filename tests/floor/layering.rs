//! The layering of ARCHITECTURE.md, held against the manifests and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use floorgate_tests::repository;

use crate::sources::rust_files;

/// Every crate of ours, by folder: its name and the crates of ours that it may use.
struct Layers {
    by_folder: BTreeMap<String, (String, BTreeSet<String>)>,
}

impl Layers {
    /// Reads the code map of ARCHITECTURE.md, whose table is the rule.
    fn read() -> Result<Self> {
        let page = fs::read_to_string(repository().join("ARCHITECTURE.md"))?;
        let (_, map) = page.split_once("## Code map").context("no code map")?;
        let (map, _) = map.split_once("\n## ").context("no end of the code map")?;
        let rows: Vec<Vec<String>> = map
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                line.trim_matches('|')
                    .split('|')
                    .map(|cell| cell.trim().replace('`', ""))
                    .collect()
            })
            .collect();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for row in &rows {
            ensure!(
                row.len() == 4,
                "a row of the code map with {} cells: {row:?}",
                row.len()
            );
            for (folder, name) in expand(&row[0], &row[1])? {
                names.entry(folder).or_insert(name);
            }
        }
        let all: BTreeSet<String> = names.values().cloned().collect();
        let mut by_folder: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
        for row in &rows {
            let allowed = match row[3].as_str() {
                "all" => all.clone(),
                // The built programs are not crates that it links.
                "nothing of ours" | "the built programs" => BTreeSet::new(),
                list => {
                    let one = |word: &str| {
                        let folder = names
                            .keys()
                            .find(|folder| folder.as_str() == word || **folder == format!("src/{word}"));
                        let folder = folder.with_context(|| format!("no crate {word} in the code map"))?;
                        Ok(names[folder].clone())
                    };
                    list.split(',')
                        .map(|word| one(word.trim()))
                        .collect::<Result<_>>()?
                }
            };
            for (folder, name) in expand(&row[0], &row[1])? {
                by_folder.entry(folder).or_insert_with(|| (name, allowed.clone()));
            }
        }
        Ok(Self { by_folder })
    }
}

/// A row's folders with their crates; `adapters/*` stands for those in the folder.
fn expand(folder: &str, name: &str) -> Result<Vec<(String, String)>> {
    let Some(parent) = folder.strip_suffix("/*") else {
        return Ok(vec![(folder.to_owned(), name.to_owned())]);
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(repository().join(parent))? {
        let child = entry?.file_name().to_string_lossy().into_owned();
        if repository()
            .join(parent)
            .join(&child)
            .join("Cargo.toml")
            .is_file()
        {
            found.push((format!("{parent}/{child}"), name.replace('*', &child)));
        }
    }
    Ok(found)
}

/// The crates of ours in a manifest's dependencies, all kinds, and the crate's own name.
fn manifest(folder: &str) -> Result<(String, BTreeSet<String>)> {
    let path = repository().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut section = "";
    let mut name = String::new();
    let mut used = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[') {
            section = title.trim_end_matches(']');
        }
        let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if section == "package" && key == "name" {
            line.split('"').nth(1).unwrap_or_default().clone_into(&mut name);
        }
        if section.ends_with("dependencies") && key.starts_with("floorgate") {
            used.insert(key.to_owned());
        }
    }
    Ok((name, used))
}

fn members() -> Result<Vec<String>> {
    let text = fs::read_to_string(repository().join("Cargo.toml"))?;
    let (_, list) = text.split_once("members = [").context("no members")?;
    let (list, _) = list.split_once(']').context("no end of the members")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

#[test]
fn a_crate_uses_only_what_the_code_map_allows() -> Result<()> {
    let layers = Layers::read()?;
    let members = members()?;
    assert!(members.len() >= 14, "members: {members:?}");
    let mut problems = Vec::new();
    for folder in &members {
        let (name, used) = manifest(folder)?;
        let Some((listed, allowed)) = layers.by_folder.get(folder) else {
            problems.push(format!("{folder} is not in the code map"));
            continue;
        };
        if *listed != name {
            problems.push(format!("{folder} is {name}, the code map says {listed}"));
        }
        for other in used.difference(allowed) {
            problems.push(format!("{name} may not use {other}"));
        }
    }
    for folder in layers.by_folder.keys().filter(|folder| !members.contains(folder)) {
        problems.push(format!(
            "{folder} is in the code map and is no member of the workspace"
        ));
    }
    assert!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

/// Whether a line has this word, not as a part of a longer one.
fn code_has(code: &str, word: &str) -> bool {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|part| part == word)
}

#[test]
fn the_core_is_pure() -> Result<()> {
    // Clock, input and output, threads, randomness: what would make the same input give other bytes.
    const IMPURE: [&str; 14] = [
        "tokio",
        "SystemTime",
        "Instant",
        "fs",
        "net",
        "io",
        "env",
        "thread",
        "process",
        "rand",
        "RandomState",
        "new_v4",
        "now_v7",
        "now",
    ];
    let mut problems = Vec::new();
    let files = rust_files("src/core")?;
    assert!(!files.is_empty());
    // What tests and benchmarks do around the core is no part of it.
    let around = ["src/core/benches/", "src/core/tests/"];
    let is_core =
        |path: &str| !path.ends_with("_tests.rs") && !around.iter().any(|folder| path.starts_with(folder));
    for file in files.into_iter().filter(|file| is_core(&file.path)) {
        for (number, line) in file.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            // `std::io` and `Zoned::now` are paths; a field or argument of such a name is none.
            let path =
                |word: &str| code.contains(&format!("::{word}")) || code.contains(&format!("{word}::"));
            for word in IMPURE.iter().filter(|word| code_has(code, word) && path(word)) {
                problems.push(format!("{}:{}: {word}", file.path, number + 1));
            }
        }
    }
    let manifest = fs::read_to_string(repository().join("src/core/Cargo.toml"))?;
    problems.extend(
        manifest
            .lines()
            .filter(|line| line.starts_with("tokio"))
            .map(str::to_owned),
    );
    assert!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

#[test]
fn only_the_registry_names_the_adapters() -> Result<()> {
    let mut problems = Vec::new();
    for folder in ["src", "adapters/api"] {
        for file in rust_files(folder)?
            .iter()
            .filter(|file| file.path != "src/daemon/registry.rs")
        {
            for (number, line) in file.text.lines().enumerate() {
                let named = [
                    "floorgate_adapter_opcua",
                    "floorgate_adapter_modbus",
                    "floorgate_adapter_scripted",
                ];
                if named.iter().any(|name| line.contains(name)) {
                    problems.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

#[test]
fn each_adapter_is_held_to_the_promises() -> Result<()> {
    let mut held = 0;
    for folder in adapter_folders()? {
        let tests = rust_files(&format!("adapters/{folder}/tests"))?;
        let mut lines = tests.iter().flat_map(|file| file.text.lines());
        let asks =
            lines.any(|line| line.contains("conformance_tests!(") && !line.trim_start().starts_with("//"));
        assert!(asks, "adapters/{folder} runs the kit of promises in its tests");
        held += 1;
    }
    assert!(held >= 3, "{held} adapters");
    Ok(())
}

/// The folders of the adapters; `api` is what they are made of.
fn adapter_folders() -> Result<Vec<String>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(repository().join("adapters"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().join("Cargo.toml").exists() && name != "api" {
            folders.push(name);
        }
    }
    Ok(folders)
}

#[test]
fn the_page_names_each_thread_and_all_that_the_core_does() -> Result<()> {
    let page = fs::read_to_string(repository().join("ARCHITECTURE.md"))?;
    let section = |head: &str, end: &str| -> Result<&str> {
        let (_, rest) = page.split_once(head).with_context(|| format!("no {head:?}"))?;
        Ok(rest.split(end).next().unwrap_or_default())
    };
    let mut threads = BTreeSet::new();
    for file in rust_files("src")? {
        // What runs for a moment, with the stack that it needs, has no name.
        for started in file.text.split("thread::Builder::new()").skip(1) {
            let name = started.trim_start().strip_prefix(".name(\"");
            threads.extend(name.and_then(|name| name.split('"').next()).map(str::to_owned));
        }
    }
    assert!(threads.len() > 4, "{threads:?}");
    let told = section("\n## Threads\n", "\n## ")?;
    threads.retain(|name| !told.contains(&format!("`{name}`")));
    assert!(threads.is_empty(), "Threads does not name {threads:?}");

    let functions = |text: &str| -> BTreeSet<String> {
        let named = text.lines().filter_map(|line| line.strip_prefix("    pub fn "));
        named
            .filter_map(|line| Some(line.split_once('(')?.0.to_owned()))
            .collect()
    };
    let mut of_core = BTreeSet::new();
    for file in rust_files("src/core")? {
        for body in file.text.split("\nimpl Core {\n").skip(1) {
            of_core.append(&mut functions(body.split("\n}\n").next().unwrap_or_default()));
        }
    }
    assert_eq!(functions(section("\nimpl Core {\n", "\n}\n")?), of_core);
    Ok(())
}
