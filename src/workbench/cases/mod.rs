//! Tests of mappings: what happens, step by step, and the events that must come of it.
//!
//! A file with tests is read with its mappings ([`read`]), its steps are played to a gateway without clock, network and disk
//! ([`Player`]), and what comes out is held against what is expected ([`run`]).

mod coverage;
mod difference;
mod expectation;
mod file;
mod form;
mod junit;
mod player;
mod record;
mod run;
mod seen;
mod steps;
mod subject;
mod write;

pub use coverage::{Counts, Coverage, Uncovered};
pub use difference::line_difference;
pub use expectation::Expectation;
pub use file::{ENDING, Test, TestFile, read};
pub use form::schema;
pub use junit::junit;
pub use player::{ORIGIN, Player, Stuck, Told};
pub use record::{Moment, Part, RecordError, Recorded, record};
pub use run::{Options, Outcome, Run, Suite, run};
pub use seen::{Seen, offset, when};
pub use steps::{Action, Step, steps};
pub use subject::Subject;
pub use write::write;
