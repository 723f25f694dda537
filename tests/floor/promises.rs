//! What the README says can be lost is proved, row by row.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use floorgate_tests::repository;

/// The cells of the table below a heading, without its head.
fn table(file: &str, heading: &str) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(repository().join(file))?;
    let (_, section) = text
        .split_once(heading)
        .with_context(|| format!("no {heading} in {file}"))?;
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        line.split('|')
            .map(|cell| cell.trim().to_owned())
            .skip(1)
            .collect()
    };
    Ok(rows.skip(2).map(cells).collect())
}

/// All Rust sources below a folder, one after the other.
fn sources(folder: &Path, into: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}

/// The attributes of the function of that name; nothing where there is none.
fn attributes<'a>(code: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let (before, _) = code.split_once(&format!("fn {name}("))?;
    let lines = before.rsplit('\n').skip(1).map(str::trim);
    let above = lines.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    Some(above.filter(|line| line.starts_with("#[")).collect())
}

/// The metrics that a text of the README names.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split("`floorgate_").skip(1);
    after.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn each_row_of_what_can_be_lost_has_its_tests() -> Result<()> {
    let first =
        |rows: Vec<Vec<String>>| -> Vec<String> { rows.into_iter().map(|mut row| row.remove(0)).collect() };
    let lost = table("README.md", "## What can be lost, and when")?;
    let mut known = String::new();
    sources(&repository().join("src/metrics"), &mut known)?;
    let mut count = 0;
    for row in &lost {
        for metric in metrics(&row[2]) {
            count += 1;
            assert!(
                known.contains(&format!("\"{metric}\"")),
                "{}: there is no metric floorgate_{metric}",
                row[0]
            );
        }
    }
    assert!(count > 0, "no metric is named");
    let promised = first(lost);
    let proved = table("tests/README.md", "## Proofs")?;
    assert!(!promised.is_empty());
    assert_eq!(
        promised,
        first(proved.clone()),
        "the rows of README and tests/README"
    );
    let mut code = String::new();
    for folder in ["src", "adapters", "tests"] {
        sources(&repository().join(folder), &mut code)?;
    }
    for row in proved {
        let names: Vec<&str> = row[1].split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{}: no test", row[0]);
        for name in names {
            let attributes = attributes(&code, name).unwrap_or_default();
            let is_test = |attribute: &&str| {
                *attribute == "#[test]"
                    || *attribute == "#[tokio::test]"
                    || attribute.starts_with("#[tokio::test(")
            };
            assert!(
                attributes.iter().any(is_test),
                "{}: there is no test {name}",
                row[0]
            );
            assert!(
                !attributes.iter().any(|attribute| attribute.contains("ignore")),
                "{}: {name} is not run",
                row[0]
            );
        }
    }
    Ok(())
}
