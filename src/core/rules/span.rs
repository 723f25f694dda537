//! Counts of a span of time: added up as they come, and told at its end.

use floorgate_sample::TagId;
use serde_json::Value as Json;

use crate::detect::{Cause, Change};
use crate::machine::{Core, change_without_sample};
use crate::plan::RuleId;

use super::seen::Seen;
use super::shape::Due;
use super::{Memory, Note, Outcome, count, window};

impl Core {
    /// Adds a change to what is counted and not told. Returns whether there is anything of it.
    pub(super) fn count_only(&mut self, id: RuleId, change: &Change) -> bool {
        let rule = &self.plan.rules[id.0 as usize];
        let state = &mut self.rules[id.0 as usize];
        let view = super::View {
            plan: &self.plan,
            tags: &self.tags,
            sources: &self.sources,
            beside: None,
            hidden: &[],
            read: &[],
        }
        .beside(Some(change.tag));
        let mut ignored = Vec::new();
        let outcome = Outcome {
            events: &mut ignored,
            failures: &mut self.failures,
        };
        let scene = super::Scene {
            rule,
            change,
            note: &Note::NONE,
            run: None,
            moment: self.moment,
        };
        if change.tag == rule.inputs[0] && !super::is_let(rule, state, change, view, outcome.failures) {
            return matches!(state.memory.as_deref(), Some(Memory::Count(memory)) if memory.has_untold());
        }
        let mut context = super::Context::new(scene, view, &mut self.emitter, outcome);
        let Some(Memory::Count(memory)) = state.memory.as_deref_mut() else {
            return false;
        };
        count::count(&mut context, memory, &mut state.dirty);
        memory.has_untold()
    }

    /// What was counted in a span of time that ends.
    pub(super) fn counted(&self, id: RuleId, trigger: TagId, window: &mut window::Memory) -> Option<Due> {
        let (from, to, run) = window.close_span()?;
        let Some(Memory::Count(memory)) = self.rules[id.0 as usize].memory.as_deref() else {
            return None;
        };
        let to = to.min(self.moment_at(self.until).wall);
        let (gap, quality) = memory.trust()?;
        let counted = Change {
            cause: Cause::Value,
            gap,
            received: Some(to),
            ..change_without_sample(trigger, quality)
        };
        Some(Due {
            fields: vec![
                ("from".into(), Json::from(from.to_string())),
                ("to".into(), Json::from(to.to_string())),
            ],
            seen: Some(Seen::of_run(run)),
            ..Due::new(counted)
        })
    }
}
