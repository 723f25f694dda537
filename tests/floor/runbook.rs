//! The runbook: each warning leads to a paragraph, and each paragraph is led to.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{binary, repository};

use crate::sources::{Source, rust_files};

/// What is printed with a way out beside it: mistakes in settings, and why the program ends.
const WITHOUT: [&str; 2] = ["src/daemon/check.rs", "src/daemon/main.rs"];

/// An adapter's name, or that of the gateway's own messages, with the sources, and the page; an empty one where there is none.
struct Part {
    name: String,
    sources: Vec<Source>,
    page: String,
}

impl Part {
    fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(repository().join("adapters"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let sources = rust_files(&format!("adapters/{name}/src"))?;
            let page = fs::read_to_string(entry.path().join("RUNBOOK.md")).unwrap_or_default();
            all.push(Self { name, sources, page });
        }
        let mut sources = rust_files("src/daemon")?;
        sources.extend(rust_files("src/core")?);
        sources.extend(rust_files("src/publisher")?);
        sources.extend(rust_files("src/outbox")?);
        sources.retain(|source| !WITHOUT.contains(&source.path.as_str()));
        let page = fs::read_to_string(repository().join("src/daemon/RUNBOOK.md"))?;
        let name = "gateway".to_owned();
        all.push(Self { name, sources, page });
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

/// All texts of a source that are names of a part's paragraphs.
fn names<'a>(part: &str, code: &'a str) -> impl Iterator<Item = &'a str> {
    let begin = format!("{part}-");
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
fn each_warning_names_its_paragraph() -> Result<()> {
    let mut count = 0;
    for part in Part::all()? {
        for source in &part.sources {
            for message in warnings(&source.text) {
                count += 1;
                assert!(has_name(message), "{}: no `see` in {message}", source.path);
            }
        }
    }
    assert!(count > 60, "{count} warnings");

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
    for part in Part::all()? {
        let sources = part.sources.iter();
        let named: BTreeSet<&str> = sources
            .flat_map(|source| names(&part.name, &source.text))
            .collect();
        let found = part.paragraphs();
        let headings: BTreeSet<&str> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            found.len(),
            headings.len(),
            "{}: a heading stands twice",
            part.name
        );
        assert_eq!(named, headings, "{}: the sources and RUNBOOK.md", part.name);
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
    assert!(count > 60, "{count} paragraphs");
    Ok(())
}

#[test]
fn commands_and_settings_that_a_runbook_names_are_there() -> Result<()> {
    let known = fs::read_to_string(repository().join("config/floorgate.schema.json"))?;
    let mut commands = BTreeSet::new();
    let mut settings = 0;
    for part in Part::all()? {
        for code in part.page.split('`').skip(1).step_by(2) {
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
                    part.name
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
    for part in Part::all()? {
        let all = part.paragraphs();
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
    assert_eq!(row["of"], "opcua");
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
