//! `floorgate check`, and the way in which a configuration is read everywhere.

use std::io::IsTerminal;
use std::path::Path;

use floorgate_adapter_api::NamedFile;
use floorgate_config::{Loaded, load};
use floorgate_yaml::Problems;

use crate::exit::Refused;
use crate::kafka;
use crate::registry::ADAPTERS;

/// Who looks at the files that the settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eyes {
    /// The gateway itself: what it cannot read, it cannot use.
    Gateway,
    /// Someone who may not be allowed to see what the gateway sees.
    Anyone,
}

/// Checks a configuration and tells what it comes to.
pub fn check(path: &Path) -> anyhow::Result<()> {
    let loaded = read_with(path, Some(Eyes::Anyone))?;
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
    read_with(path, Some(Eyes::Gateway))
}

fn read_with(path: &Path, eyes: Option<Eyes>) -> anyhow::Result<Loaded> {
    let (mut loaded, mut problems) = load(path, ADAPTERS);
    if let (Some(read), Some(eyes)) = (&loaded, eyes) {
        look(read, eyes, &mut problems);
        if problems.has_errors() {
            loaded = None;
        }
    }
    print(&problems);
    loaded.ok_or_else(|| Refused.into())
}

/// Reports files of certificates and secrets that cannot be read. Their content is not looked at.
fn look(loaded: &Loaded, eyes: Eyes, problems: &mut Problems) {
    let of_kafka = kafka::files(&loaded.settings.kafka.security, &loaded.base);
    let of_sources = loaded.sources.iter().flat_map(|source| source.source.files());
    for NamedFile { setting, at, path } in of_kafka.chain(of_sources) {
        let (problem, is_sure) = match path {
            Err(missing) => (missing.to_string(), false),
            Ok(path) => match std::fs::File::open(&path) {
                Ok(_) => continue,
                Err(error) => (
                    format!("{} cannot be read: {error}", path.display()),
                    error.kind() == std::io::ErrorKind::NotFound,
                ),
            },
        };
        let message = format!("`{setting}`: {problem}");
        if is_sure || eyes == Eyes::Gateway {
            problems
                .error(at, message)
                .hint("the user that the gateway runs as must be able to read it; `credential:NAME` wants a `LoadCredential=NAME:…` in the unit");
        } else {
            problems.warning(at, message).hint(
                "the gateway must be able to read it; check again as the user that it runs as to be sure",
            );
        }
    }
}

fn print(problems: &Problems) {
    if !problems.list().is_empty() {
        eprint!("{}", problems.render(std::io::stderr().is_terminal()));
    }
}
