//! A lane whose log and store do not agree begins a new epoch.

use crate::{Error, Lane, LaneId, Store};

/// How a lane begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The lane.
    pub lane: LaneId,
    /// Everything up to this sequence is known to be delivered, whatever the store knows of it.
    pub delivered: u64,
    /// What goes out up to this sequence may be on the log already, or have been there.
    pub doubt: u64,
    /// The highest epoch that the log has records of; the new one is higher.
    pub seen_epoch: u32,
    /// What is delivered and still kept goes out again, since the log does not have it any more.
    pub again: bool,
    /// The last offset that the log has given out; nothing where it is empty. The new epoch's records come after it.
    pub log_end: Option<i64>,
}

impl Store {
    /// Begins a new epoch of a lane, durably: its events that are not delivered, and, where that is asked, the delivered ones that are kept,
    /// are published with sequences from 1 on. Returns the lane as it is then.
    ///
    /// No event moves: the lane remembers where the epoch began ([`Lane::base`]).
    pub fn renew(&mut self, renewal: &Renewal) -> Result<Lane, Error> {
        let index = (renewal.lane.0 as usize).wrapping_sub(1);
        let known = self.catalog.lanes().get(index);
        let Some(lane) = known.filter(|lane| lane.partition.is_some()) else {
            let message = format!("there is no lane {} to begin anew", renewal.lane);
            return Err(Error::Invalid(message));
        };
        let delivered = lane
            .acknowledged_sequence
            .max(renewal.delivered.min(lane.last_sequence));
        let base = if renewal.again {
            self.first_kept(index).saturating_sub(1).min(delivered)
        } else {
            delivered
        };
        let epoch = lane.epoch.max(renewal.seen_epoch).saturating_add(1);
        self.catalog.renew(index, epoch, base, renewal);
        self.growing(|store| {
            store.transact("begin a new epoch", |transaction, catalog, _| {
                catalog.write(transaction)
            })
        })?;
        self.catalog
            .lane(renewal.lane)
            .cloned()
            .ok_or_else(|| Error::Invalid(format!("there is no lane {}", renewal.lane)))
    }
}
