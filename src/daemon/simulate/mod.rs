//! `floorgate simulate`: what a mapping would have made of a recording.

mod comparison;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Context as _;
use clap::Args;
use floorgate_config::Loaded;
use floorgate_core::Event;
use floorgate_publisher::stored_headers;
use floorgate_workbench::recording::Recording;
use floorgate_workbench::simulation::{Report, simulate as play};

use crate::check;
use crate::cli::ConfigArgs;
use crate::engine::stored_event;
use crate::event_line::line;
use crate::printing::goes_on;
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
    let mut out = BufWriter::new(io::stdout());
    let printed = if options.against.is_empty() {
        print(options, &loaded, &mut out)
    } else {
        let other = check::read_with_mappings(&options.config.config, &options.against)?;
        compare(options, (&loaded, &other), &mut out)
    };
    printed?;
    goes_on(out.flush()).map(drop).context("cannot print")
}

/// Events that are printed together.
const TOGETHER: usize = 512;
/// How many of these wait to be printed.
const AHEAD: usize = 8;

fn print(options: &SimulateOptions, loaded: &Loaded, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let (sender, receiver) = sync_channel::<Vec<Event>>(AHEAD);
    let json = options.json;
    thread::scope(|scope| {
        // Printing takes as long as evaluating.
        let printing = scope.spawn(move || {
            let mut text = String::new();
            for events in receiver {
                for event in events {
                    if json {
                        row(&mut text, event);
                    } else {
                        line(
                            &mut text,
                            &event.time.to_string(),
                            &event.name,
                            &event.subject,
                            &event.value,
                        );
                    }
                    text.push('\n');
                }
                out.write_all(text.as_bytes())?;
                text.clear();
            }
            Ok(())
        });
        let mut count = 0_u64;
        let mut events = Vec::with_capacity(TOGETHER);
        let report = play_file(&options.recording, loaded, |event| {
            if !options.wants(&event) {
                return true;
            }
            count += 1;
            events.push(event);
            // Nobody reads what is printed any more.
            events.len() < TOGETHER || sender.send(std::mem::take(&mut events)).is_ok()
        });
        let _ = sender.send(events);
        drop(sender);
        let printed = match printing.join() {
            Ok(printed) => printed,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        goes_on(printed)?;
        tell(&report?, &format!("{count} events"));
        Ok(())
    })
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
    goes_on(comparison.print(out, options.json))?;
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

/// Appends an event as `outbox export` prints it, without what only an outbox can say.
fn row(text: &mut String, event: Event) {
    let time = event.time.to_string();
    let event = stored_event(event);
    let recorded = event.recorded.to_string();
    let fields: [(&str, &str); 7] = [
        ("time", &time),
        ("recorded", &recorded),
        ("topic", &event.topic),
        ("id", &event.id),
        ("type", &event.kind),
        ("subject", &event.subject),
        ("key", &event.key),
    ];
    text.push('{');
    for (name, value) in fields {
        quote(text, name);
        text.push(':');
        quote(text, value);
        text.push(',');
    }
    text.push_str("\"headers\":{");
    for (number, (name, value)) in stored_headers(&event).unwrap_or_default().into_iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        quote(text, &name);
        text.push(':');
        quote(text, &value);
    }
    text.push_str("},\"value\":");
    match std::str::from_utf8(&event.value) {
        // Rules write JSON and nothing else.
        Ok(json) => text.push_str(json),
        Err(_) => text.push_str("null"),
    }
    text.push('}');
}

/// Appends a text as JSON has it.
fn quote(text: &mut String, value: &str) {
    text.push_str(&serde_json::to_string(value).unwrap_or_default());
}
