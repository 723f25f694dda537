//! Refused tags: tried again slowly, and soon where the device takes one of them back.

use floorgate_sample::{Quality, Sample, TagId};
use tokio::time::Instant;
use tracing::info;

use super::{Group, Refused, Told, tell, tell_bad};
use crate::address::Table;
use crate::planner::Extent;

impl Group {
    /// How many tags the device refuses.
    pub(crate) fn refused_count(&self) -> usize {
        self.refused.len()
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
        // A value that has to be read twice is left to the polls.
        if !point.twice {
            tell(point, &mut self.told[refused.item], words, samples);
        }
        Some(point.tag)
    }

    /// Has all refused tags tried again soon: the unit takes one that it refused.
    pub(crate) fn retry_soon(&mut self, now: Instant) {
        for refused in &mut self.refused {
            refused.next_try = now;
        }
    }

    /// There was no answer to a request. How often in a row, where the unit has answered something else since the first time.
    pub(crate) fn broke(&mut self, index: usize, now: Instant, last_answer: Option<Instant>) -> u32 {
        let Some(read) = self.reads.get_mut(index) else {
            return 0;
        };
        let (since, times) = read.broken.unwrap_or((now, 0));
        read.broken = Some((since, times + 1));
        let is_alone = last_answer.is_some_and(|answer| answer > since);
        if is_alone { times + 1 } else { 0 }
    }

    /// What a request was for is not known any more.
    pub(crate) fn doubt(&mut self, index: usize, quality: Quality, samples: &mut Vec<Sample>) {
        let Some(read) = self.reads.get_mut(index) else {
            return;
        };
        read.last.clear();
        for &item in &read.items {
            tell_bad(&self.points[item], &mut self.told[item], quality, samples);
        }
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
