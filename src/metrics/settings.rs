//! What a device made of the settings of each tag of a source. It is no metric: that would be a series for each tag.

use std::collections::HashMap;
use std::sync::Arc;

use crate::source::{Setting, SourceMetrics};

/// What a device was asked for of a tag, and what it made of that. `None` is what is not known, or has no meaning for the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TagSettings {
    /// How often the device tells what changed, in seconds.
    pub publishing_interval: Option<Setting>,
    /// How often it looks at the value, in seconds.
    pub sampling_interval: Option<Setting>,
    /// How many values it keeps until they are told.
    pub queue_size: Option<Setting>,
}

/// The settings of all tags of a source. A source has many tags and few ways in which they are served, so that each way is kept once, and tags that
/// follow one another and have the same are one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RevisedTags {
    distinct: Vec<TagSettings>,
    runs: Vec<(u32, u32)>,
}

impl TagSettings {
    /// Tells them apart, whatever the numbers are.
    fn bits(&self) -> [Option<(u64, u64)>; 3] {
        let each = [self.publishing_interval, self.sampling_interval, self.queue_size];
        each.map(|setting| setting.map(|Setting { asked, revised }| (asked.to_bits(), revised.to_bits())))
    }
}

impl RevisedTags {
    /// Each of the settings that tags have.
    #[must_use]
    pub fn distinct(&self) -> &[TagSettings] {
        &self.distinct
    }

    /// For each run of tags the place after its last one, and which of [`distinct`](Self::distinct) they have.
    #[must_use]
    pub fn runs(&self) -> &[(u32, u32)] {
        &self.runs
    }

    /// Those of the tag at this place; nothing is known of one that is not there.
    #[must_use]
    pub fn get(&self, place: usize) -> TagSettings {
        let run = self.runs.partition_point(|(end, _)| *end as usize <= place);
        let which = self.runs.get(run).map(|(_, which)| *which as usize);
        let settings = which.and_then(|which| self.distinct.get(which));
        settings.copied().unwrap_or_default()
    }
}

/// In the order of the tags' numbers.
impl FromIterator<TagSettings> for RevisedTags {
    fn from_iter<T: IntoIterator<Item = TagSettings>>(tags: T) -> Self {
        let mut all = Self::default();
        let mut known = HashMap::new();
        let mut last = None;
        for (end, settings) in (1..).zip(tags) {
            let bits = settings.bits();
            if last == Some(bits)
                && let Some(run) = all.runs.last_mut()
            {
                run.0 = end;
                continue;
            }
            last = Some(bits);
            let which = *known.entry(bits).or_insert_with(|| {
                all.distinct.push(settings);
                all.distinct.len() - 1
            });
            all.runs.push((end, u32::try_from(which).unwrap_or(u32::MAX)));
        }
        all.distinct.shrink_to_fit();
        all.runs.shrink_to_fit();
        all
    }
}

impl SourceMetrics {
    /// What the device made of the settings of the source's tags, instead of what was said before.
    pub fn revised_tags(&self, tags: RevisedTags) {
        self.board.lock().revised_tags = Arc::new(tags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    fn sampled(asked: f64, revised: f64) -> TagSettings {
        TagSettings {
            sampling_interval: Some(Setting { asked, revised }),
            ..TagSettings::default()
        }
    }

    #[test]
    fn tags_with_the_same_settings_cost_next_to_nothing() {
        let (fast, slow, unknown) = (sampled(0.1, 0.1), sampled(0.1, 1.0), TagSettings::default());
        let tags = |place: usize| match place {
            0..50_000 | 70_000..99_998 => fast,
            50_000..70_000 => slow,
            _ => unknown,
        };
        let all: RevisedTags = (0..100_000).map(tags).collect();
        assert_eq!(all.distinct(), [fast, slow, unknown]);
        assert_eq!(all.runs(), [(50_000, 0), (70_000, 1), (99_998, 0), (100_000, 2)]);
        for place in [0, 49_999, 50_000, 69_999, 70_000, 99_997, 99_998] {
            assert_eq!(all.get(place), tags(place), "{place}");
        }
        assert_eq!(all.get(100_000), unknown, "there is no such tag");
        assert_eq!(RevisedTags::default().get(0), unknown);
    }

    #[test]
    fn tags_by_turns_cost_eight_bytes_each() {
        let two = [sampled(0.1, 0.1), sampled(f64::NAN, 1.0)];
        let all: RevisedTags = two.iter().copied().cycle().take(1_000).collect();
        assert_eq!((all.distinct().len(), all.runs().len()), (2, 1_000));
        assert_eq!(size_of_val(&all.runs()[0]), 8);
        assert_eq!(all.get(998), two[0]);
        assert!(all.get(999).sampling_interval.is_some_and(|of| of.asked.is_nan()));
    }

    #[test]
    fn what_is_said_of_tags_stands_until_something_else_is_or_the_source_is_gone()
    -> Result<(), prometheus::Error> {
        let metrics = Metrics::new()?;
        let source = metrics.source("plc");
        source.revised_tags([sampled(0.1, 1.0)].into_iter().collect());
        let said = |metrics: &Metrics| metrics.source("plc").outlook().revised_tags.get(0);
        assert_eq!(said(&metrics), sampled(0.1, 1.0));
        source.revised_tags(RevisedTags::default());
        assert_eq!(said(&metrics), TagSettings::default());
        source.revised_tags([sampled(0.1, 2.0)].into_iter().collect());
        metrics.forget_source("plc");
        assert_eq!(said(&metrics), TagSettings::default());
        Ok(())
    }
}
