//! Modbus servers of pymodbus, over everything that is no line.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::folder::Folder;
use crate::peer::Peer;
use crate::ports::free_port;
use crate::process::Signal;
use crate::wire::Wire;

/// How requests are framed, and what they go over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Modbus TCP (MBAP header).
    #[default]
    Tcp,
    /// Modbus TCP within TLS.
    Tls,
    /// Modbus TCP frames in datagrams.
    Udp,
    /// RTU frames with CRC over TCP, as behind a serial device server.
    Rtu,
    /// ASCII frames over TCP.
    Ascii,
}

impl Framing {
    /// What the server's script calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Rtu => "rtu",
            Self::Ascii => "ascii",
        }
    }

    /// What stands before `://` in a source's `connect`.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Rtu => "rtu+tcp",
            Self::Ascii => "ascii+tcp",
            other => other.name(),
        }
    }
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
    pub(crate) const fn name(self) -> &'static str {
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
    /// It is at the far end of this one.
    behind: Option<Arc<Wire>>,
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
        Self::with(framing, None, all_there(units), Vec::new())
    }

    /// Starts a server of Modbus TCP at the far end of a wire.
    pub fn behind(wire: Arc<Wire>, units: &[u8]) -> Result<Self> {
        Self::with(Framing::Tcp, Some(wire), all_there(units), Vec::new())
    }

    /// Starts a server with units of which only some registers are there (`{"unit": 1, "holding": [[0, 99]], "most": 20}`, see
    /// `Unit` of `tests/peers/modbus_server.py`), with this device identification. Other units do not answer.
    pub fn with_devices(framing: Framing, devices: Vec<Value>, identity: &Value) -> Result<Self> {
        let options = vec![
            "--others-are-silent".to_owned(),
            "--identity".to_owned(),
            identity.to_string(),
        ];
        Self::with(framing, None, devices, options)
    }

    /// Starts a server within TLS, which has the certificate of a name, and takes clients with one of the same authority.
    pub fn secured(authority: &Authority, name: &str, units: &[u8]) -> Result<Self> {
        let files = [
            ("--certificate", authority.certificate_of(name)),
            ("--key", authority.key_of(name)),
            ("--authority", authority.certificate()),
        ];
        let options = files
            .into_iter()
            .flat_map(|(option, file)| [option.to_owned(), file.display().to_string()]);
        Self::with(Framing::Tls, None, all_there(units), options.collect())
    }

    fn with(
        framing: Framing,
        behind: Option<Arc<Wire>>,
        devices: Vec<Value>,
        options: Vec<String>,
    ) -> Result<Self> {
        let folder = Folder::new("modbus")?;
        let mut server = Self {
            port: free_port()?,
            behind,
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

    /// Its host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host(), self.port)
    }

    fn host(&self) -> &str {
        self.behind.as_deref().map_or("127.0.0.1", Wire::address)
    }

    /// Sets registers from an address on, at one moment; after `kill` it has them when it starts again.
    pub fn set_registers(&mut self, unit: u8, table: Table, address: u16, values: &[u16]) -> Result<()> {
        let name = table.name();
        self.set(json!({"unit": unit, "table": name, "address": address, "values": values}))
    }

    /// Sets coils or discrete inputs from an address on, at one moment.
    pub fn set_bits(&mut self, unit: u8, table: Table, address: u16, values: &[bool]) -> Result<()> {
        let name = table.name();
        self.set(json!({"unit": unit, "table": name, "address": address, "values": values}))
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

    /// How many connections its operating system has, those among them of which it knows nothing yet.
    pub fn sockets(&self) -> Result<usize> {
        sockets(self.peer.as_ref().context("the server does not run")?, self.port)
    }

    /// Lets it stand still (SIGSTOP): its operating system takes connections, and nobody answers.
    pub fn pause(&self) -> Result<()> {
        self.peer
            .as_ref()
            .map_or(Ok(()), |peer| peer.signal(Signal::Stop))
    }

    /// Lets it go on after `pause`.
    pub fn go_on(&self) -> Result<()> {
        self.peer
            .as_ref()
            .map_or(Ok(()), |peer| peer.signal(Signal::Continue))
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
        let framing = self.framing.name();
        let port = self.port.to_string();
        let words = ["--host", self.host(), "--port", &port, "--framing", framing];
        let mut arguments = words.map(str::to_owned).to_vec();
        arguments.extend(
            self.devices
                .iter()
                .flat_map(|device| ["--device".to_owned(), device.to_string()]),
        );
        arguments.extend(
            self.settings
                .iter()
                .flat_map(|set| ["--set".to_owned(), set.to_string()]),
        );
        arguments.extend(self.options.iter().cloned());
        let log = self.folder.path().join("modbus.log");
        let wire = self.behind.as_deref();
        self.peer = Some(Peer::start_behind(wire, "modbus_server.py", &arguments, &log)?);
        Ok(())
    }

    fn set(&mut self, values: Value) -> Result<()> {
        if self.peer.is_some() {
            let mut request = values.clone();
            request["op"] = json!("set");
            self.ask(&request)?;
        }
        self.settings.push(values);
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

/// Units of which all tables are there.
fn all_there(units: &[u8]) -> Vec<Value> {
    units.iter().map(|unit| json!({"unit": unit})).collect()
}

/// The connections at a peer's port, as its operating system has them.
pub(crate) fn sockets(peer: &Peer, port: u16) -> Result<usize> {
    let path = format!("/proc/{}/net/tcp", peer.id());
    let table = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let port = format!(":{port:04X}");
    let is_connection = |line: &&str| {
        // A number, the own end, the other, the state: 01 is established, 08 is closed by the other end alone.
        let mut words = line.split_whitespace().skip(1);
        let is_own = words.next().is_some_and(|own| own.ends_with(&port));
        is_own && matches!(words.nth(1), Some("01" | "08"))
    };
    Ok(table.lines().filter(is_connection).count())
}
