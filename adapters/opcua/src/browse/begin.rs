//! Where a walk begins.

use opcua::types::{AttributeId, NodeClass, NodeId, ObjectId, ReadValueId, StatusCode, Variant};

use super::client::{Client, Lost};
use super::walk::{Found, local, name_of};
use super::{BrowseError, named};
use crate::address::{NamespaceName, NodeAddress};
use crate::reason::Reason;

/// Most names of what is there instead that an error tells.
const MOST_KNOWN: usize = 20;

/// The node where a walk is to begin: names from Objects on, a node's address, or Objects.
pub async fn find(client: &Client, path: Option<&str>) -> Result<Found, BrowseError> {
    let objects = Found {
        parent: 0,
        depth: 0,
        name: "Objects".into(),
        namespace: 0,
        id: ObjectId::ObjectsFolder.into(),
        type_definition: NodeId::null(),
        is_variable: false,
    };
    let Some(path) = path else { return Ok(objects) };
    let no_node = |reason| BrowseError::NoNode {
        path: path.to_owned(),
        reason,
    };
    match NodeAddress::parse(path) {
        Ok(address) => at(client, &address, objects).await.map_err(no_node),
        Err(_) => below(client, path, objects).await,
    }
}

/// The node at an address.
async fn at(client: &Client, address: &NodeAddress<'_>, mut found: Found) -> Result<Found, Reason> {
    let namespace = match address.namespace {
        NamespaceName::Index(index) => index,
        NamespaceName::Uri(uri) => client
            .namespace(&uri.into())
            .ok_or_else(|| Reason::new(format!("it has no namespace {uri}"), "opcua-namespace-missing"))?,
    };
    found.id = NodeId {
        namespace,
        identifier: address.identifier.clone(),
    };
    let asked = [AttributeId::BrowseName, AttributeId::NodeClass];
    let asked = asked.map(|attribute| ReadValueId::new(found.id.clone(), attribute));
    let answers = client.read(asked.to_vec()).await.map_err(|Lost(reason)| reason)?;
    for answer in answers {
        let value = answer.map_err(refused)?;
        match value.value {
            Some(Variant::QualifiedName(name)) => {
                found.name = name.name.as_ref().into();
                found.namespace = name.namespace_index;
            }
            Some(Variant::Int32(class)) => found.is_variable = class == NodeClass::Variable as i32,
            _ => return Err(refused(value.status.unwrap_or(StatusCode::BadUnexpectedError))),
        }
    }
    Ok(found)
}

/// The node that names lead to.
async fn below(client: &Client, path: &str, mut found: Found) -> Result<Found, BrowseError> {
    let no_node = |reason| BrowseError::NoNode {
        path: path.to_owned(),
        reason,
    };
    let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
    names.next_if_eq(&"Objects");
    for name in names {
        let answers = client.below(vec![found.id.clone()]).await;
        let answer = answers.map_err(|Lost(reason)| no_node(reason))?.pop();
        let references = answer
            .unwrap_or(Ok(Vec::new()))
            .map_err(|status| no_node(refused(status)))?;
        let next = references
            .iter()
            .filter(|reference| name_of(reference) == name)
            .find_map(|reference| Some((local(&reference.node_id, client)?, reference)));
        let Some((id, reference)) = next else {
            let known = references.iter().take(MOST_KNOWN);
            let known: Vec<String> = known
                .map(|reference| format!("`{}`", name_of(reference)))
                .collect();
            return Err(BrowseError::NoPath {
                name: name.to_owned(),
                within: format!("`{}`", found.name),
                known: if known.is_empty() {
                    "nothing".to_owned()
                } else {
                    known.join(", ")
                },
            });
        };
        found.is_variable = reference.node_class == NodeClass::Variable;
        found.namespace = reference.browse_name.namespace_index;
        found.type_definition = local(&reference.type_definition, client).unwrap_or_default();
        found.id = id;
        found.name = name.into();
    }
    Ok(found)
}

/// The server refuses the node.
fn refused(status: StatusCode) -> Reason {
    Reason::new(named(status), "opcua-node-refused")
}
