//! `floorgate check`, and the way in which a configuration is read everywhere.

use std::io::IsTerminal;
use std::path::Path;

use floorgate_config::{Loaded, load};
use floorgate_yaml::Problems;

use crate::exit::Refused;
use crate::kafka;
use crate::registry::ADAPTERS;

/// Checks a configuration and tells what it comes to.
pub fn check(path: &Path) -> anyhow::Result<()> {
    let loaded = read_with(path, Some(kafka::Eyes::Anyone))?;
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
    read_with(path, None)
}

/// Reads a configuration that this process is to run: what it names has to be there for this process.
pub fn read_to_run(path: &Path) -> anyhow::Result<Loaded> {
    read_with(path, Some(kafka::Eyes::Gateway))
}

fn read_with(path: &Path, eyes: Option<kafka::Eyes>) -> anyhow::Result<Loaded> {
    let (mut loaded, mut problems) = load(path, ADAPTERS);
    if let (Some(read), Some(eyes)) = (&loaded, eyes) {
        kafka::look(&read.settings.kafka.security, &read.base, eyes, &mut problems);
        if problems.has_errors() {
            loaded = None;
        }
    }
    print(&problems);
    loaded.ok_or_else(|| Refused.into())
}

fn print(problems: &Problems) {
    if !problems.list().is_empty() {
        eprint!("{}", problems.render(std::io::stderr().is_terminal()));
    }
}
