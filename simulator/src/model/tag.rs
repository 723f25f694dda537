//! Tags of the plant: their names, values, and changes.

use serde::Serialize;

/// A value as the plant holds it; the variant is the type on the wire.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the variants are the types of the wire")]
pub enum TagValue {
    Flag(bool),
    Int16(i16),
    Int32(i32),
    UInt16(u16),
    UInt32(u32),
    Float(f32),
    Double(f64),
    Text(String),
}

/// The protocol by which a tag is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A variable of the OPC UA server; the tag's name is its string node id.
    OpcUa,
    /// Registers or bits of a Modbus unit; see the register table in the crate's README.
    Modbus,
}

/// A tag and its present value.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// `Line{n}.{name}` or `Conveyor{n}.{name}`, n from 1.
    pub name: String,
    /// How it is read.
    pub protocol: Protocol,
    /// The value it has now.
    pub value: TagValue,
}

/// One change: the tag as its place in [`Hall::tags`](super::Hall::tags), and its value before and after, which always differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Place of the tag.
    pub tag: usize,
    /// Value before.
    pub old: TagValue,
    /// Value after.
    pub new: TagValue,
}

/// The tags of one machine while one moment of its life is played: what is written here is the moment's changes.
pub(crate) struct Moment<'a> {
    /// The tags of this machine only.
    pub(crate) tags: &'a mut [Tag],
    /// Place of the machine's first tag among all tags.
    pub(crate) first: usize,
    pub(crate) changes: &'a mut Vec<Change>,
}

impl Moment<'_> {
    /// Gives the machine's tag `slot` a value; a value that is no change is none.
    pub(crate) fn set(&mut self, slot: usize, value: TagValue) {
        let tag = &mut self.tags[slot];
        if tag.value != value {
            let old = std::mem::replace(&mut tag.value, value.clone());
            self.changes.push(Change {
                tag: self.first + slot,
                old,
                new: value,
            });
        }
    }
}
