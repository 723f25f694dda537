//! Equipment paths, and what has to be unique on one equipment whatever mapping names it.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use floorgate_core::plan::{Equipment, EquipmentId, RuleKind};
use floorgate_sample::TagId;
use floorgate_yaml::{Problems, Span};

use crate::check::is_plain_name;
use crate::mapping::{Compiler, Mapping};

/// Warns where events of several instances are told of one equipment, and nothing else tells them apart.
pub(crate) fn check_instances(mapping: &Mapping<'_>, problems: &mut Problems) {
    let count = mapping.instances.list.len();
    if let Some((equipment, span)) = &mapping.equipment
        && equipment.is_constant()
        && count > 1
        && let Some(event) = mapping.events.iter().find(|event| event.is_of_equipment())
    {
        problems
            .warning(
                *span,
                format!(
                    "all {count} instances have the same `equipment`, and their `{}` are told under one name",
                    event.name
                ),
            )
            .hint(format!(
                "put a parameter into it, such as `{{{}}}`",
                mapping.instances.parameters.join("}-{")
            ));
    }
}

impl Compiler<'_> {
    /// The number of an equipment path.
    pub(crate) fn equipment(
        &mut self,
        path: &str,
        span: Span,
        problems: &mut Problems,
    ) -> Option<EquipmentId> {
        if let Some(&id) = self.equipment.get(path) {
            return Some(id);
        }
        let levels: Vec<&str> = path.split('/').collect();
        if let Some(wrong) = levels.iter().find(|level| !is_plain_name(level, 64)) {
            problems
                .error(
                    span,
                    format!("equipment {path:?}: {wrong:?} is no name of a level"),
                )
                .hint("letters, digits, `-`, `_` and `.` between the slashes");
            return None;
        }
        if !(3..=8).contains(&levels.len()) {
            problems
                .error(
                    span,
                    format!(
                        "equipment {path:?} is not of 3 to 8 levels, but of {}",
                        levels.len()
                    ),
                )
                .hint("`enterprise/site/area/line/cell`; at least enterprise, site and one more");
            return None;
        }
        let id = EquipmentId(u32::try_from(self.plan.equipment.len()).ok()?);
        let path: Arc<str> = path.into();
        self.plan.equipment.push(Equipment {
            path: Arc::clone(&path),
        });
        self.equipment.insert(path, id);
        Some(id)
    }

    /// Takes the codes of an alarm word or of the alarm of a condition down; one that the equipment has already, from another tag or
    /// another condition, is a problem.
    pub(crate) fn alarm_codes(
        &mut self,
        equipment: EquipmentId,
        (tag, kind): (TagId, &RuleKind),
        span: Span,
        problems: &mut Problems,
    ) {
        let row = &self.plan.tags[tag.index()];
        let (of_condition, codes) = match kind {
            RuleKind::Alarm {
                of_condition: Some(alarm),
            } => (true, std::slice::from_ref(alarm)),
            _ => (false, row.spec.bits.as_deref().unwrap_or_default()),
        };
        for alarm in codes {
            let known = match self.alarms.entry((equipment, Arc::clone(&alarm.code))) {
                Entry::Occupied(known) => Some(*known.get()),
                Entry::Vacant(place) => {
                    place.insert(tag);
                    None
                }
            };
            // Two rules may tell one word, each with a guard of its own.
            if let Some(first) = known.filter(|first| of_condition || *first != tag) {
                let path = &self.plan.equipment[equipment.0 as usize].path;
                let other = &self.plan.tags[first.index()].key;
                problems
                    .error(
                        span,
                        format!(
                            "`{path}` has an alarm `{}` from tag `{other}` already",
                            alarm.code
                        ),
                    )
                    .hint("an alarm is known by equipment and code: give one of them another code");
            }
        }
    }
}

/// `enterprise.site` of an equipment path.
pub(crate) fn site_of(path: &str) -> String {
    path.split('/').take(2).collect::<Vec<_>>().join(".")
}
