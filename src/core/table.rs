//! Value tables: the names of an enumeration's numbers.

use std::sync::Arc;

use floorgate_sample::Value;

/// The names of an enumeration.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueTable {
    /// Name of the table, `packml-state` for example.
    pub name: Arc<str>,
    /// The state model that `EquipmentStateChanged` shows: `packml`, `machinery`, `mtconnect`, `weihenstephan` or `custom`.
    pub model: Arc<str>,
    /// The entries.
    pub entries: Vec<Entry>,
    /// What a value is that no entry has.
    pub unmapped: Unmapped,
}

/// One value and its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The value as the device has it.
    pub key: Key,
    /// Its name.
    pub name: Arc<str>,
    /// Equipment category (`MachineryItemState`, OPC 40001-1): `NotAvailable`, `OutOfService`, `NotExecuting` or `Executing`.
    pub category: Option<Arc<str>>,
    /// Sub-state of a work order (OPC 10031-4): `Waiting`, `Held` and so on.
    pub sub_state: Option<Arc<str>>,
}

/// A device's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// A number.
    Number(i64),
    /// Text, where the device says the state in words.
    Text(Arc<str>),
}

/// What a value is that no entry has.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Unmapped {
    /// The event is made with the name `unknown`; the raw value stands beside it.
    #[default]
    Unknown,
    /// The event is made with this name.
    Named(Arc<str>),
    /// No event.
    Ignore,
}

impl ValueTable {
    /// The entry of a value.
    #[must_use]
    pub fn find(&self, value: &Value) -> Option<&Entry> {
        if let Some(text) = value.as_text() {
            return self
                .entries
                .iter()
                .find(|e| matches!(&e.key, Key::Text(key) if &**key == text));
        }
        let number = value.as_i128()?;
        self.entries
            .iter()
            .find(|e| matches!(e.key, Key::Number(key) if i128::from(key) == number))
    }

    /// The name of a value by the table and its policy; `None` where the policy is to make no event.
    #[must_use]
    pub fn name_of(&self, value: &Value) -> Option<&str> {
        match (self.find(value), &self.unmapped) {
            (Some(entry), _) => Some(&entry.name),
            (None, Unmapped::Unknown) => Some("unknown"),
            (None, Unmapped::Named(name)) => Some(name),
            (None, Unmapped::Ignore) => None,
        }
    }

    /// A table of the standards by its name in mappings.
    #[must_use]
    pub fn standard(name: &str) -> Option<Self> {
        let numbered = |model: &str, entries: &[(i64, &str, Option<&str>)]| Self {
            name: name.into(),
            model: model.into(),
            entries: entries
                .iter()
                .map(|&(number, name, category)| Entry {
                    key: Key::Number(number),
                    name: name.into(),
                    category: category.map(Into::into),
                    sub_state: None,
                })
                .collect(),
            unmapped: Unmapped::default(),
        };
        let worded = |model: &str, entries: &[(&str, Option<&str>)]| Self {
            name: name.into(),
            model: model.into(),
            entries: entries
                .iter()
                .map(|&(word, category)| Entry {
                    key: Key::Text(word.into()),
                    name: word.into(),
                    category: category.map(Into::into),
                    sub_state: None,
                })
                .collect(),
            unmapped: Unmapped::default(),
        };
        Some(match name {
            "isa95-job-state" => numbered("isa95", JOB_STATE_V2),
            "isa95-job-state-v1" => {
                let mut table = numbered("isa95", &[]);
                table
                    .entries
                    .extend(JOB_STATE_V1.iter().map(|&(number, name, sub_state)| Entry {
                        key: Key::Number(number),
                        name: name.into(),
                        category: None,
                        sub_state: sub_state.map(Into::into),
                    }));
                table
            }
            "packml-state" => numbered("packml", PACKML_STATE),
            "packml-mode" => numbered("packml", PACKML_MODE),
            "machinery-item-state" => numbered("machinery", MACHINERY_ITEM_STATE),
            "machinery-operation-mode" => numbered("machinery", MACHINERY_OPERATION_MODE),
            "result-evaluation" => numbered("machinery", RESULT_EVALUATION),
            "mtconnect-execution" => worded("mtconnect", MTCONNECT_EXECUTION),
            "weihenstephan-state" => numbered("weihenstephan", WEIHENSTEPHAN_STATE),
            "weihenstephan-program" => numbered("weihenstephan", WEIHENSTEPHAN_PROGRAM),
            "weihenstephan-mode" => numbered("weihenstephan", WEIHENSTEPHAN_MODE),
            "vda5050-action-status" => worded("custom", VDA5050_ACTION_STATUS),
            _ => return None,
        })
    }

    /// The names that [`ValueTable::standard`] knows.
    pub const STANDARD: &[&str] = &[
        "isa95-job-state",
        "isa95-job-state-v1",
        "packml-state",
        "packml-mode",
        "machinery-item-state",
        "machinery-operation-mode",
        "result-evaluation",
        "mtconnect-execution",
        "weihenstephan-state",
        "weihenstephan-program",
        "weihenstephan-mode",
        "vda5050-action-status",
    ];
}

type Numbered = (i64, &'static str, Option<&'static str>);

/// OPC 10031-4 v2.0, Annex B.2: states of a job order.
const JOB_STATE_V2: &[Numbered] = &[
    (1, "NotAllowedToStart", None),
    (2, "AllowedToStart", None),
    (3, "Running", None),
    (4, "Interrupted", None),
    (5, "Ended", None),
    (6, "Aborted", None),
];

/// OPC 10031-4 v1.0, `ISA95JobOrderStateEnum`, as the states of v2.0 with their sub-states: one version's consumers read the other's. Undefined (0)
/// and Error (10) have none.
const JOB_STATE_V1: &[(i64, &str, Option<&str>)] = &[
    (1, "NotAllowedToStart", Some("Waiting")),
    (2, "AllowedToStart", Some("Ready")),
    (3, "AllowedToStart", Some("Loaded")),
    (4, "Running", None),
    (5, "Ended", Some("Completed")),
    (6, "Aborted", None),
    (7, "Interrupted", Some("Held")),
    (8, "Interrupted", Some("Suspended")),
    (9, "Ended", Some("Closed")),
];

const NOT_AVAILABLE: Option<&str> = Some("NotAvailable");
const OUT_OF_SERVICE: Option<&str> = Some("OutOfService");
const NOT_EXECUTING: Option<&str> = Some("NotExecuting");
const EXECUTING: Option<&str> = Some("Executing");

/// PackML states 1 to 17 (OPC 30050; ISA-TR88.00.02), with the category of OPC 40001-1: only producing is
/// executing, an aborted machine is out of service until somebody clears it.
const PACKML_STATE: &[Numbered] = &[
    (1, "Clearing", OUT_OF_SERVICE),
    (2, "Stopped", NOT_EXECUTING),
    (3, "Starting", NOT_EXECUTING),
    (4, "Idle", NOT_EXECUTING),
    (5, "Suspended", NOT_EXECUTING),
    (6, "Execute", EXECUTING),
    (7, "Stopping", NOT_EXECUTING),
    (8, "Aborting", OUT_OF_SERVICE),
    (9, "Aborted", OUT_OF_SERVICE),
    (10, "Holding", NOT_EXECUTING),
    (11, "Held", NOT_EXECUTING),
    (12, "Unholding", NOT_EXECUTING),
    (13, "Suspending", NOT_EXECUTING),
    (14, "Unsuspending", NOT_EXECUTING),
    (15, "Resetting", NOT_EXECUTING),
    (16, "Completing", EXECUTING),
    (17, "Complete", NOT_EXECUTING),
];

/// PackML unit modes (ISA-TR88.00.02).
const PACKML_MODE: &[Numbered] = &[
    (1, "Produce", None),
    (2, "Maintenance", None),
    (3, "Manual", None),
];

/// `MachineryItemState` (OPC 40001-1).
const MACHINERY_ITEM_STATE: &[Numbered] = &[
    (0, "NotAvailable", NOT_AVAILABLE),
    (1, "OutOfService", OUT_OF_SERVICE),
    (2, "NotExecuting", NOT_EXECUTING),
    (3, "Executing", EXECUTING),
];

/// `MachineryOperationMode` (OPC 40001-1).
const MACHINERY_OPERATION_MODE: &[Numbered] = &[
    (0, "None", None),
    (1, "Maintenance", None),
    (2, "Setup", None),
    (3, "Processing", None),
];

/// `ResultEvaluationEnum` (OPC 40001-101).
const RESULT_EVALUATION: &[Numbered] = &[
    (0, "Undefined", None),
    (1, "OK", None),
    (2, "NotOK", None),
    (3, "NotDecidable", None),
];

/// Values of `EXECUTION` (`MTConnect` part 2).
const MTCONNECT_EXECUTION: &[(&str, Option<&str>)] = &[
    ("READY", NOT_EXECUTING),
    ("ACTIVE", EXECUTING),
    ("INTERRUPTED", NOT_EXECUTING),
    ("WAIT", NOT_EXECUTING),
    ("FEED_HOLD", NOT_EXECUTING),
    ("STOPPED", NOT_EXECUTING),
    ("OPTIONAL_STOP", NOT_EXECUTING),
    ("PROGRAM_STOPPED", NOT_EXECUTING),
    ("PROGRAM_COMPLETED", NOT_EXECUTING),
    ("PROGRAM_OPTIONAL_STOP", NOT_EXECUTING),
    ("UNAVAILABLE", NOT_AVAILABLE),
];

/// The data point `WS_Cur_State` of the Weihenstephan Standards (WS Pack, WS Food): the numbers are powers of two, and no bit mask. The categories are
/// those of the `PackML` states in which a machine is then (OPC 40600 §7.4 to §7.7).
const WEIHENSTEPHAN_STATE: &[Numbered] = &[
    (1, "Stopped", NOT_EXECUTING),
    (2, "Starting", NOT_EXECUTING),
    (4, "Prepared", NOT_EXECUTING),
    (8, "Lack", NOT_EXECUTING),
    (16, "Tailback", NOT_EXECUTING),
    (32, "LackBranchLine", NOT_EXECUTING),
    (64, "TailbackBranchLine", NOT_EXECUTING),
    (128, "Operating", EXECUTING),
    (256, "Stopping", NOT_EXECUTING),
    (512, "Aborting", OUT_OF_SERVICE),
    (1_024, "EquipmentFailure", NOT_EXECUTING),
    (2_048, "ExternalFailure", NOT_EXECUTING),
    (4_096, "EmergencyStop", OUT_OF_SERVICE),
    (8_192, "Holding", NOT_EXECUTING),
    (16_384, "Held", NOT_EXECUTING),
    (32_768, "Idle", NOT_EXECUTING),
];

/// `WSProgramEnumerationType` (OPC 40600 §9.2, the data point `WS_Cur_Prog`): the numbers are powers of two, and no bit mask.
const WEIHENSTEPHAN_PROGRAM: &[Numbered] = &[
    (0, "Undefined", None),
    (1, "Production", None),
    (2, "StartUp", None),
    (4, "RunDown", None),
    (8, "Clean", None),
    (16, "Changeover", None),
    (32, "Maintenance", None),
    (64, "Break", None),
];

/// `WSOperatingModeEnumerationType` (OPC 40600 §9.1, the data point `WS_Cur_Mode`).
const WEIHENSTEPHAN_MODE: &[Numbered] = &[
    (1, "Off", None),
    (2, "Manual", None),
    (4, "SemiAutomatic", None),
    (8, "Automatic", None),
];

/// `actionStatus` of VDA 5050, version 2.
const VDA5050_ACTION_STATUS: &[(&str, Option<&str>)] = &[
    ("WAITING", None),
    ("INITIALIZING", None),
    ("RUNNING", None),
    ("PAUSED", None),
    ("FINISHED", None),
    ("FAILED", None),
];

/// A state and those that may follow it.
pub type Transition = (Arc<str>, Box<[Arc<str>]>);
/// States and those that may follow each; a state that is not there may be followed by any.
pub type Transitions = Box<[Transition]>;

/// The transitions of a standard, by its name in mappings.
#[must_use]
pub fn transitions(name: &str) -> Option<Transitions> {
    let rows = (name == "packml-state").then_some(PACKML_TRANSITIONS)?;
    let row = |(from, to): &(&str, &[&str])| {
        let commands = PACKML_COMMANDS
            .iter()
            .filter(|(_, not_from)| !not_from.contains(from));
        let allowed = to.iter().copied().chain(commands.map(|(to, _)| *to));
        ((*from).into(), allowed.map(Into::into).collect())
    };
    Some(rows.iter().map(row).collect())
}

/// The states that Abort and Stop lead to, and those in which the machine does not take them (ISA-TR88.00.02): what is aborted is cleared
/// before it is stopped.
const PACKML_COMMANDS: &[(&str, &[&str])] = &[
    ("Aborting", &["Aborting", "Aborted"]),
    (
        "Stopping",
        &["Stopping", "Stopped", "Aborting", "Aborted", "Clearing"],
    ),
];

/// The base state model of `PackML` (ISA-TR88.00.02, OPC 30050), besides what Abort and Stop lead to.
const PACKML_TRANSITIONS: &[(&str, &[&str])] = &[
    ("Clearing", &["Stopped"]),
    ("Stopped", &["Resetting"]),
    ("Starting", &["Execute"]),
    ("Idle", &["Starting"]),
    ("Suspended", &["Unsuspending"]),
    ("Execute", &["Completing", "Holding", "Suspending"]),
    ("Stopping", &["Stopped"]),
    ("Aborting", &["Aborted"]),
    ("Aborted", &["Clearing"]),
    ("Holding", &["Held"]),
    ("Held", &["Unholding"]),
    ("Unholding", &["Execute"]),
    ("Suspending", &["Suspended"]),
    ("Unsuspending", &["Execute"]),
    ("Resetting", &["Idle"]),
    ("Completing", &["Complete"]),
    ("Complete", &["Resetting"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_has_another_number_in_each_version_of_job_control() {
        let name = |table: &str, number| {
            ValueTable::standard(table).and_then(|t| t.name_of(&Value::Int(number)).map(str::to_owned))
        };
        assert_eq!(name("isa95-job-state", 3).as_deref(), Some("Running"));
        assert_eq!(name("isa95-job-state", 9).as_deref(), Some("unknown"));
        let first = ValueTable::standard("isa95-job-state-v1").unwrap();
        let state = |number| {
            let entry = first.find(&Value::Int(number))?;
            Some((&*entry.name, entry.sub_state.as_deref()))
        };
        assert_eq!(
            (0..=10).map(state).collect::<Vec<_>>(),
            [
                None,
                Some(("NotAllowedToStart", Some("Waiting"))),
                Some(("AllowedToStart", Some("Ready"))),
                Some(("AllowedToStart", Some("Loaded"))),
                Some(("Running", None)),
                Some(("Ended", Some("Completed"))),
                Some(("Aborted", None)),
                Some(("Interrupted", Some("Held"))),
                Some(("Interrupted", Some("Suspended"))),
                Some(("Ended", Some("Closed"))),
                None,
            ]
        );
    }

    #[test]
    fn a_packml_machine_stops_and_aborts_only_where_it_takes_the_command() {
        let transitions = transitions("packml-state").unwrap();
        let before = |wanted: &str| -> Vec<&str> {
            let leads = |to: &[Arc<str>]| to.iter().any(|name| &**name == wanted);
            let rows = transitions.iter().filter(|(_, to)| leads(to));
            rows.map(|(from, _)| &**from).collect()
        };
        let all: Vec<&str> = PACKML_STATE.iter().map(|(_, name, _)| *name).collect();
        let without = |states: &[&str]| -> Vec<&str> {
            all.iter()
                .copied()
                .filter(|name| !states.contains(name))
                .collect()
        };
        assert_eq!(before("Aborting"), without(&["Aborting", "Aborted"]));
        assert_eq!(
            before("Stopping"),
            without(&["Clearing", "Stopped", "Stopping", "Aborting", "Aborted"])
        );
        assert_eq!(before("Stopped"), ["Clearing", "Stopping"]);
        assert_eq!(before("Execute"), ["Starting", "Unholding", "Unsuspending"]);
    }

    #[test]
    fn every_standard_name_is_a_table() {
        assert!(
            ValueTable::STANDARD
                .iter()
                .all(|name| ValueTable::standard(name).is_some())
        );
    }
}
