//! Events: which fields of them are asked for, and what they come to (OPC 10000-4 §7.22.3, OPC 10000-9).

use floorgate_adapter_api::{Sample, TagId, Value};
use opcua::types::{
    AttributeId, ContentFilter, ContentFilterElement, DataValue, DateTime, EventFilter, ExtensionObject,
    FilterOperator, LiteralOperand, NodeId, NumericRange, ObjectTypeId, QualifiedName,
    SimpleAttributeOperand, StatusCode, Variant,
};

use crate::item::{Item, Tag, What};
use crate::structure::Types;
use crate::value::{Unsupported, refusal, told, value_of};

/// The fields that come first in each event: its time, when the server took it, and what it is.
pub const FIRST: [&str; 3] = ["Time", "ReceiveTime", "EventType"];
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

/// Fields of a condition; those after the first are asked for beside [`FIRST`], in this order.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Of {
    EventType = FIRST.len() - 1,
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
const CONDITION: [(ObjectTypeId, &str); 12] = [
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
    let mut select: Vec<SimpleAttributeOperand> = FIRST.map(|name| clause(base(), 0, name)).into();
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

/// The fields of an event, as they were asked for.
pub struct Fields(pub Vec<Variant>);

impl Fields {
    fn take(&mut self, place: usize) -> Variant {
        self.0.get_mut(place).map(std::mem::take).unwrap_or_default()
    }

    /// When it happened, and when the server took it.
    pub fn times(&mut self) -> [Option<DateTime>; 2] {
        [0, 1].map(|place| match self.take(place) {
            Variant::DateTime(time) => Some(*time),
            _ => None,
        })
    }

    /// A field.
    pub fn of(&mut self, field: Of) -> Variant {
        self.take(field as usize)
    }

    /// A field that is true or false.
    pub fn is(&mut self, field: Of) -> Option<bool> {
        match self.of(field) {
            Variant::Boolean(is) => Some(is),
            _ => None,
        }
    }

    /// A field in the gateway's types; none where the server says that it cannot tell it.
    pub fn value(&mut self, field: Of) -> Option<Value> {
        let told = Some(self.of(field)).filter(|told| !matches!(told, Variant::StatusCode(_)));
        value_of(told?, None).ok().flatten()
    }
}

/// What an event comes to.
#[derive(Debug)]
pub enum Happened {
    /// Nothing: it is about a refresh of conditions.
    Nothing,
    /// The server lost events of the item.
    Lost(Vec<Sample>),
    /// Samples of its tags, and a type that could not be taken over.
    Told(Vec<Sample>, Option<Unsupported>),
}

/// The fields that are a status. In the place of any other a status says why there is no value (OPC 10000-4 §7.22.3).
const STATUSES: [&str; 2] = ["Quality", "StatusCodeId"];

/// What an event of a type that is asked for by its fields, which have these names, comes to.
pub fn happened(tags: &[Tag], names: &[Box<str>], mut fields: Fields, types: &Types) -> Happened {
    let [source_timestamp, server_timestamp] = fields.times();
    if let Variant::NodeId(of) = fields.of(Of::EventType) {
        let is = |id: ObjectTypeId| *of == id;
        if is(ObjectTypeId::EventQueueOverflowEventType) {
            return Happened::Lost(tags.iter().map(|tag| lost(tag.id)).collect());
        }
        // These come whatever is asked for (OPC 10000-9 §4.5).
        if is(ObjectTypeId::RefreshStartEventType)
            || is(ObjectTypeId::RefreshEndEventType)
            || is(ObjectTypeId::RefreshRequiredEventType)
        {
            return Happened::Nothing;
        }
    }
    let (mut samples, mut unsupported) = (Vec::with_capacity(tags.len()), None);
    for (place, tag) in (FIRST.len()..).zip(tags) {
        let name = names.get(place - FIRST.len()).map_or("", |name| name);
        let is_status = STATUSES.contains(&name.rsplit('/').next().unwrap_or_default());
        let (value, status) = match fields.take(place) {
            Variant::StatusCode(status) if !is_status && !status.is_good() => (None, Some(status)),
            value => (Some(value), None),
        };
        let data = DataValue {
            value,
            status,
            source_timestamp,
            server_timestamp,
            ..DataValue::null()
        };
        let (told, kind) = told(data, Some(types));
        samples.push(told.sample(tag.id, tag.field.as_ref()));
        unsupported = kind.or(unsupported);
    }
    Happened::Told(samples, unsupported)
}

/// Says of a tag that something of it was lost: what comes next has a gap.
pub fn lost(tag: TagId) -> Sample {
    Sample {
        gap: true,
        ..refusal(tag, StatusCode::BadDataLost)
    }
}

#[cfg(test)]
mod tests {
    use floorgate_adapter_api::Quality;

    use super::*;

    /// An event of a type with the field of each of two tags.
    fn event(of: ObjectTypeId) -> Happened {
        let tags = ["message", "severity"].into_iter().zip(3..);
        let tags: Vec<Tag> = tags
            .map(|(name, number)| Tag {
                id: TagId(number),
                name: name.into(),
                field: None,
            })
            .collect();
        let now = || Variant::from(DateTime::now());
        let fields = vec![
            now(),
            now(),
            NodeId::from(of).into(),
            Variant::from("full"),
            Variant::from(500_u16),
        ];
        happened(&tags, &[], Fields(fields), &Types::default())
    }

    #[test]
    fn that_a_queue_was_too_short_is_a_loss_of_each_tag() {
        let Happened::Lost(samples) = event(ObjectTypeId::EventQueueOverflowEventType) else {
            panic!("events were lost");
        };
        let lost: Vec<_> = samples
            .iter()
            .map(|sample| {
                (
                    sample.tag,
                    sample.gap,
                    sample.quality.is_bad(),
                    sample.value.is_none(),
                )
            })
            .collect();
        assert_eq!(lost, [(TagId(3), true, true, true), (TagId(4), true, true, true)]);
    }

    #[test]
    fn a_status_in_the_place_of_a_field_is_why_there_is_no_value() {
        let tag = |number: u32| Tag {
            id: TagId(number),
            name: "tag".into(),
            field: None,
        };
        let denied = || Variant::StatusCode(StatusCode::BadUserAccessDenied);
        let fields = vec![Variant::Empty, Variant::Empty, Variant::Empty, denied(), denied()];
        let names = ["JobOrder".into(), "Quality".into()];
        let told = happened(&[tag(1), tag(2)], &names, Fields(fields), &Types::default());
        let Happened::Told(samples, None) = told else {
            panic!("{told:?}")
        };
        let seen: Vec<_> = samples.iter().map(|s| (s.value.clone(), s.quality)).collect();
        let status = StatusCode::BadUserAccessDenied.bits();
        assert_eq!(
            seen,
            [
                (None, Quality(status)),
                (Some(Value::UInt(u64::from(status))), Quality::GOOD)
            ]
        );
    }

    #[test]
    fn what_is_said_of_a_refresh_is_no_event() {
        for of in [
            ObjectTypeId::RefreshStartEventType,
            ObjectTypeId::RefreshEndEventType,
            ObjectTypeId::RefreshRequiredEventType,
        ] {
            assert!(matches!(event(of), Happened::Nothing), "{of:?}");
        }
        let Happened::Told(samples, None) = event(ObjectTypeId::SystemEventType) else {
            panic!("an event");
        };
        assert!(
            samples
                .iter()
                .all(|sample| !sample.gap && sample.quality.is_good())
        );
    }
}
