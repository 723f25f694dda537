//! An OPC UA server that says what none should.

use anyhow::{Context, Result};
use serde_json::json;

use crate::folder::Folder;
use crate::opcua::OpcUaPeer;
use crate::peer::Peer;
use crate::ports::free_port;

/// It stands before a real server, passes on what both say, and replaces what that one publishes when it is asked to.
#[derive(Debug)]
pub struct Rogue {
    port: u16,
    peer: Peer,
    // Deleted after the peer is gone.
    _folder: Folder,
}

impl Rogue {
    /// Starts it before a server without security.
    pub fn before(server: &OpcUaPeer) -> Result<Self> {
        let (folder, port) = (Folder::new("rogue")?, free_port()?);
        let arguments = [("--port", port), ("--server", server.port())]
            .map(|(name, value)| [name.to_owned(), value.to_string()])
            .concat();
        let log = folder.path().join("peer.log");
        Ok(Self {
            port,
            peer: Peer::start("opcua_rogue.py", &arguments, &log)?,
            _folder: folder,
        })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("opc.tcp://127.0.0.1:{}/", self.port)
    }

    /// The names of all that it can say.
    pub fn tricks(&mut self) -> Result<Vec<String>> {
        let answer = self.peer.ask(&json!({"op": "tricks"}))?;
        Ok(serde_json::from_value(answer["value"].clone())?)
    }

    /// Has it say this in the place of the next values.
    pub fn play(&mut self, trick: &str) -> Result<()> {
        self.peer.ask(&json!({"op": "play", "trick": trick})).map(drop)
    }

    /// How often it said such a thing.
    pub fn played(&mut self) -> Result<u64> {
        self.peer.ask(&json!({"op": "played"}))?["value"]
            .as_u64()
            .context("no number")
    }
}
