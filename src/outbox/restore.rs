//! What a start finds.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::error::Unreadable;
use crate::{Error, Lane, Topic};

/// What was found when the store was opened.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Made when the store was created; a copy of the store has the same.
    pub store_id: Uuid,
    /// Larger than at any earlier open of this file, and about the milliseconds since 1970 at this one.
    pub incarnation: u64,
    /// The epoch of what begins with this open: its seconds since 1970, so that it is higher than in a store that was lost.
    pub epoch: u32,
    /// The topics.
    pub topics: Vec<Topic>,
    /// The lanes, by their number.
    pub lanes: Vec<Lane>,
    /// The state as of the last commit.
    pub cells: HashMap<Arc<str>, String>,
}

pub(crate) fn restore(connection: &mut Connection, path: &Path) -> Result<(Catalog, Cells, Restored), Error> {
    let (store_id, incarnation) =
        new_incarnation(connection).map_err(|error| Error::sqlite(path, "raise its incarnation", error))?;
    let store_id = Uuid::parse_str(&store_id)
        .map_err(|_| Error::damaged(path, format!("its id is {store_id:?}, which is not a UUID")))?;
    let unreadable = |error| Error::unreadable(path, error);
    let epoch = u32::try_from(incarnation / 1000).unwrap_or(u32::MAX).max(1);
    let catalog = Catalog::read(connection, epoch).map_err(unreadable)?;
    check_ends(connection, catalog.lanes()).map_err(unreadable)?;
    let (cells, content) = Cells::read(connection).map_err(unreadable)?;
    let restored = Restored {
        store_id,
        incarnation,
        epoch,
        topics: catalog.topics().to_vec(),
        lanes: catalog.lanes().to_vec(),
        cells: content,
    };
    Ok((catalog, cells, restored))
}

fn new_incarnation(connection: &mut Connection) -> rusqlite::Result<(String, u64)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let meta = |key: &str| format!("SELECT value FROM meta WHERE key = '{key}'");
    let store_id = transaction.query_row(&meta("store_id"), [], |row| row.get(0))?;
    let last: i64 = transaction.query_row(&meta("incarnation"), [], |row| row.get(0))?;
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let incarnation = last.saturating_add(1).max(i64::try_from(clock).unwrap_or(0));
    transaction.execute(
        "UPDATE meta SET value = ?1 WHERE key = 'incarnation'",
        [incarnation],
    )?;
    transaction.commit()?;
    Ok((store_id, incarnation.cast_unsigned()))
}

/// Looks for the events at which the lanes go on: the next one to deliver, and the last. Without them events are gone that nobody would miss.
fn check_ends(connection: &Connection, lanes: &[Lane]) -> Result<(), Unreadable> {
    let mut find = connection.prepare("SELECT 1 FROM event WHERE position = ?1")?;
    for lane in lanes {
        let next = (lane.depth() > 0).then_some(lane.acknowledged_sequence + 1);
        // What waited for a partition count is moved, and none of it is left in the end.
        let is_kept = lane.last_sequence > 0 && (lane.partition.is_some() || lane.depth() > 0);
        let last = is_kept.then_some(lane.last_sequence);
        for sequence in next.into_iter().chain(last) {
            let found: Option<i64> = find
                .query_row([lane.id.position(sequence)], |row| row.get(0))
                .optional()?;
            if found.is_none() {
                let lane = lane.id;
                return Err(Unreadable::Damaged(format!(
                    "event {sequence} of lane {lane} is not there"
                )));
            }
        }
    }
    Ok(())
}
