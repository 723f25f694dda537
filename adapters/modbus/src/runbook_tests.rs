//! The figures of the runbook are those that hold where nothing else is set.

use floorgate_adapter_api::conformance::the_runbooks_figures_hold;
use floorgate_adapter_api::{URGENT_DAYS, WARN_DAYS};

use crate::settings::Checked;
use crate::unit::FIRST_PAUSE;

#[test]
fn the_figures_of_the_runbook_are_those_that_hold() {
    let settings = Checked::assumed();
    let first = FIRST_PAUSE.as_secs_f64();
    let longest = settings.backoff_max.as_secs();
    let answer = settings.timeout.as_secs();
    let again = settings.retry_refused.as_secs();
    let held = [
        format!("from {first} s to {longest} s"),
        format!("pauses that grow to {longest} s"),
        format!("at the latest every {longest} s"),
        format!("at most every {longest} s"),
        format!("said nothing within {answer} s"),
        format!("slower than {answer} s"),
        format!("`timeout` ({answer} s)"),
        format!("costs the link {answer} s"),
        format!("lose up to {answer} s"),
        format!("tried again every {again} s each"),
        format!("not answered one every {again} s"),
        format!("within {WARN_DAYS} days (a warning) or within {URGENT_DAYS} days"),
    ];
    the_runbooks_figures_hold(include_str!("../RUNBOOK.md"), &held);
}
