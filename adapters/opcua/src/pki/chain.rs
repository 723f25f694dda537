//! Certificates that authorities signed (OPC 10000-4 §6.1.3).
//!
//! A chain leads from the certificate to an authority that signed itself. All of its authorities are in `trusted/` or `issuers/`, or were
//! presented with the certificate; at least one certificate of it is in `trusted/`. Signatures, validity, lengths of chains and revocation are
//! checked by `webpki`; which certificate may sign others at all, and whether an authority that signed itself is valid, is looked at here, as `webpki`
//! does neither.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use floorgate_adapter_api::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage,
    OwnedCertRevocationList, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
    anchor_from_trusted_cert,
};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, pem};

use super::{PkiError, RevocationList, failed, files, may_sign, nanos};

/// Label of a revocation list in PEM (RFC 7468 §6).
const LIST: &str = "X509 CRL";
/// Label of a certificate in PEM (RFC 7468 §5).
const CERTIFICATE: &str = "CERTIFICATE";

/// What is wrong with a chain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not lead to anything that is trusted.
    Untrusted,
    /// A certificate of it was revoked.
    Revoked,
    /// These authorities have no revocation list.
    NoList(String),
    /// The revocation lists of these authorities are out of date.
    OldList(String),
    /// Something else.
    Other(String),
}

/// An authority.
struct Authority {
    der: CertificateDer<'static>,
    certificate: Certificate,
    trusted: bool,
}

impl Authority {
    /// One that may sign others and is valid now.
    fn new(der: Vec<u8>, trusted: bool, now: Timestamp) -> Option<Self> {
        let certificate = Certificate::from_der(&der).ok()?;
        let validity = &certificate.tbs_certificate.validity;
        let second = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
        let now = u64::try_from(now.as_nanos()).ok()? / 1_000_000_000;
        let is_valid = (second(&validity.not_before)..=second(&validity.not_after)).contains(&now);
        (is_valid && may_sign(&certificate)).then_some(Self {
            der: der.into(),
            certificate,
            trusted,
        })
    }

    fn signed_itself(&self) -> bool {
        let tbs = &self.certificate.tbs_certificate;
        tbs.issuer == tbs.subject
    }

    fn subject(&self) -> Vec<u8> {
        self.certificate
            .tbs_certificate
            .subject
            .to_der()
            .unwrap_or_default()
    }
}

/// The certificates that a server presents: its own, and those of authorities after it.
pub(super) fn split(presented: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = SliceReader::new(presented).ok()?;
    let mut certificates = Vec::new();
    while !reader.is_finished() {
        certificates.push(reader.tlv_bytes().ok()?);
    }
    (!certificates.is_empty()).then_some(certificates)
}

/// Whether a certificate has a chain as it has to be. `is_trusted`: it is in `trusted/` itself.
pub(super) fn verify(
    dir: &Path,
    leaf: &[u8],
    along: &[&[u8]],
    is_trusted: bool,
    allow_unknown_revocation: bool,
    now: Timestamp,
) -> Result<(), Fault> {
    let authorities = authorities(dir, along, now).map_err(|error| Fault::Other(error.to_string()))?;
    let (roots, others): (Vec<&Authority>, Vec<&Authority>) =
        authorities.iter().partition(|a| a.signed_itself());
    let anchor =
        |root: &&Authority| Some((anchor_from_trusted_cert(&root.der).ok()?.to_owned(), root.trusted));
    let roots: Vec<(TrustAnchor<'static>, bool)> = roots.iter().filter_map(anchor).collect();
    let anchors: Vec<TrustAnchor<'static>> = roots.iter().map(|(anchor, _)| anchor.clone()).collect();
    let between: Vec<CertificateDer<'static>> = others.iter().map(|other| other.der.clone()).collect();
    let lists = usable_lists(dir).map_err(|error| Fault::Other(error.to_string()))?;

    let leads_to_trust = |path: &VerifiedPath<'_>| {
        let is_anchor_trusted = roots
            .iter()
            .any(|(anchor, trusted)| *trusted && anchor == path.anchor());
        let is_in_between = |der: &[u8]| {
            others
                .iter()
                .any(|other| other.trusted && other.der.as_ref() == der)
        };
        let mut certificates = path.intermediate_certificates();
        if is_trusted || is_anchor_trusted || certificates.any(|c| is_in_between(c.der().as_ref())) {
            Ok(())
        } else {
            Err(Error::UnknownIssuer)
        }
    };
    let leaf = CertificateDer::from(leaf);
    let certificate = EndEntityCert::try_from(&leaf).map_err(|error| Fault::Other(format!("{error:?}")))?;
    let lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        let (unknown, old) = if allow_unknown_revocation {
            (UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore)
        } else {
            (UnknownStatusPolicy::Deny, ExpirationPolicy::Enforce)
        };
        options
            .with_status_policy(unknown)
            .with_expiration_policy(old)
            .build()
    });
    let has_lists = revocation.is_some();
    let seconds = u64::try_from(now.as_nanos()).unwrap_or_default() / 1_000_000_000;
    let verified = certificate.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &anchors,
        &between,
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        KeyUsage::server_auth(),
        revocation,
        Some(&leads_to_trust),
    );
    match verified {
        Ok(_) if has_lists || allow_unknown_revocation => Ok(()),
        Ok(_) | Err(Error::UnknownRevocationStatus) => Err(Fault::NoList(without_list(&authorities, &lists))),
        Err(Error::UnknownIssuer) => Err(Fault::Untrusted),
        Err(Error::CertRevoked) => Err(Fault::Revoked),
        Err(Error::CrlExpired { .. }) => Err(Fault::OldList(with_old_list(dir, now))),
        Err(error) => Err(Fault::Other(format!("{error:?}"))),
    }
}

fn authorities(dir: &Path, along: &[&[u8]], now: Timestamp) -> Result<Vec<Authority>, PkiError> {
    let mut found = Vec::new();
    for (sub, trusted) in [("trusted", true), ("issuers", false)] {
        for path in files(&dir.join(sub))? {
            let Ok(bytes) = fs::read(&path) else { continue };
            found.extend(der_of(bytes, CERTIFICATE).and_then(|der| Authority::new(der, trusted, now)));
        }
    }
    found.extend(
        along
            .iter()
            .filter_map(|der| Authority::new(der.to_vec(), false, now)),
    );
    Ok(found)
}

/// The bytes of a file in DER, which may be in PEM with this label.
fn der_of(bytes: Vec<u8>, label: &str) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"-----BEGIN") {
        return Some(bytes);
    }
    let (found, der) = pem::decode_vec(&bytes).ok()?;
    (found == label).then_some(der)
}

fn usable_lists(dir: &Path) -> Result<Vec<CertRevocationList<'static>>, PkiError> {
    let mut usable = Vec::new();
    for list in lists(&dir.join("trusted"))?
        .into_iter()
        .chain(lists(&dir.join("issuers"))?)
    {
        let bytes = fs::read(&list.path).map_err(failed("read", &list.path))?;
        match der_of(bytes, LIST).map(|der| OwnedCertRevocationList::from_der(&der)) {
            Some(Ok(list)) => usable.push(list.into()),
            // It was usable when it was put there, or somebody copied it by hand.
            Some(Err(error)) => tracing::warn!(
                see = "opcua-revocation-list-missing",
                "{} cannot be used: {error:?}",
                list.path.display()
            ),
            None => {}
        }
    }
    Ok(usable)
}

/// The revocation lists of a folder.
pub(super) fn lists(dir: &Path) -> Result<Vec<RevocationList>, PkiError> {
    let list = |path: PathBuf| {
        let bytes = fs::read(&path).ok()?;
        Some(parsed(&der_of(bytes, LIST)?, path)?.0)
    };
    Ok(files(dir)?.into_iter().filter_map(list).collect())
}

fn parsed(der: &[u8], path: PathBuf) -> Option<(RevocationList, Vec<u8>)> {
    let list = CertificateList::from_der(der).ok()?.tbs_cert_list;
    let seconds =
        |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let told = RevocationList {
        path,
        issuer: list.issuer.to_string(),
        revoked: list.revoked_certificates.map_or(0, |revoked| revoked.len()),
        next_update: list.next_update.map(|time| nanos(seconds(time))),
    };
    Some((told, list.issuer.to_der().ok()?))
}

/// The revocation list in a file, in DER: `None` where it is none at all.
pub(super) fn read_list(path: &Path) -> Result<Option<(RevocationList, Vec<u8>)>, PkiError> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    let Some(der) = der_of(bytes, LIST) else {
        return Ok(None);
    };
    let Some((list, _)) = parsed(&der, path.to_owned()) else {
        return Ok(None);
    };
    OwnedCertRevocationList::from_der(&der).map_err(|error| PkiError::List {
        path: path.to_owned(),
        reason: format!("{error:?}"),
    })?;
    Ok(Some((list, der)))
}

fn without_list(authorities: &[Authority], lists: &[&CertRevocationList<'_>]) -> String {
    // `webpki` gives the issuer without the outer tag and length.
    let has_list = |a: &&Authority| !lists.iter().any(|list| a.subject().ends_with(list.issuer()));
    let names = authorities.iter().filter(has_list);
    joined(names.map(|a| a.certificate.tbs_certificate.subject.to_string()))
}

fn with_old_list(dir: &Path, now: Timestamp) -> String {
    let both = ["trusted", "issuers"].map(|sub| lists(&dir.join(sub)).unwrap_or_default());
    let old = both
        .into_iter()
        .flatten()
        .filter(|list| list.next_update.is_some_and(|next| next < now));
    joined(old.map(|list| list.issuer))
}

fn joined(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        "an authority".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
