//! Timers and everything that waits: whatever happened, a restart in the middle changes no event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use floorgate_core::plan::Plan;
use floorgate_core::{Event, Request};
use floorgate_sample::{Continuity, GapScope, Notice, RequestId, Sample, TagId, Timestamp, Value};

use super::plant::tag;
use super::probe::answer_with;
use super::random::{BEAT, TAGS, one_value, random_plan, value, values};
use super::{Gateway, TEMPERATURE, data, sample};

/// Histories that are tried.
const HISTORIES: u64 = 600;
/// What happens in one.
const STEPS: usize = 40;

fn begin(plan: Plan) -> Gateway {
    let mut gateway = Gateway::start(Arc::new(plan), HashMap::new());
    gateway.started = Some(0);
    gateway
}

/// What time alone makes, deadline by deadline.
fn pass(gateway: &mut Gateway, until: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..1000 {
        let started = gateway.started.expect("a clock that runs");
        let due = gateway
            .core
            .next_deadline()
            .map(|due| started + i64::try_from(due.as_nanos()).unwrap_or(i64::MAX));
        let Some(due) = due.filter(|due| *due <= until) else {
            gateway.time = until;
            return events;
        };
        gateway.time = gateway.time.max(due);
        events.extend(gateway.advance());
    }
    panic!(
        "its timers have no end: {:?} at {}",
        gateway.core.next_deadline(),
        gateway.time
    );
}

/// What an event says, but for what only the process knows, and its gap apart.
fn told(event: &Event) -> (String, bool) {
    let mut data = data(event);
    let fields = data.as_object_mut().expect("an object");
    // It is stored once a minute.
    fields.remove("lastGoodAt");
    let gap = fields.remove("gap").is_some();
    (
        format!("{} {} {} {data}", event.name, event.id, event.headers),
        gap,
    )
}

/// Two gateways to which the same happens. The second is restarted now and then.
struct Pair {
    whole: Gateway,
    parted: Gateway,
    /// What was asked for by both and not answered.
    open: Vec<(Request, RequestId)>,
    /// A restart left requests open: what is read for them says `gap`.
    is_asked_again: bool,
    when: String,
    made: usize,
}

impl Pair {
    fn of(seed: u64) -> Self {
        let new = || begin(random_plan(&mut Rng::with_seed(seed)));
        Self {
            whole: new(),
            parted: new(),
            open: Vec::new(),
            is_asked_again: false,
            when: String::new(),
            made: 0,
        }
    }

    /// Both make the same of it.
    fn both(&mut self, what: &str, mut act: impl FnMut(&mut Gateway) -> Vec<Event>) {
        let (whole, parted) = (act(&mut self.whole), act(&mut self.parted));
        self.same(&whole, &parted, what);
        let (whole, parted) = (self.whole.core.take_requests(), self.parted.core.take_requests());
        let tags = |requests: &[Request]| requests.iter().map(|one| one.tags.clone()).collect::<Vec<_>>();
        assert_eq!(tags(&whole), tags(&parted), "{}, {what}", self.when);
        self.open
            .extend(whole.into_iter().zip(parted.into_iter().map(|one| one.id)));
    }

    fn same(&mut self, whole: &[Event], parted: &[Event], what: &str) {
        self.made += whole.len();
        for (one, other) in whole.iter().zip(parted) {
            let ((one, gap), (other, other_gap)) = (told(one), told(other));
            assert_eq!(one, other, "{}, {what}", self.when);
            let may_say_gap = self.is_asked_again && one.contains("\"snapshot\":");
            assert!(
                gap == other_gap || may_say_gap && other_gap,
                "{}, {what}: gap of {other}",
                self.when
            );
        }
        let show = |events: &[Event]| events.iter().map(|event| told(event).0).collect::<Vec<_>>();
        let lengths = (whole.len(), parted.len());
        assert_eq!(
            lengths.0,
            lengths.1,
            "{}, {what}: {:#?} and {:#?}",
            self.when,
            show(whole),
            show(parted)
        );
    }

    fn batch(&mut self, notices: &[Notice], samples: &[Sample]) {
        self.both(&format!("{notices:?} {samples:?}"), |gateway| {
            gateway.try_batch(notices, samples).0
        });
    }

    /// The second process asks anew for what is open. Of what has the same tags all is of one rule, in its order.
    fn restart(mut self, notices: &[Notice]) -> Self {
        self.parted = self.parted.restart();
        let parted = self.parted.try_batch(notices, &[]).0;
        let caught_up = notices.get(1..).unwrap_or_default();
        let whole = self.whole.try_batch(caught_up, &[]).0;
        self.same(&whole, &parted, "after the restart");
        let mut asked = self.parted.core.take_requests();
        let open = std::mem::take(&mut self.open);
        // What was told without an answer is open no more.
        for (request, _) in open.into_iter().rev() {
            if let Some(place) = asked.iter().rposition(|one| one.tags == request.tags) {
                self.open.push((request, asked.remove(place).id));
            }
        }
        assert!(asked.is_empty(), "{}: {asked:?}", self.when);
        self.open.reverse();
        self.is_asked_again |= !self.open.is_empty();
        self
    }

    /// Some of what was asked for is answered.
    fn answer(&mut self, random: &mut Rng) {
        let (answered, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|_| random.u8(..3) == 0);
        self.open = open;
        let answered: Vec<(Request, RequestId)> = answered;
        for (request, parted) in answered {
            let time = Timestamp::from_nanos(self.whole.time);
            let read = request
                .tags
                .iter()
                .filter(|_| random.u8(..10) > 0)
                .copied()
                .collect::<Vec<_>>();
            let samples: Vec<Sample> = read.into_iter().map(|tag| one_value(tag, time, random)).collect();
            let result = if random.u8(..10) == 0 {
                Err("device is busy".to_owned())
            } else {
                Ok(())
            };
            let is_whole = std::cell::Cell::new(true);
            self.both(&format!("{request:?} {samples:?}"), |gateway| {
                let id = if is_whole.replace(false) {
                    request.id
                } else {
                    parted
                };
                answer_with(gateway, id, result.clone(), &samples)
            });
        }
    }
}

/// What a source is, as the plant has it.
#[derive(Clone, Copy)]
enum Link {
    Up,
    /// Since this time.
    Down(i64),
    /// It is back, and has handed over what happened up to this time.
    Behind(i64),
}

impl Pair {
    /// What happens next.
    fn step(&mut self, link: Link, is_late: bool, random: &mut Rng) -> Link {
        let reason = || "test".into();
        let now = self.whole.time;
        match link {
            Link::Up => {
                let late = i64::from(is_late) * random.i64(0..2) * random.i64(0..400_000_000);
                let samples = values(Timestamp::from_nanos(now - late), random);
                self.batch(&[], &samples);
                self.answer(random);
                match random.u8(..24) {
                    0 => self.notice(Notice::Gap {
                        scope: GapScope::Source,
                        reason: reason(),
                    }),
                    1 => self.notice(Notice::Gap {
                        scope: GapScope::Tags(vec![TEMPERATURE, BEAT]),
                        reason: reason(),
                    }),
                    2 | 3 if !is_late => {
                        self.notice(Notice::Offline { reason: reason() });
                        return Link::Down(now);
                    }
                    _ => {}
                }
            }
            Link::Down(since) => match random.u8(..4) {
                0 => {
                    self.notice(Notice::Online(Continuity::New));
                    let time = Timestamp::from_nanos(now);
                    let samples: Vec<Sample> =
                        TAGS.into_iter().map(|tag| one_value(tag, time, random)).collect();
                    self.batch(&[], &samples);
                    return Link::Up;
                }
                1 | 2 => {
                    self.notice(Notice::Online(Continuity::Resumed));
                    return Link::Behind(since);
                }
                _ => {}
            },
            Link::Behind(before) => {
                if random.u8(..3) == 0 {
                    self.notice(Notice::CaughtUp);
                    return Link::Up;
                }
                let then = random.i64(before..=now);
                let samples = values(Timestamp::from_nanos(then), random);
                self.batch(&[], &samples);
                self.answer(random);
                return Link::Behind(then);
            }
        }
        link
    }

    fn notice(&mut self, notice: Notice) {
        self.batch(&[notice], &[]);
    }
}

#[test]
fn a_restart_in_the_middle_of_anything_changes_no_event() {
    let mut made = 0;
    for seed in 0..HISTORIES {
        let mut random = Rng::with_seed(seed);
        let mut pair = Pair::of(seed);
        pair.notice(Notice::Online(Continuity::New));
        // Where times are of the past without an outage, what the clocks differ by is known less well to another process.
        let is_late = random.bool();
        let mut link = Link::Up;
        for number in 0..STEPS {
            pair.when = format!("seed {seed}, step {number}");
            let longest = if random.u8(..20) == 0 {
                40_000_000_000
            } else {
                900_000_000
            };
            let until = pair.whole.time + random.i64(1..longest);
            pair.both("time", |gateway| pass(gateway, until));
            link = pair.step(link, is_late, &mut random);
            pair.both("what is due at once", Gateway::advance);
            if random.u8(..4) == 0 {
                let again = [Notice::Online(Continuity::Resumed), Notice::CaughtUp];
                pair = pair.restart(match link {
                    Link::Up => &again,
                    Link::Behind(_) => &again[..1],
                    Link::Down(_) => &[],
                });
            }
        }
        made += pair.made;
    }
    assert!(made > 30_000, "only {made} events");
}

/// What each rule tells, without what only the process knows: when it was received, and its place in the stream. The gap apart.
fn told_by_rule(events: &[Event]) -> BTreeMap<String, Vec<(String, bool)>> {
    let mut rules: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| &*event.name != "SourceConnectionChanged")
    {
        let mut data = data(event);
        let rule = data["mapping"]["ruleId"].to_string();
        let fields = data.as_object_mut().expect("an object");
        let gap = fields.remove("gap").is_some();
        fields["timestamps"]
            .as_object_mut()
            .expect("times")
            .remove("received");
        let lines = event.headers.lines();
        let lines = lines.filter(|line| !line.starts_with("ce_sequence") && !line.starts_with("ce_time"));
        let headers: Vec<&str> = lines.collect();
        let told = format!("{} {headers:?} {data}", event.name);
        rules.entry(rule).or_default().push((told, gap));
    }
    rules
}

/// Answers what a gateway asks for: the tags that are read never change.
fn answered(gateway: &mut Gateway) -> Vec<Event> {
    let mut events = Vec::new();
    for request in gateway.core.take_requests() {
        let value = |tag: &TagId| sample(*tag, Value::UInt(7), Timestamp::from_nanos(gateway.time));
        let samples: Vec<Sample> = request.tags.iter().map(value).collect();
        events.extend(answer_with(gateway, request.id, Ok(()), &samples));
    }
    events
}

/// A gateway that is down while its source keeps what happens, and a source that gives all of it to the next process.
struct Parted {
    gateway: Gateway,
    /// What it missed, batch by batch, while it is down.
    missed: Option<Vec<Vec<Sample>>>,
    events: Vec<Event>,
}

impl Parted {
    fn takes(&mut self, samples: &[Sample], until: i64) {
        if let Some(missed) = &mut self.missed {
            missed.push(samples.to_vec());
            return;
        }
        self.events.extend(pass(&mut self.gateway, until));
        self.events.extend(self.gateway.try_batch(&[], samples).0);
        self.events.extend(answered(&mut self.gateway));
    }

    fn comes_back(mut self, at: i64) -> Self {
        self.gateway.time = at;
        let mut gateway = self.gateway.restart();
        self.events.extend(gateway.advance());
        let online = [Notice::Online(Continuity::Resumed)];
        self.events.extend(gateway.try_batch(&online, &[]).0);
        for samples in self.missed.take().into_iter().flatten() {
            self.events.extend(gateway.try_batch(&[], &samples).0);
            self.events.extend(answered(&mut gateway));
        }
        self.events.extend(gateway.try_batch(&[Notice::CaughtUp], &[]).0);
        self.events.extend(gateway.advance());
        self.events.extend(answered(&mut gateway));
        Self { gateway, ..self }
    }
}

/// A random plan whose events do not depend on when the gateway gets to know of what happened.
fn plan_of_what_happened(seed: u64) -> Plan {
    let mut plan = random_plan(&mut Rng::with_seed(seed));
    // That nothing changed is told while somebody is there to tell it.
    tag(&mut plan, TEMPERATURE).at_least_every = None;
    // It never stops.
    tag(&mut plan, BEAT).heartbeat = Some(Duration::from_secs(2));
    // What is read late may have changed.
    for rule in &mut plan.rules {
        let spec = Arc::get_mut(&mut rule.spec).expect("a spec of its own");
        if let Some(snapshot) = &mut spec.snapshot {
            snapshot.unchanged = None;
        }
    }
    plan
}

#[test]
fn what_happened_between_two_processes_makes_the_events_of_one() {
    let mut made = 0;
    for seed in 0..HISTORIES {
        let mut random = Rng::with_seed(seed);
        let new = || {
            let mut gateway = begin(plan_of_what_happened(seed));
            gateway.delay = 0;
            gateway.notice(Notice::Online(Continuity::New));
            gateway
        };
        let (mut whole, mut one) = (new(), Vec::new());
        let first = |tag| {
            (
                tag,
                sample(tag, value(tag, &mut random), Timestamp::from_nanos(0)),
            )
        };
        let mut last: BTreeMap<TagId, Sample> = TAGS.into_iter().map(first).collect();
        let mut parted = Parted {
            gateway: new(),
            missed: None,
            events: Vec::new(),
        };
        for number in 0..STEPS {
            let until = whole.time + random.i64(1..900_000_000);
            one.extend(pass(&mut whole, until));
            let time = Timestamp::from_nanos(until);
            let mut samples = values(time, &mut random);
            samples.retain(|one| one.tag != BEAT);
            samples.push(sample(BEAT, Value::Bool(number % 2 == 0), time));
            // A late change speaks for its own tag alone: the source says of each what it is.
            samples.extend(
                last.values()
                    .filter(|last| samples.iter().all(|one| one.tag != last.tag))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            for sample in &mut samples {
                sample.source_time = Some(time);
                last.insert(
                    sample.tag,
                    Sample {
                        gap: false,
                        ..sample.clone()
                    },
                );
            }
            one.extend(whole.try_batch(&[], &samples).0);
            one.extend(answered(&mut whole));
            parted.takes(&samples, until);
            if parted.missed.is_none() && random.u8(..6) == 0 {
                parted.gateway.store();
                parted.missed = Some(Vec::new());
            } else if parted.missed.is_some() && (random.u8(..3) == 0 || number + 1 == STEPS) {
                parted = parted.comes_back(until);
                one.extend(whole.try_batch(&[Notice::CaughtUp], &[]).0);
            }
        }
        for number in 0..12 {
            let end = whole.time + 1_700_000_000;
            let beat = [sample(
                BEAT,
                Value::Bool(number % 2 == 0),
                Timestamp::from_nanos(end),
            )];
            one.extend(pass(&mut whole, end));
            one.extend(whole.try_batch(&[], &beat).0);
            one.extend(answered(&mut whole));
            parted.takes(&beat, end);
        }
        if parted.missed.is_some() {
            let end = whole.time;
            parted = parted.comes_back(end);
        }
        made += one.len();
        let (one, other) = (told_by_rule(&one), told_by_rule(&parted.events));
        for (rule, told) in &one {
            let others = other.get(rule).cloned().unwrap_or_default();
            for ((one, gap), (other, other_gap)) in told.iter().zip(&others) {
                assert_eq!(one, other, "seed {seed}, rule {rule}: {told:#?} and {others:#?}");
                // What was read late says so.
                let may_say_gap = one.contains("\"snapshot\":") && *other_gap;
                assert!(
                    gap == other_gap || may_say_gap,
                    "seed {seed}, rule {rule}: gap {gap} or {other_gap}: {other}"
                );
            }
            assert_eq!(
                told.len(),
                others.len(),
                "seed {seed}, rule {rule}: {told:#?} and {others:#?}"
            );
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
    assert!(made > 20_000, "only {made} events");
}
