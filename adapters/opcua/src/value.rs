//! From OPC UA's values to ours.

use std::borrow::Cow;
use std::sync::Arc;

use floorgate_adapter_api::{Quality, Sample, TagId, Timestamp, Value};
use opcua::types::{
    DataValue, DateTime, DiagnosticInfo, ExtensionObject, StatusCode, UaNullable as _, Variant,
    VariantScalarTypeId,
};

use crate::bodies::nameless;
use crate::field::Field;
use crate::structure::Types;

/// Most dimensions of an array.
pub const MOST_DIMENSIONS: usize = 16;

const TOO_DEEP: &str = "list or structure that is too deep";

/// A value that the gateway has no type for: a structure that the server does not define, for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub Cow<'static, str>);

/// A data value in the gateway's types: what all tags that come of it have in common.
#[derive(Debug)]
pub struct Told {
    value: Option<Value>,
    quality: Quality,
    source_time: Option<Timestamp>,
    server_time: Option<Timestamp>,
    gap: bool,
}

/// A data value, and the type that could not be taken over, for a warning.
pub fn told(data: DataValue, types: Option<&Types>) -> (Told, Option<Unsupported>) {
    let status = data.status.unwrap_or(StatusCode::Good);
    let mut quality = Quality(status.bits());
    let mut unsupported = None;
    let value = match data.value.map_or(Ok(None), |value| value_of(value, types)) {
        Ok(value) if value.as_ref().map_or(0, Value::levels) <= Value::DEEPEST => value,
        other => {
            // What cannot be shown must not look as if it were there and good.
            if !quality.is_bad() {
                quality = Quality::BAD_DECODING_ERROR;
            }
            let is_deep = || Unsupported(TOO_DEEP.into());
            unsupported = Some(other.err().unwrap_or_else(is_deep));
            None
        }
    };
    let told = Told {
        value: if status.is_bad() { None } else { value },
        quality,
        source_time: time_of(data.source_timestamp, data.source_picoseconds),
        server_time: time_of(data.server_timestamp, data.server_picoseconds),
        gap: status.overflow(),
    };
    (told, unsupported)
}

impl Told {
    /// The sample of a tag that comes of it.
    pub fn sample(&self, tag: TagId, field: Option<&Field>) -> Sample {
        let value = self.value.as_ref();
        Sample {
            tag,
            value: match field {
                Some(field) => value.and_then(|value| field.of(value)),
                None => value.cloned(),
            },
            quality: self.quality,
            source_time: self.source_time,
            server_time: self.server_time,
            gap: self.gap,
        }
    }
}

/// A sample of a data value that is a tag's as a whole.
#[cfg(test)]
fn sample(tag: TagId, data: DataValue) -> (Sample, Option<Unsupported>) {
    let (told, unsupported) = told(data, None);
    (told.sample(tag, None), unsupported)
}

/// A sample that says that a node is refused.
pub fn refusal(tag: TagId, status: StatusCode) -> Sample {
    Sample {
        tag,
        value: None,
        quality: Quality(status.bits()),
        source_time: None,
        server_time: None,
        gap: false,
    }
}

/// `None` for what is absent, null, or out of the range of a [`Timestamp`] (1678 to 2261).
pub fn time_of(time: Option<DateTime>, picoseconds: Option<u16>) -> Option<Timestamp> {
    // Null is the year 1601, and the end of times 9999.
    let nanos = time?.as_chrono().timestamp_nanos_opt()?;
    // The field counts intervals of 10 ps, up to 9999 (OPC 10000-6 §5.2.2.17).
    let below = i64::from(picoseconds.unwrap_or(0).min(9_999) / 100);
    Some(Timestamp::from_nanos(nanos.checked_add(below)?))
}

fn text(text: &opcua::types::UAString) -> Option<Value> {
    text.value().as_deref().map(Value::text)
}

/// A value of ours; `None` for a null. Structures need the server's types.
pub fn value_of(variant: Variant, types: Option<&Types>) -> Result<Option<Value>, Unsupported> {
    match types {
        Some(types) => types.value(variant),
        None => value_with(variant, &mut |object| Err(nameless(object))),
    }
}

/// What stands for a null among the elements of an array. Of text and bytes it is what is empty, which means the same (OPC 10000-6 §5.1.11). Nothing
/// stands for one of another type, and a list without it would lie about its length.
pub fn null_element(of: VariantScalarTypeId) -> Result<Value, Unsupported> {
    match of {
        VariantScalarTypeId::String
        | VariantScalarTypeId::LocalizedText
        | VariantScalarTypeId::QualifiedName
        | VariantScalarTypeId::XmlElement => Ok(Value::text("")),
        VariantScalarTypeId::ByteString => Ok(Value::Bytes(Arc::default())),
        _ => Err(Unsupported("array with null elements".into())),
    }
}

/// How many lists an array of several dimensions has within it.
pub fn lists(dimensions: &[u32]) -> usize {
    if dimensions.contains(&0) {
        return 0;
    }
    let outer = dimensions.split_last().map_or(&[][..], |(_, outer)| outer);
    let each = outer.iter().scan(1_usize, |lists, length| {
        *lists = lists.saturating_mul(*length as usize);
        Some(*lists)
    });
    each.fold(0, usize::saturating_add)
}

/// An array: of several dimensions a list of lists, the last dimension innermost, in the order in which its values are sent (OPC 10000-6
/// §5.2.2.16). One without values is an empty list. What is deeper than a value may be, or would need more lists than it has values, is
/// refused before it is made.
pub fn shaped(items: Vec<Value>, dimensions: &[u32]) -> Result<Value, Unsupported> {
    if dimensions.len() > MOST_DIMENSIONS {
        let much = format!("array of {} dimensions", dimensions.len());
        return Err(Unsupported(much.into()));
    }
    if dimensions.len() > 1 {
        let product = |product: usize, length: &u32| product.checked_mul(*length as usize);
        if dimensions.iter().try_fold(1, product) != Some(items.len()) {
            return Err(Unsupported("array whose dimensions do not fit its values".into()));
        }
        if lists(dimensions) > items.len() + MOST_DIMENSIONS {
            return Err(Unsupported("array of lists of a single value".into()));
        }
        let levels = items.iter().map(Value::levels).max().unwrap_or(0);
        if levels + dimensions.len() > Value::DEEPEST {
            return Err(Unsupported(TOO_DEEP.into()));
        }
    }
    let mut items = items;
    for length in dimensions.iter().skip(1).rev() {
        let mut rest = items.into_iter();
        let row = || {
            let row: Arc<[Value]> = rest.by_ref().take(*length as usize).collect();
            (!row.is_empty()).then_some(Value::List(row))
        };
        items = std::iter::from_fn(row).collect();
    }
    Ok(Value::List(items.into()))
}

/// A value of ours, with what reads a structure.
pub fn value_with(
    variant: Variant,
    structure: &mut dyn FnMut(&ExtensionObject) -> Result<Option<Value>, Unsupported>,
) -> Result<Option<Value>, Unsupported> {
    Ok(Some(match variant {
        Variant::Empty => return Ok(None),
        Variant::Boolean(v) => Value::Bool(v),
        Variant::SByte(v) => Value::Int(i64::from(v)),
        Variant::Int16(v) => Value::Int(i64::from(v)),
        Variant::Int32(v) => Value::Int(i64::from(v)),
        Variant::Int64(v) => Value::Int(v),
        Variant::Byte(v) => Value::UInt(u64::from(v)),
        Variant::UInt16(v) => Value::UInt(u64::from(v)),
        Variant::UInt32(v) => Value::UInt(u64::from(v)),
        Variant::UInt64(v) => Value::UInt(v),
        Variant::StatusCode(v) => Value::UInt(u64::from(v.bits())),
        Variant::Float(v) => Value::Float32(v),
        Variant::Double(v) => Value::Float64(v),
        Variant::String(v) => return Ok(text(&v)),
        Variant::XmlElement(v) if v.is_ua_null() => return Ok(None),
        Variant::XmlElement(v) => Value::text(v.to_string()),
        Variant::LocalizedText(v) => return Ok(text(&v.text)),
        Variant::QualifiedName(v) => return Ok(text(&v.name)),
        Variant::DateTime(v) => return Ok(time_of(Some(*v), None).map(Value::Time)),
        Variant::Guid(v) => Value::text(v.to_string()),
        Variant::NodeId(v) => Value::text(v.to_string()),
        Variant::ExpandedNodeId(v) => Value::text(v.to_string()),
        Variant::ByteString(v) => return Ok(v.value.map(|bytes| Value::Bytes(bytes.into()))),
        Variant::Variant(v) => return value_with(*v, structure),
        Variant::Array(array) => {
            let of = array.value_type;
            let values = array.values.into_iter().map(|value| value_with(value, structure));
            let items = values.map(|value| value?.map_or_else(|| null_element(of), Ok));
            let items: Vec<Value> = items.collect::<Result<_, _>>()?;
            shaped(items, array.dimensions.as_deref().unwrap_or_default())?
        }
        Variant::ExtensionObject(object) => return structure(&object),
        Variant::DataValue(v) => dated(*v, structure)?,
        Variant::DiagnosticInfo(v) => diagnosis(&v),
    }))
}

/// A value that is no tag's own, with what is said of it there, named as in OPC 10000-6 §5.4.2.18. One that is bad stays out.
fn dated(
    data: DataValue,
    structure: &mut dyn FnMut(&ExtensionObject) -> Result<Option<Value>, Unsupported>,
) -> Result<Value, Unsupported> {
    let status = data.status.unwrap_or(StatusCode::Good);
    let value = data.value.filter(|_| !status.is_bad());
    let value = value.map(|value| value_with(value, structure)).transpose()?;
    let time = |time, picoseconds| time_of(time, picoseconds).map(Value::Time);
    Ok(record([
        ("Value", value.flatten()),
        ("StatusCode", Some(Value::UInt(u64::from(status.bits())))),
        (
            "SourceTimestamp",
            time(data.source_timestamp, data.source_picoseconds),
        ),
        (
            "ServerTimestamp",
            time(data.server_timestamp, data.server_picoseconds),
        ),
    ]))
}

/// What a server says of a failure, named as in OPC 10000-6 §5.4.2.13. Numbers stand for texts of the answer that it came with.
fn diagnosis(info: &DiagnosticInfo) -> Value {
    let number = |number: Option<i32>| number.map(|number| Value::Int(i64::from(number)));
    let status = info
        .inner_status_code
        .map(|status| Value::UInt(u64::from(status.bits())));
    record([
        ("SymbolicId", number(info.symbolic_id)),
        ("NamespaceUri", number(info.namespace_uri)),
        ("Locale", number(info.locale)),
        ("LocalizedText", number(info.localized_text)),
        ("AdditionalInfo", info.additional_info.as_ref().and_then(text)),
        ("InnerStatusCode", status),
        (
            "InnerDiagnosticInfo",
            info.inner_diagnostic_info.as_deref().map(diagnosis),
        ),
    ])
}

/// The parts that are there.
fn record<const PARTS: usize>(parts: [(&str, Option<Value>); PARTS]) -> Value {
    let parts = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.into(), value?)));
    Value::Record(parts.collect())
}

#[cfg(test)]
mod tests {
    use opcua::types::{
        Argument, Array, ByteString, Guid, LocalizedText, NodeId, QualifiedName, UAString, XmlElement,
    };

    use super::*;

    fn value(variant: impl Into<Variant>) -> Option<Value> {
        value_of(variant.into(), None).unwrap()
    }

    #[test]
    fn scalars_keep_their_type() {
        assert_eq!(value(true), Some(Value::Bool(true)));
        assert_eq!(value(-3_i8), Some(Value::Int(-3)));
        assert_eq!(value(i64::MIN), Some(Value::Int(i64::MIN)));
        assert_eq!(value(u64::MAX), Some(Value::UInt(u64::MAX)));
        assert_eq!(value(0.1_f32), Some(Value::Float32(0.1)));
        assert_eq!(value(0.1_f64), Some(Value::Float64(0.1)));
        assert_eq!(value("Halt"), Some(Value::text("Halt")));
        assert_eq!(
            value(LocalizedText::new("de", "Läuft")),
            Some(Value::text("Läuft"))
        );
        assert_eq!(value(QualifiedName::new(2, "State")), Some(Value::text("State")));
        assert_eq!(value(NodeId::new(2, 7_u32)), Some(Value::text("ns=2;i=7")));
        assert_eq!(value(StatusCode::BadTimeout), Some(Value::UInt(0x800A_0000)));
        assert_eq!(
            value(ByteString::from(vec![1, 255])),
            Some(Value::Bytes(Arc::from([1, 255])))
        );
        let guid: Guid = "09087e75-8e5e-499b-954f-f2a9603db28a".parse().unwrap();
        assert_eq!(
            value(guid),
            Some(Value::text("09087e75-8e5e-499b-954f-f2a9603db28a"))
        );
    }

    #[test]
    fn arrays_keep_their_shape() {
        let array = |count: i32, dimensions: &[u32]| {
            let values: Vec<Variant> = (0..count).map(Variant::from).collect();
            Variant::Array(Box::new(Array {
                value_type: VariantScalarTypeId::Int32,
                values,
                dimensions: Some(dimensions.to_vec()),
            }))
        };
        let list = |items: &[Value]| Value::List(items.into());
        let numbers = |from: i64, until: i64| list(&(from..until).map(Value::Int).collect::<Vec<_>>());
        assert_eq!(value(array(3, &[3])), Some(numbers(0, 3)));
        assert_eq!(
            value(array(6, &[2, 3])),
            Some(list(&[numbers(0, 3), numbers(3, 6)]))
        );
        let cube = [
            list(&[numbers(0, 2), numbers(2, 4)]),
            list(&[numbers(4, 6), numbers(6, 8)]),
        ];
        assert_eq!(value(array(8, &[2, 2, 2])), Some(list(&cube)));
        assert_eq!(value(array(0, &[4_000_000_000, 0])), Some(list(&[])));
        let column = [0, 1, 2].map(|number| numbers(number, number + 1));
        assert_eq!(value(array(3, &[3, 1])), Some(list(&column)));
        for (count, wrong) in [
            (6, vec![2, 2]),
            (0, vec![2, 2]),
            (1, vec![u32::MAX; 4]),
            (1, vec![1; 17]),
            // Many lists of few values.
            (1_000, vec![1_000, 1, 1]),
        ] {
            let told = value_of(array(count, &wrong), None);
            assert!(told.is_err(), "{count} values of {wrong:?}: {told:?}");
        }
    }

    #[test]
    fn arrays_within_arrays_are_no_deeper_than_a_value_may_be() {
        let within = |inner: Variant| {
            Variant::Array(Box::new(Array {
                value_type: VariantScalarTypeId::Variant,
                values: vec![Variant::Variant(Box::new(inner))],
                dimensions: Some(vec![1; MOST_DIMENSIONS]),
            }))
        };
        let twice = within(within(Variant::from(1)));
        assert_eq!(
            value(twice.clone()).map(|value| value.levels()),
            Some(Value::DEEPEST)
        );
        let told = value_of(within(twice), None);
        assert_eq!(told, Err(Unsupported(TOO_DEEP.into())));
    }

    #[test]
    fn what_has_no_place_in_a_list_is_said() {
        let times = vec![DateTime::epoch(), DateTime::now()];
        let told = value_of(Variant::from(times), None);
        assert!(told.is_err_and(|told| told.0.contains("null elements")));
    }

    #[test]
    fn texts_and_bytes_that_are_null_are_empty_in_a_list() {
        let list = |items: &[Value]| Some(Value::List(items.into()));
        let texts = vec![UAString::from("a"), UAString::null(), UAString::from("")];
        assert_eq!(value(texts), list(&["a", "", ""].map(Value::text)));
        let words = vec![LocalizedText::null(), LocalizedText::new("de", "Halt")];
        assert_eq!(value(words), list(&["", "Halt"].map(Value::text)));
        let bytes = vec![ByteString::null(), ByteString::from(vec![1])];
        let told = [&[][..], &[1]].map(|bytes| Value::Bytes(bytes.into()));
        assert_eq!(value(bytes), list(&told));
    }

    #[test]
    fn what_a_value_within_a_value_says_of_itself_is_kept() {
        let data = |status| DataValue {
            value: Some(Variant::from(7)),
            status: Some(status),
            source_timestamp: Some(DateTime::ymd_hms(1970, 1, 1, 0, 0, 1)),
            ..DataValue::null()
        };
        let at = (
            "SourceTimestamp",
            Some(Value::Time(Timestamp::from_nanos(1_000_000_000))),
        );
        let status = |bits| ("StatusCode", Some(Value::UInt(bits)));
        assert_eq!(
            value(data(StatusCode::Good)),
            Some(record([("Value", Some(Value::Int(7))), status(0), at.clone()]))
        );
        assert_eq!(
            value(data(StatusCode::BadSensorFailure)),
            Some(record([status(0x808C_0000), at])),
            "a value that is bad is none"
        );
        let info = DiagnosticInfo {
            symbolic_id: Some(3),
            inner_diagnostic_info: Some(Box::new(DiagnosticInfo {
                additional_info: Some("axis 2".into()),
                ..DiagnosticInfo::null()
            })),
            ..DiagnosticInfo::null()
        };
        let inner = record([("AdditionalInfo", Some(Value::text("axis 2")))]);
        assert_eq!(
            value(info),
            Some(record([
                ("SymbolicId", Some(Value::Int(3))),
                ("InnerDiagnosticInfo", Some(inner))
            ]))
        );
    }

    #[test]
    fn null_is_no_value() {
        assert_eq!(value(Variant::Empty), None);
        assert_eq!(value(UAString::null()), None);
        assert_eq!(value(ByteString::null()), None);
        assert_eq!(value(DateTime::null()), None);
        assert_eq!(value(LocalizedText::null()), None);
        assert_eq!(value(Variant::XmlElement(XmlElement::null())), None);
    }

    #[test]
    fn times_begin_in_1601_and_end_with_our_range() {
        assert_eq!(
            value(DateTime::ymd_hms(1970, 1, 1, 0, 0, 1)),
            Some(Value::Time(Timestamp::from_nanos(1_000_000_000)))
        );
        assert_eq!(
            value(DateTime::ymd_hms(1969, 12, 31, 23, 59, 59)),
            Some(Value::Time(Timestamp::from_nanos(-1_000_000_000)))
        );
        assert_eq!(value(DateTime::ymd(1650, 1, 1)), None);
        assert_eq!(value(DateTime::endtimes()), None);
    }

    #[test]
    fn arrays_become_lists_and_structures_do_not_look_good() {
        assert_eq!(
            value(vec![1_u16, 2]),
            Some(Value::List(Arc::from([Value::UInt(1), Value::UInt(2)])))
        );
        let structure = Variant::from(ExtensionObject::new(Argument::default()));
        let (sample, unsupported) = sample(TagId(3), DataValue::value_only(structure));
        assert!(sample.quality.is_bad() && sample.value.is_none());
        assert!(unsupported.is_some());
    }

    #[test]
    fn status_and_times_are_carried() {
        let data = DataValue {
            value: Some(Variant::from(5_i32)),
            status: Some(StatusCode::UncertainLastUsableValue.set_overflow(true)),
            source_timestamp: Some(DateTime::ymd_hms(2026, 1, 2, 3, 4, 5)),
            source_picoseconds: Some(5_000),
            server_timestamp: Some(DateTime::null()),
            server_picoseconds: None,
        };
        let (sample, _) = sample(TagId(1), data);
        assert!(sample.gap, "the overflow bit says that values were lost");
        assert_eq!(sample.value, Some(Value::Int(5)));
        assert!(!sample.quality.is_good() && !sample.quality.is_bad());
        assert_eq!(sample.source_time.unwrap().as_nanos() % 1_000_000_000, 50);
        assert_eq!(sample.server_time, None);
    }

    #[test]
    fn a_bad_value_is_not_shown() {
        let data = DataValue {
            value: Some(Variant::from(5_i32)),
            status: Some(StatusCode::BadSensorFailure),
            ..DataValue::null()
        };
        let (sample, _) = sample(TagId(1), data);
        assert_eq!(
            (sample.value, sample.quality),
            (None, Quality(StatusCode::BadSensorFailure.bits()))
        );
    }
}
