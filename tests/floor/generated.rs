//! Files that the program generates, `make generate` writes, and nobody edits.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Folder, binary, peer_command, repository};

/// Each file and the words that generate it.
const GENERATED: [(&str, &[&str]); 5] = [
    ("config/REFERENCE.md", &["reference"]),
    ("config/floorgate.schema.json", &["schema", "config"]),
    ("mappings/mapping.schema.json", &["schema", "mapping"]),
    ("mappings/test.schema.json", &["schema", "test"]),
    ("mappings/events.schema.json", &["schema", "events"]),
];

#[test]
fn generated_files_are_fresh() -> Result<()> {
    for (file, words) in GENERATED {
        let output = Command::new(binary("floorgate")?).args(words).output()?;
        ensure!(
            output.status.success(),
            "floorgate {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let generated = String::from_utf8(output.stdout)?;
        assert!(generated.len() > 1_000, "floorgate {words:?} wrote {generated:?}");
        let kept =
            fs::read_to_string(repository().join(file)).with_context(|| format!("cannot read {file}"))?;
        assert!(kept == generated, "{file} is stale: run `make generate`");
    }
    Ok(())
}

/// What an editor objects to in files, by a schema of the repository.
fn objections(schema: &str, files: &[&Path]) -> Result<Vec<String>> {
    editor(schema, files.iter().map(AsRef::as_ref))
}

/// What an editor says by a schema of the repository.
fn editor<'a>(schema: &str, arguments: impl Iterator<Item = &'a OsStr>) -> Result<Vec<String>> {
    let output = peer_command("editor.py")?
        .arg(repository().join(schema))
        .args(arguments)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect())
}

#[test]
fn an_editor_takes_the_samples_and_sees_mistakes() -> Result<()> {
    let sample = |name: &str| repository().join(name);
    let (line, conveyor) = (
        sample("mappings/filling-line.yaml"),
        sample("mappings/conveyor.yaml"),
    );
    let settings = sample("config/floorgate.yaml");
    // A part has no keys of a mapping, and binds the same schema.
    let (overrides, part) = (
        sample("mappings/examples/overrides.yaml"),
        sample("mappings/examples/parts/filler.yaml"),
    );
    assert_eq!(
        objections(
            "mappings/mapping.schema.json",
            &[&line, &conveyor, &overrides, &part]
        )?,
        [""; 0]
    );
    assert_eq!(objections("config/floorgate.schema.json", &[&settings])?, [""; 0]);
    let mut examples = Vec::new();
    for folder in ["mappings/examples", "mappings/examples/warehouse"] {
        for entry in fs::read_dir(repository().join(folder))? {
            let path = entry?.path();
            examples.extend(
                path.extension()
                    .is_some_and(|extension| extension == "yaml")
                    .then_some(path),
            );
        }
    }
    assert!(examples.len() > 20);
    let (mut tests, examples): (Vec<&Path>, Vec<&Path>) = examples
        .iter()
        .map(PathBuf::as_path)
        .partition(|path| path.to_string_lossy().ends_with(".test.yaml"));
    assert_eq!(objections("mappings/mapping.schema.json", &examples)?, [""; 0]);
    let of_line = sample("mappings/filling-line.test.yaml");
    tests.push(&of_line);
    assert_eq!(objections("mappings/test.schema.json", &tests)?, [""; 0]);

    let folder = Folder::new("editor")?;
    let wrong = |of: &Path, from: &str, to: &str| -> Result<PathBuf> {
        let text = fs::read_to_string(of)?;
        ensure!(text.contains(from), "{} has no {from:?}", of.display());
        let path = folder.path().join("wrong.yaml");
        fs::write(&path, text.replacen(from, to, 1))?;
        Ok(path)
    };
    for (schema, of, from, to) in [
        (
            "mappings/mapping.schema.json",
            &line,
            "deadband: 0.5",
            "deadband: -5",
        ),
        ("mappings/mapping.schema.json", &line, "trigger: ", "triger: "),
        ("mappings/mapping.schema.json", &line, "source: ", "# source: "),
        ("mappings/mapping.schema.json", &part, "trigger: ", "triger: "),
        (
            "mappings/mapping.schema.json",
            &overrides,
            "{width: 16}",
            "{wdith: 16}",
        ),
        ("mappings/mapping.schema.json", &overrides, "{when: ", "{wehn: "),
        (
            "mappings/mapping.schema.json",
            &conveyor,
            "\"{conveyor}\"",
            "no number",
        ),
        ("config/floorgate.schema.json", &settings, "brokers", "broker"),
        ("mappings/test.schema.json", &of_line, "expect:", "expects:"),
        ("mappings/test.schema.json", &of_line, "at: 1s", "at: 1"),
        (
            "mappings/test.schema.json",
            &of_line,
            "initial: true",
            "initial: maybe",
        ),
    ] {
        let found = objections(schema, &[&wrong(of, from, to)?])?;
        assert!(!found.is_empty(), "{from} → {to} is taken");
    }
    Ok(())
}

#[test]
fn an_editor_offers_the_names_of_the_standards_and_says_what_they_mean() -> Result<()> {
    let offered = |place: &str| {
        let arguments = ["--complete", place].map(OsStr::new);
        editor("mappings/mapping.schema.json", arguments.into_iter())
    };
    for (place, few, one) in [
        (
            "events/*/type",
            17,
            "EquipmentStateChanged: a machine has another state (OPC 30050, OPC 40001-1)",
        ),
        (
            "tags/state/values",
            11,
            "packml-mode: 1 Produce, 2 Maintenance, 3 Manual",
        ),
    ] {
        let names = offered(place)?;
        assert!(names.len() >= few, "{place}: {names:?}");
        assert!(names.iter().any(|name| name == one), "{place}: {names:?}");
    }
    // The schema of events is one, for those who read it.
    assert_eq!(objections("mappings/events.schema.json", &[])?, [""; 0]);
    Ok(())
}

#[test]
fn the_reference_says_all_of_every_key() -> Result<()> {
    let reference = fs::read_to_string(repository().join("config/REFERENCE.md"))?;
    let (keys, events) = reference
        .split_once("\n## Standard events")
        .context("no events")?;
    assert!(events.lines().filter(|line| line.starts_with("| `")).count() >= 17);
    let rows: Vec<Vec<&str>> = keys
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 100, "{} rows", rows.len());
    for row in &rows {
        assert_eq!(row.len(), 4, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    for (key, default) in [
        ("`kafka.linger`", "`0s`"),
        ("`kafka.security.protocol`", "`ssl`"),
        ("`http.listen`", "`127.0.0.1:9464`"),
        ("`sources.NAME (opcua).login`", "`anonymous`"),
        ("`sources.NAME (opcua).login.password_file`", "—"),
        ("`sources.NAME (modbus).serial.parity`", "`even`"),
        ("`tables.NAME.values.NAME.category`", "—"),
        ("`tags.NAME (modbus).bits.NUMBER.code`", "**required**"),
    ] {
        let row = rows.iter().find(|row| row[0] == key);
        assert_eq!(row.map(|row| row[2]), Some(default), "{key}");
    }
    Ok(())
}

#[test]
fn the_notices_are_fresh() -> Result<()> {
    let output = Command::new(repository().join("tests/notices")).output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let kept = fs::read_to_string(repository().join("NOTICE"))?;
    assert!(
        kept == String::from_utf8(output.stdout)?,
        "NOTICE is stale: run `make generate`"
    );
    Ok(())
}

#[test]
fn each_work_in_the_notices_has_the_text_of_its_licence() -> Result<()> {
    let notices = fs::read_to_string(repository().join("NOTICE"))?;
    let bar = "=".repeat(30);
    let (works, texts) = notices
        .split_once(&format!("\n{bar} Text 1 {bar}\n"))
        .context("no texts")?;
    let (_, works) = works.split_once("each once.\n\n").context("no works")?;
    let mut used = BTreeSet::from([1]);
    let mut count = 0;
    for work in works.replace("\n  ", "\t").lines() {
        count += 1;
        let mut lines = work.split('\t');
        let title = lines.next().context("no title")?;
        let numbers = lines.find_map(|line| {
            line.strip_prefix("Text")?
                .trim_start_matches('s')
                .strip_prefix(' ')
        });
        let Some(numbers) = numbers else {
            assert!(
                title.starts_with("SQLite ") && work.contains("disclaim"),
                "{work}"
            );
            continue;
        };
        for number in numbers.split(", ") {
            let number: usize = number.parse().with_context(|| work.to_owned())?;
            assert!(
                number == 1 || texts.contains(&format!("\n{bar} Text {number} {bar}\n\n")),
                "{work}"
            );
            used.insert(number);
        }
    }
    assert!(count > 200, "{count} works");
    let headings = texts
        .lines()
        .filter(|line| line.starts_with(&format!("{bar} Text ")))
        .count()
        + 1;
    assert_eq!(
        used.into_iter().collect::<Vec<_>>(),
        (1..=headings).collect::<Vec<_>>()
    );
    let all = texts.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION",
        "The above copyright notice and this permission notice shall be included in all copies",
        "Redistributions in binary form must reproduce the above copyright notice",
        "This notice may not be removed or altered from any source distribution",
    ] {
        assert!(all.contains(said), "no text says {said:?}");
    }
    Ok(())
}

#[test]
fn make_writes_every_generated_file() -> Result<()> {
    let makefile = fs::read_to_string(repository().join("Makefile"))?;
    for (file, words) in GENERATED {
        let recipe = format!("floorgate {} >{file}\n", words.join(" "));
        assert!(makefile.contains(&recipe), "no recipe that ends with {recipe:?}");
    }
    Ok(())
}

#[test]
fn the_samples_are_right() -> Result<()> {
    let check = Command::new(binary("floorgate")?)
        .args(["check", "--config", "config/floorgate.yaml"])
        .current_dir(repository())
        .output()?;
    let said = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
    assert!(check.status.success(), "{said}");
    assert!(!said.contains("warning"), "a sample with warnings: {said}");
    Ok(())
}
