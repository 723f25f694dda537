//! What can be wrong with keys, certificates and trust.

use std::io;
use std::path::PathBuf;

use floorgate_adapter_api::Timestamp;

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
    /// A file that is to be trusted is nothing of which that could be said.
    #[error("{} is neither a certificate nor a revocation list", .0.display())]
    Neither(PathBuf),
    /// The server's certificate cannot be read.
    #[error("the server's certificate cannot be read")]
    Unreadable,
    /// The key could not be made.
    #[error("cannot make a key: {0}")]
    Making(String),
    /// No certificate has this thumbprint.
    #[error("no rejected certificate has the thumbprint `{0}`; `floorgate pki list` has them all")]
    Unknown(String),
    /// No certificate that is trusted has this thumbprint.
    #[error("no trusted certificate has the thumbprint `{0}`; `floorgate pki list` has them all")]
    NotTrusted(String),
    /// The beginning of a thumbprint fits more than one certificate.
    #[error("more than one certificate has a thumbprint that begins with `{0}`; write more of it")]
    Ambiguous(String),
    /// There is no key and certificate that could be renewed.
    #[error("{} is not there; `floorgate pki init` makes it", .0.display())]
    Nothing(PathBuf),
    /// A revocation list cannot be used.
    #[error("{} cannot be used as a revocation list: {reason}; it has to be of version 2, with a number (RFC 5280 §5)", path.display())]
    List {
        /// Where it is.
        path: PathBuf,
        /// Why it cannot.
        reason: String,
    },
    /// A certificate that is to complete chains is not one of an authority.
    #[error("{} is no certificate of an authority: its basic constraints or its key usage do not let it sign others", .0.display())]
    NoAuthority(PathBuf),
    /// The server's certificate is not trusted.
    #[error(
        "the server's certificate {thumbprint} ({subject}{}) is not trusted: compare the thumbprint with the one that the server shows, then run `floorgate pki trust {thumbprint}`{}",
        signer.as_ref().map(|signer| format!(", signed by {signer}")).unwrap_or_default(),
        if signer.is_some() { ", or trust the authority: `floorgate pki trust FILE`" } else { "" }
    )]
    Untrusted {
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
        /// Its subject.
        subject: String,
        /// The authority that signed it, unless it signed itself.
        signer: Option<String>,
    },
    /// A revocation list names the certificate, or one of its authorities.
    #[error(
        "the server's certificate {thumbprint} ({subject}), or one of its authorities, was revoked: have the server's owner renew it"
    )]
    Revoked {
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
        /// Its subject.
        subject: String,
    },
    /// Whether it was revoked cannot be known.
    #[error(
        "the server's certificate {thumbprint} ({subject}) is signed by {authorities}, of which there is no revocation list: \
         get it and run `floorgate pki trust FILE.crl`, or set `allow_unknown_revocation: true`"
    )]
    NoList {
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
        /// Its subject.
        subject: String,
        /// Authorities without a list.
        authorities: String,
    },
    /// The revocation list says that there has to be a newer one.
    #[error(
        "the server's certificate {thumbprint} ({subject}) cannot be checked: the revocation list of {authorities} is out of date: \
         get the present one and run `floorgate pki trust FILE.crl`, or set `allow_unknown_revocation: true`"
    )]
    OldList {
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
        /// Its subject.
        subject: String,
        /// Authorities whose lists are out of date.
        authorities: String,
    },
    /// The chain of authorities is not as it has to be.
    #[error("the chain of the server's certificate {thumbprint} ({subject}) is not valid: {reason}")]
    Chain {
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
        /// Its subject.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server sends more than its own certificate, which the protocol library cannot read.
    #[error(
        "the server sends the certificates of its authorities along with its own ({thumbprint}), which cannot be read here: \
         have it send its own alone (`SendCertificateChain` off), and run `floorgate pki trust FILE` with the authority's"
    )]
    Along {
        /// SHA-1 of the certificate, in hexadecimal.
        thumbprint: String,
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

impl PkiError {
    /// The paragraph of `RUNBOOK.md` that is about it.
    #[must_use]
    pub fn see(&self) -> &'static str {
        match self {
            Self::File { .. }
            | Self::NoCertificate(_)
            | Self::Making(_)
            | Self::Validity {
                whose: "gateway's", ..
            } => "opcua-gateway-certificate-unusable",
            Self::Exists(_)
            | Self::Neither(_)
            | Self::Unknown(_)
            | Self::NotTrusted(_)
            | Self::Ambiguous(_)
            | Self::Nothing(_)
            | Self::NoAuthority(_) => "opcua-certificate-not-taken",
            Self::Untrusted { .. } => "opcua-server-not-trusted",
            Self::Revoked { .. } => "opcua-server-certificate-revoked",
            Self::List { .. } | Self::NoList { .. } | Self::OldList { .. } => "opcua-revocation-list-missing",
            Self::Unreadable | Self::Chain { .. } | Self::Along { .. } | Self::Application { .. } => {
                "opcua-server-certificate-wrong"
            }
            Self::Validity { .. } => "opcua-server-certificate-expired",
        }
    }
}
