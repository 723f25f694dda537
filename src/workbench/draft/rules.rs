//! What a point becomes: which keys its tag has, and which event.

use floorgate_adapter_api::{Point, PointKind, Role};
use floorgate_core::table::{Key, ValueTable};

/// What a point becomes in a mapping.
#[derive(Debug)]
pub enum Use {
    /// The trigger of a standard event.
    Standard { role: Role, table: Option<Table> },
    /// What a standard event reads besides.
    Read,
    /// A named value, or one of two: an event of the plant's own.
    State(Option<Table>),
    /// A number or a bit.
    Measurement,
    /// A mapping cannot use it, or somebody has to say what it means.
    Nothing(String),
}

/// The names of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// One of the standards'.
    Standard(&'static str),
    /// Numbers and their names, as the device has them.
    Numbers(Vec<(i64, String)>),
    /// A standard's names, of a device that says them in words.
    Words(&'static str),
}

/// An event that a companion specification may lead to.
struct Known {
    event: &'static str,
    /// The field of its trigger.
    trigger: &'static str,
    /// The one that it cannot do without.
    needed: Option<&'static str>,
    /// Those that its data may have besides.
    data: &'static [&'static str],
}

const EVENTS: &[Known] = &[
    Known {
        event: "WorkOrderStatusChanged",
        trigger: "status",
        needed: Some("order"),
        data: &[],
    },
    Known {
        event: "EquipmentStateChanged",
        trigger: "state",
        needed: None,
        data: &["blocked", "starved"],
    },
    Known {
        event: "EquipmentModeChanged",
        trigger: "mode",
        needed: None,
        data: &[],
    },
];

/// Whether a field stands in an event's data.
pub fn is_data(role: &Role) -> bool {
    let known = EVENTS.iter().find(|known| known.event == role.event);
    known.is_some_and(|known| known.data.contains(&role.field))
}

/// What each of the points becomes, and why one that has a role does not become what it says.
pub fn uses(points: &[&Point]) -> Vec<(Use, Option<String>)> {
    let mut told: Vec<(&str, &str)> = Vec::new();
    let mut uses = Vec::with_capacity(points.len());
    for point in points {
        let Some(role) = &point.role else {
            uses.push((plain(point), None));
            continue;
        };
        let becomes = if told.contains(&(role.event, role.field)) {
            Err("which another tag is as well".to_owned())
        } else {
            by_role(point, role, points)
        };
        uses.push(match becomes {
            Ok(becomes) => {
                told.push((role.event, role.field));
                (becomes, None)
            }
            Err(why) => (
                plain(point),
                Some(format!("`{}` of `{}`, {why}", role.field, role.event)),
            ),
        });
    }
    uses
}

/// What a point becomes by its role, among all points of its equipment, or why it does not.
fn by_role(point: &Point, role: &Role, points: &[&Point]) -> Result<Use, String> {
    let has = |field: &str| {
        let is = |other: &Role| other.event == role.event && other.field == field;
        let mut others = points.iter().filter(|other| other.kind != PointKind::Other);
        others.any(|other| other.role.as_ref().is_some_and(is))
    };
    if point.kind == PointKind::Other {
        return Err("in a form that a mapping cannot use yet".to_owned());
    }
    let Some(known) = EVENTS.iter().find(|known| known.event == role.event) else {
        return Err("an event that has to be written by hand".to_owned());
    };
    let needed = [Some(known.trigger), known.needed].into_iter().flatten();
    if let Some(lacking) = needed
        .filter(|field| *field != role.field)
        .find(|field| !has(field))
    {
        return Err(format!("which needs a tag with the {lacking}: none was found"));
    }
    if Some(role.field) == known.needed || is_data(role) {
        return Ok(Use::Read);
    }
    if role.field != known.trigger {
        return Err("to be added to the event's `data`".to_owned());
    }
    let table = table(point, role);
    if table.is_none() && role.event != "EquipmentModeChanged" {
        return Err("and the names of its values are not known".to_owned());
    }
    Ok(Use::Standard { role: *role, table })
}

/// What a point becomes of which no companion specification says more.
fn plain(point: &Point) -> Use {
    match point.kind {
        PointKind::Other => {
            Use::Nothing("an array, bytes or a structure: a mapping cannot use it yet".to_owned())
        }
        PointKind::Text => Use::Nothing("text: say which event it belongs to".to_owned()),
        PointKind::Bit | PointKind::Whole if !point.states.is_empty() => {
            Use::State(Some(Table::Numbers(named(&point.states))))
        }
        PointKind::Bit => Use::State(None),
        PointKind::Whole | PointKind::Float => Use::Measurement,
    }
}

/// The names of the values of a point with a role.
fn table(point: &Point, role: &Role) -> Option<Table> {
    match role.values {
        Some(name) if point.kind == PointKind::Text && is_numbered(name) => Some(Table::Words(name)),
        Some(name) => Some(Table::Standard(name)),
        None if !point.states.is_empty() => Some(Table::Numbers(named(&point.states))),
        None => None,
    }
}

fn is_numbered(name: &str) -> bool {
    let table = ValueTable::standard(name);
    table.is_some_and(
        |table| matches!(table.entries.first(), Some(entry) if matches!(entry.key, Key::Number(_))),
    )
}

/// Each number once, the first of its names, and none without a name.
fn named(states: &[(i64, String)]) -> Vec<(i64, String)> {
    let mut named: Vec<(i64, String)> = Vec::with_capacity(states.len());
    for (number, name) in states {
        if named.iter().all(|(known, _)| known != number) {
            let name = match name.trim() {
                "" => format!("value {number}"),
                name => name.to_owned(),
            };
            named.push((*number, name));
        }
    }
    named.sort_unstable();
    named
}
