//! Values that a device may be about to write while they are read: of one that takes several registers, half may be of
//! the value before. Where two reads in a row agree on it, it is taken for whole.

use std::ops::Range;

use floorgate_sample::Quality;

use crate::address::Point;
use crate::planner::Extent;

/// How often a request is made again before its values are given up.
pub(crate) const MOST_AGAIN: usize = 4;

/// `BadDataUnavailable` (OPC 10000-6 Annex A.2).
pub(crate) const BAD_DATA_UNAVAILABLE: Quality = Quality(0x809E_0000);

/// The values in an answer of which no two reads in a row have agreed yet: whose they are, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubts(Vec<(usize, Range<usize>)>);

impl Doubts {
    /// Those of points with their numbers that are read in one request.
    pub(crate) fn of<'a>(points: impl IntoIterator<Item = (usize, &'a Point)>, read: Extent) -> Self {
        let doubtful = points
            .into_iter()
            .filter(|(_, point)| point.twice && point.extent.len > 1);
        let place = |point: &Point| {
            let from = point.extent.start.saturating_sub(read.start) as usize;
            from..from + point.extent.len as usize
        };
        Self(doubtful.map(|(item, point)| (item, place(point))).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the value with this number is one of them.
    pub(crate) fn contains(&self, item: usize) -> bool {
        self.0.iter().any(|(other, _)| *other == item)
    }

    /// Holds another read against the one before it. `words` has the newest of each value from then on; what both agreed on
    /// earlier stays as it was.
    pub(crate) fn compare(&mut self, words: &mut [u16], again: &[u16]) {
        self.0.retain(|(_, place)| {
            let (Some(before), Some(now)) = (words.get_mut(place.clone()), again.get(place.clone())) else {
                return false;
            };
            let differs = *before != *now;
            before.copy_from_slice(now);
            differs
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_settled_by_two_reads_in_a_row_and_stays_so() {
        let mut doubts = Doubts(vec![(0, 0..2), (1, 2..4)]);
        let mut words = vec![1, 0, 7, 7, 9];
        doubts.compare(&mut words, &[2, 0, 7, 7, 8]);
        assert!(doubts.contains(0) && !doubts.contains(1));
        doubts.compare(&mut words, &[2, 0, 5, 5, 8]);
        assert!(doubts.is_empty());
        assert_eq!(words, [2, 0, 7, 7, 9], "what was settled before is kept");
    }
}
