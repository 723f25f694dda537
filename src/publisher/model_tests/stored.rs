//! The store as the model has it.

use floorgate_outbox::{Lane, Renewal};

/// The store's part: the lane, and the number of the event in each place.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) lane: Lane,
    pub(super) events: Vec<u64>,
    pub(super) first_kept: u64,
}

impl Stored {
    pub(super) fn event(&self, sequence: u64) -> Option<u64> {
        let place = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.events
            .get(place)
            .copied()
            .filter(|_| sequence >= self.first_kept)
    }

    pub(super) fn acknowledge(&mut self, sequence: u64, offset: Option<i64>) {
        if sequence > self.lane.acknowledged_sequence {
            self.lane.acknowledged_sequence = sequence;
            self.lane.acknowledged_offset = offset.or(self.lane.acknowledged_offset);
        }
    }

    /// As `Store::renew` does it.
    pub(super) fn renew(&mut self, renewal: &Renewal) {
        let lane = &mut self.lane;
        let delivered = renewal.delivered.min(lane.last_sequence);
        let delivered = lane.acknowledged_sequence.max(delivered);
        let base = if renewal.again {
            (self.first_kept - 1).min(delivered)
        } else {
            delivered
        };
        lane.doubt = lane
            .doubt
            .max(renewal.doubt)
            .max(delivered)
            .min(lane.last_sequence);
        lane.epoch = lane.epoch.max(renewal.seen_epoch) + 1;
        lane.base = base;
        lane.acknowledged_offset = renewal.log_end;
        lane.acknowledged_sequence = base;
    }
}
