//! What one change costs: from a sample to a sealed event, by the kind of rule and the number of tags. `cargo bench --profile dist -p floorgate-core` measures what ships.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use floorgate_core::expression::Expression;
use floorgate_core::plan::{
    Condition, CountEvent, Counter, EdgeSpec, Equipment, EquipmentId, Field, Plan, Rule, RuleKind, RuleSpec,
    Shape, Slot, SourceRow, Tag, TagSpec,
};
use floorgate_core::table::ValueTable;
use floorgate_core::{Core, Encoding, Input, Now, Settings};
use floorgate_sample::{Continuity, Notice, Quality, Sample, SourceId, TagId, Timestamp, Value};

/// Tags of one machine; each machine has the same rules.
const TAGS: usize = 10;

/// A kind of rule, its trigger's meaning, and the value of the trigger in a round.
struct Kind {
    name: &'static str,
    tag: TagSpec,
    rule: RuleSpec,
    value: fn(u64) -> Value,
}

fn kinds() -> Vec<Kind> {
    let numbers = |round: u64| Value::Float64(round as f64 * 0.5);
    let states = |round: u64| Value::Int(if round.is_multiple_of(2) { 6 } else { 11 });
    let custom = || RuleKind::Custom {
        event: "PartMade".into(),
        domain: "mes".into(),
        subject: None,
    };
    let expression = |text| Expression::compile(text, |_| Some(Slot(1))).expect("an expression");
    vec![
        Kind {
            name: "measurement",
            tag: TagSpec::default(),
            rule: RuleSpec::of(RuleKind::Measurement { name: "t".into() }),
            value: numbers,
        },
        Kind {
            name: "state",
            tag: TagSpec {
                values: ValueTable::standard("packml-state").map(Arc::new),
                ..TagSpec::default()
            },
            rule: RuleSpec::of(RuleKind::EquipmentState),
            value: states,
        },
        Kind {
            name: "count",
            tag: TagSpec {
                counter: Some(Counter {
                    max: u64::from(u32::MAX),
                    largest_step: Some(1000),
                    decimals: 0,
                }),
                ..TagSpec::default()
            },
            rule: RuleSpec::of(RuleKind::ProductionCount {
                event: CountEvent::Production("good".into()),
                unit: "C62".into(),
                reset: None,
            }),
            value: Value::UInt,
        },
        Kind {
            name: "edge",
            tag: TagSpec::default(),
            rule: RuleSpec {
                shape: Shape::Edge(EdgeSpec {
                    condition: Condition::True,
                    rising: true,
                    falling: true,
                    hold: Duration::ZERO,
                }),
                data: vec![("part".into(), Field::Input(Slot(1)))],
                ..RuleSpec::of(custom())
            },
            value: |round| Value::Bool(round.is_multiple_of(2)),
        },
        Kind {
            name: "guard and computed field",
            tag: TagSpec::default(),
            rule: RuleSpec {
                when: Some(expression("other > 1 && other < 1000000")),
                data: vec![("twice".into(), Field::Computed(expression("other * 2")))],
                ..RuleSpec::of(custom())
            },
            value: numbers,
        },
    ]
}

/// A core with so many tags; every tenth is a trigger, and is followed by what its rule reads.
fn core(kind: Kind, tags: usize) -> Core {
    let (trigger, rule) = (Arc::new(kind.tag), Arc::new(kind.rule));
    let topic: Arc<str> = "acme.busan.mes.x.v1".into();
    let other = Arc::new(TagSpec::default());
    let mut plan = Plan {
        sources: vec![SourceRow {
            name: "plc".into(),
            topic: "acme.busan.mes.source-connection.v1".into(),
        }],
        ..Plan::default()
    };
    for number in 0..tags {
        let spec = if number % TAGS == 0 { &trigger } else { &other };
        plan.tags.push(Tag {
            key: format!("hall/{}/t{}", number / TAGS, number % TAGS).into(),
            address: 0,
            source: SourceId(0),
            valid: None,
            spec: Arc::clone(spec),
        });
    }
    for machine in 0..tags / TAGS {
        let first = u32::try_from(machine * TAGS).expect("few tags");
        plan.equipment.push(Equipment {
            path: format!("acme/busan/filling/line{machine}/filler").into(),
        });
        plan.rules.push(Rule {
            id: format!("hall.{machine}.rule").into(),
            equipment: EquipmentId(u32::try_from(machine).expect("few machines")),
            inputs: [TagId(first), TagId(first + 1)].into(),
            topic: Arc::clone(&topic),
            run: None,
            spec: Arc::clone(&rule),
        });
    }
    let settings = Settings {
        gateway: "bench".into(),
        type_prefix: "io.floorgate".into(),
        encoding: Encoding::Binary,
        stream_epoch: 1,
        incarnation: uuid::Uuid::nil(),
    };
    Core::new(Arc::new(plan), settings, &|_| None)
}

fn sample(tag: usize, value: Value, time: Timestamp) -> Sample {
    Sample {
        tag: TagId(u32::try_from(tag).expect("few tags")),
        value: Some(value),
        quality: Quality::GOOD,
        source_time: Some(time),
        server_time: None,
        gap: false,
    }
}

fn one_change(criterion: &mut Criterion) {
    for name in kinds().iter().map(|kind| kind.name) {
        let mut group = criterion.benchmark_group(name);
        for tags in [1_000, 10_000, 100_000] {
            let kind = kinds()
                .into_iter()
                .find(|kind| kind.name == name)
                .expect("the kind");
            let value = kind.value;
            let mut core = core(kind, tags);
            let mut events = Vec::new();
            let mut round = 0_u64;
            let mut take = |core: &mut Core, notices: &[Notice], samples: &[Sample]| {
                round += 1;
                let wall = Timestamp::from_nanos(i64::try_from(round).unwrap_or(i64::MAX) * 1_000_000);
                let now = Now {
                    wall,
                    monotonic: Duration::from_millis(round),
                };
                events.clear();
                core.apply(
                    Input {
                        source: SourceId(0),
                        received: wall,
                        notices,
                        samples,
                        now,
                    },
                    &mut events,
                );
                events.len()
            };
            let start = Timestamp::from_nanos(0);
            let all: Vec<Sample> = (0..tags).map(|tag| sample(tag, Value::Int(7), start)).collect();
            take(&mut core, &[Notice::Online(Continuity::New)], &all);
            let machines = tags / TAGS;
            let mut number = 0_usize;
            group.bench_function(BenchmarkId::from_parameter(tags), |bencher| {
                let mut made = 0;
                bencher.iter(|| {
                    number += 1;
                    // Machines take turns, as on a floor: what is looked up is seldom in a cache.
                    let tag = number * 7919 % machines * TAGS;
                    let round = (number / machines) as u64;
                    let time = Timestamp::from_nanos(i64::try_from(number).unwrap_or(i64::MAX) * 1_000);
                    made += take(&mut core, &[], black_box(&[sample(tag, value(round + 1), time)]));
                });
                assert!(made > 0, "{name} with {tags} tags makes events");
            });
        }
        group.finish();
    }
}

criterion_group!(benches, one_change);
criterion_main!(benches);
