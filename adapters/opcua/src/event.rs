//! Events: which fields of them are asked for, and what they come to (OPC 10000-4 §7.22.3, OPC 10000-9).

use std::collections::HashMap;
use std::sync::Arc;

use floorgate_adapter_api::{Quality, Sample, Value};
use opcua::types::{
    AttributeId, ContentFilter, ContentFilterElement, DataValue, DateTime, EventFilter, ExtensionObject,
    FilterOperator, LiteralOperand, NodeId, NumericRange, ObjectTypeId, QualifiedName,
    SimpleAttributeOperand, Variant,
};

use crate::item::{Item, Tag, What};
use crate::structure::Types;
use crate::value::{Unsupported, time_of, told, value_of};

/// Conditions that one refresh may tell; a server with more is not believed to have told all.
const MOST_CONDITIONS: usize = 20_000;

/// The fields that come first in each event: its time and when the server took it.
const TIMES: [&str; 2] = ["Time", "ReceiveTime"];
/// Fields of every event (OPC 10000-5 §6.4.2); others are of the namespace of their type.
const OF_ALL: [&str; 14] = [
    "ConditionClassId",
    "ConditionClassName",
    "ConditionSubClassId",
    "ConditionSubClassName",
    "EventId",
    "EventType",
    "LocalTime",
    "Message",
    "ReceiveTime",
    "Severity",
    "SourceName",
    "SourceNode",
    "Time",
    "AudioSound",
];

/// The fields of a condition that are asked for after the times, in this order.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Of {
    EventType,
    SourceName,
    Message,
    Severity,
    Condition,
    Name,
    Branch,
    Retain,
    Enabled,
    Active,
    ActiveSince,
    Acknowledged,
    AcknowledgedAt,
}

/// Where each is: the type that has it, and the way from there. The condition's own id is its node's (OPC 10000-9 §5.5.2).
const CONDITION: [(ObjectTypeId, &str); 13] = [
    (ObjectTypeId::BaseEventType, "EventType"),
    (ObjectTypeId::BaseEventType, "SourceName"),
    (ObjectTypeId::BaseEventType, "Message"),
    (ObjectTypeId::BaseEventType, "Severity"),
    (ObjectTypeId::ConditionType, ""),
    (ObjectTypeId::ConditionType, "ConditionName"),
    (ObjectTypeId::ConditionType, "BranchId"),
    (ObjectTypeId::ConditionType, "Retain"),
    (ObjectTypeId::ConditionType, "EnabledState/Id"),
    (ObjectTypeId::AlarmConditionType, "ActiveState/Id"),
    (ObjectTypeId::AlarmConditionType, "ActiveState/TransitionTime"),
    (ObjectTypeId::AcknowledgeableConditionType, "AckedState/Id"),
    (
        ObjectTypeId::AcknowledgeableConditionType,
        "AckedState/TransitionTime",
    ),
];

fn clause(of: NodeId, namespace: u16, way: &str) -> SimpleAttributeOperand {
    let names = way.split('/').filter(|name| !name.is_empty());
    SimpleAttributeOperand {
        type_definition_id: of,
        browse_path: Some(names.map(|name| QualifiedName::new(namespace, name)).collect()),
        attribute_id: if way.is_empty() {
            AttributeId::NodeId
        } else {
            AttributeId::Value
        } as u32,
        index_range: NumericRange::None,
    }
}

/// The filter of an item that tells events; `None` where the namespace of their type is not on the server.
pub fn filter(item: &Item, namespaces: &[Option<u16>]) -> Option<EventFilter> {
    let base = || NodeId::from(ObjectTypeId::BaseEventType);
    let mut select: Vec<SimpleAttributeOperand> = TIMES.map(|name| clause(base(), 0, name)).into();
    let mut only = ContentFilter::default();
    match &item.what {
        What::Value => return None,
        What::Conditions => select.extend(CONDITION.map(|(of, way)| clause(of.into(), 0, way))),
        What::Events(of, fields) => {
            let of = match of {
                Some(place) => Some(place.node_id(namespaces)?),
                None => None,
            };
            for field in fields {
                let first = field.split('/').next().unwrap_or_default();
                let is_of_all = OF_ALL.contains(&first);
                select.push(match &of {
                    Some(of) if !is_of_all => clause(of.clone(), of.namespace, field),
                    _ => clause(base(), 0, field),
                });
            }
            if let Some(of) = of {
                only.elements = Some(vec![ContentFilterElement {
                    filter_operator: FilterOperator::OfType,
                    filter_operands: Some(vec![ExtensionObject::from_message(LiteralOperand {
                        value: of.into(),
                    })]),
                }]);
            }
        }
    }
    Some(EventFilter {
        select_clauses: Some(select),
        where_clause: only,
    })
}

/// What an event comes to.
#[derive(Debug, Default)]
pub struct Happened {
    /// Samples of its tags.
    pub samples: Vec<Sample>,
    /// Types that could not be taken over.
    pub unsupported: Option<Unsupported>,
    /// What is to be done about the item's conditions.
    pub conditions: Option<Refresh>,
}

/// What an item that tells conditions says of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// They are told now.
    Begun,
    /// They have been told.
    Done,
    /// They are to be asked for: the server lost events, or says so.
    Wanted,
}

/// The conditions that a refresh has told so far, by id.
#[derive(Debug, Default)]
pub struct Telling {
    all: HashMap<Arc<str>, Value>,
    /// There were more.
    is_part: bool,
}

/// The fields of an event, as they were asked for.
struct Fields(Vec<Variant>);

impl Fields {
    fn take(&mut self, place: usize) -> Variant {
        self.0.get_mut(place).map(std::mem::take).unwrap_or_default()
    }

    fn time(&mut self, place: usize) -> Option<DateTime> {
        match self.take(place) {
            Variant::DateTime(time) => Some(*time),
            _ => None,
        }
    }

    fn of(&mut self, field: Of) -> Variant {
        self.take(TIMES.len() + field as usize)
    }

    fn is(&mut self, field: Of) -> Option<bool> {
        match self.of(field) {
            Variant::Boolean(is) => Some(is),
            _ => None,
        }
    }

    fn value(&mut self, field: Of) -> Option<Value> {
        value_of(self.of(field), None).ok().flatten()
    }
}

/// Samples of an event of a type that is asked for by its fields.
pub fn happened(tags: &[Tag], fields: Vec<Variant>, types: &Types) -> Happened {
    let mut fields = Fields(fields);
    let [source_timestamp, server_timestamp] = [0, 1].map(|place| fields.time(place));
    let mut happened = Happened::default();
    for (place, tag) in (TIMES.len()..).zip(tags) {
        let data = DataValue {
            value: Some(fields.take(place)),
            source_timestamp,
            server_timestamp,
            ..DataValue::null()
        };
        let (told, unsupported) = told(data, Some(types));
        happened.samples.push(told.sample(tag.id, tag.field.as_ref()));
        happened.unsupported = unsupported.or(happened.unsupported);
    }
    happened
}

/// What an event of an item that tells conditions comes to; `telling` is a refresh that goes on.
pub fn condition(tags: &[Tag], fields: Vec<Variant>, telling: &mut Option<Telling>) -> Happened {
    let mut fields = Fields(fields);
    let [source_time, server_time] = [0, 1].map(|place| time_of(fields.time(place), None));
    let of = match fields.of(Of::EventType) {
        Variant::NodeId(of) => *of,
        _ => NodeId::null(),
    };
    let sample = |value: &Value, gap: bool| {
        let of = move |tag: &Tag| Sample {
            tag: tag.id,
            value: Some(value.clone()),
            quality: Quality::GOOD,
            source_time,
            server_time,
            gap,
        };
        tags.iter().map(of).collect::<Vec<Sample>>()
    };
    let is = |id: ObjectTypeId| of == id;
    if is(ObjectTypeId::RefreshStartEventType) {
        *telling = Some(Telling::default());
        return Happened {
            conditions: Some(Refresh::Begun),
            ..Happened::default()
        };
    }
    if is(ObjectTypeId::RefreshEndEventType) {
        let Some(all) = telling.take() else {
            return Happened::default();
        };
        let is_part = all.is_part;
        let mut all: Vec<(Arc<str>, Value)> = all.all.into_iter().collect();
        // The order is no meaning of its own, and is the same each time.
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let all = all.into_iter().map(|(_, record)| record);
        let samples = if is_part {
            // What is not among them may be raised all the same.
            all.flat_map(|record| sample(&record, true)).collect()
        } else {
            let all = Value::List(all.collect());
            sample(&Value::Record([("refresh".into(), all)].into()), false)
        };
        return Happened {
            samples,
            conditions: Some(Refresh::Done),
            ..Happened::default()
        };
    }
    if is(ObjectTypeId::RefreshRequiredEventType) || is(ObjectTypeId::EventQueueOverflowEventType) {
        return Happened {
            conditions: Some(Refresh::Wanted),
            ..Happened::default()
        };
    }
    let Some((id, record)) = record(&of, &mut fields) else {
        return Happened::default();
    };
    match telling {
        Some(told) => {
            if told.all.len() < MOST_CONDITIONS || told.all.contains_key(&id) {
                told.all.insert(id, record);
            } else {
                told.is_part = true;
            }
            Happened::default()
        }
        None => Happened {
            samples: sample(&record, false),
            ..Happened::default()
        },
    }
}

/// The record of a condition, and its id; `None` where the event is of none, or of one of its former states.
fn record(of: &NodeId, fields: &mut Fields) -> Option<(Arc<str>, Value)> {
    let id: Arc<str> = match fields.of(Of::Condition) {
        Variant::NodeId(id) if !id.is_null() => id.to_string().into(),
        _ => return None,
    };
    // A branch is a former state that waits to be acknowledged, beside the present one (OPC 10000-9 §5.5.2).
    if matches!(fields.of(Of::Branch), Variant::NodeId(branch) if !branch.is_null()) {
        return None;
    }
    // One that is disabled is not looked at any more; one without a state of activity is active while it is of interest.
    let retain = fields.is(Of::Retain);
    let is_enabled = fields.is(Of::Enabled) != Some(false);
    let active = fields.is(Of::Active).or(retain)? && is_enabled;
    let kind = match of.as_u32() {
        Some(number) if of.namespace == 0 => ObjectTypeId::try_from(number).map(|id| format!("{id:?}")),
        _ => Err(()),
    };
    let mut parts: Vec<(Arc<str>, Value)> = vec![
        ("condition".into(), Value::Text(Arc::clone(&id))),
        ("active".into(), Value::Bool(active)),
        (
            "type".into(),
            Value::text(kind.unwrap_or_else(|()| of.to_string())),
        ),
    ];
    let mut put = |name: &str, value: Option<Value>| parts.extend(value.map(|value| (name.into(), value)));
    put("name", fields.value(Of::Name));
    put("source", fields.value(Of::SourceName));
    put("message", fields.value(Of::Message));
    put("severity", fields.value(Of::Severity));
    let acknowledged = fields.value(Of::Acknowledged);
    let is_acknowledged = acknowledged == Some(Value::Bool(true));
    put("acknowledged", acknowledged);
    put(
        "acknowledgedAt",
        fields.value(Of::AcknowledgedAt).filter(|_| is_acknowledged),
    );
    put("since", fields.value(Of::ActiveSince).filter(|_| active));
    Some((id, Value::Record(parts.into())))
}
