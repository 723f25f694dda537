//! How long a gateway with a large store takes until it takes in and publishes again: a million events stored, a hundred thousand of them
//! not delivered, killed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use floorgate_tests::{Folder, Gateway, Kafka};
use serde::Serialize;

use crate::configuration::{mappings, settings};
use crate::plant::Plant;
use crate::scenario::Scenario;
use crate::stop::Stop;
use crate::usage::peak_memory;

/// Events that the broker has before it goes away, and those that are stored after that.
const DELIVERED: f64 = 900_000.0;
const WAITING: f64 = 100_000.0;
/// Longest time to the first event that is stored, in seconds.
const MOST_TO_INTAKE: f64 = 1.0;
/// Longest time to the first that is acknowledged, in seconds: it includes the look at the end of the log.
const MOST_TO_ACKNOWLEDGED: f64 = 2.0;
/// Largest resident memory while the backlog goes out, in megabytes.
const MOST_MEMORY: f64 = 100.0;
/// How many times as long a change may wait to be stored while the backlog goes out as it does later.
const MOST_SLOWER: f64 = 3.0;
/// How long "later" is.
const LATER: Duration = Duration::from_secs(5);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(5);

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Restart {
    /// Events in the store.
    events: f64,
    /// Those of them that were not delivered when the gateway was killed.
    waiting: f64,
    /// Seconds from the start of the process to the first event that it stored.
    intake: f64,
    /// Seconds from there to the first event that was acknowledged.
    acknowledged: f64,
    /// Seconds to the end of the backlog.
    drained: f64,
    /// Largest resident memory until then, in megabytes.
    memory: f64,
    /// Mean of the milliseconds from a change's receipt until it was stored, while the backlog went out.
    storing: f64,
    /// The same later.
    storing_later: f64,
    /// Changes that the source lost meanwhile, for all that the gateway knows.
    gaps: f64,
}

impl Restart {
    /// Fills a store through the gateway itself, kills it, and starts it again.
    pub fn measure(kafka: &mut Kafka, program: &Path, stop: &Stop) -> Result<Self> {
        let scenario = Scenario::named("10k").map_err(anyhow::Error::msg)?;
        let folder = Folder::new("bench")?;
        kafka.create_topic("bench-restart", 1)?;
        let plant = Plant::start(&scenario, folder.path())?;
        let settings = settings(&scenario, &plant.addresses, &kafka.bootstrap(), 1);
        let mappings = mappings(&scenario, &plant.addresses.namespace, "bench-restart")?;
        let mappings: Vec<_> = mappings.iter().map(|(name, text)| (&**name, &**text)).collect();
        let mut gateway = Gateway::new(&settings, &mappings)?.with_program(program);
        gateway.start()?;
        let stored = "floorgate_events_total{type=\"MeasurementRecorded\"}";
        wait(&gateway, stop, || {
            Ok(gateway.metric(stored)?.unwrap_or_default() >= DELIVERED)
        })?;
        kafka.pause()?;
        wait(&gateway, stop, || Ok(depth(&gateway)? >= WAITING))?;
        let (events, waiting) = (gateway.metric(stored)?.unwrap_or_default(), depth(&gateway)?);
        gateway.kill()?;
        kafka.go_on()?;

        let started = Instant::now();
        gateway.spawn()?;
        let pid = gateway.process()?.id();
        let (mut intake, mut acknowledged, mut before) = (None, None, None);
        let published = "floorgate_published_total{topic=\"bench-restart\"}";
        wait(&gateway, stop, || {
            let now = started.elapsed().as_secs_f64();
            let is_some = |line| -> Result<bool> { Ok(gateway.metric(line)?.unwrap_or_default() > 0.0) };
            if intake.is_none() && is_some(stored)? {
                intake = Some(now);
            }
            if acknowledged.is_none() && is_some(published)? {
                acknowledged = Some(now);
                // What was there when the source came is stored by now.
                before = Some(Storing::read(&gateway)?);
            }
            let sent = gateway.metric(published)?.unwrap_or_default();
            Ok(intake.is_some() && acknowledged.is_some() && sent >= waiting)
        })?;
        let drained = started.elapsed().as_secs_f64();
        let memory = peak_memory(pid)?;
        let then = Storing::read(&gateway)?;
        std::thread::sleep(LATER);
        stop.check()?;
        let later = Storing::read(&gateway)?;
        let gaps = gateway.metric("floorgate_source_gaps_total{source=\"plc\"}")?;
        gateway.stop()?;
        drop(plant);
        Ok(Self {
            events,
            waiting,
            intake: intake.context("nothing was stored")?,
            acknowledged: acknowledged.context("nothing was acknowledged")?,
            drained,
            memory,
            storing: then.since(before.context("nothing was acknowledged")?),
            storing_later: later.since(then),
            gaps: gaps.unwrap_or_default(),
        })
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let kept = self.intake <= MOST_TO_INTAKE
            && self.acknowledged <= MOST_TO_ACKNOWLEDGED
            && self.memory <= MOST_MEMORY
            && self.storing <= self.storing_later * MOST_SLOWER
            && self.gaps == 0.0;
        format!(
            "after a kill with {:.0} events stored and {:.0} of them waiting it takes in after {:.2} s (≤ {MOST_TO_INTAKE}), has the first \
             acknowledged after {:.2} s (≤ {MOST_TO_ACKNOWLEDGED}) and the last after {:.1} s, with {:.1} MB (≤ {MOST_MEMORY}); meanwhile \
             changes are stored after {:.2} ms, later {:.2} ms, with {:.0} gaps (0): {}",
            self.events,
            self.waiting,
            self.intake,
            self.acknowledged,
            self.drained,
            self.memory,
            self.storing,
            self.storing_later,
            self.gaps,
            if kept { "kept" } else { "missed" }
        )
    }
}

/// How many changes were stored, and the seconds that this took them together.
#[derive(Clone, Copy, Debug)]
struct Storing {
    seconds: f64,
    changes: f64,
}

impl Storing {
    fn read(gateway: &Gateway) -> Result<Self> {
        let of = |what| -> Result<f64> {
            let line = format!("floorgate_stage_seconds_{what}{{stage=\"received_to_committed\"}}");
            gateway.metric(&line)?.context(line)
        };
        Ok(Self {
            seconds: of("sum")?,
            changes: of("count")?,
        })
    }

    /// The mean since then, in milliseconds.
    fn since(self, then: Self) -> f64 {
        (self.seconds - then.seconds) / (self.changes - then.changes) * 1000.0
    }
}

fn depth(gateway: &Gateway) -> Result<f64> {
    Ok(gateway.metric("floorgate_outbox_depth")?.unwrap_or_default())
}

/// Looks until it is so. What cannot be asked yet is not so yet.
fn wait(gateway: &Gateway, stop: &Stop, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_mins(5);
    while !is_so().unwrap_or(false) {
        stop.check()?;
        anyhow::ensure!(Instant::now() < end, "too late: {}", gateway.output()?);
        std::thread::sleep(LOOK);
    }
    Ok(())
}
