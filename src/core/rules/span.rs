//! Counts of a span of time: added up as they come, and told at its end.

use floorgate_sample::TagId;
use serde_json::Value as Json;

use crate::detect::{Cause, Change};
use crate::machine::{Core, change_without_sample};
use crate::plan::RuleId;
use crate::shedding::Owed;

use super::seen::Seen;
use super::shape::Due;
use super::{Memory, Note, Outcome, RuleState, count, window};

impl Core {
    /// Adds a change to what is counted and not told. Returns whether there is anything of it.
    pub(super) fn count_only(&mut self, id: RuleId, change: &Change) -> bool {
        let rule = &self.plan.rules[id.0 as usize];
        let state = &mut self.rules[id.0 as usize];
        let view = super::View::new(&self.plan, &self.tags, &self.sources).beside(Some(change.tag));
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
            return has_untold(state);
        }
        let mut context = super::Context::new(scene, &mut state.labels, view, &mut self.emitter, outcome);
        let Some(Memory::Count(memory)) = state.memory.as_deref_mut() else {
            return false;
        };
        count::count(&mut context, memory, &mut state.dirty);
        has_untold(state)
    }

    /// What was counted in a span of time that ends, and in those before it that were not told. While there is no room for it, it stays
    /// as it is.
    pub(super) fn counted(&mut self, id: RuleId, trigger: TagId, window: &mut window::Memory) -> Vec<Due> {
        let now = self.moment_at(self.until).wall;
        let state = &mut self.rules[id.0 as usize];
        let Some(Memory::Count(memory)) = state.memory.as_deref_mut() else {
            return Vec::new();
        };
        let is_more = window.close_span(now).is_some_and(|span| memory.end_span(span));
        state.dirty |= is_more;
        let priority = self.plan.rules[id.0 as usize].spec.priority;
        if self.shedding.leaves_out(priority) {
            if is_more {
                state.owe(Some(Owed::Change));
                self.shedding.note(priority);
            }
            return Vec::new();
        }
        memory.spans().iter().map(|span| told(trigger, span)).collect()
    }

    /// Whether anything was counted and not told.
    pub(super) fn has_counted(&self, id: RuleId) -> bool {
        has_untold(&self.rules[id.0 as usize])
    }
}

fn has_untold(state: &RuleState) -> bool {
    matches!(state.memory.as_deref(), Some(Memory::Count(memory)) if memory.has_untold())
}

fn told(trigger: TagId, span: &count::Span) -> Due {
    let (gap, quality) = span.trust();
    let counted = Change {
        cause: Cause::Value,
        gap,
        received: Some(span.to()),
        ..change_without_sample(trigger, quality)
    };
    Due {
        fields: vec![
            ("from".into(), Json::from(span.from().to_string())),
            ("to".into(), Json::from(span.to().to_string())),
        ],
        seen: Some(Seen::of_run(span.run.clone())),
        ..Due::new(counted)
    }
}
