//! Whether a device serves a second connection beside the first.

use serde::Serialize;

use super::asker::Asker;
use super::{Findings, Look};

/// What became of a second connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecondConnection {
    /// It was made and answered, and the first one was answered after it.
    pub taken: bool,
    /// What there was instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks once on a second connection, and once more on the first. Nothing is asked of a serial line, which has none, nor of what has no connections.
pub(super) async fn look(
    look: &Look,
    asker: &mut Asker<'_>,
    findings: &Findings,
) -> Option<SecondConnection> {
    let endpoint = &look.target.checked.endpoint;
    let unit = findings.units.first()?;
    if endpoint.is_serial() || endpoint.is_unproven() || !look.at.is_empty() {
        return None;
    }
    // Once may be an accident.
    let mut reason = None;
    for _ in 0..2 {
        let Ok(said) = asker.ask_on_two(unit.unit, unit.known).await else {
            // All that was to be found was found before.
            return None;
        };
        reason = said.err();
        if reason.is_none() {
            break;
        }
    }
    Some(SecondConnection {
        taken: reason.is_none(),
        reason,
    })
}
