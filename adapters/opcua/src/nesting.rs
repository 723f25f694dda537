//! How deep what a server sends is nested, looked at before the library reads it.
//!
//! Diagnostic information holds diagnostic information, and a data value a variant that holds a data value (OPC 10000-6 §5.2.2). The library reads each level with a call
//! and bounds only variants in variants and structures in structures, so that a message of some kilobytes ends the process. Here a message is walked by its layout
//! (OPC 10000-4) without anything being made of it, as far as there is something that can be nested; structures are passed over, as they stay
//! bytes, but for notifications and histories, which [`bodies`](crate::bodies) has the library read. What cannot be walked cannot be read by the library either.

use opcua::types::{DataTypeId, ObjectId};

use crate::connection::MOST_ELEMENTS;

/// Levels of diagnostic information, data values and variants within each other. The library reads variants 10 deep.
pub const DEEPEST: usize = 16;
/// Elements of all arrays of a message, and what is nested in them: the library takes up to 130 bytes for one that is a single byte in the message.
pub const MOST_PARTS: usize = 2_000_000;

/// Why bytes are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More levels than [`DEEPEST`].
    #[error("it is nested more than {DEEPEST} deep")]
    TooDeep,
    /// More than [`MOST_PARTS`], or an array of more than [`MOST_ELEMENTS`].
    #[error(
        "it has too many parts: {MOST_ELEMENTS} elements in one array, or {MOST_PARTS} in all, are the most"
    )]
    TooMany,
    /// They end before what they hold does.
    #[error("it ends too early")]
    TooShort,
    /// A mark that the encoding does not have, or a notification within another.
    #[error("it is malformed")]
    Malformed,
    /// Not one of the answers that a client gets.
    #[error("it is no answer that was asked for")]
    Unknown,
}

/// What follows what in a message.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// So many bytes.
    Bytes(usize),
    /// `String`, `ByteString` or `XmlElement`.
    Text,
    NodeId,
    ExpandedNodeId,
    LocalizedText,
    Diagnostics,
    DataValue,
    Variant,
    /// A structure in the way of an `ExtensionObject`.
    Structure,
    /// An array.
    Many(&'static [Part]),
}

use Part::{
    Bytes, DataValue, Diagnostics, ExpandedNodeId, LocalizedText, Many, NodeId, Structure, Text, Variant,
};

/// `StatusCode`, `UInt32` or an enumeration.
const WORD: Part = Bytes(4);
const STATUS: Part = WORD;
/// `QualifiedName`.
const NAME: [Part; 2] = [Bytes(2), Text];
const DIAGNOSTICS: Part = Many(&[Diagnostics]);
/// OPC 10000-4 §7.34: time, handle, result; diagnostics, their texts, and an additional header.
const HEADER: &[Part] = &[Bytes(16), Diagnostics, Many(&[Text]), Structure];
/// Results of a status each.
const STATUSES: &[Part] = &[Many(&[STATUS]), DIAGNOSTICS];
const REFERENCE: &[Part] = &[
    NodeId,
    Bytes(1),
    ExpandedNodeId,
    NAME[0],
    NAME[1],
    LocalizedText,
    WORD,
    ExpandedNodeId,
];
const BROWSED: &[Part] = &[Many(&[STATUS, Text, Many(REFERENCE)]), DIAGNOSTICS];
/// Number, time, notifications.
const NOTIFICATIONS: [Part; 2] = [Bytes(12), Many(&[Structure])];

/// What comes after the header of an answer, up to the last that can be nested.
fn layout(answer: ObjectId) -> Option<&'static [Part]> {
    use ObjectId as O;
    Some(match answer {
        O::ServiceFault_Encoding_DefaultBinary
        | O::OpenSecureChannelResponse_Encoding_DefaultBinary
        | O::CloseSecureChannelResponse_Encoding_DefaultBinary
        | O::FindServersResponse_Encoding_DefaultBinary
        | O::GetEndpointsResponse_Encoding_DefaultBinary
        | O::CreateSessionResponse_Encoding_DefaultBinary
        | O::CloseSessionResponse_Encoding_DefaultBinary
        | O::CancelResponse_Encoding_DefaultBinary
        | O::RegisterNodesResponse_Encoding_DefaultBinary
        | O::UnregisterNodesResponse_Encoding_DefaultBinary
        | O::CreateSubscriptionResponse_Encoding_DefaultBinary
        | O::ModifySubscriptionResponse_Encoding_DefaultBinary => &[],
        O::ActivateSessionResponse_Encoding_DefaultBinary => &[Text, Many(&[STATUS]), DIAGNOSTICS],
        O::WriteResponse_Encoding_DefaultBinary
        | O::SetMonitoringModeResponse_Encoding_DefaultBinary
        | O::DeleteMonitoredItemsResponse_Encoding_DefaultBinary
        | O::SetPublishingModeResponse_Encoding_DefaultBinary
        | O::DeleteSubscriptionsResponse_Encoding_DefaultBinary => STATUSES,
        O::BrowseResponse_Encoding_DefaultBinary | O::BrowseNextResponse_Encoding_DefaultBinary => BROWSED,
        O::TranslateBrowsePathsToNodeIdsResponse_Encoding_DefaultBinary => {
            &[Many(&[STATUS, Many(&[ExpandedNodeId, WORD])]), DIAGNOSTICS]
        }
        O::ReadResponse_Encoding_DefaultBinary => &[Many(&[DataValue]), DIAGNOSTICS],
        O::HistoryReadResponse_Encoding_DefaultBinary => &[Many(&[STATUS, Text, Structure]), DIAGNOSTICS],
        O::CallResponse_Encoding_DefaultBinary => &[
            Many(&[STATUS, Many(&[STATUS]), DIAGNOSTICS, Many(&[Variant])]),
            DIAGNOSTICS,
        ],
        // Status, number, sampling interval, size of the queue.
        O::CreateMonitoredItemsResponse_Encoding_DefaultBinary => {
            &[Many(&[Bytes(4 + 4 + 8 + 4), Structure]), DIAGNOSTICS]
        }
        O::ModifyMonitoredItemsResponse_Encoding_DefaultBinary => {
            &[Many(&[Bytes(4 + 8 + 4), Structure]), DIAGNOSTICS]
        }
        O::SetTriggeringResponse_Encoding_DefaultBinary => {
            &[Many(&[STATUS]), DIAGNOSTICS, Many(&[STATUS]), DIAGNOSTICS]
        }
        // Subscription, numbers at the server, whether there is more.
        O::PublishResponse_Encoding_DefaultBinary => &[
            WORD,
            Many(&[WORD]),
            Bytes(1),
            NOTIFICATIONS[0],
            NOTIFICATIONS[1],
            Many(&[STATUS]),
            DIAGNOSTICS,
        ],
        O::RepublishResponse_Encoding_DefaultBinary => &NOTIFICATIONS,
        O::TransferSubscriptionsResponse_Encoding_DefaultBinary => {
            &[Many(&[STATUS, Many(&[WORD])]), DIAGNOSTICS]
        }
        _ => return None,
    })
}

/// The encoding with this number, or that of the type with this number: some servers tell a structure by its type.
pub fn encoding(number: u32) -> Option<ObjectId> {
    use DataTypeId as D;
    use ObjectId as O;
    match DataTypeId::try_from(number) {
        Ok(D::DataChangeNotification) => Some(O::DataChangeNotification_Encoding_DefaultBinary),
        Ok(D::EventNotificationList) => Some(O::EventNotificationList_Encoding_DefaultBinary),
        Ok(D::StatusChangeNotification) => Some(O::StatusChangeNotification_Encoding_DefaultBinary),
        Ok(D::HistoryData) => Some(O::HistoryData_Encoding_DefaultBinary),
        Ok(D::StructureDefinition) => Some(O::StructureDefinition_Encoding_DefaultBinary),
        Ok(D::EnumDefinition) => Some(O::EnumDefinition_Encoding_DefaultBinary),
        Ok(D::EnumValueType) => Some(O::EnumValueType_Encoding_DefaultBinary),
        Ok(D::EUInformation) => Some(O::EUInformation_Encoding_DefaultBinary),
        Ok(D::Range) => Some(O::Range_Encoding_DefaultBinary),
        _ => ObjectId::try_from(number).ok(),
    }
}

/// The structures that the library reads itself and that hold what can be nested.
pub fn of_structure(encoding: ObjectId) -> Option<&'static [Part]> {
    use ObjectId as O;
    Some(match encoding {
        O::DataChangeNotification_Encoding_DefaultBinary => &[Many(&[WORD, DataValue]), DIAGNOSTICS],
        O::EventNotificationList_Encoding_DefaultBinary => &[Many(&[WORD, Many(&[Variant])])],
        O::StatusChangeNotification_Encoding_DefaultBinary => &[STATUS, Diagnostics],
        O::HistoryData_Encoding_DefaultBinary => &[Many(&[DataValue])],
        _ => return None,
    })
}

/// Looks at an answer that came in chunks, of which these are the places.
///
/// The library leaves out chunks that came before their request was sent, so that it may read only the last few of them: none of these ways to
/// read it may be too much. That one of them cannot be read otherwise is no matter, as the library cannot either.
pub fn look_at_answer(message: &[u8], chunks: &[usize]) -> Result<(), Refused> {
    let mut left = MOST_PARTS;
    for place in chunks {
        let rest = message.get(*place..).ok_or(Refused::TooShort)?;
        if let Err(refused @ (Refused::TooDeep | Refused::TooMany)) = look_at_message(rest, &mut left) {
            return Err(refused);
        }
    }
    look_at_message(message, &mut left)
}

fn look_at_message(message: &[u8], left: &mut usize) -> Result<(), Refused> {
    let mut walk = Walk {
        rest: message,
        left: *left,
        is_within: false,
    };
    let looked = walk.answer();
    *left = walk.left;
    looked
}

/// Looks at these parts; what of the bytes they are not is left over. A structure that is looked at by its own layout must not be within another.
pub fn look_at(parts: &[Part], bytes: &[u8]) -> Result<(), Refused> {
    let mut walk = Walk {
        rest: bytes,
        left: MOST_PARTS,
        is_within: true,
    };
    walk.parts(parts, 0)
}

struct Walk<'a> {
    rest: &'a [u8],
    /// How many parts may still come.
    left: usize,
    /// Within a structure.
    is_within: bool,
}

impl Walk<'_> {
    fn answer(&mut self) -> Result<(), Refused> {
        let number = self.id()?;
        let answer = number.and_then(|number| ObjectId::try_from(number).ok());
        let layout = answer.and_then(layout).ok_or(Refused::Unknown)?;
        self.parts(HEADER, 0)?;
        self.parts(layout, 0)
    }

    fn parts(&mut self, parts: &[Part], depth: usize) -> Result<(), Refused> {
        for part in parts {
            match *part {
                Bytes(count) => self.skip(count)?,
                Text => self.text()?,
                NodeId => {
                    self.id()?;
                }
                ExpandedNodeId => self.expanded_id()?,
                LocalizedText => {
                    let mask = self.byte()?;
                    for bit in [0x01, 0x02] {
                        if mask & bit != 0 {
                            self.text()?;
                        }
                    }
                }
                Diagnostics => self.diagnostics(depth)?,
                DataValue => self.data_value(depth)?,
                Variant => self.variant(depth)?,
                Structure => self.structure()?,
                Many(parts) => {
                    let count = self.length()?;
                    self.many(count, parts, depth)?;
                }
            }
        }
        Ok(())
    }

    /// The elements of an array.
    fn many(&mut self, count: usize, parts: &[Part], depth: usize) -> Result<(), Refused> {
        if count > MOST_ELEMENTS {
            return Err(Refused::TooMany);
        }
        self.left = self.left.checked_sub(count).ok_or(Refused::TooMany)?;
        if let [Bytes(bytes)] = parts {
            return self.skip(bytes * count);
        }
        for _ in 0..count {
            self.parts(parts, depth)?;
        }
        Ok(())
    }

    fn skip(&mut self, count: usize) -> Result<(), Refused> {
        self.rest = self.rest.get(count..).ok_or(Refused::TooShort)?;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Refused::TooShort)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Refused> {
        self.take().map(|[byte]| byte)
    }

    /// A length of an array or a text; null is none.
    fn length(&mut self) -> Result<usize, Refused> {
        match i32::from_le_bytes(self.take()?) {
            -1 => Ok(0),
            length => usize::try_from(length).map_err(|_| Refused::Malformed),
        }
    }

    fn text(&mut self) -> Result<(), Refused> {
        let length = self.length()?;
        self.skip(length)
    }

    /// A node id; its number, where it is one of the standard's.
    fn id(&mut self) -> Result<Option<u32>, Refused> {
        let kind = self.byte()?;
        self.id_of(kind)
    }

    fn id_of(&mut self, kind: u8) -> Result<Option<u32>, Refused> {
        let (namespace, number) = match kind {
            0 => (0, u32::from(self.byte()?)),
            1 => (
                u16::from(self.byte()?),
                u32::from(u16::from_le_bytes(self.take()?)),
            ),
            2 => (u16::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?)),
            3 | 5 => {
                self.skip(2)?;
                self.text()?;
                return Ok(None);
            }
            4 => {
                self.skip(2 + 16)?;
                return Ok(None);
            }
            _ => return Err(Refused::Malformed),
        };
        Ok((namespace == 0).then_some(number))
    }

    fn expanded_id(&mut self) -> Result<(), Refused> {
        let kind = self.byte()?;
        self.id_of(kind & 0x0F)?;
        if kind & 0x80 != 0 {
            self.text()?;
        }
        self.skip(if kind & 0x40 == 0 { 0 } else { 4 })
    }

    /// OPC 10000-6 §5.2.2.12.
    fn diagnostics(&mut self, depth: usize) -> Result<(), Refused> {
        let depth = deeper(depth)?;
        self.left = self.left.checked_sub(1).ok_or(Refused::TooMany)?;
        let mask = self.byte()?;
        let words = (mask & 0x0F).count_ones() as usize;
        self.skip(words * 4)?;
        if mask & 0x10 != 0 {
            self.text()?;
        }
        self.skip(if mask & 0x20 == 0 { 0 } else { 4 })?;
        if mask & 0x40 == 0 {
            return Ok(());
        }
        self.diagnostics(depth)
    }

    /// OPC 10000-6 §5.2.2.17.
    fn data_value(&mut self, depth: usize) -> Result<(), Refused> {
        let depth = deeper(depth)?;
        let mask = self.byte()?;
        if mask & 0x01 != 0 {
            self.variant(depth)?;
        }
        // Status, both times, and the picoseconds of both.
        let rest = [(0x02, 4), (0x04, 8), (0x08, 8), (0x10, 2), (0x20, 2)];
        let rest = rest.iter().filter(|(bit, _)| mask & bit != 0);
        self.skip(rest.map(|(_, bytes)| bytes).sum())
    }

    /// OPC 10000-6 §5.2.2.16.
    fn variant(&mut self, depth: usize) -> Result<(), Refused> {
        let depth = deeper(depth)?;
        let mask = self.byte()?;
        let of: &[Part] = match mask & 0x3F {
            1..=3 => &[Bytes(1)],
            4 | 5 => &[Bytes(2)],
            6 | 7 | 10 | 19 => &[Bytes(4)],
            8 | 9 | 11 | 13 => &[Bytes(8)],
            12 | 15 | 16 => &[Text],
            14 => &[Bytes(16)],
            17 => &[NodeId],
            18 => &[ExpandedNodeId],
            20 => &NAME,
            21 => &[LocalizedText],
            22 => &[Structure],
            23 => &[DataValue],
            24 => &[Variant],
            25 => &[Diagnostics],
            // Null; and to the library all others, too, are no value, of no bytes.
            _ => &[],
        };
        if mask & 0x80 == 0 {
            return self.parts(of, depth);
        }
        let length = self.length()?;
        if of.is_empty() && length > 0 {
            return Err(Refused::Malformed);
        }
        self.many(length, of, depth)?;
        // The library reads no dimensions of an array that is empty.
        if mask & 0x40 != 0 && length > 0 {
            let dimensions = self.length()?;
            self.skip(dimensions.checked_mul(4).ok_or(Refused::TooShort)?)?;
        }
        Ok(())
    }

    /// OPC 10000-6 §5.2.2.15.
    fn structure(&mut self) -> Result<(), Refused> {
        let id = self.id()?;
        match self.byte()? {
            0 => Ok(()),
            kind @ (1 | 2) => {
                let length = i32::from_le_bytes(self.take()?);
                let length = usize::try_from(length).unwrap_or(0);
                let (body, rest) = self.rest.split_at_checked(length).ok_or(Refused::TooShort)?;
                self.rest = rest;
                match id.and_then(encoding).and_then(of_structure) {
                    Some(_) if self.is_within => Err(Refused::Malformed),
                    Some(layout) if kind == 1 && length > 0 => {
                        let mut walk = Walk {
                            rest: body,
                            left: self.left,
                            is_within: true,
                        };
                        let looked = walk.parts(layout, 0);
                        self.left = walk.left;
                        looked
                    }
                    _ => Ok(()),
                }
            }
            _ => Err(Refused::Malformed),
        }
    }
}

fn deeper(depth: usize) -> Result<usize, Refused> {
    if depth >= DEEPEST {
        return Err(Refused::TooDeep);
    }
    Ok(depth + 1)
}
