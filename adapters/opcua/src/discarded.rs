//! Subscriptions that the server is to hold no longer.

use std::collections::VecDeque;

use opcua::client::services::DeleteSubscriptions;
use opcua::client::{Session, UARequest};
use opcua::types::Error;

use crate::publish::is_lost;

/// Deleted subscriptions that are remembered.
const MOST_DELETED: usize = 100;

/// Which they are, by the server's numbers.
#[derive(Debug, Default)]
pub struct Discarded {
    /// To delete when there is time: the server may still hold them.
    waiting: Vec<u32>,
    /// Deleted last: messages of them may be on their way.
    deleted: VecDeque<u32>,
}

impl Discarded {
    /// One that is not used any more.
    pub fn push(&mut self, id: u32) {
        self.waiting.push(id);
    }

    /// A message came of one that nobody knows: the answer that it was made had not come in time, and nobody else would ever delete it.
    pub fn stray(&mut self, id: u32) {
        if !self.waiting.contains(&id) && !self.deleted.contains(&id) {
            self.waiting.push(id);
        }
    }

    /// The server gave a number to one that is in use.
    pub fn is_used(&mut self, id: u32) {
        self.waiting.retain(|waiting| *waiting != id);
        self.deleted.retain(|deleted| *deleted != id);
    }

    /// Whether one is to be deleted.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// In another session the numbers may be somebody else's.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Deletes them. A server that knows one no more is as good; an error where the connection is lost.
    pub async fn delete(&mut self, session: &Session) -> Result<(), Error> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let request = DeleteSubscriptions::new(session).subscription_ids(self.waiting.clone());
        match request.send(session.channel()).await {
            Err(error) if is_lost(error.status()) => Err(error),
            _ => {
                self.deleted.extend(self.waiting.drain(..));
                let too_many = self.deleted.len().saturating_sub(MOST_DELETED);
                self.deleted.drain(..too_many);
                Ok(())
            }
        }
    }

    /// Those that wait.
    #[cfg(test)]
    pub fn waiting(&self) -> &[u32] {
        &self.waiting
    }
}
