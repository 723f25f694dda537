//! The benchmark: plant, gateway, Kafka and consumer as processes of their own, and each half of the way alone.
//!
//! `make bench` runs it. Latency is counted from the time at which the plant wrote a value, as OPC UA's source time or
//! as the value itself on Modbus, to the time at which the consumer has it; all processes share one clock.

mod account;
mod configuration;
mod consume;
mod device;
mod drain;
mod latency;
mod link;
mod observer;
mod plant;
mod produce;
mod record;
mod recording;
mod report;
mod rest;
mod restart;
mod run;
mod scenario;
mod stop;
mod subscribe;
mod usage;
mod watcher;

use std::path::PathBuf;

use anyhow::{Error, Result, ensure};
use clap::{Args, Parser, Subcommand};
use floorgate_tests::{Kafka, binary, target};

use crate::drain::Drain;
use crate::link::Link;
use crate::recording::Recording;
use crate::report::{Outcome, Results};
use crate::rest::Rest;
use crate::restart::Restart;
use crate::run::Bench;
use crate::scenario::{SCENARIOS, Scenario};
use crate::stop::Stop;

/// Measures latency, CPU, memory, loss and doubles, from a simulated plant to a consumer of a real Kafka.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    measure: Measure,
    #[command(subcommand)]
    part: Option<Part>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Args)]
struct Measure {
    /// What to measure, several times for several: 1k, 1k-asyncua, 10k, 30k, 100k, modbus, defaults, 1k-transactions
    /// [default: all]
    #[arg(long, value_name = "NAME", value_parser = Scenario::named)]
    scenario: Vec<Scenario>,
    /// Seconds of each run that are measured, after the warm-up
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Runs of each scenario; the medians are shown
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// One run of 10 s
    #[arg(long, conflicts_with_all = ["seconds", "runs"])]
    quick: bool,
    /// Do not warm the broker up first: for a look at whether all works, not at how fast
    #[arg(long)]
    cold: bool,
    /// Measure the halves only, without the gateway
    #[arg(long)]
    floor_only: bool,
    /// Measure the whole way only, without the halves
    #[arg(long, conflicts_with = "floor_only")]
    whole_only: bool,
    /// Measure how fast a backlog of a million events goes out, and nothing else but the scenarios that are named [default: after all
    /// of them]
    #[arg(long, conflicts_with_all = ["floor_only", "whole_only"])]
    backlog: bool,
    /// Measure how long a gateway with a million stored events takes to start, and nothing else but the scenarios that are named
    /// [default: after all of them]
    #[arg(long, conflicts_with_all = ["floor_only", "whole_only"])]
    restart: bool,
    /// Measure what 100,000 tags take that do not change, and nothing else but the scenarios that are named [default: after all of them]
    #[arg(long, conflicts_with_all = ["floor_only", "whole_only"])]
    rest: bool,
    /// Measure what the gateway makes of a Modbus link, beside a bare loop and when one of its units is dead, and nothing else but the
    /// scenarios that are named [default: after all of them]
    #[arg(long, conflicts_with_all = ["floor_only", "whole_only"])]
    modbus_link: bool,
    /// Measure what recording costs and how fast a recording is played, and nothing else but the scenarios that are named [default: after
    /// all of them]
    #[arg(long, conflicts_with_all = ["floor_only", "whole_only"])]
    recording: bool,
    /// The program to measure, several to compare them run by run [default: the one built beside this]
    #[arg(long, value_name = "FILE")]
    gateway: Vec<PathBuf>,
    /// Where the results go [default: target/bench/result.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Parts of the measurement that are processes of their own.
#[derive(Debug, Subcommand)]
enum Part {
    Consume(consume::Consume),
    Subscribe(subscribe::Subscribe),
    Produce(produce::Produce),
}

/// The scenario whose load warms the broker up.
const WARM_UP: &str = "10k";

/// Seconds of the windows of the halves, at most.
const FLOOR_SECONDS: f64 = 10.0;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let stop = Stop::listen()?;
    match arguments.part {
        Some(Part::Consume(consume)) => consume.run(&stop),
        Some(Part::Subscribe(subscribe)) => subscribe.run(&stop),
        Some(Part::Produce(produce)) => produce.run(&stop),
        None => measure(arguments.measure, &stop),
    }
}

fn measure(measure: Measure, stop: &Stop) -> Result<()> {
    let (runs, seconds) = if measure.quick {
        (1, 10.0)
    } else {
        (measure.runs, measure.seconds)
    };
    let parts =
        measure.backlog || measure.restart || measure.rest || measure.modbus_link || measure.recording;
    let all = measure.scenario.is_empty() && !parts;
    let beside = all && !measure.floor_only && !measure.whole_only;
    let (backlog, restart) = (measure.backlog || beside, measure.restart || beside);
    let scenarios = if all { SCENARIOS.to_vec() } else { measure.scenario };
    let json = match measure.json {
        Some(file) => file,
        None => target()?.join("bench/result.json"),
    };
    let gateways = if measure.gateway.is_empty() {
        vec![binary("floorgate")?]
    } else {
        // Each gateway runs in a folder of its own.
        let absolute = measure.gateway.iter().map(std::path::absolute);
        absolute.collect::<Result<_, _>>()?
    };
    let mut kafka = Kafka::start_for_measuring()?;
    let bench = Bench {
        kafka: &kafka,
        seconds,
        floor_seconds: seconds.min(FLOOR_SECONDS),
        floor_only: measure.floor_only,
        whole_only: measure.whole_only,
        stop,
    };
    let mut results = Results::new(seconds, runs);
    if !measure.cold {
        eprintln!("warming the broker up");
        bench.warm_up(&Scenario::named(WARM_UP).map_err(Error::msg)?)?;
    }
    for scenario in scenarios {
        let mut outcomes: Vec<_> = gateways
            .iter()
            .map(|program| Outcome::new(scenario, program))
            .collect();
        for number in 1..=runs {
            for (program, outcome) in gateways.iter().zip(&mut outcomes) {
                eprintln!("{}: run {number} of {runs}", scenario.title);
                match bench.run(&scenario, program, number) {
                    Ok(run) => outcome.runs.push(run),
                    Err(error) if !stop.is_wanted() => {
                        eprintln!("{}: run {number} failed: {error:#}", scenario.title);
                        outcome.failures.push(format!("{error:#}"));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for mut outcome in outcomes {
            outcome.conclude();
            print!("{}", outcome.table());
            results.scenarios.push(outcome);
        }
        // After each scenario, so that a later failure does not take it along.
        results.write(&json)?;
    }
    if backlog {
        eprintln!("a backlog");
        results.backlog = Some(Drain::measure(&kafka.bootstrap())?);
        results.write(&json)?;
    }
    if restart {
        for program in &gateways {
            eprintln!("a restart with a large store");
            results
                .restarts
                .push(Restart::measure(&mut kafka, program, stop)?);
        }
        results.write(&json)?;
    }
    if measure.rest || beside {
        for program in &gateways {
            eprintln!("tags at rest");
            let rest = Rest::measure(&kafka, program, seconds, stop)?;
            results.rests.push(rest);
        }
        results.write(&json)?;
    }
    if measure.modbus_link || beside {
        results.links = links(&kafka, &gateways, seconds, stop)?;
        results.write(&json)?;
    }
    if measure.recording || beside {
        for program in &gateways {
            eprintln!("recordings");
            let recording = Recording::measure(&kafka, program, measure.quick, stop)?;
            results.recordings.push(recording);
        }
        results.write(&json)?;
    }
    println!("{}", results.bars());
    println!("Written to {}", json.display());
    let wrongs = results.wrongs();
    ensure!(wrongs.is_empty(), "{}", wrongs.join("; "));
    Ok(())
}

/// What each program makes of a Modbus link.
fn links(kafka: &Kafka, gateways: &[PathBuf], seconds: f64, stop: &Stop) -> Result<Vec<Link>> {
    let measured = gateways.iter().map(|program| {
        eprintln!("a Modbus link");
        let link = Link::measure(kafka, program, seconds, stop)?;
        print!("{}", link.table());
        Ok(link)
    });
    measured.collect()
}
