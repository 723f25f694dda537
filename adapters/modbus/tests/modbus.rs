//! The Modbus adapter against real servers, and against servers that misbehave.

#[path = "modbus/configuration.rs"]
mod configuration;
#[path = "modbus/device.rs"]
mod device;
#[path = "modbus/faults.rs"]
mod faults;
#[path = "modbus/guards.rs"]
mod guards;
#[path = "modbus/isolation.rs"]
mod isolation;
#[path = "modbus/left_out.rs"]
mod left_out;
#[path = "modbus/mute.rs"]
mod mute;
#[path = "modbus/probe.rs"]
mod probe;
#[path = "modbus/promises.rs"]
mod promises;
#[path = "modbus/requests.rs"]
mod requests;
#[path = "modbus/rogue.rs"]
mod rogue;
#[path = "modbus/stations.rs"]
mod stations;
#[path = "modbus/twice.rs"]
mod twice;
#[path = "modbus/values.rs"]
mod values;
#[path = "modbus/ways.rs"]
mod ways;
#[path = "modbus/wires.rs"]
mod wires;
