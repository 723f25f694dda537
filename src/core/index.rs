//! Which tags and rules of a plan belong to a source: what a source says of itself is about them alone.

use std::ops::Range;

use floorgate_sample::{SourceId, TagId};

use crate::plan::{Plan, Rule, RuleId, Shape, TagSpec};

/// What belongs to one source.
#[derive(Debug, Default)]
pub(crate) struct OfSource {
    /// Tags with a longest silence.
    pub(crate) told_again: Vec<TagId>,
    /// Heartbeats.
    pub(crate) heartbeats: Vec<TagId>,
    /// Tags that another one says to be valid or not.
    pub(crate) gated: Vec<TagId>,
    /// Tags whose values may have to settle.
    pub(crate) settling: Vec<TagId>,
    /// Rules that tell a state of equipment.
    pub(crate) states: Vec<RuleId>,
    /// Rules that read from it when they are triggered.
    pub(crate) reading: Vec<RuleId>,
    /// Rules of a shape, which wait for something that it sends.
    pub(crate) shaped: Vec<RuleId>,
}

impl Rule {
    /// The tags without whose sources nothing that it waits for may be judged.
    pub(crate) fn waits_for(&self) -> &[TagId] {
        match self.spec.shape {
            Shape::Join { .. } => self.triggers(),
            _ => self.inputs.get(..1).unwrap_or_default(),
        }
    }
}

/// What belongs to each source.
#[derive(Debug, Default)]
pub(crate) struct Index {
    sources: Vec<OfSource>,
}

impl Index {
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut sources: Vec<OfSource> = plan.sources.iter().map(|_| OfSource::default()).collect();
        for (id, tag) in ids(0..plan.tags.len()).map(TagId).zip(&plan.tags) {
            let Some(of) = sources.get_mut(tag.source.index()) else {
                continue;
            };
            let spec: &TagSpec = &tag.spec;
            let lists = [
                (spec.at_least_every.is_some(), &mut of.told_again),
                (spec.heartbeat.is_some(), &mut of.heartbeats),
                (tag.valid.is_some(), &mut of.gated),
                (spec.debounce.is_some(), &mut of.settling),
            ];
            lists
                .into_iter()
                .filter(|(is, _)| *is)
                .for_each(|(_, list)| list.push(id));
        }
        for (id, rule) in ids(0..plan.rules.len()).map(RuleId).zip(&plan.rules) {
            let source_of = |tag: &TagId| plan.tags.get(tag.index()).map(|tag| tag.source.index());
            let trigger = rule.inputs.first().and_then(source_of);
            if let Some(of) = trigger.and_then(|source| sources.get_mut(source))
                && rule.tells_state()
            {
                of.states.push(id);
            }
            let waits = rule.spec.shape != Shape::Every;
            for source in rule.waits_for().iter().filter(|_| waits).filter_map(source_of) {
                if let Some(of) = sources.get_mut(source)
                    && of.shaped.last() != Some(&id)
                {
                    of.shaped.push(id);
                }
            }
            let first = rule
                .spec
                .snapshot
                .as_ref()
                .and_then(|snapshot| snapshot.tags.first());
            let read = first.and_then(|slot| rule.inputs.get(usize::from(slot.0)));
            if let Some(of) = read
                .and_then(source_of)
                .and_then(|source| sources.get_mut(source))
            {
                of.reading.push(id);
            }
        }
        Self { sources }
    }

    /// What belongs to a source of the plan.
    pub(crate) fn source(&self, id: SourceId) -> &OfSource {
        &self.sources[id.index()]
    }
}

fn ids(range: Range<usize>) -> Range<u32> {
    let end = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    end(range.start)..end(range.end)
}
