//! Exit codes, by what the caller can do about it. Those of the storage (4, 5, and 3 for what is not a store of this format) are told by its errors.

use std::io::Write;

use floorgate_adapter_api::NoCredentials;

use crate::control::Fault;
use crate::engine::EngineError;
use crate::operator::Damaged;

/// What was asked for is done.
pub const SUCCESS: u8 = 0;
/// Something went wrong that nobody foresaw, or a test failed.
pub const UNEXPECTED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The configuration is wrong; starting again does not help.
pub const CONFIGURATION: u8 = 3;

/// The storage failed, or is damaged.
const STORAGE: u8 = 4;

/// Another gateway of this name publishes; which of them is right, a human has to say.
const FENCED: u8 = 6;

/// The configuration cannot be used; what is wrong was printed.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used")]
pub struct Refused;

/// What was looked at is not as it is to be: a test failed, or two mappings differ where that was asked. What was found was printed.
#[derive(Debug, thiserror::Error)]
#[error("not as it is to be")]
pub struct Failed;

/// Whether what is wrong was told where it stands, so that there is nothing to add.
pub fn is_told(error: &anyhow::Error) -> bool {
    error.is::<Refused>() || error.is::<Failed>()
}

/// The code of an error, by the kind of its first known cause.
pub fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(store) = cause.downcast_ref::<floorgate_outbox::Error>() {
            return store.exit_code();
        }
        match cause.downcast_ref::<EngineError>() {
            Some(EngineError::Store(store)) => return store.exit_code(),
            Some(EngineError::Publisher) => return UNEXPECTED,
            Some(EngineError::Fenced) => return FENCED,
            None => {}
        }
        if cause.is::<Damaged>() {
            return STORAGE;
        }
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return fault.code;
        }
        if cause.is::<Refused>() || cause.is::<NoCredentials>() {
            return CONFIGURATION;
        }
    }
    UNEXPECTED
}

/// Ends the process with this code, as `_exit` does: no cleanup of C libraries runs.
///
/// A stop does not wait for a broker that is silent or has not let the gateway in yet, so a Kafka client's own threads may be in the middle
/// of a TLS handshake here. The cleanup that OpenSSL registers for the end of a process frees what they use, and such a stop, clean in all
/// else, ended with SIGSEGV about once in two hundred times.
pub fn leave(code: u8) -> ! {
    // A closed pipe is no reason for another code.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    signal_hook::low_level::exit(code.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_the_code_that_the_readme_gives_it() {
        let path = std::path::PathBuf::from("outbox.db");
        let failed = || floorgate_outbox::Error::Failed { path: path.clone() };
        let locked = floorgate_outbox::Error::Locked { path: path.clone() };
        let older = floorgate_outbox::Error::OlderFormat {
            path: path.clone(),
            found: 1,
            known: 4,
        };
        let missing = NoCredentials {
            name: "kafka".to_owned(),
        };
        for (error, expected) in [
            (anyhow::anyhow!("nobody foresaw this"), 1),
            (EngineError::Publisher.into(), 1),
            (EngineError::Fenced.into(), 6),
            (Refused.into(), 3),
            (Failed.into(), 1),
            (
                anyhow::Error::from(missing).context("kafka.security.password_file"),
                3,
            ),
            (EngineError::Store(failed()).into(), 4),
            (
                anyhow::Error::from(failed()).context("the store cannot be opened"),
                4,
            ),
            (locked.into(), 5),
            (older.into(), 3),
        ] {
            assert_eq!(code(&error), expected, "{error:#}");
        }
    }
}
