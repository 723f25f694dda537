//! Ports for peers to listen on.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// A TCP port of 127.0.0.1 that nothing listens on.
///
/// It lies below the range from which Linux takes the ports of outgoing connections (32768 and up): a client that
/// tries to reach a peer which is down could otherwise be given the very port, and connect to itself.
pub fn free_port() -> Result<u16> {
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 17_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Two test processes at once start far apart.
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let Ok(port) = u16::try_from(FIRST + offset) else {
            continue;
        };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} on")
}
