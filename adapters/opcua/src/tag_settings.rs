//! What the server made of what was asked for each item, for whoever looks at a tag.

use floorgate_adapter_api::{RevisedTags, Setting, TagId, TagSettings};
use opcua::types::MonitoredItemCreateResult;
use serde::{Deserialize, Serialize};

use crate::item::What;
use crate::plan::Plan;
use crate::publish::Connected;
use crate::revised::duration;
use crate::subscription::{State, Subscription};

/// What the server made of what was asked for an item. There are many of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    sampling_millis: f32,
    queue: u32,
}

impl Made {
    /// As the server answered.
    pub fn of(result: &MonitoredItemCreateResult) -> Self {
        #[allow(clippy::cast_possible_truncation)] // in the precision of a float it is enough
        let sampling_millis = (duration(result.revised_sampling_interval).as_secs_f64() * 1e3) as f32;
        Self {
            sampling_millis,
            queue: result.revised_queue_size,
        }
    }
}

/// Items that follow one another and of which the server made the same, as they are stored: how many, and what; `None` where it is not known.
pub type MadeRun = (u32, Option<Made>);

/// Few runs of many items.
pub fn runs(items: &[Option<Made>]) -> Vec<MadeRun> {
    let mut runs: Vec<MadeRun> = Vec::new();
    for made in items {
        match runs.last_mut() {
            Some((count, last)) if last == made => *count += 1,
            _ => runs.push((1, *made)),
        }
    }
    runs
}

/// What the runs say of so many items; nothing where they are not of so many, as earlier versions stored none.
pub fn of_runs(runs: &[MadeRun], items: usize) -> Vec<Option<Made>> {
    let told = runs.iter().map(|(count, _)| u64::from(*count)).sum::<u64>();
    if u64::try_from(items) != Ok(told) {
        return vec![None; items];
    }
    let each = runs
        .iter()
        .flat_map(|(count, made)| (0..*count).map(move |_| *made));
    each.collect()
}

/// Milliseconds in seconds. What is beyond the microsecond is of the float.
fn seconds(millis: f64) -> f64 {
    (millis * 1e3).round() / 1e6
}

impl State {
    /// What the server made of the settings of each tag, in the order of the tags' numbers.
    fn revised_tags(&self, plan: &Plan) -> RevisedTags {
        let mut served: Vec<Option<(&Subscription, Option<Made>)>> = vec![None; plan.items().len()];
        for subscription in &self.subscriptions {
            for (item, made) in subscription.tags.iter().zip(&subscription.made) {
                if let Some(place) = served.get_mut(*item as usize) {
                    *place = Some((subscription, *made));
                }
            }
        }
        let items = (0..).zip(plan.items());
        let of_items =
            items.flat_map(|(place, item)| plan.tags_of(item).iter().map(move |tag| (tag.id, Some(place))));
        let on_demand = plan.laid_out.on_demand.iter().map(|(tag, _)| (tag.id, None));
        let mut tags: Vec<(TagId, Option<u32>)> = of_items.chain(on_demand).collect();
        tags.sort_unstable();
        let settings = |item: Option<u32>| {
            let item = item? as usize;
            let (subscription, made) = (*served.get(item)?)?;
            Some(settings(plan, item, subscription, made))
        };
        tags.into_iter()
            .map(|(_, item)| settings(item).unwrap_or_default())
            .collect()
    }
}

/// Those of the tags of an item. Events are not sampled.
fn settings(plan: &Plan, item: usize, subscription: &Subscription, made: Option<Made>) -> TagSettings {
    let publishing = Setting {
        asked: subscription.asked.as_secs_f64(),
        revised: subscription.publishing.as_secs_f64(),
    };
    let item = &plan.items()[item];
    let sampled = made.filter(|_| matches!(item.what, What::Value));
    TagSettings {
        publishing_interval: Some(publishing),
        sampling_interval: sampled.map(|made| Setting {
            asked: seconds(plan.sampling_millis(item)),
            revised: seconds(made.sampling_millis.into()),
        }),
        queue_size: made.map(|made| Setting {
            asked: plan.queue_size(item).into(),
            revised: made.queue.into(),
        }),
    }
}

impl Connected<'_> {
    /// Shows what the server made of the settings of each tag.
    pub fn report_tag_settings(&self) {
        let tags = self.state.revised_tags(self.plan);
        self.outlet.metrics.revised_tags(tags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(sampling_millis: f64, queue: u32) -> Made {
        Made::of(&MonitoredItemCreateResult {
            revised_sampling_interval: sampling_millis,
            revised_queue_size: queue,
            ..Default::default()
        })
    }

    #[test]
    fn what_was_made_is_stored_in_few_runs_and_comes_back() {
        let mut items = vec![Some(made(100.0, 10)); 50_000];
        items.extend(vec![None; 3]);
        items.extend([Some(made(33.3, 10)), Some(made(33.3, 5))]);
        let stored = runs(&items);
        assert_eq!(stored.len(), 4);
        let text = serde_json::to_string(&stored).unwrap();
        assert!(text.len() < 250, "{text}");
        let back: Vec<MadeRun> = serde_json::from_str(&text).unwrap();
        assert_eq!(of_runs(&back, items.len()), items);
        assert_eq!(of_runs(&back, 7), vec![None; 7], "they are of others");
        assert_eq!(of_runs(&[(u32::MAX, None), (u32::MAX, None)], 2), vec![None; 2]);
        assert_eq!(of_runs(&[], 2), vec![None; 2], "nothing was stored");
    }

    #[test]
    fn an_item_costs_twelve_bytes() {
        assert_eq!(size_of::<Option<Made>>(), 12);
    }

    #[test]
    fn times_are_told_as_they_are_meant() {
        let told = |millis: f64| seconds(made(millis, 1).sampling_millis.into());
        for (millis, told_seconds) in [
            (0.0, 0.0),
            (33.3, 0.033_3),
            (100.0, 0.1),
            (86_400_000.0, 86_400.0),
        ] {
            assert!((told(millis) - told_seconds).abs() < f64::EPSILON, "{millis}");
        }
        assert!(told(f64::NAN).abs() < f64::EPSILON);
    }
}
