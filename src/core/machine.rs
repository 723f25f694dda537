//! The machine: a plan, its state, and what a batch makes of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Notice, Quality, RequestId, Sample, SourceId, TagId, Timestamp};
use foldhash::fast::FixedState;

use crate::clock::{Clock, Timers};
use crate::detect::{Arrival, Audience, Cause, Change, detect};
use crate::envelope::{Event, Settings};
use crate::gate::Gates;
use crate::index::Index;
use crate::late::Late;
use crate::plan::{Plan, Rule, RuleId};
use crate::rules::{Emitter, Failures, Request, RuleState, View};
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
    /// The rules that tags trigger: each tag's state says where its own are.
    by_tag: Vec<RuleId>,
    pub(crate) emitter: Emitter,
    pub(crate) moment: u32,
    dirty_tags: Vec<TagId>,
    dirty_rules: Vec<u32>,
    pub(crate) failures: Failures,
    pub(crate) clock: Clock,
    pub(crate) timers: Timers,
    /// The time of the core's clock at which it is evaluating.
    pub(crate) at: Duration,
    /// Up to which time of it timers are run, and what it really is: what comes late is taken as of when it happened.
    pub(crate) until: Duration,
    pub(crate) real: Duration,
    pub(crate) late: Late,
    order: Vec<u32>,
    pub(crate) pending: Vec<Change>,
    pub(crate) shedding: Shedding,
    pub(crate) gates: Gates,
    pub(crate) index: Arc<Index>,
    /// What sources are to be asked for.
    pub(crate) requests: Vec<Request>,
    pub(crate) last_request: u64,
    /// The rules that wait for answers.
    pub(crate) waiting_rules: HashMap<RequestId, RuleId>,
    /// Whether any rule opens runs that others belong to.
    has_runs: bool,
}

impl Core {
    /// A core that goes on from stored cells; `stored` gives a cell's text by its key.
    #[must_use]
    pub fn new(plan: Arc<Plan>, settings: Settings, stored: &dyn Fn(&str) -> Option<String>) -> Self {
        let (by_tag, places) = plan.rules_by_tag();
        let mut streams = Streams::default();
        let gateway = Arc::clone(&settings.gateway);
        let epoch = settings.stream_epoch;
        let clock = Clock::restore(stored);
        let sources = plan
            .sources
            .iter()
            .map(|source| {
                let path: Arc<str> = format!("source/{}", source.name).into();
                let stream = streams.of(&gateway, &path, epoch, stored);
                SourceState::new(&source.name, stream, clock.stored(), stored)
            })
            .collect();
        let equipment = plan
            .equipment
            .iter()
            .map(|equipment| streams.of(&gateway, &equipment.path, epoch, stored))
            .collect();
        let mut tags: Vec<TagState> = (0..)
            .map(TagId)
            .zip(plan.tags.iter().zip(places))
            .map(|(id, (tag, rules))| {
                let restored = stored(&tag_cell(&tag.key)).and_then(|cell| TagState::restore(id, &cell));
                let mut state = restored.unwrap_or_default();
                state.rules = rules;
                if let Some(waiting) = state.waiting.as_deref_mut() {
                    waiting.suit(&tag.spec);
                }
                state
            })
            .collect();
        let rules: Vec<RuleState> = plan
            .rules
            .iter()
            .map(|rule| RuleState::restore(&plan, rule, stored(&rule_cell(&rule.id)).as_deref()))
            .collect();
        for (rule, state) in plan.rules.iter().zip(&rules) {
            if let Some(tag) = rule.inputs.first() {
                tags[tag.index()].owing |= state.owed.is_some();
            }
        }
        let mut core = Self {
            timers: Timers::default(),
            at: Duration::ZERO,
            until: Duration::ZERO,
            real: Duration::ZERO,
            late: Late::default(),
            gates: Gates::of(&plan),
            index: Arc::new(Index::of(&plan)),
            requests: Vec::new(),
            last_request: 0,
            waiting_rules: HashMap::new(),
            has_runs: plan.rules.iter().any(|rule| rule.run.is_some()),
            tags,
            sources,
            rules,
            by_tag,
            emitter: Emitter::new(settings, streams, equipment),
            moment: 0,
            dirty_tags: Vec::new(),
            dirty_rules: Vec::new(),
            failures: Failures::default(),
            order: Vec::new(),
            pending: Vec::new(),
            shedding: Shedding {
                any: true,
                ..Shedding::default()
            },
            clock,
            plan,
        };
        core.queue_all();
        core.note_held();
        core
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
        // What was due before the batch came is told before it.
        self.real = self.clock.at_receipt(input.now, input.received);
        self.run_timers(self.real, input.now.wall, events);
        self.note_watched(input.source);
        self.emitter.begin(input.received, input.now.wall);
        for notice in input.notices {
            self.notice(input.source, notice, events);
        }
        let order = self.order_of(input.samples);
        self.moment = self.moment.wrapping_add(1);
        let mut moment_time = None;
        self.emitter.from_history = input.notices.contains(&Notice::History);
        // What comes late is taken as of the time at which it happened.
        let source = &self.sources[input.source.index()];
        let replays = source.online && source.catching_up && !input.samples.is_empty();
        let in_order =
            |position: usize| &input.samples[order.get(position).map_or(position, |&index| index as usize)];
        for position in 0..input.samples.len() {
            let sample = in_order(position);
            let Some(state) = self.tags.get(sample.tag.index()) else {
                continue;
            };
            if state.moment == self.moment || moment_time.is_some_and(|time| time != sample.source_time) {
                self.close_moment(events);
            }
            if replays && moment_time != Some(sample.source_time) {
                let moment = (position..input.samples.len()).map(in_order);
                self.replay_to(moment, input, events);
            }
            moment_time = Some(sample.source_time);
            self.sample(input.source, sample, input.received);
        }
        self.close_moment(events);
        self.emitter.from_history = false;
        self.order = order;
        if replays {
            self.end_replay();
        }
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
        cells.extend(self.clock.save(self.timers.next().is_some()));
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
        cells.extend(self.clock.export());
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
        // A stopped heartbeat makes the source's states unknown, whatever they are called meanwhile.
        let is_beat = tag.spec.heartbeat.is_some();
        let waits = source.stopped > 0 && !is_beat && state.lost && !sample.quality.is_bad();
        if waits
            && tag.valid.is_none()
            && state
                .waiting
                .as_ref()
                .is_none_or(|waiting| waiting.held.is_none())
        {
            source.held.push(sample.tag);
        }
        let is_held = tag.valid.is_some() || waits;
        let is_first = std::mem::replace(&mut state.session, source.session) != source.session;
        let is_told = self.emitter.from_history && state.is_older(sample.source_time);
        if is_first {
            // Another process has to know that it was sent.
            self.touch(sample.tag);
        }
        if is_told {
            // What was known then is known; it was told already.
            self.tags[sample.tag.index()].know_as_before();
            return;
        }
        if is_held {
            self.gates.hold(&mut self.tags[sample.tag.index()], sample);
            return;
        }
        self.gates.see(sample.tag);
        let before = self.pending.len();
        self.detect(sample, received);
        let happened =
            |change: &Change| change.cause == Cause::Value && change.source_time == sample.source_time;
        let is_news = !is_first && !self.emitter.from_history;
        if is_news && self.pending[before..].iter().any(happened) {
            self.compare_clocks(id, sample, received);
        }
    }

    /// Lets change detection look at a sample.
    pub(crate) fn detect(&mut self, sample: &Sample, received: Timestamp) {
        let tag = &self.plan.tags[sample.tag.index()];
        let state = &mut self.tags[sample.tag.index()];
        let was_dirty = state.dirty;
        let arrival = Arrival {
            clock: self.at,
            received,
            gaps: self.sources[tag.source.index()].gaps,
        };
        let before = self.pending.len();
        detect(&tag.spec, state, sample, arrival, &mut self.pending);
        if self.pending.len() > before {
            state.history = if self.emitter.from_history {
                state.session
            } else {
                0
            };
        }
        let beats = self.pending[before..]
            .iter()
            .any(|change| change.cause == Cause::Value);
        if sample.value.is_some() && std::mem::take(&mut state.owing) {
            // What was left out is known again.
            let rules = &self.by_tag[places(&state.rules)];
            self.shedding.payable.extend(rules);
        }
        if state.dirty && !was_dirty {
            self.dirty_tags.push(sample.tag);
        }
        if tag.spec.is_timed() {
            self.watch(sample.tag, beats);
        }
        if sample.gap {
            self.mark_waiting_for(sample.tag);
        }
        if self.tags[sample.tag.index()].put_off {
            self.queue_again(sample.tag);
        }
    }

    /// The rules that a tag triggers.
    pub(crate) fn rules_of(&self, tag: TagId) -> Vec<RuleId> {
        self.by_tag[places(&self.tags[tag.index()].rules)].to_vec()
    }

    /// Has a tag's state stored with the next commit.
    pub(crate) fn touch(&mut self, tag: TagId) {
        if !std::mem::replace(&mut self.tags[tag.index()].dirty, true) {
            self.dirty_tags.push(tag);
        }
    }

    /// Has a rule's state stored with the next commit, where it became dirty.
    pub(crate) fn touched(&mut self, rule: RuleId, was_dirty: bool) {
        if self.rules[rule.0 as usize].is_dirty() && !was_dirty {
            self.dirty_rules.push(rule.0);
        }
    }

    /// Lets the rules see what the moment changed, and begins the next one.
    pub(crate) fn close_moment(&mut self, events: &mut Vec<Event>) {
        self.open_gates(events);
        self.moment = self.moment.wrapping_add(1);
        let pending = std::mem::take(&mut self.pending);
        if self.has_runs {
            // What belongs to a run that begins in this moment is told after it.
            self.show_all(&pending, events, Rule::opens_runs);
            self.show_all(&pending, events, |rule| !rule.opens_runs());
        } else {
            self.show_all(&pending, events, |_| true);
        }
        for change in &pending {
            self.note_told(change);
        }
        self.pending = pending;
        self.pending.clear();
    }

    /// Notes that rules told of a change: the gap before it is over, unless others of its tag do not see it.
    fn note_told(&mut self, change: &Change) {
        let tag = change.tag;
        let sees = |rule: RuleId| {
            change
                .audience
                .has(self.plan.rules[rule.0 as usize].tells_state())
        };
        let all_see = change.audience == Audience::All || self.rules_of(tag).into_iter().all(sees);
        let state = &mut self.tags[tag.index()];
        let told = std::mem::take(&mut state.told);
        let taken = std::mem::take(&mut state.taken);
        if all_see && (told || taken) && std::mem::take(&mut state.gap) {
            self.touch(tag);
        }
        if told {
            self.put_off_silence(tag);
        }
    }

    fn show_all(&mut self, pending: &[Change], events: &mut Vec<Event>, sees: impl Fn(&Rule) -> bool) {
        for change in pending {
            let index = change.tag.index();
            let before = events.len();
            for place in places(&self.tags[index].rules) {
                let id = self.by_tag[place];
                let rule = &self.plan.rules[id.0 as usize];
                if sees(rule) && change.audience.has(rule.tells_state()) {
                    self.show(id, change, events);
                }
            }
            self.tags[index].told |= events.len() > before;
        }
    }

    /// What rules may look at.
    pub(crate) fn view(&self) -> View<'_> {
        View::new(&self.plan, &self.tags, &self.sources)
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
        received: None,
        audience: Audience::All,
    }
}

fn places(rules: &Range<u32>) -> Range<usize> {
    rules.start as usize..rules.end as usize
}

/// The key of the cell of a tag.
#[must_use]
pub fn tag_cell(key: &str) -> String {
    format!("tag:{key}")
}

fn rule_cell(id: &str) -> String {
    format!("rule:{id}")
}
