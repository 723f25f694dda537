//! Types of values, and what an address alone says of the values that come from it.

use floorgate_adapter_api::{Given, GivenKind, Node, NodeKind};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::address::Table;
use crate::decimal::{Decimal, Linear};

/// Type of a value.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Type {
    /// A bit.
    Bool,
    /// 16 bits, signed.
    I16,
    /// 16 bits, unsigned.
    U16,
    /// 32 bits, signed.
    I32,
    /// 32 bits, unsigned.
    U32,
    /// 64 bits, signed.
    I64,
    /// 64 bits, unsigned.
    U64,
    /// 32 bits, IEEE 754.
    F32,
    /// 64 bits, IEEE 754.
    F64,
    /// Text of `length` bytes.
    String,
}

impl Type {
    const ALL: [Self; 10] = [
        Self::Bool,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::F32,
        Self::F64,
        Self::String,
    ];

    /// The type of an address that names none.
    pub(crate) fn implied(table: Table, has_bit: bool) -> Self {
        if table.has_bits() || has_bit {
            Self::Bool
        } else {
            Self::U16
        }
    }

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::String => "string",
        }
    }

    /// The smallest and the largest number, of an integer.
    pub(crate) fn range(self) -> Option<(i128, i128)> {
        Some(match self {
            Self::I16 => (i16::MIN.into(), i16::MAX.into()),
            Self::U16 => (0, u16::MAX.into()),
            Self::I32 => (i32::MIN.into(), i32::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::I64 => (i64::MIN.into(), i64::MAX.into()),
            Self::U64 => (0, u64::MAX.into()),
            Self::Bool | Self::F32 | Self::F64 | Self::String => return None,
        })
    }
}

/// What the values of an address are; `None` where that is not clear. What is wrong with it is reported when it is checked.
pub(crate) fn given(address: &Node) -> Option<Given> {
    let mut named = Table::ALL
        .into_iter()
        .filter(|table| address.get(table.name()).is_some());
    let (Some(table), None) = (named.next(), named.next()) else {
        return None;
    };
    if table == Table::Fifo {
        // A list.
        return None;
    }
    let kind = match address.get("type") {
        Some(word) => {
            let word = word.as_text()?;
            Type::ALL.into_iter().find(|kind| kind.name() == word)?
        }
        None => Type::implied(table, address.get("bit").is_some()),
    };
    let linear = Linear::new(
        decimal(address, "scale", Decimal::ONE)?,
        decimal(address, "offset", Decimal::ZERO)?,
    );
    let is_bit = kind == Type::Bool;
    if table.has_bits() != is_bit && (table.has_bits() || address.get("bit").is_none()) {
        return None;
    }
    let given = match (kind, kind.range()) {
        (_, Some((least, most))) => scaled(&linear, least, most),
        (Type::Bool, None) => GivenKind::Bit,
        (Type::String, None) => GivenKind::Text,
        (_, None) => GivenKind::Float,
    };
    let written = if table.has_bits() {
        table.name()
    } else {
        kind.name()
    };
    let units = |raw| linear.in_units(raw).map(|(units, _)| units);
    let step = units(1)
        .zip(units(0))
        .and_then(|(one, zero)| u64::try_from((one - zero).abs()).ok());
    Some(Given {
        kind: given,
        step: step.unwrap_or(1),
        written,
    })
}

/// What integers from `least` to `most` are after scaling.
fn scaled(linear: &Linear, least: i128, most: i128) -> GivenKind {
    let (Some((a, places)), Some((b, _))) = (linear.in_units(least), linear.in_units(most)) else {
        return GivenKind::Float;
    };
    match (
        i64::try_from(a.min(b)),
        u64::try_from(a.max(b)),
        u8::try_from(places),
    ) {
        (Ok(least), Ok(most), Ok(0)) => GivenKind::Whole { least, most },
        (Ok(least), Ok(most), Ok(decimals)) => GivenKind::Fraction {
            least,
            most,
            decimals,
        },
        // Beyond 64 bits, or below 0 altogether: as numbers they are of use all the same.
        _ => GivenKind::Float,
    }
}

/// A number of the address; `None` where it is none of use.
fn decimal(address: &Node, key: &str, default: Decimal) -> Option<Decimal> {
    match address.get(key).map(|node| &node.kind) {
        None | Some(NodeKind::Null) => Some(default),
        Some(NodeKind::Int(number)) => Decimal::from_written(*number as f64),
        Some(NodeKind::Float(number)) => Decimal::from_written(*number),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use floorgate_yaml::{FileId, Problems, parse};

    use super::*;

    #[test]
    fn an_address_says_what_its_values_are() {
        let whole = |least, most| Some(GivenKind::Whole { least, most });
        let fraction = |least, most, decimals| {
            Some(GivenKind::Fraction {
                least,
                most,
                decimals,
            })
        };
        for (address, kind, written) in [
            ("{holding: 1}", whole(0, 65_535), "u16"),
            (
                "{input: 1, type: i32}",
                whole(-2_147_483_648, 2_147_483_647),
                "i32",
            ),
            ("{input: 1, type: u64}", whole(0, u64::MAX), "u64"),
            ("{holding: 1, scale: 10, offset: -5}", whole(-5, 655_345), "u16"),
            ("{holding: 1, scale: -1.0}", whole(-65_535, 0), "u16"),
            (
                "{holding: 1, scale: -1, offset: -5}",
                Some(GivenKind::Float),
                "u16",
            ),
            ("{holding: 1, scale: 0.1}", fraction(0, 65_535, 1), "u16"),
            ("{holding: 1, offset: 0.5}", fraction(5, 655_355, 1), "u16"),
            (
                "{holding: 1, type: i16, scale: 0.25, offset: -40}",
                fraction(-823_200, 815_175, 2),
                "i16",
            ),
            (
                "{holding: 1, type: f32, scale: 0.1}",
                Some(GivenKind::Float),
                "f32",
            ),
            ("{holding: 1, type: f64}", Some(GivenKind::Float), "f64"),
            (
                "{holding: 1, type: string, length: 4}",
                Some(GivenKind::Text),
                "string",
            ),
            ("{holding: 1, bit: 3}", Some(GivenKind::Bit), "bool"),
            ("{coil: 1}", Some(GivenKind::Bit), "coil"),
            (
                "{discrete: \"{base}\", unit: C62}",
                Some(GivenKind::Bit),
                "discrete",
            ),
            // What is wrong, or left to a parameter, says nothing.
            ("{holding: 1, type: \"{type}\"}", None, ""),
            ("{holding: 1, type: u17}", None, ""),
            ("{holding: 1, type: bool}", None, ""),
            ("{coil: 1, type: u16}", None, ""),
            ("{coil: 1, holding: 1}", None, ""),
            ("{holding: 1, scale: \"{scale}\"}", None, ""),
            ("{type: u16}", None, ""),
            ("coil", None, ""),
        ] {
            let node = parse(FileId::default(), address, &mut Problems::default());
            let given = given(&node.expect("it is YAML"));
            assert_eq!(given.map(|given| given.kind), kind, "{address}");
            assert_eq!(given.map_or("", |given| given.written), written, "{address}");
        }
    }
    #[test]
    fn an_address_says_how_far_its_values_are_apart() {
        for (address, step) in [
            ("{holding: 1}", 1),
            ("{holding: 1, scale: 0.1}", 1),
            ("{holding: 1, scale: 10, offset: -5}", 10),
            ("{holding: 1, scale: -0.25}", 25),
            ("{holding: 1, offset: 0.5}", 10),
        ] {
            let node = parse(FileId::default(), address, &mut Problems::default());
            let given = given(&node.expect("it is YAML"));
            assert_eq!(given.map(|given| given.step), Some(step), "{address}");
        }
    }
}
