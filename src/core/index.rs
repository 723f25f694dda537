//! Which tags and rules of a plan belong to a source: what a source says of itself is about them alone. And which rules a tag triggers.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use floorgate_sample::{SourceId, TagId};

use crate::plan::{Plan, Rule, RuleId, RuleKind, Shape, TagSpec};

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
    /// Tags that tell what happens.
    pub(crate) happening: Vec<TagId>,
    /// Rules that tell a state of equipment.
    pub(crate) states: Vec<RuleId>,
    /// Rules that read from it when they are triggered.
    pub(crate) reading: Vec<RuleId>,
    /// Rules of a shape, which wait for something that it sends.
    pub(crate) shaped: Vec<RuleId>,
}

impl Plan {
    /// Every topic that its events go to.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        let rules = self.rules.iter().map(|rule| &rule.topic);
        rules
            .chain(self.sources.iter().map(|source| &source.topic))
            .cloned()
            .collect()
    }

    /// The rules that tags trigger, those of a tag one after the other, and where each tag's are among them.
    pub(crate) fn rules_by_tag(&self) -> (Vec<RuleId>, Vec<Range<u32>>) {
        let mut places = vec![0..0; self.tags.len()];
        for trigger in self.rules.iter().flat_map(Rule::triggers) {
            places[trigger.index()].end += 1;
        }
        let mut next = 0;
        for place in &mut places {
            let count = place.end;
            *place = next..next;
            next += count;
        }
        let mut rules = vec![RuleId(0); next as usize];
        for (id, rule) in (0..).map(RuleId).zip(&self.rules) {
            for trigger in rule.triggers() {
                let end = &mut places[trigger.index()].end;
                rules[*end as usize] = id;
                *end += 1;
            }
        }
        (rules, places)
    }
}

impl Rule {
    /// Whether others may belong to runs that it opens.
    pub(crate) fn opens_runs(&self) -> bool {
        matches!(self.spec.kind, RuleKind::WorkOrderStatus { .. })
    }

    /// Whether it tells a state of equipment, which is unknown while its source is lost.
    pub(crate) fn tells_state(&self) -> bool {
        matches!(self.spec.kind, RuleKind::EquipmentState)
    }

    /// The tags whose changes it looks at.
    pub(crate) fn triggers(&self) -> &[TagId] {
        let counts = match self.spec.kind {
            // The tag that sets the counter back is input 1.
            RuleKind::ProductionCount { reset: Some(_), .. } => 2,
            _ => self.spec.shape.triggers(),
        };
        self.inputs.get(..counts).unwrap_or(&self.inputs)
    }

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
                (spec.happens.is_some(), &mut of.happening),
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
