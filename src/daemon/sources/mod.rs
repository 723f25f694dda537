//! `floorgate sources`: how sources stand, once or as it changes.

mod screen;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use floorgate_adapter_api::Finding;
use floorgate_metrics::HEALTHY_SERVICE_LEVEL;
use floorgate_sample::Timestamp;
use globset::Glob;

use crate::check;
use crate::cli::ConfigArgs;
use crate::control::{self, Client, Request};
use crate::figures::{bytes, millis, read_time, span};
use crate::plain::plain;
use crate::printing::goes_on;
use crate::registry;
use crate::runbook::hinted;
use crate::standing::{AttemptRow, ServerRow, SettingRow, SourceRow, StationRow};
use crate::table::write_table;
use crate::wanted::Wanted;

pub const EXAMPLES: &str = "\
Examples:
  floorgate sources
  floorgate sources 'line2-*' --watch
  floorgate sources --json | jq 'select(.state != \"online\")'

Rates and round trips are those of the last 10 seconds. P50 and P99 say what half and 99 of a hundred requests took at most, \
as well as the buckets of floorgate_source_request_seconds tell it; of an OPC UA source these are the gateway's own looks at \
the server (`keep_alive`), since an answer with values waits for values. IN and OUT are bytes on the source's connections. \
`-` is what is not known. Below a source with several units on its line are those that are not online, with their own \
reasons. REASON says of a source that is online what its server says of itself where it is not well, what is slower \
or smaller than the source's settings say, whether tags are refused and when they are tried again, and why changes may have been missed last. \
`(see NAME)` after one of these: `floorgate runbook NAME` says what to do. What is late is said by `late_after` in the settings and in mappings.";

/// How often it is asked when it is watched.
const EVERY: Duration = Duration::from_secs(1);

/// Which sources are shown, and how.
#[derive(Debug, Args)]
pub struct SourcesOptions {
    /// Only sources whose names match one of these, such as `line2-*`; `*` stands for any text.
    #[arg(value_name = "GLOB")]
    names: Vec<Glob>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Go on: a view of the whole terminal each second, or a line for each change where the output is no terminal.
    #[arg(short, long)]
    watch: bool,
    /// Print one JSON object a source and line, with totals, and settings as they were asked for and revised.
    #[arg(long)]
    json: bool,
}

/// Asks the gateway that runs.
struct Asker {
    socket: PathBuf,
    wanted: Wanted,
}

impl Asker {
    fn rows(&self) -> anyhow::Result<Vec<SourceRow>> {
        let mut rows = Vec::new();
        let mut gateway = Client::Gateway(self.socket.clone());
        control::ask(&mut gateway, &Request::Sources, |row| {
            let row: SourceRow =
                serde_json::from_value(row).context("the gateway may be of another version")?;
            if self.wanted.has(&row.source) {
                rows.push(row);
            }
            Ok(true)
        })?;
        Ok(rows)
    }
}

/// Shows sources.
pub fn sources(options: &SourcesOptions) -> anyhow::Result<()> {
    let state = check::read(&options.config.config)?.state_dir();
    let socket = control::socket(&state);
    control::connect(&socket)?.with_context(|| {
        format!(
            "no gateway runs at {}; start it with `floorgate run`, or `systemctl start floorgate`",
            state.display()
        )
    })?;
    let asker = Asker {
        socket,
        wanted: Wanted::of(&options.names)?,
    };
    let mut out = io::stdout();
    if !options.watch {
        let rows = asker.rows()?;
        let written = if options.json {
            rows.iter().try_for_each(|row| write_json(&mut out, row))
        } else {
            write_rows(&mut out, &rows)
        };
        return goes_on(written).map(drop).map_err(Into::into);
    }
    if !options.json && out.is_terminal() {
        return screen::show(&asker);
    }
    follow(&asker, &mut out, options.json)
}

/// A line for each source whose standing is another than it was.
fn follow(asker: &Asker, out: &mut dyn Write, json: bool) -> anyhow::Result<()> {
    let mut known: HashMap<String, serde_json::Value> = HashMap::new();
    loop {
        for row in asker.rows().context("the gateway has stopped")? {
            let now = what_counts(&row);
            if known.insert(row.source.clone(), now.clone()) == Some(now) {
                continue;
            }
            let written = if json {
                write_json(out, &row)
            } else {
                let name = plain(&row.source);
                let now = Timestamp::now();
                let written = writeln!(out, "{now}  {name}  {}  {}", row.state, words(&row, now));
                stations_away(&row).fold(written, |written, station| {
                    let told = station_told(station, now);
                    let (station, state) = (plain(&station.station), &station.state);
                    written.and_then(|()| writeln!(out, "{now}  {name}  {station}  {state}  {told}"))
                })
            };
            if !goes_on(written.and_then(|()| out.flush()))? {
                return Ok(());
            }
        }
        std::thread::sleep(EVERY);
    }
}

/// What is told when it changes: not what flows on.
fn what_counts(row: &SourceRow) -> serde_json::Value {
    serde_json::json!([
        row.state,
        row.since,
        row.reason,
        row.failed_tags,
        row.late_tags,
        row.late,
        row.last_gap,
        row.total.restarts,
        stations_away(row)
            .map(|station| (&station.station, &station.state))
            .collect::<Vec<_>>(),
    ])
}

fn write_json(out: &mut dyn Write, row: &SourceRow) -> io::Result<()> {
    writeln!(out, "{}", serde_json::to_string(row)?)
}

const HEAD: [&str; 13] = [
    "SOURCE",
    "ADAPTER",
    "STATE",
    "SINCE",
    "TAGS",
    "SAMPLES/S",
    "REQUESTS/S",
    "IN/S",
    "OUT/S",
    "P50",
    "P99",
    "GAPS",
    "REASON",
];

/// All of them, as a table.
fn write_rows(out: &mut dyn Write, rows: &[SourceRow]) -> io::Result<()> {
    let mut table = vec![HEAD.map(str::to_owned)];
    let now = Timestamp::now();
    table.extend(rows.iter().flat_map(|row| lines(row, now)));
    write_table(out, &table)?;
    writeln!(out, "\n{}", summary(rows))
}

/// How many there are, and how many are not online.
fn summary(rows: &[SourceRow]) -> String {
    let not_online = rows.iter().filter(|row| row.state != "online").count();
    let late: i64 = rows.iter().map(|row| row.late_tags).sum();
    let late = match late {
        0 => String::new(),
        1 => ", 1 tag late".to_owned(),
        _ => format!(", {late} tags late"),
    };
    format!("{} sources, {not_online} not online{late}", rows.len())
}

/// A source, and below it those of its parts that are not as they should be, where it has several.
fn lines(row: &SourceRow, now: Timestamp) -> Vec<[String; 13]> {
    let away = stations_away(row).map(|station| station_cells(station, now));
    [cells(row, now)].into_iter().chain(away).collect()
}

fn stations_away(row: &SourceRow) -> impl Iterator<Item = &StationRow> {
    let has_several = row.stations.len() > 1;
    let away = row.stations.iter().filter(|station| station.state != "online");
    away.filter(move |_| has_several)
}

fn station_cells(station: &StationRow, now: Timestamp) -> [String; 13] {
    let mut cells: [String; 13] = std::array::from_fn(|_| String::new());
    cells[0] = format!("  {}", station.station);
    cells[2].clone_from(&station.state);
    cells[3] = age(&station.since, now).unwrap_or_else(|| "-".to_owned());
    cells[12] = station_told(station, now);
    cells
}

fn station_told(station: &StationRow, now: Timestamp) -> String {
    let error = (station.last_error.as_deref(), station.see.as_deref());
    told(error, station.next_attempt.as_ref(), now)
}

/// Why it is away, with the paragraph about that, and when it is tried again.
fn told((reason, see): (Option<&str>, Option<&str>), next: Option<&AttemptRow>, now: Timestamp) -> String {
    let next = next.map(|next| match ahead(&next.at, now) {
        Some(left) => format!("next attempt in {left}"),
        None => "it is tried now".to_owned(),
    });
    let reason = reason.map(|reason| hinted(reason, see));
    reason.into_iter().chain(next).collect::<Vec<_>>().join("; ")
}

/// How long it is until a time of the gateway's; `None` where it has come.
fn ahead(time: &str, now: Timestamp) -> Option<String> {
    let time = read_time(time)?;
    (time > now).then(|| span(time.since(now)))
}

fn cells(row: &SourceRow, now: Timestamp) -> [String; 13] {
    let none = || "-".to_owned();
    let flow = row.flow.as_ref();
    let rate = |rate: Option<f64>| rate.map_or_else(none, |rate| format!("{rate:.1}"));
    let size = |size: Option<f64>| size.map_or_else(none, bytes);
    let trips = flow.and_then(|flow| flow.round_trip_ms.as_ref());
    let mut tags = row.tags.to_string();
    for (count, what) in [(row.failed_tags, "failed"), (row.late_tags, "late")] {
        if count > 0 {
            // Writing to text does not fail.
            let _ = write!(tags, ", {count} {what}");
        }
    }
    [
        row.source.clone(),
        row.adapter.clone(),
        row.state.clone(),
        age(&row.since, now).unwrap_or_else(none),
        tags,
        rate(flow.map(|flow| flow.samples_per_s)),
        rate(flow.map(|flow| flow.requests_per_s)),
        size(flow.and_then(|flow| flow.received_bytes_per_s)),
        size(flow.and_then(|flow| flow.sent_bytes_per_s)),
        trips.map_or_else(none, |trips| millis(trips.p50)),
        trips.map_or_else(none, |trips| millis(trips.p99)),
        row.total.gaps.to_string(),
        words(row, now),
    ]
}

/// How long ago a time of the gateway's was.
fn age(time: &str, now: Timestamp) -> Option<String> {
    Some(span(now.since(read_time(time)?)))
}

/// The reason for a state that is not online; else what the server says of itself, what is slower or smaller than the settings say, and
/// why changes may have been missed.
fn words(row: &SourceRow, now: Timestamp) -> String {
    if row.reason.is_some() || row.next_attempt.is_some() {
        let reason = (row.reason.as_deref(), row.see.as_deref());
        return told(reason, row.next_attempt.as_ref(), now);
    }
    let adapter = registry::adapter(&row.adapter);
    let found = |finding: Finding, said: Vec<String>| {
        let see = adapter.and_then(|adapter| adapter.see(finding));
        (!said.is_empty()).then(|| hinted(&said.join("; "), see))
    };
    let retry = row
        .failed_tags_retry
        .as_ref()
        .map(|retry| match ahead(&retry.at, now) {
            Some(left) => format!("refused tags are tried again in {left}"),
            None => "refused tags are tried again now".to_owned(),
        });
    let refused = retry.or_else(|| (row.failed_tags > 0).then(|| "tags are refused".to_owned()));
    let gap = row.last_gap.as_ref();
    let gap = gap.map(|gap| format!("gap: {}", hinted(&gap.reason, gap.see.as_deref())));
    [
        found(
            Finding::NotHealthy,
            row.server.as_ref().map(unwell).unwrap_or_default(),
        ),
        found(Finding::LessThanAsked, revised(row)),
        found(Finding::RefusedTags, refused.into_iter().collect()),
        gap,
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<String>>()
    .join("; ")
}

/// What a server says of itself where it is not well.
fn unwell(server: &ServerRow) -> Vec<String> {
    let state =
        (server.state != 0).then(|| format!("the server is not running, its state is {}", server.name()));
    let level = (server.service_level < i64::from(HEALTHY_SERVICE_LEVEL))
        .then(|| format!("the server's service level is {}", server.service_level));
    state.into_iter().chain(level).collect()
}

/// What the device made of settings where it is less than the source's say: it may have revised them, or a tag asks for less.
fn revised(row: &SourceRow) -> Vec<String> {
    let told = |name: &str, setting: &SettingRow| {
        let both = [setting.revised, setting.asked];
        let times = both.map(|seconds| millis(seconds * 1e3));
        let (what, [revised, asked]) = match name {
            "publishing_interval" if setting.is_slower() => ("slowest publishing", times),
            "sampling_interval" if setting.is_slower() => ("slowest sampling", times),
            "queue_size" if setting.is_shorter() => ("smallest queue", both.map(|size| size.to_string())),
            _ => return None,
        };
        Some(format!("{what} {revised}, the settings say {asked}"))
    };
    row.settings
        .iter()
        .filter_map(|(name, setting)| told(name, setting))
        .collect()
}
