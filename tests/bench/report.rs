//! The results, for people and for programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::consume::Consumed;
use crate::floor::Floor;
use crate::load::Load;
use crate::measure::{Run, Timing, median};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    seconds: u64,
    warm_seconds: u64,
    cores: usize,
    loads: Vec<Row>,
}

/// What one load came to: medians of its runs; loss and doubles are sums.
#[derive(Debug, Serialize)]
pub struct Row {
    load: &'static str,
    tags: u32,
    changes_per_second: u32,
    runs: usize,
    /// Latencies in ms.
    measured: Consumed,
    cores: f64,
    peak_mb: f64,
    floor: Option<Floor>,
    /// p50 through the gateway over the sum of both halves' p50 without it.
    ratio: Option<f64>,
    /// The bars that were missed.
    missed: Vec<String>,
}

impl Row {
    /// Takes the middle of several runs.
    pub fn of(load: &Load, runs: &[Run], floor: Option<Floor>) -> Self {
        let middle = |of: fn(&Run) -> f64| median(runs.iter().map(of).collect());
        let sum = |of: fn(&Run) -> u64| runs.iter().map(of).sum();
        let measured = Consumed {
            records: sum(|run| run.consumed.records),
            per_second: middle(|run| run.consumed.per_second),
            p50: middle(|run| run.consumed.p50),
            p99: middle(|run| run.consumed.p99),
            p999: middle(|run| run.consumed.p999),
            max: middle(|run| run.consumed.max),
            lost: sum(|run| run.consumed.lost),
            doubled: sum(|run| run.consumed.doubled),
            bytes: middle(|run| run.consumed.bytes),
        };
        let (cores, peak_mb) = (middle(|run| run.cores), middle(|run| run.peak_mb));
        let ratio = floor
            .as_ref()
            .and_then(|floor| Some(measured.p50 / (floor.opcua?.p50 + floor.kafka.p50)));
        let (p50, p99, most_cores, most_mb) = load.bars;
        let mut missed = Vec::new();
        for (name, value, bar) in [
            ("p50", measured.p50, p50),
            ("p99", measured.p99, p99),
            ("cores", cores, most_cores),
            ("peak MB", peak_mb, most_mb),
        ] {
            if value > bar {
                missed.push(format!("{name} {value:.2} > {bar}"));
            }
        }
        if measured.lost + measured.doubled > 0 {
            missed.push(format!("{} lost, {} doubled", measured.lost, measured.doubled));
        }
        // The plant, the broker or the consumer may be what does not keep up; the run then shows nothing of the gateway.
        if measured.per_second < f64::from(load.rate) * 0.98 {
            missed.push(format!(
                "{:.0} changes a second of {}",
                measured.per_second, load.rate
            ));
        }
        Self {
            load: load.name,
            tags: load.tags,
            changes_per_second: load.rate,
            runs: runs.len(),
            measured,
            cores,
            peak_mb,
            floor,
            ratio,
            missed,
        }
    }
}

impl Report {
    /// An empty one.
    pub fn new(timing: Timing) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            seconds: timing.seconds,
            warm_seconds: timing.warm,
            cores,
            loads: Vec::new(),
        }
    }

    /// Adds a load.
    pub fn add(&mut self, row: Row) {
        self.loads.push(row);
    }

    /// Prints the table.
    pub fn print(&self) {
        println!(
            "latency in ms from the change on the floor to the consumer; CPU and memory of the gateway alone"
        );
        println!(
            "{:<22} {:>8} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {:>5} {:>5}  {:>15}  {:>5}",
            "load",
            "events/s",
            "p50",
            "p99",
            "p99.9",
            "max",
            "cores",
            "MB",
            "lost",
            "dbl",
            "floor p50",
            "ratio"
        );
        for row in &self.loads {
            let Consumed {
                per_second,
                p50,
                p99,
                p999,
                max,
                lost,
                doubled,
                ..
            } = row.measured;
            let floor = row.floor.as_ref().map_or_else(String::new, |floor| {
                let opcua = floor
                    .opcua
                    .map_or_else(|| "poll".to_owned(), |half| format!("{:.1}", half.p50));
                format!("{opcua} + {:.1}", floor.kafka.p50)
            });
            let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            println!(
                "{:<22} {per_second:>8.0} {p50:>7.1} {p99:>7.1} {p999:>7.1} {max:>7.1} {:>6.3} {:>6.0} {lost:>5} {doubled:>5}  \
                 {floor:>15}  {ratio:>5}",
                row.load, row.cores, row.peak_mb
            );
            for missed in &row.missed {
                println!("    missed: {missed}");
            }
        }
    }

    /// Writes everything as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("written to {}", path.display());
        Ok(())
    }
}
