//! The adapter against a real server on the loopback interface.

mod browse;
mod conformance;
mod proxy;
mod reconnect;
mod requests;
mod revised;
mod run;
mod secure;
mod server;
mod takeover;
mod values;
