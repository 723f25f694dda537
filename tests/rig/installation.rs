//! Where the built programs and the installed peers are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of the running test's build profile, `target/debug` for one.
fn profile() -> Result<PathBuf> {
    let program = std::env::current_exe().context("the test's own program")?;
    // A test is target/<profile>/deps/<name>-<hash>, the benchmark target/<profile>/bench.
    let folder = program
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"));
    Ok(folder.context("the test is not in a target folder")?.to_owned())
}

/// Cargo's target folder.
pub fn target() -> Result<PathBuf> {
    let profile = profile()?;
    Ok(profile
        .parent()
        .context("the test is not in a target folder")?
        .to_owned())
}

/// A program of the workspace, built with the test's own profile.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = profile()?.join(name);
    ensure!(
        path.is_file(),
        "{} is not built: run `make build`",
        path.display()
    );
    Ok(path)
}

/// The interpreter of the test's virtual environment.
pub(crate) fn python() -> Result<PathBuf> {
    let path = target()?.join("test/venv/bin/python");
    ensure!(path.is_file(), "{} is missing: run `make setup`", path.display());
    Ok(path)
}

/// The folder of Kafka's jars.
pub(crate) fn kafka_jars() -> Result<PathBuf> {
    let path = target()?.join("test/kafka");
    ensure!(path.is_dir(), "{} is missing: run `make setup`", path.display());
    Ok(path)
}
