//! What variables are by companion specifications, known by namespace URI and name.

use std::collections::{HashMap, HashSet};

use floorgate_adapter_api::Role;

use super::types::Types;
use super::walk::{NodeIndex, Walk};

/// OPC 30050.
const PACKML: &str = "http://opcfoundation.org/UA/PackML/";
/// OPC 40001-1.
const MACHINERY: &str = "http://opcfoundation.org/UA/Machinery/";
/// OPC 10031-4 v2.0.
const JOB_CONTROL: &str = "http://opcfoundation.org/UA/ISA95-JOBCONTROL_V2/";

/// Variables with a meaning of their own.
const VARIABLES: &[(&str, &str, Role)] = &[
    (
        PACKML,
        "StateCurrent",
        role("EquipmentStateChanged", "state", Some("packml-state")),
    ),
    (
        PACKML,
        "UnitModeCurrent",
        role("EquipmentModeChanged", "mode", Some("packml-mode")),
    ),
    (
        PACKML,
        "EquipmentBlocked",
        role("EquipmentStateChanged", "blocked", None),
    ),
    (
        PACKML,
        "EquipmentStarved",
        role("EquipmentStateChanged", "starved", None),
    ),
    (
        JOB_CONTROL,
        "JobOrderID",
        role("WorkOrderStatusChanged", "order", None),
    ),
];

/// State machines, by the name of their type or, where an instance has a fixed one, of the instance: what their current state is.
const MACHINES: &[(&str, &str, Role)] = &[
    (PACKML, "PackMLBaseStateMachineType", PACKML_STATE),
    (PACKML, "PackMLMachineStateMachineType", PACKML_STATE),
    (PACKML, "PackMLExecuteStateMachineType", PACKML_STATE),
    (MACHINERY, "MachineryItemState_StateMachineType", ITEM_STATE),
    (MACHINERY, "MachineryItemState", ITEM_STATE),
    (
        MACHINERY,
        "MachineryOperationModeStateMachineType",
        OPERATION_MODE,
    ),
    (MACHINERY, "MachineryOperationMode", OPERATION_MODE),
    (JOB_CONTROL, "ISA95JobOrderReceiverObjectType", JOB_STATE),
];

const PACKML_STATE: Role = role("EquipmentStateChanged", "state", Some("packml-state"));
const ITEM_STATE: Role = role("EquipmentStateChanged", "state", Some("machinery-item-state"));
const OPERATION_MODE: Role = role("EquipmentModeChanged", "mode", Some("machinery-operation-mode"));
const JOB_STATE: Role = role("WorkOrderStatusChanged", "status", Some("isa95-job-state"));

const fn role(event: &'static str, field: &'static str, values: Option<&'static str>) -> Role {
    Role { event, field, values }
}

/// What the variables of a walk are.
#[derive(Debug, Default)]
pub struct Roles {
    found: Vec<(NodeIndex, Role)>,
    /// Upper levels of a state that has several, and other forms of what another variable says better.
    pub remarks: Vec<(NodeIndex, &'static str)>,
}

impl Roles {
    /// Looks at all variables.
    pub fn new(walk: &Walk<'_>, namespaces: &[String], types: &Types) -> Self {
        let mut roles = Self::default();
        let uri = |namespace: u16| namespaces.get(usize::from(namespace)).map_or("", String::as_str);
        let known = |table: &[(&str, &str, Role)], namespace: u16, name: &str| {
            let of = uri(namespace);
            let mut rows = table.iter();
            rows.find(|(uri, known, _)| *uri == of && *known == name)
                .map(|(_, _, role)| *role)
        };
        let mut states: Vec<(NodeIndex, NodeIndex, Role)> = Vec::new();
        for at in indices(walk) {
            let node = walk.node(at);
            if !node.is_variable {
                continue;
            }
            if let Some(role) = known(VARIABLES, node.namespace, &node.name) {
                roles.found.push((at, role));
            } else if (node.namespace, &*node.name) == (0, "CurrentState") {
                let machine = walk.node(node.parent);
                let by_type = types.names(&machine.type_definition);
                let role = by_type
                    .chain([(machine.namespace, &*machine.name)])
                    .find_map(|(namespace, name)| known(MACHINES, namespace, name));
                states.extend(role.map(|role| (at, node.parent, role)));
            }
        }
        roles.take_states(walk, &states);
        roles
    }

    /// Of the levels of one state the lowest is told: those above it are the same while the machine works.
    fn take_states(&mut self, walk: &Walk<'_>, states: &[(NodeIndex, NodeIndex, Role)]) {
        let mut above: HashSet<NodeIndex> = HashSet::new();
        for (_, machine, role) in states {
            let mut at = *machine;
            while at != 0 && *role == PACKML_STATE {
                at = walk.node(at).parent;
                above.insert(at);
            }
        }
        let numbers: HashSet<NodeIndex> = indices(walk)
            .filter(|&at| (walk.node(at).namespace, &*walk.node(at).name) == (0, "Number"))
            .filter(|at| walk.facts.contains_key(at))
            .collect();
        let parents: HashMap<NodeIndex, NodeIndex> =
            numbers.into_iter().map(|at| (walk.node(at).parent, at)).collect();
        for &(at, machine, role) in states {
            if role == PACKML_STATE && above.contains(&machine) {
                self.remarks.push((
                    at,
                    "an upper level of the PackML state, which is told by the level below it; while that one is not active the state is unknown",
                ));
            } else if let Some(&number) = parents.get(&at) {
                self.found.push((number, role));
                self.remarks
                    .push((at, "the state in words, which `Number` tells as a number"));
            } else {
                self.found.push((at, role));
            }
        }
        self.found.sort_unstable_by_key(|(at, _)| *at);
    }

    /// What a variable is.
    pub fn of(&self, at: NodeIndex) -> Option<Role> {
        let place = self.found.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        Some(self.found[place].1)
    }
}

fn indices(walk: &Walk<'_>) -> impl Iterator<Item = NodeIndex> {
    0..NodeIndex::try_from(walk.nodes.len()).unwrap_or(NodeIndex::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::BrowseOptions;
    use super::super::facts::Facts;
    use super::super::filter::Filter;
    use super::super::walk::Found;
    use super::*;
    use opcua::types::NodeId;

    const OPTIONS: BrowseOptions = BrowseOptions {
        path: None,
        depth: None,
        include: Vec::new(),
        exclude: Vec::new(),
        most_nodes: 1_000,
        trust_once: None,
    };

    fn found(
        parent: NodeIndex,
        namespace: u16,
        name: &str,
        type_definition: NodeId,
        is_variable: bool,
    ) -> Found {
        Found {
            parent,
            depth: 1,
            name: name.into(),
            namespace,
            id: NodeId::new(9, name),
            type_definition,
            is_variable,
        }
    }

    /// The roles of these nodes, the first of which is number 1; the namespaces are 1 `PackML`, 2 Machinery, 3 Job Control, 4 the plant's.
    fn roles(nodes: Vec<Found>, types: &Types) -> Roles {
        let filter = Filter::new(&OPTIONS).unwrap();
        let mut walk = Walk::new(found(0, 0, "Objects", NodeId::null(), false), &filter, &OPTIONS);
        walk.nodes.extend(nodes);
        for at in indices(&walk)
            .filter(|&at| walk.node(at).is_variable)
            .collect::<Vec<_>>()
        {
            walk.facts.insert(at, Facts::default());
        }
        let namespaces = [
            "http://opcfoundation.org/UA/",
            PACKML,
            MACHINERY,
            JOB_CONTROL,
            "urn:plant",
        ];
        Roles::new(&walk, &namespaces.map(str::to_owned), types)
    }

    fn object(parent: NodeIndex, namespace: u16, name: &str, kind: u32) -> Found {
        found(parent, namespace, name, NodeId::new(4, kind), false)
    }

    fn variable(parent: NodeIndex, namespace: u16, name: &str) -> Found {
        found(parent, namespace, name, NodeId::null(), true)
    }

    #[test]
    fn of_the_levels_of_a_packml_state_the_lowest_is_told() {
        let types = Types::named(&[
            (NodeId::new(4, 1_u32), 1, "PackMLBaseStateMachineType"),
            (NodeId::new(4, 2_u32), 1, "PackMLMachineStateMachineType"),
            (NodeId::new(4, 3_u32), 1, "PackMLExecuteStateMachineType"),
        ]);
        let nodes = vec![
            object(0, 4, "Base", 1),
            variable(1, 0, "CurrentState"),
            object(1, 1, "MachineState", 2),
            variable(3, 0, "CurrentState"),
            object(3, 1, "ExecuteState", 3),
            variable(5, 0, "CurrentState"),
        ];
        let roles = roles(nodes, &types);
        assert_eq!([2, 4, 6].map(|at| roles.of(at)), [None, None, Some(PACKML_STATE)]);
        assert_eq!(roles.remarks.len(), 2, "the levels above say so");
    }

    #[test]
    fn a_state_with_a_number_is_told_by_the_number() {
        let nodes = vec![
            object(0, 2, "MachineryItemState", 7),
            variable(1, 0, "CurrentState"),
            variable(2, 0, "Number"),
            object(0, 4, "Mode", 8),
            variable(4, 0, "CurrentState"),
        ];
        let types = Types::named(&[(NodeId::new(4, 8_u32), 2, "MachineryOperationModeStateMachineType")]);
        let roles = roles(nodes, &types);
        assert_eq!(
            [2, 3, 5].map(|at| roles.of(at)),
            [None, Some(ITEM_STATE), Some(OPERATION_MODE)]
        );
    }

    #[test]
    fn a_name_counts_in_its_namespace_alone() {
        let nodes = vec![
            variable(0, 1, "StateCurrent"),
            variable(0, 4, "StateCurrent"),
            object(0, 4, "MachineryItemState", 0),
            variable(3, 0, "CurrentState"),
            variable(0, 3, "JobOrderID"),
        ];
        let roles = roles(nodes, &Types::default());
        let order = role("WorkOrderStatusChanged", "order", None);
        assert_eq!(
            [1, 2, 4, 5].map(|at| roles.of(at)),
            [Some(PACKML_STATE), None, None, Some(order)]
        );
    }
}
