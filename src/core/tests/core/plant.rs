//! A small plant: its tags and a mapping of them. Recordings are tried on it too.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::{
    AlarmBit, CountEvent, Counter, Equipment, EquipmentId, Field, Plan, Rule, RuleKind, RuleSpec, Slot,
    SourceRow, Tag, TagSpec,
};
use floorgate_core::table::ValueTable;
use floorgate_sample::{Quality, Sample, SourceId, TagId, Timestamp, Value};
use serde_json::json;

pub const ORDER: TagId = TagId(0);
pub const STATUS: TagId = TagId(1);
pub const STATE: TagId = TagId(2);
pub const GOOD: TagId = TagId(3);
pub const ALARMS: TagId = TagId(4);
pub const TEMPERATURE: TagId = TagId(5);

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

pub fn plan() -> Plan {
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

pub fn sample(tag: TagId, value: Value, time: Timestamp) -> Sample {
    Sample {
        tag,
        value: Some(value),
        quality: Quality::GOOD,
        source_time: Some(time),
        server_time: None,
        gap: false,
    }
}

/// The meaning of a tag that nobody else has yet.
pub fn tag(plan: &mut Plan, tag: TagId) -> &mut TagSpec {
    Arc::get_mut(&mut plan.tags[tag.index()].spec).expect("a spec of its own")
}
