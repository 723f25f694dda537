//! Makes a test of a part of a recording: what was known when it began, what happened, and the events that a mapping makes of it.

mod file;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use floorgate_adapter_api::Adapter;
use floorgate_config::{Which, read_mappings};
use floorgate_core::plan::Priority;
use floorgate_sample::{Continuity, GapScope, Notice, Quality, Sample, SourceId, Timestamp, Value};
use floorgate_yaml::Problems;
use serde_json::{Map, Value as Json, json};

use super::seen::offset;
use super::subject::Subject;
use crate::numbers::Numbers;
use crate::recording::{Call, Entry, Error, Recording};

/// When the part begins, in the test: before it stands what was known.
const START: Duration = Duration::from_secs(1);

/// Which part of a recording is meant.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// When it begins.
    pub from: Moment,
    /// How long it is.
    pub length: Duration,
}

/// A moment of a recording.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// By the wall clock.
    Time(Timestamp),
    /// After the beginning of the recording.
    Beginning(Duration),
}

/// A test that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The file.
    pub text: String,
    /// What of the recording is not in it, or not as it was.
    pub notes: Vec<String>,
}

/// Why no test can be made.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] Error),
    /// The mapping is wrong.
    #[error("the mapping is wrong")]
    Mapping(Problems),
    /// The part is not in the recording.
    #[error("nothing was recorded there: the recording is from {begun} to {ended}")]
    Outside {
        /// When it begins.
        begun: Timestamp,
        /// When it ends.
        ended: Timestamp,
    },
}

/// Makes a file with one test of a part of a recording, and of mappings.
pub fn record<R: Read>(
    recording: &mut Recording<R>,
    files: &[PathBuf],
    part: Part,
    adapters: &[&dyn Adapter],
) -> Result<Recorded, RecordError> {
    let mut problems = Problems::default();
    let named: Vec<_> = files.iter().map(|file| (file.clone(), None)).collect();
    let which = Which {
        settings: None,
        files: Some(&named),
    };
    let Some(mappings) = read_mappings(which, adapters, &mut problems) else {
        return Err(RecordError::Mapping(problems));
    };
    let subject = Subject::of_mappings(&mappings);
    let mut maker = Maker::new(&subject, part);
    while let Some(entries) = recording.next_block()? {
        for entry in entries {
            maker.take(entry);
        }
    }
    maker.finish(files)
}

/// What becomes a test.
struct Maker<'s> {
    subject: &'s Subject,
    part: Part,
    numbers: Numbers,
    /// The names of tags in steps.
    names: Vec<String>,
    /// When the recording began, and its last entry so far.
    span: Option<(Timestamp, Timestamp)>,
    /// What was last said of each tag before the part, by source.
    known: BTreeMap<SourceId, BTreeMap<u32, Sample>>,
    online: BTreeMap<SourceId, bool>,
    /// What sources hand over that have come back and have not caught up.
    resumed: BTreeMap<SourceId, Vec<Sample>>,
    steps: Vec<Map<String, Json>>,
    at: Duration,
    has_begun: bool,
    notes: BTreeMap<&'static str, usize>,
}

impl<'s> Maker<'s> {
    fn new(subject: &'s Subject, part: Part) -> Self {
        Self {
            subject,
            part,
            numbers: Numbers::default(),
            names: subject.short_names(),
            span: None,
            known: BTreeMap::new(),
            online: BTreeMap::new(),
            resumed: BTreeMap::new(),
            steps: Vec::new(),
            at: Duration::ZERO,
            has_begun: false,
            notes: BTreeMap::new(),
        }
    }

    /// When the part begins.
    fn from(&self) -> Timestamp {
        let begun = self.span.map_or(Timestamp::from_nanos(0), |(begun, _)| begun);
        match self.part.from {
            Moment::Time(time) => time,
            Moment::Beginning(after) => begun.after(after),
        }
    }

    fn note(&mut self, text: &'static str, count: usize) {
        *self.notes.entry(text).or_default() += count;
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Names(names) => {
                if self.has_begun {
                    self.note("the configuration was loaded anew meanwhile", 1);
                }
                self.numbers = Numbers::of(&names, &self.subject.plan);
            }
            Entry::Cell(..) => {}
            Entry::Standing(samples) => self.stand(samples),
            Entry::Begin { now, connected } => {
                self.span = Some((now.wall, now.wall));
                for (source, _) in connected {
                    self.online
                        .extend(self.numbers.source(source).map(|source| (source, true)));
                }
            }
            Entry::Hole(count) => {
                if self.is_within() {
                    self.note(
                        "samples are missing, since the recorder had no room",
                        usize::try_from(count).unwrap_or(usize::MAX),
                    );
                    let sources: Vec<String> = (0..)
                        .map(SourceId)
                        .take(self.subject.plan.sources.len())
                        .map(|source| self.name(source))
                        .collect();
                    self.push([("gap".to_owned(), json!(sources))]);
                }
            }
            Entry::Call(call) => self.call(call),
        }
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Apply {
                source,
                now,
                notices,
                samples,
                ..
            } => {
                self.reach(now.wall);
                let Some(source) = self.numbers.source(source) else {
                    return;
                };
                let samples = self.numbers.samples(samples);
                if self.is_within() {
                    self.happen(source, notices, samples);
                } else if !self.has_begun {
                    self.before(source, &notices, samples);
                }
            }
            Call::Answer {
                source,
                now,
                result,
                samples,
                ..
            } => {
                self.reach(now.wall);
                let Some(source) = self.numbers.source(source).filter(|_| self.is_within()) else {
                    return;
                };
                let samples = self.numbers.samples(samples);
                let read = match result {
                    Ok(()) => self.values(&samples).pop().unwrap_or_default(),
                    Err(_) => json!("failed"),
                };
                // Each answer is that of one request.
                let by_source = Map::from_iter([(self.name(source), json!([read]))]);
                self.push([("read".to_owned(), Json::Object(by_source))]);
            }
            Call::Advance { now } => self.reach(now.wall),
            Call::LeaveOutBelow { least } => {
                if self.is_within() {
                    let fullness = match least {
                        None => "has room",
                        Some(Priority::High) => "nearly full",
                        Some(_) => "filling",
                    };
                    self.push([("outbox".to_owned(), json!(fullness))]);
                }
            }
        }
    }

    /// Whether what comes now belongs to the part.
    fn is_within(&self) -> bool {
        self.has_begun && self.at < START + self.part.length
    }

    /// Time goes on; at the beginning of the part it is told what is known then.
    fn reach(&mut self, wall: Timestamp) {
        if let Some((_, last)) = &mut self.span {
            *last = wall.max(*last);
        }
        let from = self.from();
        if wall < from {
            return;
        }
        if !self.has_begun {
            self.has_begun = true;
            self.begin();
        }
        // Microseconds, as a step has them; a clock that was set back stands still here, and what comes after the part takes no time.
        let since = START + wall.since(from);
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let end = START + self.part.length;
        self.at = Duration::from_micros(micros).max(self.at).min(end);
    }

    fn stand(&mut self, samples: Vec<Sample>) {
        for sample in self.numbers.samples(samples) {
            let source = self.subject.plan.tags[sample.tag.index()].source;
            self.known.entry(source).or_default().insert(sample.tag.0, sample);
        }
    }

    /// What happens before the part is only known then.
    fn before(&mut self, source: SourceId, notices: &[Notice], samples: Vec<Sample>) {
        for notice in notices {
            match notice {
                Notice::Online(continuity) => {
                    self.online.insert(source, true);
                    if *continuity == Continuity::New {
                        self.known.remove(&source);
                    }
                }
                Notice::Offline { .. } | Notice::Stale { .. } => drop(self.online.insert(source, false)),
                Notice::CaughtUp | Notice::History | Notice::Gap { .. } => {}
            }
        }
        let known = self.known.entry(source).or_default();
        known.extend(samples.into_iter().map(|sample| (sample.tag.0, sample)));
    }

    /// The first step is what is known.
    fn begin(&mut self) {
        let mut step = Vec::new();
        for (source, known) in std::mem::take(&mut self.known) {
            // Since when it is so lies before the test.
            let values = self.plain_values(known.values());
            if !values.is_empty() {
                step.push((self.name(source), Json::Object(values)));
            }
        }
        self.push(step);
        let sources = (0..).map(SourceId).take(self.subject.plan.sources.len());
        let lost = sources.filter(|source| self.online.get(source) != Some(&true));
        let lost: Vec<String> = lost.map(|source| self.name(source)).collect();
        if !lost.is_empty() {
            self.push([("offline".to_owned(), json!(lost))]);
        }
    }

    fn happen(&mut self, source: SourceId, notices: Vec<Notice>, samples: Vec<Sample>) {
        let name = self.name(source);
        let mut has_caught_up = false;
        let mut is_history = false;
        for notice in notices {
            let (key, value) = match notice {
                Notice::Online(Continuity::New) => ("online", json!(name)),
                Notice::Online(Continuity::Resumed) => {
                    self.resumed.entry(source).or_default();
                    continue;
                }
                Notice::CaughtUp => {
                    has_caught_up = true;
                    continue;
                }
                Notice::History => {
                    is_history = true;
                    continue;
                }
                Notice::Offline { .. } => ("offline", json!(name)),
                Notice::Stale { .. } => ("stale", json!(name)),
                Notice::Gap {
                    scope: GapScope::Source,
                    ..
                } => ("gap", json!(name)),
                Notice::Gap {
                    scope: GapScope::Tags(tags),
                    ..
                } => {
                    let tags = tags.iter().flat_map(|tag| self.numbers.tags(*tag));
                    let tags: Vec<String> = tags.map(|tag| self.names[tag.index()].clone()).collect();
                    if tags.is_empty() {
                        continue;
                    }
                    ("gap", json!({ name.as_str(): tags }))
                }
            };
            self.push([(key.to_owned(), value)]);
        }
        let Some(waiting) = self.resumed.get_mut(&source) else {
            if !samples.is_empty() {
                let values = one_or_all(self.values(&samples));
                self.push([if is_history {
                    ("history".to_owned(), json!({ name.as_str(): values }))
                } else {
                    (name, values)
                }]);
            }
            return;
        };
        // What comes until it has caught up belongs to one step, as a test says it.
        waiting.extend(samples);
        if has_caught_up {
            let samples = self.resumed.remove(&source).unwrap_or_default();
            let mut step = vec![("resumed".to_owned(), json!(name))];
            if !samples.is_empty() {
                let values = self.values(&samples);
                step.push((name, one_or_all(values)));
            }
            self.push(step);
        }
    }

    /// Values by tag; a second one of a tag begins another group.
    fn values(&mut self, samples: &[Sample]) -> Vec<Json> {
        let mut groups = vec![Map::new()];
        for sample in samples {
            let name = self.names[sample.tag.index()].clone();
            let Some(value) = self.value(sample) else { continue };
            if groups.last().is_some_and(|group| group.contains_key(&name)) {
                groups.push(Map::new());
            }
            if let Some(group) = groups.last_mut() {
                group.insert(name, value);
            }
        }
        groups.into_iter().map(Json::Object).collect()
    }

    /// Values by tag of which nothing but value and quality is told.
    fn plain_values<'a>(&mut self, samples: impl Iterator<Item = &'a Sample>) -> Map<String, Json> {
        let mut values = Map::new();
        for sample in samples {
            // Of a tag that nothing was received of, nothing is known.
            if sample.value.is_none() && sample.quality == Quality::BAD_NO_COMMUNICATION {
                continue;
            }
            let Some(value) = self.written(sample.value.as_ref()) else {
                continue;
            };
            let value = match sample.quality {
                Quality::GOOD => value,
                quality => json!({ "value": value, "quality": quality.0 }),
            };
            values.insert(self.names[sample.tag.index()].clone(), value);
        }
        values
    }

    fn value(&mut self, sample: &Sample) -> Option<Json> {
        let value = self.written(sample.value.as_ref())?;
        let mut more = Map::new();
        if sample.quality != Quality::GOOD {
            more.insert("quality".to_owned(), json!(sample.quality.0));
        }
        if self.subject.says_when(sample.tag) {
            match sample.source_time {
                None => drop(more.insert("time".to_owned(), json!("none"))),
                Some(time) => {
                    let earliest = self.from().before(START);
                    let since = Duration::from_micros(
                        u64::try_from(time.since(earliest).as_micros()).unwrap_or(u64::MAX),
                    );
                    if time < earliest {
                        self.note(
                            "values have a time of the device before the test begins: they have their step's",
                            1,
                        );
                    } else if since != self.at {
                        more.insert("time".to_owned(), json!(offset(since)));
                    }
                }
            }
        }
        if sample.gap {
            more.insert("gap".to_owned(), json!(true));
        }
        if more.is_empty() {
            return Some(value);
        }
        let mut whole = Map::from_iter([("value".to_owned(), value)]);
        whole.append(&mut more);
        Some(Json::Object(whole))
    }

    /// A value as a step writes it; none, and a note, where it has no form there.
    fn written(&mut self, value: Option<&Value>) -> Option<Json> {
        let written = value.map_or(Some(Json::Null), written);
        if written.is_none() {
            self.note(
                "values have no form in a test (bytes, times, no numbers) and are left out",
                1,
            );
        }
        written
    }

    fn push(&mut self, what: impl IntoIterator<Item = (String, Json)>) {
        let mut step = Map::from_iter([("at".to_owned(), json!(offset(self.at)))]);
        step.extend(what);
        self.steps.push(step);
    }

    fn name(&self, source: SourceId) -> String {
        self.subject.plan.sources[source.index()].name.to_string()
    }
}

/// The only one itself, or a list.
fn one_or_all(mut values: Vec<Json>) -> Json {
    match values.len() {
        1 => values.remove(0),
        _ => Json::Array(values),
    }
}

fn written(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::UInt(value) => json!(value),
        // Its shortest form, as an event has it.
        Value::Float32(value) => json!(finite(value.to_string().parse().ok()?)?),
        Value::Float64(value) => json!(finite(*value)?),
        Value::Text(text) => json!(&**text),
        Value::List(values) => Json::Array(values.iter().map(written).collect::<Option<_>>()?),
        Value::Record(parts) => {
            let parts = parts
                .iter()
                .map(|(name, part)| Some((name.to_string(), written(part)?)));
            Json::Object(parts.collect::<Option<_>>()?)
        }
        Value::Bytes(_) | Value::Time(_) => return None,
    })
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
