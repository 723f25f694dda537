//! The simulated plant as a program of its own.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Parser;
use floorgate_simulator::{JournalTarget, Load, LoadValue, NAMESPACE_URI, Options, Plant, Security};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated filling hall: lines on OPC UA, conveyors on Modbus TCP.
///
/// When both servers answer, their addresses are printed as one JSON line; when the plant is stopped (SIGTERM, Ctrl-C or
/// --for), a second line tells what it did.
#[derive(Debug, Parser)]
#[command(name = "floorgate-simulator", version)]
struct Arguments {
    /// Address on which both servers listen
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port of the OPC UA server, 0 for any free one
    #[arg(long, default_value_t = 4840)]
    opcua_port: u16,
    /// Port of the Modbus server, 0 for any free one
    #[arg(long, default_value_t = 5020)]
    modbus_port: u16,
    /// Number of filling lines
    #[arg(long, default_value_t = 6)]
    lines: u32,
    /// Number of conveyors, at most 99
    #[arg(long, default_value_t = 2)]
    conveyors: u8,
    /// How many seconds of the hall's life pass in one second
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// Fixes what happens: the same seed plays the same life
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where all counters start; near 4294967295 they soon wrap around
    #[arg(long, default_value_t = 0)]
    counter_start: u32,
    /// Load on OPC UA as TAGS:CHANGES, changes a second over all tags, for example 10000:30000
    #[arg(long, value_name = "TAGS:CHANGES", value_parser = load)]
    load: Option<(u32, f64)>,
    /// Load on Modbus, unit 100, as TAGS:CHANGES, at most 16384 tags of four registers
    #[arg(long, value_name = "TAGS:CHANGES", value_parser = load)]
    modbus_load: Option<(u32, f64)>,
    /// What load tags hold
    #[arg(long, value_enum, default_value_t)]
    load_value: LoadValue,
    /// Append every change of the hall to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Directory of the OPC UA server's certificate and key, made when missing; without it a temporary one
    #[arg(long, value_name = "DIR", conflicts_with = "no_encryption")]
    keys: Option<PathBuf>,
    /// Offer the OPC UA endpoint without security only, and make no key
    #[arg(long)]
    no_encryption: bool,
    /// Stop by itself after this many seconds, for example 20s or 1.5
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
}

fn load(text: &str) -> Result<(u32, f64), String> {
    let (tags, rate) = text
        .split_once(':')
        .ok_or("wants TAGS:CHANGES, for example 10000:30000")?;
    let tags = tags
        .parse()
        .map_err(|_| format!("{tags:?} is no number of tags"))?;
    let rate = rate
        .parse()
        .map_err(|_| format!("{rate:?} is no number of changes a second"))?;
    Ok((tags, rate))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Arguments {
    fn options(self) -> Options {
        let value = self.load_value;
        let load = |(tags, rate)| Load { tags, rate, value };
        Options {
            bind: self.bind,
            opcua_port: self.opcua_port,
            modbus_port: self.modbus_port,
            lines: self.lines,
            conveyors: self.conveyors,
            rate: self.rate,
            seed: self.seed,
            counter_start: self.counter_start,
            load: self.load.map(load),
            modbus_load: self.modbus_load.map(load),
            journal: self.journal.map_or(JournalTarget::Off, JournalTarget::File),
            security: if self.no_encryption {
                Security::NoneOnly
            } else {
                Security::Encrypted { keys: self.keys }
            },
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // The OPC UA library calls the key that was not wanted an error, with each connection anew.
    let quiet = "warn,opcua_crypto=off,opcua_core=off,opcua_server::server=error";
    let default = if arguments.no_encryption { quiet } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;

    let duration = arguments.duration;
    let plant = Plant::start(arguments.options())
        .await
        .context("the plant does not start")?;
    let ready = serde_json::json!({
        "opcua": plant.opcua_url(),
        "modbus": plant.modbus_address(),
        "namespace": NAMESPACE_URI,
        "pid": std::process::id(),
    });
    println!("{ready}");
    let time_is_up = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_up => {}
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for Ctrl-C")?,
        () = plant.ended() => {}
    }
    let totals = plant.stop().await.context("the plant stopped by itself")?;
    println!("{}", serde_json::to_string(&totals)?);
    Ok(())
}
