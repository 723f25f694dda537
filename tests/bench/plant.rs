//! The plant under load, as a process of its own: the simulator, or a server of another make.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use floorgate_tests::{Patience, Process, Signal, binary, free_port, peer_command};
use serde::Deserialize;

use crate::scenario::{Access, Make, Scenario};

/// Where the plant answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Addresses {
    /// The OPC UA server's URL.
    pub opcua: String,
    /// The Modbus server's `host:port`, where there is one.
    #[serde(default)]
    pub modbus: String,
    /// Namespace of the OPC UA nodes.
    pub namespace: String,
}

/// What the plant wrote.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Totals {
    /// Writes to load tags of OPC UA.
    pub load: u64,
    /// Writes to load tags of Modbus.
    #[serde(default)]
    pub modbus_load: u64,
    /// Writes that came more than 5 ms after they were due.
    #[serde(default)]
    pub late: u64,
}

/// The running plant.
#[derive(Debug)]
pub struct Plant {
    process: Process,
    /// Where it answers.
    pub addresses: Addresses,
}

impl Plant {
    /// Starts it with the load of a scenario.
    pub fn start(scenario: &Scenario, folder: &Path) -> Result<Self> {
        let mut command = match scenario.plant {
            Make::Simulator => simulator(scenario)?,
            Make::Asyncua => asyncua(scenario)?,
        };
        // A plant that is killed leaves its keys in the folder that is deleted anyway.
        command.env("TMPDIR", folder);
        let mut process = Process::start("plant", &command, &folder.join("plant.log"))?;
        process.wait_for_output("}\n", Patience::Long)?;
        let output = process.output()?;
        let ready = output.lines().find(|line| line.starts_with('{'));
        let addresses = serde_json::from_str(ready.unwrap_or_default()).context(output.clone())?;
        Ok(Self { process, addresses })
    }

    /// Its process, which stops on SIGTERM and then prints [`Totals`].
    pub fn into_process(self) -> Process {
        self.process
    }
}

fn simulator(scenario: &Scenario) -> Result<Command> {
    let load = format!("{}:{}", scenario.tags, scenario.rate);
    let mut command = Command::new(binary("floorgate-simulator")?);
    command.args(["--opcua-port", "0", "--modbus-port", "0"]);
    command.args(["--lines", "0", "--conveyors", "0", "--no-encryption"]);
    match scenario.access {
        Access::OpcUa | Access::OpcUaDefaults => command.args(["--load", &load]),
        Access::Modbus => command.args(["--modbus-load", &load, "--load-value", "time"]),
    };
    Ok(command)
}

fn asyncua(scenario: &Scenario) -> Result<Command> {
    let mut command = peer_command("opcua_load.py")?;
    command.args(["--port", &free_port()?.to_string()]);
    command.args(["--tags", &scenario.tags.to_string()]);
    command.args(["--rate", &scenario.rate.to_string()]);
    Ok(command)
}

/// Stops a process that makes load, and reads the last line of JSON that it prints.
pub fn totals(mut process: Process) -> Result<Totals> {
    process.signal(Signal::Term)?;
    process.wait(Duration::from_mins(1))?;
    let output = process.output()?;
    let last = output.lines().rfind(|line| line.starts_with('{'));
    serde_json::from_str(last.unwrap_or_default()).with_context(|| format!("no totals in {output}"))
}

/// An error with a process's output when it has ended.
pub fn check(process: &mut Process, name: &str) -> Result<()> {
    anyhow::ensure!(process.is_running()?, "{name} has ended: {}", process.output()?);
    Ok(())
}
