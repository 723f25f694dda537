//! The pure core: change detection, mapping rules, events.
//!
//! Nothing here reads a clock, does input or output, or knows a protocol: the same plan, state and input give the
//! same bytes. All state is in cells (a stable key and a short JSON text) that the engine stores in the same
//! transaction as the events.

pub mod expression;
pub mod plan;
pub mod table;
