//! `floorgate diff`: what changes for consumers between two mappings.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use floorgate_workbench::compare::{self, Change, Changed, Listed, Report, Side};

use crate::exit::{Failed, Refused};
use crate::printing::print;
use crate::registry::ADAPTERS;

/// What `floorgate diff` is asked for.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// A mapping, or settings whose mappings are meant.
    old: PathBuf,
    /// The same as it is to be.
    new: PathBuf,
    /// End with exit code 1 where anything differs.
    #[arg(long)]
    exit_code: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Compares mappings and tells the difference.
pub fn diff(arguments: &DiffArgs) -> anyhow::Result<()> {
    // Both are read before one of them is refused, so that all that is wrong is told at once.
    let (old, new) = (read(&arguments.old), read(&arguments.new));
    let (Some(old), Some(new)) = (old, new) else {
        return Err(Refused.into());
    };
    let report = compare::compare(&old, &new);
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string(&report)?))?;
    } else {
        print(&text(&report, io::stdout().is_terminal()))?;
    }
    if report.differs && arguments.exit_code {
        return Err(Failed.into());
    }
    Ok(())
}

fn read(path: &Path) -> Option<Side> {
    match compare::read(path, ADAPTERS) {
        Ok(side) => Some(side),
        Err(problems) => {
            eprint!("{}", problems.render(io::stderr().is_terminal()));
            None
        }
    }
}

fn text(report: &Report, color: bool) -> String {
    let mut text = String::new();
    if !report.differs {
        return "no difference\n".to_owned();
    }
    if report.consumers_see.is_empty() {
        text.push_str("consumers see no difference: rules, topics, keys, types and fields are the same\n");
    } else {
        let words: Vec<&str> = report.consumers_see.iter().map(String::as_str).collect();
        let _ = writeln!(text, "consumers see a difference: {}", words.join(", "));
    }
    let paint = |sign: char, line: &str| match (color, sign) {
        (true, '+') => format!("\u{1b}[32m{line}\u{1b}[0m\n"),
        (true, '-') => format!("\u{1b}[31m{line}\u{1b}[0m\n"),
        (true, '!') => format!("\u{1b}[1m{line}\u{1b}[0m\n"),
        _ => format!("{line}\n"),
    };
    for (sign, title, topics) in [
        ('+', "topics that nothing went to before", &report.topics_added),
        (
            '-',
            "topics that nothing goes to any more",
            &report.topics_removed,
        ),
    ] {
        if !topics.is_empty() {
            let _ = write!(text, "\n{title}\n");
            for topic in topics {
                text.push_str(&paint(sign, &format!("{sign} {topic}")));
            }
        }
    }
    for (sign, title, rules) in [
        ('+', "rules added", &report.added),
        ('-', "rules removed", &report.removed),
    ] {
        if !rules.is_empty() {
            let _ = write!(text, "\n{title}\n");
            for rule in rules {
                text.push_str(&paint(sign, &listed(sign, rule)));
            }
        }
    }
    if !report.changed.is_empty() {
        text.push_str("\nrules changed (! is seen by consumers)\n");
        for changed in &report.changed {
            text.push_str(&head(changed));
            for change in &changed.changes {
                let sign = if change.consumers_see { '!' } else { ' ' };
                text.push_str(&paint(sign, &format!("  {sign} {}", told(change))));
            }
        }
    }
    text
}

fn listed(sign: char, listed: &Listed) -> String {
    let Listed {
        rule,
        instances,
        at,
        kind,
        topic,
    } = listed;
    format!("{sign} {rule}{}  {at}  {kind} to {topic}", others(*instances))
}

fn head(changed: &Changed) -> String {
    let Changed {
        rule,
        instances,
        was_at,
        at,
        ..
    } = changed;
    format!("{rule}{}  {was_at} → {at}\n", others(*instances))
}

fn others(instances: usize) -> String {
    match instances {
        0 | 1 => String::new(),
        2 => " (and another instance)".to_owned(),
        _ => format!(" (and {} other instances)", instances - 1),
    }
}

fn told(change: &Change) -> String {
    let what = &change.what;
    match (&change.was, &change.is) {
        (Some(was), Some(is)) => format!("{what}: {was} → {is}"),
        (None, Some(is)) => format!("{what}: added, {is}"),
        (Some(was), None) => format!("{what}: removed, was {was}"),
        (None, None) => what.clone(),
    }
}
