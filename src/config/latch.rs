//! Names of what a run of a work order latches: they stand in every event of the run, beside the event's own fields.

use std::rc::Rc;

use floorgate_core::plan::COMMON_FIELDS;
use floorgate_yaml::{Node, Problems};

use crate::event::EventPlan;
use crate::tag::is_tag_name;
use crate::vocabulary::standard;

/// Fields that say to which run an event belongs.
const OF_RUNS: [&str; 2] = ["workOrderId", "runId"];

/// Fields that say how an event came about, of some shapes.
const OF_SHAPES: [&str; 12] = [
    "snapshot",
    "missing",
    "missed",
    "deviation",
    "expected",
    "actual",
    "reached",
    "elapsedMs",
    "from",
    "to",
    "allowed",
    "agg",
];

/// Reports names of `run: {latch: …}` that an event has already: a name that is twice in one object has no meaning.
pub(crate) fn check(run: &Node, events: &[Rc<EventPlan<'_>>], problems: &mut Problems) {
    let Some(latch) = run.get("latch") else { return };
    for (name, span, _) in latch.entries() {
        let name = name.as_str();
        if !is_tag_name(name) {
            problems
                .error(*span, format!("`latch`: {name:?} is no plain name of a field"))
                .hint("a letter, then letters, digits and `_`, such as `lotId`");
            continue;
        }
        let of = events.iter().filter_map(|event| standard(&event.event));
        let mut of = of.filter(|event| event.fields.iter().any(|field| field.name == name));
        let whose = if COMMON_FIELDS.contains(&name) {
            "in every event's data, and the gateway's own".to_owned()
        } else if OF_RUNS.contains(&name) {
            "in every event of a run, and says which one it is".to_owned()
        } else if let Some(event) = of.next() {
            format!("a field of `{}`", event.name)
        } else if OF_SHAPES.contains(&name) {
            "a field that says how an event came about".to_owned()
        } else {
            continue;
        };
        problems
            .error(*span, format!("`latch`: `{name}` is {whose}"))
            .hint("give the field another name");
    }
}
