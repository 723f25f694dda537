//! The adapter against a real server on the loopback interface.

mod authority;
mod browse;
mod certificates;
mod conformance;
mod hostile;
mod poll;
mod proxy;
mod reconnect;
mod redundant;
mod requests;
mod revised;
mod rogue;
mod run;
mod secure;
mod server;
mod tag_settings;
mod takeover;
mod unwell;
mod values;
mod warnings;
