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
//!
//! A trigger that happens tells of many orders side by side (OPC 10031-4, `ISA95JobOrderStatusEventType`): each has its own status and its own run, and
//! what else happens at the machine belongs to the run that was begun last and is open.

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
    /// Other orders than `order`, where the source tells of many; the one that was told of last is the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Other>,
    /// What was read when the run began and holds until it ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    latched: Vec<(Arc<str>, Value)>,
    /// The moment in which the run ended: what else happened in it belongs to the run.
    #[serde(skip)]
    ended_in: Option<u32>,
}

/// An order that another one was told of after.
#[derive(Debug, Serialize, Deserialize)]
struct Other {
    order: String,
    status: Option<String>,
    in_run: bool,
    ordinal: u32,
    /// Something may have been missed since it was told of: its run may be over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    doubtful: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    latched: Vec<(Arc<str>, Value)>,
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
        let run = |order: &String, ordinal: u32, latched: &Vec<_>| Run {
            id: format!("{order}/{unit}/{ordinal}"),
            order: order.clone(),
            latched: latched.clone(),
        };
        let order = self.order.as_ref().filter(|_| self.known)?;
        if self.in_run || self.ended_in == Some(moment) {
            return Some(run(order, self.ordinal, &self.latched));
        }
        let open = self
            .others
            .iter()
            .rev()
            .find(|other| other.in_run && !other.doubtful)?;
        Some(run(&open.order, open.ordinal, &open.latched))
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
    if context.change.gap {
        // The run may have ended unseen, also where the status is the same as before.
        *dirty |= memory.doubt();
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
    if tag.happens.is_some() {
        let Some(order) = &order else {
            context.fail(|| format!("no event: the order of the status {status} is not told with it"));
            return;
        };
        memory.turn_to(order);
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

    /// Something may have been missed: nobody knows which runs are open. Whether that is news.
    fn doubt(&mut self) -> bool {
        let mut news = std::mem::replace(&mut self.known, false);
        for other in &mut self.others {
            news |= !std::mem::replace(&mut other.doubtful, true);
        }
        news
    }

    /// Goes on with an order of many, as it was when it was last told of.
    fn turn_to(&mut self, order: &str) {
        let was_known = std::mem::replace(&mut self.known, true);
        if self.order.as_deref() == Some(order) {
            return;
        }
        let known = self.others.iter().position(|other| other.order == order);
        let known = known.map(|place| self.others.remove(place));
        if let Some(before) = self.order.take() {
            self.others.push(Other {
                order: before,
                status: self.status.take(),
                in_run: self.in_run,
                ordinal: self.ordinal,
                doubtful: !was_known,
                latched: std::mem::take(&mut self.latched),
            });
            if self.others.len() > REMEMBERED_ORDERS {
                let over = self.others.iter().position(|other| !other.in_run);
                self.others.remove(over.unwrap_or(0));
            }
        }
        self.order = Some(order.to_owned());
        (self.status, self.in_run, self.ordinal, self.latched) = known
            .map_or_else(Default::default, |known| {
                (known.status, known.in_run, known.ordinal, known.latched)
            });
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
        let trigger = &self.plan.tags[status.index()];
        if trigger.spec.happens.is_some() {
            // No status stands, but what was told of it last holds as long as nothing can have been missed.
            let source = &self.sources[trigger.source.index()];
            let holds = source.online && self.tags[status.index()].session == source.session;
            return holds.then(|| self.open_run(id)).flatten();
        }
        view.value(status)?;
        let run = self.open_run(id)?;
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

    /// The run that a work order's rule has open in this moment.
    fn open_run(&self, id: RuleId) -> Option<Run> {
        let equipment = self.plan.rules[id.0 as usize].equipment;
        let path = &self.plan.equipment[equipment.0 as usize].path;
        self.rules[id.0 as usize].run(path, self.moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_that_are_told_of_side_by_side_have_their_own_runs() {
        let mut memory = Memory::default();
        let mut tell = |order: &str, status: &str| {
            memory.turn_to(order);
            memory.take_over(Some(order.to_owned()), status);
            let before = memory.status.replace(status.to_owned());
            (before, memory.run("filler", 0).map(|run| run.id))
        };
        let run = |id: &str| Some(id.to_owned());
        assert_eq!(tell("A", "Running"), (None, run("A/filler/1")));
        assert_eq!(tell("B", "AllowedToStart"), (None, run("A/filler/1")));
        assert_eq!(
            tell("A", "Interrupted"),
            (Some("Running".into()), run("A/filler/1"))
        );
        assert_eq!(
            tell("B", "Running"),
            (Some("AllowedToStart".into()), run("B/filler/1"))
        );
        assert_eq!(tell("B", "Ended").1, run("A/filler/1"), "A's run is open still");
        assert_eq!(tell("A", "Ended"), (Some("Interrupted".into()), None));
        assert_eq!(tell("A", "Running").1, run("A/filler/2"));
        assert_eq!(tell("B", "AllowedToStart").1, run("A/filler/2"));
        assert!(memory.doubt() && !memory.doubt());
        let mut tell = |order: &str, status: &str| {
            memory.turn_to(order);
            memory.take_over(Some(order.to_owned()), status);
            memory.run("filler", 0).map(|run| run.id)
        };
        assert_eq!(
            tell("B", "AllowedToStart"),
            None,
            "A's run may be over since something was missed"
        );
        assert_eq!(tell("A", "Running"), run("A/filler/2"), "it is not");
    }

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
