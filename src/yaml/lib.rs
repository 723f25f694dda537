//! YAML that knows where it stands: a tree of positioned nodes, typed decoding that reports *every*
//! problem of a file in one run, and the problems themselves with file, line, column, value and hint.
//!
//! Parsing is `granit-parser`'s; its events become the tree here, where duplicate keys and alias bombs are refused.
//! Decoding runs serde's derived code over the tree; where it fails, the problem is recorded, a stand-in takes the
//! place of the offending node, and decoding runs again, so that one mistake does not hide the next.

mod anchor;
mod decode;
mod duplicate;
mod duration;
mod fault;
#[cfg(test)]
mod hostile_tests;
mod node;
mod parse;
mod problem;
mod refusal;
mod render;
mod scalar;
mod similar;
mod spanned;
mod stand_in;
mod tree;
mod within;
mod write;

pub use decode::{Draft, decode, draft, salvage};
pub use duration::{Duration, NoDuration};
pub use node::{FileId, Node, NodeKind, Span};
pub use parse::parse;
pub use problem::{Problem, Problems, Severity};
pub use similar::{closest, slip, spelt};
pub use spanned::Spanned;
pub use within::Within;
pub use write::flow;
