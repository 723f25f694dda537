//! The core as the engine drives it: batches in, events and cells out.

mod counters;
mod equipment_state;
mod failures;
mod gaps;
mod handover;
mod heartbeats;
mod hostile;
mod late;
mod machine;
mod moments;
mod moved;
mod probe;
mod random;
mod replay;
mod resume;
mod shapes;
mod shedding;
mod timers;
mod two_sources;
mod waiting;
mod windows;
mod work_order;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::{
    AlarmBit, CountEvent, Counter, Equipment, EquipmentId, Field, Plan, Rule, RuleKind, RuleSpec, Slot,
    SourceRow, Tag, TagSpec,
};
use floorgate_core::table::ValueTable;
use floorgate_core::{Core, Encoding, Event, Failures, Input, Now, Settings};
use floorgate_sample::{Continuity, Notice, Quality, Sample, SourceId, TagId, Timestamp, Value};
use serde_json::{Value as Json, json};

const ORDER: TagId = TagId(0);
const STATUS: TagId = TagId(1);
const STATE: TagId = TagId(2);
const GOOD: TagId = TagId(3);
const ALARMS: TagId = TagId(4);
const TEMPERATURE: TagId = TagId(5);

fn tags() -> Vec<Tag> {
    let table = |name| ValueTable::standard(name).map(Arc::new);
    let specs = [
        TagSpec {
            name: "order".into(),
            ..TagSpec::default()
        },
        TagSpec {
            name: "status".into(),
            values: table("isa95-job-state"),
            ..TagSpec::default()
        },
        TagSpec {
            name: "state".into(),
            values: table("packml-state"),
            ..TagSpec::default()
        },
        TagSpec {
            name: "good".into(),
            counter: Some(Counter {
                max: 65_535,
                largest_step: Some(1000),
                decimals: 0,
            }),
            ..TagSpec::default()
        },
        TagSpec {
            name: "alarms".into(),
            bits: Some(
                [AlarmBit {
                    bit: 0,
                    code: "E-STOP".into(),
                    text: None,
                    severity: 900,
                    category: None,
                }]
                .into(),
            ),
            ..TagSpec::default()
        },
        TagSpec {
            name: "temperature".into(),
            unit: Some("CEL".into()),
            at_least_every: Some(Duration::from_mins(1)),
            ..TagSpec::default()
        },
    ];
    specs
        .into_iter()
        .map(|spec| Tag {
            key: format!("line/{}", spec.name).into(),
            address: 0,
            source: SourceId(0),
            valid: None,
            spec: Arc::new(spec),
        })
        .collect()
}

fn plan() -> Plan {
    let quantity = vec![(
        Arc::from("quantity"),
        Field::Object(vec![
            ("good".into(), Field::Input(Slot(2))),
            ("unit".into(), Field::Constant(json!("C62"))),
        ]),
    )];
    let rule = |kind, inputs: &[TagId], data| {
        let id: Arc<str> = format!("line.{}", inputs[0].0).into();
        Rule {
            id,
            equipment: EquipmentId(0),
            inputs: inputs.into(),
            topic: "acme.busan.mes.x.v1".into(),
            run: None,
            spec: Arc::new(RuleSpec {
                data,
                ..RuleSpec::of(kind)
            }),
        }
    };
    Plan {
        sources: vec![SourceRow {
            name: "plc".into(),
            topic: "acme.busan.mes.source-connection.v1".into(),
        }],
        equipment: vec![Equipment {
            path: "acme/busan/filling/line1/filler".into(),
        }],
        tags: tags(),
        rules: vec![
            rule(
                RuleKind::WorkOrderStatus {
                    order: Slot(1),
                    latch: Vec::new(),
                },
                &[STATUS, ORDER, GOOD],
                quantity,
            ),
            rule(RuleKind::EquipmentState, &[STATE], vec![]),
            rule(
                RuleKind::ProductionCount {
                    event: CountEvent::Production("good".into()),
                    unit: "C62".into(),
                    reset: None,
                },
                &[GOOD],
                vec![],
            ),
            rule(RuleKind::Alarm { of_condition: None }, &[ALARMS], vec![]),
            rule(
                RuleKind::Measurement {
                    name: "temperature".into(),
                },
                &[TEMPERATURE],
                vec![],
            ),
        ],
    }
}

/// A core whose cells survive it.
struct Gateway {
    plan: Arc<Plan>,
    core: Core,
    cells: HashMap<Arc<str>, String>,
    time: i64,
    /// When the process started, where its monotonic clock runs.
    started: Option<i64>,
    /// How long what is sent is on its way.
    delay: i64,
}

impl Gateway {
    /// A gateway that never ran before, its source online.
    fn of(plan: Plan) -> Self {
        let mut gateway = Self::start(Arc::new(plan), HashMap::new());
        gateway.notice(Notice::Online(Continuity::New));
        gateway
    }

    fn start(plan: Arc<Plan>, cells: HashMap<Arc<str>, String>) -> Self {
        let settings = Settings {
            gateway: "gw".into(),
            type_prefix: "io.floorgate".into(),
            encoding: Encoding::Binary,
            stream_epoch: 1,
            incarnation: uuid::Uuid::nil(),
        };
        let core = Core::new(Arc::clone(&plan), settings, &|key| cells.get(key).cloned());
        Self {
            plan,
            core,
            cells,
            time: 0,
            started: None,
            delay: 5_000_000,
        }
    }

    fn restart(mut self) -> Self {
        self.store();
        Self {
            time: self.time,
            started: self.started.map(|_| self.time),
            delay: self.delay,
            ..Self::start(self.plan, self.cells)
        }
    }

    fn store(&mut self) {
        let mut cells = Vec::new();
        self.core.save(&mut cells);
        self.cells.extend(cells);
    }

    fn notice(&mut self, notice: Notice) -> Vec<Event> {
        self.batch(&[notice], &[])
    }

    /// Samples of one moment, a second after the last.
    fn tick(&mut self, samples: &[(TagId, Value)]) -> Vec<Event> {
        let samples = self.moment(samples);
        self.batch(&[], &samples)
    }

    fn moment(&mut self, samples: &[(TagId, Value)]) -> Vec<Sample> {
        self.time += 1_000_000_000;
        let time = Timestamp::from_nanos(self.time);
        samples
            .iter()
            .map(|(tag, value)| sample(*tag, value.clone(), time))
            .collect()
    }

    /// The moment of its evaluation, some nanoseconds after its time.
    fn now(&self, after: i64) -> Now {
        let passed = self.started.map_or(0, |started| self.time + after - started);
        Now {
            wall: Timestamp::from_nanos(self.time + after),
            monotonic: Duration::from_nanos(passed.unsigned_abs()),
        }
    }

    /// What its timers and debts make.
    fn advance(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let now = self.now(0);
        self.core.advance(now, &mut events);
        self.store();
        events
    }

    fn batch(&mut self, notices: &[Notice], samples: &[Sample]) -> Vec<Event> {
        let (events, failures) = self.try_batch(notices, samples);
        assert_eq!(failures, Failures::default());
        events
    }

    fn try_batch(&mut self, notices: &[Notice], samples: &[Sample]) -> (Vec<Event>, Failures) {
        let mut events = Vec::new();
        let now = self.now(self.delay);
        let received = now.wall;
        self.core.apply(
            Input {
                source: SourceId(0),
                received,
                notices,
                samples,
                now,
            },
            &mut events,
        );
        self.store();
        (events, self.core.take_failures())
    }
}

fn sample(tag: TagId, value: Value, time: Timestamp) -> Sample {
    Sample {
        tag,
        value: Some(value),
        quality: Quality::GOOD,
        source_time: Some(time),
        server_time: None,
        gap: false,
    }
}

fn online() -> Gateway {
    Gateway::of(plan())
}

fn data(event: &Event) -> Json {
    serde_json::from_slice(&event.value).unwrap_or_default()
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| &*event.name).collect()
}

fn one(events: &[Event]) -> Json {
    assert_eq!(events.len(), 1, "{:?}", names(events));
    data(&events[0])
}
