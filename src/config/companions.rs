//! Tags that say something of another tag: whether its values hold, or that it is set back.

use std::collections::HashMap;

use floorgate_sample::TagId;
use floorgate_yaml::{Problems, Spanned};

use crate::mapping::Compiler;
use crate::tag::TagPlan;

/// Finds the places of the tags that others name.
pub(crate) fn find(tags: &mut [TagPlan<'_>]) {
    // Hardly any mapping has such tags, and those that have may name any of theirs.
    if tags.iter().all(|tag| tag.valid.is_none() && tag.reset.is_none()) {
        return;
    }
    let places = tags.iter().enumerate().map(|(place, tag)| (tag.name, place));
    let by_name: HashMap<&str, usize> = places.collect();
    let place_of = |name: &Spanned<String>| by_name.get(&*name.value).copied();
    for tag in tags.iter_mut() {
        tag.gate = tag.valid.as_ref().and_then(place_of);
        tag.resetter = tag.reset.as_ref().and_then(place_of);
    }
}

impl Compiler<'_> {
    /// Reports companions of another source: what two sources send has no common order, so that one would be taken for the
    /// companion of a value that it does not belong to.
    pub(crate) fn check_companions(
        &self,
        tags: &[TagPlan<'_>],
        rows: &[Option<TagId>],
        problems: &mut Problems,
    ) {
        let source_of = |row: TagId| self.sources[self.plan.tags[row.index()].source.index()].name;
        for (tag, row) in tags.iter().zip(rows) {
            for (key, companion, place) in [
                ("valid", &tag.valid, tag.gate),
                ("reset", &tag.reset, tag.resetter),
            ] {
                let (Some(companion), Some(row)) = (companion, row) else {
                    continue;
                };
                let Some(other) = place.and_then(|place| rows[place]) else {
                    continue;
                };
                let (source, own) = (source_of(other), source_of(*row));
                if source != own {
                    problems
                        .error(
                            companion.span,
                            format!(
                                "`{key}` of tag `{}`: `{}` comes from source `{source}`, and `{}` from `{own}`",
                                tag.name, companion.value, tag.name
                            ),
                        )
                        .hint(format!(
                            "what two sources send has no common order: name a tag of `{own}`"
                        ));
                }
            }
        }
    }
}
