//! Whom the gateway trusts: what the operator says, and what a server presents.

use std::fs;
use std::path::{Path, PathBuf};

use floorgate_adapter_api::Timestamp;
use opcua::crypto::{CertificateStore, X509};

use super::chain::{self, Fault};
use super::{
    Certificate, PkiError, RevocationList, application_uris, describe, failed, list, load, make_dir, put,
    validity,
};

/// Rejected certificates that are kept, so that nobody can fill the disk by presenting new ones.
const MOST_REJECTED: usize = 50;

/// What was trusted.
#[derive(Clone, Debug)]
pub enum Trusted {
    /// A certificate, of a server or an authority.
    Certificate(Certificate),
    /// A revocation list.
    List(RevocationList),
}

/// What an operator allows beyond what is trusted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acceptance<'a> {
    /// Thumbprint of a certificate that is accepted and not kept.
    pub once: Option<&'a str>,
    /// Whether it may be unknown if a certificate was revoked.
    pub unknown_revocation: bool,
}

/// A server's certificate that is accepted.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    /// It.
    pub certificate: Certificate,
    /// Whether exactly it is in `trusted/`.
    pub by_itself: bool,
}

/// Trusts a rejected certificate by its thumbprint, or what is in a file (`.der` or `.pem`): a server, an authority, or a revocation list.
/// With `issuer` the authority in the file is only to complete chains.
pub fn trust(dir: &Path, thumbprint_or_path: &str, issuer: bool) -> Result<Trusted, PkiError> {
    let rejected = list(&dir.join("rejected"))?;
    let source = match find(&rejected, thumbprint_or_path)? {
        Some(certificate) => certificate.path.clone(),
        None if Path::new(thumbprint_or_path).is_file() => PathBuf::from(thumbprint_or_path),
        None => {
            let trusted = list(&dir.join("trusted"))?;
            let already = find(&trusted, thumbprint_or_path)?.cloned();
            return already
                .map(Trusted::Certificate)
                .ok_or_else(|| PkiError::Unknown(thumbprint_or_path.to_owned()));
        }
    };
    if let Some((revocations, der)) = chain::read_list(&source)? {
        return keep_list(dir, revocations, &der).map(Trusted::List);
    }
    let (x509, certificate) = load(source).map_err(|error| match error {
        PkiError::NoCertificate(path) => PkiError::Neither(path),
        other => other,
    })?;
    if issuer && !certificate.is_authority {
        return Err(PkiError::NoAuthority(certificate.path));
    }
    let folder = dir.join(if issuer { "issuers" } else { "trusted" });
    let path = write(&folder, &x509, &certificate)?;
    for rejected in rejected
        .into_iter()
        .filter(|c| c.thumbprint == certificate.thumbprint)
    {
        fs::remove_file(&rejected.path).map_err(failed("remove", &rejected.path))?;
    }
    Ok(Trusted::Certificate(Certificate { path, ..certificate }))
}

/// An authority has one list: a newer one takes the place of the one before.
fn keep_list(dir: &Path, list: RevocationList, der: &[u8]) -> Result<RevocationList, PkiError> {
    let folder = dir.join("issuers");
    make_dir(&folder, 0o755)?;
    let known = chain::lists(&folder)?
        .into_iter()
        .find(|known| known.issuer == list.issuer);
    let name: String = list
        .issuer
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || " =,.-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(100)
        .collect();
    let path = known.map_or_else(|| folder.join(format!("{name}.crl")), |known| known.path);
    put(&path, der)?;
    Ok(RevocationList { path, ..list })
}

/// Trusts a certificate no more: it is moved to those that were rejected.
pub fn reject(dir: &Path, thumbprint: &str) -> Result<Certificate, PkiError> {
    let mut known = list(&dir.join("trusted"))?;
    known.extend(list(&dir.join("issuers"))?);
    let found = find(&known, thumbprint)?.ok_or_else(|| PkiError::NotTrusted(thumbprint.to_owned()))?;
    let (x509, certificate) = load(found.path.clone())?;
    let path = write(&dir.join("rejected"), &x509, &certificate)?;
    for same in known.iter().filter(|c| c.thumbprint == certificate.thumbprint) {
        fs::remove_file(&same.path).map_err(failed("remove", &same.path))?;
    }
    Ok(Certificate { path, ..certificate })
}

fn write(folder: &Path, x509: &X509, certificate: &Certificate) -> Result<PathBuf, PkiError> {
    make_dir(folder, 0o755)?;
    let path = folder.join(CertificateStore::cert_file_name(x509));
    let der = x509
        .to_der()
        .map_err(|_| PkiError::NoCertificate(certificate.path.clone()))?;
    put(&path, &der)?;
    Ok(path)
}

/// The certificate with this thumbprint, of which the beginning is enough.
fn find<'a>(certificates: &'a [Certificate], written: &str) -> Result<Option<&'a Certificate>, PkiError> {
    const LEAST: usize = 4;
    let digits = digits(written);
    if digits.len() < LEAST || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut fits = certificates.iter().filter(|c| c.thumbprint.starts_with(&digits));
    let first = fits.next();
    if fits.any(|other| Some(&other.thumbprint) != first.map(|first| &first.thumbprint)) {
        return Err(PkiError::Ambiguous(written.to_owned()));
    }
    Ok(first)
}

/// A thumbprint as it is compared; other tools write it in pairs, and in capitals.
fn digits(written: &str) -> String {
    let digits = written.chars().filter(|c| !matches!(c, ':' | ' '));
    digits.collect::<String>().to_ascii_lowercase()
}

/// Whether the certificate that a server presents is to be accepted. One that is not trusted is kept among the rejected.
pub(crate) fn check_server(
    dir: &Path,
    presented: &[u8],
    application: &str,
    acceptance: Acceptance<'_>,
) -> Result<Accepted, PkiError> {
    let certificates = chain::split(presented).ok_or(PkiError::Unreadable)?;
    let (der, along) = certificates.split_first().ok_or(PkiError::Unreadable)?;
    let x509 = X509::from_der(der).map_err(|_| PkiError::Unreadable)?;
    let file = CertificateStore::cert_file_name(&x509);
    let (trusted, rejected) = (dir.join("trusted").join(&file), dir.join("rejected").join(&file));
    let certificate = describe(trusted.clone(), &x509)?;
    let now = Timestamp::now();
    // The whole certificate is compared: its thumbprint is SHA-1, which can be made to collide.
    let by_itself = fs::read(&trusted).is_ok_and(|known| known == *der);
    let signed = chain::verify(dir, der, along, by_itself, acceptance.unknown_revocation, now);
    let once = acceptance
        .once
        .is_some_and(|once| digits(once) == certificate.thumbprint);
    let refused = match signed {
        Ok(()) => None,
        Err(Fault::Revoked) => Some(Fault::Revoked),
        // Somebody vouches for this very certificate.
        Err(_) if by_itself || once => None,
        Err(fault) => Some(fault),
    };
    if let Some(fault) = refused {
        keep_rejected(&rejected, der)?;
        if matches!(fault, Fault::Other(_)) {
            validity("server's", &certificate, now)?;
        }
        return Err(told(fault, certificate));
    }
    if rejected.exists() && !once {
        fs::remove_file(&rejected).map_err(failed("remove", &rejected))?;
    }
    validity("server's", &certificate, now)?;
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
    if !along.is_empty() {
        return Err(PkiError::Along {
            thumbprint: certificate.thumbprint,
        });
    }
    Ok(Accepted {
        certificate,
        by_itself,
    })
}

/// End of the validity of the certificate that a server presents.
pub(crate) fn valid_to(presented: &[u8]) -> Option<Timestamp> {
    let x509 = X509::from_der(chain::split(presented)?.first()?).ok()?;
    Some(describe(PathBuf::new(), &x509).ok()?.valid_to)
}

fn keep_rejected(path: &Path, der: &[u8]) -> Result<(), PkiError> {
    let folder = path.parent().unwrap_or(path);
    let count = fs::read_dir(folder).map_or(0, Iterator::count);
    if path.exists() || count >= MOST_REJECTED {
        return Ok(());
    }
    put(path, der)
}

fn told(fault: Fault, certificate: Certificate) -> PkiError {
    let signer = (certificate.issuer != certificate.subject).then_some(certificate.issuer);
    let (thumbprint, subject) = (certificate.thumbprint, certificate.subject);
    match fault {
        Fault::Untrusted => PkiError::Untrusted {
            thumbprint,
            subject,
            signer,
        },
        Fault::Revoked => PkiError::Revoked { thumbprint, subject },
        Fault::NoList(authorities) => PkiError::NoList {
            thumbprint,
            subject,
            authorities,
        },
        Fault::OldList(authorities) => PkiError::OldList {
            thumbprint,
            subject,
            authorities,
        },
        Fault::Other(_) if signer.is_none() => PkiError::Untrusted {
            thumbprint,
            subject,
            signer,
        },
        Fault::Other(reason) => PkiError::Chain {
            thumbprint,
            subject,
            reason,
        },
    }
}
