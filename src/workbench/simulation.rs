//! What a mapping would have made of a recording, on the recording's clock.
//!
//! The mapping that was recorded makes the same bytes, since its core goes on from the recorded state and is given the same calls. Another
//! mapping is given what it reads, found by source and address, and its own timers run between the calls.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use floorgate_core::plan::Plan;
use floorgate_core::{Core, Encoding, Event, Failure, Input, Now, Request, Settings};
use floorgate_sample::{Answer, GapScope, Notice, RequestId, Sample, SourceId, TagId, Timestamp};

use crate::numbers::Numbers;
use crate::recording::{Call, Entry, Error, Header, Names, Recording};

/// Blocks that are unpacked ahead.
const BLOCKS_AHEAD: usize = 4;
/// Turns of the timers between two calls after which they are taken to make each other due for ever.
const MOST_TURNS: usize = 100_000;
/// Failures whose texts are kept.
const FAILURES_TOLD: usize = 20;

/// What is to be known of a simulation beside its events.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Samples that the recording holds.
    pub samples: u64,
    /// Samples that the recorder had no room for.
    pub left_out: u64,
    /// The recording ended in the middle of a block.
    pub is_cut: bool,
    /// Tags of the mapping that the recording does not have: nothing of them is known.
    pub unknown_tags: BTreeSet<Arc<str>>,
    /// Requests for a snapshot that the recording has no answer to: answered with what was known of the tags then.
    pub made_up_answers: u64,
    /// How often a rule failed, and the first of them.
    pub failures: u64,
    /// The first failures.
    pub first_failures: Vec<(Arc<str>, String)>,
    /// When the recording began and ended.
    pub span: Option<(Now, Now)>,
}

/// Runs a plan over a recording; each event goes to `each`, in order. `false` ends it.
pub fn simulate<R: Read + Send>(
    recording: &mut Recording<R>,
    plan: &Arc<Plan>,
    mut each: impl FnMut(Event) -> bool,
) -> Result<Report, Error> {
    let header = recording.header.clone();
    thread::scope(|scope| {
        let (blocks, unpacked) = sync_channel(BLOCKS_AHEAD);
        // Unpacking and evaluating take about the same time.
        let reading = scope.spawn(move || {
            loop {
                match recording.next_block() {
                    Ok(None) => return Ok(recording.is_cut()),
                    Ok(Some(entries)) => {
                        if blocks.send(entries).is_err() {
                            return Ok(false);
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        });
        let mut player = Player::new(plan, header);
        let mut goes_on = true;
        while goes_on && let Ok(entries) = unpacked.recv() {
            for entry in entries {
                player.take(entry);
                goes_on = player.events.drain(..).all(&mut each);
                if !goes_on {
                    break;
                }
            }
        }
        drop(unpacked);
        player.report.is_cut = match reading.join() {
            Ok(read) => read?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok(player.report)
    })
}

/// A request that the simulated core made.
struct Asked {
    request: Request,
    rule: Option<Arc<str>>,
}

struct Player {
    plan: Arc<Plan>,
    settings: Settings,
    names: Names,
    cells: HashMap<Arc<str>, String>,
    numbers: Numbers,
    core: Option<Core>,
    /// Something happened since the recording began.
    is_played: bool,
    /// The last sample of each tag, where the plan asks for any at once.
    last: HashMap<TagId, Sample>,
    keeps_last: bool,
    asked: VecDeque<Asked>,
    events: Vec<Event>,
    report: Report,
}

impl Player {
    fn new(plan: &Arc<Plan>, header: Header) -> Self {
        let settings = Settings {
            gateway: header.gateway.into(),
            type_prefix: header.type_prefix.into(),
            encoding: if header.structured {
                Encoding::Structured
            } else {
                Encoding::Binary
            },
            stream_epoch: header.stream_epoch,
            incarnation: header.incarnation,
        };
        Self {
            plan: Arc::clone(plan),
            settings,
            names: Names::default(),
            cells: HashMap::new(),
            numbers: Numbers::default(),
            core: None,
            is_played: false,
            last: HashMap::new(),
            keeps_last: plan.rules.iter().any(|rule| rule.spec.snapshot.is_some()),
            asked: VecDeque::new(),
            events: Vec::new(),
            report: Report::default(),
        }
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Names(names) => {
                self.numbers = Numbers::of(&names, &self.plan);
                let known: BTreeSet<TagId> = self.numbers.tags.iter().flatten().copied().collect();
                let tags = (0..).map(TagId).zip(&self.plan.tags);
                let unknown = tags.filter(|(id, _)| !known.contains(id));
                self.report.unknown_tags = unknown.map(|(_, tag)| Arc::clone(&tag.key)).collect();
                self.names = names;
            }
            Entry::Cell(key, text) => drop(self.cells.insert(key, text)),
            Entry::Standing(samples) => {
                let samples = self.numbers.samples(samples);
                self.last
                    .extend(samples.into_iter().map(|sample| (sample.tag, sample)));
            }
            Entry::Begin { now, .. } => self.begin(now),
            Entry::Hole(samples) => {
                self.report.left_out = self.report.left_out.saturating_add(samples);
                self.tell_hole();
            }
            Entry::Call(call) => self.call(call),
        }
    }

    /// A core that goes on from the recorded state.
    fn begin(&mut self, now: Now) {
        let mut cells = std::mem::take(&mut self.cells);
        self.rename(&mut cells);
        let stored = |key: &str| cells.get(key).cloned();
        let mut core = Core::new(Arc::clone(&self.plan), self.settings.clone(), &stored);
        core.go_on_as(now, &stored);
        let open = core.open_requests();
        self.report.span = Some((now, now));
        self.core = Some(core);
        self.ask(open, now);
        self.after(now);
    }

    /// A tag that has another name in this mapping is the same place in the device, and what was known of it is known.
    fn rename(&self, cells: &mut HashMap<Arc<str>, String>) {
        let moved = self.names.tags.iter().zip(&self.numbers.tags);
        let moved = moved.flat_map(|(recorded, here)| here.iter().map(move |id| (recorded, *id)));
        let mut renamed: Vec<(Arc<str>, String)> = Vec::new();
        for (recorded, id) in moved {
            let Some(tag) = self.plan.tags.get(id.index()) else {
                continue;
            };
            for key_of in [floorgate_core::tag_cell, floorgate_core::tag_now_cell] {
                let key = key_of(&tag.key);
                if let Some(text) = cells.get(key_of(&recorded.key).as_str())
                    && !cells.contains_key(key.as_str())
                {
                    renamed.push((key.into(), text.clone()));
                }
            }
        }
        cells.extend(renamed);
    }

    /// Changes of each source may be missing: that is what the gateway would have had to say.
    fn tell_hole(&mut self) {
        let Some((_, now)) = self.report.span else {
            return;
        };
        for source in (0..).map(SourceId).take(self.plan.sources.len()) {
            let notice = Notice::Gap {
                scope: GapScope::Source,
                reason: "the recorder had no room".into(),
            };
            self.apply(source, now, now.wall, &[notice], &[]);
        }
    }

    fn call(&mut self, call: Call) {
        self.take_call(call);
        self.is_played = true;
    }

    fn take_call(&mut self, call: Call) {
        match call {
            Call::Apply {
                source,
                now,
                received,
                mut notices,
                samples,
            } => {
                self.reach(now);
                let samples = self.received(samples);
                if !self.numbers.are_same {
                    self.numbers.notices(&mut notices);
                }
                if let Some(source) = self.numbers.source(source) {
                    self.apply(source, now, received, &notices, &samples);
                }
            }
            Call::Answer {
                source,
                now,
                received,
                request,
                rule,
                result,
                samples,
            } => {
                self.reach(now);
                let samples = self.received(samples);
                self.answer_recorded(
                    (request, rule.as_ref()),
                    (source, now, received),
                    result,
                    &samples,
                );
            }
            Call::Advance { now } => {
                self.reach(now);
                if let Some(core) = &mut self.core {
                    core.advance(now, &mut self.events);
                }
                self.after(now);
            }
            Call::LeaveOutBelow { least } => {
                // What was so when the recording began is so already, with what rules owe for it.
                if let Some(core) = &mut self.core
                    && (self.is_played || core.leaves_out_below() != least)
                {
                    core.leave_out_below(least);
                }
            }
        }
    }

    /// Counts samples, gives them the numbers that they have here, and keeps them where they may be asked for.
    fn received(&mut self, samples: Vec<Sample>) -> Vec<Sample> {
        self.report.samples += samples.len() as u64;
        let samples = self.numbers.samples(samples);
        if self.keeps_last {
            self.last
                .extend(samples.iter().map(|sample| (sample.tag, sample.clone())));
        }
        samples
    }

    fn apply(
        &mut self,
        source: SourceId,
        now: Now,
        received: Timestamp,
        notices: &[Notice],
        samples: &[Sample],
    ) {
        let input = Input {
            source,
            received,
            notices,
            samples,
            now,
        };
        if let Some(core) = &mut self.core {
            core.apply(input, &mut self.events);
        }
        self.after(now);
    }

    /// Where the mapping is another, its timers were due at other times than those at which the recorded core ran: they run at their own.
    fn reach(&mut self, now: Now) {
        if let Some((_, last)) = &mut self.report.span {
            *last = now;
        }
        if self.numbers.are_same {
            return;
        }
        for _ in 0..MOST_TURNS {
            let Some(core) = &mut self.core else { return };
            let Some(due) = core.next_deadline().filter(|due| *due < now.monotonic) else {
                return;
            };
            let at = Now {
                wall: now.wall.before(now.monotonic.saturating_sub(due)),
                monotonic: due,
            };
            core.advance(at, &mut self.events);
            self.after(at);
        }
    }

    /// Takes what the core has to say beside events.
    fn after(&mut self, now: Now) {
        let Some(core) = &mut self.core else { return };
        let failures = core.take_failures();
        self.report.failures += failures.count;
        for Failure { rule, reason } in failures.first {
            if self.report.first_failures.len() < FAILURES_TOLD {
                self.report.first_failures.push((rule, reason));
            }
        }
        let requests = core.take_requests();
        self.ask(requests, now);
    }

    /// What the core asks for is answered by the recording, where it was asked for there as well.
    fn ask(&mut self, requests: Vec<Request>, now: Now) {
        for request in requests {
            let rule = self
                .core
                .as_ref()
                .and_then(|core| core.asking(request.id))
                .cloned();
            let asked = Asked { request, rule };
            if asked.rule.as_ref().is_some_and(|rule| self.asks_alike(rule)) {
                self.asked.push_back(asked);
            } else {
                self.make_up(&asked, now);
            }
        }
    }

    /// Whether the recorded mapping has the same rule of the same places, so that its answers are recorded.
    fn asks_alike(&self, rule: &Arc<str>) -> bool {
        let recorded = self.names.rules.iter().find(|(id, _)| id == rule);
        let here = self.plan.rules.iter().find(|row| row.id == *rule);
        recorded.zip(here).is_some_and(|((_, inputs), here)| {
            inputs.len() == here.inputs.len()
                && inputs
                    .iter()
                    .zip(&here.inputs)
                    .all(|(recorded, id)| self.numbers.tags(TagId(*recorded)).contains(id))
        })
    }

    /// Answers what nobody answered with what is known.
    fn make_up(&mut self, asked: &Asked, now: Now) {
        self.report.made_up_answers += 1;
        let Request { id, source, tags } = &asked.request;
        let known: Vec<Sample> = tags
            .iter()
            .filter_map(|tag| self.last.get(tag).cloned())
            .collect();
        let result = if known.len() == tags.len() {
            Ok(())
        } else {
            Err("the recording does not have it".to_owned())
        };
        let samples = if result.is_ok() { &known[..] } else { &[] };
        let input = Input {
            source: *source,
            received: now.wall,
            notices: &[],
            samples,
            now,
        };
        if let Some(core) = &mut self.core {
            let request = *id;
            core.answer(&Answer { request, result }, input, &mut self.events);
        }
    }

    /// The answer is that of the rule which asked, if it asks here too.
    fn answer_recorded(
        &mut self,
        (request, rule): (RequestId, Option<&Arc<str>>),
        (source, now, received): (SourceId, Now, Timestamp),
        result: Result<(), String>,
        samples: &[Sample],
    ) {
        let of_rule = |asked: &Asked| asked.rule.as_ref() == rule;
        let is_same = |asked: &Asked| of_rule(asked) && asked.request.id == request;
        let place = self.asked.iter().position(is_same);
        // Another mapping may have given it another number.
        let place = place.or_else(|| self.asked.iter().position(of_rule));
        let request = match place.and_then(|place| self.asked.remove(place)) {
            Some(asked) => asked.request.id,
            // It came too late there, and nobody waits for it here: that time passes is all that it does.
            None => RequestId(u64::MAX),
        };
        let Some(source) = self.numbers.source(source) else {
            return;
        };
        let input = Input {
            source,
            received,
            notices: &[],
            samples,
            now,
        };
        if let Some(core) = &mut self.core {
            core.answer(&Answer { request, result }, input, &mut self.events);
        }
        self.after(now);
    }
}
