//! `floorgate probe`: what is in a Modbus device that nobody has configured yet.

mod show;

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use floorgate_workbench::draft::{self, DraftOptions};
use floorgate_yaml::Duration;
use indicatif::{ProgressBar, ProgressStyle};

use crate::draft_file::make_folder;
use crate::printing::goes_on;
use crate::registry::probe::{
    Addresses, Findings, Look, Place, Progress, TableName, Target, Units, Watch, probe as look_at,
};
use crate::runbook::told;

/// Where the device is, and what is looked at.
#[derive(Debug, clap::Args)]
pub struct ProbeOptions {
    /// The device: `modbus://HOST[:PORT]`, `modbus+rtu+tcp://HOST:PORT` (RTU frames through a gateway), or
    /// `modbus+rtu:///dev/ttyUSB0?baud=19200&parity=even&stop_bits=1`.
    #[arg(value_name = "URL")]
    target: Target,
    /// Unit ids, such as `1-10,255`, or `all` for 1 to 247; unless said 1 to 10, and with TCP 255 and 0.
    #[arg(long, value_name = "LIST")]
    units: Option<Units>,
    /// Tables that are looked at.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "holding,input,coils,discrete"
    )]
    kinds: Vec<TableName>,
    /// Addresses of each table, counted from 0 as on the wire; more than one with commas between.
    #[arg(long, value_name = "FROM-TO", value_delimiter = ',', default_value = "0-9999")]
    range: Vec<Addresses>,
    /// Where nothing is readable, ask for every so manyth address only; 1 misses nothing.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=125))]
    step: u32,
    /// Look at these addresses only, as in `holding:100-109`; may be given more than once.
    #[arg(long, value_name = "KIND:FROM-TO", value_delimiter = ',')]
    at: Vec<Place>,
    /// Show numbers of 64 bits too.
    #[arg(long)]
    wide: bool,
    /// How long an answer may take.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = timeout)]
    timeout: Duration,
    /// How long nothing is asked after an answer.
    #[arg(long, value_name = "TIME", default_value = "20ms")]
    pace: Duration,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write a first mapping of what was found; it passes `floorgate check`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Name of the source in that mapping.
    #[arg(long, value_name = "NAME", default_value = "plc", requires = "save")]
    source: String,
    /// Equipment that the mapping is about.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "enterprise/site/area/line/machine",
        requires = "save"
    )]
    equipment: String,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout: Duration = text.parse().map_err(|wrong| format!("{wrong}"))?;
    if std::time::Duration::from(timeout) < SHORTEST_TIMEOUT {
        return Err(format!(
            "`{text}` is too short for an answer; at least {SHORTEST_TIMEOUT:?}"
        ));
    }
    Ok(timeout)
}

/// As a source takes it, so that the settings of a first mapping are right.
const SHORTEST_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(5);

/// What stands below the options of `--help`.
pub const EXAMPLES: &str = "\
Examples:
  floorgate probe modbus://192.168.10.30
  floorgate probe modbus://192.168.10.30 --units 1-10 --range 0-999 --save mappings/meter.yaml
  floorgate probe modbus://192.168.10.30 --units 3 --at holding:100-109 --wide
  floorgate probe 'modbus+rtu:///dev/ttyUSB0?baud=9600&parity=none' --units 1-32 --json

Exit codes: 0 something answered, also where Ctrl-C ended it in the middle; 1 nothing answered, or
the connection was lost (what was found until then is printed); 2 wrong command line.";

/// Nothing answered.
#[derive(Debug, thiserror::Error)]
#[error(
    "no unit of {connect} answers, {count} were asked ({reason}); try --units all, a longer --timeout, on a serial line \
     other baud and parity, and see that the device speaks Modbus on that port"
)]
struct NobodyThere {
    connect: String,
    count: usize,
    reason: String,
}

/// Looks at a device and shows what is there.
pub fn probe(options: &ProbeOptions) -> anyhow::Result<()> {
    if let Some(path) = &options.save {
        if path.exists() {
            bail!(
                "{} exists already; name another file with --save, or move it away",
                path.display()
            );
        }
        make_folder(path)?;
    }
    let look = Look {
        target: options.target.clone(),
        units: options.units.clone(),
        tables: options.kinds.clone(),
        ranges: options.range.clone(),
        step: options.step,
        at: options.at.clone(),
        wide: options.wide,
        timeout: options.timeout.into(),
        pace: options.pace.into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut findings = Findings::default();
    let bar = Bar::new();
    // What is dropped in the middle closes its connection.
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = look_at(&look, &bar, &mut findings) => Some(ended),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    bar.bar.finish_and_clear();
    let report = findings.report(&look, bar.requests.get());
    let has_found = !report.units.is_empty();
    if options.json {
        write(|out| writeln!(out, "{}", serde_json::to_string(&report)?))?;
    } else if has_found {
        let has_colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        write(|out| show::report(out, &report, has_colour))?;
    }
    if let Some(path) = options.save.as_deref().filter(|_| has_found) {
        save(path, options, &look, &findings)?;
    }
    match ended {
        Some(Err(lost)) => Err(told(&lost, Some(lost.see()))),
        None => {
            eprintln!("floorgate: ended by Ctrl-C; what was found until then is what is shown");
            Ok(())
        }
        Some(Ok(())) if !has_found => {
            let first = report.silent.first();
            let see = first.map(|silent| silent.see);
            let nobody = NobodyThere {
                connect: report.connect,
                count: report.silent.len(),
                reason: first.map(|silent| silent.reason.clone()).unwrap_or_default(),
            };
            Err(told(&nobody, see))
        }
        Some(Ok(())) => Ok(()),
    }
}

fn write(show: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    goes_on(show(&mut io::stdout().lock())).map(drop)
}

/// How far it is, on a terminal.
struct Bar {
    bar: ProgressBar,
    requests: Cell<u64>,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} % {eta:>4}  {msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            requests: Cell::new(0),
        }
    }
}

impl Watch for Bar {
    fn asked(&self, progress: &Progress) {
        self.requests.set(progress.requests);
        if self.bar.length() != Some(progress.total) {
            // What units took says nothing about what addresses take.
            self.bar.set_length(progress.total);
            self.bar.reset_eta();
        }
        self.bar.set_position(progress.done);
        self.bar.set_message(format!(
            "unit {} {} {}, {} requests",
            progress.unit, progress.table, progress.at, progress.requests
        ));
    }
}

/// Writes a first mapping, or several where units are built alike and others are not: then the others stand beside it.
fn save(path: &Path, options: &ProbeOptions, look: &Look, findings: &Findings) -> anyhow::Result<()> {
    let stem = path
        .file_stem()
        .map_or_else(|| "mapping".into(), |stem| stem.to_string_lossy());
    let (survey, zeros) = findings.survey(look);
    let drafted = draft::mappings(
        &survey,
        &DraftOptions {
            name: stem.clone().into_owned(),
            source: options.source.clone(),
            adapter: "modbus",
            equipment: options.equipment.clone(),
            schema: "mapping.schema.json".to_owned(),
            origin: format!(
                "what `floorgate probe` found at {}; {zeros} registers and bits that were 0 are left out",
                look.target
            ),
        },
    );
    // The one that has the file's name is in the file, whatever its place.
    let named = drafted.iter().position(|mapping| mapping.name == stem);
    for (at, mapping) in drafted.iter().enumerate() {
        let place = if at == named.unwrap_or(0) {
            path.to_path_buf()
        } else {
            path.with_file_name(format!("{}.yaml", mapping.name))
        };
        write_new(&place, &mapping.text)
            .with_context(|| format!("the mapping cannot be written to {}", place.display()))?;
        let of = if mapping.instances > 1 {
            format!(" of each of {} units", mapping.instances)
        } else {
            String::new()
        };
        eprintln!(
            "floorgate: {} has {} tags{of}: types are guesses, see the comments; then `floorgate check`",
            place.display(),
            mapping.tags
        );
    }
    Ok(())
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(text.as_bytes())
}
