//! Requests that are not answered. Whether it is their own fault is known only where the unit answers something else: they
//! are asked when it has done so in the same poll.

use floorgate_sample::{Quality, Sample};
use tokio::time::Instant;

use super::Group;
use crate::address::Table;
use crate::planner::Extent;

/// There was no answer to a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// When it was last asked in vain.
    last: Instant,
    /// How often in a row: the first time, and whenever the unit had just answered something else.
    pub times: u32,
    /// What its tags are for it.
    quality: Quality,
}

impl Group {
    /// The next request of this poll of which no silence is known, and that is not put off.
    pub(crate) fn next_sound(&self) -> Option<usize> {
        self.reads
            .iter()
            .position(|read| read.has_turn && !read.put_off && read.silence.is_none())
    }

    /// The next request of this poll that was not answered last time: the one that was asked longest ago.
    pub(crate) fn next_silent(&self) -> Option<usize> {
        let silent = |(index, read): (usize, &super::Reading)| {
            let silence = read.silence.filter(|_| read.has_turn)?;
            Some((silence.last, index))
        };
        let silent = self.reads.iter().enumerate().filter_map(silent);
        silent.min().map(|(_, index)| index)
    }

    /// The request is asked now.
    pub(crate) fn take_turn(&mut self, index: usize) {
        if let Some(read) = self.reads.get_mut(index) {
            read.has_turn = false;
        }
    }

    /// Whether something is to be asked that the unit was silent over.
    pub(crate) fn has_silent(&self, now: Instant) -> bool {
        self.reads.iter().any(|read| read.silence.is_some()) || self.is_silent_due(now)
    }

    /// Whether something is asked in each poll.
    pub(crate) fn has_requests(&self) -> bool {
        !self.reads.is_empty()
    }

    /// A request of which no silence is known, and that is not put off.
    pub(crate) fn sound(&self) -> Option<(Table, Extent)> {
        let is_sound = |read: &&super::Reading| read.silence.is_none() && !read.put_off;
        let read = self.reads.iter().find(is_sound)?;
        Some((read.table, read.extent))
    }

    /// The request that was asked in vain longest ago, and when.
    pub(crate) fn longest_silent(&self) -> Option<(Instant, (Table, Extent))> {
        let silent = self.reads.iter().filter_map(|read| {
            let silence = read.silence?;
            Some((silence.last, (read.table, read.extent)))
        });
        silent.min_by_key(|(last, _)| *last)
    }

    /// The tags that share a request which was not answered, each alone.
    pub(crate) fn shared_silent(&self) -> impl Iterator<Item = (Table, Extent)> + '_ {
        let shared = |read: &&super::Reading| read.silence.is_some() && read.items.len() > 1;
        let items = self.reads.iter().filter(shared).flat_map(|read| &read.items);
        items.map(|item| self.place(*item))
    }

    /// There was no answer to what was asked, which may be the unit's fault.
    pub(crate) fn unanswered(&mut self, asked: (Table, Extent), quality: Quality, now: Instant) {
        let own = |read: &&mut super::Reading| (read.table, read.extent) == asked;
        for read in self.reads.iter_mut().filter(own) {
            let times = read.silence.map_or(1, |silence| silence.times);
            read.silence = Some(Silence {
                last: now,
                times,
                quality,
            });
        }
    }

    /// There was no answer to a request, which is its own fault. After so many times it is halved, and its halves are known for it.
    pub(crate) fn silent(
        &mut self,
        index: usize,
        quality: Quality,
        most: u32,
        now: Instant,
        samples: &mut Vec<Sample>,
    ) {
        let Some(read) = self.reads.get_mut(index) else {
            return;
        };
        let times = read.silence.map_or(0, |silence| silence.times) + 1;
        let silence = Silence {
            last: now,
            times: times.min(most.saturating_sub(1)),
            quality,
        };
        if times >= most {
            self.divide(index, (quality, Some(silence)), true, now, samples);
        } else {
            read.silence = Some(silence);
        }
    }

    /// What was not answered more often than is borne is not known any more, whether it was asked in this poll or not.
    pub(crate) fn doubt(&mut self, borne: u32, samples: &mut Vec<Sample>) {
        for index in 0..self.reads.len() {
            let silence = self.reads[index].silence;
            if let Some(silence) = silence.filter(|silence| silence.times > borne) {
                self.lose_values(index, silence.quality, samples);
            }
        }
    }
}
