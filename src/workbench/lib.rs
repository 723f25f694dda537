//! The workbench: what an engineer does with a mapping before it runs, without a gateway.

pub mod draft;
