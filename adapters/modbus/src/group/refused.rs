//! Tags that are left out: tried again slowly, and soon where the device takes one of them back.
//!
//! One that is refused costs an answer. One that is not answered costs the link a time-out: of those one is tried at a time.

use floorgate_sample::{Quality, Sample, TagId};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Group, Told, tell, tell_bad};
use crate::address::Table;
use crate::planner::Extent;

/// A point that the device refuses, or over which it is silent.
#[derive(Debug)]
pub(super) struct Refused {
    pub item: usize,
    quality: Quality,
    next_try: Instant,
    /// Not answered. When it is tried again, all of these decide together.
    is_silent: bool,
}

/// A tag that is left out and is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    item: usize,
    pub table: Table,
    pub extent: Extent,
    /// It was not answered last time.
    pub is_silent: bool,
}

impl Group {
    /// How many tags the device refuses.
    pub(crate) fn refused_count(&self) -> usize {
        self.refused.len()
    }

    /// When the first of them is tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let due = |refused: &Refused| {
            if refused.is_silent {
                self.silent_due
            } else {
                refused.next_try
            }
        };
        self.refused.iter().map(due).min()
    }

    /// A tag is the reason of a refusal, or of a silence.
    pub(super) fn leave_out(
        &mut self,
        item: usize,
        quality: Quality,
        is_silent: bool,
        now: Instant,
        samples: &mut Vec<Sample>,
    ) {
        let point = &self.points[item];
        let what = if is_silent {
            "the device is silent over a tag"
        } else {
            "the device refuses a tag"
        };
        warn!(source = self.source, unit = self.unit, tag = point.name, %quality, see = "modbus-tag-refused", "{what}");
        tell_bad(point, &mut self.told[item], quality, samples);
        let next_try = now + self.retry_refused;
        if is_silent && !self.refused.iter().any(|refused| refused.is_silent) {
            self.silent_due = next_try;
        }
        self.refused.push_back(Refused {
            item,
            quality,
            next_try,
            is_silent,
        });
    }

    /// A tag that is left out, with each number another.
    pub(crate) fn left_out(&self, number: usize) -> Option<(Table, Extent)> {
        let refused = self.refused.get(number % self.refused.len().max(1))?;
        Some(self.place(refused.item))
    }

    /// A tag that is left out since the device refuses it.
    pub(crate) fn refused_by_name(&self) -> Option<(Table, Extent)> {
        let refused = self.refused.iter().find(|refused| !refused.is_silent)?;
        Some(self.place(refused.item))
    }

    /// Whether one of the tags that were not answered is to be tried again.
    pub(super) fn is_silent_due(&self, now: Instant) -> bool {
        self.silent_due <= now && self.refused.iter().any(|refused| refused.is_silent)
    }

    /// A tag that is to be tried again: what has been due for longest, of those that are not answered the first.
    pub(crate) fn retry(&self, now: Instant) -> Option<Retry> {
        let is_due = |refused: &&Refused| !refused.is_silent && refused.next_try <= now;
        let refused = self.refused.iter().filter(is_due);
        let refused = refused.map(|refused| (refused.next_try, refused));
        let silent = self.refused.iter().find(|refused| refused.is_silent);
        let silent = silent.filter(|_| self.silent_due <= now);
        let silent = silent.map(|silent| (self.silent_due, silent));
        let (_, refused) = refused.chain(silent).min_by_key(|(due, _)| *due)?;
        let (table, extent) = self.place(refused.item);
        Some(Retry {
            item: refused.item,
            table,
            extent,
            is_silent: refused.is_silent,
        })
    }

    fn take(&mut self, retry: Retry) -> Option<Refused> {
        let own = |refused: &Refused| refused.item == retry.item;
        let place = self.refused.iter().position(own)?;
        self.refused.remove(place)
    }

    /// The device took a tag after all. Returns the tag: what it was meanwhile is unknown.
    pub(crate) fn readmitted(
        &mut self,
        retry: Retry,
        words: &[u16],
        samples: &mut Vec<Sample>,
    ) -> Option<TagId> {
        let refused = self.take(retry)?;
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

    /// The unit takes a tag that it refused: all others are tried again soon. Of those that are not answered it is the next one, and
    /// only where it was one of them, since each costs a time-out.
    pub(crate) fn retry_soon(&mut self, was_silent: bool, now: Instant) {
        for refused in &mut self.refused {
            refused.next_try = now;
        }
        if was_silent {
            self.silent_due = now;
        }
    }

    /// The device still refuses the tag, or is silent over it.
    pub(crate) fn still_refused(
        &mut self,
        retry: Retry,
        quality: Quality,
        is_silent: bool,
        now: Instant,
        samples: &mut Vec<Sample>,
    ) {
        let Some(Refused { item, .. }) = self.take(retry) else {
            return;
        };
        tell_bad(&self.points[item], &mut self.told[item], quality, samples);
        let next_try = now + self.retry_refused;
        if is_silent {
            self.silent_due = next_try;
        }
        self.refused.push_back(Refused {
            item,
            quality,
            next_try,
            is_silent,
        });
    }

    /// The source is back: what is left out is said again, and is tried soon; of what is not answered one.
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
                self.silent_due = self.silent_due.min(now);
            }
        }
    }
}
