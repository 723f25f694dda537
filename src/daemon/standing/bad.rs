//! The tags that are not good by their device's word, told while their source is there.
//!
//! Only these take room: where all is good nothing is kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use floorgate_adapter_api::{Continuity, Notice, Quality, Sample, SourceId, TagId};
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
    /// Sources of which nothing is known now.
    away: HashSet<SourceId>,
    /// A source came back as it was: what an earlier process was told of its tags is known to the core alone.
    is_resumed: bool,
}

impl BadTags {
    /// Goes on with another plan; what is known of sources that run on is kept.
    pub fn replace(&mut self, plan: &Arc<Plan>, is_kept: impl Fn(&str) -> bool) {
        let before = std::mem::replace(&mut self.plan, Arc::clone(plan));
        let known = std::mem::take(&mut self.bad);
        let away = std::mem::take(&mut self.away);
        let away: HashSet<&str> = away
            .iter()
            .filter_map(|source| Some(&*before.sources.get(source.index())?.name))
            .collect();
        let sources = (0..).map(SourceId).zip(&plan.sources);
        self.away = sources
            .filter(|(_, source)| is_kept(&source.name) && away.contains(&*source.name))
            .map(|(number, _)| number)
            .collect();
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

    /// A source says something of itself.
    pub fn hear(&mut self, source: SourceId, notice: &Notice) {
        match notice {
            Notice::Offline { .. } | Notice::Stale { .. } => {
                self.away.insert(source);
            }
            Notice::Online(Continuity::Resumed) => {
                self.away.remove(&source);
                self.is_resumed = true;
            }
            Notice::Online(Continuity::New) => {
                // Each tag follows, whatever it is.
                self.away.remove(&source);
                let plan = &self.plan;
                let is_of = |tag: &TagId| plan.tags.get(tag.index()).is_some_and(|tag| tag.source == source);
                self.bad.retain(|tag, _| !is_of(tag));
            }
            Notice::CaughtUp | Notice::History | Notice::Gap { .. } => {}
        }
    }

    /// Takes what the core knows of tags that were bad before this process, where a source may have come back to it.
    pub fn learn(&mut self, standing: impl Iterator<Item = Sample>, now: Timestamp) {
        if !std::mem::take(&mut self.is_resumed) {
            return;
        }
        let is_told =
            |sample: &Sample| sample.quality.is_bad() && sample.quality != Quality::BAD_NO_COMMUNICATION;
        for sample in standing.filter(is_told) {
            self.bad.entry(sample.tag).or_insert(Bad {
                quality: sample.quality,
                since: sample.source_time.unwrap_or(now),
            });
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

    /// Those of sources that are there, each with its name and the number of its source.
    pub fn all(&self) -> Vec<(Arc<str>, SourceId, Bad)> {
        let told = self.bad.iter().filter_map(|(number, bad)| {
            let tag = self.plan.tags.get(number.index())?;
            let is_there = !self.away.contains(&tag.source);
            is_there.then(|| (Arc::clone(&tag.key), tag.source, *bad))
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use floorgate_adapter_api::Value;
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
        let mut all = bad.all();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let all = all.into_iter();
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
        let reason = "gone".into();
        bad.hear(SourceId(0), &Notice::Offline { reason });
        assert!(names(&bad).is_empty(), "its source is away");
        bad.replace(&plan(&[("b", 0), ("a", 0)]), |_| true);
        assert!(names(&bad).is_empty(), "and still is");
        bad.hear(SourceId(0), &Notice::Online(Continuity::Resumed));
        let b = ("b", Quality::BAD_TIMEOUT, at(3));
        assert_eq!(names(&bad), told(&[b]), "the device tells nothing again");
        // What an earlier process knew.
        let mut before = sample(1, Quality::BAD);
        before.source_time = Some(at(2));
        let core = [sample(0, Quality::BAD), before, sample(9, Quality::GOOD)];
        bad.learn(core.clone().into_iter(), at(4));
        assert_eq!(names(&bad), told(&[("a", Quality::BAD, at(2)), b]));
        bad.receive(&[sample(1, Quality::GOOD)], at(5));
        bad.learn(core.into_iter(), at(6));
        assert_eq!(names(&bad), told(&[b]), "it is asked for after each return once");
        bad.hear(SourceId(0), &Notice::Online(Continuity::New));
        assert!(names(&bad).is_empty());
    }
}
