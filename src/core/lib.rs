//! The pure core: change detection, mapping rules, events.
//!
//! Nothing here reads a clock, does input or output, or knows a protocol: the same plan, state and input give the
//! same bytes. All state is in cells (a stable key and a short JSON text) that the engine stores in the same
//! transaction as the events.

mod clock;
mod deferred;
mod detect;
mod envelope;
pub mod expression;
mod gate;
mod handover;
mod index;
pub mod inspect;
mod json;
mod late;
mod machine;
mod notice;
pub mod plan;
mod recorded;
mod rules;
mod shedding;
mod source;
mod state;
mod stream;
pub mod table;
mod timers;

pub use detect::{Cause, Change};
pub use envelope::{Encoding, Event, Settings};
pub use handover::Kept;
pub use machine::{Core, Input, Now, tag_cell};
pub use recorded::tag_now_cell;
pub use rules::{Failure, Failures, Request};
pub use shedding::Shed;
