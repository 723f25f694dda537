//! The walk over the nodes of a server.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use opcua::types::{
    AttributeId, ExpandedNodeId, Identifier, NodeClass, NodeId, ReadValueId, ReferenceDescription,
    ReferenceTypeId, StatusCode, VariableTypeId, Variant,
};
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Client, Lost};
use super::facts::{Facts, Property};
use super::filter::Filter;
use super::{BrowseOptions, Progress, missed, named};

/// The place of a node in [`Walk::nodes`]; the node above it comes before it.
pub type NodeIndex = u32;

/// Deeper than any plant is built; a server that makes nodes as it is asked has no end.
const DEEPEST: usize = 200;

/// A node that was found.
#[derive(Debug)]
pub struct Found {
    pub parent: NodeIndex,
    pub depth: usize,
    pub name: Box<str>,
    /// The namespace of its name.
    pub namespace: u16,
    pub id: NodeId,
    pub type_definition: NodeId,
    pub is_variable: bool,
}

/// A walk and what it has found so far.
pub struct Walk<'o> {
    filter: &'o Filter,
    most_nodes: usize,
    deepest: usize,
    /// The first is the one where the walk began.
    pub nodes: Vec<Found>,
    pub facts: HashMap<NodeIndex, Facts>,
    /// What could not be looked at.
    pub missed: Vec<String>,
    pub properties: usize,
    pub is_partial: bool,
    /// Nodes whose references are to be asked for, the next one last.
    open: Vec<NodeIndex>,
    known: HashSet<NodeId>,
}

impl<'o> Walk<'o> {
    pub fn new(begin: Found, filter: &'o Filter, options: &BrowseOptions) -> Self {
        Self {
            filter,
            most_nodes: options.most_nodes.max(1),
            deepest: options.depth.unwrap_or(DEEPEST).min(DEEPEST),
            known: HashSet::from([begin.id.clone()]),
            nodes: vec![begin],
            facts: HashMap::new(),
            missed: Vec::new(),
            properties: 0,
            is_partial: false,
            open: vec![0],
        }
    }

    /// Walks until nothing is left, it is stopped, or the server is gone.
    pub async fn run(&mut self, client: &Client, stop: &CancellationToken, progress: &Progress) {
        let mut done = 0;
        while !self.open.is_empty() {
            let from = self.open.len().saturating_sub(client.at_once());
            let mut wave = self.open.split_off(from);
            wave.reverse();
            let before = self.nodes.len();
            let ended = tokio::select! {
                () = stop.cancelled() => None,
                taken = self.step(client, &wave) => Some(taken),
            };
            match ended {
                Some(Ok(())) => {}
                Some(Err(Lost(reason))) => {
                    self.missed.push(missed("the connection was lost", &reason));
                    self.end(wave.len());
                }
                None => self.end(wave.len()),
            }
            done += wave.len();
            progress.seen.store(self.nodes.len(), Ordering::Relaxed);
            progress.done.store(done, Ordering::Relaxed);
            if self.nodes.len() >= self.most_nodes && before < self.most_nodes {
                let most = self.most_nodes;
                self.missed.push(format!(
                    "after {most} nodes the walk was ended: there may be more"
                ));
                self.end(0);
            }
        }
    }

    fn end(&mut self, in_hand: usize) {
        let open = self.open.len() + in_hand;
        if open > 0 {
            self.missed
                .push(format!("{open} nodes were found, and not what is below them"));
        }
        self.open.clear();
        self.is_partial = true;
    }

    /// Asks for the references of some nodes, and reads those of them that are variables.
    async fn step(&mut self, client: &Client, wave: &[NodeIndex]) -> Result<(), Lost> {
        let ids = wave.iter().map(|&at| self.node(at).id.clone()).collect();
        let answers = client.below(ids).await?;
        let mut properties: Vec<(NodeIndex, Property, NodeId)> = Vec::new();
        for (&at, answer) in wave.iter().zip(answers).rev() {
            self.take(client, at, answer, &mut properties);
        }
        let variables: Vec<NodeIndex> = wave
            .iter()
            .copied()
            .filter(|&at| self.node(at).is_variable && self.is_wanted(at))
            .collect();
        self.read(client, &variables, properties).await
    }

    /// Takes the references of a node.
    fn take(
        &mut self,
        client: &Client,
        at: NodeIndex,
        answer: Answer<Vec<ReferenceDescription>>,
        properties: &mut Vec<(NodeIndex, Property, NodeId)>,
    ) {
        let references = match answer {
            Ok(references) => references,
            Err(status) => {
                self.missed
                    .push(format!("{}: what is below it: {}", self.path(at), named(status)));
                return;
            }
        };
        let first = self.open.len();
        for reference in references {
            if !reference.is_forward || is_of_events(&reference.reference_type_id) {
                continue;
            }
            let Some(id) = local(&reference.node_id, client) else {
                let name = name_of(&reference);
                self.missed
                    .push(format!("{}/{name}: it is on another server", self.path(at)));
                continue;
            };
            if is_property(&reference) && !self.is_number_of_state(at, &reference) {
                self.properties += 1;
                let is_standard = reference.browse_name.namespace_index == 0;
                let property = Property::named(reference.browse_name.name.as_ref());
                if let Some(property) = property.filter(|_| is_standard && self.node(at).is_variable) {
                    properties.push((at, property, id));
                }
                continue;
            }
            self.add(client, at, id, &reference);
        }
        // The first comes last, so that it is the next.
        self.open[first..].reverse();
    }

    fn add(&mut self, client: &Client, parent: NodeIndex, id: NodeId, reference: &ReferenceDescription) {
        let depth = self.node(parent).depth + 1;
        let is_standard = id.namespace == 0;
        if is_standard || depth > self.deepest || self.nodes.len() >= self.most_nodes {
            return;
        }
        let Ok(index) = NodeIndex::try_from(self.nodes.len()) else {
            return;
        };
        let name = name_of(reference);
        if !self.filter.is_open() {
            let above = self.path(parent);
            let path = if above.is_empty() {
                name.to_owned()
            } else {
                format!("{above}/{name}")
            };
            if self.filter.leaves_out(&path) {
                return;
            }
        }
        if !self.known.insert(id.clone()) {
            return;
        }
        self.nodes.push(Found {
            parent,
            depth,
            name: name.into(),
            namespace: reference.browse_name.namespace_index,
            id,
            type_definition: local(&reference.type_definition, client).unwrap_or_default(),
            is_variable: reference.node_class == NodeClass::Variable,
        });
        self.open.push(index);
    }

    /// The number of a state beside its name, which is what a mapping can use best.
    fn is_number_of_state(&self, at: NodeIndex, reference: &ReferenceDescription) -> bool {
        let node = self.node(at);
        node.is_variable
            && (node.namespace, &*node.name) == (0, "CurrentState")
            && reference.browse_name.namespace_index == 0
            && reference.browse_name.name.as_ref() == "Number"
    }

    fn is_wanted(&self, at: NodeIndex) -> bool {
        self.filter.is_open() || self.filter.takes(&self.path(at))
    }

    /// Reads variables and their properties.
    async fn read(
        &mut self,
        client: &Client,
        variables: &[NodeIndex],
        properties: Vec<(NodeIndex, Property, NodeId)>,
    ) -> Result<(), Lost> {
        let mut asked = Vec::with_capacity(variables.len() * 3 + properties.len());
        for &at in variables {
            let id = &self.node(at).id;
            for attribute in [
                AttributeId::Value,
                AttributeId::DataType,
                AttributeId::Description,
            ] {
                asked.push(ReadValueId::new(id.clone(), attribute));
            }
        }
        let of_properties = properties.iter();
        asked.extend(of_properties.map(|(_, _, id)| ReadValueId::new_value(id.clone())));
        let mut answers = client.read(asked).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Err(StatusCode::BadUnknownResponse));
        for &at in variables {
            let mut facts = Facts::default();
            let refused = facts.take_value(next()).err();
            if let Some(Variant::NodeId(id)) = next().ok().and_then(|value| value.value) {
                facts.data_type = *id;
            }
            if let Some(Variant::LocalizedText(text)) = next().ok().and_then(|value| value.value)
                && !text.text.is_empty()
            {
                facts.description = Some(text.text.as_ref().to_owned());
            }
            match refused {
                Some(status) => self.missed.push(format!("{}: {}", self.path(at), named(status))),
                None => drop(self.facts.insert(at, facts)),
            }
        }
        for (at, property, _) in properties {
            if let (Ok(value), Some(facts)) = (next(), self.facts.get_mut(&at))
                && let Some(value) = value.value
            {
                facts.take(property, value);
            }
        }
        Ok(())
    }

    pub fn node(&self, at: NodeIndex) -> &Found {
        &self.nodes[at as usize]
    }

    /// The names from below the beginning down to a node.
    pub fn names(&self, mut at: NodeIndex) -> Vec<&str> {
        if at == 0 && self.node(at).is_variable {
            return vec![&*self.node(at).name];
        }
        let mut names = Vec::with_capacity(self.node(at).depth);
        while at != 0 {
            let node = self.node(at);
            names.push(&*node.name);
            at = node.parent;
        }
        names.reverse();
        names
    }

    /// The path that people read.
    pub fn path(&self, at: NodeIndex) -> String {
        self.names(at).join("/")
    }
}

/// A node's name, or how it is shown where it has none.
pub fn name_of(reference: &ReferenceDescription) -> &str {
    match reference.browse_name.name.as_ref() {
        "" => reference.display_name.text.as_ref(),
        name => name,
    }
}

/// A node of this server; `None` for one of another, or of a namespace that it does not have.
pub fn local(id: &ExpandedNodeId, client: &Client) -> Option<NodeId> {
    if id.server_index != 0 {
        return None;
    }
    if id.namespace_uri.is_empty() {
        return Some(id.node_id.clone());
    }
    Some(NodeId {
        namespace: client.namespace(&id.namespace_uri)?,
        identifier: id.node_id.identifier.clone(),
    })
}

/// `HasEventSource` and `HasNotifier`: they lead to nodes that have their place elsewhere.
fn is_of_events(reference_type: &NodeId) -> bool {
    is(reference_type, ReferenceTypeId::HasEventSource as u32)
        || is(reference_type, ReferenceTypeId::HasNotifier as u32)
}

fn is_property(reference: &ReferenceDescription) -> bool {
    is(&reference.reference_type_id, ReferenceTypeId::HasProperty as u32)
        || is(
            &reference.type_definition.node_id,
            VariableTypeId::PropertyType as u32,
        )
}

fn is(id: &NodeId, number: u32) -> bool {
    id.namespace == 0 && id.identifier == Identifier::Numeric(number)
}
