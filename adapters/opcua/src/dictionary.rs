//! Structures of servers before OPC UA 1.04, by the type dictionaries that these have in place of definitions (OPC 10000-3 Annex C, OPC 10000-5
//! Annex D: OPC Binary).
//!
//! A structure's binary encoding refers to its description, whose value is its name in the dictionary that the description is a component of. All of it
//! is in the server's hands, and bounded.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt as _;
use opcua::client::Session;
use opcua::client::browser::NoneBrowserPolicy;
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDirection, DataTypeId, DataValue, Error, NodeId, ReadValueId,
    ReferenceTypeId, StatusCode, StructureDefinition, TimestampsToReturn, Variant,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::binary_schema::Schema;
use crate::definitions::in_batches;
use crate::publish::is_lost;

/// Dictionaries of one server.
const MOST_DICTIONARIES: usize = 16;
/// Bytes of all of them. A server's own have mostly some ten kilobytes, the standard's has 200.
const MOST_BYTES: usize = 8 << 20;
/// Elements and texts of all of them, of some 80 bytes each in memory.
const MOST_NODES: u32 = 300_000;
/// Dictionaries are read for one source at a time.
static READING: Semaphore = Semaphore::const_new(1);
/// Structures that are looked for in dictionaries.
const MOST_TYPES: usize = 20_000;

/// A structure of the server.
#[derive(Clone, Debug)]
pub struct Structure {
    pub id: NodeId,
    /// Its binary encoding; null where it has none.
    pub encoding: NodeId,
    /// Whether the server gave its definition.
    pub is_defined: bool,
}

/// A dictionary with the structures that are described in it, by their names there.
#[derive(Debug, Default)]
struct Dictionary {
    text: Vec<u8>,
    described: HashMap<String, NodeId>,
}

/// Whether dictionaries may say more of these.
pub fn are_worth_asking(structures: &[Structure]) -> bool {
    !candidates(structures).is_empty()
}

/// What the dictionaries say of the structures without a definition. `standard` are the types of the standard's namespace by their names.
pub async fn ask(
    session: &Session,
    (nodes_per_read, nodes_per_browse): (usize, usize),
    structures: Vec<Structure>,
    standard: HashMap<String, NodeId>,
) -> Result<HashMap<NodeId, StructureDefinition>, Error> {
    let encodings = candidates(&structures);
    let of = References {
        session,
        nodes_per_request: nodes_per_browse,
    };
    let nodes = encodings.keys().cloned();
    let has_description = (ReferenceTypeId::HasDescription, BrowseDirection::Forward);
    let described = of.targets(nodes, has_description).await?;
    let descriptions: HashSet<NodeId> = described.values().cloned().collect();
    let descriptions: Vec<NodeId> = descriptions.into_iter().collect();
    let component_of = (ReferenceTypeId::HasComponent, BrowseDirection::Inverse);
    let homes = of.targets(descriptions.iter().cloned(), component_of).await?;
    let mut names = HashMap::new();
    for some in descriptions.chunks(nodes_per_read.max(1)) {
        let values = values(session, some).await?;
        for (id, DataValue { value, .. }) in some.iter().zip(values) {
            if let Some(Variant::String(name)) = value {
                names.insert(id, name);
            }
        }
    }

    let mut dictionaries: HashMap<&NodeId, Dictionary> = HashMap::new();
    for (encoding, structure) in encodings {
        let Some(description) = described.get(&encoding) else {
            continue;
        };
        let (Some(home), Some(name)) = (homes.get(description), names.get(description)) else {
            tracing::debug!("data type {structure} has a description without a dictionary or a name");
            continue;
        };
        if !dictionaries.contains_key(home) && dictionaries.len() >= MOST_DICTIONARIES {
            tracing::debug!("data type {structure} is in a dictionary too many, {home}");
            continue;
        }
        let dictionary = dictionaries.entry(home).or_default();
        let name = name.as_ref().to_owned();
        if let Some(other) = dictionary.described.insert(name, structure) {
            tracing::debug!("data type {other} has its description together with another");
        }
    }
    // The server's own before the standard's, always in the same order: what is too much for all of them is left out from the end.
    let mut dictionaries: Vec<(&NodeId, Dictionary)> = dictionaries.into_iter().collect();
    dictionaries.sort_by_cached_key(|(id, _)| (id.namespace == 0, id.to_string()));
    // Each by itself: together they may be more than one answer holds.
    let mut left = MOST_BYTES;
    for (id, dictionary) in &mut dictionaries {
        match values(session, &[(*id).clone()]).await {
            Ok(answer) => dictionary.text = text(id, answer, &mut left),
            Err(error) if is_lost(error.status()) => return Err(error),
            Err(error) => tracing::debug!("type dictionary {id} cannot be read: {error}"),
        }
    }
    let dictionaries: Vec<Dictionary> = dictionaries
        .into_iter()
        .map(|(_, dictionary)| dictionary)
        .collect();
    let reading = READING.acquire().await;
    let define = move || {
        let _reading = reading;
        define(&dictionaries, &structures, &standard)
    };
    tokio::task::spawn_blocking(define)
        .await
        .map_err(|error| Error::new(StatusCode::BadInternalError, error.to_string()))
}

/// The encodings that are worth a question with their structures; none where all structures are defined.
///
/// A structure that is defined may be a part of one that is not, and is known there by its description. The standard's own are asked for where the server
/// defines none of these: a newer one that left a few out would send a large dictionary for nothing.
fn candidates(structures: &[Structure]) -> HashMap<NodeId, NodeId> {
    let is_older = !structures
        .iter()
        .any(|structure| structure.id.namespace == 0 && structure.is_defined);
    let candidates = || {
        let worth = |of: &&Structure| !of.encoding.is_null() && (is_older || of.id.namespace != 0);
        structures.iter().filter(worth)
    };
    if candidates().all(|structure| structure.is_defined) {
        return HashMap::new();
    }
    if candidates().nth(MOST_TYPES).is_some() {
        tracing::debug!("more than {MOST_TYPES} structures: the rest is not looked for in type dictionaries");
    }
    let pair = |structure: &Structure| (structure.encoding.clone(), structure.id.clone());
    candidates().take(MOST_TYPES).map(pair).collect()
}

/// Asks a server for references.
struct References<'a> {
    session: &'a Session,
    nodes_per_request: usize,
}

impl References<'_> {
    /// The first node that a reference of this kind leads to, of each node that has one.
    async fn targets(
        &self,
        nodes: impl Iterator<Item = NodeId>,
        (kind, direction): (ReferenceTypeId, BrowseDirection),
    ) -> Result<HashMap<NodeId, NodeId>, Error> {
        let description = |node_id| BrowseDescription {
            node_id,
            browse_direction: direction,
            reference_type_id: kind.into(),
            include_subtypes: true,
            node_class_mask: 0,
            result_mask: 0,
        };
        let config = in_batches(self.nodes_per_request);
        let token = CancellationToken::new();
        let _end = token.clone().drop_guard();
        let browser = self.session.browser().config(config).token(token);
        let asked = nodes.map(description).collect();
        let mut results = std::pin::pin!(browser.handler(NoneBrowserPolicy).run(asked));
        let mut targets = HashMap::new();
        while let Some(result) = results.try_next().await? {
            let (node, references) = result.into_results();
            if let Some(reference) = references.into_iter().find(|it| it.node_id.server_index == 0) {
                targets.entry(node).or_insert(reference.node_id.node_id);
            }
        }
        Ok(targets)
    }
}

async fn values(session: &Session, nodes: &[NodeId]) -> Result<Vec<DataValue>, Error> {
    let value = |id: &NodeId| ReadValueId::new(id.clone(), AttributeId::Value);
    let asked: Vec<ReadValueId> = nodes.iter().map(value).collect();
    session.read(&asked, TimestampsToReturn::Neither, 0.0).await
}

/// The text of a dictionary; empty where there is none that can be used.
fn text(id: &NodeId, answer: Vec<DataValue>, left: &mut usize) -> Vec<u8> {
    let Some(Variant::ByteString(bytes)) = answer.into_iter().next().and_then(|value| value.value) else {
        tracing::debug!("type dictionary {id} has no value that is a ByteString");
        return Vec::new();
    };
    let bytes = bytes.value.unwrap_or_default();
    if let Some(rest) = left.checked_sub(bytes.len()) {
        *left = rest;
        return bytes;
    }
    tracing::debug!("type dictionary {id} is too large: {} bytes", bytes.len());
    Vec::new()
}

/// The definitions of what is defined wholly.
fn define(
    dictionaries: &[Dictionary],
    structures: &[Structure],
    standard: &HashMap<String, NodeId>,
) -> HashMap<NodeId, StructureDefinition> {
    let mut schemas = Vec::new();
    let mut left = MOST_NODES;
    for Dictionary { text, described } in dictionaries {
        match Schema::parse(text, left) {
            Ok(schema) => {
                left = left.saturating_sub(schema.nodes());
                schemas.push((schema, described));
            }
            Err(reason) => tracing::debug!("type dictionary that cannot be used: {reason}"),
        }
    }
    let mut undefined: HashSet<&NodeId> = HashSet::new();
    for structure in structures.iter().filter(|structure| !structure.is_defined) {
        undefined.insert(&structure.id);
    }
    let mut definitions = HashMap::new();
    for (schema, described) in &schemas {
        let find = |namespace: &str, name: &str| {
            if namespace == schema.namespace() {
                let of_its_own = described.get(name).cloned();
                return of_its_own.or_else(|| schema.enumeration(name).map(Into::into));
            }
            let mut others = schemas.iter().filter(|(other, _)| other.namespace() == namespace);
            let of_others = others.find_map(|(other, described)| {
                let structure = described.get(name).cloned();
                structure.or_else(|| other.enumeration(name).map(Into::into))
            });
            of_others.or_else(|| {
                let is_standard = namespace == crate::binary_schema::STANDARD;
                is_standard.then(|| standard.get(name).cloned()).flatten()
            })
        };
        for (name, id) in *described {
            if !undefined.contains(id) {
                continue;
            }
            match schema.structure(name, &find) {
                Ok(definition) => drop(definitions.insert(id.clone(), definition)),
                Err(reason) => {
                    tracing::debug!("data type {id}, {name:?} of its dictionary, cannot be used: {reason}");
                }
            }
        }
    }
    undefined.retain(|id| !definitions.contains_key(*id));
    without_unknown_parts(&mut definitions, undefined);
    definitions
}

/// Removes what has a part that is not defined, and what has one of these as a part: the bytes behind the part could not be found.
fn without_unknown_parts(
    definitions: &mut HashMap<NodeId, StructureDefinition>,
    undefined: HashSet<&NodeId>,
) {
    let mut users: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    for (id, definition) in &*definitions {
        for field in definition.fields.iter().flatten() {
            users.entry(field.data_type.clone()).or_default().push(id.clone());
        }
    }
    // A field of any structure at all is told with its type.
    users.remove(&DataTypeId::Structure.into());
    let mut undefined: Vec<NodeId> = undefined.into_iter().cloned().collect();
    while let Some(part) = undefined.pop() {
        for user in users.remove(&part).into_iter().flatten() {
            if definitions.remove(&user).is_some() {
                tracing::debug!("data type {user} has a part of the undefined type {part}");
                undefined.push(user);
            }
        }
    }
}

#[cfg(test)]
#[path = "dictionary_tests.rs"]
mod tests;
