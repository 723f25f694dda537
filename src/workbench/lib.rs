//! What an engineer does before a mapping runs: it is played, tested and compared without a gateway, a device or a broker.

pub mod cases;
pub mod compare;
pub mod draft;
mod numbers;
pub mod offline;
pub mod recording;
pub mod simulation;
