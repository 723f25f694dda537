//! What the standard events' fields hold: names that standards give, and the fields of objects.

use crate::vocabulary::Form::{Anything, Integer, Mostly, Number, OneOf, Text};
use crate::vocabulary::{Field, made, may};

/// States of a job order (OPC 10031-4 v2.0), and what stands for others.
pub(crate) const STATUSES: &[&str] = &[
    "NotAllowedToStart",
    "AllowedToStart",
    "Running",
    "Interrupted",
    "Ended",
    "Aborted",
    "unknown",
];

/// The states alone.
pub(crate) const JOB_STATES: &[&str] = match STATUSES.split_last() {
    Some((_, states)) => states,
    None => &[],
};

/// Their sub-states.
pub(crate) const SUB_STATES: &[&str] = &[
    "Waiting",
    "Ready",
    "Loaded",
    "Held",
    "Suspended",
    "Completed",
    "Closed",
];

/// State models of equipment.
pub(crate) const MODELS: &[&str] = &["packml", "machinery", "mtconnect", "weihenstephan", "custom"];

/// Categories of states (OPC 40001-1 `MachineryItemState`).
pub(crate) const CATEGORIES: &[&str] = &[
    "NotAvailable",
    "OutOfService",
    "NotExecuting",
    "Executing",
    "unknown",
];

/// Modes of equipment: PackML, OPC 40001-1, Weihenstephan.
pub(crate) const MODES: &[&str] = &[
    "Produce",
    "Maintenance",
    "Manual",
    "None",
    "Setup",
    "Processing",
    "Off",
    "SemiAutomatic",
    "Automatic",
    "Undefined",
    "Production",
    "StartUp",
    "RunDown",
    "Clean",
    "Changeover",
    "Break",
];

/// Evaluations of results (OPC 40001-101).
pub(crate) const EVALUATIONS: &[&str] = &["OK", "NotOK", "NotDecidable", "Undefined"];

/// States of an action (VDA 5050).
pub(crate) const ACTION_STATES: &[&str] = &[
    "WAITING",
    "INITIALIZING",
    "RUNNING",
    "PAUSED",
    "FINISHED",
    "FAILED",
];

/// States of a source's connection.
pub(crate) const CONNECTIONS: &[&str] = &["Online", "Offline", "Stale"];

/// What the machine's own word was.
pub(crate) const VENDOR_STATUS: &[Field] = &[made("tag", Text), made("raw", Anything)];

pub(crate) const QUANTITY: &[Field] = &[
    may("planned", Number),
    may("produced", Number),
    may("good", Number),
    may("scrap", Number),
    may("unit", Text),
];

pub(crate) const REASON: &[Field] = &[may("code", Anything), may("text", Text)];

pub(crate) const CHARACTERISTIC: &[Field] = &[
    may("name", Text),
    may("value", Anything),
    may("unit", Text),
    may("lower", Number),
    may("upper", Number),
    may("evaluation", Mostly(EVALUATIONS)),
];

/// What a window holds.
pub(crate) const AGGREGATE: &[Field] = &[
    made("fn", OneOf(&["mean", "min", "max", "last"])),
    made("windowMs", Integer),
    made("n", Integer),
    made("min", Number),
    made("max", Number),
    made("mean", Number),
];

pub(crate) const LIMITS: &[Field] = &[may("lower", Number), may("upper", Number)];

pub(crate) const PARAMETER: &[Field] = &[may("name", Text), may("value", Anything), may("unit", Text)];

pub(crate) const ITEM: &[Field] = &[
    may("itemId", Anything),
    may("qty", Number),
    may("unit", Text),
    may("lot", Anything),
];

/// What a field means, by its name; the same in all events. `None` where the name says it all.
pub(crate) fn meaning_of(field: &str) -> Option<&'static str> {
    let known = MEANINGS.iter().find(|(name, _)| *name == field);
    known.map(|(_, meaning)| *meaning)
}

const MEANINGS: &[(&str, &str)] = &[
    (
        "workOrderId",
        "the work order; `unknown` where its tag never said",
    ),
    (
        "runId",
        "`<order>/<equipment below the site>/<ordinal>`, the correlation id of its events",
    ),
    ("previousStatus", "null where none was told of this order"),
    (
        "vendorStatus",
        "the machine's own word: the tag, and its value before any table",
    ),
    ("quantity", "numbers of pieces, or of `unit`"),
    ("previousState", "null where none was told before"),
    (
        "previousDurationMs",
        "how long the state before lasted, by the device's times",
    ),
    ("previousMode", "null where none is known"),
    ("counterId", "the tag of the counter"),
    ("delta", "what was counted since the last event, in `unit`"),
    (
        "total",
        "what was counted since the gateway knows the counter, in `unit`: one lost delta heals",
    ),
    ("unit", "UN/ECE Recommendation 20 code"),
    ("rawValue", "the counter's value"),
    ("rawPrevious", "the counter's value at the last event"),
    ("rollover", "the counter began again at 0 after its largest value"),
    ("reset", "the counter was set back"),
    ("implausible", "the step is above the largest plausible one"),
    ("from", "the beginning of the span; of a movement where it began"),
    ("to", "the end of the span; of a movement where it ended"),
    ("alarmId", "equipment and code"),
    ("occurrenceId", "the same on `AlarmRaised` and `AlarmCleared`"),
    ("severity", "1 (lowest) to 1000, as in OPC UA (OPC 10000-5)"),
    ("unmapped", "the mapping does not name this bit"),
    ("windowMs", "length of the window in milliseconds"),
    ("n", "how many values were in the window"),
    ("mean", "weighted by how long each value was, in `unit`"),
    ("medium", "electricity, gas, water, compressed-air and so on"),
    ("hu", "the handling unit (SSCC)"),
    ("targetHu", "the handling unit that was picked into"),
    ("hus", "the handling units of the shipment"),
    ("durationMs", "in milliseconds"),
    (
        "lastGoodAt",
        "when the last good value was received; null where none was",
    ),
    ("reason", "why, as code and text; of a connection in words"),
    ("qtyRequested", "in `unit`"),
    ("qtyPicked", "in `unit`"),
    ("qty", "in `unit`"),
];

#[cfg(test)]
mod tests {
    use floorgate_core::table::ValueTable;

    use super::*;

    /// The names of the standards are those of their tables.
    #[test]
    fn every_name_of_a_table_is_in_the_schema() {
        for (tables, names) in [
            (&["isa95-job-state", "isa95-job-state-v1"][..], JOB_STATES),
            (
                &[
                    "packml-mode",
                    "machinery-operation-mode",
                    "weihenstephan-mode",
                    "weihenstephan-program",
                ],
                MODES,
            ),
            (&["result-evaluation"], EVALUATIONS),
            (&["vda5050-action-status"], ACTION_STATES),
            (&["machinery-item-state"], CATEGORIES),
        ] {
            let of = |table: &&str| ValueTable::standard(table).expect("a table").entries;
            let entries: Vec<_> = tables.iter().flat_map(of).collect();
            for entry in &entries {
                assert!(names.contains(&&*entry.name), "{}", entry.name);
                let sub_state = entry.sub_state.as_deref();
                assert!(
                    sub_state.is_none_or(|state| SUB_STATES.contains(&state)),
                    "{sub_state:?}"
                );
            }
            let is_of_a_table =
                |name: &&str| *name == "unknown" || entries.iter().any(|entry| *entry.name == **name);
            assert!(names.iter().all(is_of_a_table), "{names:?}");
        }
    }
}
