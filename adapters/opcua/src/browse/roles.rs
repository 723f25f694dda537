//! What variables are by companion specifications, known by namespace URI and name.

use std::collections::HashSet;

use floorgate_adapter_api::Role;

use super::client::Client;
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
    pub fn new(walk: &Walk<'_>, client: &Client, types: &Types) -> Self {
        let mut roles = Self::default();
        let uri = |namespace: u16| {
            client
                .namespaces
                .get(usize::from(namespace))
                .map_or("", String::as_str)
        };
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
        let parents: std::collections::HashMap<NodeIndex, NodeIndex> =
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
