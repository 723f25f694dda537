//! OPC Binary (OPC 10000-3 Annex C of OPC UA 1.03): the XML text of a type dictionary, and the structures in it.

use std::collections::{HashMap, HashSet};

use opcua::types::{DataTypeId, NodeId, StructureDefinition, StructureField, StructureType};
use roxmltree::{Document, Node, ParsingOptions};

/// The namespace of the language itself.
const LANGUAGE: &str = "http://opcfoundation.org/BinarySchema/";
/// The namespace of the standard's types.
pub const STANDARD: &str = "http://opcfoundation.org/UA/";

/// Quotes between two tags, which are two an attribute: the parser compares each attribute of a tag with each.
const MOST_QUOTES: usize = 512;
/// Declarations of namespaces: the parser copies those of all tags around to a tag that declares one.
const MOST_DECLARATIONS: usize = 64;
/// Bits before a structure that say which of its optional fields are there.
const MASK: u32 = 32;

/// Why a dictionary, or a type in it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

fn unusable<T>(reason: impl Into<String>) -> Result<T, Unusable> {
    Err(Unusable(reason.into()))
}

/// A dictionary.
#[derive(Debug)]
pub struct Schema<'a> {
    document: Document<'a>,
    structures: HashMap<String, roxmltree::NodeId>,
    enumerations: HashMap<String, DataTypeId>,
}

impl<'a> Schema<'a> {
    /// Reads the text of a dictionary of no more than so many elements and texts.
    pub fn parse(text: &'a [u8], most: u32) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(text).map_err(|error| Unusable(error.to_string()))?;
        let text = text.trim_start_matches('\u{feff}').trim_end_matches('\0');
        let quotes = |part: &str| part.bytes().filter(|byte| matches!(byte, b'"' | b'\'')).count();
        if text.split('<').any(|part| quotes(part) > MOST_QUOTES) {
            return unusable("it has a tag with too many attributes");
        }
        if text.matches("xmlns").count() > MOST_DECLARATIONS {
            return unusable("it declares too many namespaces");
        }
        let options = ParsingOptions {
            nodes_limit: most,
            ..ParsingOptions::default()
        };
        let document =
            Document::parse_with_options(text, options).map_err(|error| Unusable(error.to_string()))?;
        let root = document.root_element();
        if !root.has_tag_name((LANGUAGE, "TypeDictionary")) {
            return unusable(format!(
                "it is a {:?} and no TypeDictionary",
                root.tag_name().name()
            ));
        }
        if root.attribute("DefaultByteOrder") == Some("BigEndian") {
            return unusable("its byte order is BigEndian, which OPC UA does not send");
        }
        let (mut structures, mut enumerations) = (HashMap::new(), HashMap::new());
        for node in root.children() {
            let Some(name) = node.attribute("Name") else {
                continue;
            };
            if node.has_tag_name((LANGUAGE, "StructuredType")) {
                structures.insert(name.to_owned(), node.id());
            } else if node.has_tag_name((LANGUAGE, "EnumeratedType"))
                && let Some(number) = number(node)
            {
                enumerations.insert(name.to_owned(), number);
            }
        }
        Ok(Self {
            document,
            structures,
            enumerations,
        })
    }

    /// How many elements and texts it has.
    pub fn nodes(&self) -> u32 {
        u32::try_from(self.document.descendants().count()).unwrap_or(u32::MAX)
    }

    /// The namespace of its types.
    pub fn namespace(&self) -> &str {
        let root = self.document.root_element();
        root.attribute("TargetNamespace").unwrap_or_default()
    }

    /// What an enumeration of it is sent as.
    pub fn enumeration(&self, name: &str) -> Option<DataTypeId> {
        self.enumerations.get(name).copied()
    }

    /// A structure of it. `find` gives the types of its fields that are not built in, by namespace and name.
    pub fn structure(
        &self,
        name: &str,
        find: &dyn Fn(&str, &str) -> Option<NodeId>,
    ) -> Result<StructureDefinition, Unusable> {
        let node = self
            .structures
            .get(name)
            .and_then(|id| self.document.get_node(*id));
        let Some(node) = node else {
            return unusable("it is not in its dictionary");
        };
        let children = node.children();
        let fields = children.filter(|child| child.has_tag_name((LANGUAGE, "Field")));
        let fields = fields.map(Field::of).collect::<Result<Vec<_>, _>>()?;
        let bits = fields.iter().take_while(|field| field.is("Bit")).count();
        let (mask, rest) = fields.split_at(bits);
        if let Some(bit) = rest.iter().find(|field| field.is("Bit")) {
            return unusable(format!("field {:?} is a bit behind other fields", bit.name));
        }
        let mut members = members(rest)?;
        let structure_type = if !mask.is_empty() {
            hold_optional(mask, &members)?;
            StructureType::StructureWithOptionalFields
        } else if members.iter().any(|member| member.switch_value.is_some()) {
            hold_union(&members)?;
            members.remove(0);
            StructureType::Union
        } else if let Some(member) = members.iter().find(|member| member.switched_by.is_some()) {
            return unusable(format!(
                "field {:?} is switched by a field that is no bit",
                member.name
            ));
        } else {
            StructureType::Structure
        };
        let mut names = HashSet::new();
        if let Some(twice) = members.iter().find(|member| !names.insert(member.name)) {
            return unusable(format!("it has field {:?} twice", twice.name));
        }
        let is_with_optional = structure_type == StructureType::StructureWithOptionalFields;
        let field = |member: &Field<'_>| {
            let (data_type, value_rank) = member.data_type(find)?;
            Ok(StructureField {
                name: member.name.into(),
                data_type,
                value_rank,
                is_optional: is_with_optional && member.switched_by.is_some(),
                ..StructureField::default()
            })
        };
        let fields = members.iter().map(field).collect::<Result<Vec<_>, _>>()?;
        Ok(StructureDefinition {
            structure_type,
            fields: Some(fields),
            ..StructureDefinition::default()
        })
    }
}

/// The number that an enumeration is sent as.
fn number(enumeration: Node<'_, '_>) -> Option<DataTypeId> {
    let is_set = enumeration.attribute("IsOptionSet") == Some("true");
    match enumeration.attribute("LengthInBits")? {
        "8" => Some(DataTypeId::Byte),
        "16" => Some(DataTypeId::UInt16),
        "32" if is_set => Some(DataTypeId::UInt32),
        "32" => Some(DataTypeId::Int32),
        "64" => Some(DataTypeId::UInt64),
        _ => None,
    }
}

/// A field as it is written.
#[derive(Clone, Copy, Debug)]
struct Field<'a> {
    name: &'a str,
    namespace: &'a str,
    kind: &'a str,
    /// How many bits it has, of a field of bits.
    bits: u32,
    /// Of an array, the field with its length.
    length_in: Option<&'a str>,
    /// The field that says whether this one is there.
    switched_by: Option<&'a str>,
    /// What it says then, where it is more than a bit.
    switch_value: Option<&'a str>,
}

impl<'a> Field<'a> {
    fn of(node: Node<'a, '_>) -> Result<Self, Unusable> {
        let Some(name) = node.attribute("Name") else {
            return unusable("it has a field without a name");
        };
        let type_name = node.attribute("TypeName").unwrap_or_default();
        let (prefix, kind) = match type_name.split_once(':') {
            Some((prefix, kind)) => (Some(prefix), kind),
            None => (None, type_name),
        };
        let Some(namespace) = node.lookup_namespace_uri(prefix) else {
            return unusable(format!("field {name:?} is of the unknown type {type_name:?}"));
        };
        let mut field = Self {
            name,
            namespace,
            kind,
            bits: 1,
            length_in: node.attribute("LengthField"),
            switched_by: node.attribute("SwitchField"),
            switch_value: node.attribute("SwitchValue"),
        };
        let length = node.attribute("Length");
        if let (true, Some(length)) = (field.is("Bit"), length) {
            field.bits = length.parse().unwrap_or(0);
        }
        let is_unknown = |attribute: &&str| match *attribute {
            "Length" => length.is_some() && !field.is("Bit"),
            "IsLengthInBytes" => matches!(node.attribute(*attribute), Some("true" | "1")),
            "SwitchOperand" => !matches!(node.attribute(*attribute), None | Some("Equals")),
            attribute => node.has_attribute(attribute),
        };
        let attributes = ["Length", "IsLengthInBytes", "SwitchOperand", "Terminator"];
        match attributes.iter().find(|attribute| is_unknown(attribute)) {
            Some(attribute) => unusable(format!(
                "field {name:?} has {attribute}, which OPC UA has no encoding for"
            )),
            None => Ok(field),
        }
    }

    /// Whether it is of this type of the language.
    fn is(&self, kind: &str) -> bool {
        self.namespace == LANGUAGE && self.kind == kind
    }

    /// Its type and value rank.
    fn data_type(&self, find: &dyn Fn(&str, &str) -> Option<NodeId>) -> Result<(NodeId, i32), Unusable> {
        let is_array = self.length_in.is_some();
        // Characters with their number before them are a text.
        if self.is("Char") && is_array {
            return Ok((DataTypeId::String.into(), -1));
        }
        let may_be_built_in = self.namespace == LANGUAGE || self.namespace == STANDARD;
        let built_in = built_in(self.kind).filter(|_| may_be_built_in);
        let data_type = built_in
            .map(Into::into)
            .or_else(|| find(self.namespace, self.kind));
        match data_type {
            Some(data_type) => Ok((data_type, if is_array { 1 } else { -1 })),
            None => unusable(format!(
                "field {:?} is of the unknown type {:?} of {:?}",
                self.name, self.kind, self.namespace
            )),
        }
    }
}

/// The types that need no description.
fn built_in(name: &str) -> Option<DataTypeId> {
    Some(match name {
        "Boolean" => DataTypeId::Boolean,
        "SByte" => DataTypeId::SByte,
        "Byte" => DataTypeId::Byte,
        "Int16" => DataTypeId::Int16,
        "UInt16" => DataTypeId::UInt16,
        "Int32" => DataTypeId::Int32,
        "UInt32" => DataTypeId::UInt32,
        "Int64" => DataTypeId::Int64,
        "UInt64" => DataTypeId::UInt64,
        "Float" => DataTypeId::Float,
        "Double" => DataTypeId::Double,
        "String" | "CharArray" => DataTypeId::String,
        "DateTime" => DataTypeId::DateTime,
        "Guid" => DataTypeId::Guid,
        "ByteString" => DataTypeId::ByteString,
        "XmlElement" => DataTypeId::XmlElement,
        "NodeId" => DataTypeId::NodeId,
        "ExpandedNodeId" => DataTypeId::ExpandedNodeId,
        "StatusCode" => DataTypeId::StatusCode,
        "QualifiedName" => DataTypeId::QualifiedName,
        "LocalizedText" => DataTypeId::LocalizedText,
        "ExtensionObject" => DataTypeId::Structure,
        "DataValue" => DataTypeId::DataValue,
        "Variant" => DataTypeId::BaseDataType,
        "DiagnosticInfo" => DataTypeId::DiagnosticInfo,
        _ => return None,
    })
}

/// The fields without those that are only the length of the array after them.
fn members<'a>(fields: &[Field<'a>]) -> Result<Vec<Field<'a>>, Unusable> {
    let mut members: Vec<Field<'a>> = Vec::with_capacity(fields.len());
    for field in fields {
        if let Some(length) = field.length_in {
            let is_length = |before: &Field<'_>| {
                let is_number = before.is("Int32") && before.length_in.is_none();
                let is_switched_alike =
                    (before.switched_by, before.switch_value) == (field.switched_by, field.switch_value);
                before.name == length && is_number && is_switched_alike
            };
            if !members.pop().is_some_and(|before| is_length(&before)) {
                return unusable(format!(
                    "array {:?} has no Int32 field {length:?} just before it",
                    field.name
                ));
            }
        }
        members.push(*field);
    }
    Ok(members)
}

/// Optional fields have the bits of a mask in their order (OPC 10000-6 §5.2.7).
fn hold_optional(mask: &[Field<'_>], members: &[Field<'_>]) -> Result<(), Unusable> {
    let (mut bits, mut places) = (0_u32, HashMap::new());
    for bit in mask {
        if bit.bits == 1 {
            places.insert(bit.name, bits);
        }
        bits = bits.saturating_add(bit.bits);
    }
    if bits != MASK {
        return unusable(format!("it has {bits} bits and no mask of {MASK}"));
    }
    let mut next = 0;
    for member in members {
        let Some(switch) = member.switched_by else {
            continue;
        };
        if places.get(switch) != Some(&next) || !matches!(member.switch_value, None | Some("1")) {
            return unusable(format!(
                "field {:?} is optional, and bit {next} is not its own",
                member.name
            ));
        }
        next += 1;
    }
    Ok(())
}

/// The choices of a union have the numbers from 1 in their order (OPC 10000-6 §5.2.8).
fn hold_union(members: &[Field<'_>]) -> Result<(), Unusable> {
    let Some((switch, choices)) = members.split_first() else {
        return unusable("it has no field");
    };
    if !switch.is("UInt32") || switch.length_in.is_some() || switch.switched_by.is_some() {
        return unusable(format!(
            "field {:?} is no UInt32 that says the choice",
            switch.name
        ));
    }
    for (place, choice) in choices.iter().enumerate() {
        let value = choice.switch_value.and_then(|value| value.parse::<usize>().ok());
        if choice.switched_by != Some(switch.name) || value != Some(place + 1) {
            return unusable(format!("field {:?} is not choice {}", choice.name, place + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "binary_schema_tests.rs"]
mod tests;
