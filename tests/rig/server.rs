//! What all OPC UA servers of the tests have in common: they fail, and they know what they have of their clients.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::Signal;

/// What a server has of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Sessions that there are, those included whose connection is gone and that were neither closed nor forgotten.
    pub sessions: u64,
    /// Sessions that were ever made, since it started.
    pub sessions_ever: u64,
    /// Subscriptions that there are, those without a session included.
    pub subscriptions: u64,
    /// Items that are monitored, over all subscriptions.
    pub items: u64,
}

impl Counts {
    /// Reads them from a peer's answer.
    pub(crate) fn of(answer: &Value) -> Result<Self> {
        let of = |name: &str| {
            answer[name]
                .as_u64()
                .with_context(|| format!("no count of {name}"))
        };
        Ok(Self {
            sessions: of("sessions")?,
            sessions_ever: of("sessions_ever")?,
            subscriptions: of("subscriptions")?,
            items: of("items")?,
        })
    }
}

/// An OPC UA server that can fail.
pub trait OpcUaServer {
    /// What it has of its clients.
    fn counts(&mut self) -> Result<Counts>;

    /// Sets a variable, status Good.
    fn write(&mut self, node: &str, value: Value) -> Result<()>;

    /// Kills it (SIGKILL): connections break without a word, and it forgets its clients.
    fn kill(&mut self);

    /// Shuts it down, as who restarts it in order does: it may say goodbye to its clients.
    fn shut_down(&mut self) -> Result<()>;

    /// Starts it again on the same port, with the variables and values that it had.
    fn resume(&mut self) -> Result<()>;

    /// Sends its process a signal.
    fn signal(&self, signal: Signal) -> Result<()>;

    /// Lets it stand still (SIGSTOP): connections stay open, and nothing answers.
    fn pause(&self) -> Result<()> {
        self.signal(Signal::Stop)
    }

    /// Lets it go on after [`OpcUaServer::pause`].
    fn go_on(&self) -> Result<()> {
        self.signal(Signal::Continue)
    }
}
