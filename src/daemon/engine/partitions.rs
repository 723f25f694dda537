//! Partition counts of topics: pinned when brokers tell them, forgotten when an operator wants others to be used.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;

use super::{EngineError, Running};

/// Events that are moved at a time once their topic's partition count is known.
const EVENTS_PER_MOVE: usize = 2000;

impl Running {
    /// Forgets the counts of topics whose partitions an operator wants to be taken anew.
    pub(super) fn unpin(&mut self) -> Result<(), EngineError> {
        while self.may_try()
            && let Some((topic, done)) = self.unpins.pop()
        {
            if let Err(problem) = self.with_room(|store, _| store.unpin_topic(&topic)) {
                self.unpins.push((topic, done));
                return self.refuse(problem);
            }
            self.accepted();
            // It was told before the order.
            self.pins.remove(&topic);
            info!(%topic, "new events wait until those before them are delivered, then all partitions of the topic are used");
            self.engine.publisher.pinned(topic, None);
            // The tool may be gone.
            let _ = done.send(());
        }
        Ok(())
    }

    /// Pins the partition counts that brokers told, where that is possible yet.
    pub(super) fn pin(&mut self) -> Result<(), EngineError> {
        let mut later: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        while self.may_try()
            && let Some((topic, partitions)) = self.pins.pop_first()
        {
            match self.with_room(|store, _| store.pin_topic(&topic, partitions)) {
                Ok(Some(partitions)) => {
                    self.accepted();
                    info!(%topic, partitions, "topic has its partition count");
                    self.engine.publisher.pinned(topic, Some(partitions));
                }
                Ok(None) => drop(later.insert(topic, partitions)),
                Err(problem) => {
                    self.pins.insert(topic, partitions);
                    self.pins.append(&mut later);
                    return self.refuse(problem);
                }
            }
        }
        self.pins.append(&mut later);
        Ok(())
    }

    /// Moves a step of the events that waited for a partition count to their lanes.
    pub(super) fn place_waiting(&mut self) -> Result<(), EngineError> {
        if !self.may_try() || !self.engine.store.moving() {
            return Ok(());
        }
        // Where space is short, a small step needs little of it.
        let most = if self.refused.is_some() {
            100
        } else {
            EVENTS_PER_MOVE
        };
        if let Err(problem) = self.with_room(|store, _| store.move_waiting(most)) {
            return self.refuse(problem);
        }
        self.accepted();
        self.engine.publisher.rescan();
        Ok(())
    }
}
