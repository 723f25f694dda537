//! The tags that are not good by their device's word, while their source is there.
//!
//! Only these take room: where all is good nothing is kept.

use std::collections::HashMap;
use std::sync::Arc;

use floorgate_adapter_api::{Notice, Quality, Sample, SourceId, TagId};
use floorgate_core::plan::Plan;
use floorgate_sample::Timestamp;

/// What was last told of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    pub quality: Quality,
    /// When it was first received.
    pub since: Timestamp,
}

/// All of them.
#[derive(Debug, Default)]
pub struct BadTags {
    plan: Arc<Plan>,
    bad: HashMap<TagId, Bad>,
}

impl BadTags {
    /// Goes on with another plan; what is known of sources that run on is kept.
    pub fn replace(&mut self, plan: &Arc<Plan>, is_kept: impl Fn(&str) -> bool) {
        let before = std::mem::replace(&mut self.plan, Arc::clone(plan));
        let known = std::mem::take(&mut self.bad);
        if known.is_empty() {
            return;
        }
        let by_name = known.into_iter().filter_map(|(tag, bad)| {
            let tag = before.tags.get(tag.index())?;
            let source = before.sources.get(tag.source.index())?;
            is_kept(&source.name).then(|| (Arc::clone(&tag.key), bad))
        });
        let by_name: HashMap<Arc<str>, Bad> = by_name.collect();
        let numbered = (0..).map(TagId).zip(&plan.tags);
        self.bad = numbered
            .filter_map(|(number, tag)| Some((number, *by_name.get(&tag.key)?)))
            .collect();
    }

    /// A source says something of itself: what was known of its tags is of no use where they are unknown from now on.
    pub fn hear(&mut self, source: SourceId, notice: &Notice) {
        match notice {
            Notice::Offline { .. } | Notice::Stale { .. } | Notice::Online(_) => {
                let plan = &self.plan;
                let is_of = |tag: &TagId| plan.tags.get(tag.index()).is_some_and(|tag| tag.source == source);
                self.bad.retain(|tag, _| !is_of(tag));
            }
            Notice::CaughtUp | Notice::History | Notice::Gap { .. } => {}
        }
    }

    /// Values came.
    pub fn receive(&mut self, samples: &[Sample], received: Timestamp) {
        for sample in samples {
            if sample.quality.is_good() {
                if !self.bad.is_empty() {
                    self.bad.remove(&sample.tag);
                }
                continue;
            }
            let bad = Bad {
                quality: sample.quality,
                since: received,
            };
            let known = self.bad.entry(sample.tag).or_insert(bad);
            if known.quality != sample.quality {
                *known = bad;
            }
        }
    }

    /// Each with its name and the number of its source, in the order of their names.
    pub fn all(&self) -> Vec<(Arc<str>, SourceId, Bad)> {
        let told = self.bad.iter().filter_map(|(number, bad)| {
            let tag = self.plan.tags.get(number.index())?;
            Some((Arc::clone(&tag.key), tag.source, *bad))
        });
        let mut told: Vec<_> = told.collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        told
    }
}

#[cfg(test)]
mod tests {
    use floorgate_adapter_api::{Continuity, Value};
    use floorgate_core::plan::{SourceRow, Tag, TagSpec};

    use super::*;

    fn plan(tags: &[(&str, u16)]) -> Arc<Plan> {
        let tags = tags.iter().map(|(name, source)| Tag {
            key: (*name).into(),
            source: SourceId(*source),
            address: 7,
            valid: None,
            spec: Arc::new(TagSpec::default()),
        });
        let source = |name: &str| SourceRow {
            name: name.into(),
            topic: "connections".into(),
        };
        Arc::new(Plan {
            tags: tags.collect(),
            sources: vec![source("plc"), source("drive")],
            ..Plan::default()
        })
    }

    fn sample(tag: u32, quality: Quality) -> Sample {
        Sample {
            tag: TagId(tag),
            value: quality.is_good().then_some(Value::Int(1)),
            quality,
            source_time: None,
            server_time: None,
            gap: false,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_nanos(second * 1_000_000_000)
    }

    fn names(bad: &BadTags) -> Vec<(String, Quality, Timestamp)> {
        let all = bad.all().into_iter();
        all.map(|(name, _, bad)| (name.to_string(), bad.quality, bad.since))
            .collect()
    }

    #[test]
    fn a_tag_is_bad_since_its_status_is_that_until_it_is_good_or_its_source_is_lost() {
        let mut bad = BadTags::default();
        bad.replace(&plan(&[("b", 0), ("a", 0), ("c", 1)]), |_| true);
        bad.receive(&[sample(0, Quality::BAD), sample(1, Quality::UNCERTAIN)], at(1));
        bad.receive(&[sample(0, Quality::BAD), sample(2, Quality::BAD_TIMEOUT)], at(2));
        let (a, b) = (("a", Quality::UNCERTAIN, at(1)), ("b", Quality::BAD, at(1)));
        let c = ("c", Quality::BAD_TIMEOUT, at(2));
        let told = |rows: &[(&str, Quality, Timestamp)]| -> Vec<_> {
            rows.iter()
                .map(|(name, quality, at)| ((*name).to_owned(), *quality, *at))
                .collect()
        };
        assert_eq!(names(&bad), told(&[a, b, c]));
        bad.receive(
            &[sample(0, Quality::BAD_TIMEOUT), sample(1, Quality::GOOD)],
            at(3),
        );
        assert_eq!(names(&bad), told(&[("b", Quality::BAD_TIMEOUT, at(3)), c]));

        let other = plan(&[("c", 1), ("new", 0), ("b", 0)]);
        bad.replace(&other, |source| source == "plc");
        assert_eq!(
            names(&bad),
            told(&[("b", Quality::BAD_TIMEOUT, at(3))]),
            "c's source was started anew"
        );
        bad.hear(SourceId(1), &Notice::Online(Continuity::New));
        assert_eq!(names(&bad).len(), 1, "it is of another source");
        let reason = "gone".to_owned();
        bad.hear(SourceId(0), &Notice::Offline { reason });
        assert!(names(&bad).is_empty());
    }
}
