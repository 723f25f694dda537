//! `WorkOrderStatusChanged` (OPC 10031-4, B2MML): the status of a work order, and the run it belongs to.
//!
//! A run opens when the order enters Running from a state outside the run and closes with Ended or Aborted (or any
//! state before the start). `runId` is order/equipment below the site/ordinal; the ordinal rises with each run of the
//! order on this equipment and is 0 before the first. It is the correlation id.
//!
//! A run keeps the order that it began with: while the order's tag is unknown (bad, not sent yet since the session began)
//! or empty, events of the run go on naming it, as long as no status can have been missed. After a gap the run may have
//! ended unseen: until the order is known again, order and run are told as `unknown`, without a correlation id. That
//! takes nothing back of what is remembered: only another known order is another order.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::detect::Cause;
use crate::json::Object;
use crate::machine::Core;
use crate::plan::{RuleId, RuleKind, Slot};

use super::{Context, Draft, VendorStatus, View, ignored};

/// How many orders' ordinals are remembered for a rule; an order that comes back later starts at 1 again.
const REMEMBERED_ORDERS: usize = 64;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    order: Option<String>,
    status: Option<String>,
    in_run: bool,
    ordinal: u32,
    /// Whether `order` is the order of now: known with the last status, or latched since and no gap.
    #[serde(default)]
    known: bool,
    /// The run began while the order was unknown, and is not counted in `ordinal` yet.
    #[serde(default)]
    unnamed: bool,
    /// Ordinals of earlier orders, the latest last.
    earlier: Vec<(String, u32)>,
    /// What was read when the run began and holds until it ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    latched: Vec<(Arc<str>, Value)>,
    /// The moment in which the run ended: what else happened in it belongs to the run.
    #[serde(skip)]
    ended_in: Option<u32>,
}

/// The run that events of the same machine belong to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its id, the correlation of its events.
    pub(crate) id: String,
    pub(super) order: String,
    latched: Vec<(Arc<str>, Value)>,
}

impl Run {
    /// Writes what every event of the run says of it.
    pub(crate) fn write(&self, object: &mut Object<'_>) {
        object.field("workOrderId", &self.order);
        object.field("runId", &self.id);
        for (name, value) in &self.latched {
            object.field(name, value);
        }
    }
}

impl Memory {
    /// The run of this moment, where there is one and its order is known.
    pub(super) fn run(&self, unit: &str, moment: u32) -> Option<Run> {
        let order = self.order.as_ref().filter(|_| self.known)?;
        (self.in_run || self.ended_in == Some(moment)).then(|| Run {
            id: format!("{order}/{unit}/{}", self.ordinal),
            order: order.clone(),
            latched: self.latched.clone(),
        })
    }
}

/// The part of an equipment's path below its site.
pub(super) fn below_site(path: &str) -> &str {
    path.splitn(3, '/').nth(2).unwrap_or(path)
}

pub(super) fn evaluate(
    context: &mut Context<'_>,
    memory: &mut Memory,
    dirty: &mut bool,
    order: Slot,
    latch: &[(Arc<str>, Slot)],
) {
    if context.change.gap && memory.known {
        // The run may have ended unseen, also where the status is the same as before.
        memory.known = false;
        *dirty = true;
    }
    if !matches!(context.change.cause, Cause::Initial | Cause::Value) {
        return;
    }
    let Some(raw) = context.change.value.as_ref() else {
        return;
    };
    let tag = context.trigger();
    let entry = tag.values.as_ref().and_then(|table| table.find(raw));
    let status = match &tag.values {
        Some(table) => match table.name_of(raw) {
            Some(name) => name.to_owned(),
            None => return,
        },
        None => raw.to_string(),
    };
    let order = context
        .view
        .operand(context.rule, order)
        .map(|value| value.to_string())
        .filter(|order| !order.is_empty());
    let is_same = memory.status.as_ref() == Some(&status) && memory.order == order;
    if is_same && !context.change.gap && ignored(tag.values.as_ref(), context.change.previous.as_ref()) {
        // Back from a value that is to be ignored.
        return;
    }
    let before = (memory.in_run, memory.order.clone());
    let was_unnamed = memory.unnamed;
    memory.take_over(order, &status);
    // A run that learns its name is the one that began without.
    if memory.in_run && before != (true, memory.order.clone()) && !(before.0 && was_unnamed) {
        let read = |(name, slot): &(Arc<str>, Slot)| {
            let value = context.view.operand(context.rule, *slot);
            let value = value.and_then(|value| serde_json::to_value(value).ok());
            (Arc::clone(name), value.unwrap_or_default())
        };
        memory.latched = latch.iter().map(read).collect();
    }
    if before.0 && !memory.in_run {
        memory.ended_in = Some(context.moment);
    }
    *dirty = true;
    let unit = below_site(context.equipment());
    let latched = memory.run(unit, context.moment).map(|run| run.latched);
    let order = memory.order.as_deref().filter(|_| memory.known);
    let run = order.map(|order| format!("{order}/{unit}/{}", memory.ordinal));
    let order = order.unwrap_or("unknown");
    let subject = format!("work-order/{order}");
    let draft = Draft {
        correlation: run.as_deref(),
        ..Draft::new("WorkOrderStatusChanged", subject)
    };
    // What came before is only said of an order that is known to be the same.
    let previous = memory.status.replace(status.clone()).filter(|_| memory.known);
    context.emit(&draft, |object| {
        object.field("workOrderId", order);
        object.field("runId", run.as_deref().unwrap_or("unknown"));
        object.field("status", &status);
        object.field("previousStatus", &previous);
        if let Some(sub_state) = entry.and_then(|entry| entry.sub_state.as_deref()) {
            object.field("subState", sub_state);
        }
        let raw = Some(raw);
        object.field("vendorStatus", &VendorStatus { tag: &tag.name, raw });
        for (name, value) in latched.iter().flatten() {
            object.field(name, value);
        }
    });
}

impl Memory {
    /// Takes a status over, of an order that may be unknown, and opens or closes the run.
    fn take_over(&mut self, order: Option<String>, status: &str) {
        if let Some(order) = order {
            self.known = true;
            if self.order.as_ref() != Some(&order) {
                self.begin(order);
            }
            if std::mem::take(&mut self.unnamed) && self.in_run {
                self.ordinal = self.ordinal.saturating_add(1);
            }
        } else {
            self.known &= self.in_run;
        }
        match status {
            "Running" | "Interrupted" if !self.in_run && !self.known => {
                self.in_run = true;
                self.unnamed = true;
            }
            "Running" if !self.in_run => {
                self.in_run = true;
                self.ordinal = self.ordinal.saturating_add(1);
            }
            // An order that is found interrupted has been running before anybody looked.
            "Interrupted" if !self.in_run => {
                self.in_run = true;
                self.ordinal = self.ordinal.max(1);
            }
            "Ended" | "Aborted" | "NotAllowedToStart" | "AllowedToStart" => self.in_run = false,
            _ => {}
        }
    }

    /// Goes on with another order.
    fn begin(&mut self, order: String) {
        if let Some(before) = self.order.take() {
            self.earlier.retain(|(earlier, _)| *earlier != before);
            self.earlier.push((before, self.ordinal));
            if self.earlier.len() > REMEMBERED_ORDERS {
                self.earlier.remove(0);
            }
        }
        let known = self.earlier.iter().find(|(earlier, _)| *earlier == order);
        self.ordinal = known.map_or(0, |(_, ordinal)| *ordinal);
        self.order = Some(order);
        self.status = None;
        // A run without a name was this order's.
        self.in_run &= self.unnamed;
    }
}

impl Core {
    /// The run that a work order's rule has open in this moment, where it is known to be the one to whoever has the view.
    pub(super) fn run_of(&self, id: RuleId, view: View<'_>) -> Option<Run> {
        let rule = &self.plan.rules[id.0 as usize];
        let RuleKind::WorkOrderStatus { order, .. } = &rule.spec.kind else {
            return None;
        };
        let (&status, &tag) = (rule.inputs.first()?, rule.inputs.get(usize::from(order.0))?);
        view.value(status)?;
        let path = &self.plan.equipment[rule.equipment.0 as usize].path;
        let run = self.rules[id.0 as usize].run(path, self.moment)?;
        // The order of the run goes on while its tag is bad; one that was not sent since the source began anew may be another.
        let is_same = match view.operand(rule, *order) {
            Some(value) => value.to_string() == run.order,
            None => {
                self.tags[tag.index()].session
                    == self.sources[self.plan.tags[tag.index()].source.index()].session
            }
        };
        is_same.then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ordinal_rises_with_each_run_of_an_order() {
        let mut memory = Memory::default();
        let mut ordinals = |order: &str, statuses: &[&str]| -> Vec<u32> {
            statuses
                .iter()
                .map(|status| {
                    memory.take_over(Some(order.to_owned()), status);
                    memory.ordinal
                })
                .collect()
        };
        assert_eq!(
            ordinals(
                "A",
                &["AllowedToStart", "Running", "Interrupted", "Running", "Ended"]
            ),
            [0, 1, 1, 1, 1]
        );
        assert_eq!(ordinals("B", &["Running"]), [1]);
        assert_eq!(ordinals("A", &["Running", "Aborted", "Running"]), [2, 2, 3]);
    }
}
