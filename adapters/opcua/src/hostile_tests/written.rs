//! Values of types that are made up: as bytes, and as what is to be read from them. Bytes are written here by the letter of OPC 10000-6 §5.2, and not
//! by the library.

use std::sync::Arc;

use fastrand::Rng;
use floorgate_adapter_api::{Timestamp, Value};
use opcua::types::{DataTypeId, StructureType};

use super::made::{ARRAY, BUILT_IN, FieldOf, Made, Of, STRUCTURE, encoding, name, one};

/// 1970 in intervals of 100 ns since 1601.
const UNIX_EPOCH: i64 = 116_444_736_000_000_000;
/// Deeper than this nothing is written that need not be.
const DEEP: usize = 4;

fn kind(id: DataTypeId) -> u8 {
    u8::try_from(id as u32).expect("a built-in type")
}

/// Bytes that are being written.
pub struct Writing<'a> {
    made: &'a Made,
    random: &'a mut Rng,
    bytes: Vec<u8>,
}

impl<'a> Writing<'a> {
    /// A variant of anything that there is, and what is to be read.
    pub fn variant_of(made: &'a Made, random: &'a mut Rng) -> (Vec<u8>, Option<Value>) {
        let mut writing = Self {
            made,
            random,
            bytes: Vec::new(),
        };
        let value = writing.variant(0, true);
        (writing.bytes, value)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn length(&mut self, length: usize) {
        self.put(&i32::try_from(length).expect("a short one").to_le_bytes());
    }

    fn text(&mut self) -> String {
        let text: String = (0..self.random.usize(..6))
            .map(|_| self.random.char('\u{20}'..='\u{17f}'))
            .collect();
        self.length(text.len());
        self.put(text.as_bytes());
        text
    }

    /// Writes a null text now and then, where there may be one.
    fn is_null(&mut self, may_be: bool) -> bool {
        let is = may_be && self.random.u8(..5) == 0;
        if is {
            self.put(&(-1_i32).to_le_bytes());
        }
        is
    }

    fn structure(&mut self, number: usize, depth: usize) -> Value {
        let made = self.made;
        let of = &made.0[number];
        let mut parts: Vec<(Arc<str>, Value)> = Vec::new();
        let mut part = |writing: &mut Self, place: usize, of_any: bool| {
            let value = writing.field(&of.fields[place], of_any, depth);
            parts.extend(value.map(|value| (Arc::from(name(place)), value)));
        };
        match of.kind {
            StructureType::Structure | StructureType::StructureWithSubtypedValues => {
                let is_subtyped = of.kind == StructureType::StructureWithSubtypedValues;
                for (place, field) in of.fields.iter().enumerate() {
                    part(self, place, is_subtyped && field.is_optional);
                }
            }
            StructureType::StructureWithOptionalFields => {
                let mask: u32 = if depth >= DEEP { 0 } else { self.random.u32(..) };
                self.put(&mask.to_le_bytes());
                let mut optional = 0;
                for (place, field) in of.fields.iter().enumerate() {
                    if field.is_optional {
                        optional += 1;
                        if mask >> (optional - 1) & 1 == 0 {
                            continue;
                        }
                    }
                    part(self, place, false);
                }
            }
            StructureType::Union | StructureType::UnionWithSubtypedValues => {
                let most = if depth >= DEEP { 0 } else { of.fields.len() };
                let choice = self.random.usize(..=most);
                self.put(&u32::try_from(choice).expect("few fields").to_le_bytes());
                if let Some(place) = choice.checked_sub(1) {
                    let is_subtyped = of.kind == StructureType::UnionWithSubtypedValues;
                    part(self, place, is_subtyped && of.fields[place].is_optional);
                }
            }
        }
        Value::Record(parts.into())
    }

    fn field(&mut self, field: &FieldOf, of_any: bool, depth: usize) -> Option<Value> {
        if field.rank < 1 {
            return self.scalar(field.of, of_any, true, depth);
        }
        if self.is_null(true) {
            return None;
        }
        let most = if depth >= DEEP { 1 } else { 4 };
        let dimensions: Vec<usize> = (0..field.rank).map(|_| self.random.usize(..most)).collect();
        if field.rank > 1 {
            self.length(dimensions.len());
        }
        for dimension in &dimensions {
            self.length(*dimension);
        }
        if dimensions.contains(&0) {
            return Some(Value::List([].into()));
        }
        Some(self.array(field.of, of_any, depth, &dimensions))
    }

    fn array(&mut self, of: Of, of_any: bool, depth: usize, dimensions: &[usize]) -> Value {
        let items = (0..dimensions[0]).map(|_| match &dimensions[1..] {
            [] => self.scalar(of, of_any, false, depth).expect("no null"),
            inner => self.array(of, of_any, depth, inner),
        });
        Value::List(items.collect())
    }

    fn scalar(&mut self, of: Of, of_any: bool, may_be_null: bool, depth: usize) -> Option<Value> {
        match of {
            Of::Structure(number) if !of_any && !self.made.0[number].is_abstract => {
                Some(self.structure(number, depth + 1))
            }
            Of::Structure(_) | Of::AnyStructure => self.told(may_be_null, depth),
            Of::Anything => self.variant(depth + 1, may_be_null),
            _ if of_any => self.variant(depth + 1, may_be_null),
            Of::Enumeration => {
                let number = self.random.i32(..);
                self.put(&number.to_le_bytes());
                Some(Value::Int(i64::from(number)))
            }
            Of::BuiltIn(id) => self.built_in(id, may_be_null),
        }
    }

    /// A structure with its id before it.
    fn told(&mut self, may_be_null: bool, depth: usize) -> Option<Value> {
        if may_be_null && (depth >= DEEP || self.random.u8(..6) == 0) {
            self.put(&[0, 0, 0]);
            return None;
        }
        // The first is never abstract.
        let number = if depth >= DEEP {
            0
        } else {
            self.random.usize(..self.made.0.len())
        };
        self.put(&[1, 2]);
        self.put(&encoding(number).to_le_bytes());
        self.put(&[1]);
        let before = std::mem::take(&mut self.bytes);
        let value = self.structure(number, depth + 1);
        let body = std::mem::replace(&mut self.bytes, before);
        self.length(body.len());
        self.put(&body);
        Some(value)
    }

    fn variant(&mut self, depth: usize, may_be_null: bool) -> Option<Value> {
        let most = if depth >= DEEP { 4 } else { 8 };
        match self.random.u8(..most) {
            0 if may_be_null => {
                self.put(&[0]);
                None
            }
            0..=2 => {
                let id = one(&BUILT_IN, self.random);
                self.put(&[kind(id)]);
                self.built_in(id, may_be_null)
            }
            3 => {
                let id = one(&BUILT_IN, self.random);
                self.put(&[kind(id) | ARRAY]);
                Some(self.list(|writing| writing.built_in(id, false)))
            }
            4 => {
                self.put(&[STRUCTURE | ARRAY]);
                Some(self.list(|writing| writing.told(false, depth)))
            }
            _ => {
                self.put(&[STRUCTURE]);
                self.told(may_be_null, depth)
            }
        }
    }

    fn list(&mut self, item: impl Fn(&mut Self) -> Option<Value>) -> Value {
        let length = self.random.usize(..4);
        self.length(length);
        Value::List((0..length).map(|_| item(self).expect("no null")).collect())
    }

    fn built_in(&mut self, id: DataTypeId, may_be_null: bool) -> Option<Value> {
        macro_rules! number {
            ($kind:ident, $wide:ident, $of:ident) => {{
                let number = self.random.$kind(..);
                self.put(&number.to_le_bytes());
                Value::$of($wide::from(number))
            }};
        }
        Some(match id {
            DataTypeId::Boolean => {
                let is = self.random.bool();
                self.put(&[u8::from(is)]);
                Value::Bool(is)
            }
            DataTypeId::SByte => number!(i8, i64, Int),
            DataTypeId::Int16 => number!(i16, i64, Int),
            DataTypeId::Int32 => number!(i32, i64, Int),
            DataTypeId::Int64 => number!(i64, i64, Int),
            DataTypeId::Byte => number!(u8, u64, UInt),
            DataTypeId::UInt16 => number!(u16, u64, UInt),
            DataTypeId::UInt32 | DataTypeId::StatusCode => number!(u32, u64, UInt),
            DataTypeId::UInt64 => number!(u64, u64, UInt),
            DataTypeId::Float => {
                let number = self.random.f32() - 0.5;
                self.put(&number.to_le_bytes());
                Value::Float32(number)
            }
            DataTypeId::Double => {
                let number = self.random.f64() - 0.5;
                self.put(&number.to_le_bytes());
                Value::Float64(number)
            }
            DataTypeId::String | DataTypeId::XmlElement | DataTypeId::ByteString
                if self.is_null(may_be_null) =>
            {
                return None;
            }
            DataTypeId::String | DataTypeId::XmlElement => Value::text(self.text()),
            DataTypeId::DateTime => {
                let since = self.random.i64(-80_000_000_000_000_000..80_000_000_000_000_000);
                self.put(&(UNIX_EPOCH + since).to_le_bytes());
                Value::Time(Timestamp::from_nanos(since * 100))
            }
            DataTypeId::Guid => {
                let (a, b, c) = (self.random.u32(..), self.random.u16(..), self.random.u16(..));
                let d = self.random.u64(..);
                self.put(
                    &[
                        &a.to_le_bytes()[..],
                        &b.to_le_bytes(),
                        &c.to_le_bytes(),
                        &d.to_be_bytes(),
                    ]
                    .concat(),
                );
                let (high, low) = (d >> 48, d & 0xFFFF_FFFF_FFFF);
                Value::text(format!("{a:08x}-{b:04x}-{c:04x}-{high:04x}-{low:012x}"))
            }
            DataTypeId::ByteString => {
                let bytes: Vec<u8> = (0..self.random.usize(..9)).map(|_| self.random.u8(..)).collect();
                self.length(bytes.len());
                self.put(&bytes);
                Value::Bytes(bytes.into())
            }
            DataTypeId::NodeId => {
                let id = self.random.u16(..);
                self.put(&[1, 7]);
                self.put(&id.to_le_bytes());
                Value::text(format!("ns=7;i={id}"))
            }
            DataTypeId::QualifiedName => {
                self.put(&[7, 0]);
                if self.is_null(may_be_null) {
                    return None;
                }
                Value::text(self.text())
            }
            DataTypeId::LocalizedText => {
                let has_locale = self.random.bool();
                self.put(&[2 | u8::from(has_locale)]);
                if has_locale {
                    self.text();
                }
                Value::text(self.text())
            }
            other => unreachable!("{other:?}"),
        })
    }
}
