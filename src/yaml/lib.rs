//! YAML that knows where it stands: a tree of positioned nodes, typed decoding that reports *every*
//! problem of a file in one run, and the problems themselves with file, line, column, value and hint.
//!
//! Parsing is `serde-saphyr`'s (duplicate keys and alias bombs are refused there). Decoding runs serde's
//! derived code over the tree; where it fails, the problem is recorded, the offending node is left out,
//! and decoding runs again, so that one mistake does not hide the next.

mod decode;
mod node;
mod problem;

pub use decode::{Spanned, decode};
pub use node::{FileId, Node, NodeKind, Span, parse};
pub use problem::{Problem, Problems, Severity};
