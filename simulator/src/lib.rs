//! A simulated filling hall: lines that are read by OPC UA, conveyors that are read by Modbus TCP, and a journal of all they did.
//!
//! It is the plant of the demonstration, the truth of the tests, and the load generator of the benchmark. It knows nothing of
//! the gateway. [`Plant::start`] opens the two servers and lets the hall live; [`model`] is the behaviour alone, pure and
//! repeatable; [`Load`] adds tags that change at a high and even rate. Tags, registers and states are listed in the crate's README.

mod driver;
mod filling_hall;
mod journal;
mod load;
mod modbus;
pub mod model;
mod opcua_server;
mod plant;
mod random;

pub use journal::{JournalTarget, Record};
pub use load::{LATE, Load, LoadValue};
pub use modbus::{LOAD_REGISTERS, LOAD_UNIT, MAX_LOAD_TAGS};
pub use opcua_server::{APPLICATION_URI, DEMO_PASSWORD, DEMO_USER, NAMESPACE_URI};
pub use plant::{Options, Plant, PlantError, Security, Totals};
