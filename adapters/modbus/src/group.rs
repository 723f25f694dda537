//! The tags of one unit that are read at one interval: what is asked, what was told of each, what is refused.
//!
//! No input or output here. A read that the device refuses as a whole is halved in the next poll, and so on, until
//! the registers that are the reason stand alone: those tags are bad and are tried again slowly, the others are
//! planned anew around them. Where no tag is the reason, it was a passing refusal, a hole that was read over, or the
//! length of the request: it is asked as before once more, and if that is refused too the group does without. A request
//! that is not answered, of a unit that answers others, is halved in the same way.

mod busy;
mod inquiry;
mod refused;
mod silence;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Quality, Sample, TagId, Value};
use tokio::time::Instant;

use crate::address::{Point, Table};
use crate::planner::{Extent, Limits};
use crate::settings::Checked;
use crate::torn::{BAD_DATA_UNAVAILABLE, Doubts};
use inquiry::{Inquiry, Suspect};
use refused::Refused;
use silence::Silence;

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
    /// When the next of the tags that are not answered is tried again.
    silent_due: Instant,
    tables: [TableState; 5],
    /// Tags that were asked for alone while every request failed.
    probes: usize,
    retry_refused: Duration,
    /// Each value has a request of its own.
    separate: bool,
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
    /// The values in it that have to be read twice.
    doubts: Doubts,
    /// The last answer, where everything in it was told; empty otherwise.
    last: Vec<u16>,
    /// A part of a refused read that has not been answered yet.
    open: bool,
    /// Since when the unit fails with it.
    failing: Option<Instant>,
    /// The unit was busy last time, or the gateway did not reach it: it is asked after the others.
    put_off: bool,
    /// There was no answer to it last time, or none that can be read.
    silence: Option<Silence>,
    /// It is still to be asked in this poll.
    has_turn: bool,
}

/// What is known of one table of the unit.
#[derive(Debug)]
struct TableState {
    limits: Limits,
    inquiry: Option<Inquiry>,
    suspect: Option<Suspect>,
    replan: bool,
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
        let tables = Table::ALL.map(|table| TableState {
            limits: settings.limits(table),
            inquiry: None,
            suspect: None,
            replan: true,
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
            silent_due: start,
            tables,
            probes: 0,
            retry_refused: settings.retry_refused,
            separate: settings.one_request_per_value,
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
        self.reads.iter_mut().for_each(|read| read.has_turn = true);
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

    /// The values of a request that have to be read twice.
    pub(crate) fn doubts(&self, index: usize) -> Doubts {
        self.reads
            .get(index)
            .map_or_else(Doubts::default, |read| read.doubts.clone())
    }

    /// The answer to a request, and the values in it that no two reads agreed on. Values that are the same as those last
    /// told are not told again. Returns the tags that were not read in polls before, while they had been told.
    pub(crate) fn answered(
        &mut self,
        index: usize,
        words: Vec<u16>,
        torn: &Doubts,
        samples: &mut Vec<Sample>,
    ) -> Vec<TagId> {
        let Some(read) = self.reads.get_mut(index) else {
            return Vec::new();
        };
        let state = &mut self.tables[read.table as usize];
        read.put_off = false;
        let was_silent = read.silence.take().is_some();
        let was_away = read.failing.take().is_some() || was_silent || read.open;
        let missed = read
            .items
            .iter()
            .filter(|item| was_away && self.told[**item] != Told::Nothing);
        let missed = missed.map(|item| self.points[*item].tag).collect();
        if read.open {
            read.open = false;
            if let Some(inquiry) = &mut state.inquiry {
                inquiry.longest_answered = inquiry.longest_answered.max(read.extent.len);
            }
        } else if state.suspect.is_some_and(|suspect| suspect.read == read.extent) {
            state.suspect = None;
        }
        if read.last == words && !words.is_empty() && torn.is_empty() {
            return missed;
        }
        for &item in &read.items {
            if torn.contains(item) {
                tell_bad(
                    &self.points[item],
                    &mut self.told[item],
                    BAD_DATA_UNAVAILABLE,
                    samples,
                );
                continue;
            }
            if let Some(own) = self.points[item].own(&words, read.extent) {
                tell(&self.points[item], &mut self.told[item], own, samples);
            }
        }
        // What was not told of it must not be taken for told when it comes again.
        read.last = if torn.is_empty() { words } else { Vec::new() };
        missed
    }

    /// Whether what a request is for has values, as far as it was told.
    pub(crate) fn has_values(&self, index: usize) -> bool {
        let has_value = |item: &usize| matches!(self.told[*item], Told::Words(_));
        self.reads
            .get(index)
            .is_some_and(|read| read.items.iter().any(has_value))
    }

    /// The unit failed with a request. Whether the request is the reason: it failed before, and the unit has answered
    /// something else since.
    pub(crate) fn failed(&mut self, index: usize, now: Instant, last_answer: Option<Instant>) -> bool {
        let Some(read) = self.reads.get_mut(index) else {
            return false;
        };
        let since = *read.failing.get_or_insert(now);
        last_answer.is_some_and(|answer| answer > since)
    }

    /// A tag to ask for alone where every request fails: an answer tells that the requests are the reason and not the
    /// unit. Each time another one.
    pub(crate) fn probe(&mut self) -> Option<(usize, Table, Extent)> {
        let shared = self.reads.iter().filter(|read| read.items.len() > 1);
        let items: Vec<usize> = shared.flat_map(|read| read.items.iter().copied()).collect();
        // A step that is coprime to most numbers leads soon away from a stretch of registers that are not there.
        let item = *items.get(self.probes.wrapping_mul(7919) % items.len().max(1))?;
        self.probes = self.probes.wrapping_add(1);
        let point = &self.points[item];
        Some((item, point.table, point.extent))
    }

    /// A tag that was asked for alone was answered. A value that has to be read twice is left to the polls.
    pub(crate) fn probed(&mut self, item: usize, words: &[u16], samples: &mut Vec<Sample>) {
        if self.points[item].twice {
            return;
        }
        // The request that it is of may answer what it answered before: that is news then.
        let own = self.reads.iter_mut().filter(|read| read.items.contains(&item));
        own.for_each(|read| read.last.clear());
        tell(&self.points[item], &mut self.told[item], words, samples);
    }

    fn reading(&self, table: Table, extent: Extent, items: Vec<usize>, open: bool) -> Reading {
        let points = items.iter().map(|&item| (item, &*self.points[item]));
        Reading {
            table,
            extent,
            doubts: Doubts::of(points, extent),
            items,
            last: Vec::new(),
            open,
            failing: None,
            put_off: false,
            silence: None,
            has_turn: false,
        }
    }

    /// What a request is for is not known any more.
    fn lose_values(&mut self, index: usize, quality: Quality, samples: &mut Vec<Sample>) {
        let Some(read) = self.reads.get_mut(index) else {
            return;
        };
        read.last.clear();
        for &item in &read.items {
            tell_bad(&self.points[item], &mut self.told[item], quality, samples);
        }
    }

    /// Where a tag is.
    fn place(&self, item: usize) -> (Table, Extent) {
        let point = &self.points[item];
        (point.table, point.extent)
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

    /// It is to be read at once, also where it is read seldom.
    pub(crate) fn hasten(&mut self, now: Instant) {
        self.due = self.due.min(now);
    }

    /// The source is lost: nothing that was told holds any longer.
    pub(crate) fn forget(&mut self) {
        self.told.fill(Told::Nothing);
        self.reads.iter_mut().for_each(|read| read.last.clear());
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
    match point.value(words) {
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

/// A sample of a tag, now.
pub(crate) fn sample(point: &Point, value: Option<Value>, quality: Quality) -> Sample {
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
