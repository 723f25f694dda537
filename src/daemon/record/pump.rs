//! From the engine's copies to blocks of a recording.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floorgate_workbench::recording::Packer;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::engine::Taken;

/// How often it is looked whether the recording is to end.
const LOOK: Duration = Duration::from_millis(50);
/// What is given meanwhile is taken together: to be woken for each batch would cost the engine more than the copies do.
const GATHER: Duration = Duration::from_millis(10);

/// Blocks that wait to be written.
const BLOCKS_AHEAD: usize = 16;

/// Packs on a thread of its own until `stop`, or until the engine ends or nobody takes blocks any more; a block waits for at most `longest` to be
/// full.
pub fn pump(
    taken: Taken,
    stop: CancellationToken,
    longest: Duration,
) -> std::io::Result<(Receiver<Vec<u8>>, JoinHandle<()>)> {
    let (blocks, packed) = channel(BLOCKS_AHEAD);
    let packing = std::thread::Builder::new()
        .name("recorder".to_owned())
        .spawn(move || pack(&taken, &blocks, &stop, longest))?;
    Ok((packed, packing))
}

pub fn pack(taken: &Taken, blocks: &Sender<Vec<u8>>, stop: &CancellationToken, longest: Duration) {
    let mut packer = Packer::default();
    // The beginning goes out at once.
    let mut begun: Option<Instant> = None;
    // What was given before the stop is taken still, and no more than that: there is always something new.
    let mut rest: Option<usize> = None;
    loop {
        if stop.is_cancelled() {
            let rest = rest.get_or_insert_with(|| taken.waiting());
            if *rest == 0 {
                break;
            }
            *rest -= 1;
        }
        if taken.waiting() == 0 {
            std::thread::sleep(GATHER);
        }
        match taken.next(LOOK) {
            Ok(Some(entries)) => {
                for entry in &entries {
                    packer.add(entry);
                    if packer.is_full() && !send(&mut packer, blocks) {
                        return;
                    }
                }
            }
            Ok(None) => {}
            Err(()) => break,
        }
        if packer.has_entries() && begun.is_none_or(|begun| begun.elapsed() >= longest) {
            begun = Some(Instant::now());
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
