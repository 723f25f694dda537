//! Where the source left off, for the process after this one: the subscriptions that the server holds, the tags of each, what the server revised for them, and the
//! last message of each that is stored. With it a new process takes the subscriptions over and asks for what it missed.
//!
//! The *layout* is stored when it changes, the *position* with each message.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use floorgate_adapter_api::{Bookmark, Bookmarks, Timestamp};
use opcua::types::StatusCode;
use serde::{Deserialize, Serialize};

use crate::item::Item;
use crate::plan::Plan;
use crate::revised::Revisions;
use crate::settings::Mode;
use crate::silence::Patience;
use crate::subscription::{Behind, Heritage, State, Subscription};
use crate::tag_settings::{self, MadeRun};
use crate::takeover::Trial;

const LAYOUT: &str = "layout";
const POSITION: &str = "position";
/// When the last message that is stored was sent: from there on a history is read.
const HEARD: &str = "heard";

/// Counts up where what subscriptions hold is divided in another way.
const LAYOUTS: u8 = 2;

/// What the server holds.
#[derive(Serialize, Deserialize)]
struct Layout {
    /// [`fingerprint`] of the plan: handles are places in it.
    plan: u64,
    /// [`State::server_started`].
    server_started: Option<i64>,
    /// [`State::gives_over`].
    gives_over: Option<bool>,
    /// [`State::silences`].
    silences: u8,
    /// Every tag was reported at least once, or is refused: what is stored of them is not older than the subscriptions.
    complete: bool,
    /// [`State::refused`], with the status' number.
    refused: Vec<(u32, u32)>,
    subscriptions: Vec<LaidOut>,
}

#[derive(Serialize, Deserialize)]
struct LaidOut {
    id: u32,
    runs: Vec<Run>,
    /// [`Subscription::revisions`]; bookmarks of earlier versions do not have it.
    #[serde(default)]
    revisions: Option<Revisions>,
    /// [`Subscription::made`]; the same.
    #[serde(default)]
    made: Vec<MadeRun>,
}

/// Tags that follow one another in the plan and whose items do so on the server: the first tag, the first item, and how many they are.
#[derive(Serialize, Deserialize)]
struct Run(u32, u32, u32);

/// Tells plans apart whose subscriptions are not the same.
pub fn fingerprint(plan: &Plan) -> u64 {
    let mut hasher = DefaultHasher::new();
    LAYOUTS.hash(&mut hasher);
    let settings = &plan.settings;
    settings.endpoint.hash(&mut hasher);
    (settings.mode == Mode::Poll).hash(&mut hasher);
    settings.publishing_interval.get().hash(&mut hasher);
    plan.laid_out.uris.hash(&mut hasher);
    for item in plan.items() {
        for tag in plan.tags_of(item) {
            tag.name.hash(&mut hasher);
            tag.field.hash(&mut hasher);
        }
        item.text().hash(&mut hasher);
        plan.sampling_millis(item).to_bits().hash(&mut hasher);
        plan.publishing(item).hash(&mut hasher);
        plan.queue_size(item).hash(&mut hasher);
    }
    hasher.finish()
}

fn runs(subscription: &Subscription) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (&tag, &item) in subscription.tags.iter().zip(&subscription.items) {
        match runs.last_mut() {
            Some(Run(first, item_of_first, count))
                if first.checked_add(*count) == Some(tag)
                    && item_of_first.checked_add(*count) == Some(item) =>
            {
                *count += 1;
            }
            _ => runs.push(Run(tag, item, 1)),
        }
    }
    runs
}

/// Tags and items of a subscription; `None` where they cannot be those of a plan with so many tags.
fn placed(runs: &[Run], in_plan: usize) -> Option<(Vec<u32>, Vec<u32>)> {
    let (mut tags, mut items) = (Vec::new(), Vec::new());
    for Run(tag, item, count) in runs {
        let end = tag.checked_add(*count)?;
        if usize::try_from(end).ok()? > in_plan || tags.len() > in_plan {
            return None;
        }
        tags.extend(*tag..end);
        items.extend(*item..item.checked_add(*count)?);
    }
    Some((tags, items))
}

impl State {
    /// What is to be stored with a message, that it was the last of its subscription, and what changed beside.
    pub fn bookmarks(&mut self, message: Option<(u32, u32)>) -> Vec<Bookmark> {
        let last = |s: &Subscription| match message {
            Some((id, sequence)) if id == s.id => (id, sequence),
            _ => (s.id, s.last),
        };
        let position: BTreeMap<u32, u32> = self.subscriptions.iter().map(last).collect();
        let mut bookmarks = Vec::new();
        if !std::mem::replace(&mut self.layout_told, true) {
            self.goes_on = self.is_complete();
            bookmarks.extend(bookmark(LAYOUT, &self.layout(self.goes_on)));
        }
        bookmarks.extend(bookmark(POSITION, &position));
        if self.tells_heard {
            bookmarks.extend(bookmark(HEARD, &self.stored_up_to().map(Timestamp::as_nanos)));
        }
        bookmarks
    }

    /// What is to be stored where the next process cannot go on.
    pub fn no_bookmarks(&mut self) -> Vec<Bookmark> {
        (self.layout_told, self.goes_on) = (false, false);
        bookmark(LAYOUT, &self.layout(false)).into_iter().collect()
    }

    /// Whether every tag was reported since it has its item, or is refused.
    fn is_complete(&self) -> bool {
        let mut known: HashSet<u32> = self.refused.keys().copied().collect();
        known.extend(self.subscriptions.iter().flat_map(|s| &s.tags));
        self.unseen.is_empty() && known.len() >= self.tags
    }

    fn layout(&self, complete: bool) -> Layout {
        let laid_out = |s: &Subscription| LaidOut {
            id: s.id,
            runs: runs(s),
            revisions: s.revisions,
            made: tag_settings::runs(&s.made),
        };
        Layout {
            plan: self.plan,
            server_started: self.server_started,
            gives_over: self.gives_over,
            silences: self.silences,
            complete,
            refused: self
                .refused
                .iter()
                .map(|(tag, status)| (*tag, status.bits()))
                .collect(),
            subscriptions: self.subscriptions.iter().map(laid_out).collect(),
        }
    }

    /// The state that an earlier process left, as far as it fits the plan.
    pub fn restored(plan: &Plan, bookmarks: &Bookmarks) -> Self {
        let fingerprint = fingerprint(plan);
        let mut state = Self::try_restored(plan, fingerprint, bookmarks).unwrap_or_default();
        state.plan = fingerprint;
        state.tags = plan.items().len();
        state.goes_on = bookmarks.get(LAYOUT).is_some();
        state.tells_heard = plan.settings.backfill.is_some();
        let heard = bookmarks
            .get(HEARD)
            .and_then(|text| serde_json::from_str(text).ok());
        state.heard = heard.flatten().map(Timestamp::from_nanos);
        for subscription in &mut state.subscriptions {
            subscription.told = state.heard;
            // What the process before was told of them is not known to have been all.
            for place in subscription.tags.iter().filter(|_| subscription.is_of_conditions) {
                state.conditions.entry(*place).or_default().want(Instant::now());
            }
        }
        state
    }

    fn try_restored(plan: &Plan, fingerprint: u64, bookmarks: &Bookmarks) -> Option<Self> {
        let layout: Layout = serde_json::from_str(bookmarks.get(LAYOUT)?).ok()?;
        let position: BTreeMap<u32, u32> = serde_json::from_str(bookmarks.get(POSITION)?).ok()?;
        let mut state = Self::default();
        state.server_started = layout.server_started;
        (state.gives_over, state.silences) = (layout.gives_over, layout.silences);
        let is_stale = layout.plan != fingerprint || !layout.complete;
        state.heritage = if is_stale {
            Heritage::Stale
        } else {
            Heritage::LeftOver
        };
        if !is_stale {
            let is_in_plan = |(tag, _): &(u32, u32)| (*tag as usize) < plan.items().len();
            let refused = layout.refused.into_iter().filter(is_in_plan);
            state.refused = refused
                .map(|(tag, status)| (tag, StatusCode::from(status)))
                .collect();
        }
        for laid_out in layout.subscriptions {
            let LaidOut {
                id,
                runs,
                revisions,
                made,
            } = laid_out;
            let (tags, items) = if is_stale {
                Default::default()
            } else {
                placed(&runs, plan.items().len())?
            };
            let generation = state.next_generation();
            let first = tags.first().and_then(|tag| plan.items().get(*tag as usize));
            let asked = first.map_or(plan.settings.publishing_interval.get(), |item| {
                plan.publishing(item)
            });
            state.subscriptions.push(Subscription {
                id,
                generation,
                last: position.get(&id).copied().unwrap_or_default(),
                tags,
                made: tag_settings::of_runs(&made, items.len()),
                items,
                asked,
                is_of_conditions: first.is_some_and(Item::is_of_conditions),
                told: None,
                publishing: asked,
                revisions,
                full: false,
                behind: Behind::Unheard,
                trial: Trial::Not,
                heard: Instant::now(),
                patience: Patience::of(
                    plan.settings.keep_alive.get() * 3 + plan.settings.request_timeout.get(),
                ),
            });
        }
        Some(state)
    }
}

fn bookmark(name: &'static str, content: &impl Serialize) -> Option<Bookmark> {
    let text = serde_json::to_string(content).ok()?;
    Some(Bookmark { name, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::tests::subscription;

    #[test]
    fn what_follows_one_another_is_one_run_and_comes_back() {
        let subscription = Subscription {
            tags: vec![0, 1, 2, 5, 6, 3],
            items: vec![10, 11, 12, 13, 14, 20],
            ..subscription()
        };
        let runs = runs(&subscription);
        assert_eq!(runs.len(), 3);
        let back = placed(&runs, 7);
        assert_eq!(back, Some((subscription.tags, subscription.items)));
        assert_eq!(placed(&runs, 6), None, "a tag that the plan does not have");
        assert_eq!(placed(&[Run(u32::MAX, 1, 2)], 7), None);
    }
}
