//! The benchmark: plant → gateway → real Kafka → consumer, each a process of its own, under the loads that README and
//! ARCHITECTURE.md speak of; and, on the same load, the floor below which no gateway gets: the OPC UA half alone and the
//! Kafka half alone.
//!
//! `make bench` runs it. Results are printed as a table and written to `target/bench.json`.

mod consume;
mod floor;
mod load;
mod measure;
mod produce;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use floorgate_tests::Kafka;

use load::LOADS;
use measure::Timing;
use report::{Report, Row};

/// Measures latency, CPU and memory of the gateway.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct Options {
    /// Seconds that are measured in each run
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds before, which do not count
    #[arg(long, default_value_t = 8)]
    warm: u64,
    /// Runs of each load; medians are shown
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only loads whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Leave the floor out
    #[arg(long)]
    no_floor: bool,
    /// Use the shipped defaults instead of 10 ms publishing
    #[arg(long)]
    shipped: bool,
    /// Where the results are written
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
}

/// The parts that run as processes of their own.
#[derive(Debug, Subcommand)]
enum Part {
    /// Reads a topic and answers `begin` and `end` on standard input.
    #[command(hide = true)]
    Consume { bootstrap: String, topic: String },
    /// Writes records of a size at a rate until standard input is closed.
    #[command(hide = true)]
    Produce {
        bootstrap: String,
        topic: String,
        rate: u32,
        bytes: usize,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Consume { bootstrap, topic }) => consume::consume(&bootstrap, &topic),
        Some(Part::Produce {
            bootstrap,
            topic,
            rate,
            bytes,
        }) => produce::produce(&bootstrap, &topic, rate, bytes),
        None => bench(&arguments.options),
    }
}

fn bench(options: &Options) -> Result<()> {
    let timing = Timing {
        warm: options.warm,
        seconds: options.seconds,
    };
    let kafka = Kafka::start()?;
    let mut report = Report::new(timing);
    let wanted = |name: &str| {
        options
            .only
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
    };
    for load in LOADS.iter().filter(|load| wanted(load.name)) {
        let mut runs = Vec::new();
        for run in 1..=options.runs.max(1) {
            eprintln!("{}: run {run} of {}", load.name, options.runs.max(1));
            let measured = load.run(&kafka, timing, options.shipped);
            runs.push(measured.with_context(|| format!("{}, run {run}", load.name))?);
        }
        let floor = if options.no_floor {
            None
        } else {
            eprintln!("{}: the floor", load.name);
            Some(
                floor::measure(load, &kafka, timing)
                    .with_context(|| format!("the floor of {}", load.name))?,
            )
        };
        report.add(Row::of(load, &runs, floor));
    }
    report.print();
    report.write(&options.json)
}
