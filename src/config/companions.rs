//! Tags that say something of another tag: whether its values hold, or that it is set back.

use std::collections::HashMap;

use floorgate_sample::TagId;
use floorgate_yaml::Problems;

use crate::mapping::Compiler;
use crate::tag::TagPlan;

impl Compiler<'_> {
    /// Reports companions of another source: what two sources send has no common order, so that one would be taken for the
    /// companion of a value that it does not belong to.
    pub(crate) fn check_companions(
        &self,
        tags: &[TagPlan<'_>],
        rows: &[Option<TagId>],
        problems: &mut Problems,
    ) {
        if tags.iter().all(|tag| tag.valid.is_none() && tag.reset.is_none()) {
            return;
        }
        let named = tags.iter().zip(rows).map(|(tag, row)| (tag.name, *row));
        let by_name: HashMap<&str, Option<TagId>> = named.collect();
        let source_of = |row: TagId| self.sources[self.plan.tags[row.index()].source.index()].name;
        for (tag, row) in tags.iter().zip(rows) {
            for (key, companion) in [("valid", &tag.valid), ("reset", &tag.reset)] {
                let (Some(companion), Some(row)) = (companion, row) else {
                    continue;
                };
                let Some(other) = by_name.get(&*companion.value).copied().flatten() else {
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
