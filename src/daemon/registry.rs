//! The adapters. This is the only place that names them.

use floorgate_adapter_api::Adapter;

/// A look at a device of the adapter that offers one.
pub use floorgate_adapter_modbus::probe;
/// A look at a server of the adapter that offers one.
pub use floorgate_adapter_opcua::browse;
/// Keys and certificates of the adapter that has them.
pub use floorgate_adapter_opcua::pki;

/// Every adapter of this build.
pub const ADAPTERS: &[&dyn Adapter] = &[&floorgate_adapter_opcua::OpcUa, &floorgate_adapter_modbus::Modbus];

/// The adapter of that name.
pub fn adapter(name: &str) -> Option<&'static dyn Adapter> {
    ADAPTERS.iter().copied().find(|adapter| adapter.name() == name)
}
