//! From the steps of a recording to a file with a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use floorgate_sample::{TagId, Timestamp};
use floorgate_yaml::{NodeKind, Problems, flow, parse};
use serde_json::{Map, Value as Json, json};

use super::{Maker, RecordError, Recorded, START, one_or_all};
use crate::cases::expectation::lines;
use crate::cases::file::Test;
use crate::cases::player::{Player, Stuck};
use crate::cases::run::play;
use crate::cases::steps::steps;

/// The line of the first step in the file.
const FIRST_STEP: usize = 5;

impl Maker<'_> {
    /// The file, or why there is none.
    pub(super) fn finish(mut self, files: &[PathBuf]) -> Result<Recorded, RecordError> {
        if !self.has_begun {
            let (begun, ended) = self
                .span
                .unwrap_or((Timestamp::from_nanos(0), Timestamp::from_nanos(0)));
            return Err(RecordError::Outside { begun, ended });
        }
        let open = self.resumed.len();
        if open > 0 {
            self.note(
                "sources had come back and not caught up at the end: what they handed over is left out",
                open,
            );
        }
        // Of what comes after the recording nothing is known.
        let recorded = self
            .span
            .map_or(Duration::ZERO, |(_, ended)| ended.since(self.from()));
        let micros = u64::try_from(recorded.as_micros()).unwrap_or(u64::MAX);
        let length = self.part.length.min(Duration::from_micros(micros));
        self.at = (START + length).max(self.at);
        self.push([]);
        self.answer_first(files)?;
        let (head, events) = loop {
            let head = self.head(files);
            let test = self.test(&head)?;
            match play(&test, self.subject) {
                Ok((seen, _)) => {
                    let seen = seen.iter().filter(|seen| test.looks_at(seen.kind()));
                    break (head, seen.map(|seen| lines(&seen.facts())).collect::<String>());
                }
                Err(stuck) => self.without_answer(stuck)?,
            }
        };
        let expect = if events.is_empty() {
            "    expect: []\n".to_owned()
        } else {
            let rows = events.lines().flat_map(|line| ["      ", line, "\n"]);
            format!("    expect:\n{}", rows.collect::<String>())
        };
        let notes = self.notes.iter().map(|(text, count)| format!("{count} {text}"));
        Ok(Recorded {
            notes: notes.collect(),
            text: format!("{head}{expect}"),
        })
    }

    /// The file up to the last step; the steps begin in line [`FIRST_STEP`].
    fn head(&self, files: &[PathBuf]) -> String {
        let rows = self.steps.iter().map(|step| flow(&Json::Object(step.clone())));
        let rows: Vec<String> = rows.map(|step| format!("      - {step}\n")).collect();
        let names: Vec<Json> = files.iter().map(|file| json!(file_name(file))).collect();
        format!(
            "mapping: {}\ntests:\n  - name: recorded at {}\n    steps:\n{}",
            flow(&one_or_all(names)),
            self.from(),
            rows.concat(),
        )
    }

    fn test(&self, head: &str) -> Result<Test, RecordError> {
        let mut problems = Problems::default();
        let file = problems.add_file(Path::new("(the test)"), head);
        let node = parse(file, head, &mut problems);
        let test = node.as_ref().and_then(|node| match &node.get("tests")?.kind {
            NodeKind::List(tests) => tests.first(),
            _ => None,
        });
        let test = test.map(|node| Test {
            name: String::new(),
            span: node.span,
            events: None,
            steps: steps(node, self.subject, &mut problems),
            expect: None,
        });
        test.filter(|_| !problems.has_errors())
            .ok_or(RecordError::Mapping(problems))
    }

    /// What rules ask for when the test begins is answered with what was known then.
    fn answer_first(&mut self, files: &[PathBuf]) -> Result<(), RecordError> {
        let test = self.test(&self.head(files))?;
        let mut player = Player::new(self.subject);
        player.begin(&test.steps);
        let taken = test.steps.first().map(|step| player.take(step));
        if let Some(Err(stuck)) = taken {
            return Err(refused(stuck));
        }
        let mut answers: BTreeMap<String, Vec<Json>> = BTreeMap::new();
        for request in player.asked() {
            let source = self.name(request.source);
            let known = self.steps[0].get(&source);
            let value = |tag: &TagId| {
                let name = &self.names[tag.index()];
                Some((name.clone(), known?.get(name)?.clone()))
            };
            let values: Option<Map<String, Json>> = request.tags.iter().map(value).collect();
            let answer = values.map_or_else(|| json!("failed"), Json::Object);
            answers.entry(source).or_default().push(answer);
        }
        if !answers.is_empty() {
            self.steps[0].insert("read".to_owned(), json!(answers));
        }
        Ok(())
    }

    /// An answer to what was asked before the test begins has no place in it.
    fn without_answer(&mut self, stuck: Stuck) -> Result<(), RecordError> {
        let place = usize::try_from(stuck.span.line)
            .unwrap_or_default()
            .checked_sub(FIRST_STEP);
        let step = place.and_then(|place| self.steps.get_mut(place));
        if step.and_then(|step| step.remove("read")).is_none() {
            return Err(refused(stuck));
        }
        self.note("answers to what was asked before the test begins are left out", 1);
        Ok(())
    }
}

fn refused(stuck: Stuck) -> RecordError {
    let mut problems = Problems::default();
    problems.error(None, stuck.message).hint(stuck.hint);
    RecordError::Mapping(problems)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
