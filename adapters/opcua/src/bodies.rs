//! How the bodies of structures in a message are read.
//!
//! The protocol itself needs a few; the library's own reading of them is used once they were [looked at](crate::nesting). All others stay bytes, also those of the standard
//! that the library knows: what a value is made of is read by [`structure`](crate::structure), with bounds.

use std::io::Read;

use opcua::types::type_loader::{TypeLoader, TypeLoaderCollection};
use opcua::types::{
    BinaryDecodable, ByteString, ByteStringBody, Context, DataChangeNotification, DynEncodable,
    EUInformation, EncodingResult, EnumDefinition, EnumValueType, Error, EventNotificationList, HistoryData,
    NodeId, ObjectId, Range, StatusChangeNotification, StructureDefinition,
};

use crate::nesting;

/// What reads the bodies, in the place of all that the library has for it.
pub fn loaders() -> TypeLoaderCollection {
    let mut loaders = TypeLoaderCollection::new_empty();
    loaders.add_type_loader(Bodies);
    loaders
}

struct Bodies;

type Body = EncodingResult<Box<dyn DynEncodable>>;

impl TypeLoader for Bodies {
    fn load_from_binary(
        &self,
        encoding: &NodeId,
        stream: &mut dyn Read,
        context: &Context<'_>,
        length: Option<usize>,
    ) -> Option<Body> {
        Some(load(encoding, stream, context, length))
    }
}

fn load(encoding: &NodeId, stream: &mut dyn Read, context: &Context<'_>, length: Option<usize>) -> Body {
    use ObjectId as O;
    let length = length.ok_or_else(|| Error::decoding("a structure does not say how long it is"))?;
    // The message was looked at: there are so many bytes.
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(Error::decoding("a structure ends too early"));
    }
    let known = encoding.as_object_id().ok();
    if let Some(layout) = known.and_then(nesting::of_structure) {
        nesting::look_at(layout, &bytes)
            .map_err(|refused| Error::decoding(format!("a notification: {refused}")))?;
    }
    match known {
        Some(O::DataChangeNotification_Encoding_DefaultBinary) => {
            of::<DataChangeNotification>(&bytes, context)
        }
        Some(O::EventNotificationList_Encoding_DefaultBinary) => of::<EventNotificationList>(&bytes, context),
        Some(O::StatusChangeNotification_Encoding_DefaultBinary) => {
            of::<StatusChangeNotification>(&bytes, context)
        }
        Some(O::HistoryData_Encoding_DefaultBinary) => of::<HistoryData>(&bytes, context),
        Some(O::StructureDefinition_Encoding_DefaultBinary) => of::<StructureDefinition>(&bytes, context),
        Some(O::EnumDefinition_Encoding_DefaultBinary) => of::<EnumDefinition>(&bytes, context),
        Some(O::EnumValueType_Encoding_DefaultBinary) => of::<EnumValueType>(&bytes, context),
        Some(O::EUInformation_Encoding_DefaultBinary) => of::<EUInformation>(&bytes, context),
        Some(O::Range_Encoding_DefaultBinary) => of::<Range>(&bytes, context),
        _ => Ok(Box::new(ByteStringBody::new(
            ByteString::from(bytes),
            encoding.clone(),
        ))),
    }
}

fn of<T: BinaryDecodable + DynEncodable>(mut bytes: &[u8], context: &Context<'_>) -> Body {
    Ok(Box::new(T::decode(&mut bytes, context)?))
}
