//! Rules that every source file keeps.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use floorgate_tests::repository;

/// A file of the repository.
pub struct Source {
    /// Its path from the root, with slashes.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// All Rust files below a folder of the repository.
pub fn rust_files(folder: &str) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    collect(&repository().join(folder), folder, "rs", &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, name: &str, ending: &str, found: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, ending, found)?;
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            let text = fs::read_to_string(entry.path()).with_context(|| path.clone())?;
            found.push(Source { path, text });
        }
    }
    Ok(())
}

#[test]
fn no_file_is_longer_than_500_lines() -> Result<()> {
    let mut problems = Vec::new();
    for folder in ["src", "adapters", "simulator", "tests"] {
        let mut files = rust_files(folder)?;
        collect(&repository().join(folder), folder, "py", &mut files)?;
        assert!(!files.is_empty(), "{folder}");
        for file in files {
            let lines = file.text.lines().count();
            if lines > 500 {
                problems.push(format!("{}: {lines} lines", file.path));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

#[test]
fn no_test_file_is_forgotten() -> Result<()> {
    let root = fs::read_to_string(repository().join("tests/floor.rs"))?;
    let mut problems = Vec::new();
    for file in rust_files("tests/floor")? {
        // A folder's files belong to the module of the folder's name, which declares them.
        let inner = file.path.strip_prefix("tests/").context("not a test")?;
        if inner.matches('/').count() == 1 && !root.contains(&format!("#[path = \"{inner}\"]\nmod ")) {
            problems.push(format!("{} is in no module of tests/floor.rs", file.path));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    Ok(())
}
