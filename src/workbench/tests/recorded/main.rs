//! What a gateway's core made while it was recorded is made again of the recording, byte by byte: whatever the mapping, and wherever in what
//! happens the recording begins.

#[path = "../../../core/tests/core/plant.rs"]
mod plant;
#[path = "../../../core/tests/core/random.rs"]
mod random;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use floorgate_core::plan::{Plan, Priority, SourceRow};
use floorgate_core::{Core, Encoding, Event, Input, Now, Request, Settings};
use floorgate_sample::{Answer, Continuity, GapScope, Notice, Sample, SourceId, TagId, Timestamp};
use floorgate_workbench::recording::{Call, Entry, Header, Names, Packer, Recording, beginning, state_of};
use floorgate_workbench::simulation::simulate;

use plant::{STATE, TEMPERATURE};
use random::{BEAT, TAGS, one_value, random_plan, values};

/// Histories that are tried.
const HISTORIES: u64 = 600;
/// What happens in one.
const STEPS: usize = 40;
const SECOND: i64 = 1_000_000_000;
/// The last tag of a source that has none others.
const SLOW: SourceId = SourceId(1);

fn random_floor(random: &mut Rng) -> Plan {
    let mut plan = random_plan(random);
    if random.bool() {
        plan.sources.push(SourceRow {
            name: "other".into(),
            topic: "acme.busan.mes.source-connection.v1".into(),
        });
        for tag in [STATE, BEAT] {
            plan.tags[tag.index()].source = SLOW;
        }
    }
    for (place, tag) in (0..).zip(&mut plan.tags) {
        tag.address = place;
    }
    for rule in &mut plan.rules {
        let spec = Arc::get_mut(&mut rule.spec).expect("a spec of its own");
        spec.priority = [Priority::Low, Priority::Normal, Priority::High][random.usize(..3)];
    }
    plan
}

fn settings() -> Settings {
    Settings {
        gateway: "gw".into(),
        type_prefix: "io.floorgate".into(),
        encoding: Encoding::Binary,
        stream_epoch: 1,
        incarnation: uuid::Uuid::nil(),
    }
}

fn header() -> Header {
    Header {
        version: "0".to_owned(),
        gateway: "gw".to_owned(),
        type_prefix: "io.floorgate".to_owned(),
        stream_epoch: 1,
        ..Header::default()
    }
}

/// What a source is, as the plant has it.
#[derive(Clone, Copy)]
enum Link {
    Up,
    Stale,
    /// Since this time.
    Down(i64),
    /// It is back, and has handed over what happened up to this time.
    Behind(i64),
}

/// A core as the engine drives it, and what is recorded of it.
struct Floor {
    plan: Arc<Plan>,
    core: Core,
    /// The monotonic clock, and what the wall clock is ahead of it.
    time: i64,
    ahead: i64,
    links: Vec<Link>,
    open: Vec<Request>,
    recorded: Vec<Entry>,
    is_recorded: bool,
    events: Vec<Event>,
}

impl Floor {
    fn of(plan: Plan, random: &mut Rng) -> Self {
        let plan = Arc::new(plan);
        let mut floor = Self {
            core: Core::new(Arc::clone(&plan), settings(), &|_| None),
            links: vec![Link::Up; plan.sources.len()],
            plan,
            time: 0,
            ahead: 1_786_975_512 * SECOND,
            open: Vec::new(),
            recorded: Vec::new(),
            is_recorded: false,
            events: Vec::new(),
        };
        for source in floor.sources() {
            if random.u8(..6) > 0 {
                floor.notice(source, Notice::Online(Continuity::New));
            } else {
                floor.links[source.index()] = Link::Down(0);
            }
        }
        floor
    }

    /// The configuration is read again, and nothing of it is another one: all sources run on.
    fn reload(&mut self) {
        let cells: HashMap<Arc<str>, String> = self.core.export().into_iter().collect();
        let stored = |key: &str| cells.get(key).cloned();
        let mut core = Core::new(Arc::clone(&self.plan), settings(), &stored);
        let now = self.now();
        core.go_on_from(&mut self.core, |_| true, now);
        let least = self.core.leaves_out_below();
        if self.is_recorded {
            self.recorded.push(Entry::Names(Names::of(&self.plan)));
        }
        self.keep(Call::LeaveOutBelow { least });
        core.leave_out_below(least);
        self.core = core;
    }

    fn sources(&self) -> Vec<SourceId> {
        (0..).map(SourceId).take(self.plan.sources.len()).collect()
    }

    fn now(&self) -> Now {
        Now {
            wall: Timestamp::from_nanos(self.time + self.ahead),
            monotonic: Duration::from_nanos(self.time.unsigned_abs()),
        }
    }

    fn keep(&mut self, call: Call) {
        if self.is_recorded {
            self.recorded.push(Entry::Call(call));
        }
    }

    fn apply(&mut self, source: SourceId, delay: i64, notices: &[Notice], mut samples: Vec<Sample>) {
        samples.retain(|sample| self.plan.tags[sample.tag.index()].source == source);
        let received = Timestamp::from_nanos(self.time + self.ahead);
        self.time += delay;
        let now = self.now();
        self.keep(Call::Apply {
            source,
            now,
            received,
            notices: notices.to_vec(),
            samples: samples.clone(),
        });
        let input = Input {
            source,
            received,
            notices,
            samples: &samples,
            now,
        };
        self.core.apply(input, &mut self.events);
        self.store();
    }

    fn notice(&mut self, source: SourceId, notice: Notice) {
        self.apply(source, 1000, &[notice], Vec::new());
    }

    fn advance(&mut self) {
        let now = self.now();
        let due = self.core.next_deadline();
        if due.is_some_and(|due| due <= now.monotonic) {
            self.keep(Call::Advance { now });
        }
        self.core.advance(now, &mut self.events);
        self.store();
    }

    fn store(&mut self) {
        self.core.save(&mut Vec::new());
        self.open.extend(self.core.take_requests());
    }

    /// What time alone makes: timers run a little after they are due.
    fn pass(&mut self, until: i64, random: &mut Rng) {
        for _ in 0..1000 {
            let due = self.core.next_deadline();
            let due = due.map(|due| i64::try_from(due.as_nanos()).unwrap_or(i64::MAX));
            let Some(due) = due.filter(|due| *due <= until) else {
                break;
            };
            let due = self.time.max(due) + random.i64(0..50) * 1000 * random.i64(0..3);
            self.time = due.div_ceil_to(1000);
            self.advance();
        }
        self.time = self.time.max(until);
    }

    fn answer(&mut self, random: &mut Rng) {
        for request in std::mem::take(&mut self.open) {
            if random.u8(..3) > 0 {
                self.open.push(request);
                continue;
            }
            let read = request.tags.iter().filter(|_| random.u8(..10) > 0);
            let read: Vec<TagId> = read.copied().collect();
            let received = Timestamp::from_nanos(self.time + self.ahead);
            let samples: Vec<Sample> = read
                .into_iter()
                .map(|tag| one_value(tag, received, random))
                .collect();
            let result = match random.u8(..10) {
                0 => Err("device is busy".to_owned()),
                _ => Ok(()),
            };
            self.time += random.i64(0..5) * 1000;
            let now = self.now();
            let source = request.source;
            self.keep(Call::Answer {
                source,
                now,
                received,
                request: request.id,
                rule: self.core.asking(request.id).cloned(),
                result: result.clone(),
                samples: samples.clone(),
            });
            let answer = Answer {
                request: request.id,
                result,
            };
            let input = Input {
                source,
                received,
                notices: &[],
                samples: &samples,
                now,
            };
            self.core.answer(&answer, input, &mut self.events);
            self.store();
        }
    }

    fn step(&mut self, source: SourceId, random: &mut Rng) {
        let reason = || "test".to_owned();
        let now = self.time;
        let delay = random.i64(0..20) * 1000 * random.i64(0..3) * random.i64(0..100);
        let ahead = self.ahead;
        let at = |time: i64| Timestamp::from_nanos(time + ahead - 300_000);
        self.links[source.index()] = match self.links[source.index()] {
            Link::Up => {
                let late = random.i64(0..2) * random.i64(0..400_000_000);
                let samples = values(at(now - late), random);
                self.apply(source, delay, &[], samples);
                match random.u8(..24) {
                    0 => self.notice(
                        source,
                        Notice::Gap {
                            scope: GapScope::Source,
                            reason: reason(),
                        },
                    ),
                    1 => {
                        let scope = GapScope::Tags(vec![TEMPERATURE, BEAT]);
                        self.notice(
                            source,
                            Notice::Gap {
                                scope,
                                reason: reason(),
                            },
                        );
                    }
                    _ => {}
                }
                match random.u8(..16) {
                    0 => {
                        self.notice(source, Notice::Offline { reason: reason() });
                        Link::Down(now)
                    }
                    1 => {
                        self.notice(source, Notice::Stale { reason: reason() });
                        Link::Stale
                    }
                    _ => Link::Up,
                }
            }
            Link::Stale => match random.u8(..3) {
                0 => {
                    self.notice(source, Notice::Online(Continuity::Resumed));
                    Link::Behind(now)
                }
                1 => {
                    self.notice(source, Notice::Offline { reason: reason() });
                    Link::Down(now)
                }
                _ => Link::Stale,
            },
            Link::Down(since) => match random.u8(..4) {
                0 => {
                    self.notice(source, Notice::Online(Continuity::New));
                    let time = at(now);
                    let samples = TAGS.into_iter().map(|tag| one_value(tag, time, random)).collect();
                    self.apply(source, delay, &[], samples);
                    Link::Up
                }
                1 | 2 => {
                    self.notice(source, Notice::Online(Continuity::Resumed));
                    Link::Behind(since)
                }
                _ => Link::Down(since),
            },
            Link::Behind(_) if random.u8(..3) == 0 => {
                self.notice(source, Notice::CaughtUp);
                Link::Up
            }
            Link::Behind(before) => {
                let then = random.i64(before..=now);
                let samples = values(at(then), random);
                self.apply(source, delay, &[], samples);
                Link::Behind(then)
            }
        };
    }

    fn leave_out(&mut self, random: &mut Rng) {
        let least = [None, Some(Priority::Normal), Some(Priority::High)][random.usize(..3)];
        self.keep(Call::LeaveOutBelow { least });
        self.core.leave_out_below(least);
    }
}

trait Whole {
    fn div_ceil_to(self, unit: i64) -> i64;
}

impl Whole for i64 {
    fn div_ceil_to(self, unit: i64) -> i64 {
        (self + unit - 1) / unit * unit
    }
}

/// The file of a recording, in blocks of any length.
fn file(entries: &[Entry], random: &mut Rng) -> Vec<u8> {
    let mut bytes = beginning(&header());
    let mut packer = Packer::default();
    for entry in entries {
        packer.add(entry);
        if random.u8(..8) == 0 {
            bytes.extend(packer.block().unwrap_or_default());
        }
    }
    bytes.extend(packer.block().unwrap_or_default());
    bytes
}

fn show(event: Option<&Event>) -> String {
    event.map_or("nothing".to_owned(), |event| {
        format!(
            "{} {} {} {} {}",
            event.name,
            event.id,
            event.headers.replace('\n', "; "),
            String::from_utf8_lossy(&event.value),
            event.trace
        )
    })
}

/// One history, recorded from a random moment on.
fn history(random: &mut Rng) -> Floor {
    let plan = random_floor(random);
    let mut floor = Floor::of(plan, random);
    let begins = random.usize(..STEPS);
    for number in 0..STEPS {
        let longest = if random.u8(..20) == 0 { 40 * SECOND } else { SECOND };
        let until = (floor.time + random.i64(1..longest)).div_ceil_to(1000);
        floor.pass(until, random);
        if random.u8(..30) == 0 {
            floor.ahead += random.i64(-5..5) * SECOND;
        }
        let source = SourceId(random.u16(..u16::try_from(floor.plan.sources.len()).expect("few")));
        floor.step(source, random);
        floor.answer(random);
        if random.u8(..10) == 0 {
            floor.leave_out(random);
        }
        if random.u8(..4) > 0 {
            floor.advance();
        }
        if random.u8(..40) == 0 {
            floor.reload();
        }
        if number == begins {
            let now = floor.now();
            floor.recorded = state_of(&mut floor.core, now, true);
            floor.is_recorded = true;
            floor.events.clear();
        }
    }
    floor
}

/// What happens in one history, and what is made of its recording. Returns how many events were the same, or what was another.
fn play(seed: u64) -> Result<usize, String> {
    let mut random = Rng::with_seed(seed);
    let floor = history(&mut random);
    let bytes = file(&floor.recorded, &mut random);
    let mut recording = Recording::open(&bytes[..]).expect("a recording");
    let mut made = VecDeque::new();
    let take = |event| {
        made.push_back(event);
        true
    };
    simulate(&mut recording, &floor.plan, take).expect("it can be read");
    for (place, event) in floor.events.iter().enumerate() {
        let other = made.pop_front();
        if other.as_ref() != Some(event) {
            return Err(format!(
                "seed {seed}, event {place}:\n  {}\nis not\n  {}",
                show(Some(event)),
                show(other.as_ref())
            ));
        }
    }
    match made.front() {
        None => Ok(floor.events.len()),
        more => Err(format!("seed {seed}: {} was not made", show(more))),
    }
}

#[test]
fn what_was_made_while_it_was_recorded_is_made_again_byte_by_byte() {
    let mut made = 0;
    let mut failed = Vec::new();
    for seed in 0..HISTORIES {
        match play(seed) {
            Ok(events) => made += events,
            Err(what) => failed.push(what),
        }
    }
    let some = failed.iter().take(6).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        failed.is_empty(),
        "{} of {HISTORIES} failed: {some}",
        failed.len()
    );
    assert!(made > 4_000, "only {made} events");
}

/// Does something to a recording that no recorder does.
fn spoil(entries: &mut Vec<Entry>, random: &mut Rng) {
    let place = random.usize(..entries.len());
    let other = random.usize(..entries.len());
    match random.u8(..5) {
        0 => drop(entries.remove(place)),
        1 => entries.insert(place, entries[other].clone()),
        2 => entries.swap(place, other),
        3 => entries.insert(place, Entry::Hole([1, u64::MAX][random.usize(..2)])),
        _ => {}
    }
    let place = random.usize(..entries.len());
    match &mut entries[place] {
        Entry::Cell(_, text) => {
            let at = random.usize(..=text.len());
            if text.is_char_boundary(at) {
                text.insert_str(
                    at,
                    ["9", "-", "1e99", "null", "[", "18446744073709551615"][random.usize(..6)],
                );
            }
        }
        Entry::Begin { now, .. } | Entry::Call(Call::Advance { now }) => *now = any_time(random),
        Entry::Call(
            Call::Apply {
                now,
                samples,
                received,
                ..
            }
            | Call::Answer {
                now,
                samples,
                received,
                ..
            },
        ) => {
            *now = any_time(random);
            *received = any_time(random).wall;
            for sample in samples {
                sample.tag = [sample.tag, TagId(u32::MAX), TagId(3)][random.usize(..3)];
                sample.source_time = Some(any_time(random).wall);
            }
        }
        _ => {}
    }
}

fn any_time(random: &mut Rng) -> Now {
    Now {
        wall: Timestamp::from_nanos([i64::MIN, -1, 0, 1_786_975_512 * SECOND, i64::MAX][random.usize(..5)]),
        monotonic: Duration::from_nanos([0, 1, 1 << 40, u64::MAX / 2][random.usize(..4)]),
    }
}

#[test]
fn whatever_a_recording_holds_it_is_played_to_its_end() {
    for seed in 0..HISTORIES {
        let mut random = Rng::with_seed(seed);
        let floor = history(&mut random);
        let mut entries = floor.recorded;
        for _ in 0..=random.usize(..4) {
            spoil(&mut entries, &mut random);
        }
        let bytes = file(&entries, &mut random);
        let mut recording = Recording::open(&bytes[..]).expect("a recording");
        let mut made = 0;
        let played = simulate(&mut recording, &floor.plan, |_| {
            made += 1;
            made < 100_000
        });
        drop(played);
        assert!(made < 100_000, "seed {seed}: its events have no end");
    }
}

#[test]
fn a_rule_that_was_not_recorded_gets_what_was_last_known_for_its_snapshot() {
    let mut made_up = 0;
    for seed in 0..100 {
        let mut random = Rng::with_seed(seed);
        let floor = history(&mut random);
        let mut plan = (*floor.plan).clone();
        for rule in plan.rules.iter_mut().filter(|rule| rule.spec.snapshot.is_some()) {
            rule.id = format!("{}.new", rule.id).into();
        }
        let bytes = file(&floor.recorded, &mut random);
        let mut recording = Recording::open(&bytes[..]).expect("a recording");
        let report = simulate(&mut recording, &Arc::new(plan), |_| true).expect("it can be read");
        made_up += report.made_up_answers;
    }
    assert!(made_up > 0);
}
