//! The outbox is opened before anything else. Where there is no room for that, or a damaged one takes long to be read, the gateway is up and
//! says so meanwhile: to fail, and to be started again, would not bring it further.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use floorgate_outbox::{Lock, Options, Restored, Salvage, Store};
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::engine::chain;
use crate::http::Front;
use crate::run::notify;

/// How long opening may take before the gateway comes up without it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// The store, what it had, and what became of a damaged one.
pub type Opened = (Store, Restored, Option<Salvage>);

/// The signals that end the process.
pub struct Ends {
    /// `SIGTERM`.
    pub term: Signal,
    /// `SIGINT`.
    pub interrupt: Signal,
}

impl Ends {
    /// One of them came.
    pub async fn come(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Opens the outbox with the right to it, which is held meanwhile, and waits for what it takes; nothing when the process is told to end
/// before.
pub async fn open(
    options: &Options,
    lock: Lock,
    front: &mut Front,
    ends: &mut Ends,
) -> anyhow::Result<Option<Opened>> {
    let lock = Arc::new(lock);
    let mut told = String::new();
    loop {
        let (options, lock) = (options.clone(), Arc::clone(&lock));
        let mut opening = tokio::task::spawn_blocking(move || Store::open_or_salvage_with(&options, &lock));
        let in_time = tokio::select! {
            () = ends.come() => return Ok(None),
            opened = timeout(PATIENCE, &mut opening) => opened,
        };
        let opened = if let Ok(opened) = in_time {
            opened
        } else {
            come_up(front, "it is being opened, which takes long where it is damaged");
            tokio::select! {
                () = ends.come() => return Ok(None),
                opened = opening => opened,
            }
        };
        match opened.context("opening the outbox panicked")? {
            Ok(opened) => {
                if front.is_up() {
                    info!("the outbox is open");
                }
                return Ok(Some(opened));
            }
            Err(problem) if problem.can_be_retried() => {
                let problem = chain(&problem);
                if told != problem {
                    warn!(
                        problem,
                        see = "gateway-cannot-store",
                        "the outbox cannot be opened yet; nothing is read from sources until it is"
                    );
                    told.clone_from(&problem);
                }
                come_up(front, &problem);
            }
            Err(problem) => return Err(problem.into()),
        }
        tokio::select! {
            () = ends.come() => return Ok(None),
            () = sleep(PAUSE) => {}
        }
    }
}

/// Shows why nothing is taken in yet.
fn come_up(front: &mut Front, reason: &str) {
    let was_up = front.is_up();
    front.wait(reason);
    if !was_up {
        notify(&[
            NotifyState::Ready,
            NotifyState::Status("waits for its outbox, see /readyz"),
        ]);
    }
}
