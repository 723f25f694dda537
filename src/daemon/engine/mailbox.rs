//! What reaches the engine.

use std::sync::mpsc::{Receiver, Sender, channel};

use floorgate_adapter_api::{Admission, Batch, Intake, intake};
use floorgate_core::Core;

/// Builds a new core from the state of the old one, looked up by cell.
pub type Replace = Box<dyn FnOnce(&dyn Fn(&str) -> Option<String>) -> Core + Send>;

/// A message to the engine.
pub enum Message {
    /// A batch of a source, and its place among the samples in flight.
    Batch(Batch, Admission),
    /// The publisher has something to report.
    Wake,
    /// A checkpoint beside the engine is done, or failed.
    Checkpointed(Result<(), floorgate_outbox::Error>),
    /// The configuration changed. The sources of the old one have ended.
    Replace(Replace),
    /// Store what is there and end.
    Stop,
}

/// The engine's inbox, a sender for the daemon, and the intake for at most `capacity` samples.
pub fn mailbox(capacity: u32) -> (Receiver<Message>, Sender<Message>, Intake) {
    let (sender, receiver) = channel();
    let intake = intake(capacity, sender.clone(), Message::Batch);
    (receiver, sender, intake)
}
