//! The end-to-end tests: one program, so that they link once and share one broker.

#[path = "floor/layering.rs"]
mod layering;
#[path = "floor/peers.rs"]
mod peers;
#[path = "floor/sources.rs"]
mod sources;
