//! Timers and everything that waits: whatever happened, a restart in the middle changes no event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use floorgate_core::Event;
use floorgate_core::plan::{
    Aggregate, AlarmBit, Condition, CountEvent, Counter, EdgeSpec, EquipmentId, Field, Plan, Rule, RuleId,
    RuleKind, RuleSpec, Shape, Slot, Subject, TagSpec, WindowSpec,
};
use floorgate_sample::{Continuity, Notice, Quality, Sample, TagId, Timestamp, Value};

use super::{ALARMS, GOOD, Gateway, ORDER, STATE, STATUS, TEMPERATURE, data, plan, sample};

/// Histories that are tried.
const HISTORIES: u64 = 600;
/// What happens in one.
const STEPS: usize = 40;
const TAGS: [TagId; 6] = [ORDER, STATUS, STATE, GOOD, ALARMS, TEMPERATURE];

fn edge(random: &mut Rng, condition: Condition) -> Shape {
    Shape::Edge(EdgeSpec {
        condition,
        rising: random.bool(),
        falling: random.bool(),
        hold: Duration::from_millis(random.u64(..4) * 700),
    })
}

fn custom(shape: Shape, data: Vec<(Arc<str>, Field)>) -> RuleSpec {
    RuleSpec {
        shape,
        data,
        ..RuleSpec::of(RuleKind::Custom {
            event: "Happened".into(),
            domain: "mes".into(),
            subject: None,
        })
    }
}

/// A counter that is summed, or told at once.
fn counting(random: &mut Rng) -> RuleSpec {
    let kind = RuleKind::ProductionCount {
        event: CountEvent::Production("good".into()),
        unit: "C62".into(),
        reset: random.bool().then_some(Slot(1)),
    };
    let shape = if random.bool() {
        window(random)
    } else {
        Shape::Every
    };
    RuleSpec {
        shape,
        ..RuleSpec::of(kind)
    }
}

fn window(random: &mut Rng) -> Shape {
    let value = [Aggregate::Mean, Aggregate::Min, Aggregate::Max, Aggregate::Last][random.usize(..4)];
    Shape::Window(WindowSpec {
        every: Duration::from_millis(500 + random.u64(..4000)),
        value,
    })
}

/// An alarm of a condition that has to hold.
fn alarm(hold: Duration) -> RuleSpec {
    let bit = AlarmBit {
        bit: 0,
        code: "HOT".into(),
        text: None,
        severity: 500,
        category: None,
    };
    let shape = Shape::Edge(EdgeSpec {
        condition: Condition::Below {
            limit: 3.0,
            back: 4.0,
        },
        rising: true,
        falling: true,
        hold,
    });
    let kind = RuleKind::Alarm {
        of_condition: Some(bit),
    };
    RuleSpec {
        shape,
        ..RuleSpec::of(kind)
    }
}

/// An event that the PLC numbers, about something that has a name.
fn numbered(random: &mut Rng) -> RuleSpec {
    let kind = RuleKind::Custom {
        event: "Numbered".into(),
        domain: "wms".into(),
        subject: Some(Subject {
            prefix: "unit/".into(),
            tag: Slot(1),
            needed: random.bool(),
        }),
    };
    RuleSpec {
        sequence: Some(Slot(2)),
        correlation: Some(Slot(1)),
        key: Some(Slot(1)),
        ..RuleSpec::of(kind)
    }
}

/// A rule of a random shape.
fn rule(number: usize, random: &mut Rng) -> Rule {
    let within = Duration::from_millis(300 + random.u64(..3000));
    let field = |slot| vec![(Arc::from("field"), Field::Input(Slot(slot)))];
    let (inputs, spec): (Vec<TagId>, RuleSpec) = match random.u8(..9) {
        0 => {
            let limit = f64::from(random.u8(1..7));
            let back = limit - 1.5;
            let shape = edge(random, Condition::Above { limit, back });
            (vec![TEMPERATURE, ORDER], custom(shape, field(1)))
        }
        1 => {
            let names: Box<[Arc<str>]> = ["Execute".into(), "Idle".into()].into();
            (
                vec![STATE, GOOD],
                custom(edge(random, Condition::Is(names)), field(1)),
            )
        }
        2 => (vec![ALARMS], custom(edge(random, Condition::True), vec![])),
        3 => {
            let shape = Shape::Join { tags: 3, within };
            (vec![ORDER, TEMPERATURE, GOOD], custom(shape, field(1)))
        }
        4 => {
            let states = ["Idle", "Starting", "Execute"].map(Arc::from).into();
            (vec![STATE], custom(Shape::Expect { states, within }, vec![]))
        }
        5 => {
            let kind = RuleKind::Measurement { name: "t".into() };
            let shape = window(random);
            (
                vec![TEMPERATURE],
                RuleSpec {
                    shape,
                    ..RuleSpec::of(kind)
                },
            )
        }
        6 => (vec![GOOD, ALARMS], counting(random)),
        7 => (vec![TEMPERATURE], alarm(within)),
        _ => (vec![STATE, ORDER, GOOD], numbered(random)),
    };
    Rule {
        id: format!("random.{number}").into(),
        equipment: EquipmentId(0),
        inputs: inputs.into(),
        topic: "acme.busan.mes.x.v1".into(),
        run: random.bool().then_some(RuleId(0)),
        spec: Arc::new(spec),
    }
}

fn tag(plan: &mut Plan, tag: TagId) -> &mut TagSpec {
    Arc::get_mut(&mut plan.tags[tag.index()].spec).expect("a spec of its own")
}

/// The plan of the other tests, with random rules beside its own and random meanings of its tags.
fn random_plan(random: &mut Rng) -> Plan {
    let mut plan = plan();
    for number in 0..6 {
        let rule = rule(number, random);
        plan.rules.push(rule);
    }
    let RuleKind::WorkOrderStatus { latch, .. } = &mut Arc::get_mut(&mut plan.rules[0].spec)
        .expect("a spec of its own")
        .kind
    else {
        panic!("the first rule is the work order's")
    };
    latch.push(("latched".into(), Slot(2)));
    tag(&mut plan, TEMPERATURE).at_least_every = random.bool().then(|| Duration::from_millis(1700));
    tag(&mut plan, STATE).debounce = random
        .bool()
        .then(|| Duration::from_millis(random.u64(200..3000)));
    tag(&mut plan, GOOD).counter = Some(Counter {
        max: 65_535,
        largest_step: random.bool().then_some(1000),
    });
    if random.bool() {
        plan.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    }
    plan
}

fn value(tag: TagId, random: &mut Rng) -> Value {
    match tag {
        ORDER => Value::text(["", "WO-1", "WO-2"][random.usize(..3)]),
        STATUS => Value::Int(random.i64(1..7)),
        STATE => Value::Int([4, 3, 6, 2][random.usize(..4)]),
        GOOD => Value::UInt(random.u64(..6) * 20_000 % 65_536),
        ALARMS => Value::UInt(random.u64(..2)),
        _ => Value::Float64(f64::from(random.u8(..8))),
    }
}

/// Values that come together; some of them are bad, some have happened before others that came earlier.
fn values(gateway: &Gateway, random: &mut Rng) -> Vec<Sample> {
    let late = random.i64(0..2) * random.i64(0..400_000_000);
    let time = Timestamp::from_nanos(gateway.time - late);
    let mut samples = Vec::new();
    for tag in TAGS {
        if random.u8(..3) == 0 {
            let mut one = sample(tag, value(tag, random), time);
            if random.u8(..10) == 0 {
                (one.value, one.quality) = (None, Quality::BAD);
            }
            if random.u8(..10) == 0 {
                one.source_time = None;
            }
            one.gap = random.u8(..20) == 0;
            samples.push(one);
        }
    }
    samples
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

/// What events say, but for times that only the process knows.
fn told(events: &[Event]) -> Vec<String> {
    let of = |event: &Event| format!("{} {} {} {}", event.name, event.id, event.headers, data(event));
    let of_equipment = events
        .iter()
        .filter(|event| &*event.name != "SourceConnectionChanged");
    of_equipment.map(of).collect()
}

fn same(whole: &[Event], parted: &[Event], when: &str) {
    let (whole, parted) = (told(whole), told(parted));
    for (one, other) in whole.iter().zip(&parted) {
        assert_eq!(one, other, "{when}");
    }
    assert_eq!(whole.len(), parted.len(), "{when}: {whole:#?} and {parted:#?}");
}

#[test]
fn a_restart_in_the_middle_of_anything_changes_no_event() {
    let mut made = 0;
    for seed in 0..HISTORIES {
        let mut random = Rng::with_seed(seed);
        let new = || {
            let mut gateway = Gateway::start(
                Arc::new(random_plan(&mut Rng::with_seed(seed))),
                std::collections::HashMap::new(),
            );
            gateway.started = Some(0);
            gateway.notice(Notice::Online(Continuity::New));
            gateway
        };
        let (mut whole, mut parted) = (new(), new());
        for number in 0..STEPS {
            let until = whole.time + random.i64(1..900_000_000);
            let when = |part: &str| format!("seed {seed}, step {number}, {part}");
            let (one, other) = (pass(&mut whole, until), pass(&mut parted, until));
            same(&one, &other, &when("time"));
            made += one.len();
            let samples = values(&whole, &mut random);
            let (one, other) = (
                whole.try_batch(&[], &samples).0,
                parted.try_batch(&[], &samples).0,
            );
            same(&one, &other, &when(&format!("{samples:?}")));
            made += one.len();
            if random.u8(..4) == 0 {
                parted = parted.restart();
                let again = [Notice::Online(Continuity::Resumed), Notice::CaughtUp];
                let resumed = parted.try_batch(&again, &[]).0;
                let caught_up = whole.try_batch(&[Notice::CaughtUp], &[]).0;
                same(&caught_up, &resumed, &when("after the restart"));
            }
        }
    }
    assert!(made > 30_000, "only {made} events");
}

/// What each rule tells, without what only the process knows: when it was received, and its place in the stream.
fn told_by_rule(events: &[Event]) -> BTreeMap<String, Vec<String>> {
    let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| &*event.name != "SourceConnectionChanged")
    {
        let mut data = data(event);
        let rule = data["mapping"]["ruleId"].to_string();
        let times = data["timestamps"].as_object_mut().expect("times");
        times.remove("received");
        let lines = event.headers.lines();
        let lines = lines.filter(|line| !line.starts_with("ce_sequence") && !line.starts_with("ce_time"));
        let headers: Vec<&str> = lines.collect();
        rules
            .entry(rule)
            .or_default()
            .push(format!("{} {headers:?} {data}", event.name));
    }
    rules
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
    }

    fn comes_back(mut self, at: i64) -> Self {
        self.gateway.time = at;
        let mut gateway = self.gateway.restart();
        self.events.extend(gateway.advance());
        let online = [Notice::Online(Continuity::Resumed)];
        self.events.extend(gateway.try_batch(&online, &[]).0);
        for samples in self.missed.take().into_iter().flatten() {
            self.events.extend(gateway.try_batch(&[], &samples).0);
        }
        self.events.extend(gateway.try_batch(&[Notice::CaughtUp], &[]).0);
        self.events.extend(gateway.advance());
        Self { gateway, ..self }
    }
}

#[test]
fn what_happened_between_two_processes_makes_the_events_of_one() {
    let mut made = 0;
    for seed in 0..HISTORIES {
        let mut random = Rng::with_seed(seed);
        let new = || {
            let mut plan = random_plan(&mut Rng::with_seed(seed));
            // That nothing changed is told while somebody is there to tell it.
            tag(&mut plan, TEMPERATURE).at_least_every = None;
            let mut gateway = Gateway::start(Arc::new(plan), std::collections::HashMap::new());
            gateway.started = Some(0);
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
            let mut samples = values(&whole, &mut random);
            // A late change speaks for its own tag alone: the source says of each what it is.
            samples.extend(
                last.values()
                    .filter(|last| samples.iter().all(|one| one.tag != last.tag))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            for sample in &mut samples {
                sample.source_time = Some(Timestamp::from_nanos(until));
                last.insert(
                    sample.tag,
                    Sample {
                        gap: false,
                        ..sample.clone()
                    },
                );
            }
            one.extend(whole.try_batch(&[], &samples).0);
            parted.takes(&samples, until);
            if parted.missed.is_none() && random.u8(..6) == 0 {
                parted.gateway.store();
                parted.missed = Some(Vec::new());
            } else if parted.missed.is_some() && (random.u8(..3) == 0 || number + 1 == STEPS) {
                parted = parted.comes_back(until);
                one.extend(whole.try_batch(&[Notice::CaughtUp], &[]).0);
            }
        }
        let end = whole.time + 20_000_000_000;
        one.extend(pass(&mut whole, end));
        if parted.missed.is_some() {
            parted = parted.comes_back(end);
        }
        parted.events.extend(pass(&mut parted.gateway, end));
        made += one.len();
        let (one, other) = (told_by_rule(&one), told_by_rule(&parted.events));
        for (rule, told) in &one {
            let others = other.get(rule).cloned().unwrap_or_default();
            for (one, other) in told.iter().zip(&others) {
                assert_eq!(one, other, "seed {seed}, rule {rule}: {told:#?} and {others:#?}");
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
