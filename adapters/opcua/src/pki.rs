//! Keys, certificates and trust.
//!
//! Layout of the folder (`<state_dir>/pki`):
//!
//! | path | what |
//! |---|---|
//! | `own/cert.der` | the gateway's certificate; the server's administrator must trust it |
//! | `private/private.pem` | its private key, readable by the gateway alone |
//! | `own/previous.der`, `private/previous.pem` | those before the last renewal |
//! | `trusted/` | certificates that are trusted, of servers and of authorities |
//! | `issuers/` | authorities that only complete chains, and revocation lists (`.crl`) |
//! | `rejected/` | server certificates that were presented and are not trusted |
//! | `unverified/` | the library's, where it does not look at trust: nothing of it counts |
//!
//! A certificate is trusted when exactly it is in `trusted/`, or through its authorities (`chain`).

use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _};
use std::path::{Path, PathBuf};

use floorgate_adapter_api::Timestamp;
pub use floorgate_adapter_api::{WARN_DAYS, days_left};
use opcua::crypto::X509;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

mod chain;
mod error;
mod own;
mod trust;

pub use error::PkiError;
pub use own::{Own, Renewed, default_application_uri, init, renew};
pub(crate) use own::{own, previous};
pub(crate) use trust::{Acceptance, Accepted, check_server, valid_to};
pub use trust::{Trusted, reject, trust};

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-1 of it, in hexadecimal.
    pub thumbprint: String,
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Begin of its validity.
    pub valid_from: Timestamp,
    /// End of its validity.
    pub valid_to: Timestamp,
}

/// A list of certificates that an authority revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub issuer: String,
    /// How many certificates it names.
    pub revoked: usize,
    /// When there has to be a newer one.
    pub next_update: Option<Timestamp>,
}

/// What is in the folder.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The gateway's certificate, if there is one.
    pub own: Option<Certificate>,
    /// The one before the last renewal, if there was one.
    pub previous: Option<Certificate>,
    /// The application URI in it.
    pub application_uri: Option<String>,
    /// Where the gateway's private key is, or would be.
    pub key: PathBuf,
    /// Trusted certificates, of servers and authorities.
    pub trusted: Vec<Certificate>,
    /// Authorities that only complete chains.
    pub issuers: Vec<Certificate>,
    /// Revocation lists.
    pub lists: Vec<RevocationList>,
    /// Rejected server certificates.
    pub rejected: Vec<Certificate>,
}

/// What is in the folder.
pub fn show(dir: &Path) -> Result<Contents, PkiError> {
    let there = |path: PathBuf| path.exists().then(|| load(path)).transpose();
    let own = there(own::certificate_path(dir))?;
    let mut lists = chain::lists(&dir.join("trusted"))?;
    lists.extend(chain::lists(&dir.join("issuers"))?);
    Ok(Contents {
        application_uri: own
            .as_ref()
            .and_then(|(x509, _)| application_uris(x509).into_iter().next()),
        own: own.map(|(_, certificate)| certificate),
        previous: there(own::previous_certificate_path(dir))?.map(|(_, certificate)| certificate),
        key: own::key_path(dir),
        trusted: list(&dir.join("trusted"))?,
        issuers: list(&dir.join("issuers"))?,
        lists,
        rejected: list(&dir.join("rejected"))?,
    })
}

/// Changes when anything is put into the folder, taken out or written anew, but for what was rejected.
pub(crate) fn fingerprint(dir: &Path) -> u64 {
    let mut files = Vec::new();
    for sub in ["own", "private", "trusted", "issuers"] {
        let entries = fs::read_dir(dir.join(sub)).into_iter().flatten().flatten();
        files.extend(entries.filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some((
                entry.path(),
                meta.len(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ino(),
            ))
        }));
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

fn validity(whose: &'static str, certificate: &Certificate, now: Timestamp) -> Result<(), PkiError> {
    let (from, to) = (certificate.valid_from, certificate.valid_to);
    if from <= now && now <= to {
        return Ok(());
    }
    Err(PkiError::Validity {
        whose,
        thumbprint: certificate.thumbprint.clone(),
        from,
        to,
        now,
    })
}

/// An error about a file.
fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { action, path, source }
}

/// Makes a folder, and those above it that are missing.
fn make_dir(path: &Path, mode: u32) -> Result<(), PkiError> {
    let above = path.ancestors().take_while(|above| !above.exists());
    let missing: Vec<&Path> = above.filter(|above| !above.as_os_str().is_empty()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed("make the folder", path))?;
    missing.into_iter().rev().try_for_each(hand_over)
}

/// What root made belongs to whom its folder belongs to: root may look at a server, trust it or renew, and the gateway's user has to read and
/// change what comes of it.
fn hand_over(made: &Path) -> Result<(), PkiError> {
    const ROOT: u32 = 0;
    let folder = made.parent().filter(|folder| !folder.as_os_str().is_empty());
    let hand = || {
        let owner = fs::metadata(folder.unwrap_or(Path::new(".")))?;
        if fs::symlink_metadata(made)?.uid() == ROOT && owner.uid() != ROOT {
            std::os::unix::fs::lchown(made, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    };
    hand().map_err(failed("change the owner of", made))
}

/// Writes what everybody may read.
fn put(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    fs::write(path, bytes).map_err(failed("write", path))?;
    hand_over(path)
}

fn load(path: PathBuf) -> Result<(X509, Certificate), PkiError> {
    let bytes = fs::read(&path).map_err(failed("read", &path))?;
    let x509 = X509::from_der(&bytes).or_else(|_| X509::from_pem(&bytes));
    let x509 = x509.map_err(|_| PkiError::NoCertificate(path.clone()))?;
    let certificate = describe(path, &x509)?;
    Ok((x509, certificate))
}

/// When the certificate in a file ends, where it is one.
pub(crate) fn ends(path: &Path) -> Option<Timestamp> {
    Some(load(path.to_owned()).ok()?.1.valid_to)
}

/// The files of a folder, which need not be there.
fn files(dir: &Path) -> Result<Vec<PathBuf>, PkiError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(failed("read", dir))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

/// The certificates of a folder. What is none is of no interest here: the folders are the operator's.
fn list(dir: &Path) -> Result<Vec<Certificate>, PkiError> {
    let paths = files(dir)?.into_iter();
    Ok(paths.filter_map(|path| Some(load(path).ok()?.1)).collect())
}

fn nanos(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000))
}

fn describe(path: PathBuf, x509: &X509) -> Result<Certificate, PkiError> {
    let parsed = x509
        .to_der()
        .ok()
        .and_then(|der| x509_cert::Certificate::from_der(&der).ok());
    let (Ok(from), Ok(to), Some(parsed)) = (x509.not_before(), x509.not_after(), parsed) else {
        return Err(PkiError::NoCertificate(path));
    };
    Ok(Certificate {
        path,
        thumbprint: x509.thumbprint().as_hex_string(),
        subject: parsed.tbs_certificate.subject.to_string(),
        issuer: parsed.tbs_certificate.issuer.to_string(),
        is_authority: may_sign(&parsed),
        valid_from: nanos(from.timestamp()),
        valid_to: nanos(to.timestamp()),
    })
}

/// Whether a certificate is an authority's: its basic constraints say so, and its key usage, where it has one (RFC 5280 §4.2.1.3, §4.2.1.9).
fn may_sign(certificate: &x509_cert::Certificate) -> bool {
    let tbs = &certificate.tbs_certificate;
    let is_authority = matches!(tbs.get::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca);
    let signs = match tbs.get::<KeyUsage>() {
        Ok(Some((_, usage))) => usage.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    is_authority && signs
}

fn alternative_names(x509: &X509) -> Vec<GeneralName> {
    let names = || {
        let certificate = x509_cert::Certificate::from_der(&x509.to_der().ok()?).ok()?;
        let (_, SubjectAltName(names)) = certificate.tbs_certificate.get().ok()??;
        Some(names)
    };
    names().unwrap_or_default()
}

/// The URIs among the subject's alternative names, of which one is the application's (OPC 10000-6 §6.2.2). Names of hosts may stand before it.
fn application_uris(x509: &X509) -> Vec<String> {
    let uri = |name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    };
    alternative_names(x509).into_iter().filter_map(uri).collect()
}

#[cfg(test)]
#[path = "pki_tests.rs"]
pub(crate) mod tests;
