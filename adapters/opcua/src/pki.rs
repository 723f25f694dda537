//! Keys, certificates and trust.
//!
//! Layout of the folder (`<state_dir>/pki`):
//!
//! | path | what |
//! |---|---|
//! | `own/cert.der` | the gateway's certificate; the server's administrator must trust it |
//! | `private/private.pem` | its private key, readable by the gateway alone |
//! | `trusted/` | server certificates that are trusted |
//! | `rejected/` | server certificates that were presented and are not trusted |
//!
//! Trust is in single certificates, not in authorities: a certificate is trusted when exactly it is in `trusted/`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use floorgate_adapter_api::Timestamp;
use opcua::crypto::{CertificateStore, X509, X509Data};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Length of the gateway's RSA key in bits: the least of every policy, and what the oldest servers can do.
const KEY_BITS: u32 = 2048;
/// How long the gateway's certificate is valid. Every server must be told of a new one, so it lives long.
const VALID_DAYS: u32 = 5 * 365;
/// Rejected certificates that are kept, so that nobody can fill the disk by presenting new ones.
const MOST_REJECTED: usize = 50;
/// Days before the end of a certificate from which on it is warned about.
pub const WARN_DAYS: i64 = 30;

/// Label of a private key in PKCS #8 (RFC 7468 §10).
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// One process has one gateway key; two sources that start at once must not make two.
static MAKING: Mutex<()> = Mutex::new(());

/// What went wrong with keys, certificates or trust.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it cannot.
        source: io::Error,
    },
    /// There is a key or a certificate already.
    #[error("{} exists already; remove it first if every server shall be told of a new certificate", .0.display())]
    Exists(PathBuf),
    /// A file is no certificate.
    #[error("{} is no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The server's certificate cannot be read.
    #[error("the server's certificate cannot be read")]
    Unreadable,
    /// The key could not be made.
    #[error("cannot make a key: {0}")]
    Making(String),
    /// No certificate has this thumbprint.
    #[error("no rejected certificate has the thumbprint `{0}`; `floorgate pki show` lists them")]
    Unknown(String),
    /// The server's certificate is not trusted.
    #[error(
        "the server's certificate {thumbprint} ({subject}) is not trusted: compare the thumbprint with the one that the server shows, then run `floorgate pki trust {thumbprint}`"
    )]
    Untrusted {
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
        /// Its subject.
        subject: String,
    },
    /// A certificate is outside of its validity.
    #[error("the {whose} certificate {thumbprint} is valid from {from} to {to}, and now is {now}")]
    Validity {
        /// Whose certificate: `server's` or `gateway's`.
        whose: &'static str,
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
        /// Begin of the validity.
        from: Timestamp,
        /// End of the validity.
        to: Timestamp,
        /// The gateway's clock.
        now: Timestamp,
    },
    /// The certificate is for another application.
    #[error(
        "the server's certificate {thumbprint} ({subject}) is for {uris}, and not for the application `{uri}` that the server says it is: \
         have the server make its certificate anew"
    )]
    Application {
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
        /// Its subject.
        subject: String,
        /// The application URI that the server gave.
        uri: String,
        /// Those in the certificate.
        uris: String,
    },
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-1 of it, in hexadecimal.
    pub thumbprint: String,
    /// Whose it is.
    pub subject: String,
    /// Begin of its validity.
    pub valid_from: Timestamp,
    /// End of its validity.
    pub valid_to: Timestamp,
}

/// What is in the folder.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The gateway's certificate, if there is one.
    pub own: Option<Certificate>,
    /// The application URI in it.
    pub application_uri: Option<String>,
    /// Where the gateway's private key is, or would be.
    pub key: PathBuf,
    /// Trusted server certificates.
    pub trusted: Vec<Certificate>,
    /// Rejected server certificates.
    pub rejected: Vec<Certificate>,
}

/// The gateway's own key and certificate.
#[derive(Clone, Debug)]
pub struct Own {
    /// Where the certificate is.
    pub certificate: PathBuf,
    /// Where the private key is.
    pub key: PathBuf,
    /// The application URI in the certificate, which the gateway must give as its own.
    pub application_uri: String,
    /// End of the certificate's validity.
    pub valid_to: Timestamp,
}

fn own_certificate(dir: &Path) -> PathBuf {
    dir.join("own/cert.der")
}

fn own_key(dir: &Path) -> PathBuf {
    dir.join("private/private.pem")
}

/// The application URI that a gateway has unless it is given another: `urn:HOST:floorgate`.
#[must_use]
pub fn default_application_uri() -> String {
    let host = X509Data::computer_hostnames()
        .into_iter()
        .next()
        .unwrap_or_else(|| "localhost".to_owned());
    format!("urn:{host}:floorgate")
}

/// Makes the gateway's key and a self-signed certificate for it.
///
/// # Errors
/// [`PkiError::Exists`] when there is a key or certificate already.
pub fn init(dir: &Path, application_uri: &str, hostnames: &[String]) -> Result<Certificate, PkiError> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    for path in [own_certificate(dir), own_key(dir)] {
        if path.exists() {
            return Err(PkiError::Exists(path));
        }
    }
    make(dir, application_uri, hostnames)
}

fn make(dir: &Path, application_uri: &str, hostnames: &[String]) -> Result<Certificate, PkiError> {
    for sub in ["trusted", "rejected", "own"] {
        make_dir(&dir.join(sub), 0o755)?;
    }
    make_dir(&dir.join("private"), 0o700)?;
    let names = if hostnames.is_empty() {
        None
    } else {
        Some(hostnames.to_vec())
    };
    let data = X509Data {
        key_size: KEY_BITS,
        common_name: "floorgate".to_owned(),
        organization: "floorgate".to_owned(),
        organizational_unit: String::new(),
        country: String::new(),
        state: String::new(),
        alt_host_names: X509Data::alt_host_names(application_uri, names, false, hostnames.is_empty(), false),
        certificate_duration_days: VALID_DAYS,
    };
    let (certificate, key) = X509::cert_and_pkey(&data).map_err(PkiError::Making)?;
    let der = key
        .to_der()
        .map_err(|error| PkiError::Making(error.to_string()))?;
    // The type of the line ending is not public in the library.
    #[allow(clippy::default_trait_access)]
    let pem = der
        .to_pem(PRIVATE_KEY, std::default::Default::default())
        .map_err(|error| PkiError::Making(error.to_string()))?;
    // The key goes first: a certificate without its key is of no use to anybody.
    write_new(&own_key(dir), pem.as_bytes(), 0o600)?;
    let certificate_der = certificate
        .to_der()
        .map_err(|error| PkiError::Making(error.to_string()))?;
    write_new(&own_certificate(dir), &certificate_der, 0o644)?;
    describe(own_certificate(dir), &certificate)
}

/// The gateway's key and certificate; made where there are none. Where they are `needed`, the certificate must be valid now.
pub(crate) fn own(dir: &Path, needed: bool) -> Result<Own, PkiError> {
    let dir = &std::path::absolute(dir).map_err(|source| PkiError::File {
        action: "find",
        path: dir.to_owned(),
        source,
    })?;
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if !own_certificate(dir).exists() && !own_key(dir).exists() {
        let made = make(dir, &default_application_uri(), &[])?;
        tracing::info!(thumbprint = %made.thumbprint, path = %made.path.display(), "made a key and a certificate for the gateway; servers with security must be told to trust it");
    }
    for sub in ["trusted", "rejected"] {
        make_dir(&dir.join(sub), 0o755)?;
    }
    let (x509, certificate) = load(own_certificate(dir))?;
    if needed {
        validity("gateway's", &certificate, Timestamp::now())?;
    }
    let application_uri = application_uris(&x509).into_iter().next();
    let application_uri = application_uri.unwrap_or_else(default_application_uri);
    Ok(Own {
        certificate: certificate.path,
        key: own_key(dir),
        application_uri,
        valid_to: certificate.valid_to,
    })
}

/// What is in the folder.
pub fn show(dir: &Path) -> Result<Contents, PkiError> {
    let own = own_certificate(dir);
    let own = if own.exists() { Some(load(own)?) } else { None };
    Ok(Contents {
        application_uri: own
            .as_ref()
            .and_then(|(x509, _)| application_uris(x509).into_iter().next()),
        own: own.map(|(_, certificate)| certificate),
        key: own_key(dir),
        trusted: list(&dir.join("trusted"))?,
        rejected: list(&dir.join("rejected"))?,
    })
}

/// Trusts a server certificate: a rejected one by its thumbprint, or a file (`.der` or `.pem`).
pub fn trust(dir: &Path, thumbprint_or_path: &str) -> Result<Certificate, PkiError> {
    let wanted: String = thumbprint_or_path
        .chars()
        .filter(|c| !matches!(c, ':' | ' '))
        .collect();
    let rejected = list(&dir.join("rejected"))?;
    let known = rejected
        .iter()
        .find(|certificate| certificate.thumbprint.eq_ignore_ascii_case(&wanted));
    let source = match known {
        Some(certificate) => certificate.path.clone(),
        None if Path::new(thumbprint_or_path).is_file() => PathBuf::from(thumbprint_or_path),
        None => {
            let trusted = list(&dir.join("trusted"))?;
            let already = trusted
                .into_iter()
                .find(|c| c.thumbprint.eq_ignore_ascii_case(&wanted));
            return already.ok_or_else(|| PkiError::Unknown(thumbprint_or_path.to_owned()));
        }
    };
    let (x509, certificate) = load(source)?;
    let file = CertificateStore::cert_file_name(&x509);
    make_dir(&dir.join("trusted"), 0o755)?;
    let path = dir.join("trusted").join(&file);
    let der = x509
        .to_der()
        .map_err(|_| PkiError::NoCertificate(certificate.path.clone()))?;
    fs::write(&path, der).map_err(|source| PkiError::File {
        action: "write",
        path: path.clone(),
        source,
    })?;
    for rejected in rejected
        .into_iter()
        .filter(|c| c.thumbprint == certificate.thumbprint)
    {
        fs::remove_file(&rejected.path).map_err(|source| PkiError::File {
            action: "remove",
            path: rejected.path,
            source,
        })?;
    }
    Ok(Certificate { path, ..certificate })
}

/// Whether the certificate that a server presents is to be accepted. One that is not trusted is kept among the rejected; that with the
/// thumbprint `once` is accepted and not kept.
pub(crate) fn check_server(
    dir: &Path,
    der: &[u8],
    application: &str,
    once: Option<&str>,
) -> Result<Certificate, PkiError> {
    let x509 = X509::from_der(der).map_err(|_| PkiError::Unreadable)?;
    let file = CertificateStore::cert_file_name(&x509);
    let (trusted, rejected) = (dir.join("trusted").join(&file), dir.join("rejected").join(&file));
    let certificate = describe(trusted.clone(), &x509)?;
    // The whole certificate is compared: its thumbprint is SHA-1, which can be made to collide.
    if fs::read(&trusted).is_ok_and(|known| known == der) {
        if rejected.exists() {
            fs::remove_file(&rejected).map_err(|source| PkiError::File {
                action: "remove",
                path: rejected,
                source,
            })?;
        }
    } else if !once.is_some_and(|once| is_thumbprint(once, &certificate.thumbprint)) {
        let count = fs::read_dir(dir.join("rejected")).map_or(0, Iterator::count);
        if !rejected.exists() && count < MOST_REJECTED {
            fs::write(&rejected, der).map_err(|source| PkiError::File {
                action: "write",
                path: rejected,
                source,
            })?;
        }
        let Certificate {
            thumbprint, subject, ..
        } = certificate;
        return Err(PkiError::Untrusted { thumbprint, subject });
    }
    validity("server's", &certificate, Timestamp::now())?;
    let uris = application_uris(&x509);
    if !application.is_empty() && !uris.iter().any(|uri| uri == application) {
        let Certificate {
            thumbprint, subject, ..
        } = certificate;
        return Err(PkiError::Application {
            thumbprint,
            subject,
            uri: application.to_owned(),
            uris: match uris.as_slice() {
                [] => "no application".to_owned(),
                uris => uris.join(", "),
            },
        });
    }
    Ok(certificate)
}

/// Whether what somebody wrote is this thumbprint; other tools write it in pairs.
fn is_thumbprint(written: &str, thumbprint: &str) -> bool {
    let digits = written.chars().filter(|c| !matches!(c, ':' | ' '));
    digits.collect::<String>().eq_ignore_ascii_case(thumbprint)
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

fn make_dir(path: &Path, mode: u32) -> Result<(), PkiError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| PkiError::File {
            action: "make the folder",
            path: path.to_owned(),
            source,
        })
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| PkiError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn load(path: PathBuf) -> Result<(X509, Certificate), PkiError> {
    let bytes = fs::read(&path).map_err(|source| PkiError::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let x509 = X509::from_der(&bytes).or_else(|_| X509::from_pem(&bytes));
    let x509 = x509.map_err(|_| PkiError::NoCertificate(path.clone()))?;
    let certificate = describe(path, &x509)?;
    Ok((x509, certificate))
}

fn list(dir: &Path) -> Result<Vec<Certificate>, PkiError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(|source| PkiError::File {
        action: "read",
        path: dir.to_owned(),
        source,
    })?;
    // What is no certificate is of no interest here: the folders are the operator's.
    let mut found: Vec<Certificate> = entries
        .filter_map(|entry| load(entry.ok()?.path()).ok())
        .map(|(_, certificate)| certificate)
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn describe(path: PathBuf, x509: &X509) -> Result<Certificate, PkiError> {
    let nanos = |seconds: i64| Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000));
    let (from, to) = (x509.not_before(), x509.not_after());
    let (Ok(from), Ok(to)) = (from, to) else {
        return Err(PkiError::NoCertificate(path));
    };
    Ok(Certificate {
        path,
        thumbprint: x509.thumbprint().as_hex_string(),
        subject: x509.subject_name(),
        valid_from: nanos(from.timestamp()),
        valid_to: nanos(to.timestamp()),
    })
}

/// The URIs among the subject's alternative names, of which one is the application's (OPC 10000-6 §6.2.2). Names of hosts may stand before it.
fn application_uris(x509: &X509) -> Vec<String> {
    let names = || {
        let certificate = x509_cert::Certificate::from_der(&x509.to_der().ok()?).ok()?;
        let (_, SubjectAltName(names)) = certificate.tbs_certificate.get().ok()??;
        Some(names)
    };
    let uri = |name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    };
    names().unwrap_or_default().into_iter().filter_map(uri).collect()
}

#[cfg(test)]
#[path = "pki_tests.rs"]
mod tests;
