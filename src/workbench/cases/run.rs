//! Runs the tests of a file.

use std::path::{Path, PathBuf};

use floorgate_adapter_api::Adapter;
use floorgate_yaml::Problems;

use super::coverage::{Coverage, without_guards};
use super::difference::difference;
use super::expectation::lines;
use super::file::{Test, TestFile, read};
use super::player::{Player, Stuck, Told};
use super::seen::{Seen, offset};
use super::subject::Subject;

/// What is run, and what is looked at besides.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The settings, for sources, topics and the prefix of event types.
    pub settings: Option<&'a Path>,
    /// The adapters of this build.
    pub adapters: &'a [&'a dyn Adapter],
    /// Only tests whose `FILE: NAME` has this text.
    pub filter: Option<&'a str>,
    /// Whether it is noted which rules and branches were reached.
    pub coverage: bool,
}

/// What a file with tests came to.
pub struct Suite {
    /// The file.
    pub path: PathBuf,
    /// The tests that were run.
    pub results: Vec<Run>,
    /// What is wrong with the file or its mappings; then nothing was run.
    pub problems: Problems,
}

/// What a test came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is tested, in words.
    pub name: String,
    /// Where it is written.
    pub line: u32,
    /// How it went.
    pub outcome: Outcome,
    /// What rules could not do meanwhile, and why.
    pub failures: Vec<String>,
}

/// How a test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All events came as expected, and no others.
    Passed,
    /// Other events came; the difference.
    Failed(String),
    /// It is not said what is expected; the events that came, as YAML.
    Unwritten(String),
}

/// Runs the tests of a file; what they reached of their mappings is added to `coverage`.
#[must_use]
pub fn run(path: &Path, options: &Options<'_>, coverage: &mut Coverage) -> Suite {
    let mut problems = Problems::default();
    let file = read(path, options.settings, options.adapters, &mut problems);
    let mut results = Vec::new();
    if let Some(file) = file {
        if options.coverage {
            coverage.know(&file.mappings, &problems);
        }
        let named = |test: &&Test| {
            let whole = format!("{}: {}", path.display(), test.name);
            options.filter.is_none_or(|filter| whole.contains(filter))
        };
        for test in file.tests.iter().filter(named) {
            match run_one(test, &file, options, coverage, &problems) {
                Ok(run) => results.push(run),
                Err(stuck) => {
                    problems.error(stuck.span, stuck.message).hint(stuck.hint);
                }
            }
        }
    }
    Suite {
        path: path.to_path_buf(),
        results,
        problems,
    }
}

fn run_one(
    test: &Test,
    file: &TestFile,
    options: &Options<'_>,
    coverage: &mut Coverage,
    problems: &Problems,
) -> Result<Run, Stuck> {
    let (all, failures) = play(test, &file.subject)?;
    if options.coverage {
        let unguarded = match without_guards(&file.subject) {
            Some(subject) => play(test, &subject)?.0,
            None => Vec::new(),
        };
        coverage.note(&file.mappings, test, (&all, &unguarded), problems);
    }
    let seen: Vec<Seen> = all
        .into_iter()
        .filter(|seen| test.looks_at(seen.kind()))
        .collect();
    let outcome = match &test.expect {
        None => Outcome::Unwritten(seen.iter().map(|seen| lines(&seen.facts())).collect()),
        Some(expected) => match difference(expected, &seen, problems) {
            nothing if nothing.is_empty() => Outcome::Passed,
            found => Outcome::Failed(found),
        },
    };
    Ok(Run {
        name: test.name.clone(),
        line: test.span.line,
        outcome,
        failures,
    })
}

/// The events that come of a test's steps, and what rules could not do. That sources come online before the first step is no part of it.
pub(crate) fn play(test: &Test, subject: &Subject) -> Result<(Vec<Seen>, Vec<String>), Stuck> {
    let mut player = Player::new(subject);
    player.begin(&test.steps);
    let begun = player.told_so_far();
    for step in &test.steps {
        player.take(step)?;
    }
    let mut seen = Vec::new();
    let mut failures = Vec::new();
    for told in player.told().into_iter().skip(begun) {
        match told {
            Told::Event(at, event) => seen.push(Seen::new(at, *event)),
            Told::Failure(at, reason) => failures.push(format!("at {}: {reason}", offset(at))),
        }
    }
    Ok((seen, failures))
}
