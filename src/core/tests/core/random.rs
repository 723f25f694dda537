//! Random mappings, and what a random plant sends to them.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use floorgate_core::expression::Expression;
use floorgate_core::plan::{
    Aggregate, AlarmBit, Condition, CountEvent, Counter, EdgeSpec, EquipmentId, Field, Plan, Rule, RuleId,
    RuleKind, RuleSpec, Shape, Slot, Snapshot, Subject, Tag, TagSpec, WindowSpec,
};
use floorgate_sample::{Quality, Sample, SourceId, TagId, Timestamp, Value};

use super::plant::{ALARMS, GOOD, ORDER, STATE, STATUS, TEMPERATURE, plan, sample, tag};

/// A tag that is a heartbeat.
pub const BEAT: TagId = TagId(6);
pub const TAGS: [TagId; 7] = [ORDER, STATUS, STATE, GOOD, ALARMS, TEMPERATURE, BEAT];
/// Tags that snapshots read.
const READ: [TagId; 3] = [GOOD, TEMPERATURE, ORDER];
/// What lets a rule look at a change.
const GUARDS: [&str; 5] = [
    "state != 'Idle'",
    "order == 'WO-1' || order == ''",
    "temperature < 5.0",
    "alarms == 0",
    "state == 'Execute' || good > 30000",
];

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
fn alarm(hold: Duration, random: &mut Rng) -> RuleSpec {
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
            back: [3.0, 4.0][random.usize(..2)],
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

/// Some of the states, and some of those that may follow.
fn transitions(random: &mut Rng) -> Shape {
    let states = ["Idle", "Starting", "Execute", "Stopped"];
    let rows = states.map(|from| {
        let to = states.into_iter().filter(|_| random.bool()).map(Arc::from);
        (from.into(), to.collect())
    });
    Shape::Transitions(rows.into_iter().filter(|_| random.u8(..4) > 0).collect())
}

/// The slot of a tag that a rule reads besides.
fn slot_of(tag: TagId, inputs: &mut Vec<TagId>) -> Slot {
    let place = inputs.iter().position(|input| *input == tag);
    let place = place.unwrap_or_else(|| {
        inputs.push(tag);
        inputs.len() - 1
    });
    Slot(u16::try_from(place).expect("a few inputs"))
}

/// What is read when a rule is due: of each rule other tags, by which requests are told apart. What came for a join is not read again.
fn snapshot(number: usize, inputs: &mut Vec<TagId>, spec: &mut RuleSpec, random: &mut Rng) {
    let read = (0..).zip(READ).filter(|(bit, _)| (number + 1) >> bit & 1 == 1);
    let read: Vec<TagId> = read.map(|(_, tag)| tag).collect();
    let joined = inputs.get(1..spec.shape.triggers()).unwrap_or_default();
    if joined.iter().any(|tag| read.contains(tag)) {
        return;
    }
    let tags: Box<[Slot]> = read.iter().map(|tag| slot_of(*tag, inputs)).collect();
    spec.data.push(("read".into(), Field::Input(tags[0])));
    let unchanged = random.bool().then_some(tags[0]);
    spec.snapshot = Some(Snapshot { tags, unchanged });
}

/// A guard over tags that the rule may not have otherwise.
fn guard(inputs: &mut Vec<TagId>, random: &mut Rng) -> Expression {
    let text = GUARDS[random.usize(..GUARDS.len())];
    let resolve = |name: &str| {
        let names = ["order", "status", "state", "good", "alarms", "temperature"];
        let place = names.iter().position(|known| *known == name)?;
        Some(slot_of(TAGS[place], inputs))
    };
    Expression::compile(text, resolve).expect("an expression")
}

/// A rule of a random shape.
fn rule(number: usize, random: &mut Rng) -> Rule {
    let within = Duration::from_millis(300 + random.u64(..3000));
    let field = |slot| vec![(Arc::from("field"), Field::Input(Slot(slot)))];
    let (mut inputs, mut spec): (Vec<TagId>, RuleSpec) = match random.u8(..10) {
        0 => {
            let limit = f64::from(random.u8(1..7));
            let back = limit - [0.0, 1.0, 1.5][random.usize(..3)];
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
        7 => (vec![TEMPERATURE], alarm(within, random)),
        8 => (vec![STATE, ORDER], custom(transitions(random), field(1))),
        _ => (vec![STATE, ORDER, GOOD], numbered(random)),
    };
    if matches!(spec.kind, RuleKind::Custom { .. }) && random.u8(..3) == 0 {
        snapshot(number, &mut inputs, &mut spec, random);
    }
    if random.u8(..3) == 0 {
        spec.when = Some(guard(&mut inputs, random));
    }
    Rule {
        id: format!("random.{number}").into(),
        equipment: EquipmentId(0),
        inputs: inputs.into(),
        topic: "acme.busan.mes.x.v1".into(),
        run: random.bool().then_some(RuleId(0)),
        spec: Arc::new(spec),
    }
}

/// The plan of the other tests, with random rules beside its own and random meanings of its tags.
pub fn random_plan(random: &mut Rng) -> Plan {
    let mut plan = plan();
    plan.tags.push(Tag {
        key: "line/beat".into(),
        address: 0,
        source: SourceId(0),
        valid: None,
        spec: Arc::new(TagSpec {
            name: "beat".into(),
            heartbeat: random
                .bool()
                .then(|| Duration::from_millis(random.u64(1500..6000))),
            ..TagSpec::default()
        }),
    });
    for rule in &mut plan.rules {
        if random.u8(..4) == 0 {
            let mut inputs = rule.inputs.to_vec();
            Arc::get_mut(&mut rule.spec).expect("a spec of its own").when = Some(guard(&mut inputs, random));
            rule.inputs = inputs.into();
        }
    }
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
        decimals: 0,
    });
    if random.bool() {
        plan.tags[TEMPERATURE.index()].valid = Some(ALARMS);
    }
    plan
}

pub fn value(tag: TagId, random: &mut Rng) -> Value {
    match tag {
        ORDER => Value::text(["", "WO-1", "WO-2"][random.usize(..3)]),
        STATUS => Value::Int(random.i64(1..7)),
        STATE => Value::Int([4, 3, 6, 2][random.usize(..4)]),
        GOOD => Value::UInt(random.u64(..6) * 20_000 % 65_536),
        ALARMS => Value::UInt(random.u64(..2)),
        BEAT => Value::UInt(random.u64(..3)),
        _ => Value::Float64(f64::from(random.u8(..8))),
    }
}

/// Values that come together; some of them are bad, and some have a hole before them.
pub fn values(time: Timestamp, random: &mut Rng) -> Vec<Sample> {
    let some = TAGS
        .into_iter()
        .filter(|_| random.u8(..3) == 0)
        .collect::<Vec<_>>();
    some.into_iter().map(|tag| one_value(tag, time, random)).collect()
}

pub fn one_value(tag: TagId, time: Timestamp, random: &mut Rng) -> Sample {
    let mut one = sample(tag, value(tag, random), time);
    if random.u8(..10) == 0 {
        (one.value, one.quality) = (None, Quality::BAD);
    }
    if random.u8(..10) == 0 {
        one.source_time = None;
    }
    one.gap = random.u8(..20) == 0;
    one
}
