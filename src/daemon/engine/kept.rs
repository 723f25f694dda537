//! Sources that run on while the plan is replaced.
//!
//! A source numbers itself and its tags as the plan did with which it was started, for as long as it runs. What it sends is given the numbers
//! of now on its way to the core, and what it is asked for those of then on its way back.

use std::collections::HashMap;

use floorgate_adapter_api::{Batch, GapScope, Notice, SourceId, TagId};
use floorgate_core::Kept;

use super::Generation;

/// Numbers of tags in one plan and in another. A source's tags have the same order in both, so that they are few stretches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(Vec<Stretch>);

/// Tags whose numbers follow one another in both plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    from: u32,
    count: u32,
    to: u32,
}

impl Numbers {
    /// Numbers by pairs of which each has one of the one plan and one of the other.
    pub fn of(mut pairs: Vec<(TagId, TagId)>) -> Self {
        pairs.sort_unstable();
        let mut stretches: Vec<Stretch> = Vec::new();
        for (TagId(from), TagId(to)) in pairs {
            match stretches.last_mut() {
                Some(last)
                    if from - last.from == last.count && to.checked_sub(last.to) == Some(last.count) =>
                {
                    last.count += 1;
                }
                _ => stretches.push(Stretch { from, count: 1, to }),
            }
        }
        stretches.shrink_to_fit();
        Self(stretches)
    }

    /// The number in the other plan. `None` where it has none.
    pub fn get(&self, TagId(tag): TagId) -> Option<TagId> {
        let place = self.0.partition_point(|stretch| stretch.from <= tag);
        let stretch = self.0.get(place.checked_sub(1)?)?;
        let behind = tag - stretch.from;
        (behind < stretch.count).then(|| TagId(stretch.to + behind))
    }

    /// The other way.
    pub fn back(&self) -> Self {
        Self::of(self.pairs().map(|(from, to)| (to, from)).collect())
    }

    /// On to a third plan.
    fn then(&self, next: &Self) -> Self {
        let pairs = self.pairs();
        Self::of(
            pairs
                .filter_map(|(from, to)| Some((from, next.get(to)?)))
                .collect(),
        )
    }

    fn pairs(&self) -> impl Iterator<Item = (TagId, TagId)> {
        let tags = |Stretch { from, count, to }| (0..count).map(move |n| (TagId(from + n), TagId(to + n)));
        self.0.iter().copied().flat_map(tags)
    }
}

/// A source of an earlier plan under the numbers of now.
#[derive(Debug)]
struct Now {
    source: SourceId,
    tags: Numbers,
}

/// The sources that have outlived the plan with which they were started, by its generation and their number in it.
#[derive(Debug, Default)]
pub struct Outliving(HashMap<(Generation, SourceId), Now>);

impl Outliving {
    /// Another plan replaces that of a generation, and these sources run on.
    pub fn follow(&mut self, replaced: Generation, kept: &[Kept]) {
        let mut started: HashMap<SourceId, ((Generation, SourceId), Numbers)> = HashMap::new();
        for (from, now) in self.0.drain() {
            started.insert(now.source, (from, now.tags));
        }
        for kept in kept {
            let step = Numbers::of(kept.tags.clone());
            let (from, tags) = match started.remove(&kept.before) {
                Some((from, tags)) => (from, tags.then(&step)),
                None => ((replaced, kept.before), step),
            };
            let source = kept.now;
            self.0.insert(from, Now { source, tags });
        }
    }

    /// Gives a batch of an earlier plan's source the numbers of now. Returns whether that source is one that runs on.
    pub fn renumber(&self, generation: Generation, batch: &mut Batch) -> bool {
        let Some(Now { source, tags }) = self.0.get(&(generation, batch.source)) else {
            return false;
        };
        batch.source = *source;
        batch.samples.retain_mut(|sample| match tags.get(sample.tag) {
            Some(tag) => {
                sample.tag = tag;
                true
            }
            None => false,
        });
        for notice in &mut batch.notices {
            if let Notice::Gap {
                scope: GapScope::Tags(of),
                ..
            } = notice
            {
                *of = of.iter().filter_map(|tag| tags.get(*tag)).collect();
            }
        }
        true
    }

    /// The numbers of now of sources that run on, and those which their tags have for the source.
    pub fn ways_back(&self) -> impl Iterator<Item = (SourceId, Numbers)> {
        self.0.values().map(|now| (now.source, now.tags.back()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(pairs: &[(u32, u32)]) -> Numbers {
        Numbers::of(
            pairs
                .iter()
                .map(|(from, to)| (TagId(*from), TagId(*to)))
                .collect(),
        )
    }

    #[test]
    fn numbers_are_found_in_few_stretches_and_back() {
        let forth = numbers(&[(7, 10), (3, 5), (4, 6), (5, 7), (8, 11), (9, 20), (12, 1)]);
        assert_eq!(forth.0.len(), 4);
        for (from, to) in [(3, 5), (5, 7), (7, 10), (8, 11), (9, 20), (12, 1)] {
            assert_eq!(forth.get(TagId(from)), Some(TagId(to)));
            assert_eq!(forth.back().get(TagId(to)), Some(TagId(from)));
        }
        for lacking in [0, 2, 6, 10, 11, 13, u32::MAX] {
            assert_eq!(forth.get(TagId(lacking)), None, "{lacking}");
        }
        assert_eq!(Numbers::default().get(TagId(0)), None);
    }

    #[test]
    fn a_source_is_followed_over_any_number_of_plans() {
        let first = Generation::default();
        let kept = |before, now, tags: &[(u32, u32)]| Kept {
            before: SourceId(before),
            now: SourceId(now),
            tags: tags.iter().map(|(old, new)| (TagId(*old), TagId(*new))).collect(),
        };
        let mut outliving = Outliving::default();
        // Two sources of the first plan, of which the second plan changes the numbers, and one of the second.
        outliving.follow(first, &[kept(0, 1, &[(0, 4), (1, 5)]), kept(1, 0, &[(2, 0)])]);
        let third = [kept(1, 0, &[(4, 0), (5, 1)]), kept(2, 1, &[(6, 2)])];
        outliving.follow(first.next(), &third);
        let seen = |generation, source| {
            let now = outliving.0.get(&(generation, SourceId(source)))?;
            Some((
                now.source.0,
                now.tags
                    .pairs()
                    .map(|(from, to)| (from.0, to.0))
                    .collect::<Vec<_>>(),
            ))
        };
        assert_eq!(seen(first, 0), Some((0, vec![(0, 0), (1, 1)])));
        assert_eq!(seen(first, 1), None, "it was stopped");
        assert_eq!(seen(first.next(), 2), Some((1, vec![(6, 2)])));
    }
}
