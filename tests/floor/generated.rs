//! Files that the program generates, `make generate` writes, and nobody edits.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{binary, repository};

/// Each file and the words that generate it.
const GENERATED: [(&str, &[&str]); 3] = [
    ("config/REFERENCE.md", &["reference"]),
    ("config/floorgate.schema.json", &["schema", "config"]),
    ("mappings/mapping.schema.json", &["schema", "mapping"]),
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
