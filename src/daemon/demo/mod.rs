//! `floorgate demo`: a simulated plant, a broker and the gateway in one command.
//!
//! The gateway is a process of its own, started as `floorgate run` with the repository's configuration; only addresses and
//! the folder of its state are given by environment variables. What is shown was consumed from the broker.

mod consumer;
mod tally;

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use floorgate_config::Loaded;
use floorgate_simulator::{JournalTarget, Options, Plant, Security};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::signal::unix::{SignalKind, signal};

use consumer::{Consumed, consume};
use tally::Tally;

/// Lines in the repository's mapping.
const LINES: u32 = 6;
/// Partitions of a topic of the embedded broker, which takes about 5 MB for each.
const PARTITIONS: i32 = 2;
/// How long the gateway gets to deliver what the plant did last.
const DRAIN: Duration = Duration::from_secs(5);

/// Options of `floorgate demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// End after this time (`20s`, `5m`) and print the summary; without it, Ctrl-C ends the demonstration.
    #[arg(long = "for", value_name = "TIME")]
    duration: Option<floorgate_yaml::Duration>,
    /// A real broker instead of the embedded one.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    kafka: Option<String>,
    /// Filling lines in the hall.
    #[arg(long, default_value_t = LINES, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    lines: u32,
    /// How many seconds of the hall's life pass in one; at 1 a line makes about five changes a second.
    #[arg(long, default_value_t = 1.0, value_name = "N", value_parser = rate)]
    rate: f64,
    /// The configuration to run.
    #[arg(long, short, value_name = "FILE", default_value = "config/floorgate.yaml")]
    config: PathBuf,
    /// Print the summary only.
    #[arg(long, short)]
    quiet: bool,
}

/// Refuses what the gateway would refuse, before anything is started.
fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(text.to_owned())
        }
        _ => Err("wants one broker's host and port, for example localhost:9092".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1000.0).contains(&rate) => Ok(rate),
        _ => Err("wants a number from 0.01 to 1000".to_owned()),
    }
}

/// The broker of the demonstration.
enum Broker {
    /// librdkafka's mock cluster: the real protocol on a TCP port, everything in memory.
    Embedded(MockCluster<'static, DefaultProducerContext>),
    Real(String),
}

impl Broker {
    /// The embedded broker does not answer the requests that create topics, so that it is given them beforehand.
    fn start(kafka: Option<&String>, topics: &BTreeSet<Arc<str>>) -> anyhow::Result<Self> {
        if let Some(address) = kafka {
            return Ok(Self::Real(address.clone()));
        }
        let cluster = MockCluster::new(1).context("cannot start the embedded broker")?;
        for topic in topics {
            cluster
                .create_topic(topic, PARTITIONS, 1)
                .with_context(|| format!("cannot create the topic {topic}"))?;
        }
        Ok(Self::Embedded(cluster))
    }

    fn address(&self) -> String {
        match self {
            Self::Embedded(cluster) => cluster.bootstrap_servers(),
            Self::Real(address) => address.clone(),
        }
    }
}

/// The gateway's process; ended when dropped, and when the demonstration dies.
struct Gateway {
    child: Child,
    /// A pipe whose other end a shell beside the gateway watches.
    tie: Option<ChildStdin>,
}

/// The shell becomes the gateway; what it leaves beside it asks the gateway to stop when the pipe is closed, unless it
/// was told something before.
const TIED: &str = r#"
exec 3<&0 </dev/null
{ read -r _ || kill -TERM $$; } <&3 >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"#;

impl Gateway {
    /// Asks it to stop, as systemd would, and waits until it has.
    fn stop(mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .context("cannot run kill")?;
        if asked.success() {
            let exit = self.child.wait().context("cannot wait for the gateway")?;
            if !exit.success() {
                bail!("the gateway ended with {exit}; its log is above");
            }
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its number may soon be another's.
        if let Some(mut tie) = self.tie.take() {
            let _ = tie.write_all(b"ended\n");
        }
    }
}

/// Runs the demonstration.
pub fn demo(options: &DemoOptions) -> anyhow::Result<()> {
    if !options.config.is_file() {
        bail!(
            "there is no {}; run the demonstration in the project's folder, or give --config",
            options.config.display()
        );
    }
    let (loaded, _) = floorgate_config::load(&options.config, crate::registry::ADAPTERS);
    let loaded = loaded.with_context(|| {
        format!(
            "{} has errors; `floorgate check` shows them",
            options.config.display()
        )
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let plant = Plant::start(Options {
            lines: options.lines,
            rate: options.rate,
            seed: std::process::id().into(),
            journal: JournalTarget::Memory,
            security: Security::NoneOnly,
            ..Options::default()
        })
        .await
        .context("cannot start the simulated plant")?;
        let broker = Broker::start(options.kafka.as_ref(), &loaded.plan.topics())?;
        let folder = std::env::temp_dir().join(format!("floorgate-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let result = show(options, &loaded, plant, &broker, &folder).await;
        let _ = std::fs::remove_dir_all(&folder);
        result
    })
}

async fn show(
    options: &DemoOptions,
    loaded: &Loaded,
    plant: Plant,
    broker: &Broker,
    folder: &Path,
) -> anyhow::Result<()> {
    let started = Instant::now();
    println!(
        "plant    {} lines on {}, 2 conveyors on modbus://{}",
        options.lines,
        plant.opcua_url(),
        plant.modbus_address()
    );
    match broker {
        Broker::Embedded(_) => println!(
            "broker   embedded at {} (librdkafka's mock cluster)",
            broker.address()
        ),
        Broker::Real(address) => println!("broker   {address}"),
    }
    let events = consume(&broker.address(), "acme.", matches!(broker, Broker::Real(_)))?;
    // From before the gateway is there, so that no signal leaves it behind.
    let (interrupted, mut interrupt) = tokio::sync::watch::channel(false);
    let mut signals = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ];
    tokio::spawn(async move {
        let [interrupt, terminate, hangup] = &mut signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        let _ = interrupted.send(true);
    });
    let mut gateway = start_gateway(options, loaded, &plant, broker, folder)?;
    println!("gateway  floorgate run --config {}", options.config.display());
    println!(
        "look     FLOORGATE_STATE_DIR={} floorgate tags --watch --config {}\n",
        folder.join("state").display(),
        options.config.display()
    );

    let mut tally = Tally::default();
    let mut status = StatusLine::new(options.quiet);
    loop {
        let ended = options
            .duration
            .is_some_and(|limit| started.elapsed() >= Duration::from(limit));
        if ended || *interrupt.borrow_and_update() {
            break;
        }
        if let Some(exit) = gateway.child.try_wait()? {
            status.clear();
            bail!("the gateway ended with {exit}; its log is above");
        }
        tokio::task::block_in_place(|| take(&events, &mut tally, &mut status, Duration::from_millis(200)));
        status.refresh(&tally, started.elapsed(), &plant);
    }
    let journal = plant.journal();
    // The plant goes on while the last of what was noted is delivered: stopping it would be a loss of the source.
    let deadline = Instant::now() + DRAIN;
    while Instant::now() < deadline && tally.missing(&journal) > 0 {
        tokio::task::block_in_place(|| take(&events, &mut tally, &mut status, Duration::from_millis(50)));
    }
    status.clear();
    tokio::task::block_in_place(|| gateway.stop())?;
    take(&events, &mut tally, &mut status, Duration::from_millis(100));
    let depth = outbox_depth(folder);
    plant.stop().await.context("the simulated plant failed")?;
    print!("{}", tally.summary(started.elapsed(), &journal, depth));
    Ok(())
}

fn start_gateway(
    options: &DemoOptions,
    loaded: &Loaded,
    plant: &Plant,
    broker: &Broker,
    folder: &Path,
) -> anyhow::Result<Gateway> {
    let program = std::env::current_exe().context("cannot find the own program")?;
    let mut command = Command::new("sh");
    command
        .args(["-c", TIED, "gateway"])
        .arg(program)
        .args(["run", "--config"])
        .arg(&options.config)
        .env("FLOORGATE_STATE_DIR", folder.join("state"))
        .env("FLOORGATE_KAFKA__BROKERS", format!("[{:?}]", broker.address()))
        .env("FLOORGATE_SOURCES__FILLER_PLC__ENDPOINT", plant.opcua_url())
        .env(
            "FLOORGATE_SOURCES__CONVEYORS__CONNECT",
            format!("tcp://{}", plant.modbus_address()),
        )
        .env("FLOORGATE_HTTP__LISTEN", "127.0.0.1:0")
        .env(
            "FLOORGATE_LOG",
            std::env::var("FLOORGATE_LOG").unwrap_or_else(|_| "warn".to_owned()),
        )
        .stdin(Stdio::piped())
        // Ctrl-C in a terminal goes to the whole group: the gateway is to read on until the last is delivered.
        .process_group(0);
    if options.lines != LINES {
        command.env("FLOORGATE_MAPPINGS", mappings_for(loaded, options.lines, folder)?);
    }
    let mut child = command.spawn().context("cannot start the gateway")?;
    let tie = child.stdin.take();
    Ok(Gateway { child, tie })
}

/// The repository's mappings with another number of lines, in a folder of their own; returns their list as YAML.
fn mappings_for(loaded: &Loaded, lines: u32, folder: &Path) -> anyhow::Result<String> {
    let (shipped, wanted) = (
        format!("for_each: {{line: 1..{LINES}}}"),
        format!("for_each: {{line: 1..{lines}}}"),
    );
    let mut list = Vec::new();
    let mut found = false;
    for (number, path) in loaded.mappings.iter().enumerate() {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        found |= text.contains(&shipped);
        let copies = folder.join(format!("mappings-{number}"));
        let copy = copies.join(path.file_name().unwrap_or_default());
        let written = link_all(path.parent().unwrap_or(Path::new("")), &copies).and_then(|()| {
            std::fs::remove_file(&copy)?;
            std::fs::write(&copy, text.replace(&shipped, &wanted))
        });
        written.with_context(|| format!("cannot write {}", copy.display()))?;
        list.push(copy.display().to_string());
    }
    if !found {
        bail!("no mapping has `{shipped}`, which --lines is for; leave --lines away");
    }
    Ok(serde_json::to_string(&list)?)
}

/// Makes a folder with links to all that is in another: a mapping finds what it includes beside it.
fn link_all(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::os::unix::fs::symlink(std::path::absolute(entry.path())?, to.join(entry.file_name()))?;
    }
    Ok(())
}

/// What the store holds that Kafka has not acknowledged.
fn outbox_depth(folder: &Path) -> Option<u64> {
    let lanes =
        floorgate_outbox::Reader::open(folder.join("state/outbox.db")).and_then(|reader| reader.lanes());
    lanes
        .map(|lanes| lanes.iter().map(floorgate_outbox::Lane::depth).sum())
        .ok()
}

/// Takes events for at most so long, and prints them.
fn take(events: &Receiver<Consumed>, tally: &mut Tally, status: &mut StatusLine, patience: Duration) {
    let until = Instant::now() + patience;
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) => {
                tally.add(&event);
                status.line(&event.line());
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The line at the bottom of the terminal; nothing where standard output is no terminal.
struct StatusLine {
    live: bool,
    quiet: bool,
    shown: bool,
    refreshed: Instant,
}

impl StatusLine {
    fn new(quiet: bool) -> Self {
        Self {
            live: std::io::stdout().is_terminal(),
            quiet,
            shown: false,
            refreshed: Instant::now(),
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            print!("\r\x1b[2K");
            let _ = std::io::stdout().flush();
        }
    }

    fn line(&mut self, text: &str) {
        if !self.quiet {
            self.clear();
            println!("{text}");
        }
    }

    fn refresh(&mut self, tally: &Tally, elapsed: Duration, plant: &Plant) {
        if !self.live || self.refreshed.elapsed() < Duration::from_millis(200) {
            return;
        }
        self.refreshed = Instant::now();
        self.clear();
        print!("{}", tally.status(elapsed, plant.totals().changes));
        let _ = std::io::stdout().flush();
        self.shown = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        for right in ["localhost:9092", "[::1]:9092"] {
            assert_eq!(host_and_port(right).as_deref(), Ok(right));
        }
        for wrong in [
            "localhost",
            ":9092",
            "localhost:",
            "localhost:0",
            "localhost:kafka",
        ] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }
}
