//! The thread that copies the store's write-ahead log beside the engine's commits.

use std::sync::mpsc::{Sender, SyncSender, sync_channel};

use floorgate_outbox::Checkpointer;

use super::Message;

/// Asks for checkpoints, one at a time. The thread ends when this is dropped.
pub struct Checkpoints {
    ask: SyncSender<()>,
    asked: bool,
}

impl Checkpoints {
    /// Starts the thread; it answers each request with [`Message::Checkpointed`].
    pub fn start(mut checkpointer: Checkpointer, engine: Sender<Message>) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || {
                while asked.recv().is_ok() {
                    if engine.send(Message::Checkpointed(checkpointer.run())).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { ask, asked: false })
    }

    /// Whether one is under way.
    pub fn is_under_way(&self) -> bool {
        self.asked
    }

    /// Asks for one.
    pub fn ask(&mut self) {
        self.asked = self.ask.try_send(()).is_ok();
    }

    /// The answer has come.
    pub fn answered(&mut self) {
        self.asked = false;
    }
}
