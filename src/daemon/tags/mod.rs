//! `floorgate tags`: what the gateway that runs knows of its tags, once or as it changes.

mod board;
mod screen;

pub use board::json;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use floorgate_sample::Timestamp;
use floorgate_workbench::recording::{Entry, Recording};
use globset::Glob;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::check;
use crate::cli::ConfigArgs;
use crate::control::{self, Client, Request};
use crate::plain::plain;
use crate::printing::goes_on;
use crate::registry;
use crate::standing::{BadRow, LastGoodRow, LateRow, RevisedRow};
use crate::table::write_table;
use crate::wanted::Wanted;
use board::{Board, Row};

/// Which tags are shown, and how.
#[derive(Debug, Args)]
pub struct TagsOptions {
    /// Only tags whose names match one of these, such as `filling-line/2/*`; `*` stands for any text.
    #[arg(value_name = "GLOB")]
    names: Vec<Glob>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Go on as values come: a view of the whole terminal, or a line for each value where the output is no terminal.
    #[arg(short, long)]
    watch: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Asks the gateway for what its copies do not tell: now and then which tags are late, and once what was known of those that are unknown.
struct Asker {
    socket: PathBuf,
    asked: Option<Instant>,
}

impl Asker {
    /// How often.
    const EVERY: Duration = Duration::from_secs(1);

    /// Tells the board, where it is time. Returns where those stand of which it is another than before.
    fn tell(&mut self, board: &mut Board) -> anyhow::Result<Vec<usize>> {
        if self.asked.is_some_and(|asked| asked.elapsed() < Self::EVERY) {
            return Ok(Vec::new());
        }
        let mut gateway = Client::Gateway(self.socket.clone());
        if self.asked.is_none() {
            board.take_last_good(told(&mut gateway, &Request::LastGood, |row: LastGoodRow| {
                (row.tag.clone(), row)
            })?);
            board.take_bad(told(&mut gateway, &Request::BadTags, |row: BadRow| {
                (row.tag.clone(), row)
            })?);
        }
        let by_source = |row: RevisedRow| (row.source.clone(), row);
        board.take_settings(&told(&mut gateway, &Request::RevisedTags, by_source)?);
        let late = told(&mut gateway, &Request::LateTags, |row: LateRow| {
            (row.tag, row.since)
        })?;
        self.asked = Some(Instant::now());
        Ok(board.take_late(late))
    }
}

/// What the gateway answers, by name.
fn told<Row: DeserializeOwned, Told>(
    gateway: &mut Client,
    request: &Request,
    named: impl Fn(Row) -> (String, Told),
) -> anyhow::Result<HashMap<String, Told>> {
    let mut all = HashMap::new();
    control::ask(gateway, request, |row| {
        all.extend([named(serde_json::from_value(row)?)]);
        Ok(true)
    })?;
    Ok(all)
}

/// Shows tags.
pub fn tags(options: &TagsOptions) -> anyhow::Result<()> {
    let loaded = check::read(&options.config.config)?;
    let socket = control::socket(&loaded.state_dir());
    let adapters = loaded.sources.iter().filter_map(|source| {
        let adapter = registry::adapter(source.adapter)?;
        Some((Arc::clone(&source.name), adapter))
    });
    let mut board = Board::new(Wanted::of(&options.names)?, adapters.collect());
    let mut stream = control::connect(&socket)?.with_context(|| {
        format!(
            "no gateway runs at {}; start it, or record its sources with `floorgate record`",
            loaded.state_dir().display()
        )
    })?;
    control::begin_stream(&mut stream, &socket, &Request::Watch)?;
    let mut asker = Asker { socket, asked: None };
    let is_full_screen = options.watch && !options.json && io::stdout().is_terminal();
    if is_full_screen {
        return screen::show(&stream, board, asker);
    }
    let mut recording = Recording::open(stream.try_clone()?).context("the gateway sent no tags")?;
    let mut out = io::stdout().lock();
    let mut has_begun = false;
    while let Some(entries) = recording.next_block()? {
        for entry in entries {
            has_begun |= matches!(entry, Entry::Begin { .. });
            let fresh = board.take(entry);
            if options.watch && has_begun {
                let written = print_lines(&mut out, &board, &fresh, options.json);
                if !goes_on(written)? {
                    return Ok(());
                }
            }
        }
        if has_begun {
            let changed = asker.tell(&mut board)?;
            if options.watch && !goes_on(print_lines(&mut out, &board, &changed, options.json))? {
                return Ok(());
            }
        }
        if has_begun && !options.watch {
            let _ = stream.shutdown(Shutdown::Both);
            return print(&mut out, &board, options.json);
        }
    }
    anyhow::bail!("the gateway has stopped")
}

/// Those that were given, a line each.
fn print_lines(out: &mut dyn Write, board: &Board, fresh: &[usize], json: bool) -> io::Result<()> {
    for row in fresh.iter().filter_map(|place| board.row(*place)) {
        if json {
            writeln!(out, "{}", object(row))?;
        } else {
            let time = row.at.map_or_else(String::new, |time| time.to_string());
            let late = row.late_since.as_ref();
            let late = late.map_or_else(String::new, |since| format!("  late since {since}"));
            let (key, value, quality) = (plain(&row.key), row.value(), row.quality());
            let reason = row.words();
            let reason = reason.map_or_else(String::new, |reason| format!("  {reason}"));
            writeln!(out, "{time}  {key}  {value}  {quality}{late}{reason}")?;
        }
    }
    out.flush()
}

/// All of them, as a table.
fn print(out: &mut dyn Write, board: &Board, json: bool) -> anyhow::Result<()> {
    let rows = board.rows();
    if json {
        let written = rows.iter().try_for_each(|row| writeln!(out, "{}", object(row)));
        return goes_on(written).map(drop).map_err(Into::into);
    }
    let mut table =
        vec![["TAG", "SOURCE", "VALUE", "QUALITY", "CHANGED", "RULES", "REASON"].map(str::to_owned)];
    let now = Timestamp::now();
    for row in &rows {
        table.push([
            row.key.to_string(),
            row.source.to_string(),
            row.value(),
            row.quality().to_owned(),
            row.age(now),
            row.rules.join(", "),
            row.remarks(),
        ]);
    }
    let written = write_table(out, &table).and_then(|()| {
        let unknown = rows.iter().filter(|row| row.sample.is_none()).count();
        writeln!(
            out,
            "\n{} tags, {unknown} of which nothing was ever received",
            rows.len()
        )
    });
    goes_on(written).map(drop).map_err(Into::into)
}

fn object(row: &Row) -> serde_json::Value {
    let sample = row.sample.as_ref();
    let reason = row.reason();
    json!({
        "tag": row.key,
        "source": row.source,
        "value": sample.and_then(|sample| sample.value.as_ref()).map(board::json),
        "quality": row.quality(),
        "reason": reason.as_ref().map(|reason| &*reason.told),
        "see": reason.as_ref().and_then(|reason| reason.see.as_deref()),
        "status": sample.map(|sample| sample.quality.to_string()),
        "at": row.at.map(|time| time.to_string()),
        "last_good": row.last_good().map(|(value, at)| json!({ "value": value, "at": at })),
        "late_since": row.late_since,
        "settings": row.settings,
        "rules": row.rules,
    })
}

/// Reads the gateway's copies on a thread of its own.
fn follow(
    stream: UnixStream,
    mut each: impl FnMut(Vec<Entry>) -> bool + Send + 'static,
) -> anyhow::Result<std::thread::JoinHandle<anyhow::Result<()>>> {
    let read = move || {
        let mut recording = Recording::open(stream).context("the gateway sent no tags")?;
        while let Some(entries) = recording.next_block()? {
            if !each(entries) {
                break;
            }
        }
        Ok(())
    };
    std::thread::Builder::new()
        .name("tags".to_owned())
        .spawn(read)
        .context("cannot start a thread")
}
