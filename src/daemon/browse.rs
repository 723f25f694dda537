//! `floorgate browse`: what an OPC UA server has, as a first mapping.

mod target;
mod tell;

use std::convert::Infallible;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use floorgate_workbench::draft::{self, DraftOptions, Mapping};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::draft_file::make_folder;
use crate::exit;
use crate::printing::print;
use crate::registry::browse::{BrowseError, BrowseOptions, Browsed, Browser, Progress};

pub use target::TargetArgs;

/// Examples and exit codes, for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  floorgate browse opc.tcp://192.168.10.20:4840 --output mappings/plc.yaml
  floorgate browse --source filler-plc --equipment acme/busan/filling --output mappings/filler.yaml
  floorgate browse opc.tcp://plc1:4840 --security-policy none --path Objects/Line1 --exclude '**/Diagnostics'
  floorgate browse opc.tcp://plc1:4840 --user floorgate --password-file plc1.password --json >plc1.json

Ctrl-C ends the look, and what was found by then is written.
Exit codes: 0 done, or ended by Ctrl-C with something found; 1 the server cannot be looked at, or the file is there
already; 2 wrong command line; 3 settings refused.";

/// How often the progress on a terminal changes.
const TICK: Duration = Duration::from_millis(100);

/// What is looked at, and where what was found goes.
#[derive(Debug, clap::Args)]
pub struct BrowseArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Begin here: names from Objects on, or a node such as `nsu=urn:plant;s=Line1`.
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Go so many names deep from there.
    #[arg(long, value_name = "NUMBER")]
    pub depth: Option<usize>,
    /// Only variables whose path is like this: `*` is any part of a name, `**` any names. May be given several times.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Leave out nodes whose path is like this, with all below them. May be given several times.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// End after so many nodes.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000)]
    pub most_nodes: usize,
    /// Write the mapping to this file; where there are several, the others beside it. Without it: to standard output.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write over files that are there.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Name of the source in the mapping.
    #[arg(long, value_name = "NAME")]
    pub source_name: Option<String>,
    /// Equipment that all of it belongs to, as `enterprise/site/area/line`.
    #[arg(long, value_name = "PATH", default_value = "enterprise/site/area", value_parser = equipment)]
    pub equipment: String,
    /// Print one JSON object with everything that was found.
    #[arg(long)]
    pub json: bool,
}

/// A path to which levels can be added.
fn equipment(path: &str) -> Result<String, String> {
    let levels: Vec<&str> = path.split('/').collect();
    let is_plain = |level: &&str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=64).contains(&level.len()) && level.bytes().all(is_letter)
    };
    if (3..=7).contains(&levels.len()) && levels.iter().all(is_plain) {
        return Ok(path.to_owned());
    }
    Err(
        "write 3 to 7 levels, each of letters, digits, `-`, `_` and `.`, such as acme/busan/filling"
            .to_owned(),
    )
}

/// Looks at a server and writes what was found.
pub fn browse(arguments: &BrowseArgs) -> anyhow::Result<()> {
    // A look may take minutes: what cannot be written is told before it.
    if let Some(path) = &arguments.output {
        if path.exists() && !arguments.force {
            bail!(
                "{} is there already: name another file, or say --force",
                path.display()
            );
        }
        make_folder(path)?;
    }
    let mut target = target::find(&arguments.target)?;
    let options = BrowseOptions {
        path: arguments.path.clone(),
        depth: arguments.depth,
        include: arguments.include.clone(),
        exclude: arguments.exclude.clone(),
        most_nodes: arguments.most_nodes,
        trust_once: arguments.target.trust.clone(),
    };
    let look = target.browser(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let browsed = runtime.block_on(watched(&look));
    runtime.shutdown_background();
    let browsed = browsed.map_err(|error| target::with_way_out(&error, &target))?;
    let source = arguments
        .source_name
        .as_ref()
        .or(arguments.target.source.as_ref());
    let source = source.map_or("plc", String::as_str);
    let stem = arguments.output.as_deref().and_then(Path::file_stem);
    let name = stem.map_or(source.into(), |stem| stem.to_string_lossy());
    let partial = if browsed.survey.is_partial {
        ", in part"
    } else {
        ""
    };
    let mappings = draft::mappings(
        &browsed.survey,
        &DraftOptions {
            name: name.into_owned(),
            source: source.to_owned(),
            adapter: "opcua",
            equipment: arguments.equipment.clone(),
            schema: "mapping.schema.json".to_owned(),
            origin: format!("what `floorgate browse` found at {}{partial}", target.endpoint),
        },
    );
    let files = match &arguments.output {
        Some(path) => save(path, &mappings, arguments.force)?,
        None => Vec::new(),
    };
    if arguments.json {
        tell::json(&browsed, &mappings, &files)?;
    } else if arguments.output.is_none() {
        print(&draft::stream(&mappings))?;
    }
    tell::summary(&browsed, &mappings, &files);
    Ok(())
}

/// Looks at the server; shows on a terminal how far it is, and ends at Ctrl-C. A second one ends the process.
async fn watched(look: &Browser) -> Result<Browsed, BrowseError> {
    let stop = CancellationToken::new();
    let progress = Progress::default();
    let bar = bar();
    let interrupts = async {
        // Where signals cannot be had, the look runs to its end.
        while tokio::signal::ctrl_c().await.is_ok() {
            if stop.is_cancelled() {
                exit::leave(exit::UNEXPECTED);
            }
            stop.cancel();
            bar.println("ending; what was found is written");
        }
        std::future::pending::<Infallible>().await
    };
    let browsed = tokio::select! {
        browsed = look.browse(&stop, &progress) => browsed,
        never = interrupts => match never {},
        never = tick(&progress, &bar) => match never {},
    };
    bar.finish_and_clear();
    browsed
}

async fn tick(progress: &Progress, bar: &ProgressBar) -> Infallible {
    loop {
        tokio::time::sleep(TICK).await;
        bar.set_length(progress.seen().max(1) as u64);
        bar.set_position(progress.done() as u64);
    }
}

/// A bar on a terminal, and nothing elsewhere.
fn bar() -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(1), target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {pos} of {len} nodes seen, {elapsed}")
    {
        bar.set_style(style);
    }
    bar
}

/// Writes the mappings: the first to the file that was named, the others beside it under their names.
fn save(path: &Path, mappings: &[Mapping], force: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::with_capacity(mappings.len());
    for mapping in mappings {
        let wanted = if files.is_empty() {
            path.to_path_buf()
        } else {
            path.with_file_name(format!("{}.yaml", mapping.name))
        };
        let file = write(&wanted, &files, &mapping.text, force)?;
        files.push(file);
    }
    Ok(files)
}

/// Writes a file; where it is there and may not be written over, one with a number.
fn write(wanted: &Path, written: &[PathBuf], text: &str, force: bool) -> anyhow::Result<PathBuf> {
    let mut path = wanted.to_path_buf();
    let mut number = 1;
    loop {
        let opened = if force && !written.contains(&path) {
            File::create(&path)
        } else {
            File::create_new(&path)
        };
        match opened {
            Ok(mut file) => {
                file.write_all(text.as_bytes())
                    .with_context(|| format!("cannot write {}", path.display()))?;
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                number += 1;
                let stem = wanted.file_stem().unwrap_or_default().to_string_lossy();
                path = wanted.with_file_name(format!("{stem}-{number}.yaml"));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot write {}", path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_there_stay() {
        let folder = std::env::temp_dir().join(format!("floorgate-browse-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mapping = |name: &str| Mapping {
            name: name.to_owned(),
            text: format!("# {name}\n"),
            instances: 0,
            tags: 0,
            events: 0,
            standard: 0,
        };
        std::fs::write(folder.join("plc-line.yaml"), "mine").unwrap();
        let all = [mapping("plc"), mapping("plc-line")];
        let files = save(&folder.join("plc.yaml"), &all, false).unwrap();
        assert_eq!(files, [folder.join("plc.yaml"), folder.join("plc-line-2.yaml")]);
        assert_eq!(
            std::fs::read_to_string(folder.join("plc-line.yaml")).unwrap(),
            "mine"
        );
        let files = save(&folder.join("plc.yaml"), &all, true).unwrap();
        assert_eq!(files, [folder.join("plc.yaml"), folder.join("plc-line.yaml")]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn equipment_has_room_for_a_level() {
        assert!(equipment("acme/busan/filling").is_ok());
        for wrong in ["acme/busan", "a/b/c/d/e/f/g/h", "a//c", "a/b/ö"] {
            assert!(equipment(wrong).is_err(), "{wrong}");
        }
    }
}
