//! How the bodies of structures in a message are read.
//!
//! The protocol itself needs a few; the library's own reading of them is used once they were [looked at](crate::nesting). All others stay bytes, also those of the standard
//! that the library knows: what a value is made of is read by [`structure`](crate::structure), with bounds.

use std::borrow::Cow;
use std::io::Read;

use opcua::types::type_loader::{TypeLoader, TypeLoaderCollection};
use opcua::types::{
    BinaryDecodable, ByteString, ByteStringBody, Context, DataChangeNotification, DynEncodable,
    EUInformation, EncodingResult, EnumDefinition, EnumValueType, Error, EventNotificationList,
    ExtensionObject, HistoryData, NodeId, ObjectId, Range, StatusChangeNotification, StructureDefinition,
};

use crate::nesting;
use crate::value::Unsupported;

/// What reads the bodies, in the place of all that the library has for it.
pub fn loaders() -> TypeLoaderCollection {
    let mut loaders = TypeLoaderCollection::new_empty();
    loaders.add_type_loader(Bodies);
    loaders
}

/// What stands for a structure of which nothing is known.
pub fn nameless(object: &ExtensionObject) -> Unsupported {
    let raw = object.inner_as::<ByteStringBody>();
    Unsupported(match raw {
        Some(raw) => format!("structure {}", raw.encoding_id()).into(),
        None => Cow::Borrowed(object.type_name().unwrap_or("structure")),
    })
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
    let known = encoding.as_u32().filter(|_| encoding.namespace == 0);
    let known = known.and_then(nesting::encoding);
    if let Some(layout) = known.and_then(nesting::of_structure) {
        let looked = nesting::look_at(layout, &bytes);
        looked.map_err(|refused| Error::decoding(format!("a notification: {refused}")))?;
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
        // One that is malformed costs no other value.
        _ => Ok(described(known, &bytes, context).unwrap_or_else(|| {
            let bytes = ByteString::from(bytes);
            Box::new(ByteStringBody::new(bytes, encoding.clone()))
        })),
    }
}

/// What describes other values.
fn described(known: Option<ObjectId>, bytes: &[u8], context: &Context<'_>) -> Option<Box<dyn DynEncodable>> {
    use ObjectId as O;
    let body = match known? {
        O::StructureDefinition_Encoding_DefaultBinary => of::<StructureDefinition>(bytes, context),
        O::EnumDefinition_Encoding_DefaultBinary => of::<EnumDefinition>(bytes, context),
        O::EnumValueType_Encoding_DefaultBinary => of::<EnumValueType>(bytes, context),
        O::EUInformation_Encoding_DefaultBinary => of::<EUInformation>(bytes, context),
        O::Range_Encoding_DefaultBinary => of::<Range>(bytes, context),
        _ => return None,
    };
    body.ok()
}

fn of<T: BinaryDecodable + DynEncodable>(mut bytes: &[u8], context: &Context<'_>) -> Body {
    Ok(Box::new(T::decode(&mut bytes, context)?))
}
