//! What a rule sees of tags beside the change that it looks at, and the fields that a mapping makes of it.

use std::sync::Arc;

use floorgate_sample::{SourceId, TagId, Value};

use crate::detect::Change;
use crate::gate::is_true;
use crate::plan::{Field, Plan, Rule, Slot};
use crate::source::SourceState;
use crate::state::TagState;

use super::Failures;

/// What a rule may look at beside the change.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tags: &'a [TagState],
    pub(crate) sources: &'a [SourceState],
    /// The source of what is looked at: of others that catch up nothing is known to hold by now.
    pub(crate) beside: Option<SourceId>,
    /// Inputs that are unknown to the event that is made.
    pub(crate) hidden: &'a [Slot],
    /// Inputs that were read for it.
    pub(crate) read: &'a [(Slot, Option<Value>)],
}

impl<'a> View<'a> {
    /// What is known of all tags.
    pub(crate) fn new(plan: &'a Plan, tags: &'a [TagState], sources: &'a [SourceState]) -> Self {
        Self {
            plan,
            tags,
            sources,
            beside: None,
            hidden: &[],
            read: &[],
        }
    }

    /// The latest value of a tag; `None` while it is unknown.
    pub(crate) fn value(&self, tag: TagId) -> Option<&'a Value> {
        let state = self.tags.get(tag.index())?;
        let row = self.plan.tags.get(tag.index())?;
        if let Some(gate) = row.valid
            && !self.value(gate).is_some_and(is_true)
        {
            return None;
        }
        let source = self.sources.get(row.source.index())?;
        state
            .latest
            .as_ref()
            .filter(|_| source.online && state.session == source.session)
            .filter(|_| !source.catching_up || self.beside.is_none_or(|beside| beside == row.source))
    }

    /// What a change of a tag, or a rule that it triggers, may look at.
    pub(super) fn beside(self, tag: Option<TagId>) -> Self {
        let row = tag.and_then(|tag| self.plan.tags.get(tag.index()));
        Self {
            beside: row.map(|row| row.source),
            ..self
        }
    }

    /// The value of a rule's input as the device gave it; `None` while it is unknown, or was to what the event tells of.
    pub(super) fn raw(&self, rule: &Rule, slot: Slot) -> Option<&'a Value> {
        if self.hidden.contains(&slot) {
            return None;
        }
        let tag = *rule.inputs.get(usize::from(slot.0))?;
        match self.read.iter().find(|(read, _)| *read == slot) {
            Some((_, value)) => value.as_ref(),
            None => self.value(tag),
        }
    }

    /// The value of a rule's input as expressions and fields see it: by its table's name where it has one.
    pub(super) fn operand(&self, rule: &Rule, slot: Slot) -> Option<Value> {
        let tag = *rule.inputs.get(usize::from(slot.0))?;
        self.named(tag, self.raw(rule, slot)?)
    }

    /// A tag's value, by its table's name where it has one.
    fn named(&self, tag: TagId, value: &Value) -> Option<Value> {
        match self.plan.tags.get(tag.index())?.spec.values.as_ref() {
            Some(table) => table.name_of(value).map(Value::text),
            None => Some(value.clone()),
        }
    }

    /// Writes the fields that the mapping adds. One that cannot be computed is null, and `failures` says why.
    pub(super) fn write(
        &self,
        (rule, change): (&Rule, &Change),
        fields: &[(Arc<str>, Field)],
        object: &mut crate::json::Object<'_>,
        failures: &mut Failures,
    ) {
        for (name, field) in fields {
            match field {
                Field::Input(slot) => object.put(name, &self.operand(rule, *slot)),
                Field::Previous => {
                    let previous = change.previous.as_ref();
                    object.put(name, &previous.and_then(|value| self.named(change.tag, value)));
                }
                Field::Constant(constant) => object.put(name, constant),
                Field::Computed(expression) => {
                    let value = expression
                        .evaluate(|slot| self.operand(rule, slot))
                        .unwrap_or_else(|error| {
                            failures.add(&rule.id, || format!("field {name:?} is null: {error}"));
                            serde_json::Value::Null
                        });
                    object.put(name, &value);
                }
                Field::Object(fields) => {
                    object.open(name);
                    self.write((rule, change), fields, object, failures);
                    object.close();
                }
            }
        }
    }
}
