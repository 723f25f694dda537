//! Modbus TCP Security: Modbus TCP within TLS, in which both sides show a certificate (MB-TCP-Security-v21).
//!
//! Files are read for each connection, so that a renewed certificate is used without a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use floorgate_adapter_api::{NoCredentials, SecretFile};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use crate::expiry::Presented;

/// Certificates, in PEM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The authorities that may have signed the device's certificate.
    pub ca_file: PathBuf,
    /// The gateway's certificate, with those between it and the authority behind it. Its role (extension
    /// 1.3.6.1.4.1.50316.802.1) is what the device decides by.
    pub certificate_file: PathBuf,
    /// Its private key, without a password, or `credential:NAME`.
    pub key_file: SecretFile,
    /// The name or address that the device's certificate is for, where that is not the host of `connect`.
    pub server_name: Option<String>,
}

/// What is wrong with TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The device's certificate is not for us.
    #[error("the device's certificate is not accepted: {0}; see `tls.ca_file` and `tls.server_name`")]
    Device(Error),
    /// The device has said why it does not take the gateway's.
    #[error("the device does not accept the gateway: {0}; see `tls.certificate_file` and its role")]
    Gateway(Error),
    /// The device has not said why. With TLS 1.3 a connection is made before the device has looked at the gateway's certificate, and the alert
    /// that says why that was not taken is lost where the device closes at once.
    #[error(
        "the device closed the connection without an answer, as one does that does not accept the gateway: see \
         `tls.certificate_file` and its role"
    )]
    GatewayPerhaps,
    /// The two sides do not understand each other.
    #[error("no TLS with the device: {0}")]
    Other(Error),
    /// A file of the settings is not what it is to be.
    #[error("{} cannot be used: {why}", file.display())]
    File { file: PathBuf, why: String },
    /// The key is a credential that this process was not given.
    #[error(transparent)]
    Credential(#[from] NoCredentials),
    /// The name that the device's certificate is to have is none.
    #[error("`{0}` is no name of a host; set `tls.server_name`")]
    Name(String),
}

impl Fault {
    /// The paragraph of `RUNBOOK.md` that is about it.
    pub(crate) fn see(&self) -> &'static str {
        match self {
            Self::Device(_) | Self::Other(_) => "modbus-device-not-accepted",
            Self::Gateway(_) | Self::GatewayPerhaps => "modbus-gateway-not-accepted",
            Self::File { .. } | Self::Credential(_) | Self::Name(_) => "modbus-tls-files",
        }
    }
}

/// Where the certificates are.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    authorities: PathBuf,
    certificate: PathBuf,
    key: Result<PathBuf, NoCredentials>,
    server_name: Option<String>,
    /// What the device presented last; nothing where there was no connection yet.
    presented: watch::Sender<Presented>,
}

impl Identity {
    pub(crate) fn new(tls: &Tls, base: &Path) -> Self {
        Self {
            authorities: base.join(&tls.ca_file),
            certificate: base.join(&tls.certificate_file),
            key: tls.key_file.locate(base),
            server_name: tls.server_name.clone(),
            presented: watch::Sender::default(),
        }
    }

    /// The file with the gateway's certificate.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The file with the authorities that may have signed the device's.
    pub(crate) fn authorities(&self) -> &Path {
        &self.authorities
    }

    /// What the device presents.
    pub(crate) fn presented(&self) -> watch::Receiver<Presented> {
        self.presented.subscribe()
    }

    /// Shakes hands on a connection to a host.
    pub(crate) async fn secure<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: T,
        host: &str,
    ) -> io::Result<TlsStream<T>> {
        let wanted = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(wanted.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, Fault::Name(wanted.to_owned())))?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let stream = connector.connect(name, stream).await.map_err(explained)?;
        if let Some(presented) = stream.get_ref().1.peer_certificates() {
            self.presented.send_if_modified(|known| {
                let is_another = known != presented;
                if is_another {
                    *known = presented.iter().map(|der| der.clone().into_owned()).collect();
                }
                is_another
            });
        }
        Ok(stream)
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.authorities)? {
            roots
                .add(authority)
                .map_err(|error| unusable(&self.authorities, &error))?;
        }
        let key = self
            .key
            .as_ref()
            .map_err(|missing| io::Error::other(Fault::from(missing.clone())))?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.certificate)?, private)
            .map_err(|error| unusable(&self.certificate, &error))
    }
}

/// The certificates of a file, of which there has to be one at least.
pub(crate) fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|error| unusable(file, &error))?
        .collect();
    let found = found.map_err(|error| unusable(file, &error))?;
    if found.is_empty() {
        return Err(unusable(file, &"there is no certificate in it"));
    }
    Ok(found)
}

fn unusable(file: &Path, why: &dyn std::fmt::Display) -> io::Error {
    let (file, why) = (file.to_owned(), why.to_string());
    io::Error::other(Fault::File { file, why })
}

/// The same error, with what it means where it comes from TLS: such are told as malformed data, which they are not.
pub(crate) fn explained(error: io::Error) -> io::Error {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return error;
    };
    let inner = inner.clone();
    io::Error::other(match inner {
        Error::InvalidCertificate(_) => Fault::Device(inner),
        Error::AlertReceived(_) => Fault::Gateway(inner),
        _ => Fault::Other(inner),
    })
}
