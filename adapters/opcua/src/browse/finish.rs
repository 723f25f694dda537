//! From the nodes of a walk to a survey.

use std::collections::{HashMap, HashSet};

use floorgate_adapter_api::{Point, PointKind, Scalar, Survey};
use opcua::types::{AttributeId, Identifier, NodeId, ReadValueId, Variant};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Lost};
use super::facts::Facts;
use super::roles::Roles;
use super::types::Types;
use super::walk::{NodeIndex, Walk};
use super::{Browsed, missed, named};

/// Looks up what types say, and makes the survey.
pub async fn finish(
    mut walk: Walk<'_>,
    client: &Client,
    stop: &CancellationToken,
    settings: Vec<(String, Scalar)>,
) -> Browsed {
    let looked_up = tokio::select! {
        () = stop.cancelled() => None,
        types = look_up(&walk, client) => Some(types),
    };
    let (types, ranks) = match looked_up {
        Some(Ok(found)) => found,
        ended => {
            if let Some(Err(Lost(reason))) = ended {
                walk.missed.push(missed("the types of the variables", &reason));
                walk.is_partial = true;
            } else if walk.nodes.len() > 1 {
                walk.missed
                    .push("names of enumerations and companion specifications that types tell".to_owned());
                walk.is_partial = true;
            }
            Default::default()
        }
    };
    let roles = Roles::new(&walk, &client.namespaces, &types);
    let remarks: HashMap<NodeIndex, &str> = roles.remarks.iter().copied().collect();
    let mut points = Vec::with_capacity(walk.facts.len());
    let mut facts = std::mem::take(&mut walk.facts);
    for at in in_order(&walk) {
        let Some(facts) = facts.remove(&at) else {
            continue;
        };
        let mut point = point(&walk, client, at, facts, &types);
        if ranks.get(&at).is_some_and(|rank| *rank != -1 && *rank != -3) {
            point.kind = PointKind::Other;
        }
        point.role = roles.of(at);
        if let Some(remark) = remarks.get(&at) {
            let said = point.description.take();
            point.description =
                Some(said.map_or_else(|| (*remark).to_owned(), |said| format!("{remark}; {said}")));
        }
        points.push(point);
    }
    Browsed {
        nodes: walk.nodes.len() - 1,
        variables: walk.nodes.iter().filter(|node| node.is_variable).count(),
        properties: walk.properties,
        survey: Survey {
            settings,
            points,
            missed: walk.missed,
            is_partial: walk.is_partial,
        },
    }
}

type LookedUp = (Types, HashMap<NodeIndex, i32>);

/// Types of objects and data, and whether variables without a value are arrays.
async fn look_up(walk: &Walk<'_>, client: &Client) -> Result<LookedUp, Lost> {
    let objects = walk.nodes.iter().filter(|node| !node.is_variable);
    let objects: HashSet<NodeId> = objects.map(|node| node.type_definition.clone()).collect();
    let data = walk
        .facts
        .values()
        .filter(|facts| facts.kind != Some(PointKind::Other));
    let data: HashSet<NodeId> = data.map(|facts| facts.data_type.clone()).collect();
    let types = Types::look_up(client, objects, data).await?;
    let unknown = walk.facts.iter().filter(|(_, facts)| facts.kind.is_none());
    let mut unknown: Vec<NodeIndex> = unknown.map(|(at, _)| *at).collect();
    unknown.sort_unstable();
    let asked = unknown.iter();
    let asked = asked.map(|&at| ReadValueId::new(walk.node(at).id.clone(), AttributeId::ValueRank));
    let answers = client.read(asked.collect()).await?;
    let ranks = unknown.into_iter().zip(answers).filter_map(|(at, answer)| {
        match answer.ok().and_then(|value| value.value) {
            Some(Variant::Int32(rank)) => Some((at, rank)),
            _ => None,
        }
    });
    Ok((types, ranks.collect()))
}

fn point(walk: &Walk<'_>, client: &Client, at: NodeIndex, facts: Facts, types: &Types) -> Point {
    let kind = facts.kind.or_else(|| types.kind(&facts.data_type));
    // Many servers describe a node by its name.
    let mut description = facts.description.filter(|text| **text != *walk.node(at).name);
    if kind.is_none() {
        description
            .get_or_insert_with(|| "it has no value now, and its type does not tell what it is".to_owned());
    }
    let mut states = facts.states;
    if states.is_empty() && kind == Some(PointKind::Whole) {
        states = types.states(&facts.data_type).to_vec();
    }
    Point {
        path: walk.names(at).into_iter().map(str::to_owned).collect(),
        address: vec![(
            "node",
            Scalar::Text(address(&walk.node(at).id, &client.namespaces)),
        )],
        kind: kind.unwrap_or(PointKind::Other),
        unit: facts.unit,
        range: facts.range,
        states,
        description,
        value: facts.value.or_else(|| facts.status.map(named)),
        role: None,
    }
}

/// A node as mappings write it: by namespace URI, where it has one that can be written.
fn address(id: &NodeId, namespaces: &[String]) -> String {
    let identifier = match &id.identifier {
        Identifier::Numeric(number) => format!("i={number}"),
        Identifier::String(text) => format!("s={}", text.as_ref()),
        Identifier::Guid(guid) => format!("g={guid}"),
        Identifier::ByteString(bytes) => format!("b={}", bytes.as_base64()),
    };
    let uri = namespaces.get(usize::from(id.namespace));
    match uri.filter(|uri| !uri.is_empty() && !uri.contains(';')) {
        _ if id.namespace == 0 => identifier,
        Some(uri) => format!("nsu={uri};{identifier}"),
        None => format!("ns={};{identifier}", id.namespace),
    }
}

/// The nodes in the order in which the server shows them: what is below a node comes before what is beside it.
fn in_order(walk: &Walk<'_>) -> Vec<NodeIndex> {
    let mut below: Vec<Vec<NodeIndex>> = vec![Vec::new(); walk.nodes.len()];
    for (at, node) in walk.nodes.iter().enumerate().skip(1) {
        if let Ok(at) = NodeIndex::try_from(at) {
            below[node.parent as usize].push(at);
        }
    }
    let mut order = Vec::with_capacity(walk.nodes.len());
    let mut waiting = vec![0];
    while let Some(at) = waiting.pop() {
        order.push(at);
        waiting.extend(below[at as usize].iter().rev());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{NamespaceName, NodeAddress};
    use opcua::types::{ByteString, Guid};

    #[test]
    fn an_address_is_read_back_as_it_was_written() {
        let namespaces = ["http://opcfoundation.org/UA/", "urn:server", "urn:plant"].map(str::to_owned);
        let guid: Guid = "09087e75-8e5e-499b-954f-f2a9603db28a".parse().unwrap();
        for identifier in [
            Identifier::Numeric(7),
            Identifier::String("\"DB\".\"a;b=c\"".into()),
            Identifier::Guid(guid),
            Identifier::ByteString(ByteString::from(vec![1, 2, 255])),
        ] {
            let id = NodeId {
                namespace: 2,
                identifier: identifier.clone(),
            };
            let text = address(&id, &namespaces);
            let read = NodeAddress::parse(&text).unwrap();
            assert_eq!(
                (read.namespace, read.identifier),
                (NamespaceName::Uri("urn:plant"), identifier.clone())
            );
            let far = NodeId {
                namespace: 9,
                identifier,
            };
            let text = address(&far, &namespaces);
            assert_eq!(
                NodeAddress::parse(&text).unwrap().namespace,
                NamespaceName::Index(9)
            );
        }
    }
}
