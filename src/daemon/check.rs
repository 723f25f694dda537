//! `floorgate check`, and the way in which a configuration is read everywhere.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use floorgate_adapter_api::NamedFile;
use floorgate_config::{Loaded, Place, load, load_with, place};
use floorgate_yaml::{Problems, Severity};
use tracing::{error, warn};

use crate::exit::Refused;
use crate::kafka;
use crate::logging::Audience;
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
    let loaded = read_with(path, Some(Eyes::Anyone), Audience::People)?;
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
    read_with(path, None, Audience::People)
}

/// Reads a configuration with these mapping files in place of those that it names, where any are given.
pub fn read_with_mappings(path: &Path, mappings: &[PathBuf]) -> anyhow::Result<Loaded> {
    if mappings.is_empty() {
        return read(path);
    }
    let paths = mappings.iter().map(|mapping| {
        let mapping = std::path::absolute(mapping)?;
        Ok(mapping.to_string_lossy().into_owned())
    });
    let paths: Vec<String> = paths
        .collect::<std::io::Result<_>>()
        .context("no current folder")?;
    // As the environment may say it, too.
    let mut variables = floorgate_config::variables();
    variables.insert("FLOORGATE_MAPPINGS".to_owned(), serde_json::to_string(&paths)?);
    let (loaded, problems) = load_with(path, ADAPTERS, variables);
    tell(&problems, Audience::People);
    loaded.ok_or_else(|| Refused.into())
}

/// Reads where the gateway is at home, and one of its sources; what is wrong with that is printed. The rest may be missing or wrong.
pub fn read_place(path: &Path, source: Option<&str>) -> anyhow::Result<Place> {
    let mut problems = Problems::default();
    let place = place(path, source, &mut problems);
    match place.filter(|_| !problems.has_errors()) {
        Some(place) => Ok(place),
        None => refuse(&problems),
    }
}

/// Prints what is wrong with settings and refuses them.
pub fn refuse<T>(problems: &Problems) -> anyhow::Result<T> {
    tell(problems, Audience::People);
    Err(Refused.into())
}

/// Reads a configuration that this process is to run: what it names has to be there for this process.
pub fn read_to_run(path: &Path, audience: Audience) -> anyhow::Result<Loaded> {
    read_with(path, Some(Eyes::Gateway), audience)
}

fn read_with(path: &Path, eyes: Option<Eyes>, audience: Audience) -> anyhow::Result<Loaded> {
    let (mut loaded, mut problems) = load(path, ADAPTERS);
    if let (Some(read), Some(eyes)) = (&loaded, eyes) {
        look(read, eyes, &mut problems);
        if problems.has_errors() {
            loaded = None;
        }
    }
    tell(&problems, audience);
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

fn tell(problems: &Problems, audience: Audience) {
    if problems.is_empty() {
        return;
    }
    if audience == Audience::People {
        eprint!("{}", problems.render(std::io::stderr().is_terminal()));
        return;
    }
    for problem in problems.by_place() {
        let file = problem.span.and_then(|span| problems.file(span.file));
        let file = file.map(|(path, _)| path.display().to_string());
        let place = problem.span.filter(|span| span.line > 0);
        let (line, column) = (place.map(|place| place.line), place.map(|place| place.column));
        let (hint, message) = (problem.hint.as_deref(), problem.message.as_str());
        match problem.severity {
            Severity::Error => error!(file, line, column, hint, "{message}"),
            Severity::Warning => warn!(file, line, column, hint, "{message}"),
        }
    }
}
