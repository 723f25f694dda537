//! From the engine's copies to blocks of a recording.

use std::time::{Duration, Instant};

use floorgate_workbench::recording::Packer;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use crate::engine::Taken;

/// How long what was recorded may wait for its block to be full: that much a power cut costs, and small blocks pack badly.
const LONGEST_BLOCK: Duration = Duration::from_secs(5);
/// How often it is looked whether the recording is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Packs until `stop`, or until the engine ends or nobody takes blocks any more. Runs on a thread of its own.
pub fn pump(taken: &Taken, blocks: &Sender<Vec<u8>>, stop: &CancellationToken) {
    let mut packer = Packer::default();
    let mut begun = Instant::now();
    loop {
        let is_last = stop.is_cancelled();
        match taken.next(LOOK) {
            Ok(Some(entries)) => {
                for entry in &entries {
                    packer.add(entry);
                    if packer.is_full() && !send(&mut packer, blocks) {
                        return;
                    }
                }
            }
            // All that was taken before the stop is in.
            Ok(None) if is_last => break,
            Ok(None) => {}
            Err(()) => break,
        }
        if begun.elapsed() >= LONGEST_BLOCK {
            begun = Instant::now();
            if !send(&mut packer, blocks) {
                return;
            }
        }
        if blocks.is_closed() {
            return;
        }
    }
    send(&mut packer, blocks);
}

fn send(packer: &mut Packer, blocks: &Sender<Vec<u8>>) -> bool {
    packer
        .block()
        .is_none_or(|block| blocks.blocking_send(block).is_ok())
}
