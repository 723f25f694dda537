//! Text on standard output.

use std::io::{self, Write as _};

/// Whether anybody reads on: a reader that has seen enough closes the pipe, and that is no error.
pub fn goes_on(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Prints text.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    goes_on(out.write_all(text.as_bytes()).and_then(|()| out.flush())).map(drop)
}
