//! Why a request is refused, or not answered: found out by halving it, a level each poll.

use floorgate_sample::{Quality, Sample};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::silence::Silence;
use super::{Group, Reading};
use crate::address::Table;
use crate::planner::{Extent, plan, separate};

/// Why a read is refused: being found out.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// The read that was refused first.
    read: Extent,
    /// It was not answered.
    silence: Option<Silence>,
    /// Registers that no tag names were read over.
    over_holes: bool,
    culprits: usize,
    shortest_refused: u32,
    pub longest_answered: u32,
}

/// A read that was refused though all its parts were answered. Refused again, it is the read that is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    pub read: Extent,
    /// It was not answered.
    silence: Option<Silence>,
}

impl Group {
    /// The device refuses a request.
    pub(crate) fn refused(
        &mut self,
        index: usize,
        quality: Quality,
        divisible: bool,
        now: Instant,
        samples: &mut Vec<Sample>,
    ) {
        self.divide(index, (quality, None), divisible, now, samples);
    }

    /// Halves a request that is refused or, where it says how, not answered; what cannot be halved is left out. The halves have their turn
    /// in the next poll.
    pub(super) fn divide(
        &mut self,
        index: usize,
        (quality, silence): (Quality, Option<Silence>),
        divisible: bool,
        now: Instant,
        samples: &mut Vec<Sample>,
    ) {
        if index >= self.reads.len() {
            return;
        }
        let read = self.reads.remove(index);
        let over_holes = self.has_holes(&read);
        let middle = self.middle(&read.items).filter(|_| divisible);
        let state = &mut self.tables[read.table as usize];
        let Some(middle) = middle else {
            if let Some(inquiry) = &mut state.inquiry {
                inquiry.culprits += read.items.len();
            }
            state.replan = true;
            for item in read.items {
                // Where a gateway gives up, the device behind it is silent.
                self.leave_out(item, quality, silence.is_some() || read.put_off, now, samples);
            }
            return;
        };
        let inquiry = state.inquiry.get_or_insert(Inquiry {
            read: read.extent,
            silence,
            over_holes,
            culprits: 0,
            shortest_refused: read.extent.len,
            longest_answered: 0,
        });
        inquiry.shortest_refused = inquiry.shortest_refused.min(read.extent.len);
        let (left, right) = read.items.split_at(middle);
        let halves = [left, right].map(|items| Reading {
            silence,
            put_off: read.put_off,
            failing: read.failing.filter(|_| read.put_off),
            ..self.part(read.table, items.to_vec())
        });
        self.reads.splice(index..index, halves);
    }

    /// Where a request is halved: not between tags that are read from the same place, as they cannot be told apart. `None` where all
    /// are.
    fn middle(&self, items: &[usize]) -> Option<usize> {
        let extent = |place: usize| self.points[items[place]].extent;
        let borders = (1..items.len()).filter(|place| extent(place - 1) != extent(*place));
        borders.min_by_key(|place| place.abs_diff(items.len() / 2))
    }

    /// A part of a refused read.
    fn part(&self, table: Table, items: Vec<usize>) -> Reading {
        let start = items
            .iter()
            .map(|&item| self.points[item].extent.start)
            .min()
            .unwrap_or(0);
        let end = items
            .iter()
            .map(|&item| self.points[item].extent.end())
            .max()
            .unwrap_or(0);
        let extent = Extent {
            start,
            len: end - start,
        };
        self.reading(table, extent, items, true)
    }

    fn has_holes(&self, read: &Reading) -> bool {
        let mut end = read.extent.start;
        for &item in &read.items {
            let extent = self.points[item].extent;
            if extent.start > end {
                return true;
            }
            end = end.max(extent.end());
        }
        false
    }

    /// Ends a poll: where everything about a refusal is known, the requests are planned anew.
    pub(crate) fn settle(&mut self) {
        for table in Table::ALL {
            let open = self.reads.iter().any(|read| read.table == table && read.open);
            let state = &mut self.tables[table as usize];
            if open || !(state.replan || state.inquiry.is_some()) {
                continue;
            }
            if let Some(inquiry) = state.inquiry.take()
                && inquiry.culprits == 0
            {
                // A unit may refuse for a moment: only what is refused twice is taken for its limit.
                let suspect = Suspect {
                    read: inquiry.read,
                    silence: inquiry.silence,
                };
                let before = state.suspect.replace(suspect);
                // A part as long as the whole was answered: then its length is not the reason.
                let is_passing = inquiry.longest_answered >= inquiry.read.len;
                if is_passing || before.is_none_or(|before| before.read != inquiry.read) {
                    debug!(
                        source = self.source,
                        unit = self.unit,
                        "a refused request is asked once more"
                    );
                } else if inquiry.over_holes && state.limits.gap > 0 {
                    state.limits.gap = 0;
                    warn!(
                        source = self.source,
                        unit = self.unit,
                        table = table.name(),
                        see = "modbus-requests-limited",
                        "the device refuses to be read over registers that no tag names; set `max_gap: 0`"
                    );
                } else {
                    state.limits.most = inquiry.longest_answered.min(inquiry.shortest_refused - 1).max(1);
                    warn!(
                        source = self.source,
                        unit = self.unit,
                        table = table.name(),
                        most = state.limits.most,
                        see = "modbus-requests-limited",
                        "the device refuses longer requests; set `max_registers` (`max_bits`)"
                    );
                }
            }
            state.replan = false;
            self.replan(table);
        }
    }

    fn replan(&mut self, table: Table) {
        let of_table = |item: &usize| self.points[*item].table == table;
        let is_refused = |item: &usize| self.refused.iter().any(|refused| refused.item == *item);
        let extent = |item: &usize| self.points[*item].extent;
        let items: Vec<usize> = (0..self.points.len())
            .filter(of_table)
            .filter(|item| !is_refused(item))
            .collect();
        let wanted: Vec<Extent> = items.iter().map(extent).collect();
        let never: Vec<Extent> = self
            .refused
            .iter()
            .map(|refused| refused.item)
            .filter(of_table)
            .map(|item| extent(&item))
            .collect();
        let reads = if self.separate {
            separate(&wanted)
        } else {
            plan(&wanted, &never, self.tables[table as usize].limits)
        };
        let suspect = self.tables[table as usize].suspect;
        let mut known: Vec<Option<usize>> = vec![None; self.points.len()];
        for (index, read) in self.reads.iter().enumerate() {
            for &item in &read.items {
                known[item] = Some(index);
            }
        }
        let reads = reads.into_iter().map(|read| {
            let items = read.items.into_iter().map(|index| items[index]).collect();
            let suspect = suspect.filter(|suspect| suspect.read == read.extent);
            let mut reading = self.reading(table, read.extent, items, false);
            self.take_over(&mut reading, &known);
            reading.silence = suspect.and_then(|suspect| suspect.silence).or(reading.silence);
            reading
        });
        let reads: Vec<Reading> = reads.collect();
        self.reads.retain(|read| read.table != table);
        self.reads.extend(reads);
    }

    /// What is known of the requests that were for the same tags holds for a request that is planned anew.
    fn take_over(&self, reading: &mut Reading, known: &[Option<usize>]) {
        let mut before: Vec<usize> = reading.items.iter().filter_map(|item| known[*item]).collect();
        before.dedup();
        let before: Vec<&Reading> = before.into_iter().map(|index| &self.reads[index]).collect();
        let silences = before.iter().filter_map(|read| read.silence);
        reading.silence = silences.max_by_key(|silence| silence.times);
        reading.failing = before.iter().filter_map(|read| read.failing).min();
        reading.put_off = before.iter().any(|read| read.put_off);
        if let [same] = before[..]
            && (same.extent, &same.items) == (reading.extent, &reading.items)
        {
            reading.last.clone_from(&same.last);
        }
    }
}
