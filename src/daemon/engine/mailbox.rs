//! What reaches the engine.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use floorgate_adapter_api::{Admission, Batch, Intake, intake};
use floorgate_core::Core;
use tokio::sync::oneshot;

use super::{Requesters, Shelf, Tap};
use crate::standing::{Configured, LastGoodRow, TagNow};
use crate::wanted::Wanted;

/// Which plan a batch's numbers of sources and tags belong to: it rises with each reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generation(u32);

impl Generation {
    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Builds a core from stored state, looked up by cell.
pub type MakeCore = Box<dyn FnOnce(&dyn Fn(&str) -> Option<String>) -> Core + Send>;

/// A core of another plan.
pub struct Replacement {
    /// That plan's.
    pub generation: Generation,
    /// Builds the core.
    pub core: MakeCore,
    /// What the configuration says of its sources.
    pub sources: Vec<Configured>,
    /// The names of the sources that run on: they are the same in both plans.
    pub kept: HashSet<Arc<str>>,
    /// Told the bookmarks of the sources that have ended, when all that came from them is durable.
    pub bookmarks: oneshot::Sender<Shelf>,
}

/// Events that go out again by an operator's order.
#[derive(Debug, Default)]
pub struct Resend {
    /// As they are to be stored.
    pub events: Vec<floorgate_outbox::Event>,
    /// Dead letters that are settled with it.
    pub letters: Vec<u64>,
}

/// What an operator orders.
#[derive(Debug)]
pub enum Order {
    /// Store events again that were stored before, and settle dead letters.
    Resend(Resend),
    /// Spread the keys of this topic over all partitions that it has, once what is stored of it is delivered.
    Repartition(Arc<str>),
}

/// A message to the engine.
pub enum Message {
    /// A batch of a source, and its place among the samples in flight.
    Batch(Generation, Batch, Admission),
    /// Sources of a plan start, and this is how they are asked for something.
    Sources(Generation, Requesters),
    /// The publisher has something to report.
    Wake,
    /// A checkpoint beside the engine is done, or failed.
    Checkpointed(Result<(), floorgate_outbox::Error>),
    /// The configuration changed. Sources of the old one that are not kept have ended; what one of them sends all the same is not taken.
    Replace(Replacement),
    /// Do what is ordered; it is told when that is durable.
    Order(Order, oneshot::Sender<()>),
    /// Give copies of what the core is given to one more.
    Tap(Tap),
    /// Tell the last good values of tags that are unknown now.
    LastGood(oneshot::Sender<Vec<LastGoodRow>>),
    /// Tell how these tags stand.
    Tags(Wanted, oneshot::Sender<Vec<TagNow>>),
    /// Store what is there and end.
    Stop,
}

/// The engine's inbox, a sender for the daemon, and the intake of the first generation for at most `capacity` samples.
pub fn mailbox(capacity: u32) -> (Receiver<Message>, Sender<Message>, Intake) {
    let (sender, receiver) = channel();
    let intake = intake(capacity, sender.clone(), batches_of(Generation::default()));
    (receiver, sender, intake)
}

/// The same intake, with the same room, for the sources of another generation.
pub fn intake_of(generation: Generation, intake: &Intake, sender: Sender<Message>) -> Intake {
    intake.rewrapped(sender, batches_of(generation))
}

fn batches_of(generation: Generation) -> impl Fn(Batch, Admission) -> Message + Send + Sync + 'static {
    move |batch, admission| Message::Batch(generation, batch, admission)
}
