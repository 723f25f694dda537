//! What the numbers mean by which an OPC UA server says how it is.

/// Service levels from here on are healthy, and a client is to stay (OPC 10000-4 §6.6.2.4.2).
pub const HEALTHY_SERVICE_LEVEL: u8 = 200;

/// The name of a server's state (OPC 10000-5 §12.6); `None` for a number that has none.
#[must_use]
pub fn server_state_name(state: i64) -> Option<&'static str> {
    const STATES: [&str; 8] = [
        "Running",
        "Failed",
        "NoConfiguration",
        "Suspended",
        "Shutdown",
        "Test",
        "CommunicationFault",
        "Unknown",
    ];
    STATES.get(usize::try_from(state).ok()?).copied()
}
