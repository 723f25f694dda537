//! What is known of tags, kept up by copies of what the core is given.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Adapter, Finding, Reason};
use floorgate_sample::{Continuity, Notice, Quality, QualityClass, Sample, SourceId, TagId, Timestamp};
use floorgate_workbench::recording::{Call, Entry, Names};

use crate::figures::{millis, read_time, span};
use crate::plain::plain;
use crate::runbook::hinted;
use crate::standing::{BadRow, LastGoodRow, Places, RevisedRow, SettingRow, TagSettingsRow};
use crate::wanted::Wanted;

/// How far back values are counted for the rate.
const RATE_OVER: Duration = Duration::from_secs(10);
/// Characters of a value that are shown: one long text would make all rows as long.
const LONGEST_VALUE: usize = 100;
/// Counts of this long are kept apart.
const RATE_STEP: Duration = Duration::from_secs(1);

/// A tag.
pub struct Row {
    pub key: Arc<str>,
    pub source: Arc<str>,
    source_number: SourceId,
    /// Its place among the tags of its source.
    place: usize,
    /// Who knows what its qualities mean; none where the settings do not have its source.
    adapter: Option<&'static dyn Adapter>,
    /// What was last received; of what was before the copies began, the value that counted.
    pub sample: Option<Sample>,
    /// The same before its source was lost, for as long as that may come back as it was.
    before_loss: Option<Sample>,
    /// When it was received, or changed.
    pub at: Option<Timestamp>,
    /// The last good value before what is known now, and when.
    pub was: Option<(serde_json::Value, Option<String>)>,
    /// Since when it has not changed, where it is late.
    pub late_since: Option<String>,
    /// What its device made of its settings; none where nothing is known of them.
    pub settings: Option<TagSettingsRow>,
    /// The rules that read it.
    pub rules: Vec<Arc<str>>,
    /// How many values came in each of the last steps.
    counts: VecDeque<(Instant, u32)>,
}

impl Row {
    /// The value as text, as much of it as fits; `unknown` where it is not known.
    pub fn value(&self) -> String {
        let value = self.sample.as_ref().and_then(|sample| sample.value.as_ref());
        match (value, &self.was) {
            (Some(value), _) => shortened(&json(value)),
            (None, Some((was, _))) => format!("unknown, was {}", shortened(was)),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// The last good value, and when it was received, or came to be.
    pub fn last_good(&self) -> Option<(serde_json::Value, Option<String>)> {
        let good = self.sample.as_ref().filter(|_| self.is_good());
        match good.and_then(|sample| sample.value.as_ref()) {
            Some(value) => Some((json(value), self.at.map(|at| at.to_string()))),
            None => self.was.clone(),
        }
    }

    /// `good`, `uncertain`, `bad`, or `-` where nothing was ever received.
    pub fn quality(&self) -> &'static str {
        self.sample
            .as_ref()
            .map_or("-", |sample| sample.quality.class().as_str())
    }

    /// Why it is not good, in the device's own words where there are any.
    pub fn reason(&self) -> Option<Reason> {
        let quality = self.sample.as_ref()?.quality;
        self.adapter.filter(|_| !quality.is_good())?.reason(quality)
    }

    /// The same for people, with the paragraph about it.
    pub fn words(&self) -> Option<String> {
        let reason = self.reason()?;
        Some(hinted(&reason.told, reason.see.as_deref()))
    }

    /// The same, and what its device does more slowly, or keeps less of, than it was asked to.
    pub fn remarks(&self) -> String {
        let less = self.settings.as_ref().map(less_than_asked).unwrap_or_default();
        let see = self
            .adapter
            .and_then(|adapter| adapter.see(Finding::LessThanAsked));
        let less = (!less.is_empty()).then(|| hinted(&less.join("; "), see));
        self.words()
            .into_iter()
            .chain(less)
            .collect::<Vec<_>>()
            .join("; ")
    }

    pub fn is_good(&self) -> bool {
        self.sample
            .as_ref()
            .is_some_and(|sample| sample.quality.class() == QualityClass::Good)
    }

    /// How long ago it was received or changed, and whether it is late.
    pub fn age(&self, now: Timestamp) -> String {
        let age = self.at.map_or_else(|| "-".to_owned(), |at| span(now.since(at)));
        if self.late_since.is_some() {
            format!("{age}, late")
        } else {
            age
        }
    }

    /// Values a second, lately.
    pub fn rate(&self, begun: Instant) -> f64 {
        let over = begun.elapsed().min(RATE_OVER).max(RATE_STEP);
        let recent = self.counts.iter().filter(|(at, _)| at.elapsed() <= RATE_OVER);
        f64::from(recent.map(|(_, count)| *count).sum::<u32>()) / over.as_secs_f64()
    }

    fn note(&mut self) {
        let now = Instant::now();
        match self.counts.back_mut() {
            Some((at, count)) if now.duration_since(*at) < RATE_STEP => *count += 1,
            _ => self.counts.push_back((now, 1)),
        }
        while self
            .counts
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > RATE_OVER)
        {
            self.counts.pop_front();
        }
    }
}

/// By source.
pub type Adapters = HashMap<Arc<str>, &'static dyn Adapter>;

/// All tags that are wanted.
pub struct Board {
    wanted: Wanted,
    adapters: Adapters,
    rows: Vec<Row>,
    /// Where the tag of a number stands.
    places: Vec<Option<usize>>,
    /// When the copies began.
    pub begun: Instant,
    /// Samples that the gateway had no room to copy.
    pub left_out: u64,
}

impl Board {
    pub fn new(wanted: Wanted, adapters: Adapters) -> Self {
        Self {
            wanted,
            adapters,
            rows: Vec::new(),
            places: Vec::new(),
            begun: Instant::now(),
            left_out: 0,
        }
    }

    pub fn row(&self, place: usize) -> Option<&Row> {
        self.rows.get(place)
    }

    /// In the order of their names.
    pub fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// Takes the last good values of tags that are unknown now.
    pub fn take_last_good(&mut self, mut values: HashMap<String, LastGoodRow>) {
        for row in self.rows.iter_mut().filter(|row| row.was.is_none()) {
            let known = values.remove(&*row.key);
            row.was = known.map(|known| (known.value, known.at));
        }
    }

    /// Takes what devices said of tags before the copies began, which have it without its status.
    pub fn take_bad(&mut self, mut bad: HashMap<String, BadRow>) {
        for row in &mut self.rows {
            let Some(told) = bad.remove(&*row.key) else {
                continue;
            };
            if let Some(sample) = row.sample.as_mut().filter(|sample| sample.quality.is_bad()) {
                sample.quality = Quality(told.status);
                row.at = read_time(&told.since).or(row.at);
            }
        }
    }

    /// Takes which tags are late, each with since when. Returns where those stand of which that is another than before.
    pub fn take_late(&mut self, mut late: HashMap<String, String>) -> Vec<usize> {
        let mut changed = Vec::new();
        for (place, row) in self.rows.iter_mut().enumerate() {
            let since = late.remove(&*row.key);
            if since.is_some() != row.late_since.is_some() {
                changed.push(place);
            }
            row.late_since = since;
        }
        changed
    }

    /// Takes what devices made of the settings of tags.
    pub fn take_settings(&mut self, revised: &HashMap<String, RevisedRow>) {
        for row in &mut self.rows {
            let of_source = revised.get(&*row.source);
            row.settings = of_source.and_then(|revised| revised.get(row.place));
        }
    }

    /// Takes an entry. Returns where the tags stand of which a value came.
    pub fn take(&mut self, entry: Entry) -> Vec<usize> {
        match entry {
            Entry::Names(names) => self.rename(names),
            Entry::Standing(samples) => {
                for sample in samples {
                    if let Some(row) = self.at(sample.tag) {
                        row.at = sample.source_time;
                        row.sample = Some(sample);
                    }
                }
            }
            Entry::Hole(samples) => self.left_out = self.left_out.saturating_add(samples),
            Entry::Call(Call::Apply {
                source,
                received,
                notices,
                samples,
                ..
            }) => {
                for notice in &notices {
                    match notice {
                        Notice::Offline { .. } | Notice::Stale { .. } => self.lose(source),
                        Notice::Online(continuity) => self.find(source, *continuity),
                        Notice::CaughtUp | Notice::History | Notice::Gap { .. } => {}
                    }
                }
                return self.receive(received, samples);
            }
            Entry::Call(Call::Answer {
                received, samples, ..
            }) => return self.receive(received, samples),
            Entry::Begin { .. }
            | Entry::Cell(..)
            | Entry::Call(Call::Advance { .. } | Call::LeaveOutBelow { .. }) => {}
        }
        Vec::new()
    }

    fn at(&mut self, tag: TagId) -> Option<&mut Row> {
        let place = self.places.get(tag.index()).copied().flatten()?;
        self.rows.get_mut(place)
    }

    fn receive(&mut self, received: Timestamp, samples: Vec<Sample>) -> Vec<usize> {
        let mut fresh = Vec::new();
        for sample in samples {
            let place = self.places.get(sample.tag.index()).copied().flatten();
            if let Some(row) = self.at(sample.tag) {
                row.note();
                row.was = row.last_good();
                row.before_loss = None;
                let before = row.sample.as_ref().and_then(|sample| sample.value.as_ref());
                if sample.value.is_some() && before != sample.value.as_ref() {
                    // The gateway is asked later than this is shown.
                    row.late_since = None;
                }
                row.at = Some(received);
                row.sample = Some(sample);
                fresh.extend(place);
            }
        }
        fresh
    }

    /// A source is lost: what was known of its tags does not hold any more.
    fn lose(&mut self, source: SourceId) {
        for row in self.rows.iter_mut().filter(|row| row.source_number == source) {
            row.was = row.last_good();
            if row.before_loss.is_none() {
                row.before_loss.clone_from(&row.sample);
            }
            if let Some(sample) = &mut row.sample {
                sample.value = None;
                sample.quality = Quality::BAD_NO_COMMUNICATION;
            }
        }
    }

    /// A source is back: where it is as it was, its tags are, too.
    fn find(&mut self, source: SourceId, continuity: Continuity) {
        for row in self.rows.iter_mut().filter(|row| row.source_number == source) {
            let before = row.before_loss.take();
            if continuity == Continuity::Resumed && before.is_some() {
                row.sample = before;
            }
        }
    }

    /// Numbers mean other tags from here on; what is known is kept by name.
    fn rename(&mut self, names: Names) {
        let mut before: HashMap<Arc<str>, Row> = self
            .rows
            .drain(..)
            .map(|row| (Arc::clone(&row.key), row))
            .collect();
        self.places = vec![None; names.tags.len()];
        let mut places = Places::default();
        for (number, tag) in (0..).map(TagId).zip(&names.tags) {
            let place = places.next(SourceId(tag.source));
            if !self.wanted.has(&tag.key) {
                continue;
            }
            let source = names
                .sources
                .get(usize::from(tag.source))
                .cloned()
                .unwrap_or_default();
            let known = before.remove(&tag.key);
            self.places[number.index()] = Some(self.rows.len());
            self.rows.push(Row {
                key: Arc::clone(&tag.key),
                adapter: self.adapters.get(&source).copied(),
                source,
                was: known.as_ref().and_then(|row| row.was.clone()),
                late_since: known.as_ref().and_then(|row| row.late_since.clone()),
                settings: None,
                rules: Vec::new(),
                place,
                source_number: SourceId(tag.source),
                sample: known.as_ref().and_then(|row| row.sample.clone()),
                before_loss: known.as_ref().and_then(|row| row.before_loss.clone()),
                at: known.as_ref().and_then(|row| row.at),
                counts: known.map_or_else(VecDeque::new, |row| row.counts),
            });
        }
        for (rule, inputs) in names.rules {
            for tag in inputs {
                if let Some(row) = self.at(TagId(tag)) {
                    row.rules.push(Arc::clone(&rule));
                }
            }
        }
    }
}

/// What a device made of a tag's settings where that is less than it was asked for.
fn less_than_asked(settings: &TagSettingsRow) -> Vec<String> {
    let interval = |what: &str, setting: Option<SettingRow>| {
        let slower = setting.filter(SettingRow::is_slower)?;
        let [revised, asked] = [slower.revised, slower.asked].map(|seconds| millis(seconds * 1e3));
        Some(format!("{what} every {revised}, not {asked}"))
    };
    let queue = settings.queue_size.filter(SettingRow::is_shorter);
    let queue = queue.map(|queue| format!("a queue of {}, not {}", queue.revised, queue.asked));
    let sampled = interval("sampled", settings.sampling_interval);
    let sent = interval("sent", settings.publishing_interval);
    [sampled, sent, queue].into_iter().flatten().collect()
}

/// A value as an event has it: a 32-bit 0.8 is 0.8.
pub fn json(value: &floorgate_sample::Value) -> serde_json::Value {
    let text = serde_json::to_string(value).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// As much of a value as fits, as a terminal may be given it.
fn shortened(value: &serde_json::Value) -> String {
    let whole = match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut characters = whole.chars();
    let mut start: String = characters.by_ref().take(LONGEST_VALUE).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    plain(&start).into_owned()
}
