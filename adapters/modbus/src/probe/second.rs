//! Whether a device serves a second connection beside the first.

use serde::Serialize;

use super::asker::{Asker, Lost};
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
) -> Result<Option<SecondConnection>, Lost> {
    let endpoint = &look.target.checked.endpoint;
    let Some(unit) = findings.units.first() else {
        return Ok(None);
    };
    if endpoint.is_serial() || endpoint.is_unproven() || !look.at.is_empty() {
        return Ok(None);
    }
    let reason = asker.ask_on_two(unit.unit, unit.known).await?.err();
    Ok(Some(SecondConnection {
        taken: reason.is_none(),
        reason,
    }))
}
