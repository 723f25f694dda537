//! Where the built programs and the installed peers are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of the running program's build profile, `target/debug` for one.
fn profile() -> Result<PathBuf> {
    let program = std::env::current_exe().context("the own program")?;
    let folder = program.parent().context("the own program is in no folder")?;
    // A test is target/<profile>/deps/<name>-<hash>, a program is target/<profile>/<name>.
    let profile = if folder.ends_with("deps") {
        folder.parent()
    } else {
        Some(folder)
    };
    Ok(profile
        .context("the own program is not in a target folder")?
        .to_owned())
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

/// A built example of this package.
pub fn example(name: &str) -> Result<PathBuf> {
    let path = profile()?.join("examples").join(name);
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
