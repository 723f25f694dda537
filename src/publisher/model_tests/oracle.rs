//! What has to hold of a history.

use std::collections::HashMap;

use super::{Record, World};

impl World {
    /// Notes whether store and log still tell, from the last acknowledged record on, how far the consumer came.
    pub(super) fn note_blindness(&mut self) {
        let from = self.stored.lane.acknowledged_offset.unwrap_or(0);
        let tail = (self.low..).zip(&self.log).filter(|(offset, _)| *offset >= from);
        let tail: Vec<&Record> = tail.filter_map(|(_, record)| record.as_ref()).collect();
        let known = tail.iter().map(|record| record.epoch).max().unwrap_or(0);
        let known = known.max(self.stored.lane.epoch);
        let is_copy = self.seen.iter().any(|record| self.is_foreign(record));
        self.is_blind |= self.seen.iter().any(|record| record.epoch > known)
            || (is_copy && !tail.iter().any(|record| self.is_foreign(record)));
    }

    /// Whether a record is of a later epoch than the store knows, or another than the store has in that place.
    fn is_foreign(&self, record: &Record) -> bool {
        let lane = &self.stored.lane;
        let place = usize::try_from(record.sequence + lane.base - 1).unwrap();
        record.epoch > lane.epoch
            || (record.epoch == lane.epoch && self.stored.events.get(place) != Some(&record.event))
    }

    /// The consumer's rule over everything that was seen: what has to be on the log is there, and was accepted.
    pub(super) fn check(&self) {
        let (mut epoch, mut last) = (0, 0);
        let mut accepted: HashMap<u64, usize> = HashMap::new();
        let mut skipped = 0;
        for record in &self.seen {
            if record.epoch < epoch {
                continue;
            }
            if record.epoch > epoch {
                (epoch, last, skipped) = (record.epoch, 0, 0);
            }
            if record.sequence > last + 1 {
                skipped = skipped.max(record.sequence);
            } else if record.sequence == last + 1 {
                last += 1;
                let times = accepted.entry(record.event).or_default();
                *times += 1;
                assert!(*times == 1 || record.marked, "twice without a mark: {record:?}");
            }
        }
        assert!(skipped <= last, "{skipped} was skipped and came not again");
        for event in &self.obligations {
            if self.expired.contains(event) || self.pruned.contains(event) {
                continue;
            }
            let is_on_log = self.log.iter().flatten().any(|record| record.event == *event);
            assert!(is_on_log, "event {event} is not on the log");
            let is_accepted = accepted.contains_key(event);
            assert!(is_accepted || self.is_blind, "event {event} was not accepted");
        }
    }
}
