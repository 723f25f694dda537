//! An authority, and the certificates that it signed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::folder::Folder;
use crate::installation::{python, repository};

/// An authority of a test's own. Everything is PEM, as the gateway and the broker read it.
#[derive(Debug)]
pub struct Authority {
    folder: Folder,
}

impl Authority {
    /// Makes one, with a key and certificate for each `NAME` or `NAME=HOST,HOST`.
    pub fn new(names: &[&str]) -> Result<Self> {
        let folder = Folder::new("authority")?;
        let output = Command::new(python()?)
            .arg(repository().join("tests/peers/certificates.py"))
            .arg(folder.path())
            .args(names)
            .output()
            .context("cannot start certificates.py")?;
        ensure!(
            output.status.success(),
            "certificates.py failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self { folder })
    }

    /// The authority's own certificate: whoever trusts it trusts the others.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.certificate_of("authority")
    }

    /// The certificate of a name.
    #[must_use]
    pub fn certificate_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pem"))
    }

    /// The certificate that a name had before: it has expired.
    #[must_use]
    pub fn expired_certificate_of(&self, name: &str) -> PathBuf {
        self.certificate_of(&format!("{name}.expired"))
    }

    /// The private key of a name.
    #[must_use]
    pub fn key_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.key.pem"))
    }

    /// The private key of a name under a password, and the password.
    #[must_use]
    pub fn locked_key_of(&self, name: &str) -> (PathBuf, String) {
        let file = self.folder.path().join(format!("{name}.locked.pem"));
        (file, format!("s3cret-Of-{name}"))
    }
}
