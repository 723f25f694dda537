//! Whether a unit has queues of registers (function 24, MODBUS Application Protocol V1.1b3 §6.18).
//!
//! An address says nothing of others, so that one question is all: what is at address 0, or that there are none.

use serde::Serialize;
use tokio_modbus::ExceptionCode;

use super::asker::{Asker, Lost};
use super::ranges::Answer;
use crate::address::Table;
use crate::link::Failure;
use crate::planner::Extent;

/// What a unit says when it is asked for the queue at address 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queues {
    /// It knows the function. `None` where nothing can be told of that, since it did not answer, or failed.
    pub supported: Option<bool>,
    /// How many registers are in the queue at address 0, where there is one.
    pub at_0: Option<usize>,
    /// What it said instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// Asks for the queue at address 0. Reading takes nothing out of it.
pub(super) async fn look(asker: &mut Asker<'_>, unit: u8) -> Result<Queues, Lost> {
    let at = Extent { start: 0, len: 1 };
    Ok(match asker.read(unit, Table::Fifo, at).await? {
        Answer::Words(words) => Queues {
            supported: Some(true),
            at_0: Some(words.len()),
            answer: None,
        },
        Answer::Exception(code) => Queues {
            supported: match code {
                ExceptionCode::IllegalFunction => Some(false),
                ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue => Some(true),
                _ => None,
            },
            at_0: None,
            answer: Some(Failure::Exception(code).to_string()),
        },
        Answer::Silence(why) => Queues {
            supported: None,
            at_0: None,
            answer: Some(why.to_string()),
        },
    })
}
