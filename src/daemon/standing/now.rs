//! Each tag as it is now, for whoever asks over HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use floorgate_adapter_api::{SourceId, TagId, Value};
use floorgate_core::Core;
use floorgate_metrics::RevisedTags;
use floorgate_sample::{Sample, Timestamp};

use super::Standings;
use super::row::{LastRow, RevisedRow, TagRow, TagSettingsRow};
use crate::tags::json;
use crate::wanted::Wanted;

/// A tag, as the core knows it: copied where the engine waits for it, and told later.
#[derive(Debug)]
pub struct TagNow {
    key: Arc<str>,
    source: SourceId,
    /// Its place among the tags of its source: that is the same for a source that runs on under another plan.
    place: usize,
    /// None where nothing was ever received.
    sample: Option<Sample>,
    /// The last good value that counted, of one that is unknown now, and when it came to be.
    last_good: Option<(Value, Option<Timestamp>)>,
}

/// Counts the tags of each source.
#[derive(Debug, Default)]
pub struct Places(HashMap<SourceId, usize>);

impl Places {
    /// The place of the next tag among those of its source.
    pub fn next(&mut self, source: SourceId) -> usize {
        let count = self.0.entry(source).or_default();
        *count += 1;
        *count - 1
    }
}

/// The tags that are wanted.
pub fn tags_now(core: &Core, wanted: &Wanted) -> Vec<TagNow> {
    let plan = core.plan();
    let is_wanted: Vec<bool> = plan.tags.iter().map(|tag| wanted.has(&tag.key)).collect();
    let is_wanted = |tag: TagId| is_wanted.get(tag.index()) == Some(&true);
    let standing = core.standing().filter(|sample| is_wanted(sample.tag));
    let mut standing: HashMap<TagId, Sample> = standing.map(|sample| (sample.tag, sample)).collect();
    let good = core.last_good_values().filter(|(tag, ..)| is_wanted(*tag));
    let mut good: HashMap<TagId, (Value, Option<Timestamp>)> =
        good.map(|(tag, value, at)| (tag, (value.clone(), at))).collect();
    let mut places = Places::default();
    let tags = (0..).map(TagId).zip(&plan.tags);
    let tags = tags.map(|(number, tag)| (number, tag, places.next(tag.source)));
    let tags = tags.filter(|(number, ..)| is_wanted(*number));
    tags.map(|(number, tag, place)| TagNow {
        key: Arc::clone(&tag.key),
        source: tag.source,
        place,
        sample: standing.remove(&number),
        last_good: good.remove(&number),
    })
    .collect()
}

impl Standings {
    /// What devices made of the settings of the tags of each source.
    pub fn revised_rows(&self) -> Vec<RevisedRow> {
        let sources = self.revised_tags();
        let rows = sources.iter().map(|(name, tags)| RevisedRow::of(name, tags));
        rows.collect()
    }

    /// The same, in the order of the sources' numbers.
    fn revised_tags(&self) -> Vec<(Arc<str>, Arc<RevisedTags>)> {
        let table = self.table();
        let rows = table.sources.iter();
        rows.map(|row| {
            (
                Arc::clone(&row.configured.name),
                row.metrics.outlook().revised_tags,
            )
        })
        .collect()
    }

    /// How tags stand, in the order of their names.
    pub fn tags(&self, tags: Vec<TagNow>) -> Vec<TagRow> {
        let sources = self.revised_tags();
        let mut bad: HashMap<_, _> = self.bad().into_iter().map(|row| (row.tag.clone(), row)).collect();
        let mut late: HashMap<_, _> = self
            .late()
            .into_iter()
            .map(|row| (row.tag.clone(), row))
            .collect();
        let rows = tags.into_iter().map(|tag| {
            let bad = bad.remove(&*tag.key);
            let (reason, see) = match &bad {
                Some(bad) => (bad.reason.clone(), bad.see.clone()),
                None => (None, None),
            };
            let sample = tag.sample.as_ref();
            let value = sample.and_then(|sample| sample.value.as_ref());
            let quality = sample.map(|sample| sample.quality);
            let at = sample.and_then(|sample| sample.source_time);
            let last = |value: &Value, at: Option<Timestamp>| LastRow {
                value: json(value),
                at: at.map(|at| at.to_string()),
            };
            let source = sources.get(tag.source.index());
            TagRow {
                source: source.map(|(name, _)| name.to_string()).unwrap_or_default(),
                settings: source.and_then(|(_, revised)| TagSettingsRow::of(&revised.get(tag.place))),
                value: value.map_or(serde_json::Value::Null, json),
                quality: quality
                    .map_or("unknown", |quality| quality.class().as_str())
                    .to_owned(),
                status: match &bad {
                    Some(bad) => Some(bad.status),
                    None => quality.map(|quality| quality.0),
                },
                since: bad.as_ref().map(|bad| bad.since.clone()),
                reason,
                see,
                last_good: match (value, quality) {
                    (Some(value), Some(quality)) if quality.is_good() => Some(last(value, at)),
                    _ => tag.last_good.map(|(value, at)| last(&value, at)),
                },
                late_since: late.remove(&*tag.key).map(|late| late.since),
                tag: tag.key.to_string(),
            }
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|a, b| a.tag.cmp(&b.tag));
        rows
    }
}
