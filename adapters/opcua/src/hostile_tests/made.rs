//! Types of a server that are made up.

use fastrand::Rng;
use floorgate_adapter_api::Value;
use opcua::types::custom::{DataTypeTree, EncodingIds, ParentIds, TypeInfo};
use opcua::types::{
    DataTypeDefinition, DataTypeId, NodeId, StructureDefinition, StructureField, StructureType, UAString,
};

use super::written::Writing;

/// What a variant begins with: the number of its type, and whether it is an array.
pub const STRUCTURE: u8 = 0x16;
pub const ARRAY: u8 = 0x80;

/// Built-in types whose values are told as they are.
pub const BUILT_IN: [DataTypeId; 20] = [
    DataTypeId::Boolean,
    DataTypeId::SByte,
    DataTypeId::Byte,
    DataTypeId::Int16,
    DataTypeId::UInt16,
    DataTypeId::Int32,
    DataTypeId::UInt32,
    DataTypeId::Int64,
    DataTypeId::UInt64,
    DataTypeId::Float,
    DataTypeId::Double,
    DataTypeId::String,
    DataTypeId::DateTime,
    DataTypeId::Guid,
    DataTypeId::ByteString,
    DataTypeId::XmlElement,
    DataTypeId::NodeId,
    DataTypeId::StatusCode,
    DataTypeId::QualifiedName,
    DataTypeId::LocalizedText,
];
/// What is never told, or has a form of the library's own.
const OTHERS: [DataTypeId; 4] = [
    DataTypeId::ExpandedNodeId,
    DataTypeId::DataValue,
    DataTypeId::DiagnosticInfo,
    DataTypeId::Decimal,
];
const KINDS: [StructureType; 5] = [
    StructureType::Structure,
    StructureType::StructureWithOptionalFields,
    StructureType::Union,
    StructureType::StructureWithSubtypedValues,
    StructureType::UnionWithSubtypedValues,
];

/// What a field is of.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    BuiltIn(DataTypeId),
    Enumeration,
    /// A structure by its number.
    Structure(usize),
    /// Any structure.
    AnyStructure,
    Anything,
}

#[derive(Debug)]
pub struct FieldOf {
    pub of: Of,
    pub rank: i32,
    pub is_optional: bool,
}

#[derive(Debug)]
pub struct Structure {
    pub kind: StructureType,
    pub is_abstract: bool,
    pub fields: Vec<FieldOf>,
}

/// Types of a server.
#[derive(Debug)]
pub struct Made(pub Vec<Structure>);

pub fn one<T: Copy>(of: &[T], random: &mut Rng) -> T {
    of[random.usize(..of.len())]
}

pub fn name(field: usize) -> String {
    format!("F{field}")
}

pub fn encoding(structure: usize) -> u16 {
    1_000 + u16::try_from(structure).expect("few structures")
}

impl Made {
    /// Types as a server has them: none that is endless by itself.
    pub fn sound(random: &mut Rng) -> Self {
        Self::new(random, true)
    }

    /// Types as no server should have them.
    pub fn wild(random: &mut Rng) -> Self {
        Self::new(random, false)
    }

    fn new(random: &mut Rng, is_sound: bool) -> Self {
        let count = random.usize(1..7);
        let mut structures = Vec::new();
        for number in 0..count {
            let kind = one(&KINDS, random);
            let is_union = matches!(
                kind,
                StructureType::Union | StructureType::UnionWithSubtypedValues
            );
            let field = |random: &mut Rng| {
                let is_optional = random.bool();
                let rank = match random.u8(..8) {
                    0 => 2,
                    1 | 2 => 1,
                    3 if !is_sound => random.i32(-4..30),
                    _ => -1,
                };
                let may_be_left_out =
                    is_union || rank > 0 || is_optional && kind == StructureType::StructureWithOptionalFields;
                let of = match random.u8(..10) {
                    0 | 1 if may_be_left_out || !is_sound => Of::Structure(random.usize(..count)),
                    0 | 1 if number > 0 => Of::Structure(random.usize(..number)),
                    2 => Of::AnyStructure,
                    3 => Of::Anything,
                    4 => Of::Enumeration,
                    5 if !is_sound => Of::BuiltIn(one(&OTHERS, random)),
                    _ => Of::BuiltIn(one(&BUILT_IN, random)),
                };
                FieldOf {
                    of,
                    rank,
                    is_optional,
                }
            };
            let mut fields: Vec<FieldOf> = (0..random.usize(..7)).map(|_| field(random)).collect();
            if is_sound {
                // The library takes a structure of no bytes for none.
                fields.insert(
                    0,
                    FieldOf {
                        of: Of::Enumeration,
                        rank: -1,
                        is_optional: false,
                    },
                );
            }
            structures.push(Structure {
                kind,
                is_abstract: number > 0 && random.u8(..8) == 0,
                fields,
            });
        }
        Self(structures)
    }

    /// A structure of nothing, and one that has an array of them.
    pub fn of_nothings() -> Self {
        let structure = |fields| Structure {
            kind: StructureType::Structure,
            is_abstract: false,
            fields,
        };
        let nothings = FieldOf {
            of: Of::Structure(0),
            rank: 1,
            is_optional: false,
        };
        Self(vec![structure(Vec::new()), structure(vec![nothings])])
    }

    /// A variant with an array of ten such structures, each with so many nothings.
    pub fn many_nothings(count: i32) -> Vec<u8> {
        let mut bytes = vec![STRUCTURE | ARRAY, 10, 0, 0, 0];
        for _ in 0..10 {
            bytes.extend([1, 2]);
            bytes.extend(encoding(1).to_le_bytes());
            bytes.extend([1, 4, 0, 0, 0]);
            bytes.extend(count.to_le_bytes());
        }
        bytes
    }

    fn id(number: usize) -> NodeId {
        NodeId::new(2, format!("S{number}"))
    }

    /// The definitions, as the server gives them.
    pub fn tree(&self) -> DataTypeTree {
        let enumeration = NodeId::new(2, "Enumeration");
        let mut parents = ParentIds::new();
        parents.add_type(enumeration.clone(), DataTypeId::Enumeration.into());
        for number in 0..self.0.len() {
            parents.add_type(Self::id(number), DataTypeId::Structure.into());
        }
        let mut tree = DataTypeTree::new(parents);
        for (number, structure) in self.0.iter().enumerate() {
            let field = |(place, field): (usize, &FieldOf)| StructureField {
                name: UAString::from(name(place)),
                data_type: match field.of {
                    Of::BuiltIn(id) => id.into(),
                    Of::Enumeration => enumeration.clone(),
                    Of::Structure(number) => Self::id(number),
                    Of::AnyStructure => DataTypeId::Structure.into(),
                    Of::Anything => DataTypeId::BaseDataType.into(),
                },
                value_rank: field.rank,
                is_optional: field.is_optional,
                ..StructureField::default()
            };
            let definition = StructureDefinition {
                structure_type: structure.kind,
                fields: Some(structure.fields.iter().enumerate().map(field).collect()),
                ..StructureDefinition::default()
            };
            let encodings = EncodingIds {
                binary_id: NodeId::new(2, u32::from(encoding(number))),
                json_id: NodeId::null(),
                xml_id: NodeId::null(),
            };
            let info = TypeInfo::from_type_definition(
                DataTypeDefinition::Structure(definition),
                format!("S{number}"),
                Some(encodings),
                structure.is_abstract,
                &Self::id(number),
                tree.parent_ids(),
            );
            tree.add_type(Self::id(number), info.expect("a type"));
        }
        tree
    }

    /// A variant with a structure, an array of structures, or anything else, and what is to be read.
    pub fn variant(&self, random: &mut Rng) -> (Vec<u8>, Option<Value>) {
        Writing::variant_of(self, random)
    }
}
