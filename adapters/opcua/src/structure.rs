//! Structures of a server's own types (OPC 10000-6 §5.2.6), by the definitions that the server gives of them (OPC 10000-3 §8.48).
//!
//! The library leaves a structure that it does not know as bytes, so that one that cannot be read costs no other value. They are decoded here: with a bound of depth and of
//! values, as both are in the server's hands.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use floorgate_adapter_api::Value;
use opcua::client::Session;
use opcua::types::custom::{DataTypeTree, ParsedStructureField, StructTypeInfo};
use opcua::types::{
    BinaryDecodable, ByteString, ByteStringBody, Context, ContextOwned, DataTypeId, DataValue, DateTime,
    DecodingOptions, DiagnosticInfo, Error, ExpandedNodeId, ExtensionObject, Guid, LocalizedText,
    NamespaceMap, NodeId, QualifiedName, StatusCode, StructureType, UAString, Variant, VariantScalarTypeId,
    XmlElement,
};
use tokio::sync::Mutex;

use crate::bodies::{self, nameless};
use crate::definitions;
use crate::nesting::{self, Part};
use crate::plan::Plan;
use crate::value::{MOST_DIMENSIONS, Unsupported, lists, null_element, shaped, value_with};

/// Values that one structure may hold, of all structures within it.
const MOST_VALUES: usize = 100_000;
/// The time in which a server tells its types, in times for an answer: it takes dozens of requests, and nothing else is handed on meanwhile.
pub const ANSWERS: u32 = 5;
/// After so many connections that were lost in a row while the server was asked it is the question that ends them.
pub const MOST_LOSSES: u32 = 3;
/// After this time a server that did not tell its types is asked again.
const AGAIN: Duration = Duration::from_hours(1);
/// The same of one that lost the connection over its type dictionaries.
const AGAIN_AFTER_LOSS: Duration = Duration::from_hours(24);
/// The same of one whose types may have changed since.
const CHANGED: Duration = Duration::from_secs(10);

/// The types of a server, which are asked for when the first structure comes that needs them.
#[derive(Clone, Debug, Default)]
pub struct Types(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: RwLock<Option<Arc<Known>>>,
    /// Held while the server is asked.
    asking: Mutex<()>,
    /// When the server may be asked again, where it did not tell them, or not all.
    again: RwLock<Option<Instant>>,
    /// How often in a row the connection was lost over the question.
    losses: Arc<AtomicU32>,
    /// How often in a row it was lost over the type dictionaries.
    losses_over_dictionaries: Arc<AtomicU32>,
}

/// What is known of them.
#[derive(Debug)]
struct Known {
    tree: DataTypeTree,
    context: ContextOwned,
    since: Instant,
}

impl Types {
    /// Those of a server that was started anew.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self(Arc::new(Inner {
            losses: Arc::clone(&self.0.losses),
            losses_over_dictionaries: Arc::clone(&self.0.losses_over_dictionaries),
            ..Inner::default()
        }))
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.0
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Those that a test made up.
    #[cfg(test)]
    pub fn made(tree: DataTypeTree) -> Self {
        let types = Self::default();
        types.know(tree, None);
        types
    }

    fn know(&self, tree: DataTypeTree, again: Option<Duration>) {
        let context = ContextOwned::new(NamespaceMap::new(), bodies::loaders(), DecodingOptions::default());
        let since = Instant::now();
        let known = Arc::new(Known { tree, context, since });
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
        self.ask_after(again);
    }

    fn ask_after(&self, again: Option<Duration>) {
        let again = again.map(|again| Instant::now() + again);
        *self.0.again.write().unwrap_or_else(PoisonError::into_inner) = again;
    }

    /// Whether they are known, also as not told.
    pub fn are_known(&self) -> bool {
        self.known().is_some() && self.again().is_none_or(|again| Instant::now() < again)
    }

    /// They may be others now: the server is asked again with the next structure. Not for each of many, and not before its time where it did not tell all.
    pub fn were_changed(&self) {
        if self.again().is_none() && self.known().is_some_and(|known| known.since.elapsed() > CHANGED) {
            self.ask_after(Some(Duration::ZERO));
        }
    }

    fn again(&self) -> Option<Instant> {
        *self.0.again.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody asks the server for them at present.
    pub fn are_asked(&self) -> bool {
        self.0.asking.try_lock().is_err()
    }

    /// Waits for whoever asks.
    pub async fn await_asked(&self) {
        let _asking = self.0.asking.lock().await;
    }

    /// Asks the server for its types, where that was not done yet. An error where the connection is lost, or an answer did not come in time.
    pub async fn ask(&self, session: &Session, nodes_per_read: usize, plan: &Plan) -> Result<(), Error> {
        let _asking = self.0.asking.lock().await;
        if self.are_known() {
            return Ok(());
        }
        let (begun, source) = (Instant::now(), &plan.name);
        let within = plan.settings.request_timeout.get() * ANSWERS;
        // A dictionary that the connection is lost over must not cost the structures that are defined without one.
        // Once may be an accident.
        let losses = &self.0.losses_over_dictionaries;
        let is_left_out = losses.load(Ordering::Relaxed) > 1;
        if is_left_out {
            losses.store(1, Ordering::Relaxed);
        }
        let dictionaries = (!is_left_out).then_some((within / 2, &**losses));
        let telling = definitions::ask(session, nodes_per_read, dictionaries);
        let within = within + within / 2;
        let built = tokio::time::timeout(within, telling).await.unwrap_or_else(|_| {
            Err(Error::new(
                StatusCode::BadTimeout,
                "the types were not told in time",
            ))
        });
        match built {
            Ok(types) => {
                let took = begun.elapsed().as_secs_f64();
                let without = if types.is_whole {
                    ""
                } else {
                    ", its type dictionaries not"
                };
                tracing::debug!(source, "the server told its data types in {took:.1} s{without}");
                self.0.losses.store(0, Ordering::Relaxed);
                let again = if is_left_out { AGAIN_AFTER_LOSS } else { AGAIN };
                self.know(types.tree, (!types.is_whole).then_some(again));
                Ok(())
            }
            Err(error) if crate::publish::is_lost(error.status()) => Err(error),
            Err(error) => {
                self.give_up(source, &crate::server::reason(&error));
                Ok(())
            }
        }
    }

    /// The connection was lost while the server was asked; whether that was too often to be an accident.
    pub fn was_lost(&self) -> bool {
        self.0.losses.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_LOSSES
    }

    /// Takes it that the server does not tell its types, for as long as [`AGAIN`] says.
    pub fn give_up(&self, source: &str, reason: &str) {
        tracing::warn!(
            source,
            see = "opcua-data-types-not-told",
            "the server does not tell its data types, and structures that are not known cannot be read: {reason}; it is asked again in {} min",
            AGAIN.as_secs() / 60
        );
        self.0.losses.store(0, Ordering::Relaxed);
        if self.known().is_none() {
            let none = DataTypeTree::new(opcua::types::custom::ParentIds::new());
            self.know(none, None);
        }
        self.ask_after(Some(AGAIN));
    }

    /// Whether one of the values cannot be told before the server is asked for its types.
    pub fn lack<'v>(&self, mut values: impl Iterator<Item = &'v Variant>) -> bool {
        fn is_structure(value: &Variant) -> bool {
            match value {
                Variant::ExtensionObject(object) => object.body.is_some(),
                Variant::Variant(inner) => is_structure(inner),
                Variant::Array(array) => array.values.iter().any(is_structure),
                _ => false,
            }
        }
        values.any(is_structure) && !self.are_known()
    }

    /// A value with its structures as records; `None` for a null. What it holds is bounded together, also where it is an array of structures.
    pub fn value(&self, variant: Variant) -> Result<Option<Value>, Unsupported> {
        let Some(known) = self.known() else {
            return value_with(variant, &mut |object| Err(nameless(object)));
        };
        let context = known.context.context();
        let mut decoder = Decoder {
            known: &known,
            context: &context,
            left: MOST_VALUES,
        };
        let told = value_with(variant, &mut |object| decoder.object(object, 0));
        if told.is_err() && self.again().is_none() {
            // It may have been changed since they were told.
            self.ask_after(Some(AGAIN));
        }
        told
    }
}

/// Reads the bytes of structures.
struct Decoder<'a> {
    known: &'a Known,
    context: &'a Context<'a>,
    /// Values that it may still hold.
    left: usize,
}

fn broken(error: impl std::fmt::Display) -> Unsupported {
    Unsupported(format!("structure that does not fit its definition: {error}").into())
}

impl Decoder<'_> {
    /// A structure that the library has taken over.
    fn object(&mut self, object: &ExtensionObject, depth: usize) -> Result<Option<Value>, Unsupported> {
        let Some(body) = &object.body else { return Ok(None) };
        if let Some(raw) = object.inner_as::<ByteStringBody>() {
            let bytes = raw.raw_body().value.as_deref().unwrap_or_default();
            return self.whole(raw.encoding_id(), bytes, depth).map(Some);
        }
        // One of the standard's own, which the library knows: its bytes are read as those of any other.
        let mut bytes = Vec::new();
        body.encode_binary(&mut bytes, self.context)
            .map_err(|_| nameless(object))?;
        let id = body.binary_type_id().node_id;
        self.whole(&id, &bytes, depth).map(Some)
    }

    /// A value of any type.
    fn any(&mut self, variant: Variant, depth: usize) -> Result<Option<Value>, Unsupported> {
        value_with(variant, &mut |object| self.object(object, depth + 1))
    }

    /// A structure by the id of its encoding, or of its type. All of the bytes are its own.
    fn whole(&mut self, id: &NodeId, bytes: &[u8], depth: usize) -> Result<Value, Unsupported> {
        // Types without an encoding of a kind stand under the null id.
        let (tree, is_null) = (&self.known.tree, id.is_null());
        let id = tree.encoding_to_data_type().get(id).unwrap_or(id);
        let Some(info) = tree.get_struct_type(id).filter(|_| !is_null) else {
            return Err(Unsupported(
                format!("structure {id}, which the server does not define").into(),
            ));
        };
        let mut rest = bytes;
        let value = self.structure(&Arc::clone(info), &mut rest, depth)?;
        if rest.is_empty() {
            Ok(value)
        } else {
            Err(broken(format_args!("{} bytes are left", rest.len())))
        }
    }

    fn structure(
        &mut self,
        info: &StructTypeInfo,
        bytes: &mut &[u8],
        depth: usize,
    ) -> Result<Value, Unsupported> {
        if depth >= Value::DEEPEST {
            return Err(broken("it is too deep"));
        }
        let is_with_subtypes = matches!(
            info.structure_type,
            StructureType::StructureWithSubtypedValues | StructureType::UnionWithSubtypedValues
        );
        let mut parts = Vec::with_capacity(info.fields.len());
        let mut part = |decoder: &mut Self, field: &ParsedStructureField, bytes: &mut &[u8]| {
            // There the flag says that the field may be of a subtype, and it is told which.
            let of_any = is_with_subtypes && field.is_optional;
            if let Some(value) = decoder.field(field, of_any, bytes, depth)? {
                parts.push((Arc::from(field.name.as_str()), value));
            }
            Ok::<(), Unsupported>(())
        };
        match info.structure_type {
            StructureType::Structure | StructureType::StructureWithSubtypedValues => {
                for field in &info.fields {
                    part(self, field, bytes)?;
                }
            }
            StructureType::StructureWithOptionalFields => {
                let mask = u32::decode(bytes, self.context).map_err(broken)?;
                let mut optional = 0_u32;
                for field in &info.fields {
                    if field.is_optional {
                        let is_there = mask.checked_shr(optional).is_some_and(|mask| mask & 1 == 1);
                        optional += 1;
                        if !is_there {
                            continue;
                        }
                    }
                    part(self, field, bytes)?;
                }
            }
            StructureType::Union | StructureType::UnionWithSubtypedValues => {
                let choice = u32::decode(bytes, self.context).map_err(broken)?;
                if let Some(place) = (choice as usize).checked_sub(1) {
                    let field = info.fields.get(place);
                    let field = field.ok_or_else(|| broken(format_args!("it has no choice {choice}")))?;
                    part(self, field, bytes)?;
                }
            }
        }
        Ok(Value::Record(parts.into()))
    }

    fn field(
        &mut self,
        field: &ParsedStructureField,
        of_any: bool,
        bytes: &mut &[u8],
        depth: usize,
    ) -> Result<Option<Value>, Unsupported> {
        if field.value_rank < 1 {
            return self.scalar(field, of_any, bytes, depth);
        }
        let (length, dimensions) = if field.value_rank == 1 {
            (i32::decode(bytes, self.context).map_err(broken)?, Vec::new())
        } else {
            self.dimensions(bytes)?
        };
        // -1 is an array that is null.
        let Ok(length) = usize::try_from(length) else {
            return Ok(None);
        };
        // Lists within it are values, too.
        let lists = lists(&dimensions);
        if length.saturating_add(lists) > self.left {
            return Err(broken("it has too many values"));
        }
        self.left -= lists;
        let kind = if of_any {
            VariantScalarTypeId::Variant
        } else {
            field.scalar_type
        };
        // What is reserved is bounded by what is there.
        let mut items = Vec::with_capacity(length.min(bytes.len()));
        for _ in 0..length {
            let item = self.scalar(field, of_any, bytes, depth)?;
            items.push(item.map_or_else(|| null_element(kind), Ok)?);
        }
        shaped(items, &dimensions).map(Some)
    }

    /// The lengths of the dimensions, which come before all values (OPC 10000-6 §5.2.2.16), and how many values there are.
    fn dimensions(&self, bytes: &mut &[u8]) -> Result<(i32, Vec<u32>), Unsupported> {
        let count = i32::decode(bytes, self.context).map_err(broken)?;
        if usize::try_from(count).is_ok_and(|count| count > MOST_DIMENSIONS) {
            return Err(broken(format_args!("it has an array of {count} dimensions")));
        }
        let mut dimensions = Vec::new();
        let mut length: i32 = if count > 0 { 1 } else { -1 };
        for _ in 0..count {
            let dimension = i32::decode(bytes, self.context).map_err(broken)?;
            let size = u32::try_from(dimension)
                .map_err(|_| broken(format_args!("it has a dimension of {dimension} values")))?;
            length = length.saturating_mul(dimension);
            dimensions.push(size);
        }
        Ok((length, dimensions))
    }

    fn scalar(
        &mut self,
        field: &ParsedStructureField,
        of_any: bool,
        bytes: &mut &[u8],
        depth: usize,
    ) -> Result<Option<Value>, Unsupported> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| broken("it has too many values"))?;
        if field.scalar_type == VariantScalarTypeId::ExtensionObject {
            let info = self.known.tree.get_struct_type(&field.type_id).cloned();
            let is_base = field.type_id.is_null() || field.type_id == DataTypeId::Structure;
            return match info {
                Some(info) if !info.is_abstract && !of_any => {
                    self.structure(&info, bytes, depth + 1).map(Some)
                }
                // Which structure it is, is told with it.
                Some(_) => self.told(bytes, depth),
                None if of_any || is_base => self.told(bytes, depth),
                // How many of the bytes are its own is not known.
                None => {
                    let what = format!(
                        "structure with a part of {}, which the server does not define",
                        field.type_id
                    );
                    Err(Unsupported(what.into()))
                }
            };
        }
        if of_any {
            let variant = self.built_in(VariantScalarTypeId::Variant, bytes);
            return self.any(variant.map_err(broken)?, depth);
        }
        let variant = self.built_in(field.scalar_type, bytes).map_err(broken)?;
        self.any(variant, depth)
    }

    /// A structure with the id of its encoding before it.
    fn told(&mut self, bytes: &mut &[u8], depth: usize) -> Result<Option<Value>, Unsupported> {
        let id = NodeId::decode(bytes, self.context).map_err(broken)?;
        let encoding = u8::decode(bytes, self.context).map_err(broken)?;
        if encoding == 0 {
            return Ok(None);
        }
        let length = i32::decode(bytes, self.context).map_err(broken)?;
        let length = usize::try_from(length.max(0)).unwrap_or(0);
        let (body, rest) = bytes
            .split_at_checked(length)
            .ok_or_else(|| broken("it ends too early"))?;
        *bytes = rest;
        if encoding != 1 {
            return Err(Unsupported(Cow::Borrowed("structure in XML")));
        }
        self.whole(&id, body, depth + 1).map(Some)
    }

    fn built_in(&self, kind: VariantScalarTypeId, bytes: &mut &[u8]) -> Result<Variant, Error> {
        fn of<T: BinaryDecodable + Into<Variant>>(
            bytes: &mut &[u8],
            context: &Context<'_>,
        ) -> Result<Variant, Error> {
            T::decode(bytes, context).map(Into::into)
        }
        let context = self.context;
        // The library bounds none of these.
        let nested = match kind {
            VariantScalarTypeId::DataValue => Some(Part::DataValue),
            VariantScalarTypeId::DiagnosticInfo => Some(Part::Diagnostics),
            VariantScalarTypeId::Variant => Some(Part::Variant),
            VariantScalarTypeId::ExtensionObject => Some(Part::Structure),
            _ => None,
        };
        if let Some(part) = nested {
            nesting::look_at(&[part], bytes).map_err(Error::decoding)?;
        }
        match kind {
            VariantScalarTypeId::Boolean => of::<bool>(bytes, context),
            VariantScalarTypeId::SByte => of::<i8>(bytes, context),
            VariantScalarTypeId::Byte => of::<u8>(bytes, context),
            VariantScalarTypeId::Int16 => of::<i16>(bytes, context),
            VariantScalarTypeId::UInt16 => of::<u16>(bytes, context),
            VariantScalarTypeId::Int32 => of::<i32>(bytes, context),
            VariantScalarTypeId::UInt32 => of::<u32>(bytes, context),
            VariantScalarTypeId::Int64 => of::<i64>(bytes, context),
            VariantScalarTypeId::UInt64 => of::<u64>(bytes, context),
            VariantScalarTypeId::Float => of::<f32>(bytes, context),
            VariantScalarTypeId::Double => of::<f64>(bytes, context),
            VariantScalarTypeId::String => of::<UAString>(bytes, context),
            VariantScalarTypeId::DateTime => of::<DateTime>(bytes, context),
            VariantScalarTypeId::Guid => of::<Guid>(bytes, context),
            VariantScalarTypeId::ByteString => of::<ByteString>(bytes, context),
            VariantScalarTypeId::XmlElement => of::<XmlElement>(bytes, context),
            VariantScalarTypeId::NodeId => of::<NodeId>(bytes, context),
            VariantScalarTypeId::ExpandedNodeId => of::<ExpandedNodeId>(bytes, context),
            VariantScalarTypeId::StatusCode => of::<StatusCode>(bytes, context),
            VariantScalarTypeId::QualifiedName => of::<QualifiedName>(bytes, context),
            VariantScalarTypeId::LocalizedText => of::<LocalizedText>(bytes, context),
            VariantScalarTypeId::DataValue => of::<DataValue>(bytes, context),
            VariantScalarTypeId::DiagnosticInfo => of::<DiagnosticInfo>(bytes, context),
            VariantScalarTypeId::Variant => Variant::decode(bytes, context),
            VariantScalarTypeId::ExtensionObject => of::<ExtensionObject>(bytes, context),
        }
    }
}
