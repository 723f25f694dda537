//! What a server says of a variable, as the mapping language has it.

use floorgate_adapter_api::{PointKind, Value};
use opcua::types::{
    DataValue, EUInformation, EnumValueType, LocalizedText, NodeId, Range, StatusCode, Variant, VariantTypeId,
};

use crate::value::value_of;

/// The namespace of units whose numbers are codes of UN/ECE Recommendation 20 (OPC 10000-8 §5.6.3).
const UNECE: &str = "http://www.opcfoundation.org/UA/units/un/cefact";
/// Most characters of a value that are kept.
const MOST_SHOWN: usize = 60;

/// What is known of a variable.
#[derive(Debug, Default)]
pub struct Facts {
    /// `None` while its value does not tell.
    pub kind: Option<PointKind>,
    pub data_type: NodeId,
    pub unit: Option<String>,
    pub range: Option<(f64, f64)>,
    pub states: Vec<(i64, String)>,
    pub description: Option<String>,
    pub value: Option<String>,
    /// Why it has no value.
    pub status: Option<StatusCode>,
}

/// A property that says something of its variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    Range,
    Unit,
    Strings,
    Values,
    True,
    False,
}

impl Property {
    /// By its name in the standard's namespace.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "EURange" => Self::Range,
            "EngineeringUnits" => Self::Unit,
            "EnumStrings" => Self::Strings,
            "EnumValues" => Self::Values,
            "TrueState" => Self::True,
            "FalseState" => Self::False,
            _ => return None,
        })
    }
}

impl Facts {
    /// Takes the value: what it is, and what it shows. The refusal to read it is given back.
    pub fn take_value(&mut self, value: Result<DataValue, StatusCode>) -> Result<(), StatusCode> {
        let value = value?;
        let status = value.status.unwrap_or(StatusCode::Good);
        if is_refusal(status) {
            return Err(status);
        }
        if status.is_bad() {
            self.status = Some(status);
        }
        if let Some(variant) = value.value {
            self.kind = kind_of(&variant);
            self.value = shown(variant);
        }
        Ok(())
    }

    /// Takes the value of a property; what is no such value is not taken.
    pub fn take(&mut self, property: Property, value: Variant) {
        match (property, value) {
            (Property::Range, Variant::ExtensionObject(object)) => {
                let range = object.inner_as::<Range>();
                self.range = range.map(|range| (range.low, range.high));
            }
            (Property::Unit, Variant::ExtensionObject(object)) => {
                self.unit = object.inner_as::<EUInformation>().and_then(unit);
            }
            (Property::Strings | Property::Values, value) => self.states = states(value),
            (Property::True, Variant::LocalizedText(name)) => self.name_state(1, &name),
            (Property::False, Variant::LocalizedText(name)) => self.name_state(0, &name),
            _ => {}
        }
    }

    fn name_state(&mut self, number: i64, name: &LocalizedText) {
        if !name.text.is_empty() {
            self.states.push((number, name.text.as_ref().to_owned()));
            self.states.sort_unstable();
        }
    }
}

/// Whether a status says that the variable cannot be read, and not that it has no value now.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadUserAccessDenied
            | StatusCode::BadNotReadable
            | StatusCode::BadNodeIdUnknown
            | StatusCode::BadNodeIdInvalid
            | StatusCode::BadAttributeIdInvalid
            | StatusCode::BadSecurityModeInsufficient
    )
}

/// Names of values, of `EnumStrings` or `EnumValues`.
pub fn states(value: Variant) -> Vec<(i64, String)> {
    let Variant::Array(array) = value else {
        return Vec::new();
    };
    let mut states = Vec::with_capacity(array.values.len());
    for (place, value) in array.values.into_iter().enumerate() {
        match value {
            Variant::LocalizedText(name) => {
                let number = i64::try_from(place).unwrap_or(i64::MAX);
                states.push((number, name.text.as_ref().to_owned()));
            }
            Variant::ExtensionObject(object) => {
                if let Some(value) = object.inner_as::<EnumValueType>() {
                    states.push((value.value, value.display_name.text.as_ref().to_owned()));
                }
            }
            _ => {}
        }
    }
    states
}

/// The code of a unit. What is none is told as the server writes it.
fn unit(unit: &EUInformation) -> Option<String> {
    let of_number = || {
        let bytes = unit.unit_id.to_be_bytes();
        let code: String = bytes
            .iter()
            .skip_while(|byte| **byte == 0)
            .map(|byte| char::from(*byte))
            .collect();
        let is_code = (2..=3).contains(&code.len())
            && code
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        is_code.then_some(code)
    };
    let code = (unit.namespace_uri.as_ref() == UNECE).then(of_number).flatten();
    code.or_else(|| {
        let name = unit.display_name.text.as_ref().trim();
        (!name.is_empty()).then(|| name.to_owned())
    })
}

fn kind_of(variant: &Variant) -> Option<PointKind> {
    let VariantTypeId::Scalar(_) = variant.type_id() else {
        return matches!(variant, Variant::Array(_)).then_some(PointKind::Other);
    };
    Some(match variant {
        Variant::Empty => return None,
        Variant::Boolean(_) => PointKind::Bit,
        Variant::SByte(_)
        | Variant::Byte(_)
        | Variant::Int16(_)
        | Variant::UInt16(_)
        | Variant::Int32(_)
        | Variant::UInt32(_)
        | Variant::Int64(_)
        | Variant::UInt64(_)
        | Variant::StatusCode(_) => PointKind::Whole,
        Variant::Float(_) | Variant::Double(_) => PointKind::Float,
        Variant::String(_)
        | Variant::LocalizedText(_)
        | Variant::QualifiedName(_)
        | Variant::XmlElement(_)
        | Variant::Guid(_)
        | Variant::NodeId(_)
        | Variant::ExpandedNodeId(_)
        | Variant::DateTime(_) => PointKind::Text,
        _ => PointKind::Other,
    })
}

fn shown(variant: Variant) -> Option<String> {
    let text = match value_of(variant, None).ok()?? {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::Float32(value) => value.to_string(),
        Value::Float64(value) => value.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Bytes(_) | Value::List(_) | Value::Record(_) => return None,
    };
    let mut shown: String = text.chars().take(MOST_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    Some(shown)
}

/// What values of a data type of the standard are; `None` for one that says nothing of them.
pub fn kind_of_type(number: u32) -> Option<PointKind> {
    Some(match number {
        1 => PointKind::Bit,
        2..=9 | 19 | 27..=29 => PointKind::Whole,
        10 | 11 | 26 => PointKind::Float,
        12..=14 | 16..=18 | 20 | 21 => PointKind::Text,
        15 | 22 | 23 | 25 => PointKind::Other,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn information(namespace: &str, number: i32, name: &str) -> EUInformation {
        EUInformation {
            namespace_uri: namespace.into(),
            unit_id: number,
            display_name: LocalizedText::new("", name),
            description: LocalizedText::null(),
        }
    }

    #[test]
    fn a_unit_is_its_common_code() {
        for (namespace, number, name, expected) in [
            (UNECE, 0x0043_454C, "°C", Some("CEL")),
            (UNECE, 0x4D4D, "mm", Some("MM")),
            (UNECE, 0x0042_4152, "bar", Some("BAR")),
            (UNECE, -1, "furlong", Some("furlong")),
            (UNECE, 0x2020_2020, "", None),
            ("urn:own", 0x0043_454C, "deg", Some("deg")),
        ] {
            assert_eq!(
                unit(&information(namespace, number, name)).as_deref(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_variable_without_a_value() {
        let mut facts = Facts::default();
        let with = |status| DataValue {
            status: Some(status),
            ..DataValue::null()
        };
        let denied = facts.take_value(Ok(with(StatusCode::BadUserAccessDenied)));
        assert_eq!(denied, Err(StatusCode::BadUserAccessDenied));
        facts.take_value(Ok(with(StatusCode::BadSensorFailure))).unwrap();
        assert_eq!(facts.status, Some(StatusCode::BadSensorFailure));
    }

    #[test]
    fn an_array_is_no_number() {
        assert_eq!(kind_of(&Variant::from(vec![1_i32])), Some(PointKind::Other));
        assert_eq!(kind_of(&Variant::from(1_i32)), Some(PointKind::Whole));
        assert_eq!(kind_of(&Variant::Empty), None);
    }
}
