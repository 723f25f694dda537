//! What stands at the top of a mapping: what it was made of, and what is not in it.

use std::fmt::Write as _;

use floorgate_adapter_api::Survey;

use super::DraftOptions;
use super::group::Group;
use super::write::{comment, scalar, text};

/// Most things that were missed which the head lists.
const MOST_MISSED: usize = 100;

/// The lines above the mapping. The first of several mappings says what is about all of them.
pub fn head(survey: &Survey, options: &DraftOptions, group: &Group, is_first: bool) -> String {
    let mut head = format!("# yaml-language-server: $schema={}\n", options.schema);
    let mut line = |line: &str| {
        let _ = writeln!(head, "# {}", comment(line, 400));
    };
    line(&format!("A first mapping, made of {}.", options.origin));
    if group.parameters.is_some() {
        line("These are built alike: one definition stands for all of them.");
    }
    line(
        "Correct names, `equipment` and events, then run `floorgate check`. Deadbands and counters are nothing that the device tells: without",
    );
    line(
        "`deadband` each change of a number is an event, and a counter needs `counter` and `ProductionCountRecorded` in place of its measurement.",
    );
    if survey.is_partial {
        line("THE LOOK WAS ENDED BEFORE ALL WAS SEEN: there may be more than stands here.");
    }
    if !is_first {
        return head;
    }
    if !survey.missed.is_empty() {
        line(&format!("Could not be looked at ({}):", survey.missed.len()));
        for missed in survey.missed.iter().take(MOST_MISSED) {
            line(&format!("  {missed}"));
        }
        if let Some(more @ 1..) = survey.missed.len().checked_sub(MOST_MISSED) {
            line(&format!("  and {more} more, which `--json` lists"));
        }
    }
    line("The source, for `floorgate.yaml`:");
    line("  sources:");
    line(&format!("    {}:", text(&options.source)));
    line(&format!("      adapter: {}", options.adapter));
    for (key, value) in &survey.settings {
        line(&format!("      {key}: {}", scalar(value)));
    }
    head
}
