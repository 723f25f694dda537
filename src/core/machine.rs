//! The machine: a plan, its state, and what a batch makes of them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Notice, Quality, Sample, SourceId, TagId, Timestamp};
use foldhash::fast::FixedState;

use crate::detect::{Cause, Change, detect};
use crate::envelope::{Event, Settings};
use crate::plan::Plan;
use crate::rules::{Emitter, Failures, Outcome, RuleState, View, evaluate, leave_out};
use crate::shedding::Shedding;
use crate::source::SourceState;
use crate::state::TagState;
use crate::stream::Streams;

/// A moment on the gateway's clocks, given from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, for what people and events read. It may jump.
    pub wall: Timestamp,
    /// Time since the process started; it never jumps, and timers run on it.
    pub monotonic: Duration,
}

/// One batch of a source.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The source.
    pub source: SourceId,
    /// When the adapter received the batch.
    pub received: Timestamp,
    /// What the source says of itself; applied before the samples.
    pub notices: &'a [Notice],
    /// Values in the order of the device.
    pub samples: &'a [Sample],
    /// The moment of evaluation.
    pub now: Now,
}

/// The pure core.
pub struct Core {
    pub(crate) plan: Arc<Plan>,
    pub(crate) tags: Vec<TagState>,
    pub(crate) sources: Vec<SourceState>,
    pub(crate) rules: Vec<RuleState>,
    offsets: Vec<u32>,
    by_tag: Vec<u32>,
    pub(crate) emitter: Emitter,
    moment: u32,
    dirty_tags: Vec<TagId>,
    dirty_rules: Vec<u32>,
    failures: Failures,
    silence: Silence,
    order: Vec<u32>,
    pub(crate) pending: Vec<Change>,
    pub(crate) shedding: Shedding,
}

/// The longest silences that tags may keep.
#[derive(Default)]
struct Silence {
    due: BinaryHeap<Reverse<(Duration, TagId)>>,
    last_told: HashMap<TagId, Duration>,
}

impl Core {
    /// A core that goes on from stored cells; `stored` gives a cell's text by its key.
    #[must_use]
    pub fn new(plan: Arc<Plan>, settings: Settings, stored: &dyn Fn(&str) -> Option<String>) -> Self {
        let (offsets, by_tag) = plan.rules_by_tag();
        let mut streams = Streams::default();
        let gateway = Arc::clone(&settings.gateway);
        let epoch = settings.stream_epoch;
        let sources = plan
            .sources
            .iter()
            .map(|source| {
                let path: Arc<str> = format!("source/{}", source.name).into();
                let stream = streams.of(&gateway, &path, epoch, stored);
                SourceState::new(&source.name, stream, stored)
            })
            .collect();
        let equipment = plan
            .equipment
            .iter()
            .map(|equipment| streams.of(&gateway, &equipment.path, epoch, stored))
            .collect();
        let mut tags: Vec<TagState> = plan
            .tags
            .iter()
            .map(|tag| {
                stored(&tag_cell(&tag.key))
                    .and_then(|cell| TagState::restore(&cell))
                    .unwrap_or_default()
            })
            .collect();
        let rules: Vec<RuleState> = plan
            .rules
            .iter()
            .map(|rule| RuleState::restore(&rule.spec.kind, stored(&rule_cell(&rule.id)).as_deref()))
            .collect();
        for (rule, state) in plan.rules.iter().zip(&rules) {
            if let Some(tag) = rule.inputs.first() {
                tags[tag.index()].owing |= state.owed.is_some();
            }
        }
        let mut silence = Silence::default();
        for (index, tag) in (0_u32..).zip(&plan.tags) {
            if let Some(interval) = tag.spec.at_least_every {
                silence.due.push(Reverse((interval, TagId(index))));
            }
        }
        Self {
            tags,
            sources,
            rules,
            offsets,
            by_tag,
            emitter: Emitter::new(settings, streams, equipment),
            moment: 0,
            dirty_tags: Vec::new(),
            dirty_rules: Vec::new(),
            failures: Failures::default(),
            silence,
            order: Vec::new(),
            pending: Vec::new(),
            shedding: Shedding::default(),
            plan,
        }
    }

    /// The name of a source of the plan.
    #[must_use]
    pub fn source_name(&self, source: SourceId) -> Option<&str> {
        self.plan.sources.get(usize::from(source.0)).map(|row| &*row.name)
    }

    /// Whether the plan has a source of that name.
    #[must_use]
    pub fn has_source(&self, name: &str) -> bool {
        self.plan.sources.iter().any(|row| &*row.name == name)
    }

    /// Begins new epochs of all streams, of at least this number: their stored counters may be behind what was issued.
    pub fn renew_streams(&mut self, epoch: u32) {
        self.emitter.renew_streams(epoch);
    }

    /// Takes a batch; what it makes is appended to `events`.
    ///
    /// Within the batch, samples of equal source time are one moment: all of them are applied before any rule
    /// looks. Samples without source time were read together and are one moment too. A second sample of the
    /// same tag closes the moment, so that no change is swallowed; samples of one tag are never reordered.
    pub fn apply(&mut self, input: Input<'_>, events: &mut Vec<Event>) {
        if usize::from(input.source.0) >= self.sources.len() {
            return;
        }
        self.emitter.begin(input.received, input.now.wall);
        for notice in input.notices {
            self.notice(input.source, notice, input.now, events);
        }
        let order = self.order_of(input.samples);
        self.moment = self.moment.wrapping_add(1);
        let mut moment_time = None;
        for position in 0..input.samples.len() {
            let sample = &input.samples[order.get(position).map_or(position, |&index| index as usize)];
            let Some(state) = self.tags.get(sample.tag.index()) else {
                continue;
            };
            if state.moment == self.moment || moment_time.is_some_and(|time| time != sample.source_time) {
                self.close_moment(input.now, events);
            }
            moment_time = Some(sample.source_time);
            self.sample(input.source, sample, input.received);
        }
        self.close_moment(input.now, events);
        self.order = order;
    }

    /// Runs the timers that are due; what they make is appended to `events`.
    pub fn advance(&mut self, now: Now, events: &mut Vec<Event>) {
        self.emitter.begin(now.wall, now.wall);
        while let Some(&Reverse((deadline, tag))) = self.silence.due.peek() {
            if deadline > now.monotonic {
                break;
            }
            self.silence.due.pop();
            let Some(interval) = self.plan.tags[tag.index()].spec.at_least_every else {
                continue;
            };
            let told = self.silence.last_told.get(&tag).copied().unwrap_or_default();
            if told + interval > now.monotonic {
                self.silence.due.push(Reverse((told + interval, tag)));
                continue;
            }
            self.silence.due.push(Reverse((now.monotonic + interval, tag)));
            let view = View {
                plan: &self.plan,
                tags: &self.tags,
                sources: &self.sources,
            };
            let source = &self.sources[self.plan.tags[tag.index()].source.index()];
            if source.catching_up {
                continue;
            }
            let Some(value) = view.value(tag).cloned() else {
                continue;
            };
            let state = &mut self.tags[tag.index()];
            state.see_gaps(source.gaps);
            self.pending.push(Change {
                cause: Cause::Silence,
                previous: Some(value.clone()),
                value: Some(value),
                gap: state.gap,
                ..change_without_sample(tag, state.counted_quality)
            });
        }
        self.close_moment(now, events);
        self.pay(events);
    }

    /// When [`Core::advance`] has something to do next, on the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.owes() {
            return Some(Duration::ZERO);
        }
        self.silence.due.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Hands out the cells that changed since the last call.
    pub fn save(&mut self, cells: &mut Vec<(Arc<str>, String)>) {
        for tag in self.dirty_tags.drain(..) {
            let state = &mut self.tags[tag.index()];
            state.dirty = false;
            if let Some(text) = state.save() {
                let key = state
                    .cell
                    .get_or_insert_with(|| tag_cell(&self.plan.tags[tag.index()].key).into());
                cells.push((Arc::clone(key), text));
            }
        }
        for number in self.dirty_rules.drain(..) {
            let index = number as usize;
            if let Some(text) = self.rules[index].save() {
                cells.push((rule_cell(&self.plan.rules[index].id).into(), text));
            }
        }
        for source in self.sources.iter_mut().filter(|source| source.dirty) {
            source.dirty = false;
            cells.extend(source.save());
        }
        self.emitter.save(cells);
    }

    /// All cells, for a core of another plan that goes on from here.
    #[must_use]
    pub fn export(&mut self) -> Vec<(Arc<str>, String)> {
        let mut cells = Vec::new();
        for (tag, state) in self.plan.tags.iter().zip(&self.tags) {
            cells.extend(state.save().map(|text| (tag_cell(&tag.key).into(), text)));
        }
        let rules = self.plan.rules.iter().zip(&mut self.rules);
        for (rule, state) in rules.filter(|(_, state)| state.remembers()) {
            cells.extend(state.save().map(|text| (rule_cell(&rule.id).into(), text)));
        }
        cells.extend(self.sources.iter().filter_map(SourceState::save));
        self.emitter.export(&mut cells);
        cells
    }

    /// Hands out what rules could not do since the last call.
    pub fn take_failures(&mut self) -> Failures {
        std::mem::take(&mut self.failures)
    }

    fn sample(&mut self, id: SourceId, sample: &Sample, received: Timestamp) {
        let tag = &self.plan.tags[sample.tag.index()];
        if tag.source != id {
            return;
        }
        let source = &mut self.sources[id.index()];
        if sample.quality.is_good() {
            source.see_good(received);
        }
        let state = &mut self.tags[sample.tag.index()];
        state.moment = self.moment;
        state.session = source.session;
        let was_dirty = state.dirty;
        if let Some(change) = detect(&tag.spec, state, sample, source.gaps) {
            self.pending.push(change);
        }
        if sample.value.is_some() && std::mem::take(&mut state.owing) {
            // What was left out is known again.
            let index = sample.tag.index();
            let rules = &self.by_tag[self.offsets[index] as usize..self.offsets[index + 1] as usize];
            self.shedding.payable.extend(rules);
        }
        if state.dirty && !was_dirty {
            self.dirty_tags.push(sample.tag);
        }
    }

    /// Has a tag's state stored with the next commit.
    pub(crate) fn touch(&mut self, tag: TagId) {
        if !std::mem::replace(&mut self.tags[tag.index()].dirty, true) {
            self.dirty_tags.push(tag);
        }
    }

    /// Lets the rules see what the moment changed, and begins the next one.
    pub(crate) fn close_moment(&mut self, now: Now, events: &mut Vec<Event>) {
        self.moment = self.moment.wrapping_add(1);
        let pending = std::mem::take(&mut self.pending);
        for change in &pending {
            let index = change.tag.index();
            let before = events.len();
            for place in self.offsets[index]..self.offsets[index + 1] {
                self.show(self.by_tag[place as usize], change, events);
            }
            if events.len() > before {
                if std::mem::take(&mut self.tags[index].gap) {
                    self.touch(change.tag);
                }
                if self.plan.tags[index].spec.at_least_every.is_some() {
                    self.silence.last_told.insert(change.tag, now.monotonic);
                }
            }
        }
        self.pending = pending;
        self.pending.clear();
    }

    /// Lets a rule see a change, or leave it out.
    pub(crate) fn show(&mut self, number: u32, change: &Change, events: &mut Vec<Event>) {
        let rule = &self.plan.rules[number as usize];
        let state = &mut self.rules[number as usize];
        let view = View {
            plan: &self.plan,
            tags: &self.tags,
            sources: &self.sources,
        };
        let outcome = Outcome {
            events,
            failures: &mut self.failures,
        };
        let was_dirty = state.is_dirty();
        if self.shedding.leaves_out(rule.spec.priority) {
            if leave_out(rule, state, change, view, &mut self.emitter, outcome) {
                self.shedding.note(rule.spec.priority);
            }
        } else {
            evaluate(rule, state, change, view, &mut self.emitter, outcome);
        }
        if state.is_dirty() && !was_dirty {
            self.dirty_rules.push(number);
        }
    }

    /// The order in which samples are applied; empty for the order in which they came.
    fn order_of(&mut self, samples: &[Sample]) -> Vec<u32> {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        if samples.is_sorted_by_key(|sample| sample.source_time) {
            return order;
        }
        let mut last: HashMap<TagId, Option<Timestamp>, FixedState> =
            HashMap::with_capacity_and_hasher(samples.len(), FixedState::default());
        for sample in samples {
            if last
                .insert(sample.tag, sample.source_time)
                .is_some_and(|before| before > sample.source_time)
            {
                // The device's clock went backwards: its own order is the better witness.
                return order;
            }
        }
        order.extend(0..u32::try_from(samples.len()).unwrap_or(u32::MAX));
        order.sort_by_key(|&index| samples[index as usize].source_time);
        order
    }
}

pub(crate) fn change_without_sample(tag: TagId, quality: Quality) -> Change {
    Change {
        tag,
        cause: Cause::Silence,
        previous: None,
        value: None,
        quality,
        gap: false,
        ordinal: 0,
        source_time: None,
        server_time: None,
    }
}

fn tag_cell(key: &str) -> String {
    format!("tag:{key}")
}

fn rule_cell(id: &str) -> String {
    format!("rule:{id}")
}
