//! Values that are read for an event, in one request, when its rule is triggered.
//!
//! What is read stands beside what change detection knows and changes none of it: a value that is read may be newer than changes
//! which are still on their way. The rule waits with its event until the answer is there, over a restart too. While the source is not
//! connected the request waits; one that has to be sent again, or is answered late, may read what belongs to the next event, and says
//! `gap`. The event's `snapshot` says how it went: `complete`; `incomplete` where some values could not be read, are bad or uncertain;
//! `changed` where the tag that must not change did, and the values may be of another; `failed` where nothing could be read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Answer, Quality, RequestId, Sample, SourceId, TagId, Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::deferred::StoredChange;
use crate::detect::{Change, bits_of};
use crate::envelope::Event;
use crate::gate::is_true;
use crate::handover::Kinships;
use crate::machine::{Core, Input};
use crate::plan::{Rule, RuleId, Slot};
use crate::state::StoredValue;

use super::seen::{Moved, Seen};
use super::{Fields, Note, Progress, RuleState, RunOf};

/// How long an event waits for what is read for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is asked for longer after it happened may read what belongs to the next event.
const LATE: Duration = Duration::from_secs(1);
/// Events of one rule that wait at a time; the oldest goes without its values then.
const MOST_WAITING: usize = 16;

/// A request to a source: read these tags at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What its answer is known by.
    pub id: RequestId,
    /// The source.
    pub source: SourceId,
    /// What is read.
    pub tags: Vec<TagId>,
}

/// An event that waits for values.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    change: StoredChange,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    rising: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    fields: Fields,
    /// What the rule saw when it was triggered.
    #[serde(default)]
    seen: Seen,
    #[serde(skip_serializing_if = "crate::state::is_zero", default)]
    part: u32,
    /// Inputs that did not come in time.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    missing: Vec<u16>,
    /// What the tag that must not change was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    unchanged: Option<StoredValue>,
    pub(crate) due: Duration,
    /// The request, while this process waits for its answer.
    #[serde(skip)]
    request: Option<RequestId>,
    /// It was asked for before, by this process or an earlier one, or is asked for late.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    again: bool,
}

impl Asked {
    /// The rule has other inputs now. Whether a tag did not change is not known of another one.
    pub(super) fn moved(&mut self, moved: Moved<'_>) {
        self.change.moved(moved);
        self.seen.moved(moved);
        self.missing = self.missing.iter().filter_map(|slot| moved.slot(*slot)).collect();
        self.unchanged = None;
    }
}

/// Takes out what has waited for too long.
pub(super) fn overdue(asked: &mut Vec<Asked>, at: Duration) -> Vec<Asked> {
    asked.extract_if(.., |asked| asked.due <= at).collect()
}

/// Takes out what is more than may wait, the oldest first.
pub(super) fn surplus(asked: &mut Vec<Asked>) -> Vec<Asked> {
    let more = asked.len().saturating_sub(MOST_WAITING);
    asked.drain(..more).collect()
}

impl RuleState {
    /// The requests of the events that wait for values, in their order; none where none waits.
    pub(crate) fn asked_now(&self) -> Option<Vec<Option<u64>>> {
        let asked = &self.progress.as_deref()?.asked;
        let requests = asked.iter().map(|asked| asked.request.map(|request| request.0));
        (!asked.is_empty()).then(|| requests.collect())
    }

    /// Waits for the answers to these. Returns them.
    pub(crate) fn ask_as(&mut self, requests: &[Option<u64>]) -> Vec<RequestId> {
        let asked = self.progress.as_deref_mut().map(|progress| &mut progress.asked);
        let asked = asked.into_iter().flatten().zip(requests);
        let waits = asked.filter_map(|(asked, request)| {
            asked.request = request.map(RequestId);
            asked.request
        });
        waits.collect()
    }
}

impl Rule {
    /// The tags that are read together for its events; none where it has no snapshot.
    fn read_at_once(&self) -> impl Iterator<Item = TagId> {
        let slots = self.spec.snapshot.iter().flat_map(|snapshot| &snapshot.tags);
        slots.filter_map(|slot| self.inputs.get(usize::from(slot.0)).copied())
    }
}

impl Core {
    /// Hands out what sources are asked for. Each request is to be sent after its rule's state is stored, and answered with
    /// [`Core::answer`].
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Whether there is something to ask sources for.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Has a rule's event wait for the values of its snapshot.
    pub(super) fn ask(&mut self, id: RuleId, rule: &Rule, change: &Change, note: Note, seen: Seen) {
        let Some(snapshot) = &rule.spec.snapshot else {
            return;
        };
        let unchanged = snapshot
            .unchanged
            .and_then(|slot| self.view().value(*rule.inputs.get(usize::from(slot.0))?))
            .map(StoredValue::from);
        let source = self.plan.tags[change.tag.index()].source;
        let waited = self.emitter.recorded().since(self.moment_at(self.at).wall);
        let is_late = waited > LATE || self.sources[source.index()].catching_up;
        let asked = Asked {
            change: StoredChange::new(&rule.inputs, change),
            rising: note.rising,
            fields: note.fields,
            seen,
            part: note.part,
            missing: note.missing.iter().map(|slot| slot.0).collect(),
            unchanged,
            due: self.at + PATIENCE,
            request: None,
            again: is_late,
        };
        let state = &mut self.rules[id.0 as usize];
        state.dirty = true;
        if let Some(progress) = state.progress.as_deref_mut() {
            progress.asked.push(asked);
        }
        self.send_requests(id);
    }

    /// A request of a rule.
    pub(crate) fn request_of(&self, rule: RuleId, id: RequestId) -> Option<Request> {
        let tags: Vec<TagId> = self.plan.rules.get(rule.0 as usize)?.read_at_once().collect();
        let source = self.plan.tags.get(tags.first()?.index())?.source;
        Some(Request { id, source, tags })
    }

    /// Sends what a rule waits for and nobody was asked for yet, where the source is connected.
    fn send_requests(&mut self, id: RuleId) {
        let Some(Request { source, tags, .. }) = self.request_of(id, RequestId(0)) else {
            return;
        };
        if !self.sources[source.index()].is_connected() {
            return;
        }
        let Some(progress) = self.rules[id.0 as usize].progress.as_deref_mut() else {
            return;
        };
        for asked in progress.asked.iter_mut().filter(|asked| asked.request.is_none()) {
            self.last_request += 1;
            let request = RequestId(self.last_request);
            asked.request = Some(request);
            self.waiting_rules.insert(request, id);
            self.requests.push(Request {
                id: request,
                source,
                tags: tags.clone(),
            });
        }
    }

    /// A source is connected: what waits for it is asked for, again where it was before.
    pub(crate) fn ask_again(&mut self, source: SourceId) {
        let index = Arc::clone(&self.index);
        for id in &index.source(source).reading {
            let state = &mut self.rules[id.0 as usize];
            let was_dirty = state.dirty;
            if let Some(progress) = state.progress.as_deref_mut() {
                for asked in &mut progress.asked {
                    if let Some(request) = asked.request.take() {
                        self.waiting_rules.remove(&request);
                    }
                    state.dirty |= !std::mem::replace(&mut asked.again, true);
                }
            }
            self.touched(*id, was_dirty);
            self.send_requests(*id);
        }
    }

    /// Goes on waiting for what `before`, the core of another plan, asked sources for that were kept. What cannot be answered under
    /// the same numbers any more is asked for again.
    pub(crate) fn go_on_asking(&mut self, before: &mut Core, kept: &Kinships) {
        // No number of the other core may stand for something else here.
        self.last_request = before.last_request;
        for request in before.take_requests() {
            let tags: Option<Vec<TagId>> = request.tags.iter().map(|tag| kept.tag(*tag)).collect();
            if let (Some(source), Some(tags)) = (kept.source(request.source), tags) {
                self.requests.push(Request {
                    source,
                    tags,
                    ..request
                });
            }
        }
        let mut earlier: HashMap<&str, (Vec<TagId>, &Progress)> = HashMap::new();
        for (rule, state) in before.plan.rules.iter().zip(&before.rules) {
            let tags: Option<Vec<TagId>> = rule.read_at_once().map(|tag| kept.tag(tag)).collect();
            if let (Some(progress), Some(tags)) = (state.progress.as_deref(), tags)
                && !progress.asked.is_empty()
            {
                earlier.insert(&rule.id, (tags, progress));
            }
        }
        for index in 0..u32::try_from(self.rules.len()).unwrap_or(u32::MAX) {
            let rule = &self.plan.rules[index as usize];
            let Some(progress) = self.rules[index as usize].progress.as_deref_mut() else {
                continue;
            };
            let Some((tags, before)) = earlier.get(&*rule.id).filter(|_| !progress.asked.is_empty()) else {
                continue;
            };
            let is_same = rule.read_at_once().eq(tags.iter().copied());
            for (asked, before) in progress.asked.iter_mut().zip(&before.asked) {
                asked.request = before.request.filter(|_| is_same);
                if let Some(request) = asked.request {
                    self.waiting_rules.insert(request, RuleId(index));
                }
                asked.again |= before.request.is_some() && !is_same;
            }
            self.send_requests(RuleId(index));
        }
    }

    /// Takes the answer to a request, with the samples that were read, none where it failed.
    pub fn answer(&mut self, answer: &Answer, input: Input<'_>, events: &mut Vec<Event>) {
        self.real = self.clock.at_receipt(input.now, input.received);
        self.run_timers(self.real, input.now.wall, events);
        self.emitter.begin(input.received, input.now.wall);
        self.moment = self.moment.wrapping_add(1);
        let waits = |asked: &Asked| asked.request == Some(answer.request);
        let found = self.waiting_rules.remove(&answer.request).and_then(|id| {
            let progress = self.rules[id.0 as usize].progress.as_deref_mut()?;
            let place = progress.asked.iter().position(waits)?;
            Some((id, progress.asked.remove(place)))
        });
        // An answer that nobody waits for any more came too late.
        let Some((id, asked)) = found else { return };
        let was_dirty = self.rules[id.0 as usize].is_dirty();
        self.rules[id.0 as usize].dirty = true;
        self.tell_read(id, asked, &answer.result, input.samples, events);
        self.touched(id, was_dirty);
    }

    /// Makes an event with what was read for it.
    pub(super) fn tell_read(
        &mut self,
        id: RuleId,
        asked: Asked,
        result: &Result<(), String>,
        samples: &[Sample],
        events: &mut Vec<Event>,
    ) {
        if let Some(request) = asked.request {
            self.waiting_rules.remove(&request);
        }
        let plan = std::sync::Arc::clone(&self.plan);
        let rule = &plan.rules[id.0 as usize];
        let (Some(snapshot), Some(mut change)) = (&rule.spec.snapshot, asked.change.change(&rule.inputs))
        else {
            self.failures.add(&rule.id, || {
                "an event that waited for values is not made: the mapping reads others now".to_owned()
            });
            return;
        };
        let mut worst = Quality::GOOD;
        let mut value_of = |slot: &Slot| {
            let (value, quality) = self.read_value(rule, *slot, samples);
            worst = worst.max_severity(quality);
            value
        };
        let mut read: Vec<(Slot, Option<Value>)> = snapshot
            .tags
            .iter()
            .map(|slot| (*slot, value_of(slot).filter(|_| result.is_ok())))
            .collect();
        let is_same = snapshot.unchanged.is_none_or(|slot| {
            let before: Option<Value> = asked.unchanged.map(Value::from);
            let now = read.iter().find(|(read, _)| *read == slot);
            let now = now.and_then(|(_, value)| value.as_ref());
            before.zip(now).is_some_and(|(before, now)| before.same(now))
        });
        let how = match result {
            Err(reason) => {
                self.failures
                    .add(&rule.id, || format!("its snapshot was not read: {reason}"));
                "failed"
            }
            Ok(()) if !is_same => "changed",
            Ok(()) if !worst.is_good() => "incomplete",
            Ok(()) => "complete",
        };
        if how != "complete" && !change.quality.is_bad() {
            change.quality = Quality::UNCERTAIN;
        }
        change.gap |= asked.again;
        let mut fields = asked.fields;
        fields.push(("snapshot".into(), Json::from(how)));
        read.extend(asked.seen.read());
        let note = Note {
            rising: asked.rising,
            fields,
            read,
            part: asked.part,
            missing: asked.missing.into_iter().map(Slot).collect(),
            run: RunOf::Then(asked.seen.run),
            tell_only: false,
        };
        self.tell(id, &change, &note, events);
    }

    /// What was read of an input, as its tag means it: the bits that are its own, and nothing while another tag says that it does not hold.
    fn read_value(&self, rule: &Rule, slot: Slot, samples: &[Sample]) -> (Option<Value>, Quality) {
        let tag = rule.inputs.get(usize::from(slot.0));
        let Some((tag, sample)) =
            tag.and_then(|tag| Some((tag, samples.iter().find(|sample| sample.tag == *tag)?)))
        else {
            return (None, Quality::BAD);
        };
        let row = &self.plan.tags[tag.index()];
        let holds = row
            .valid
            .is_none_or(|gate| self.view().value(gate).is_some_and(is_true));
        let usable = sample
            .value
            .as_ref()
            .filter(|_| !sample.quality.is_bad() && holds);
        let value = match (row.spec.field, usable) {
            (Some(field), Some(value)) => bits_of(field, value),
            (None, value) => value.cloned(),
            (_, None) => None,
        };
        let quality = if value.is_some() {
            sample.quality
        } else {
            Quality::BAD
        };
        (value, quality)
    }
}
