//! An OPC UA server with alarms, job orders, structures and a history.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::peer::Peer;
use crate::ports::free_port;
use crate::process::Signal;
use crate::server::{Counts, OpcUaServer};
use crate::wire::Wire;

/// A node-opcua server: a boiler with two alarms, in the namespace [`crate::OpcUaPeer::NAMESPACE`].
#[derive(Debug)]
pub struct NodePeer {
    port: u16,
    behind: Option<Arc<Wire>>,
    special: Value,
    /// For each variable the request that makes it as it is, so that a restarted server has the same; those of the boiler begin anew.
    variables: Vec<Value>,
    peer: Option<Peer>,
    // Deleted after the peer is gone.
    folder: Folder,
}

impl NodePeer {
    /// Starts it, at the far end of a wire where there is one.
    pub fn start(behind: Option<Arc<Wire>>) -> Result<Self> {
        Self::with(behind, json!({}))
    }

    /// Starts it with options of `OPCUAServer`, such as `{"serverCapabilities": {"operationLimits": {"maxNodesPerRead": 10}}}`.
    pub fn with(behind: Option<Arc<Wire>>, special: Value) -> Result<Self> {
        let mut server = Self {
            port: free_port()?,
            behind,
            special,
            variables: Vec::new(),
            peer: None,
            folder: Folder::new("node-opcua")?,
        };
        server.resume()?;
        Ok(server)
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        let host = self.behind.as_ref().map_or("127.0.0.1", |wire| wire.address());
        format!("opc.tcp://{host}:{}/", self.port)
    }

    /// Adds a variable; `kind` is the name of a built-in type.
    pub fn add(&mut self, node: &str, kind: &str, value: impl Into<Value>) -> Result<()> {
        self.make(json!({"op": "add", "node": node, "type": kind, "value": value.into()}))
    }

    /// Adds a variable each of whose changes the server sees, where it is asked for a sampling interval of 0 and was started with `{"serverCapabilities": {"minSupportedSampleRate": 0}}`.
    pub fn add_unsampled(&mut self, node: &str, kind: &str, value: impl Into<Value>) -> Result<()> {
        self.make(json!({"op": "add", "node": node, "type": kind, "value": value.into(), "sampled": false}))
    }

    /// Adds a variable that says from where to where its values go (`EURange`).
    pub fn add_in_range(
        &mut self,
        node: &str,
        kind: &str,
        value: impl Into<Value>,
        (low, high): (f64, f64),
    ) -> Result<()> {
        let range = json!({"low": low, "high": high});
        self.make(json!({"op": "add", "node": node, "type": kind, "value": value.into(), "range": range}))
    }

    /// Sets a variable; those of the boiler, `Boiler.Level` and `Boiler.Pressure`, are high above 90.
    pub fn set(&mut self, node: &str, value: impl Into<Value>) -> Result<()> {
        self.set_all(node, &[value.into()])
    }

    /// Sets a variable to one value after the other, each with a time of its own.
    pub fn set_all(&mut self, node: &str, values: &[Value]) -> Result<()> {
        self.ask(&json!({"op": "set", "node": node, "values": values}))?;
        if let Some(last) = values.last() {
            for variable in self
                .variables
                .iter_mut()
                .filter(|variable| variable["node"] == node)
            {
                variable["value"] = last.clone();
            }
        }
        Ok(())
    }

    /// Has it end the connection when a request of a kind comes (`HistoryReadRequest`), after so many that it answers.
    pub fn cut(&mut self, request: &str, after: u32) -> Result<()> {
        self.ask(&json!({"op": "cut", "request": request, "after": after}))
            .map(drop)
    }

    /// How many items or nodes the largest request of a kind had that came since it was started.
    pub fn largest(&mut self, request: &str) -> Result<u64> {
        self.ask(&json!({"op": "largest", "request": request}))?["value"]
            .as_u64()
            .context("no number")
    }

    /// How many requests of a kind came since it was started.
    pub fn requests(&mut self, request: &str) -> Result<u64> {
        self.ask(&json!({"op": "requests", "request": request}))?["value"]
            .as_u64()
            .context("no number")
    }

    /// Gives it other capabilities from now on, such as `{"maxMonitoredItems": 10}`; it forgets them when it ends.
    pub fn set_capabilities(&mut self, capabilities: &Value) -> Result<()> {
        self.ask(&json!({"op": "capabilities", "capabilities": capabilities}))
            .map(drop)
    }

    /// Has it refuse a request as a whole whose items would be more than it takes, and not only those.
    pub fn refuse_whole(&mut self) -> Result<()> {
        self.ask(&json!({"op": "refuse_whole"})).map(drop)
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
        self.make(json!({"op": "order", "node": node, "order": order, "parameters": parameters}))
    }

    /// Makes a variable as it is to be, now and after each start.
    fn make(&mut self, request: Value) -> Result<()> {
        self.ask(&request)?;
        self.variables
            .retain(|variable| variable["node"] != request["node"]);
        self.variables.push(request);
        Ok(())
    }

    /// Keeps a history of a variable from now on.
    pub fn keep_history(&mut self, node: &str) -> Result<()> {
        self.ask(&json!({"op": "historize", "node": node})).map(drop)
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        self.peer.as_mut().context("the server is down")?.ask(request)
    }
}

impl OpcUaServer for NodePeer {
    fn counts(&mut self) -> Result<Counts> {
        Counts::of(&self.ask(&json!({"op": "count"}))?)
    }

    fn write(&mut self, node: &str, value: Value) -> Result<()> {
        self.set(node, value)
    }

    fn kill(&mut self) {
        self.peer = None;
    }

    fn shut_down(&mut self) -> Result<()> {
        self.peer.take().context("the server is down")?.stop()
    }

    fn resume(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let arguments = [
            self.port.to_string(),
            folder.display().to_string(),
            self.special.to_string(),
        ];
        let (wire, log) = (self.behind.as_deref(), folder.join("peer.log"));
        let mut peer = Peer::start_behind(wire, "server.js", &arguments, &log)?;
        for variable in &self.variables {
            peer.ask(variable)?;
        }
        self.peer = Some(peer);
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.peer.as_ref().context("the server is down")?.signal(signal)
    }
}
