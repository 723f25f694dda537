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

/// A pymodbus server whose units have 2,000 of each table unless said, all 0 at the start.
#[derive(Debug)]
pub struct ModbusPeer {
    port: u16,
    framing: Framing,
    /// What `tests/peers/modbus_server.py` is told of each unit, and of the server besides.
    devices: Vec<Value>,
    options: Vec<String>,
    /// What was set, so that a restarted server holds the same.
    settings: Vec<Value>,
    peer: Option<Peer>,
    // Deleted after the peer is gone.
    folder: Folder,
}

impl ModbusPeer {
    /// Starts a server with these units.
    pub fn start(framing: Framing, units: &[u8]) -> Result<Self> {
        let devices = units.iter().map(|unit| json!({"unit": unit})).collect();
        Self::with(framing, devices, Vec::new())
    }

    /// Starts a server with units of which only some registers are there (`{"unit": 1, "holding": [[0, 99]], "most": 20}`, see
    /// `Unit` of `tests/peers/modbus_server.py`), with this device identification. Other units do not answer.
    pub fn with_devices(framing: Framing, devices: Vec<Value>, identity: &Value) -> Result<Self> {
        let options = vec![
            "--others-are-silent".to_owned(),
            "--identity".to_owned(),
            identity.to_string(),
        ];
        Self::with(framing, devices, options)
    }

    fn with(framing: Framing, devices: Vec<Value>, options: Vec<String>) -> Result<Self> {
        let folder = Folder::new("modbus")?;
        let mut server = Self {
            port: free_port()?,
            framing,
            devices,
            options,
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

    /// How many reads this unit answered since the start.
    pub fn requests_of(&mut self, unit: u8) -> Result<u64> {
        let counts = self.ask(&json!({"op": "count"}))?;
        counts["by_unit"][unit.to_string()]
            .as_u64()
            .with_context(|| format!("no unit {unit}"))
    }

    /// The function codes that were asked for since the start.
    pub fn functions(&mut self) -> Result<Vec<u8>> {
        let counts = self.ask(&json!({"op": "functions"}))?;
        let names = counts.as_object().context("no counts of functions")?.keys();
        let mut codes = names.map(|code| code.parse()).collect::<Result<Vec<u8>, _>>()?;
        codes.sort_unstable();
        Ok(codes)
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
            self.devices
                .iter()
                .flat_map(|device| ["--device".to_owned(), device.to_string()]),
        );
        arguments.extend(self.options.iter().cloned());
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
