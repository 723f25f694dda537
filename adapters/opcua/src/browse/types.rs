//! What is known of types: what they are subtypes of, what they are called, and the names of an enumeration's values.

use std::collections::{BTreeMap, HashMap, HashSet};

use floorgate_adapter_api::PointKind;
use opcua::types::{AttributeId, Identifier, NodeId, ReadValueId, Variant};

use super::client::{Client, Lost};
use super::facts::{kind_of_type, states};
use super::walk::local;

/// Longer chains of subtypes nobody has; a cycle has no end.
const LONGEST: usize = 20;

/// Types of a server.
#[derive(Debug, Default)]
pub struct Types {
    above: HashMap<NodeId, NodeId>,
    names: HashMap<NodeId, (u16, String)>,
    states: HashMap<NodeId, Vec<(i64, String)>>,
}

impl Types {
    /// Looks up types of objects and of data.
    pub async fn look_up(
        client: &Client,
        objects: HashSet<NodeId>,
        data: HashSet<NodeId>,
    ) -> Result<Self, Lost> {
        let mut types = Self::default();
        let all: HashSet<NodeId> = objects.union(&data).cloned().collect();
        types.find_above(client, all).await?;
        let mut of_objects: Vec<NodeId> = Vec::new();
        for id in &objects {
            of_objects.extend(types.chain(id).filter(|id| id.namespace != 0).cloned());
        }
        of_objects.sort_unstable_by_key(ToString::to_string);
        of_objects.dedup();
        let asked = of_objects.iter();
        let asked = asked.map(|id| ReadValueId::new(id.clone(), AttributeId::BrowseName));
        for (id, answer) in of_objects.iter().zip(client.read(asked.collect()).await?) {
            if let Some(Variant::QualifiedName(name)) = answer.ok().and_then(|value| value.value) {
                let named = (name.namespace_index, name.name.as_ref().to_owned());
                types.names.insert(id.clone(), named);
            }
        }
        let is_own = |id: &&NodeId| id.namespace != 0 && types.kind(id) == Some(PointKind::Whole);
        let enumerations: Vec<NodeId> = data.iter().filter(is_own).cloned().collect();
        types.find_states(client, enumerations).await?;
        Ok(types)
    }

    async fn find_above(&mut self, client: &Client, all: HashSet<NodeId>) -> Result<(), Lost> {
        // Sorted, so that two walks ask alike.
        let mut open: BTreeMap<String, NodeId> = all.into_iter().map(|id| (id.to_string(), id)).collect();
        for _ in 0..LONGEST {
            open.retain(|_, id| !id.is_null() && !is_known(id) && !self.above.contains_key(id));
            let asked: Vec<NodeId> = std::mem::take(&mut open).into_values().collect();
            if asked.is_empty() {
                break;
            }
            let answers = client.above(asked.clone()).await?;
            for (id, answer) in asked.into_iter().zip(answers) {
                let first = answer.ok().and_then(|references| references.into_iter().next());
                if let Some(above) = first.and_then(|reference| local(&reference.node_id, client)) {
                    open.insert(above.to_string(), above.clone());
                    self.above.insert(id, above);
                }
            }
        }
        Ok(())
    }

    async fn find_states(&mut self, client: &Client, types: Vec<NodeId>) -> Result<(), Lost> {
        let below = client.below(types.clone()).await?;
        let mut found = Vec::new();
        for (id, answer) in types.into_iter().zip(below) {
            let named = |name: &str| matches!(name, "EnumStrings" | "EnumValues");
            let references = answer.unwrap_or_default();
            let property = references
                .iter()
                .find(|reference| named(reference.browse_name.name.as_ref()));
            if let Some(property) = property.and_then(|reference| local(&reference.node_id, client)) {
                found.push((id, property));
            }
        }
        let asked = found.iter();
        let asked = asked.map(|(_, property)| ReadValueId::new_value(property.clone()));
        for ((id, _), answer) in found.iter().zip(client.read(asked.collect()).await?) {
            if let Some(value) = answer.ok().and_then(|value| value.value) {
                self.states.insert(id.clone(), states(value));
            }
        }
        Ok(())
    }

    /// A type and those above it.
    fn chain<'t>(&'t self, id: &'t NodeId) -> impl Iterator<Item = &'t NodeId> {
        std::iter::successors(Some(id), |id| self.above.get(*id)).take(LONGEST)
    }

    /// The names of a type and those above it, with the place of their namespace.
    pub fn names<'t>(&'t self, id: &'t NodeId) -> impl Iterator<Item = (u16, &'t str)> {
        let named = self.chain(id).filter_map(|id| self.names.get(id));
        named.map(|(namespace, name)| (*namespace, name.as_str()))
    }

    /// What values of a data type are, where that is known.
    pub fn kind(&self, id: &NodeId) -> Option<PointKind> {
        let numbers = self.chain(id).filter(|id| id.namespace == 0);
        let mut kinds = numbers.filter_map(|id| match id.identifier {
            Identifier::Numeric(number) => kind_of_type(number),
            _ => None,
        });
        kinds.next()
    }

    /// Types of which only names are known.
    #[cfg(test)]
    pub fn named(names: &[(NodeId, u16, &str)]) -> Self {
        let names = names.iter();
        Self {
            names: names
                .map(|(id, namespace, name)| (id.clone(), (*namespace, (*name).to_owned())))
                .collect(),
            ..Self::default()
        }
    }

    /// The names of an enumeration's values.
    pub fn states(&self, id: &NodeId) -> &[(i64, String)] {
        self.states.get(id).map_or(&[], Vec::as_slice)
    }
}

/// A data type of which it is known what its values are.
fn is_known(id: &NodeId) -> bool {
    id.namespace == 0
        && matches!(id.identifier, Identifier::Numeric(number) if kind_of_type(number).is_some())
}
