//! An OPC UA server that encrypts, written in Java.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::folder::Folder;
use crate::peer::Peer;
use crate::ports::free_port;
use crate::process::Signal;
use crate::server::{Counts, OpcUaServer};

/// An Eclipse Milo server. It talks encrypted only (`Basic256Sha256`), to clients that it was told to trust; its variables lie in the namespace
/// [`crate::OpcUaPeer::NAMESPACE`] and keep what they were set to over a restart.
#[derive(Debug)]
pub struct MiloPeer {
    port: u16,
    users: Map<String, Value>,
    /// A request to add it for each variable, with its last value.
    variables: Vec<Value>,
    peer: Option<Peer>,
    // Deleted after the peer is gone.
    folder: Folder,
}

impl MiloPeer {
    /// Starts it with variables: name, type and value of each. A type is the name of a built-in one, or `Container` (an enumeration), `Order` (a structure
    /// with fields that may be left out) or `Reject` (a union); an array is the value of an array. With a user, nobody else is let in.
    pub fn start(variables: &[(&str, &str, Value)], user: Option<(&str, &str)>) -> Result<Self> {
        let add = |(node, kind, value): &(&str, &str, Value)| json!({"op": "add", "node": node, "type": kind, "value": value});
        let users = user.map(|(name, password)| (name.to_owned(), password.into()));
        let mut server = Self {
            port: free_port()?,
            users: users.into_iter().collect(),
            variables: variables.iter().map(add).collect(),
            peer: None,
            folder: Folder::new("milo")?,
        };
        server.resume()?;
        Ok(server)
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("opc.tcp://127.0.0.1:{}/", self.port)
    }

    /// The server's certificate (DER).
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("pki/server.der")
    }

    /// Trusts the client whose certificate is in this DER file, for good.
    pub fn trust(&mut self, certificate: &Path) -> Result<()> {
        self.ask(&json!({"op": "trust", "certificate": certificate}))
            .map(drop)
    }

    /// Sets a variable, status Good, and gives the source time (RFC 3339) that it was given.
    pub fn set(&mut self, node: &str, value: impl Into<Value>) -> Result<String> {
        self.set_with(node, value.into(), &json!({}))
    }

    /// Sets a variable with a status code (OPC 10000-4 clause 7.39).
    pub fn set_status(&mut self, node: &str, value: impl Into<Value>, status: u32) -> Result<String> {
        self.set_with(node, value.into(), &json!({"status": status}))
    }

    /// Sets a variable with a source time (RFC 3339).
    pub fn set_at(&mut self, node: &str, value: impl Into<Value>, time: &str) -> Result<String> {
        self.set_with(node, value.into(), &json!({"time": time}))
    }

    /// Sets a variable to one value after the other, too fast for anybody to see each.
    pub fn set_all(&mut self, node: &str, values: &[Value]) -> Result<()> {
        self.ask(&json!({"op": "set_all", "node": node, "values": values}))?;
        if let Some(last) = values.last() {
            self.begin_with(node, last.clone());
        }
        Ok(())
    }

    /// Sets all variables, which are of one type, to one value after the other, too fast for anybody to see each.
    pub fn set_every(&mut self, values: &[Value]) -> Result<()> {
        self.ask(&json!({"op": "set_every", "values": values})).map(drop)
    }

    fn set_with(&mut self, node: &str, value: Value, special: &Value) -> Result<String> {
        let mut request = json!({"op": "set", "node": node, "value": value});
        for (key, value) in special.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        let answer = self.ask(&request)?;
        self.begin_with(node, value);
        Ok(answer["source_time"]
            .as_str()
            .context("no source time")?
            .to_owned())
    }

    /// Starts to write `first..=last` to a `UInt32`, one each `interval_ms`, without waiting for the end.
    pub fn count_up(&mut self, node: &str, first: u32, last: u32, interval_ms: u32) -> Result<()> {
        let request =
            json!({"op": "count_up", "node": node, "first": first, "last": last, "interval_ms": interval_ms});
        self.ask(&request).map(drop)
    }

    /// The number that a variable has.
    pub fn progress(&mut self, node: &str) -> Result<u64> {
        let answer = self.ask(&json!({"op": "progress", "node": node}))?;
        answer["value"]["value"]
            .as_u64()
            .with_context(|| format!("no number: {answer}"))
    }

    /// Tells events (`SystemEventType`) of the server, one after the other.
    pub fn tell(&mut self, messages: &[String], severity: u16) -> Result<()> {
        self.ask(&json!({"op": "tell", "messages": messages, "severity": severity}))
            .map(drop)
    }

    /// Says of a structure that it is a subtype of itself, as no server should.
    pub fn twist_types(&mut self) -> Result<()> {
        self.ask(&json!({"op": "twist"})).map(drop)
    }

    /// Has a variable begin with this value at the next [`OpcUaServer::resume`]: it changed while nobody could see it.
    pub fn begin_with(&mut self, node: &str, value: impl Into<Value>) {
        let value = value.into();
        for variable in self
            .variables
            .iter_mut()
            .filter(|variable| variable["node"] == node)
        {
            variable["value"] = value.clone();
        }
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        self.peer.as_mut().context("the server is down")?.ask(request)
    }
}

impl OpcUaServer for MiloPeer {
    fn counts(&mut self) -> Result<Counts> {
        Counts::of(&self.ask(&json!({"op": "count"}))?)
    }

    fn write(&mut self, node: &str, value: Value) -> Result<()> {
        self.set(node, value).map(drop)
    }

    fn kill(&mut self) {
        self.peer = None;
    }

    fn shut_down(&mut self) -> Result<()> {
        self.peer.take().context("the server is down")?.stop()
    }

    /// It has its certificate still.
    fn resume(&mut self) -> Result<()> {
        let settings = json!({"port": self.port, "users": self.users, "variables": self.variables});
        let file = self.folder.write("settings.json", &settings.to_string())?;
        let log = self.folder.path().join("peer.log");
        self.peer = Some(Peer::start("Peer.java", &[file.display().to_string()], &log)?);
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.peer.as_ref().context("the server is down")?.signal(signal)
    }
}
