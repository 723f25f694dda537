//! From the numbers of a recording to those of a plan.

use std::collections::HashMap;

use floorgate_core::plan::Plan;
use floorgate_sample::{GapScope, Notice, Sample, SourceId, TagId};

use crate::recording::Names;

/// What the numbers of sources and tags in a recording are in a plan: sources have the same name, tags the same place in the device.
#[derive(Default)]
pub(crate) struct Numbers {
    sources: Vec<Option<SourceId>>,
    /// A place in the device may be more than one tag.
    pub tags: Vec<Vec<TagId>>,
    /// Whether all numbers are the plan's own.
    pub are_same: bool,
}

impl Numbers {
    pub(crate) fn of(names: &Names, plan: &Plan) -> Self {
        let sources: HashMap<&str, SourceId> = (0..)
            .map(SourceId)
            .zip(&plan.sources)
            .map(|(id, row)| (&*row.name, id))
            .collect();
        let sources: Vec<Option<SourceId>> = names
            .sources
            .iter()
            .map(|name| sources.get(&**name).copied())
            .collect();
        let mut places: HashMap<(SourceId, u64), Vec<TagId>> = HashMap::new();
        for (id, tag) in (0..).map(TagId).zip(&plan.tags) {
            places.entry((tag.source, tag.address)).or_default().push(id);
        }
        let tags = names.tags.iter().map(|tag| {
            let source = sources.get(usize::from(tag.source)).copied().flatten();
            let here = source.and_then(|source| places.get(&(source, tag.address)));
            here.cloned().unwrap_or_default()
        });
        let tags: Vec<Vec<TagId>> = tags.collect();
        let are_same = tags.len() == plan.tags.len()
            && (0..).map(TagId).zip(&tags).all(|(id, here)| here[..] == [id])
            && (0..)
                .map(SourceId)
                .zip(&sources)
                .all(|(id, source)| *source == Some(id));
        Self {
            sources,
            tags,
            are_same,
        }
    }

    pub(crate) fn source(&self, recorded: SourceId) -> Option<SourceId> {
        self.sources.get(recorded.index()).copied().flatten()
    }

    pub(crate) fn tags(&self, recorded: TagId) -> &[TagId] {
        self.tags.get(recorded.index()).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn samples(&self, samples: Vec<Sample>) -> Vec<Sample> {
        if self.are_same {
            return samples;
        }
        let renumbered = samples.iter().flat_map(|sample| {
            self.tags(sample.tag).iter().map(|tag| Sample {
                tag: *tag,
                ..sample.clone()
            })
        });
        renumbered.collect()
    }

    pub(crate) fn notices(&self, notices: &mut [Notice]) {
        for notice in notices {
            if let Notice::Gap {
                scope: GapScope::Tags(tags),
                ..
            } = notice
            {
                *tags = tags.iter().flat_map(|tag| self.tags(*tag)).copied().collect();
            }
        }
    }
}
