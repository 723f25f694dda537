//! The tags that are late when they do not change.
//!
//! Only these are looked at: a plan of a hundred thousand tags of which none has a `late_after` costs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::{Sample, SourceId, Value};
use floorgate_core::plan::{Plan, TagSpec};
use floorgate_sample::Timestamp;

use super::Moment;

/// A tag that has a `late_after`.
#[derive(Clone, Debug)]
pub struct Watched {
    pub key: Arc<str>,
    pub source: SourceId,
    address: u64,
    spec: Arc<TagSpec>,
    /// Without a change for this long it is late.
    pub after: Duration,
    /// The last value that was usable.
    pub value: Option<Value>,
    /// When it changed last, or began to be waited for, on the clock of what is watched.
    changed: Duration,
    /// When that was by the wall clock.
    pub since: Timestamp,
    pub is_late: bool,
}

impl Watched {
    /// Whether it has not changed for too long.
    fn is_overdue(&self, now: Moment) -> bool {
        now.watched.saturating_sub(self.changed) >= self.after
    }

    /// A value of it was received. Returns whether that is a change.
    fn is_changed_by(&mut self, sample: &Sample) -> bool {
        let usable = sample.value.as_ref().filter(|_| !sample.quality.is_bad());
        let spec = &self.spec;
        let value = match spec.field {
            Some(field) => usable.and_then(|value| field.of(value)),
            None => usable.cloned(),
        };
        let Some(value) = value else { return false };
        let is_same = self.value.as_ref().is_some_and(|known| known.same(&value));
        self.value = Some(value);
        // What happens has no state that could stay.
        !is_same || spec.happens.is_some()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct WatchedTags {
    /// Where the tag of a number stands; empty where none is watched.
    places: Vec<Option<u32>>,
    tags: Vec<Watched>,
}

impl WatchedTags {
    /// Those of a plan, which are waited for from now on.
    pub fn of(plan: &Plan, now: Moment) -> Self {
        let mut watched = Self::default();
        for (number, tag) in plan.tags.iter().enumerate() {
            let Some(after) = tag.spec.late_after else {
                continue;
            };
            watched.places.resize(number + 1, None);
            watched.places[number] = u32::try_from(watched.tags.len()).ok();
            watched.tags.push(Watched {
                key: Arc::clone(&tag.key),
                source: tag.source,
                address: tag.address,
                spec: Arc::clone(&tag.spec),
                after,
                value: None,
                changed: now.watched,
                since: now.wall,
                is_late: false,
            });
        }
        watched
    }

    /// Goes on from what was known of tags that are the same, of sources that run on.
    pub fn go_on_from(&mut self, before: Self, now: Moment, is_kept: impl Fn(SourceId) -> bool) {
        let mut before: HashMap<Arc<str>, Watched> = before
            .tags
            .into_iter()
            .map(|tag| (Arc::clone(&tag.key), tag))
            .collect();
        for tag in self.tags.iter_mut().filter(|tag| is_kept(tag.source)) {
            let Some(known) = before.remove(&tag.key) else {
                continue;
            };
            if known.address == tag.address && known.spec.field == tag.spec.field {
                tag.value = known.value;
                tag.changed = known.changed;
                tag.since = known.since;
                // With a longer time it may be late no more; one that still is is not told again.
                tag.is_late = known.is_late && tag.is_overdue(now);
            }
        }
    }

    /// Values came. Those that were late until now are handed to `moves`, each with since when it had not changed.
    pub fn receive(
        &mut self,
        samples: &[Sample],
        received: Timestamp,
        now: Moment,
        mut moves: impl FnMut(&Watched, Timestamp),
    ) {
        if self.tags.is_empty() {
            return;
        }
        for sample in samples {
            let place = self.places.get(sample.tag.index()).copied().flatten();
            let tag = place.and_then(|place| self.tags.get_mut(place as usize));
            let Some(tag) = tag else { continue };
            if tag.is_changed_by(sample) {
                tag.changed = now.watched;
                let since = std::mem::replace(&mut tag.since, received);
                if std::mem::take(&mut tag.is_late) {
                    moves(tag, since);
                }
            }
        }
    }

    /// Those that become late by now are handed to `late`.
    pub fn judge(&mut self, now: Moment, mut late: impl FnMut(&Watched)) {
        for tag in self.tags.iter_mut().filter(|tag| !tag.is_late) {
            if tag.is_overdue(now) {
                tag.is_late = true;
                late(tag);
            }
        }
    }

    /// How many of each source are late, of so many sources.
    pub fn late_by_source(&self, sources: usize) -> Vec<i64> {
        let mut counts = vec![0; sources];
        for tag in self.late() {
            if let Some(count) = counts.get_mut(tag.source.index()) {
                *count += 1;
            }
        }
        counts
    }

    /// Those that are late.
    pub fn late(&self) -> impl Iterator<Item = &Watched> {
        self.tags.iter().filter(|tag| tag.is_late)
    }
}

#[cfg(test)]
mod tests {
    use floorgate_adapter_api::{Quality, TagId};
    use floorgate_core::plan::{BitField, Tag};

    use super::*;

    /// A plan of tags, each with the seconds after which it is late.
    fn plan(tags: &[(&str, Option<u64>)]) -> Plan {
        let tags = tags.iter().map(|(name, seconds)| Tag {
            key: (*name).into(),
            source: SourceId(0),
            address: 7,
            valid: None,
            spec: Arc::new(TagSpec {
                late_after: seconds.map(Duration::from_secs),
                ..TagSpec::default()
            }),
        });
        Plan {
            tags: tags.collect(),
            ..Plan::default()
        }
    }

    fn sample(tag: u32, value: Value) -> Sample {
        Sample {
            tag: TagId(tag),
            value: Some(value),
            quality: Quality::GOOD,
            source_time: None,
            server_time: None,
            gap: false,
        }
    }

    /// The names of those that become late.
    fn judged(watched: &mut WatchedTags, now: Moment) -> Vec<String> {
        let mut late = Vec::new();
        watched.judge(now, |tag| late.push(tag.key.to_string()));
        late
    }

    /// The names of those that were late until these came, each with since when.
    fn moved(watched: &mut WatchedTags, samples: &[Sample], now: Moment) -> Vec<(String, Timestamp)> {
        let mut moves = Vec::new();
        watched.receive(samples, now.wall, now, |tag, since| {
            moves.push((tag.key.to_string(), since));
        });
        moves
    }

    #[test]
    fn only_another_value_is_a_change() {
        let mut plan = plan(&[("a", None), ("b", Some(10)), ("c", Some(20))]);
        plan.tags[2].source = SourceId(1);
        let mut watched = WatchedTags::of(&plan, Moment::at(0));
        assert!(judged(&mut watched, Moment::at(9)).is_empty());
        assert_eq!(
            judged(&mut watched, Moment::at(10)),
            ["b"],
            "it never had a value"
        );
        assert!(judged(&mut watched, Moment::at(11)).is_empty(), "it is told once");
        let came = |value| [sample(0, Value::Int(value)), sample(1, Value::Int(value))];
        assert_eq!(
            moved(&mut watched, &came(1), Moment::at(12)),
            [("b".to_owned(), Moment::at(0).wall)]
        );
        assert!(moved(&mut watched, &came(1), Moment::at(20)).is_empty());
        assert_eq!(
            judged(&mut watched, Moment::at(22)),
            ["b", "c"],
            "the same value is no change"
        );
        assert_eq!(watched.late_by_source(3), [1, 1, 0]);
        let bad = Sample {
            quality: Quality::BAD,
            ..sample(1, Value::Int(5))
        };
        assert!(
            moved(&mut watched, &[bad], Moment::at(23)).is_empty(),
            "a bad value is none"
        );
        assert_eq!(
            moved(&mut watched, &came(2), Moment::at(24)),
            [("b".to_owned(), Moment::at(12).wall)]
        );
        let late: Vec<_> = watched.late().map(|tag| (&*tag.key, tag.value.clone())).collect();
        assert_eq!(late, [("c", None)]);
    }

    #[test]
    fn of_some_bits_and_of_what_happens_each_its_own_counts() {
        let mut plan = plan(&[("bits", Some(10)), ("told", Some(10))]);
        plan.tags[0].spec = Arc::new(TagSpec {
            late_after: Some(Duration::from_secs(10)),
            field: Some(BitField { mask: 0xF0, shift: 4 }),
            ..TagSpec::default()
        });
        plan.tags[1].spec = Arc::new(TagSpec {
            late_after: Some(Duration::from_secs(10)),
            happens: Some(floorgate_sample::Happening::Event),
            ..TagSpec::default()
        });
        let mut watched = WatchedTags::of(&plan, Moment::at(0));
        for (now, word) in [(1, 0x1F), (5, 0x11), (11, 0x10)] {
            moved(
                &mut watched,
                &[sample(0, Value::Int(word)), sample(1, Value::Int(1))],
                Moment::at(now),
            );
        }
        assert_eq!(judged(&mut watched, Moment::at(20)), ["bits"]);
    }

    #[test]
    fn a_tag_of_a_source_that_runs_on_is_known_under_its_new_number() {
        let before = plan(&[("a", Some(10)), ("b", Some(10))]);
        let mut watched = WatchedTags::of(&before, Moment::at(0));
        moved(
            &mut watched,
            &[sample(0, Value::Int(1)), sample(1, Value::Int(1))],
            Moment::at(5),
        );
        judged(&mut watched, Moment::at(15));
        let after = plan(&[("x", None), ("b", Some(30)), ("a", Some(10))]);
        for (is_kept, late) in [(true, &["a"][..]), (false, &[])] {
            let mut next = WatchedTags::of(&after, Moment::at(16));
            let known = WatchedTags {
                places: watched.places.clone(),
                tags: watched.tags.clone(),
            };
            next.go_on_from(known, Moment::at(16), |_| is_kept);
            let found: Vec<_> = next.late().map(|tag| &*tag.key).collect();
            assert_eq!(found, late);
            // The value is known, and no change.
            assert_eq!(
                judged(&mut next, Moment::at(26)),
                if is_kept { &[][..] } else { &["a"] }
            );
            moved(&mut next, &[sample(1, Value::Int(1))], Moment::at(27));
            assert_eq!(
                judged(&mut next, Moment::at(35)).len(),
                usize::from(is_kept),
                "b since 5"
            );
        }
    }

    #[test]
    fn a_late_tag_is_late_after_a_reload_where_it_is_by_the_new_time() {
        let mut watched = WatchedTags::of(&plan(&[("a", Some(10))]), Moment::at(0));
        judged(&mut watched, Moment::at(12));
        for (seconds, is_late) in [(5, true), (14, true), (15, true), (16, false)] {
            let mut next = WatchedTags::of(&plan(&[("a", Some(seconds))]), Moment::at(15));
            let known = WatchedTags {
                places: watched.places.clone(),
                tags: watched.tags.clone(),
            };
            next.go_on_from(known, Moment::at(15), |_| true);
            assert_eq!(next.late().count(), usize::from(is_late), "{seconds}");
            let told = judged(&mut next, Moment::at(16));
            assert_eq!(
                told.is_empty(),
                is_late,
                "{seconds}: what is late already is not told again"
            );
        }
    }
}
