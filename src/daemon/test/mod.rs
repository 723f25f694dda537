//! `floorgate test`: tests of mappings, without a gateway.

mod recorded;

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use floorgate_workbench::cases::{self, Counts, Coverage, ENDING, Options, Outcome, Run, Suite};
use serde_json::{Value, json};

use crate::exit::{Failed, Refused};
use crate::printing::print;
use crate::registry::ADAPTERS;
use recorded::At;

/// What `floorgate test` is asked for.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Files that end in `.test.yaml`, or folders in which they are.
    #[arg(default_value = "mappings", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Take sources, topics and the prefix of event types from these settings. Without it a source is read by the adapter that knows the keys
    /// of its tags' addresses.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run only tests whose file or name has this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Show the rules that no test makes an event of, and the states, alarms and conditions that none reaches.
    #[arg(long)]
    coverage: bool,
    /// Write the events that came into tests that have no `expect`. Read them before you keep them.
    #[arg(long)]
    write: bool,
    /// Make a test of this recording, and of the mappings that PATH names: print its file. What it expects is what the mappings make of it.
    #[arg(long, value_name = "RECORDING", requires = "at", conflicts_with_all = ["config", "filter", "coverage", "write", "json", "junit"])]
    record: Option<PathBuf>,
    /// Where the test begins: a time (RFC 3339), or how long after the recording's beginning, such as 90s.
    #[arg(long, value_name = "TIME", requires = "record")]
    at: Option<At>,
    /// How long the test is.
    #[arg(long = "for", value_name = "TIME", requires = "record", default_value = "30s")]
    length: floorgate_yaml::Duration,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write a report for continuous integration, in the form of `JUnit`.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// How many tests went how.
#[derive(Clone, Copy, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Files that are wrong.
    wrong: usize,
}

/// Runs tests and tells how they went.
pub fn test(arguments: &TestArgs) -> anyhow::Result<()> {
    if let Some((recording, at)) = arguments.record.as_ref().zip(arguments.at) {
        return recorded::record(recording, &arguments.paths, at, arguments.length);
    }
    let files = files(&arguments.paths)?;
    let options = Options {
        settings: arguments.config.as_deref(),
        adapters: ADAPTERS,
        filter: arguments.filter.as_deref(),
        coverage: arguments.coverage,
    };
    let mut coverage = Coverage::default();
    let mut suites = Vec::with_capacity(files.len());
    let mut tally = Tally::default();
    for file in &files {
        let suite = cases::run(file, &options, &mut coverage);
        tally.add(&suite);
        if !arguments.json {
            show(&suite)?;
        }
        if arguments.write {
            write(&suite, arguments.json)?;
        }
        suites.push(suite);
    }
    if let Some(path) = &arguments.junit {
        let report = cases::junit(&suites).context("the report cannot be written")?;
        std::fs::write(path, report).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if arguments.json {
        let coverage = arguments.coverage.then_some(&coverage);
        print(&format!("{}\n", object(&suites, tally, coverage)))?;
    } else {
        let covered = arguments.coverage.then(|| covered(&coverage));
        print(&format!("{}{}\n", covered.unwrap_or_default(), tally.line()))?;
    }
    match tally {
        Tally { wrong: 1.., .. } => Err(Refused.into()),
        Tally { failed: 1.., .. } => Err(Failed.into()),
        Tally { passed: 0, .. } if arguments.filter.is_some() => {
            eprintln!("floorgate: no test has this text in its file or name");
            Err(Failed.into())
        }
        _ => Ok(()),
    }
}

impl Tally {
    fn add(&mut self, suite: &Suite) {
        let passed = suite
            .results
            .iter()
            .filter(|run| run.outcome == Outcome::Passed)
            .count();
        self.passed += passed;
        self.failed += suite.results.len() - passed;
        self.wrong += usize::from(suite.problems.has_errors());
    }

    fn line(self) -> String {
        let Self {
            passed,
            failed,
            wrong,
        } = self;
        let all = passed + failed;
        let tests = if all == 1 { "test" } else { "tests" };
        let mut line = format!("{all} {tests}: {passed} passed, {failed} failed");
        match wrong {
            0 => {}
            1 => line.push_str("; 1 file is wrong, and what it tests is not known"),
            _ => {
                let _ = write!(line, "; {wrong} files are wrong, and what they test is not known");
            }
        }
        line
    }
}

/// The files with tests among the paths, and in folders below them.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        if path.is_dir() {
            below(path, &mut files).with_context(|| format!("{} cannot be read", path.display()))?;
            if files.len() == before {
                eprintln!(
                    "floorgate: no file below {} ends in {ENDING}: write one beside its mapping, such as filling-line{ENDING}",
                    path.display()
                );
                return Err(Refused.into());
            }
        } else {
            files.push(path.clone());
        }
    }
    files.dedup();
    Ok(files)
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries: io::Result<Vec<_>> = std::fs::read_dir(folder)?.collect();
    let mut entries = entries?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !name.starts_with('.') {
            below(&path, files)?;
        } else if name.ends_with(ENDING) {
            files.push(path);
        }
    }
    Ok(())
}

/// Prints a line for each test, and what was not as expected.
fn show(suite: &Suite) -> io::Result<()> {
    let mut out = String::new();
    let color = io::stdout().is_terminal();
    let place = |run: &Run| format!("{}:{}", suite.path.display(), run.line);
    for run in &suite.results {
        let (word, text) = match &run.outcome {
            Outcome::Passed => ("ok    ", String::new()),
            Outcome::Failed(difference) => ("FAILED", difference.clone()),
            Outcome::Unwritten(events) => ("FAILED", unwritten(events)),
        };
        let paint = match run.outcome {
            _ if !color => "",
            Outcome::Passed => "\u{1b}[32m",
            _ => "\u{1b}[1;31m",
        };
        let reset = if color { "\u{1b}[0m" } else { "" };
        let _ = writeln!(out, "{paint}{word}{reset}  {}  {}", place(run), run.name);
        for line in text.lines() {
            let paint = match line.as_bytes().first() {
                _ if !color => "",
                Some(b'-') => "\u{1b}[31m",
                Some(b'+') => "\u{1b}[32m",
                _ => "",
            };
            let reset = if paint.is_empty() { "" } else { reset };
            let _ = writeln!(out, "        {paint}{line}{reset}");
        }
        for failure in &run.failures {
            let _ = writeln!(out, "        note: {failure}");
        }
    }
    print(&out)?;
    if !suite.problems.is_empty() {
        eprint!("{}", suite.problems.render(io::stderr().is_terminal()));
    }
    Ok(())
}

fn unwritten(events: &str) -> String {
    if events.is_empty() {
        return "it has no `expect`, and no event came: write `expect: []`, or let `--write` do it\n"
            .to_owned();
    }
    format!(
        "it has no `expect`; these events came. If they are right, paste them, or let `--write` do it:\nexpect:\n{}",
        indented(events)
    )
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}

/// Writes what came into tests that expect nothing yet.
fn write(suite: &Suite, quiet: bool) -> anyhow::Result<()> {
    let is_unwritten = |run: &&Run| matches!(run.outcome, Outcome::Unwritten(_));
    let count = suite.results.iter().filter(is_unwritten).count();
    if count == 0 {
        return Ok(());
    }
    let path = suite.path.display();
    let left = cases::write(suite).with_context(|| format!("{path} cannot be written"))?;
    if !quiet && count > left.len() {
        let written = count - left.len();
        print(&format!(
            "wrote what came into {path}, {written} of {count} tests: read it before you keep it\n"
        ))?;
    }
    for name in left {
        eprintln!(
            "{path}: {name:?} has no line of its own below its steps: paste the events that are shown above"
        );
    }
    Ok(())
}

fn covered(coverage: &Coverage) -> String {
    let Counts {
        rules,
        all_rules,
        branches,
        all_branches,
    } = coverage.counts();
    let mut text = format!(
        "\ncoverage: {rules} of {all_rules} rules, {branches} of {all_branches} states, alarms and conditions\n"
    );
    for rule in coverage.uncovered() {
        let _ = writeln!(
            text,
            "{}:{}  {}: {}",
            rule.file,
            rule.line,
            rule.rule,
            rule.never()
        );
    }
    text.push('\n');
    text
}

fn object(suites: &[Suite], tally: Tally, coverage: Option<&Coverage>) -> Value {
    let tests: Vec<Value> = suites.iter().flat_map(of_suite).collect();
    let problems: Vec<Value> = suites.iter().flat_map(problems).collect();
    let mut object = json!({
        "passed": tally.passed,
        "failed": tally.failed,
        "tests": tests,
        "problems": problems,
    });
    if let Some(coverage) = coverage {
        object["coverage"] = json!({ "counts": coverage.counts(), "uncovered": coverage.uncovered() });
    }
    object
}

fn of_suite(suite: &Suite) -> Vec<Value> {
    let one = |run: &Run| {
        let (outcome, found) = match &run.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(difference) => ("failed", Some(("difference", difference))),
            Outcome::Unwritten(events) => ("unwritten", Some(("events", events))),
        };
        let mut test = json!({
            "file": suite.path.display().to_string(),
            "line": run.line,
            "name": run.name,
            "outcome": outcome,
        });
        if let Some((key, text)) = found {
            test[key] = json!(text);
        }
        if !run.failures.is_empty() {
            test["notes"] = json!(run.failures);
        }
        test
    };
    suite.results.iter().map(one).collect()
}

fn problems(suite: &Suite) -> Vec<Value> {
    let one = |problem: &floorgate_yaml::Problem| {
        let place = problem.span.map(|span| suite.problems.place(span));
        json!({
            "severity": if problem.severity == floorgate_yaml::Severity::Error { "error" } else { "warning" },
            "place": place,
            "message": problem.message,
            "hint": problem.hint,
        })
    };
    suite.problems.by_place().into_iter().map(one).collect()
}
