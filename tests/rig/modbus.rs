//! A Modbus server.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::peer::Peer;
use crate::ports::free_port;

/// How requests are framed on the TCP connection.
#[derive(Clone, Copy, Debug, Default)]
pub enum Framing {
    /// Modbus TCP (MBAP header).
    #[default]
    Tcp,
    /// RTU frames with CRC, as behind a serial device server.
    Rtu,
}

/// The four tables of a unit.
#[derive(Clone, Copy, Debug)]
pub enum Table {
    /// Coils.
    Coil,
    /// Discrete inputs.
    Discrete,
    /// Holding registers.
    Holding,
    /// Input registers.
    Input,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        }
    }
}

/// A pymodbus server whose units have 2,000 of each table, all 0 at the start.
#[derive(Debug)]
pub struct ModbusPeer {
    port: u16,
    framing: Framing,
    units: Vec<u8>,
    /// What was set, so that a restarted server holds the same.
    settings: Vec<Value>,
    peer: Option<Peer>,
    // Deleted after the peer is gone.
    folder: Folder,
}

impl ModbusPeer {
    /// Starts a server with these units.
    pub fn start(framing: Framing, units: &[u8]) -> Result<Self> {
        let folder = Folder::new("modbus")?;
        let units = units.to_vec();
        let mut server = Self {
            port: free_port()?,
            framing,
            units,
            settings: Vec::new(),
            peer: None,
            folder,
        };
        server.resume()?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Sets registers from an address on, at one moment.
    pub fn set_registers(&mut self, unit: u8, table: Table, address: u16, values: &[u16]) -> Result<()> {
        let name = table.name();
        self.set(json!({"op": "set", "unit": unit, "table": name, "address": address, "values": values}))
    }

    /// Sets coils or discrete inputs from an address on, at one moment.
    pub fn set_bits(&mut self, unit: u8, table: Table, address: u16, values: &[bool]) -> Result<()> {
        let name = table.name();
        self.set(json!({"op": "set", "unit": unit, "table": name, "address": address, "values": values}))
    }

    /// Every answer of the unit comes so many seconds later.
    pub fn delay(&mut self, unit: u8, seconds: f64) -> Result<()> {
        self.ask(&json!({"op": "delay", "unit": unit, "seconds": seconds}))
            .map(drop)
    }

    /// Every read of the table is answered with an exception code; 0 ends it.
    pub fn exception(&mut self, unit: u8, table: Table, code: u8) -> Result<()> {
        self.ask(&json!({"op": "exception", "unit": unit, "table": table.name(), "code": code}))
            .map(drop)
    }

    /// How many reads were answered since the start.
    pub fn requests(&mut self) -> Result<u64> {
        self.counted("requests")
    }

    /// How many clients are connected.
    pub fn connections(&mut self) -> Result<u64> {
        self.counted("connections")
    }

    /// Closes every connection.
    pub fn drop_connections(&mut self) -> Result<()> {
        self.ask(&json!({"op": "drop"})).map(drop)
    }

    /// Kills the server (SIGKILL).
    pub fn kill(&mut self) {
        self.peer = None;
    }

    /// Starts it again after `kill`, on the same port and with the same values.
    pub fn resume(&mut self) -> Result<()> {
        let framing = match self.framing {
            Framing::Tcp => "tcp",
            Framing::Rtu => "rtu",
        };
        let mut arguments = ["--port", &self.port.to_string(), "--framing", framing]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(
            self.units
                .iter()
                .flat_map(|unit| ["--unit".to_owned(), unit.to_string()]),
        );
        let mut peer = Peer::start(
            "modbus_server.py",
            &arguments,
            &self.folder.path().join("modbus.log"),
        )?;
        for setting in &self.settings {
            peer.ask(setting)?;
        }
        self.peer = Some(peer);
        Ok(())
    }

    fn set(&mut self, request: Value) -> Result<()> {
        self.ask(&request)?;
        self.settings.push(request);
        Ok(())
    }

    fn counted(&mut self, what: &str) -> Result<u64> {
        self.ask(&json!({"op": "count"}))?[what]
            .as_u64()
            .with_context(|| format!("no count of {what}"))
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        self.peer
            .as_mut()
            .context("the server does not run")?
            .ask(request)
    }
}
