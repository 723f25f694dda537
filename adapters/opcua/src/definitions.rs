//! The data types of a server with their definitions (OPC 10000-3 §5.8.3, §8.48).
//!
//! The library asks for them as well. It follows a type's parents without an end, so that a server whose types are subtypes of themselves ends the
//! process with a stack overflow. Here a type's parent is the one that it was found below first, and no type is deeper than [`DEEPEST`].

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use opcua::client::Session;
use opcua::client::browser::{BrowseFilter, BrowserConfig, NoneBrowserPolicy};
use opcua::types::custom::{DataTypeTree, DataTypeVariant, EncodingIds, ParentIds, TypeInfo};
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDirection, BrowseResultMaskFlags, DataTypeDefinition, DataValue,
    EnumDefinition, Error, NodeClass, NodeClassMask, NodeId, ObjectId, ReadValueId, ReferenceTypeId,
    StatusCode, StructureDefinition, TimestampsToReturn, VariableId, Variant,
};
use tokio_util::sync::CancellationToken;

use crate::dictionary::{self, Structure};
use crate::publish::is_lost;
use crate::server;

/// Types below one another.
const DEEPEST: usize = 64;
/// Types that a server may have.
const MOST_TYPES: usize = 100_000;

/// What the server says of one type.
#[derive(Debug, Default)]
struct Told {
    is_abstract: bool,
    definition: Option<DataTypeDefinition>,
    /// Of structures alone.
    encodings: Option<EncodingIds>,
}

/// Each type with the one that it was first found below, and how deep that is; and the types that are too deep, with which all below them are.
#[derive(Debug, Default)]
struct Hierarchy {
    above: HashMap<NodeId, (NodeId, usize)>,
    too_deep: HashSet<NodeId>,
}

impl Hierarchy {
    fn found(&mut self, parent: &NodeId, child: NodeId) {
        if *parent != root() && !self.too_deep.contains(parent) {
            // One that was not found below another is at the top, and stays there.
            self.above.entry(parent.clone()).or_insert_with(|| (root(), 0));
        }
        let depth = match self.above.get(parent) {
            Some((_, depth)) => depth + 1,
            None if self.too_deep.contains(parent) => DEEPEST + 1,
            None => 1,
        };
        if depth > DEEPEST {
            self.too_deep.insert(child);
        } else if child != root() && child != *parent {
            self.above.entry(child).or_insert_with(|| (parent.clone(), depth));
        }
    }

    fn parents(&self) -> ParentIds {
        let mut parents = ParentIds::new();
        for (child, (parent, _)) in &self.above {
            parents.add_type(child.clone(), parent.clone());
        }
        parents
    }
}

fn root() -> NodeId {
    ObjectId::DataTypesFolder.into()
}

/// How much is browsed at a time: the server has other things to do.
pub fn in_batches(nodes_per_browse: usize) -> BrowserConfig {
    BrowserConfig::new()
        .max_nodes_per_request(nodes_per_browse.min(100))
        .max_concurrent_requests(2)
}

/// What a server told of its types.
pub struct Types {
    pub tree: DataTypeTree,
    /// Whether its type dictionaries were told as well, where it has some.
    pub is_whole: bool,
}

/// Asks a server for its structures and enumerations; for those in its type dictionaries no longer than a time, or not at all. It is noted where
/// the connection is lost over these.
pub async fn ask(
    session: &Session,
    nodes_per_read: usize,
    dictionaries: Option<(Duration, &AtomicU32)>,
) -> Result<Types, Error> {
    let nodes_per_browse = nodes_per_browse(session).await?;
    let token = CancellationToken::new();
    let _end = token.clone().drop_guard();
    let browser = || {
        session
            .browser()
            .config(in_batches(nodes_per_browse))
            .token(token.clone())
    };

    let mut hierarchy = Hierarchy::default();
    // The standard's own types by their names, which type dictionaries refer to.
    let mut standard = HashMap::new();
    let policy = BrowseFilter::new_hierarchical()
        .max_depth(DEEPEST + 1)
        .node_class_mask(NodeClassMask::DATA_TYPE)
        .result_mask(
            BrowseResultMaskFlags::ReferenceTypeId
                | BrowseResultMaskFlags::NodeClass
                | BrowseResultMaskFlags::BrowseName,
        );
    let below_root = policy.new_description_from_node(root());
    let mut results = std::pin::pin!(browser().handler(policy).run(vec![below_root]));
    while let Some(result) = results.try_next().await? {
        let (parent, references) = result.into_results();
        for reference in references {
            let is_subtype = reference.reference_type_id == ReferenceTypeId::HasSubtype
                && reference.node_class == NodeClass::DataType;
            if hierarchy.above.len() >= MOST_TYPES {
                return Err(Error::new(
                    StatusCode::BadEncodingLimitsExceeded,
                    format!("it has more than {MOST_TYPES} data types"),
                ));
            }
            if is_subtype && reference.node_id.server_index == 0 {
                if reference.node_id.node_id.namespace == 0 {
                    let name = reference.browse_name.name.as_ref().to_owned();
                    standard.insert(name, reference.node_id.node_id.clone());
                }
                hierarchy.found(&parent, reference.node_id.node_id);
            }
        }
    }

    let parents = hierarchy.parents();
    let mut told: HashMap<NodeId, Told> = HashMap::new();
    let mut structures = Vec::new();
    for id in hierarchy.above.into_keys() {
        match parents.get_data_type_variant(&id) {
            Some(DataTypeVariant::Structure) => {
                structures.push(encodings_of(id.clone()));
                told.insert(id, Told::default());
            }
            Some(DataTypeVariant::Enumeration) => drop(told.insert(id, Told::default())),
            _ => {}
        }
    }
    read(session, nodes_per_read, &mut told).await?;

    let mut results = std::pin::pin!(browser().handler(NoneBrowserPolicy).run(structures));
    while let Some(result) = results.try_next().await? {
        let (id, references) = result.into_results();
        let Some(told) = told.get_mut(&id) else { continue };
        let encodings = told.encodings.get_or_insert_default();
        for reference in references {
            if reference.browse_name.name.as_ref() == "Default Binary" {
                encodings.binary_id = reference.node_id.node_id;
            }
        }
    }
    let nodes_per = (nodes_per_read, nodes_per_browse);
    let is_whole = add_described(session, nodes_per, standard, &mut told, dictionaries).await?;
    Ok(Types {
        tree: tree(parents, told),
        is_whole,
    })
}

/// Adds what a server of before OPC UA 1.04 says of its structures; whether it said it. One that tells nothing of them loses no others by it.
async fn add_described(
    session: &Session,
    nodes_per: (usize, usize),
    standard: HashMap<String, NodeId>,
    told: &mut HashMap<NodeId, Told>,
    dictionaries: Option<(Duration, &AtomicU32)>,
) -> Result<bool, Error> {
    let structures = told.iter().filter_map(|(id, told)| {
        Some(Structure {
            id: id.clone(),
            encoding: told.encodings.as_ref()?.binary_id.clone(),
            is_defined: told.definition.is_some(),
        })
    });
    let structures: Vec<Structure> = structures.collect();
    if !dictionary::are_worth_asking(&structures) {
        return Ok(true);
    }
    let Some((within, losses)) = dictionaries else {
        return Ok(false);
    };
    // Whoever waits for the answer goes away when the connection is lost.
    losses.fetch_add(1, Ordering::Relaxed);
    let asking = dictionary::ask(session, nodes_per, structures, standard);
    let late = |_| Err(Error::new(StatusCode::BadTimeout, "they were not told in time"));
    let answer = tokio::time::timeout(within, asking).await.unwrap_or_else(late);
    let is_late = |error: &Error| error.status() == StatusCode::BadTimeout;
    let is_lost = |error: &Error| is_lost(error.status()) && !is_late(error);
    if !answer.as_ref().is_err_and(is_lost) {
        losses.store(0, Ordering::Relaxed);
    }
    match answer {
        Ok(definitions) => {
            for (id, definition) in definitions {
                let told = told.entry(id).or_default();
                // In a dictionary a field is of the very type that it names, also where the server calls that abstract: one that may be of
                // any subtype is an `ExtensionObject` there.
                told.is_abstract = false;
                told.definition = Some(DataTypeDefinition::Structure(definition));
            }
            Ok(true)
        }
        // A question alone that is not answered says nothing of the connection.
        Err(error) if is_lost(&error) => Err(error),
        Err(error) => {
            tracing::debug!("the server does not tell its type dictionaries: {error}");
            Ok(is_final(error.status()))
        }
    }
}

/// Whether what is refused with this status will be refused again.
fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadServiceUnsupported
            | StatusCode::BadNotSupported
            | StatusCode::BadNotImplemented
            | StatusCode::BadUserAccessDenied
            | StatusCode::BadNodeIdUnknown
            | StatusCode::BadNodeIdInvalid
            | StatusCode::BadReferenceTypeIdInvalid
    )
}

/// Most nodes in one browse; a server that does not say it has no limit.
async fn nodes_per_browse(session: &Session) -> Result<usize, Error> {
    let node = VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse;
    let node = ReadValueId::new_value(node.into());
    let values = session.read(&[node], TimestampsToReturn::Neither, 0.0).await;
    let value = match values {
        Ok(values) => values.into_iter().next().and_then(|value| value.value),
        Err(error) if is_lost(error.status()) => return Err(error),
        Err(_) => None,
    };
    Ok(server::limit(value.as_ref()))
}

/// Reads the definitions.
async fn read(
    session: &Session,
    nodes_per_read: usize,
    told: &mut HashMap<NodeId, Told>,
) -> Result<(), Error> {
    const ATTRIBUTES: [AttributeId; 2] = [AttributeId::IsAbstract, AttributeId::DataTypeDefinition];
    let of = |id: &NodeId| ATTRIBUTES.map(|attribute| ReadValueId::new(id.clone(), attribute));
    let all: Vec<ReadValueId> = told.keys().flat_map(of).collect();
    for some in all.chunks(nodes_per_read.max(1)) {
        let values = session.read(some, TimestampsToReturn::Neither, 0.0).await?;
        for (DataValue { value, .. }, asked) in values.into_iter().zip(some) {
            let Some(told) = told.get_mut(&asked.node_id) else {
                continue;
            };
            match value {
                Some(Variant::Boolean(is_abstract)) => told.is_abstract = is_abstract,
                Some(Variant::ExtensionObject(object)) if object.inner_is::<StructureDefinition>() => {
                    told.definition = object
                        .into_inner_as()
                        .map(|definition| DataTypeDefinition::Structure(*definition));
                }
                Some(Variant::ExtensionObject(object)) => {
                    told.definition = object
                        .into_inner_as::<EnumDefinition>()
                        .map(|definition| DataTypeDefinition::Enum(*definition));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn encodings_of(structure: NodeId) -> BrowseDescription {
    BrowseDescription {
        node_id: structure,
        browse_direction: BrowseDirection::Forward,
        reference_type_id: ReferenceTypeId::HasEncoding.into(),
        include_subtypes: false,
        node_class_mask: NodeClassMask::OBJECT.bits(),
        result_mask: BrowseResultMaskFlags::BrowseName.bits(),
    }
}

/// What is defined. An abstract structure need not be: which one it is, is told with each.
fn tree(parents: ParentIds, told: HashMap<NodeId, Told>) -> DataTypeTree {
    let mut tree = DataTypeTree::new(parents);
    for (id, told) in told {
        let is_abstract_structure = told.is_abstract && told.encodings.is_some();
        let without = || DataTypeDefinition::Structure(StructureDefinition::default());
        let Some(definition) = told.definition.or_else(|| is_abstract_structure.then(without)) else {
            continue;
        };
        let info = TypeInfo::from_type_definition(
            definition,
            String::new(),
            told.encodings,
            told.is_abstract,
            &id,
            tree.parent_ids(),
        );
        match info {
            Ok(info) => tree.add_type(id, info),
            Err(reason) => tracing::debug!("data type {id} cannot be used: {reason}"),
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use opcua::types::DataTypeId;

    use super::*;

    fn id(name: &str) -> NodeId {
        NodeId::new(2, name)
    }

    #[test]
    fn types_below_themselves_are_below_what_they_were_found_at_first() {
        let mut hierarchy = Hierarchy::default();
        let structure = NodeId::from(DataTypeId::Structure);
        for (parent, child) in [
            (root(), structure.clone()),
            (structure, id("A")),
            (id("A"), id("A")),
            (id("A"), id("B")),
            (id("B"), id("A")),
            (id("B"), root()),
        ] {
            hierarchy.found(&parent, child);
        }
        let parents = hierarchy.parents();
        for name in ["A", "B"] {
            let variant = parents.get_data_type_variant(&id(name));
            assert!(matches!(variant, Some(DataTypeVariant::Structure)), "{name}");
        }
        assert!(parents.get_data_type_variant(&root()).is_none());
    }

    #[test]
    fn types_that_were_found_below_nothing_are_no_circle() {
        let mut hierarchy = Hierarchy::default();
        hierarchy.found(&id("A"), id("B"));
        hierarchy.found(&id("B"), id("A"));
        let parents = hierarchy.parents();
        for name in ["A", "B"] {
            assert!(parents.get_data_type_variant(&id(name)).is_none(), "{name}");
        }
    }

    #[test]
    fn a_type_that_is_too_deep_is_none() {
        let mut hierarchy = Hierarchy::default();
        for depth in 0..100_000 {
            hierarchy.found(&id(&depth.to_string()), id(&(depth + 1).to_string()));
        }
        // The first of them stands at the top.
        assert_eq!(hierarchy.above.len(), DEEPEST + 1);
        let parents = hierarchy.parents();
        assert!(parents.get_data_type_variant(&id(&DEEPEST.to_string())).is_none());
    }
}
