//! A core that goes on from the core of another plan within one process, while some of its sources run on.
//!
//! What a core leaves in cells is what another *process* can know, and that is less: whether a source is online, and what of its tags is
//! known now, is not in there, since a source begins anew in another process. A source that nobody stopped does not begin anew, so that
//! what is known of it and its tags is moved as it is, and no notice has to be made up for it.

use std::collections::HashMap;

use floorgate_sample::{SourceId, TagId};

use crate::machine::{Core, Now};

/// A source that is in two plans and ran on while the one was replaced by the other: its numbers in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number in the plan that was replaced.
    pub before: SourceId,
    /// Its number now.
    pub now: SourceId,
    /// The numbers of its tags, each in the replaced plan and now, in the order of the replaced plan.
    pub tags: Vec<(TagId, TagId)>,
}

/// Which numbers of a replaced plan are which now, for the sources that were kept.
pub(crate) struct Kinships {
    sources: HashMap<SourceId, SourceId>,
    tags: HashMap<TagId, TagId>,
}

impl Kinships {
    fn of(kept: &[Kept]) -> Self {
        Self {
            sources: kept.iter().map(|kept| (kept.before, kept.now)).collect(),
            tags: kept.iter().flat_map(|kept| kept.tags.iter().copied()).collect(),
        }
    }

    pub(crate) fn source(&self, before: SourceId) -> Option<SourceId> {
        self.sources.get(&before).copied()
    }

    pub(crate) fn tag(&self, before: TagId) -> Option<TagId> {
        self.tags.get(&before).copied()
    }
}

impl Core {
    /// Goes on where `before` is, a core of another plan from whose cells this one was made in the same process, before this one has
    /// taken anything. Sources that `is_kept` names have run on: they and their tags are what they were, and nothing is told of it. All
    /// that `before` had to store was handed out; it is of no use afterwards.
    ///
    /// Returns the numbers of the kept sources: what they send goes on under those of the plan with which they were started.
    pub fn go_on_from(&mut self, before: &mut Core, is_kept: impl Fn(&str) -> bool, now: Now) -> Vec<Kept> {
        // One process has one monotonic clock: deadlines do not depend on what the wall clock did.
        self.clock = std::mem::take(&mut before.clock);
        self.real = self.clock.at(now);
        (self.at, self.until) = (self.real, self.real);
        self.moment = before.moment;
        self.shedding.shed = before.take_shed();
        let kept = self.kin_of(before, is_kept);
        for Kept {
            before: old,
            now,
            tags,
        } in &kept
        {
            let source = &mut self.sources[now.index()];
            // Its stream has another place in this core, and its counter is in the cells.
            std::mem::swap(&mut source.stream, &mut before.sources[old.index()].stream);
            std::mem::swap(source, &mut before.sources[old.index()]);
            // Its lists have the numbers of the other plan; what is in them is found with its tags.
            source.held.clear();
            source.put_off.clear();
            for (old, now) in tags {
                self.take_over(before, *old, *now);
            }
        }
        self.go_on_asking(before, &Kinships::of(&kept));
        kept
    }

    /// The numbers of the kept sources and of their tags, found by their names.
    fn kin_of(&self, before: &Core, is_kept: impl Fn(&str) -> bool) -> Vec<Kept> {
        let named = (0..).map(SourceId).zip(&self.plan.sources);
        let named: HashMap<&str, SourceId> = named.map(|(id, row)| (&*row.name, id)).collect();
        let mut kept: Vec<Option<Kept>> = (0..)
            .map(SourceId)
            .zip(&before.plan.sources)
            .map(|(id, row)| {
                let now = *named.get(&*row.name).filter(|_| is_kept(&row.name))?;
                Some(Kept {
                    before: id,
                    now,
                    tags: Vec::new(),
                })
            })
            .collect();
        let keys = (0..).map(TagId).zip(&self.plan.tags);
        let keys: HashMap<&str, TagId> = keys.map(|(id, tag)| (&*tag.key, id)).collect();
        for (id, tag) in (0..).map(TagId).zip(&before.plan.tags) {
            if let Some(kept) = kept.get_mut(tag.source.index()).and_then(Option::as_mut)
                && let Some(now) = keys.get(&*tag.key)
                && self.plan.tags[now.index()].source == kept.now
            {
                kept.tags.push((id, *now));
            }
        }
        kept.into_iter().flatten().collect()
    }

    /// Takes a tag's state over. Its meaning may be another now.
    fn take_over(&mut self, before: &mut Core, old: TagId, now: TagId) {
        let spec = &self.plan.tags[now.index()].spec;
        let longest = spec.at_least_every;
        let is_another = longest != before.plan.tags[old.index()].spec.at_least_every;
        let at = self.at;
        let state = &mut self.tags[now.index()];
        // Where its rules are is the new plan's, and what they owe too.
        let (owing, rules) = (state.owing, state.rules.clone());
        *state = std::mem::take(&mut before.tags[old.index()]);
        state.owing |= owing;
        state.rules = rules;
        if let Some(waiting) = state.waiting.as_deref_mut() {
            waiting.suit(spec);
            waiting.entries.clear();
            if let Some(held) = &mut waiting.held {
                held.tag = now;
            }
        }
        if is_another {
            let due = longest
                .filter(|_| state.latest.is_some())
                .map(|longest| at + longest);
            let waiting = state.waiting();
            (waiting.silence, waiting.overdue) = (due, false);
            self.touch(now);
        }
        let row = &self.plan.tags[now.index()];
        let state = &self.tags[now.index()];
        let source = &mut self.sources[row.source.index()];
        if state.put_off {
            source.put_off.push(now);
        }
        if row.valid.is_none()
            && state
                .waiting
                .as_ref()
                .is_some_and(|waiting| waiting.held.is_some())
        {
            source.held.push(now);
        }
        self.queue_tag(now);
    }
}
