//! Requests of which the unit says that it is busy, or its gateway that it is not reached. Where the unit answers others that is
//! their own matter: a gateway says so, too, when a device is silent over a register. They are asked after the others.

use std::time::Duration;

use floorgate_sample::{Quality, Sample};
use tokio::time::Instant;

use super::{Group, Reading};
use crate::address::Table;
use crate::planner::Extent;

impl Group {
    /// The next request of this poll that was put off last time, where no silence is known of it.
    pub(crate) fn next_put_off(&self) -> Option<usize> {
        self.reads
            .iter()
            .position(|read| read.has_turn && read.put_off && read.silence.is_none())
    }

    /// Whether something is put off.
    pub(crate) fn has_put_off(&self) -> bool {
        self.reads.iter().any(|read| read.put_off)
    }

    /// All that is put off.
    pub(crate) fn all_put_off(&self) -> impl Iterator<Item = (Table, Extent)> + '_ {
        let own = self
            .reads
            .iter()
            .filter(|read| read.put_off && read.silence.is_none());
        own.map(|read| (read.table, read.extent))
    }

    /// What was asked is asked after the others from now on.
    pub(crate) fn put_off(&mut self, asked: (Table, Extent)) {
        let own = |read: &&mut Reading| (read.table, read.extent) == asked;
        for read in self.reads.iter_mut().filter(own) {
            read.put_off = true;
        }
    }

    /// The unit itself has said something of a request.
    pub(crate) fn reached(&mut self, index: usize) {
        if let Some(read) = self.reads.get_mut(index) {
            read.put_off = false;
        }
    }

    /// The unit is busy with a request, and answers others. What is not known for longer than is borne is bad.
    pub(crate) fn busy(
        &mut self,
        index: usize,
        quality: Quality,
        now: Instant,
        borne: Duration,
        samples: &mut Vec<Sample>,
    ) {
        let Some(read) = self.reads.get_mut(index) else {
            return;
        };
        read.put_off = true;
        let since = *read.failing.get_or_insert(now);
        if now.saturating_duration_since(since) >= borne {
            self.lose_values(index, quality, samples);
        }
    }
}
