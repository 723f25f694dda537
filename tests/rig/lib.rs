//! What the end-to-end tests stand on: real peers, started for a test and gone with it.
//!
//! | peer | what it is |
//! |---|---|
//! | [`Kafka`] | Apache Kafka nodes (`KRaft`), mostly one, and [`Reader`], a real consumer; [`Proxy`] loses a broker's answers |
//! | [`OpcUaPeer`] | an asyncua server whose variables a test sets |
//! | [`Rogue`] | a server that says what none should, in front of an [`OpcUaPeer`] |
//! | [`NodePeer`] | a node-opcua server with alarms, job orders, structures and a history |
//! | [`MiloPeer`] | an Eclipse Milo server, encrypted, with variables of all types and structures of its own |
//! | [`ModbusPeer`] | a pymodbus server whose registers a test sets |
//! | [`LibmodbusPeer`] | the same with libmodbus, also on a serial line |
//! | [`Authority`] | certificates, made with Python's `cryptography`, which asyncua brings along |
//! | [`Gateway`] | the built `floorgate`, with a configuration of the test's own |
//!
//! Everything listens on 127.0.0.1 only and writes under `target/test/run` only. A process ends when its handle
//! is dropped, and also when the test process dies in any way: each one watches a pipe that the kernel closes.
//! What a failed test leaves in its folder stays there until the next `make test`.
//!
//! `make setup` installs what the peers need; without it each of them says so.

mod authority;
mod delivery;
mod disk;
mod faults;
mod folder;
mod gateway;
mod http;
mod installation;
mod kafka;
mod libmodbus;
mod listeners;
mod machine;
mod milo;
mod modbus;
mod node_opcua;
mod opcua;
mod peer;
mod ports;
mod process;
mod proxy;
mod reader;
mod rogue;
mod server;
mod wait;
mod wire;

pub use authority::Authority;
pub use delivery::Delivery;
pub use disk::Disk;
pub use faults::{Call, Faults, Moment, Unreadable};
pub use folder::Folder;
pub use gateway::{Check, Gateway};
pub use http::{Response, get};
pub use installation::{binary, example, repository, target};
pub use kafka::Kafka;
pub use libmodbus::LibmodbusPeer;
pub use listeners::Listener;
pub use machine::Machine;
pub use milo::MiloPeer;
pub use modbus::{Framing, ModbusPeer, Table};
pub use node_opcua::NodePeer;
pub use opcua::{OpcUaOptions, OpcUaPeer};
pub use peer::{example_script, peer_command};
pub use ports::free_port;
pub use process::{Process, Signal};
pub use proxy::Proxy;
pub use reader::{Reader, Record};
pub use rogue::Rogue;
pub use server::{Counts, OpcUaServer};
pub use wait::{Patience, until};
pub use wire::Wire;
