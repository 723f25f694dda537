//! Exit codes, by what the caller can do about it.

use std::process::ExitCode;

use crate::engine::EngineError;

/// Something went wrong that nobody foresaw.
pub const UNEXPECTED: u8 = 1;
/// The configuration is wrong; starting again does not help.
pub const CONFIGURATION: u8 = 3;
/// The storage failed.
pub const STORAGE: u8 = 4;

/// The configuration cannot be used; what is wrong was printed.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used")]
pub struct Refused;

/// The code of an error, by the kind of its first known cause.
pub fn code(error: &anyhow::Error) -> ExitCode {
    for cause in error.chain() {
        if let Some(store) = cause.downcast_ref::<floorgate_outbox::Error>() {
            return store.exit_code().into();
        }
        if cause.is::<EngineError>() {
            return STORAGE.into();
        }
        if cause.is::<Refused>() {
            return CONFIGURATION.into();
        }
    }
    UNEXPECTED.into()
}
