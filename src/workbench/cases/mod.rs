//! Tests of mappings: what happens, step by step, and the events that must come of it.

mod player;
mod steps;
mod subject;

pub use player::{ORIGIN, Player, Stuck, Told};
pub use steps::{Action, Step, steps};
pub use subject::Subject;
