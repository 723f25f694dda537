//! What a recording of what the core is given begins with, so that another core goes on from there.

//!
//! What a core leaves in its cells is what another *process* can know. A core that plays a recording has to be what the recorded one was in
//! that moment, to the bit; what that takes beside the cells is in cells of their own, which no store has (`now…`). Of most tags it is
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Quality, RequestId, Sample, SourceId, TagId, Timestamp, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::ClockNow;
use crate::machine::{Core, Now};
use crate::plan::{Plan, Priority, RuleId};
use crate::rules::Request;
use crate::source::Ahead;
use crate::state::is_zero;

/// The key of what is known of no tag or source alone.
const CELL: &str = "now";

/// What is known of a source while the process runs.
#[derive(Serialize, Deserialize)]
struct SourceNow {
    begun: bool,
    is_connected: bool,
    catching_up: bool,
    ahead: Vec<i64>,
    watched: Duration,
    session: u32,
    gaps: u32,
    last_good: Option<i64>,
}

/// What is known of a tag, where it is not what its cell and its source say.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)] // as in the state itself
struct TagNow {
    /// Something was received of it in this process.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fresh: bool,
    /// Its latest value stands.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    known: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    put_off: bool,
    /// Its longest silence has not begun.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    silent: bool,
    /// What is in no cell as long as nothing counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bad: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gap: bool,
    #[serde(skip_serializing_if = "is_zero")]
    gaps_seen: u32,
    #[serde(skip_serializing_if = "is_zero")]
    session: u32,
}

/// What is known beside.
#[derive(Default, Serialize, Deserialize)]
struct CoreNow {
    clock: Option<ClockNow>,
    last_request: u64,
    /// Requests that are not answered, by rule, in the order of the events that wait.
    asked: HashMap<Arc<str>, Vec<Option<u64>>>,
    payable: Vec<Arc<str>>,
    least: Option<Priority>,
}

/// The key of what is known of a tag while the process runs.
#[must_use]
pub fn tag_now_cell(key: &str) -> String {
    format!("{CELL}:tag:{key}")
}

fn source_cell(name: &str) -> String {
    format!("{CELL}:source:{name}")
}

impl Core {
    /// What it runs.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The sources that have a connection, and whether all that changed before it has been handed over.
    pub fn connected(&self) -> impl Iterator<Item = (SourceId, bool)> {
        let all = (0..).map(SourceId).zip(&self.sources);
        all.filter(|(_, source)| source.is_connected())
            .map(|(id, source)| (id, !source.catching_up))
    }

    /// What is known of each tag of which anything was ever received: its value with the time of its last change, or none and the reason.
    pub fn standing(&self) -> impl Iterator<Item = Sample> {
        let seen = (0..).map(TagId).zip(&self.tags);
        let seen = seen.filter(|(_, state)| state.fresh || state.counted.is_some() || state.bad);
        seen.map(|(tag, state)| {
            let value = self.view().value(tag).cloned();
            let quality = match &value {
                Some(_) => state.counted_quality,
                None if state.bad && state.bad_quality.is_bad() => state.bad_quality,
                None if state.bad => Quality::BAD,
                None => Quality::BAD_NO_COMMUNICATION,
            };
            Sample {
                tag,
                value,
                quality,
                source_time: state.changed_at,
                server_time: None,
                gap: state.gap,
            }
        })
    }

    /// The last good value that counted, of each tag that is unknown now, and when the device says that it came to be.
    pub fn last_good_values(&self) -> impl Iterator<Item = (TagId, &Value, Option<Timestamp>)> {
        let tags = (0..).map(TagId).zip(&self.tags);
        tags.filter_map(|(tag, state)| {
            let value = state
                .counted
                .as_ref()
                .filter(|_| state.counted_quality.is_good())?;
            let is_unknown = self.view().value(tag).is_none();
            is_unknown.then_some((tag, value, state.changed_at))
        })
    }

    /// The rule that waits for the answer to a request.
    #[must_use]
    pub fn asking(&self, request: RequestId) -> Option<&Arc<str>> {
        let rule = self.waiting_rules.get(&request)?;
        self.plan.rules.get(rule.0 as usize).map(|rule| &rule.id)
    }

    /// The priority below which events are left out.
    #[must_use]
    pub fn leaves_out_below(&self) -> Option<Priority> {
        self.shedding.least
    }

    /// All cells and what is known beside them, for a core that goes on as if it were this one: see [`Core::go_on_as`].
    #[must_use]
    pub fn export_now(&mut self) -> Vec<(Arc<str>, String)> {
        let mut cells = self.export();
        let mut put = |key: String, text: serde_json::Result<String>| {
            cells.extend(text.ok().map(|text| (key.into(), text)));
        };
        for source in &self.sources {
            let now = SourceNow {
                begun: source.begun,
                is_connected: source.is_connected(),
                catching_up: source.catching_up,
                ahead: source.ahead.all().collect(),
                watched: source.watched,
                session: source.session,
                gaps: source.gaps,
                last_good: source.last_good.map(Timestamp::as_nanos),
            };
            put(source_cell(&source.name), serde_json::to_string(&now));
        }
        for (id, tag) in (0..).map(TagId).zip(&self.plan.tags) {
            let (now, usual) = (self.tag_now(id), self.usual(id));
            if now != usual {
                put(tag_now_cell(&tag.key), serde_json::to_string(&now));
            }
        }
        let rules = self.plan.rules.iter().zip(&self.rules);
        let asked = rules.filter_map(|(rule, state)| Some((Arc::clone(&rule.id), state.asked_now()?)));
        let payable = self.shedding.payable.iter();
        let now = CoreNow {
            clock: Some(self.clock.now()),
            last_request: self.last_request,
            asked: asked.collect(),
            payable: payable
                .filter_map(|rule| Some(Arc::clone(&self.plan.rules.get(rule.0 as usize)?.id)))
                .collect(),
            least: self.shedding.least,
        };
        put(CELL.to_owned(), serde_json::to_string(&now));
        cells
    }

    fn tag_now(&self, tag: TagId) -> TagNow {
        let state = &self.tags[tag.index()];
        let mut now = TagNow {
            fresh: state.fresh,
            known: state.latest.is_some(),
            put_off: state.put_off,
            silent: self.has_no_silence(tag),
            ..TagNow::default()
        };
        if !state.has_cell() {
            now.bad = state.bad;
            now.gap = state.gap;
            now.gaps_seen = state.gaps_seen;
            now.session = state.session;
        }
        now
    }

    /// What a tag is mostly, by its cell and its source.
    fn usual(&self, tag: TagId) -> TagNow {
        let state = &self.tags[tag.index()];
        let begun = self.sources[self.plan.tags[tag.index()].source.index()].begun;
        TagNow {
            fresh: begun && state.counted.is_some(),
            known: begun && state.counted.is_some() && !state.bad,
            ..TagNow::default()
        }
    }

    /// Whether nothing waits for the end of a tag's longest silence, though it has one and is known.
    fn has_no_silence(&self, tag: TagId) -> bool {
        let state = &self.tags[tag.index()];
        let waiting = state.waiting.as_deref();
        let none = waiting.is_none_or(|waiting| waiting.silence.is_none() && !waiting.overdue);
        self.plan.tags[tag.index()].spec.at_least_every.is_some() && state.latest.is_some() && none
    }

    /// Goes on as the core did whose [`Core::export_now`] this one was made from, before it has taken anything: `now` is that moment. Of
    /// another mapping what is of the same name goes on.
    pub fn go_on_as(&mut self, now: Now, stored: &dyn Fn(&str) -> Option<String>) {
        let was: CoreNow = read(stored, CELL).unwrap_or_default();
        self.real = match was.clock {
            Some(clock) => self.clock.go_on_as(clock),
            None => self.clock.at(now),
        };
        (self.at, self.until) = (self.real, self.real);
        for source in &mut self.sources {
            let Some(was) = read::<SourceNow>(stored, &source_cell(&source.name)) else {
                continue;
            };
            source.begun = was.begun;
            source.catching_up = was.catching_up;
            source.ahead = Ahead::of(was.ahead);
            source.watched = was.watched;
            source.session = was.session;
            source.gaps = was.gaps;
            source.last_good = was.last_good.map(Timestamp::from_nanos);
            source.online = was.is_connected;
        }
        for (id, tag) in (0..).map(TagId).zip(&Arc::clone(&self.plan).tags) {
            let was = read(stored, &tag_now_cell(&tag.key)).unwrap_or_else(|| self.usual(id));
            self.tag_goes_on(id, &was);
        }
        for source in self.sources.iter_mut().filter(|source| source.stopped > 0) {
            source.online = false;
        }
        self.last_request = was.last_request;
        self.shedding.least = was.least;
        let plan = Arc::clone(&self.plan);
        let rules = (0..).map(RuleId).zip(&plan.rules);
        if !was.payable.is_empty() {
            let numbers: HashMap<&str, RuleId> = rules.clone().map(|(id, rule)| (&*rule.id, id)).collect();
            let payable = was
                .payable
                .iter()
                .filter_map(|rule| numbers.get(&**rule).copied());
            self.shedding.payable.extend(payable);
        }
        for (id, rule) in rules {
            let requests = was.asked.get(&rule.id).map_or(&[][..], Vec::as_slice);
            for request in self.rules[id.0 as usize].ask_as(requests) {
                self.waiting_rules.insert(request, id);
            }
        }
    }

    fn tag_goes_on(&mut self, id: TagId, was: &TagNow) {
        let spec = &Arc::clone(&self.plan).tags[id.index()].spec;
        let state = &mut self.tags[id.index()];
        state.fresh = was.fresh;
        if !state.has_cell() {
            state.bad = was.bad;
            state.gap = was.gap;
            state.gaps_seen = was.gaps_seen;
            state.session = was.session;
        }
        if was.known {
            state.know();
        }
        state.put_off = was.put_off;
        let source = &mut self.sources[self.plan.tags[id.index()].source.index()];
        if was.put_off {
            source.put_off.push(id);
        }
        let state = &mut self.tags[id.index()];
        if let Some(interval) = spec.heartbeat {
            let waiting = state.waiting();
            source.stopped += u32::from(waiting.stopped);
            // A heartbeat that the mapping did not have before is counted from here.
            if source.online && !waiting.stopped && waiting.heartbeat.is_none() {
                waiting.heartbeat = Some(self.at + interval);
            }
        }
        // So is a longest silence.
        if let Some(interval) = spec.at_least_every
            && self.has_no_silence(id)
            && !was.silent
        {
            self.tags[id.index()].waiting().silence = Some(self.at + interval);
        }
        self.queue_tag(id);
    }

    /// The requests that nobody has answered.
    pub fn open_requests(&self) -> Vec<Request> {
        let rules = (0..).map(RuleId).zip(&self.rules);
        let mut open: Vec<Request> = rules
            .flat_map(|(id, state)| {
                let requests = state.asked_now().into_iter().flatten().flatten();
                requests.filter_map(move |request| self.request_of(id, RequestId(request)))
            })
            .collect();
        open.sort_by_key(|request| request.id.0);
        open
    }
}

fn read<T: DeserializeOwned>(stored: &dyn Fn(&str) -> Option<String>, key: &str) -> Option<T> {
    serde_json::from_str(&stored(key)?).ok()
}
