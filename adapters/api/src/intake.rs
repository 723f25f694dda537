//! The bounded way from sources to the gateway.
//!
//! The bound counts samples, not batches, so that memory is bounded whatever a batch holds. When it is
//! reached, [`Intake::send`] waits: a slow disk slows reading, and nothing is lost.

use std::sync::Arc;
use std::sync::mpsc;

use floorgate_sample::SourceId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Batch;

/// A source's end of the way.
#[derive(Clone, Debug)]
pub struct Intake {
    source: SourceId,
    room: Arc<Semaphore>,
    capacity: u32,
    deliver: Arc<dyn Deliver>,
}

/// A batch's place among the samples in flight; it is given back when this is dropped.
#[derive(Debug)]
pub struct Admission(#[allow(dead_code)] OwnedSemaphorePermit);

/// The gateway has stopped taking batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway takes no more samples")]
pub struct Closed;

trait Deliver: Send + Sync + std::fmt::Debug {
    fn deliver(&self, batch: Batch, admission: Admission) -> Result<(), Closed>;
}

struct Channel<M, F>(mpsc::Sender<M>, F);

impl<M, F> std::fmt::Debug for Channel<M, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel")
    }
}

impl<M: Send, F: Fn(Batch, Admission) -> M + Send + Sync> Deliver for Channel<M, F> {
    fn deliver(&self, batch: Batch, admission: Admission) -> Result<(), Closed> {
        self.0.send((self.1)(batch, admission)).map_err(|_| Closed)
    }
}

/// A way for at most `capacity` samples that wraps each batch into the receiver's own message.
///
/// The returned intake belongs to source 0; [`Intake::for_source`] makes those of the others.
pub fn intake<M: Send + 'static>(
    capacity: u32,
    sender: mpsc::Sender<M>,
    wrap: impl Fn(Batch, Admission) -> M + Send + Sync + 'static,
) -> Intake {
    Intake {
        source: SourceId(0),
        room: Arc::new(Semaphore::new(capacity as usize)),
        capacity,
        deliver: Arc::new(Channel(sender, wrap)),
    }
}

impl Intake {
    /// The same way, for another source.
    #[must_use]
    pub fn for_source(&self, source: SourceId) -> Self {
        Self {
            source,
            ..self.clone()
        }
    }

    /// The same room, with messages of another kind: what is still sent through this end can be told apart from them.
    #[must_use]
    pub fn rewrapped<M: Send + 'static>(
        &self,
        sender: mpsc::Sender<M>,
        wrap: impl Fn(Batch, Admission) -> M + Send + Sync + 'static,
    ) -> Self {
        Self {
            deliver: Arc::new(Channel(sender, wrap)),
            ..self.clone()
        }
    }

    /// The source whose batches go through this end.
    #[must_use]
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Hands a batch over, waiting while there is no room.
    ///
    /// # Errors
    /// [`Closed`] when the gateway has stopped; the batch is then not stored and its receipt does not fire.
    pub async fn send(&self, batch: Batch) -> Result<(), Closed> {
        let weight = u32::try_from(batch.samples.len())
            .unwrap_or(u32::MAX)
            .clamp(1, self.capacity);
        let permit = Arc::clone(&self.room)
            .acquire_many_owned(weight)
            .await
            .map_err(|_| Closed)?;
        self.deliver.deliver(batch, Admission(permit))
    }
}
