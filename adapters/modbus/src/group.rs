//! The tags of one unit that are read at one interval: what is asked, what was told of each, what is refused.
//!
//! No input or output here. A read that the device refuses as a whole is halved in the next poll, and so on, until
//! the registers that are the reason stand alone: those tags are bad and are tried again slowly, the others are
//! planned anew around them. Where no tag is the reason, it was a hole that was read over, or the length of the
//! request: the group then does without.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Quality, Sample, TagId, Value};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::address::{Point, Table};
use crate::planner::{Extent, Limits, plan};
use crate::settings::Checked;

/// The tags of one unit that are read at one interval.
pub(crate) struct Group {
    /// The source, for logs.
    source: String,
    pub unit: u8,
    every: Duration,
    due: Instant,
    points: Vec<Arc<Point>>,
    /// What was last sent of each point.
    told: Vec<Told>,
    reads: Vec<Reading>,
    refused: VecDeque<Refused>,
    tables: [TableState; 4],
    retry_refused: Duration,
}

/// What was last sent of a point.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Nothing,
    /// These words, as a good value.
    Words(Vec<u16>),
    Bad(Quality),
}

/// A request of every poll.
#[derive(Debug)]
struct Reading {
    table: Table,
    extent: Extent,
    items: Vec<usize>,
    /// The last answer, where everything in it was told; empty otherwise.
    last: Vec<u16>,
    /// A part of a refused read that has not been answered yet.
    open: bool,
}

/// A point that the device refuses.
#[derive(Debug)]
struct Refused {
    item: usize,
    quality: Quality,
    next_try: Instant,
}

/// What is known of one table of the unit.
#[derive(Debug)]
struct TableState {
    limits: Limits,
    inquiry: Option<Inquiry>,
    replan: bool,
}

/// Why a read is refused: being found out.
#[derive(Debug)]
struct Inquiry {
    /// Registers that no tag names were read over.
    over_holes: bool,
    culprits: usize,
    shortest_refused: u32,
    longest_answered: u32,
}

impl Group {
    /// Groups points that have unit and interval in common. All are due at `start`.
    pub(crate) fn all(source: &str, points: &[Arc<Point>], settings: &Checked, start: Instant) -> Vec<Self> {
        let mut keys: Vec<(u8, Duration)> = points.iter().map(|point| (point.unit, point.every)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
            .map(|(unit, every)| {
                let own = |point: &&Arc<Point>| (point.unit, point.every) == (unit, every);
                let points = points.iter().filter(own).cloned().collect();
                Self::new(source, unit, every, points, settings, start)
            })
            .collect()
    }

    fn new(
        source: &str,
        unit: u8,
        every: Duration,
        points: Vec<Arc<Point>>,
        settings: &Checked,
        start: Instant,
    ) -> Self {
        let tables = Table::ALL.map(|table| {
            let limits = if table.has_bits() {
                Limits {
                    most: settings.max_bits.into(),
                    gap: 16 * u32::from(settings.max_gap),
                }
            } else {
                Limits {
                    most: settings.max_registers.into(),
                    gap: settings.max_gap.into(),
                }
            };
            TableState {
                limits,
                inquiry: None,
                replan: true,
            }
        });
        let mut group = Self {
            source: source.to_owned(),
            unit,
            every,
            due: start,
            told: vec![Told::Nothing; points.len()],
            points,
            reads: Vec::new(),
            refused: VecDeque::new(),
            tables,
            retry_refused: settings.retry_refused,
        };
        group.settle();
        group
    }

    /// When it is to be read next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// How often it is to be read.
    pub(crate) fn every(&self) -> Duration {
        self.every
    }

    /// Begins a poll: the next one is due at the next multiple of the interval. Returns how many polls were missed.
    pub(crate) fn begin(&mut self, now: Instant) -> u32 {
        let late = now.saturating_duration_since(self.due);
        let missed = u32::try_from(late.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u32::MAX - 1);
        self.due = self
            .every
            .checked_mul(missed + 1)
            .map_or(now + self.every, |step| self.due + step);
        missed
    }

    /// The request with this number in the order of the poll.
    pub(crate) fn request(&self, index: usize) -> Option<(Table, Extent)> {
        self.reads.get(index).map(|read| (read.table, read.extent))
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = TagId> + '_ {
        self.points.iter().map(|point| point.tag)
    }

    /// How many tags the device refuses.
    pub(crate) fn refused_count(&self) -> usize {
        self.refused.len()
    }

    /// The answer to a request. Values that are the same as those last told are not told again.
    pub(crate) fn answered(&mut self, index: usize, words: Vec<u16>, samples: &mut Vec<Sample>) {
        let Some(read) = self.reads.get_mut(index) else {
            return;
        };
        if read.open {
            read.open = false;
            if let Some(inquiry) = &mut self.tables[read.table as usize].inquiry {
                inquiry.longest_answered = inquiry.longest_answered.max(read.extent.len);
            }
        }
        if read.last == words {
            return;
        }
        for &item in &read.items {
            let place = self.points[item].extent;
            let from = (place.start - read.extent.start) as usize;
            if let Some(own) = words.get(from..from + place.len as usize) {
                tell(&self.points[item], &mut self.told[item], own, samples);
            }
        }
        read.last = words;
    }

    /// The device refuses a request. Returns how many requests stand in its place.
    pub(crate) fn refused(
        &mut self,
        index: usize,
        quality: Quality,
        divisible: bool,
        now: Instant,
        samples: &mut Vec<Sample>,
    ) -> usize {
        if index >= self.reads.len() {
            return 0;
        }
        let read = self.reads.remove(index);
        let over_holes = self.has_holes(&read);
        let state = &mut self.tables[read.table as usize];
        if read.items.len() == 1 || !divisible {
            if let Some(inquiry) = &mut state.inquiry {
                inquiry.culprits += read.items.len();
            }
            state.replan = true;
            for item in read.items {
                let point = &self.points[item];
                warn!(source = self.source, unit = self.unit, tag = point.name, %quality, "the device refuses a tag");
                self.refused.push_back(Refused {
                    item,
                    quality,
                    next_try: now + self.retry_refused,
                });
                tell_bad(point, &mut self.told[item], quality, samples);
            }
            return 0;
        }
        let inquiry = state.inquiry.get_or_insert(Inquiry {
            over_holes,
            culprits: 0,
            shortest_refused: read.extent.len,
            longest_answered: 0,
        });
        inquiry.shortest_refused = inquiry.shortest_refused.min(read.extent.len);
        let (left, right) = read.items.split_at(read.items.len() / 2);
        let halves = [left, right].map(|items| self.part(read.table, items.to_vec()));
        self.reads.splice(index..index, halves);
        2
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
        Reading {
            table,
            extent: Extent {
                start,
                len: end - start,
            },
            items,
            last: Vec::new(),
            open: true,
        }
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

    /// A refused tag that is to be tried again.
    pub(crate) fn retry(&self, now: Instant) -> Option<(Table, Extent)> {
        let refused = self.refused.front().filter(|refused| refused.next_try <= now)?;
        let point = &self.points[refused.item];
        Some((point.table, point.extent))
    }

    /// The device took a refused tag after all. Returns the tag: what it was meanwhile is unknown.
    pub(crate) fn readmitted(&mut self, words: &[u16], samples: &mut Vec<Sample>) -> Option<TagId> {
        let refused = self.refused.pop_front()?;
        let point = &self.points[refused.item];
        info!(
            source = self.source,
            unit = self.unit,
            tag = point.name,
            "the device no longer refuses a tag"
        );
        self.tables[point.table as usize].replan = true;
        tell(point, &mut self.told[refused.item], words, samples);
        Some(point.tag)
    }

    /// The device still refuses the tag.
    pub(crate) fn still_refused(&mut self, quality: Quality, now: Instant, samples: &mut Vec<Sample>) {
        let Some(refused) = self.refused.pop_front() else {
            return;
        };
        tell_bad(
            &self.points[refused.item],
            &mut self.told[refused.item],
            quality,
            samples,
        );
        self.refused.push_back(Refused {
            item: refused.item,
            quality,
            next_try: now + self.retry_refused,
        });
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
                if inquiry.over_holes && state.limits.gap > 0 {
                    state.limits.gap = 0;
                    warn!(
                        source = self.source,
                        unit = self.unit,
                        table = table.name(),
                        "the device refuses to be read over registers that no tag names; set `max_gap: 0`"
                    );
                } else {
                    state.limits.most = inquiry.longest_answered.min(inquiry.shortest_refused - 1).max(1);
                    warn!(
                        source = self.source,
                        unit = self.unit,
                        table = table.name(),
                        most = state.limits.most,
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
        let reads = plan(&wanted, &never, self.tables[table as usize].limits);
        self.reads.retain(|read| read.table != table);
        self.reads.extend(reads.into_iter().map(|read| Reading {
            table,
            extent: read.extent,
            items: read.items.into_iter().map(|index| items[index]).collect(),
            last: Vec::new(),
            open: false,
        }));
    }

    /// The unit does not answer: every tag is bad. Refused ones are so already.
    pub(crate) fn fail(&mut self, quality: Quality, samples: &mut Vec<Sample>) {
        for (item, told) in self.told.iter_mut().enumerate() {
            if !self.refused.iter().any(|refused| refused.item == item) {
                tell_bad(&self.points[item], told, quality, samples);
            }
        }
        self.reads.iter_mut().for_each(|read| read.last.clear());
    }

    /// The source is lost: nothing that was told holds any longer.
    pub(crate) fn forget(&mut self) {
        self.told.fill(Told::Nothing);
        self.reads.iter_mut().for_each(|read| read.last.clear());
    }

    /// The source is back: what is refused is said again, and is tried soon.
    pub(crate) fn retell_refused(&mut self, now: Instant, samples: &mut Vec<Sample>) {
        for refused in &mut self.refused {
            let again = self.told[refused.item] == Told::Nothing;
            tell_bad(
                &self.points[refused.item],
                &mut self.told[refused.item],
                refused.quality,
                samples,
            );
            if again {
                refused.next_try = now;
            }
        }
    }
}

/// Tells a value unless the same words were told last.
fn tell(point: &Point, told: &mut Told, words: &[u16], samples: &mut Vec<Sample>) {
    let significant = |word: &u16| point.decode.significant(*word);
    if let Told::Words(last) = told
        && last.len() == words.len()
        && last.iter().copied().eq(words.iter().map(significant))
    {
        return;
    }
    match point.decode.value(words) {
        Some(value) => {
            samples.push(sample(point, Some(value), Quality::GOOD));
            *told = Told::Words(words.iter().map(significant).collect());
        }
        None => tell_bad(point, told, Quality::BAD_DECODING_ERROR, samples),
    }
}

/// Tells that a tag is bad, once.
fn tell_bad(point: &Point, told: &mut Told, quality: Quality, samples: &mut Vec<Sample>) {
    if *told != Told::Bad(quality) {
        samples.push(sample(point, None, quality));
        *told = Told::Bad(quality);
    }
}

fn sample(point: &Point, value: Option<Value>, quality: Quality) -> Sample {
    Sample {
        tag: point.tag,
        value,
        quality,
        source_time: None,
        server_time: None,
        gap: false,
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
