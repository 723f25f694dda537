//! The figures of the runbook are those that hold where nothing else is set.

use std::path::Path;

use floorgate_adapter_api::conformance::the_runbooks_figures_hold;
use floorgate_adapter_api::{LIST_URGENT_DAYS, LIST_WARN_DAYS, URGENT_DAYS, WARN_DAYS};
use floorgate_yaml::{Problems, decode, parse};

use crate::connection::{MOST_ELEMENTS, MOST_MESSAGE_BYTES, MOST_TEXT_BYTES};
use crate::settings::Settings;
use crate::{clock, drive, nesting, redundancy, structure};

#[test]
fn the_figures_of_the_runbook_are_those_that_hold() {
    let text = "endpoint: opc.tcp://plc1:4840";
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("floorgate.yaml"), text.to_owned());
    let document = parse(file, text, &mut problems).expect("it is YAML");
    let settings: Settings = decode(&document, &mut problems).expect("they are whole");
    let answer = settings.request_timeout.get();
    let limit = settings.reconnect_limit.get().as_secs();
    let first = drive::FIRST_PAUSE.as_secs_f64();
    let session = (answer * drive::ANSWERS_OF_A_SESSION).as_secs();
    let silent = (settings.keep_alive.get() * 2).as_secs();
    let types = (answer * structure::ANSWERS).as_secs();
    let answer = answer.as_secs();
    let (mebibytes, text) = (MOST_MESSAGE_BYTES >> 20, MOST_TEXT_BYTES >> 20);
    assert_eq!(MOST_ELEMENTS, 100_000);
    let held = [
        format!("from {first} s to {limit} s"),
        format!("({answer} s for an answer, {session} s for a session)"),
        format!("{silent} s after its last sign of life at the latest"),
        format!("Near {answer} s it is too slow"),
        format!("pauses that grow to {limit} s"),
        format!(
            "{mebibytes} MiB, arrays of 100,000 elements, texts of {text} MiB, and {} levels",
            nesting::DEEPEST
        ),
        format!("at the latest every {limit} s"),
        format!("within {WARN_DAYS} days (a warning) or within {URGENT_DAYS} days"),
        format!("list within {LIST_WARN_DAYS} days, or {LIST_URGENT_DAYS}"),
        format!("within {types} s or {} attempts", structure::MOST_LOSSES),
        format!("a better server every {} s", redundancy::ASK.as_secs()),
        format!("by more than {} s", clock::MOST),
        format!("below {} s", clock::WELL),
        "once a second: up to 1 s behind".to_owned(),
    ];
    the_runbooks_figures_hold(include_str!("../RUNBOOK.md"), &held);
}
