//! `floorgate check`, and the way in which a configuration is read everywhere.

use std::io::IsTerminal;
use std::path::Path;

use floorgate_config::{Loaded, load};

use crate::exit::Refused;
use crate::registry::ADAPTERS;

/// Checks a configuration and tells what it comes to.
pub fn check(path: &Path) -> anyhow::Result<()> {
    let loaded = read(path)?;
    println!(
        "{}: {} sources, {} tags, {} rules, no errors",
        path.display(),
        loaded.plan.sources.len(),
        loaded.plan.tags.len(),
        loaded.plan.rules.len()
    );
    Ok(())
}

/// Reads a configuration; what is wrong with it is printed.
pub fn read(path: &Path) -> anyhow::Result<Loaded> {
    let (loaded, problems) = load(path, ADAPTERS);
    if !problems.list().is_empty() {
        eprint!("{}", problems.render(std::io::stderr().is_terminal()));
    }
    loaded.ok_or_else(|| Refused.into())
}
