//! The gateway's own key and certificate: made at the first start, and renewed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use floorgate_adapter_api::Timestamp;
use opcua::crypto::{CertificateStore, PrivateKey, X509, X509Data};
use x509_cert::ext::pkix::name::GeneralName;

use super::{
    Certificate, PkiError, alternative_names, application_uris, describe, failed, hand_over, load, make_dir,
    validity,
};

/// Length of the gateway's RSA key in bits: the least of every policy, and what the oldest servers can do.
const KEY_BITS: u32 = 2048;
/// How long the gateway's certificate is valid. Every server must be told of a new one, so it lives long.
const VALID_DAYS: u32 = 5 * 365;
/// Label of a private key in PKCS #8 (RFC 7468 §10).
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// One process has one gateway key; two sources that start at once must not make two.
static MAKING: Mutex<()> = Mutex::new(());

/// The gateway's own key and certificate.
#[derive(Clone, Debug)]
pub struct Own {
    /// Where the certificate is.
    pub certificate: PathBuf,
    /// Where the private key is.
    pub key: PathBuf,
    /// The application URI in the certificate, which the gateway must give as its own.
    pub application_uri: String,
    /// SHA-1 of the certificate, in hexadecimal.
    pub thumbprint: String,
    /// End of the certificate's validity.
    pub valid_to: Timestamp,
}

/// A new certificate, and the one that it replaces.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// The new one.
    pub certificate: Certificate,
    /// The one before, which is kept.
    pub previous: Certificate,
}

pub(super) fn certificate_path(dir: &Path) -> PathBuf {
    dir.join("own/cert.der")
}

pub(super) fn previous_certificate_path(dir: &Path) -> PathBuf {
    dir.join("own/previous.der")
}

pub(super) fn key_path(dir: &Path) -> PathBuf {
    dir.join("private/private.pem")
}

fn previous_key_path(dir: &Path) -> PathBuf {
    dir.join("private/previous.pem")
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
    for path in [certificate_path(dir), key_path(dir)] {
        if path.exists() {
            return Err(PkiError::Exists(path));
        }
    }
    make(dir, application_uri, hostnames)
}

fn make(dir: &Path, application_uri: &str, hostnames: &[String]) -> Result<Certificate, PkiError> {
    for sub in ["trusted", "issuers", "rejected", "own"] {
        make_dir(&dir.join(sub), 0o755)?;
    }
    make_dir(&dir.join("private"), 0o700)?;
    let key = PrivateKey::new(KEY_BITS).map_err(|error| PkiError::Making(error.to_string()))?;
    let x509 = X509::from_pkey(&key, &data(application_uri, hostnames)).map_err(PkiError::Making)?;
    // The key goes first: a certificate without its key is of no use to anybody.
    write_new(&key_path(dir), pem(&key)?.as_bytes(), 0o600)?;
    write_new(&certificate_path(dir), &der(&x509)?, 0o644)?;
    describe(certificate_path(dir), &x509)
}

fn data(application_uri: &str, hostnames: &[String]) -> X509Data {
    let names = (!hostnames.is_empty()).then(|| hostnames.to_vec());
    X509Data {
        key_size: KEY_BITS,
        common_name: "floorgate".to_owned(),
        organization: "floorgate".to_owned(),
        organizational_unit: String::new(),
        country: String::new(),
        state: String::new(),
        alt_host_names: X509Data::alt_host_names(application_uri, names, false, hostnames.is_empty(), false),
        certificate_duration_days: VALID_DAYS,
    }
}

fn der(x509: &X509) -> Result<Vec<u8>, PkiError> {
    x509.to_der().map_err(|error| PkiError::Making(error.to_string()))
}

fn pem(key: &PrivateKey) -> Result<impl std::ops::Deref<Target = String>, PkiError> {
    let der = key
        .to_der()
        .map_err(|error| PkiError::Making(error.to_string()))?;
    // The type of the line ending is not public in the library.
    #[allow(clippy::default_trait_access)]
    der.to_pem(PRIVATE_KEY, std::default::Default::default())
        .map_err(|error| PkiError::Making(error.to_string()))
}

/// Makes a new certificate for the same application and hosts, with the same key or a new one. The one before is kept beside it.
pub fn renew(dir: &Path, new_key: bool) -> Result<Renewed, PkiError> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    for path in [certificate_path(dir), key_path(dir)] {
        if !path.exists() {
            return Err(PkiError::Nothing(path));
        }
    }
    let (old, _) = load(certificate_path(dir))?;
    let key = if new_key {
        PrivateKey::new(KEY_BITS).map_err(|error| PkiError::Making(error.to_string()))?
    } else {
        CertificateStore::read_pkey(&key_path(dir)).map_err(PkiError::Making)?
    };
    let application_uri = application_uris(&old).into_iter().next();
    let application_uri = application_uri.unwrap_or_else(default_application_uri);
    let new = X509::from_pkey(&key, &data(&application_uri, &hosts(&old))).map_err(PkiError::Making)?;
    let before = fs::read(key_path(dir)).map_err(failed("read", &key_path(dir)))?;
    // The copies of what is there go first, so that nothing is lost wherever this ends.
    replace(&previous_key_path(dir), &before, 0o600)?;
    replace(&previous_certificate_path(dir), &der(&old)?, 0o644)?;
    if new_key {
        replace(&key_path(dir), pem(&key)?.as_bytes(), 0o600)?;
    }
    replace(&certificate_path(dir), &der(&new)?, 0o644)?;
    Ok(Renewed {
        certificate: describe(certificate_path(dir), &new)?,
        previous: describe(previous_certificate_path(dir), &old)?,
    })
}

/// The hosts that a certificate names.
fn hosts(x509: &X509) -> Vec<String> {
    let host = |name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(address) => match *address.as_bytes() {
            [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
            ref long => <[u8; 16]>::try_from(long)
                .ok()
                .map(|long| Ipv6Addr::from(long).to_string()),
        },
        _ => None,
    };
    alternative_names(x509).into_iter().filter_map(host).collect()
}

/// The gateway's key and certificate; made where there are none. Where they are `needed`, the certificate must be valid now.
pub(crate) fn own(dir: &Path, needed: bool) -> Result<Own, PkiError> {
    let dir = &std::path::absolute(dir).map_err(failed("find", dir))?;
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if !certificate_path(dir).exists() && !key_path(dir).exists() {
        let made = make(dir, &default_application_uri(), &[])?;
        tracing::info!(thumbprint = %made.thumbprint, path = %made.path.display(), "made a key and a certificate for the gateway; servers with security must be told to trust it");
    }
    for sub in [
        "trusted",
        "issuers",
        "rejected",
        "unverified/trusted",
        "unverified/rejected",
    ] {
        make_dir(&dir.join(sub), 0o755)?;
    }
    read(certificate_path(dir), key_path(dir), needed)
}

/// The key and certificate before the last renewal, as long as they are valid.
pub(crate) fn previous(dir: &Path) -> Option<Own> {
    let dir = &std::path::absolute(dir).ok()?;
    let before = read(previous_certificate_path(dir), previous_key_path(dir), true).ok()?;
    let (_, present) = load(certificate_path(dir)).ok()?;
    (before.key.exists() && before.thumbprint != present.thumbprint).then_some(before)
}

fn read(certificate: PathBuf, key: PathBuf, needed: bool) -> Result<Own, PkiError> {
    let (x509, certificate) = load(certificate)?;
    if needed {
        validity("gateway's", &certificate, Timestamp::now())?;
    }
    let application_uri = application_uris(&x509).into_iter().next();
    Ok(Own {
        application_uri: application_uri.unwrap_or_else(default_application_uri),
        key,
        thumbprint: certificate.thumbprint,
        valid_to: certificate.valid_to,
        certificate: certificate.path,
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
    write().map_err(failed("write", path))?;
    hand_over(path)
}

/// Writes a file in place of the one that may be there, at once and as a whole.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    write_new(&beside, bytes, mode)?;
    let put = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::rename(&beside, path)?;
        fs::File::open(folder)?.sync_all()
    };
    put().map_err(failed("write", path))
}
