//! An OPC UA server with alarms, job orders, structures and a history.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::peer::Peer;
use crate::ports::free_port;

/// A node-opcua server: a boiler with two alarms, in the namespace [`crate::OpcUaPeer::NAMESPACE`].
#[derive(Debug)]
pub struct NodePeer {
    port: u16,
    peer: Option<Peer>,
    // Deleted after the peer is gone.
    folder: Folder,
}

impl NodePeer {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let mut server = Self {
            port: free_port()?,
            peer: None,
            folder: Folder::new("node-opcua")?,
        };
        server.resume()?;
        Ok(server)
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("opc.tcp://127.0.0.1:{}/", self.port)
    }

    /// Starts it again, after it was killed.
    pub fn resume(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let arguments = [self.port.to_string(), folder.display().to_string()];
        self.peer = Some(Peer::start("server.js", &arguments, &folder.join("peer.log"))?);
        Ok(())
    }

    /// Kills it: connections break without a word, and it forgets all that it knew.
    pub fn kill(&mut self) {
        self.peer = None;
    }

    /// Adds a variable; `kind` is the name of a built-in type.
    pub fn add(&mut self, node: &str, kind: &str, value: impl Into<Value>) -> Result<()> {
        self.ask(&json!({"op": "add", "node": node, "type": kind, "value": value.into()}))
            .map(drop)
    }

    /// Sets a variable; those of the boiler, `Boiler.Level` and `Boiler.Pressure`, are high above 90.
    pub fn set(&mut self, node: &str, value: impl Into<Value>) -> Result<()> {
        self.set_all(node, &[value.into()])
    }

    /// Sets a variable to one value after the other, each with a time of its own.
    pub fn set_all(&mut self, node: &str, values: &[Value]) -> Result<()> {
        self.ask(&json!({"op": "set", "node": node, "values": values}))
            .map(drop)
    }

    /// Has it end the connection when a request of a kind comes (`HistoryReadRequest`), after so many that it answers.
    pub fn cut(&mut self, request: &str, after: u32) -> Result<()> {
        self.ask(&json!({"op": "cut", "request": request, "after": after}))
            .map(drop)
    }

    /// Acknowledges the alarm of a variable of the boiler, as an operator would.
    pub fn acknowledge(&mut self, alarm: &str) -> Result<()> {
        self.ask(&json!({"op": "acknowledge", "alarm": alarm})).map(drop)
    }

    /// Has the boiler tell that a job order has a state (`ISA95JobOrderStatusEventType`).
    pub fn job(&mut self, order: &str, state: u32) -> Result<()> {
        self.ask(&json!({"op": "job", "order": order, "state": state}))
            .map(drop)
    }

    /// Sets a variable to a job order with parameters (`ISA95JobOrderDataType`), which it adds if need be.
    pub fn set_order(&mut self, node: &str, order: &str, parameters: &[f64]) -> Result<()> {
        self.ask(&json!({"op": "order", "node": node, "order": order, "parameters": parameters}))
            .map(drop)
    }

    /// Keeps a history of a variable from now on.
    pub fn keep_history(&mut self, node: &str) -> Result<()> {
        self.ask(&json!({"op": "historize", "node": node})).map(drop)
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&mut self) -> Result<u64> {
        self.ask(&json!({"op": "subscriptions"}))?["value"]
            .as_u64()
            .context("no number")
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        self.peer.as_mut().context("the server is down")?.ask(request)
    }
}
