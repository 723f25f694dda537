//! `floorgate run`: the daemon from start to clean stop.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use floorgate_adapter_api::{CancellationToken, Intake, SourceId};
use floorgate_config::settings::Encoding;
use floorgate_config::{Loaded, LoadedSource, Outline, Settings};
use floorgate_core::Core;
use floorgate_core::plan::Plan;
use floorgate_metrics::Metrics;
use floorgate_outbox::{Cell, Commit, Error as StoreError, Lock, Options, Reader, Salvage, Store};
use floorgate_publisher::{KafkaSettings, Publisher, Wiring};
use floorgate_sample::Timestamp;
use floorgate_workbench::recording::Header;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::check::read_to_run;
use crate::control;
use crate::engine::{
    self, Checkpoints, Engine, EngineError, Generation, Message, Pulse, Shelf, mailbox, of_gone_sources,
    of_sources,
};
use crate::http::{Front, Pages};
use crate::kafka;
use crate::logging::Audience;
use crate::opening::{self, Ends, Opened};
use crate::standing::{Configured, Standings};
use crate::supervisor::Sources;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long sources get to end.
pub const SOURCES_PATIENCE: Duration = Duration::from_secs(3);
/// What is kept of the time for a stop, for storing what the sources delivered last.
const STORING_RESERVE: Duration = Duration::from_secs(1);

/// Runs the gateway until it is told to stop.
pub fn run(path: &Path, audience: Audience) -> anyhow::Result<()> {
    let started = Instant::now();
    let loaded = read_to_run(path, audience)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(serve(path, loaded, audience, started));
    // Where the outbox is still being opened, that is not waited for.
    runtime.shutdown_background();
    served
}

/// The parts that live as long as the process.
pub struct Gateway {
    /// Who reads the log.
    pub audience: Audience,
    /// The settings that are at work; what a reload cannot take over stays as it was.
    pub settings: Arc<Settings>,
    /// What ids are made from.
    pub identity: Identity,
    /// The configuration that is at work, as the next one is compared with it.
    pub outline: Outline,
    /// The way to the engine for sources of this generation.
    pub intake: Intake,
    /// The plan's.
    pub generation: Generation,
    /// The engine.
    pub engine: Sender<Message>,
    /// What is measured.
    pub metrics: Metrics,
    /// What runs.
    pub sources: Sources,
}

/// What ids and sequences are made from beside the configuration.
#[derive(Clone, Copy)]
pub struct Identity {
    incarnation: Uuid,
    /// Of streams that begin.
    stream_epoch: u32,
}

impl Identity {
    /// Of a process that stores nothing.
    pub fn alone() -> Self {
        let seconds = Timestamp::now().as_nanos() / 1_000_000_000;
        Self {
            incarnation: Uuid::new_v4(),
            stream_epoch: u32::try_from(seconds).unwrap_or(u32::MAX),
        }
    }

    /// What a recording of this process begins with.
    pub fn header(self, settings: &Settings) -> Header {
        Header {
            version: VERSION.to_owned(),
            gateway: settings.gateway.value.clone(),
            type_prefix: settings.events.type_prefix.value.clone(),
            structured: matches!(settings.events.encoding, Encoding::Structured),
            stream_epoch: self.stream_epoch,
            incarnation: self.incarnation,
            begun: Timestamp::now().as_nanos(),
        }
    }
}

/// The store of a state folder.
pub fn store_options(settings: &Settings, state: &Path) -> Options {
    let mut options = Options::new(state.join("outbox.db"));
    options.keep = settings.outbox.keep.value.into();
    options.keep_bytes = u64::from(*settings.outbox.keep_mib) * 1024 * 1024;
    let most = settings.outbox.max_mib.as_ref();
    options.max_bytes = most.map(|mib| u64::from(mib.value) * 1024 * 1024);
    options
}

/// The engine, laid out and not started, with what speaks to it.
struct Assembled {
    engine: Engine,
    inbox: Receiver<Message>,
    sender: Sender<Message>,
    intake: Intake,
    identity: Identity,
    salvaged: Option<String>,
    /// Where sources left off.
    shelf: Shelf,
}

/// Lets the core go on from the state of a store.
fn assemble(
    settings: &Settings,
    kafka: &KafkaSettings,
    (plan, sources): (Arc<Plan>, Vec<Configured>),
    opened: Opened,
    metrics: Metrics,
    started: Instant,
) -> anyhow::Result<Assembled> {
    let (mut store, restored, salvage) = opened;
    let salvaged = salvage.as_ref().map(|salvage| tell_salvage(salvage, &metrics));
    // Whoever looks in the first second is not told that nothing waits.
    engine::show(&metrics, &store.stats()?);
    let identity = Identity {
        incarnation: Uuid::new_v5(&restored.store_id, &restored.incarnation.to_be_bytes()),
        stream_epoch: restored.epoch,
    };
    info!(
        gateway = settings.gateway.value,
        sources = plan.sources.len(),
        tags = plan.tags.len(),
        rules = plan.rules.len(),
        cells = restored.cells.len(),
        incarnation = restored.incarnation,
        "floorgate {VERSION} starts"
    );
    let topics = plan.topics();
    let standings = Arc::new(Standings::new(started, &metrics, sources, &plan));
    let mut core = core(settings, identity, plan, &|key| restored.cells.get(key).cloned());
    let mut shelf = of_sources(&restored.cells);
    let mut forgotten = Commit {
        cells: of_gone_sources(&restored.cells, |name| core.has_source(name)),
        ..Commit::default()
    };
    store_now(&mut store, &mut forgotten)?;
    if let Some(salvage) = salvage {
        if salvage.state_is_incomplete {
            core.renew_streams(restored.epoch);
            // What is known of a tag may be older than where its source left off.
            shelf = Shelf::default();
            let mut anew = Commit {
                cells: without_bookmarks(&mut core, &restored.cells),
                ..Commit::default()
            };
            store_now(&mut store, &mut anew)?;
        }
        store.salvage_is_told()?;
    }
    let (inbox, sender, intake) = mailbox(*settings.limits.samples_in_flight);
    let wake = sender.clone();
    let wiring = Wiring {
        reader: Reader::open(store.path())?,
        topics: restored.topics,
        gateway: settings.gateway.value.clone(),
        incarnation: restored.incarnation.to_string(),
        metrics: metrics.clone(),
        wake: Box::new(move || {
            let _ = wake.send(Message::Wake);
        }),
    };
    let publisher = Publisher::start(kafka, wiring).context("publishing cannot start")?;
    publisher.prepare(topics);
    let pulse = Arc::new(Pulse::new(started));
    let checkpoints = Checkpoints::start(store.checkpointer()?, sender.clone())
        .context("cannot start the checkpoint's thread")?;
    let engine = Engine {
        core,
        store,
        publisher,
        checkpoints,
        metrics,
        dead_letter_topic: dead_letter_topic(settings),
        pulse,
        standings,
        started,
    };
    Ok(Assembled {
        engine,
        inbox,
        sender,
        intake,
        identity,
        salvaged,
        shelf,
    })
}

/// Stores what a start has to store, with the room that is kept for it.
fn store_now(store: &mut Store, commit: &mut Commit) -> Result<(), StoreError> {
    match store.commit(commit) {
        Err(StoreError::Full { .. }) => {
            store.make_room(commit)?;
            store.commit(commit).map(drop)
        }
        stored => stored.map(drop),
    }
}

/// The cells of a core whose streams are begun anew, and that sources begin anew, too.
fn without_bookmarks(core: &mut Core, stored: &HashMap<Arc<str>, String>) -> Vec<Cell> {
    let mut changed = Vec::new();
    core.save(&mut changed);
    let changed = changed.into_iter().map(|(key, value)| Cell {
        key,
        value: Some(value),
    });
    of_gone_sources(stored, |_| false)
        .into_iter()
        .chain(changed)
        .collect()
}

/// Raises the alarm, which stays until the next start.
fn tell_salvage(salvage: &Salvage, metrics: &Metrics) -> String {
    let Salvage {
        reason,
        aside,
        events,
        lost,
        missing,
        cells,
        state_is_incomplete,
        dead_letters,
    } = salvage;
    error!(
        reason,
        aside = %aside.display(),
        events,
        lost,
        missing,
        cells,
        state_is_incomplete,
        dead_letters,
        see = "gateway-outbox-damaged", "the outbox was damaged; it is moved aside, and what could be read of it goes on in a new one"
    );
    metrics.outbox_salvaged.set(1);
    let mut text = format!(
        "outbox: it was damaged and is at {} now; {events} waiting events were saved, {lost} are known to be lost",
        aside.display()
    );
    if *missing > 0 {
        let _ = write!(
            text,
            ", and {missing} that were stored last are not in it, delivered or not"
        );
    }
    text
}

fn dead_letter_topic(settings: &Settings) -> Option<Arc<str>> {
    let topic = settings.kafka.topics.dead_letters.as_ref();
    topic.map(|topic| topic.value.as_str().into())
}

/// Where relative paths start, and where the gateway's own files are.
struct Folders {
    base: PathBuf,
    state: PathBuf,
}

async fn serve(path: &Path, loaded: Loaded, audience: Audience, started: Instant) -> anyhow::Result<()> {
    // First of all: until a signal has its stream, it ends the process.
    let mut ends = Ends {
        term: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let mut hangup = signal(SignalKind::hangup())?;
    let folders = Folders {
        base: loaded.base.clone(),
        state: loaded.state_dir(),
    };
    let Loaded {
        settings,
        plan,
        sources,
        outline,
        ..
    } = loaded;
    let settings = Arc::new(settings);
    let configured = sources.iter().map(Configured::from).collect();
    let kafka = kafka::settings(&settings.kafka, &folders.base)?;
    let metrics = Metrics::new().context("cannot register metrics")?;
    metrics.build_info.with_label_values(&[VERSION]).set(1.0);
    std::fs::create_dir_all(&folders.state)
        .with_context(|| format!("cannot create state_dir {}", folders.state.display()))?;
    let options = store_options(&settings, &folders.state);
    // From here on the store is this process's.
    let lock = Lock::take(&options.path)?;
    let stop = CancellationToken::new();
    let mut front = Front::bind(*settings.http.listen, metrics.clone(), stop.clone()).await?;
    let waiting = stop.child_token();
    tokio::spawn(watchdog(|| true, waiting.clone()));
    let Some(opened) = opening::open(&options, lock, &mut front, &mut ends).await? else {
        info!("stopped before the outbox was open");
        return Ok(());
    };
    let Assembled {
        engine,
        inbox,
        sender,
        intake,
        identity,
        salvaged,
        shelf,
    } = assemble(
        &settings,
        &kafka,
        (plan, configured),
        opened,
        metrics.clone(),
        started,
    )?;
    let pulse = Arc::clone(&engine.pulse);
    let publishing = engine.publisher.status_handle();
    let standings = Arc::clone(&engine.standings);
    let (thread, mut engine_ended) = start(engine, inbox)?;
    let pages = Pages {
        pulse: Arc::clone(&pulse),
        publishing: Arc::clone(&publishing),
        standings: Arc::clone(&standings),
        engine: sender.clone(),
        salvaged,
    };
    let mut gateway = Gateway {
        audience,
        sources: Sources::default(),
        settings,
        identity,
        outline,
        intake,
        generation: Generation::default(),
        engine: sender,
        metrics,
    };
    gateway.start((0..).map(SourceId).zip(sources), shelf);
    let tools = control::Server {
        store: options.path,
        publishing,
        standings,
        engine: gateway.engine.clone(),
        header: identity.header(&gateway.settings),
    };
    serve_tools(tools, control::socket(&folders.state), stop.clone());
    // Whoever sees that it is ready finds the socket.
    front.run(pages);
    waiting.cancel();
    tokio::spawn(watchdog(move || pulse.is_alive(), stop.clone()));
    notify(&[NotifyState::Ready, NotifyState::Status("")]);
    loop {
        tokio::select! {
            () = ends.come() => break,
            _ = &mut engine_ended => break,
            _ = hangup.recv() => gateway.reload(path).await,
        }
    }
    info!("stopping");
    notify(&[NotifyState::Stopping]);
    stop.cancel();
    shut_down(gateway, thread).await
}

type Thread = JoinHandle<Result<Engine, EngineError>>;

/// Runs the engine on a thread of its own; when that ends is told.
fn start(engine: Engine, inbox: Receiver<Message>) -> anyhow::Result<(Thread, oneshot::Receiver<()>)> {
    let (ended, engine_ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            let result = engine.run(&inbox);
            let _ = ended.send(());
            result
        })
        .context("cannot start the engine's thread")?;
    Ok((thread, engine_ended))
}

/// Answers tools until `stop`.
fn serve_tools(tools: control::Server, socket: PathBuf, stop: CancellationToken) {
    match control::bind(&socket) {
        Ok(listener) => drop(tokio::spawn(tools.serve(listener, socket, stop))),
        // A path may be too long for a socket; events flow without it.
        Err(problem) => warn!(
            problem = format!("{problem:#}"),
            see = "gateway-side-door",
            "tools such as `floorgate outbox` only work while the gateway is stopped"
        ),
    }
}

impl Gateway {
    /// Starts sources of the plan that is at work.
    pub fn start(&mut self, planned: impl IntoIterator<Item = (SourceId, LoadedSource)>, left_off: Shelf) {
        let (engine, generation) = (&self.engine, self.generation);
        self.sources
            .start(planned, left_off, &self.intake, &self.metrics, |requesters| {
                let _ = engine.send(Message::Sources(generation, requesters));
            });
    }
}

/// Sources first, then the engine with everything that is in the intake, then the publisher with what it can still deliver.
async fn shut_down(gateway: Gateway, thread: Thread) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from(gateway.settings.limits.stop_within.value);
    gateway.sources.stop(SOURCES_PATIENCE).await;
    let _ = gateway.engine.send(Message::Stop);
    let finished = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let engine = thread
            .join()
            .map_err(|_| anyhow::anyhow!("the engine panicked"))??;
        engine.finish(deadline.saturating_duration_since(Instant::now() + STORING_RESERVE))?;
        Ok(())
    });
    finished.await.context("the engine could not be waited for")??;
    info!("stopped; what is not published is stored");
    Ok(())
}

/// A core of a plan that goes on from stored cells.
pub fn core(
    settings: &Settings,
    identity: Identity,
    plan: Arc<Plan>,
    stored: &dyn Fn(&str) -> Option<String>,
) -> Core {
    let of_core = floorgate_core::Settings {
        gateway: settings.gateway.value.as_str().into(),
        type_prefix: settings.events.type_prefix.as_str().into(),
        encoding: match settings.events.encoding {
            Encoding::Binary => floorgate_core::Encoding::Binary,
            Encoding::Structured => floorgate_core::Encoding::Structured,
        },
        stream_epoch: identity.stream_epoch,
        incarnation: identity.incarnation,
    };
    Core::new(plan, of_core, stored)
}

/// Tells systemd that the gateway lives, as long as it does.
async fn watchdog(is_alive: impl Fn() -> bool, stop: CancellationToken) {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut tick = tokio::time::interval(interval / 3);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => if is_alive() { notify(&[NotifyState::Watchdog]) },
        }
    }
}

/// Tells systemd, where it listens.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(problem) = sd_notify::notify(state) {
        warn!(%problem, see = "gateway-side-door", "cannot tell systemd");
    }
}
