//! What a gateway takes with 100,000 tags of one OPC UA server of which none changes: the time until it has them all, its memory, and the
//! CPU that it takes for nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use floorgate_tests::{Folder, Gateway, Kafka};
use serde::Serialize;

use crate::configuration::{mappings, settings};
use crate::plant::Plant;
use crate::scenario::Scenario;
use crate::stop::Stop;
use crate::usage::{Cpu, peak_memory};

/// Longest time from the start of the process until each tag has its first value, in seconds.
const MOST_TO_ALL: f64 = 20.0;
/// Largest resident memory, in megabytes.
const MOST_MEMORY: f64 = 250.0;
/// Most of a core that it takes at rest.
const MOST_CORES: f64 = 0.02;
/// How long it is left alone before it is measured: nothing of the start is under way any more.
const SETTLING: Duration = Duration::from_secs(10);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rest {
    /// Tags of the server.
    tags: usize,
    /// Seconds from the start of the process until each had its first value.
    all: f64,
    /// Largest resident memory until the end, in megabytes.
    memory: f64,
    /// Cores in use at rest.
    cores: f64,
}

impl Rest {
    /// Starts a gateway on a server whose tags do not change, and leaves it alone for so many seconds.
    pub fn measure(kafka: &Kafka, program: &Path, seconds: f64, stop: &Stop) -> Result<Self> {
        let busy = Scenario::named("100k").map_err(anyhow::Error::msg)?;
        let scenario = Scenario { rate: 0.0, ..busy };
        let folder = Folder::new("bench")?;
        let topic = "bench-rest";
        kafka.create_topic(topic, 1)?;
        let plant = Plant::start(&scenario, folder.path())?;
        let settings = settings(&scenario, &plant.addresses, &kafka.bootstrap(), 1);
        let mappings = mappings(&scenario, &plant.addresses.namespace, topic)?;
        let mappings: Vec<_> = mappings.iter().map(|(name, text)| (&**name, &**text)).collect();
        let mut gateway = Gateway::new(&settings, &mappings)?.with_program(program);
        let started = Instant::now();
        gateway.spawn()?;
        let received = "floorgate_source_samples_total{source=\"plant\"}";
        // What cannot be asked yet has nothing yet.
        while gateway.metric(received).ok().flatten().unwrap_or_default() < scenario.tags as f64 {
            stop.check()?;
            ensure!(
                started.elapsed() < Duration::from_mins(3),
                "too late: {}",
                gateway.output()?
            );
            std::thread::sleep(LOOK);
        }
        let all = started.elapsed().as_secs_f64();
        let pid = gateway.process()?.id();
        std::thread::sleep(SETTLING);
        let before = Cpu::of(pid)?;
        std::thread::sleep(Duration::from_secs_f64(seconds));
        stop.check()?;
        let cores = Cpu::of(pid)?.cores_since(before);
        let memory = peak_memory(pid)?;
        gateway.stop()?;
        drop(plant);
        Ok(Self {
            tags: scenario.tags,
            all,
            memory,
            cores,
        })
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let kept = self.all <= MOST_TO_ALL && self.memory <= MOST_MEMORY && self.cores <= MOST_CORES;
        format!(
            "{} tags of one server have their first values {:.1} s after the start (≤ {MOST_TO_ALL}), with {:.1} MB (≤ {MOST_MEMORY}); at \
             rest they take {:.4} of a core (≤ {MOST_CORES}): {}",
            self.tags,
            self.all,
            self.memory,
            self.cores,
            if kept { "kept" } else { "missed" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_can_be_missed() {
        let kept = Rest {
            tags: 100_000,
            all: 2.0,
            memory: 170.0,
            cores: 0.01,
        };
        assert!(kept.line().ends_with(": kept"));
        for missed in [
            Rest { all: 20.1, ..kept },
            Rest {
                memory: 251.0,
                ..kept
            },
            Rest { cores: 0.021, ..kept },
        ] {
            assert!(missed.line().ends_with(": missed"), "{}", missed.line());
        }
    }
}
