//! An OPC UA server.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::peer::Peer;
use crate::ports::free_port;
use crate::process::Signal;
use crate::server::{Counts, OpcUaServer};
use crate::wire::Wire;

/// What is special about a server; the default is no security and nobody asked for a name.
#[derive(Clone, Debug, Default)]
pub struct OpcUaOptions {
    /// Security policies with their mode, `Basic256Sha256-SignAndEncrypt` for one; none means `None`.
    pub policies: Vec<&'static str>,
    /// Namespaces that are registered before the plant's own, so that its index is another.
    pub namespaces_before: Vec<&'static str>,
    /// Whether its certificate is signed by a plant's authority, which is below a group's; by itself otherwise.
    pub by_authority: bool,
    /// A user name and password that clients must give.
    pub user: Option<(&'static str, &'static str)>,
    /// The certificate (a PEM file) of the one user that is let in.
    pub user_certificate: Option<PathBuf>,
    /// Whether only clients are let in whose certificates were given to [`OpcUaPeer::trust`].
    pub checks_clients: bool,
    /// The wire that it is at the far end of; without one it is on this machine.
    pub behind: Option<Arc<Wire>>,
}

/// An asyncua server. Its variables lie in the namespace [`OpcUaPeer::NAMESPACE`].
#[derive(Debug)]
pub struct OpcUaPeer {
    port: u16,
    options: OpcUaOptions,
    /// What was added and what it was set to last, so that a restarted server has the same variables.
    variables: Vec<(String, &'static str, Value)>,
    peer: Option<Peer>,
    // Deleted after the peer is gone.
    folder: Folder,
}

impl OpcUaPeer {
    /// The namespace of the variables.
    pub const NAMESPACE: &'static str = "urn:floorgate:test:plant";

    /// Starts a server without variables.
    pub fn start(options: OpcUaOptions) -> Result<Self> {
        let folder = Folder::new("opcua")?;
        let mut server = Self {
            port: free_port()?,
            options,
            variables: Vec::new(),
            peer: None,
            folder,
        };
        server.resume()?;
        Ok(server)
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("opc.tcp://{}:{}/", self.host(), self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn host(&self) -> &str {
        self.options
            .behind
            .as_ref()
            .map_or("127.0.0.1", |wire| wire.address())
    }

    /// A variable's address by namespace URI.
    #[must_use]
    pub fn address(node: &str) -> String {
        format!("nsu={};s={node}", Self::NAMESPACE)
    }

    /// The server's certificate (DER), when it has a policy other than `None`.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("pki/server.crt.der")
    }

    /// The certificate (DER) of the authority `plant` or `group`, where the server's is signed by one.
    #[must_use]
    pub fn authority(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("pki/{name}.crt.der"))
    }

    /// Adds a variable; `kind` is the name of an OPC UA built-in type, `Int32` for one.
    pub fn add(&mut self, node: &str, kind: &'static str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        self.ask(&json!({"op": "add", "node": node, "type": kind, "value": value}))?;
        self.variables.push((node.to_owned(), kind, value));
        Ok(())
    }

    /// Adds an `Int32` in a namespace that the server has not had. It is gone when the server is started anew.
    pub fn add_elsewhere(&mut self, namespace: &str, node: &str, value: i32) -> Result<()> {
        self.ask(&json!({"op": "add_elsewhere", "namespace": namespace, "node": node, "value": value}))
            .map(drop)
    }

    /// Adds a hall of three lines with a filler each, and a robot (`opcua_structure.py`). It is gone when the server is started anew.
    pub fn add_hall(&mut self) -> Result<()> {
        self.ask(&json!({"op": "hall"})).map(drop)
    }

    /// Adds a hall of so many equal machines with so many values each. It is gone when the server is started anew.
    pub fn add_machines(&mut self, machines: u32, values: u32) -> Result<()> {
        self.ask(&json!({"op": "many", "machines": machines, "values": values}))
            .map(drop)
    }

    /// Adds a variable `Batch` of a structure that only a type dictionary describes (`opcua_dictionary.py`). It is gone when the server is started anew.
    pub fn add_batch(&mut self, value: &Value) -> Result<()> {
        self.ask(&json!({"op": "add_batch", "value": value})).map(drop)
    }

    /// Sets the variable of [`OpcUaPeer::add_batch`].
    pub fn set_batch(&mut self, value: &Value) -> Result<()> {
        self.ask(&json!({"op": "set_batch", "value": value})).map(drop)
    }

    /// Refuses requests of more nodes than this, which its limits do not tell.
    pub fn limit_requests(&mut self, most: u32) -> Result<()> {
        self.ask(&json!({"op": "limit_requests", "most": most})).map(drop)
    }

    /// Refuses the whole of a request to read in which this node is; none without a name.
    pub fn fail_reads(&mut self, name: Option<&str>) -> Result<()> {
        self.ask(&json!({"op": "fail_reads", "name": name})).map(drop)
    }

    /// Answers so many more Browse requests, and none after them.
    pub fn hold_browse(&mut self, after: u32) -> Result<()> {
        self.ask(&json!({"op": "hold_browse", "after": after})).map(drop)
    }

    /// How many Browse requests are not answered.
    pub fn holding_browse(&mut self) -> Result<u64> {
        let answer = self.ask(&json!({"op": "holding_browse"}))?;
        answer["value"].as_u64().context("no number")
    }

    /// Deletes a variable.
    pub fn delete(&mut self, node: &str) -> Result<()> {
        self.ask(&json!({"op": "delete", "node": node}))?;
        self.variables.retain(|(name, ..)| name != node);
        Ok(())
    }

    /// Sets a variable, status Good, and gives the source time (RFC 3339) that it was given.
    pub fn set(&mut self, node: &str, value: impl Into<Value>) -> Result<String> {
        self.set_all(&[(node, value.into())])
    }

    /// Sets several variables one after the other with one source time, which it gives.
    pub fn set_all(&mut self, values: &[(&str, Value)]) -> Result<String> {
        let answer = self.ask(&json!({"op": "set_many", "values": values}))?;
        for (node, value) in values {
            for (_, _, last) in self.variables.iter_mut().filter(|(name, ..)| name == node) {
                last.clone_from(value);
            }
        }
        Ok(answer["source_time"]
            .as_str()
            .context("no source time")?
            .to_owned())
    }

    /// Sets a variable with a status code (OPC 10000-4 clause 7.39), and the source time that it names if any.
    pub fn set_with(&mut self, node: &str, value: &Value, status: u32, time: Option<&str>) -> Result<()> {
        let request =
            json!({"op": "set", "node": node, "value": value, "status": status, "source_time": time});
        self.ask(&request).map(drop)
    }

    /// Starts to write `first..=last` to a variable, one each `interval_ms`, without waiting for the end.
    pub fn count_up(&mut self, node: &str, first: i64, last: i64, interval_ms: u32) -> Result<()> {
        self.ask(&json!({
            "op": "count_up", "node": node, "first": first, "last": last, "interval_ms": interval_ms,
        }))?;
        Ok(())
    }

    /// Ends what `count_up` started, and gives the number that it wrote last.
    pub fn stop_counting(&mut self, node: &str) -> Result<i64> {
        let answer = self.ask(&json!({"op": "stop_counting", "node": node}))?;
        answer["value"].as_i64().context("nothing was counted")
    }

    /// The number that `count_up` wrote last.
    pub fn progress(&mut self, node: &str) -> Result<Option<i64>> {
        Ok(self.ask(&json!({"op": "progress", "node": node}))?["value"].as_i64())
    }

    /// How many clients are connected.
    pub fn connections(&mut self) -> Result<u64> {
        self.counted("connections")
    }

    /// How many items are monitored, over all subscriptions.
    pub fn monitored_items(&mut self) -> Result<u64> {
        self.counted("items")
    }

    /// Closes every connection without a word; sessions and subscriptions stay.
    pub fn drop_connections(&mut self) -> Result<()> {
        self.ask(&json!({"op": "drop"})).map(drop)
    }

    /// Ends every session with its subscriptions, and closes every connection, without a word.
    pub fn forget_clients(&mut self) -> Result<()> {
        self.ask(&json!({"op": "forget"})).map(drop)
    }

    /// Has it say that it is in a state (OPC 10000-5 §12.6; 0 is `Running`), and go on all the same.
    pub fn say_state(&mut self, state: i32) -> Result<()> {
        self.ask(&json!({"op": "state", "state": state})).map(drop)
    }

    /// Has it say that its service level is this (OPC 10000-4 §6.6.2.4.2; from 200 on it is healthy).
    pub fn say_level(&mut self, level: u8) -> Result<()> {
        self.ask(&json!({"op": "level", "level": level})).map(drop)
    }

    /// Has it say that it is so many seconds later than it is; the times of its values are right all the same.
    pub fn say_clock(&mut self, ahead: f64) -> Result<()> {
        self.ask(&json!({"op": "clock", "ahead": ahead})).map(drop)
    }

    /// Lets the keys of connections be good for no longer than this, whatever clients ask for, until the server ends.
    pub fn limit_channels(&mut self, milliseconds: u32) -> Result<()> {
        self.ask(&json!({"op": "limit_channels", "milliseconds": milliseconds}))
            .map(drop)
    }

    /// How often the keys of a connection were renewed.
    pub fn renewals(&mut self) -> Result<u64> {
        let answer = self.ask(&json!({"op": "renewals"}))?;
        answer["value"].as_u64().context("no number")
    }

    /// Lets the next messages with values not arrive; the server has them for who asks again, unless it forgets them.
    pub fn hold_back(&mut self, messages: u32, forgets: bool) -> Result<()> {
        self.ask(&json!({"op": "hold_back", "messages": messages, "forgets": forgets}))
            .map(drop)
    }

    /// How often a message was asked for again.
    pub fn republished(&mut self) -> Result<u64> {
        let answer = self.ask(&json!({"op": "republished"}))?;
        answer["value"].as_u64().context("no number")
    }

    /// Trusts the client whose certificate is in this DER file, until the server ends.
    pub fn trust(&mut self, certificate: &std::path::Path) -> Result<()> {
        self.ask(&json!({"op": "trust", "certificate": certificate}))
            .map(drop)
    }

    /// Stops the server in order.
    pub fn stop(&mut self) -> Result<()> {
        self.peer.take().context("the server does not run")?.stop()
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&mut self) -> Result<u64> {
        self.counted("subscriptions")
    }

    /// Kills the server (SIGKILL).
    pub fn kill(&mut self) {
        self.peer = None;
    }

    /// Starts the server after `stop` or `kill` on the same port, with the variables and values that it had (as far
    /// as `set` set them). Namespaces registered before the plant's are as the options say now.
    pub fn resume(&mut self) -> Result<()> {
        let mut arguments = vec!["--port".to_owned(), self.port.to_string()];
        arguments.extend(["--host".to_owned(), self.host().to_owned()]);
        for (name, values) in [
            ("--before", &self.options.namespaces_before),
            ("--policy", &self.options.policies),
        ] {
            arguments.extend(
                values
                    .iter()
                    .flat_map(|value| [name.to_owned(), (*value).to_owned()]),
            );
        }
        if !self.options.policies.is_empty() {
            arguments.extend([
                "--pki".to_owned(),
                self.folder.path().join("pki").display().to_string(),
            ]);
        }
        if let Some((name, password)) = self.options.user {
            let file = self.folder.write("password", password)?;
            arguments.extend(["--user".to_owned(), name.to_owned()]);
            arguments.extend(["--password-file".to_owned(), file.display().to_string()]);
        }
        if let Some(file) = &self.options.user_certificate {
            arguments.extend(["--user-certificate".to_owned(), file.display().to_string()]);
        }
        if self.options.by_authority {
            arguments.push("--by-authority".to_owned());
        }
        if self.options.checks_clients {
            arguments.push("--check-clients".to_owned());
        }
        let log = self.folder.path().join("opcua.log");
        let wire = self.options.behind.as_deref();
        let mut peer = Peer::start_behind(wire, "opcua_server.py", &arguments, &log)?;
        for (node, kind, value) in &self.variables {
            peer.ask(&json!({"op": "add", "node": node, "type": kind, "value": value}))?;
        }
        self.peer = Some(peer);
        Ok(())
    }

    /// Changes what is special, for the next `resume`.
    pub fn options(&mut self) -> &mut OpcUaOptions {
        &mut self.options
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

impl OpcUaServer for OpcUaPeer {
    fn counts(&mut self) -> Result<Counts> {
        Counts::of(&self.ask(&json!({"op": "count"}))?)
    }

    fn write(&mut self, node: &str, value: Value) -> Result<()> {
        self.set(node, value).map(drop)
    }

    fn kill(&mut self) {
        Self::kill(self);
    }

    fn shut_down(&mut self) -> Result<()> {
        self.stop()
    }

    fn resume(&mut self) -> Result<()> {
        Self::resume(self)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let peer = self.peer.as_ref().context("the server does not run")?;
        peer.signal(signal)
    }
}
