//! The runbook: each warning of an adapter leads to a paragraph, and each paragraph is led to.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{binary, repository};

use crate::sources::{Source, rust_files};

/// An adapter's name, its sources, and its page; an empty one where there is none.
struct Adapter {
    name: String,
    sources: Vec<Source>,
    page: String,
}

impl Adapter {
    fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(repository().join("adapters"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let sources = rust_files(&format!("adapters/{name}/src"))?;
            let page = fs::read_to_string(entry.path().join("RUNBOOK.md")).unwrap_or_default();
            all.push(Self { name, sources, page });
        }
        Ok(all)
    }

    /// The headings of the page with what stands below them.
    fn paragraphs(&self) -> Vec<(&str, &str)> {
        let parts = self.page.split("\n## ").skip(1);
        parts.filter_map(|part| part.split_once('\n')).collect()
    }
}

/// What stands between the parentheses of each call of a macro that logs a warning or an error. Parentheses within texts do not count.
fn warnings(code: &str) -> Vec<&str> {
    let begins =
        ["warn!(", "error!("].map(|call| code.match_indices(call).map(move |(at, _)| at + call.len()));
    let within = |from: usize| {
        let (mut depth, mut is_text, mut is_escaped) = (1, false, false);
        let end = code[from..].find(|character| {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' if is_text => is_escaped = true,
                '"' => is_text = !is_text,
                '(' if !is_text => depth += 1,
                ')' if !is_text => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        &code[from..end.map_or(code.len(), |end| from + end)]
    };
    begins.into_iter().flatten().map(within).collect()
}

/// Whether the last field before the words of a message is the paragraph's name.
fn has_name(message: &str) -> bool {
    message
        .split(", ")
        .flat_map(|part| part.split(",\n"))
        .map(str::trim)
        .any(|field| field == "see" || field.starts_with("see = "))
}

/// All texts of a source that are names of an adapter's paragraphs.
fn names<'a>(adapter: &str, code: &'a str) -> impl Iterator<Item = &'a str> {
    let begin = format!("{adapter}-");
    let is_name = move |text: &&str| {
        text.starts_with(&begin)
            && text
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '-')
    };
    code.split('"').filter(is_name)
}

/// Runs the program without settings.
fn floorgate(words: &[&str]) -> Result<Output> {
    Ok(Command::new(binary("floorgate")?).args(words).output()?)
}

fn printed(words: &[&str]) -> Result<String> {
    let output = floorgate(words)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "floorgate {words:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn each_warning_of_an_adapter_names_its_paragraph() -> Result<()> {
    let mut count = 0;
    for adapter in Adapter::all()? {
        for source in &adapter.sources {
            for message in warnings(&source.text) {
                count += 1;
                assert!(has_name(message), "{}: no `see` in {message}", source.path);
            }
        }
    }
    assert!(count > 30, "{count} warnings");

    let code =
        r#"warn!(a, see = b.see(), "one (of \") two"); error!("{}", told("see = ")); warn!(a, see, "b")"#;
    let found = warnings(code);
    let named: Vec<bool> = found.iter().map(|message| has_name(message)).collect();
    assert_eq!(named, [true, true, false], "{found:?}");
    Ok(())
}

#[test]
fn names_in_the_sources_are_the_headings_of_the_runbook() -> Result<()> {
    let mut count = 0;
    for adapter in Adapter::all()? {
        let sources = adapter.sources.iter();
        let named: BTreeSet<&str> = sources
            .flat_map(|source| names(&adapter.name, &source.text))
            .collect();
        let found = adapter.paragraphs();
        let headings: BTreeSet<&str> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            found.len(),
            headings.len(),
            "{}: a heading stands twice",
            adapter.name
        );
        assert_eq!(named, headings, "{}: the sources and RUNBOOK.md", adapter.name);
        for (name, text) in found {
            count += 1;
            let parts = [
                "**Meaning.** ",
                "\n\n**Likely causes.** ",
                "\n\n**What to do.**\n1. ",
            ];
            let places = parts.map(|part| text.find(part));
            assert!(
                places[0] == Some(0) && places.is_sorted() && !places.contains(&None),
                "{name}: meaning, likely causes and what to do are at {places:?}"
            );
        }
    }
    assert!(count > 30, "{count} paragraphs");
    Ok(())
}

#[test]
fn commands_and_settings_that_a_runbook_names_are_there() -> Result<()> {
    let known = fs::read_to_string(repository().join("config/floorgate.schema.json"))?;
    let mut commands = BTreeSet::new();
    let mut settings = 0;
    for adapter in Adapter::all()? {
        for code in adapter.page.split('`').skip(1).step_by(2) {
            let code = code.trim_start_matches("sudo -u floorgate ");
            if let Some(command) = code.strip_prefix("floorgate ") {
                commands.insert(command.to_owned());
            } else if let Some((key, _)) = code.split_once(": ")
                && key
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '_')
            {
                settings += 1;
                assert!(
                    known.contains(&format!("\"{key}\"")),
                    "{}: no setting `{code}`",
                    adapter.name
                );
            }
        }
    }
    assert!(
        settings > 10 && commands.len() > 15,
        "{settings} settings, {commands:?}"
    );
    for command in commands {
        let all: Vec<&str> = command.split_whitespace().collect();
        let is_command = |word: &&&str| word.chars().all(|letter| letter.is_ascii_lowercase());
        let mut words: Vec<&str> = all.iter().take_while(is_command).copied().collect();
        words.push("--help");
        let help = printed(&words).with_context(|| command.clone())?;
        for option in all.iter().filter(|word| word.starts_with("--")) {
            assert!(
                help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")),
                "no {option}: {command}"
            );
        }
    }
    Ok(())
}

#[test]
fn the_runbook_is_printed_by_name() -> Result<()> {
    let words = |text: &str| -> Vec<String> {
        text.replace("**", "")
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let listed = printed(&["runbook"])?;
    for adapter in Adapter::all()? {
        let all = adapter.paragraphs();
        for (name, _) in &all {
            assert!(
                listed.lines().any(|line| line.starts_with(&format!("{name} "))),
                "{name}: {listed}"
            );
        }
        if let Some((name, text)) = all.last() {
            let told = printed(&["runbook", name])?;
            let expected = [words(name), words(text)].concat();
            assert!(words(&told).starts_with(&expected), "{told}");
        }
    }
    let json = printed(&["runbook", "opcua-server-not-trusted", "--json"])?;
    let row: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(row["adapter"], "opcua");
    let text = row["text"].as_str().context("a text")?;
    assert!(text.contains("`floorgate pki trust THUMBPRINT`"), "{json}");

    for (name, way_out) in [
        (
            "opcua-server-not-trustet",
            "did you mean `opcua-server-not-trusted`?",
        ),
        ("kafka", "`floorgate runbook` has them all"),
    ] {
        let output = floorgate(&["runbook", name])?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(way_out), "{told}");
    }
    Ok(())
}
