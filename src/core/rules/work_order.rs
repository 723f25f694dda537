//! `WorkOrderStatusChanged` (OPC 10031-4, B2MML): the status of a work order, and the run it belongs to.
//!
//! A run opens when the order enters Running from a state outside the run and closes with Ended or Aborted (or any
//! state before the start). `runId` is order/equipment below the site/ordinal; the ordinal rises with each run of the
//! order on this equipment and is 0 before the first. It is the correlation id.

use serde::{Deserialize, Serialize};

use crate::detect::Cause;
use crate::plan::Slot;

use super::{Context, Draft};

/// How many orders' ordinals are remembered for a rule; an order that comes back later starts at 1 again.
const REMEMBERED_ORDERS: usize = 64;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    order: Option<String>,
    status: Option<String>,
    in_run: bool,
    ordinal: u32,
    /// Ordinals of earlier orders, the latest last.
    earlier: Vec<(String, u32)>,
}

pub(super) fn evaluate(
    context: &mut Context<'_>,
    memory: &mut Memory,
    dirty: &mut bool,
    order: Slot,
) -> Result<(), String> {
    if !matches!(context.change.cause, Cause::Initial | Cause::Value) {
        return Ok(());
    }
    let Some(raw) = context.change.value.as_ref() else {
        return Ok(());
    };
    let tag = context.trigger();
    let entry = tag.values.as_ref().and_then(|table| table.find(raw));
    let status = match &tag.values {
        Some(table) => match table.name_of(raw) {
            Some(name) => name.to_owned(),
            None => return Ok(()),
        },
        None => raw.to_string(),
    };
    let order = context
        .view
        .operand(context.rule, order)
        .map(|value| value.to_string())
        .filter(|order| !order.is_empty());
    memory.take_over(order, &status);
    *dirty = true;
    let order = memory.order.as_deref().unwrap_or("unknown");
    let path = context.equipment();
    let unit = path.splitn(3, '/').nth(2).unwrap_or(path);
    let run = format!("{order}/{unit}/{}", memory.ordinal);
    let subject = format!("work-order/{order}");
    let draft = Draft {
        correlation: Some(&run),
        ..Draft::new("WorkOrderStatusChanged", &subject)
    };
    let previous = memory.status.replace(status.clone());
    context.emit(&draft, |object| {
        object.field("workOrderId", order);
        object.field("runId", &run);
        object.field("status", &status);
        object.field("previousStatus", &previous);
        if let Some(sub_state) = entry.and_then(|entry| entry.sub_state.as_deref()) {
            object.field("subState", sub_state);
        }
        object.open("vendorStatus");
        object.put("tag", &*tag.name);
        object.put("raw", raw);
        object.close();
    })?;
    Ok(())
}

impl Memory {
    /// Takes a new order and status over, and opens or closes the run.
    fn take_over(&mut self, order: Option<String>, status: &str) {
        if order != self.order {
            if let Some(before) = self.order.take() {
                self.earlier.retain(|(earlier, _)| *earlier != before);
                self.earlier.push((before, self.ordinal));
                if self.earlier.len() > REMEMBERED_ORDERS {
                    self.earlier.remove(0);
                }
            }
            let known = self
                .earlier
                .iter()
                .find(|(earlier, _)| Some(earlier) == order.as_ref());
            self.ordinal = known.map_or(0, |(_, ordinal)| *ordinal);
            self.order = order;
            self.status = None;
            self.in_run = false;
        }
        match status {
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
