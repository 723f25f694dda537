//! The workbench: what runs a mapping without a gateway.

pub mod recording;
