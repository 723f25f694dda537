//! Device identification (function 43/14, MODBUS Application Protocol V1.1b3 §6.21).

use serde::Serialize;
use tokio_modbus::prelude::ReadCode;

use super::asker::{Asker, Lost};

/// Most requests of one identification: a device that always says that more follows is not asked for ever.
const MOST_PARTS: usize = 32;

/// An object of a device identification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Its number.
    pub id: u8,
    /// Its name, of a standard one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    /// Its text. Bytes that are no printable ASCII character are shown as `\xNN`.
    pub text: String,
}

/// What the standard calls the objects 0 to 6.
const NAMES: [&str; 7] = [
    "vendor name",
    "product code",
    "major minor revision",
    "vendor url",
    "product name",
    "model name",
    "user application name",
];

/// Reads all that the device says of itself; or why it says nothing.
pub(super) async fn identify(
    asker: &mut Asker<'_>,
    unit: u8,
    found: &mut Vec<Identity>,
) -> Result<Result<(), String>, Lost> {
    let mut said = None;
    // A device answers by what it has where more is asked for; there are some that refuse instead.
    for code in [ReadCode::Extended, ReadCode::Regular, ReadCode::Basic] {
        match stream(asker, unit, code, found).await? {
            Ok(()) => return Ok(Ok(())),
            Err((is_exception, why)) => {
                said.get_or_insert(why);
                // Of what was not understood, or did not come, asking for less brings no more.
                if !is_exception || !found.is_empty() {
                    break;
                }
            }
        }
    }
    Ok(Err(said.unwrap_or_default()))
}

async fn stream(
    asker: &mut Asker<'_>,
    unit: u8,
    code: ReadCode,
    found: &mut Vec<Identity>,
) -> Result<Result<(), (bool, String)>, Lost> {
    let mut object = 0;
    for _ in 0..MOST_PARTS {
        let (objects, next) = match asker.identify(unit, code, object).await? {
            Ok(part) => part,
            Err(failure) => {
                let is_exception = matches!(failure, crate::link::Failure::Exception(_));
                return Ok(Err((is_exception, failure.to_string())));
            }
        };
        for (id, bytes) in objects {
            if found.iter().all(|known| known.id != id) {
                found.push(Identity {
                    id,
                    name: NAMES.get(usize::from(id)).copied(),
                    text: bytes.escape_ascii().to_string(),
                });
            }
        }
        match next {
            None => return Ok(Ok(())),
            Some(next) if next > object => object = next,
            Some(next) => {
                let why = format!("it says that object {next} follows object {object}");
                return Ok(Err((false, why)));
            }
        }
    }
    Ok(Err((false, format!("more than {MOST_PARTS} parts"))))
}
