//! `floorgate simulate`: what a mapping would have made of a recording.

mod comparison;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use floorgate_config::Loaded;
use floorgate_core::Event;
use floorgate_workbench::recording::Recording;
use floorgate_workbench::simulation::{Report, simulate as play};
use serde_json::{Map, Value, json};

use crate::check;
use crate::cli::ConfigArgs;
use crate::control::{headers, value};
use crate::engine::stored_event;
use crate::event_line::line;
use comparison::Comparison;

/// What is simulated.
#[derive(Debug, Args)]
pub struct SimulateOptions {
    /// The recording, as `floorgate record` wrote it.
    recording: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Use these mapping files in place of those that the configuration names.
    #[arg(long, short, value_name = "FILE", num_args = 1..)]
    mapping: Vec<PathBuf>,
    /// Show the difference to what these mapping files would have made of it, event by event.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    against: Vec<PathBuf>,
    /// Only events of this type, such as `WorkOrderStatusChanged`.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only events about this.
    #[arg(long)]
    subject: Option<String>,
    /// Print one JSON object a line, with headers and value as they would be in Kafka.
    #[arg(long)]
    json: bool,
}

impl SimulateOptions {
    fn wants(&self, event: &Event) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == &*event.name)
            && self
                .subject
                .as_deref()
                .is_none_or(|subject| subject == &*event.subject)
    }
}

/// Plays a recording, and prints what comes of it.
pub fn simulate(options: &SimulateOptions) -> anyhow::Result<()> {
    let loaded = check::read_with_mappings(&options.config.config, &options.mapping)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if options.against.is_empty() {
        print(options, &loaded, &mut out)
    } else {
        let other = check::read_with_mappings(&options.config.config, &options.against)?;
        compare(options, (&loaded, &other), &mut out)
    };
    printed?;
    out.flush().or_else(closed).context("cannot print")
}

/// A reader that has seen enough closes the pipe; that is no error.
fn closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Ok(())
    } else {
        Err(error)
    }
}

fn print(options: &SimulateOptions, loaded: &Loaded, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut failed = Ok(());
    let mut count = 0_u64;
    let report = play_file(&options.recording, loaded, |event| {
        if !options.wants(&event) {
            return true;
        }
        count += 1;
        let written = if options.json {
            writeln!(out, "{}", row(event))
        } else {
            writeln!(out, "{}", shown(&event))
        };
        let goes_on = written.is_ok();
        failed = written;
        goes_on
    })?;
    failed.or_else(closed)?;
    tell(&report, &format!("{count} events"));
    Ok(())
}

fn compare(
    options: &SimulateOptions,
    (one, other): (&Loaded, &Loaded),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut comparison = Comparison::default();
    play_file(&options.recording, one, |event| {
        if options.wants(&event) {
            comparison.add_ours(&event);
        }
        true
    })?;
    let report = play_file(&options.recording, other, |event| {
        if options.wants(&event) {
            comparison.add_theirs(&event);
        }
        true
    })?;
    comparison.print(out, options.json).or_else(closed)?;
    tell(&report, &comparison.summary());
    Ok(())
}

fn play_file(path: &Path, loaded: &Loaded, each: impl FnMut(Event) -> bool) -> anyhow::Result<Report> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut recording = Recording::open(BufReader::new(file)).with_context(|| path.display().to_string())?;
    play(&mut recording, &loaded.plan, each).with_context(|| path.display().to_string())
}

/// What is to be known beside the events; it is no part of them.
fn tell(report: &Report, result: &str) {
    let mut texts = Vec::new();
    if let Some((begin, end)) = report.span {
        let seconds = end.wall.since(begin.wall).as_secs_f64();
        texts.push(format!(
            "{} samples in {seconds:.1} s from {}: {result}",
            report.samples, begin.wall
        ));
    }
    if report.left_out > 0 {
        let left_out = report.left_out;
        texts.push(format!("{left_out} samples were not recorded, since they came faster than they were taken; what follows says `gap`"));
    }
    if report.is_cut {
        texts.push("the recording ends in the middle of a block: it is whole up to there".to_owned());
    }
    if let Some(first) = report.unknown_tags.first() {
        texts.push(format!(
            "{} tags are not in the recording, such as {first}: nothing is known of them",
            report.unknown_tags.len()
        ));
    }
    if report.made_up_answers > 0 {
        let made_up = report.made_up_answers;
        texts.push(format!(
            "{made_up} snapshots were not recorded: they have what was last known of their tags"
        ));
    }
    for (rule, reason) in &report.first_failures {
        texts.push(format!("rule {rule} failed: {reason}"));
    }
    let more = report.failures - report.first_failures.len() as u64;
    if more > 0 {
        texts.push(format!("and {more} more failures"));
    }
    for text in texts {
        eprintln!("{text}");
    }
}

/// An event as a line for people.
fn shown(event: &Event) -> String {
    line(
        &event.time.to_string(),
        &event.name,
        &event.subject,
        &value(&event.value),
    )
}

/// An event as `outbox export` prints it, without what only an outbox can say.
fn row(event: Event) -> Value {
    let time = event.time.to_string();
    let event = stored_event(event);
    let mut row = Map::new();
    for (name, value) in [
        ("time", json!(time)),
        ("recorded", json!(event.recorded.to_string())),
        ("topic", json!(event.topic)),
        ("id", json!(event.id)),
        ("type", json!(event.kind)),
        ("subject", json!(event.subject)),
        ("key", json!(event.key)),
        ("headers", Value::Object(headers(&event))),
        ("value", value(&event.value)),
    ] {
        row.insert(name.to_owned(), value);
    }
    Value::Object(row)
}
