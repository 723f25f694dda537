//! Modbus servers of libmodbus, over TCP and on a serial line.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::installation::target;
use crate::modbus::{Table, sockets};
use crate::peer::Peer;
use crate::ports::free_port;
use crate::process::{Process, Signal};
use crate::wait::{Patience, until};

/// A libmodbus server of one unit with 2,000 of each table, all 0 at the start. It serves one connection at a time.
#[derive(Debug)]
pub struct LibmodbusPeer {
    over: Over,
    /// None while it is killed.
    peer: Option<Peer>,
    /// Its serial line; none while it is killed, too. It ends after the peer.
    line: Option<Process>,
    /// What was set, for the next start.
    settings: Vec<Value>,
    // Gone after both.
    folder: Folder,
}

#[derive(Debug)]
enum Over {
    /// Modbus TCP.
    Port(u16),
    /// RTU, on a line that has the unit of this address at its end.
    Line(u8),
}

impl LibmodbusPeer {
    /// Starts a server of Modbus TCP.
    pub fn tcp() -> Result<Self> {
        Self::start(Over::Port(free_port()?))
    }

    /// Starts a slave of RTU on a serial line, which is a pair of terminals through socat.
    pub fn serial(unit: u8) -> Result<Self> {
        Self::start(Over::Line(unit))
    }

    fn start(over: Over) -> Result<Self> {
        let mut server = Self {
            over,
            peer: None,
            line: None,
            settings: Vec::new(),
            folder: Folder::new("libmodbus")?,
        };
        server.resume()?;
        Ok(server)
    }

    /// An end of the line.
    fn end(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Kills the server (SIGKILL), and its line where it is on one: the terminals are gone like those of an adapter that is pulled out.
    pub fn kill(&mut self) {
        self.peer = None;
        self.line = None;
    }

    /// Starts it again after `kill`, where it was and with the same values.
    pub fn resume(&mut self) -> Result<()> {
        let mut arguments = match self.over {
            Over::Port(port) => vec!["--port".to_owned(), port.to_string()],
            Over::Line(unit) => {
                self.line = Some(self.lay()?);
                let slave = self.end("slave").display().to_string();
                ["--terminal", &slave, "--unit", &unit.to_string()]
                    .map(str::to_owned)
                    .to_vec()
            }
        };
        let libraries = target()?.join("test/debian").display().to_string();
        arguments.extend(["--libraries".to_owned(), libraries]);
        let log = self.folder.path().join("libmodbus.log");
        let mut peer = Peer::start("libmodbus_server.py", &arguments, &log)?;
        for request in &self.settings {
            peer.ask(request)?;
        }
        self.peer = Some(peer);
        Ok(())
    }

    fn lay(&self) -> Result<Process> {
        let ends = ["slave", "master"].map(|end| self.end(end));
        for end in &ends {
            if end.is_symlink() {
                std::fs::remove_file(end)?;
            }
        }
        let mut command = socat()?;
        for end in &ends {
            command.arg(format!("pty,raw,echo=0,link={}", end.display()));
        }
        let line = Process::start("socat", &command, &self.folder.path().join("socat.log"))?;
        until("a serial line", Patience::Short, || {
            Ok(ends.iter().all(|end| end.exists()).then_some(()))
        })?;
        Ok(line)
    }

    /// The setting `connect` of a source that reads it.
    #[must_use]
    pub fn connect(&self) -> String {
        match self.over {
            Over::Port(port) => format!("tcp://127.0.0.1:{port}"),
            Over::Line(_) => format!("rtu://{}", self.end("master").display()),
        }
    }

    /// Sets registers from an address on.
    pub fn set_registers(&mut self, table: Table, address: u16, values: &[u16]) -> Result<()> {
        let name = table.name();
        let request = json!({"op": "set", "table": name, "address": address, "values": values});
        if let Some(peer) = &mut self.peer {
            peer.ask(&request)?;
        }
        self.settings.push(request);
        Ok(())
    }

    /// Sets coils or discrete inputs from an address on.
    pub fn set_bits(&mut self, table: Table, address: u16, values: &[bool]) -> Result<()> {
        let values: Vec<u16> = values.iter().map(|value| u16::from(*value)).collect();
        self.set_registers(table, address, &values)
    }

    fn peer(&self) -> Result<&Peer> {
        self.peer.as_ref().context("the server does not run")
    }

    /// Lets it stand still (SIGSTOP).
    pub fn pause(&self) -> Result<()> {
        self.peer()?.signal(Signal::Stop)
    }

    /// Lets it go on after `pause`.
    pub fn go_on(&self) -> Result<()> {
        self.peer()?.signal(Signal::Continue)
    }

    /// How many connections its operating system has; none on a serial line.
    pub fn sockets(&self) -> Result<usize> {
        match self.over {
            Over::Port(port) => sockets(self.peer()?, port),
            Over::Line(_) => Ok(0),
        }
    }

    /// How many requests it got since the start.
    pub fn requests(&mut self) -> Result<u64> {
        let peer = self.peer.as_mut().context("the server does not run")?;
        peer.ask(&json!({"op": "count"}))?["requests"]
            .as_u64()
            .context("no count of requests")
    }
}

/// The system's socat, or the one that `tests/setup` fetched with the libraries that it needs.
fn socat() -> Result<Command> {
    let debian = target()?.join("test/debian/usr");
    let fetched = debian.join("bin/socat");
    if !fetched.exists() {
        return Ok(Command::new("socat"));
    }
    let folders = std::fs::read_dir(debian.join("lib"))?;
    let folders = folders
        .map(|folder| Ok(folder?.path()))
        .collect::<Result<Vec<_>>>()?;
    let mut command = Command::new(fetched);
    command.env("LD_LIBRARY_PATH", std::env::join_paths(folders)?);
    Ok(command)
}
