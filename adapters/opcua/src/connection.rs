//! From a plan to a session: which endpoint, which certificate, which login.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::{NoCredentials, Timestamp};
use opcua::client::{
    Client, ClientBuilder, ConnectionSource, IdentityToken, Password, Session, SessionEventLoop,
};
use opcua::crypto::SecurityPolicy;
use opcua::types::{ByteString, EndpointDescription, Error, MessageSecurityMode, StatusCode, UAString};

use crate::call::Call;
use crate::pki::{self, Own, PkiError};
use crate::plan::{Credentials, Plan};
use crate::profile::WAIT_FOR_CALL;
use crate::reason;
use crate::settings::{Policy, SecurityMode};
use crate::transport::{Cutter, Limited, LimitedConnector};

/// Binary encoding over UA TCP (OPC 10000-7), the only transport spoken here.
const BINARY_TRANSPORT: &str = "uatcp-uasc-uabinary";
/// Largest message that is taken: 5,000 notifications of long texts fit, a hostile server cannot fill the memory.
pub const MOST_MESSAGE_BYTES: usize = 16 << 20;
/// Longest text, in bytes.
pub const MOST_TEXT_BYTES: usize = 1 << 20;
/// Most chunks of 64 KiB in a message.
const MOST_CHUNKS: usize = 256;
/// The same of the list of endpoints, which comes before the server has proved who it is.
const MOST_OF_ENDPOINTS: (usize, usize) = (128 << 10, 16);
/// Longest array: the notifications of a message, the results of a request, values.
pub const MOST_ELEMENTS: usize = 100_000;
/// How long a secure channel's keys are used. The library renews them after three quarters of it.
const CHANNEL_LIFETIME_MILLIS: u32 = 600_000;
/// Each attempt of the library is followed at once by the next; the pauses between them are made by
/// whoever polls its event loop, which knows jitter.
const LIBRARY_PAUSE: Duration = Duration::from_millis(1);

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Keys, certificates or trust.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The server did not say which endpoints it has.
    #[error("{endpoint} does not answer: {}", crate::server::reason(source))]
    Endpoints {
        /// The address.
        endpoint: String,
        /// Why.
        source: Error,
    },
    /// The server has no endpoint with the wanted security.
    #[error("the server has no endpoint with {wanted}; it has {offered}")]
    NoEndpoint {
        /// Policy and mode as configured.
        wanted: String,
        /// What the server has.
        offered: String,
    },
    /// A secret cannot be read.
    #[error("cannot read {}", path.display())]
    Secret {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A secret is a credential that this process was not given.
    #[error(transparent)]
    Credential(#[from] NoCredentials),
    /// A user certificate or its key cannot be read.
    #[error("cannot use the user certificate {}: {reason}", path.display())]
    UserCertificate {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The library refuses its configuration.
    #[error("cannot make a session: {0}")]
    Session(String),
}

impl ConnectError {
    /// The paragraph of `RUNBOOK.md` that is about it.
    pub fn see(&self) -> &'static str {
        match self {
            Self::Pki(error) => error.see(),
            Self::Endpoints { source, .. } => reason::see(source.status()),
            Self::NoEndpoint { .. } => "opcua-no-endpoint",
            Self::Secret { .. } | Self::Credential(_) | Self::UserCertificate { .. } => {
                "opcua-login-unreadable"
            }
            Self::Session(_) => "opcua-session-not-made",
        }
    }

    /// The error and its causes, each said once.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                let _ = write!(text, ": {said}");
            }
            cause = error.source();
        }
        text
    }
}

/// Which server, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server's address.
    pub endpoint: String,
    /// Whether the gateway uses its certificate before the last renewal.
    pub with_previous: bool,
}

impl Target {
    /// The first server of a plan, as the gateway is at present.
    pub fn first(plan: &Plan) -> Self {
        Self {
            endpoint: plan.settings.endpoint.clone(),
            with_previous: false,
        }
    }
}

/// A session that is not connected yet, and what makes it work.
pub struct Connection {
    /// The session.
    pub session: Arc<Session>,
    /// Connects it, over and over, while it is polled.
    pub event_loop: SessionEventLoop<LimitedConnector>,
    /// Cuts its connection.
    pub cutter: Cutter,
    /// The certificates of both sides.
    pub certificates: Certificates,
}

/// The certificates of a connection's two sides.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The gateway's.
    pub own: Own,
    /// Whether it is the one that the gateway has at present, and not the one before the last renewal.
    pub is_present: bool,
    /// The server's, as it was presented; empty where there is no security.
    pub server: ByteString,
    /// The application that the server says it is.
    pub application: String,
    /// End of the validity of the server's.
    pub server_valid_to: Option<Timestamp>,
    /// The authority that signed the server's; `None` where none is needed, since exactly it is trusted, or everyone.
    pub signer: Option<String>,
}

/// Asks the server for its endpoints, checks its certificate, and prepares a session.
pub async fn prepare(plan: &Arc<Plan>, target: &Target) -> Result<Connection, ConnectError> {
    let settings = &plan.settings;
    let (own, identity) = {
        let (plan, with_previous) = (Arc::clone(plan), target.with_previous);
        // Making a key takes up to seconds, and files may be slow.
        let work = move || -> Result<_, ConnectError> {
            // A folder of the gateway that is gone, or not mounted, is not made anew for a key of its own.
            if let Some(state) = plan.pki.parent().filter(|state| !state.exists()) {
                return Err(ConnectError::Session(format!(
                    "there is no folder {}",
                    state.display()
                )));
            }
            let before = with_previous.then(|| pki::previous(&plan.pki)).flatten();
            let own = match before {
                Some(before) => before,
                None => pki::own(&plan.pki, plan.settings.security.policy != Policy::None)?,
            };
            Ok((own, identity(&plan)?))
        };
        let work = tokio::task::spawn_blocking(work);
        work.await
            .map_err(|error| ConnectError::Session(error.to_string()))??
    };
    let mut limited = limited(plan);
    let endpoint = endpoint(plan, target, &own, &limited).await?;
    if let Some(call) = &mut limited.call {
        call.goes_on = false;
    }
    let mut certificates = Certificates {
        own,
        is_present: !target.with_previous,
        server: endpoint.server_certificate.clone(),
        application: endpoint.server.application_uri.as_ref().to_owned(),
        server_valid_to: None,
        signer: None,
    };
    // Certificates that are accepted unseen, or for their authority, must not become trusted ones.
    let mut is_kept_apart = true;
    if settings.security.policy != Policy::None {
        if settings.trust_any_server_certificate {
            certificates.server_valid_to = pki::valid_to(certificates.server.as_ref());
        } else {
            let accepted = check(plan, &certificates)?;
            certificates.server_valid_to = Some(accepted.certificate.valid_to);
            is_kept_apart = !accepted.by_itself;
            certificates.signer = is_kept_apart.then_some(accepted.certificate.issuer);
        }
    }

    let limits = (MOST_MESSAGE_BYTES, MOST_CHUNKS);
    let client = client(plan, &certificates.own, -1, is_kept_apart, limits)?;
    let (session, event_loop) = client
        .session_builder()
        .with_connector(limited.clone())
        .user_identity_token(identity)
        .connect_to_endpoint_directly(endpoint)
        .and_then(|builder| builder.build(Arc::clone(client.certificate_store())))
        .map_err(|error| ConnectError::Session(error.to_string()))?;
    Ok(Connection {
        session,
        event_loop,
        cutter: limited.cutter,
        certificates,
    })
}

fn limited(plan: &Plan) -> Limited {
    let call = plan.settings.reverse_connect.as_ref().and_then(|reverse| {
        let mut call = Call::new(reverse.listen.parse().ok()?, reverse.server_uri.clone());
        call.goes_on = true;
        Some(call)
    });
    let timeout = plan.settings.request_timeout.get();
    Limited {
        timeout: if call.is_some() {
            timeout.max(WAIT_FOR_CALL)
        } else {
            timeout
        },
        cutter: Cutter::default(),
        call,
    }
}

/// Whether the server's certificate is to be accepted.
pub fn check(plan: &Plan, certificates: &Certificates) -> Result<pki::Accepted, PkiError> {
    let acceptance = pki::Acceptance {
        once: plan.trust_once.as_deref(),
        unknown_revocation: plan.settings.allow_unknown_revocation,
    };
    let (server, application) = (certificates.server.as_ref(), &certificates.application);
    pki::check_server(&plan.pki, server, application, acceptance)
}

/// Whether the server presents another certificate now than it did; not known where it does not answer.
pub async fn is_exchanged(plan: &Plan, target: &Target, certificates: &Certificates) -> Option<bool> {
    let present = endpoint(plan, target, &certificates.own, &limited(plan))
        .await
        .ok()?;
    Some(present.server_certificate != certificates.server)
}

/// `is_kept_apart`: the library does not look whether it knows the server's certificate, which was checked when the endpoint was chosen; the session has to
/// present the same one. At last how large a message may be, in bytes and in chunks.
fn client(
    plan: &Plan,
    own: &Own,
    attempts: i32,
    is_kept_apart: bool,
    (most_bytes, most_chunks): (usize, usize),
) -> Result<Client, ConnectError> {
    let settings = &plan.settings;
    let store = if is_kept_apart {
        plan.pki.join("unverified")
    } else {
        plan.pki.clone()
    };
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    ClientBuilder::new()
        .application_name("floorgate")
        .application_uri(own.application_uri.clone())
        .product_uri("urn:floorgate")
        .session_name(format!("floorgate {}", plan.name))
        .pki_dir(store)
        .certificate_path(own.certificate.clone())
        .private_key_path(own.key.clone())
        .create_sample_keypair(false)
        .trust_server_certs(is_kept_apart)
        // Trust, validity and application are checked when the endpoint is chosen, with words that help.
        .verify_server_certs(false)
        .session_retry_limit(attempts)
        .session_retry_initial(LIBRARY_PAUSE)
        .session_retry_max(LIBRARY_PAUSE)
        // The library would close the session of a server that is slow; `source` cuts only the connection.
        .keep_alive_interval(Duration::from_hours(24 * 365))
        .max_failed_keep_alive_count(0)
        .request_timeout(settings.request_timeout.get())
        .session_timeout(millis(settings.session_timeout.get()))
        .recreate_subscriptions(false)
        .channel_lifetime(CHANNEL_LIFETIME_MILLIS)
        .max_message_size(most_bytes)
        .max_chunk_count(most_chunks)
        .max_array_length(MOST_ELEMENTS)
        .max_string_length(MOST_TEXT_BYTES)
        .max_byte_string_length(MOST_MESSAGE_BYTES)
        .client()
        .map_err(|errors| ConnectError::Session(errors.join(", ")))
}

/// The server's endpoint with the configured security, at the configured address.
async fn endpoint(
    plan: &Plan,
    target: &Target,
    own: &Own,
    limited: &Limited,
) -> Result<EndpointDescription, ConnectError> {
    let unreachable = |source| ConnectError::Endpoints {
        endpoint: target.endpoint.clone(),
        source,
    };
    // One attempt only: the library's own retries would know neither pause nor end.
    let client = client(plan, own, 0, true, MOST_OF_ENDPOINTS)?;
    let connector = limited
        .get_connector(&EndpointDescription::from(target.endpoint.as_str()))
        .map_err(unreachable)?;
    let asking = client.get_server_endpoints_from_url(connector);
    let told = tokio::time::timeout(limited.timeout * 2, asking).await;
    let told = told.unwrap_or_else(|_| Err(Error::new(StatusCode::BadTimeout, "no answer in time")));
    let endpoints = told.map_err(|error| {
        let refused = limited.cutter.take_reason();
        unreachable(refused.map_or(error, |reason| {
            Error::new(StatusCode::BadDecodingError, reason.told)
        }))
    })?;

    let (policy, mode) = security(plan);
    let fits = |endpoint: &&EndpointDescription| {
        endpoint.security_policy_uri.as_ref() == policy.to_uri()
            && endpoint.security_mode == mode
            && (endpoint.transport_profile_uri.is_empty()
                || endpoint
                    .transport_profile_uri
                    .as_ref()
                    .ends_with(BINARY_TRANSPORT))
    };
    let best = endpoints
        .iter()
        .filter(fits)
        .max_by_key(|endpoint| endpoint.security_level);
    let Some(best) = best else {
        let mut offered = String::new();
        for endpoint in &endpoints {
            let policy = SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref());
            let comma = if offered.is_empty() { "" } else { ", " };
            let _ = write!(offered, "{comma}{policy}/{}", endpoint.security_mode);
        }
        return Err(ConnectError::NoEndpoint {
            wanted: format!("{policy}/{mode}"),
            offered,
        });
    };
    let mut endpoint = best.clone();
    // The advertised address may be wrong from here: another name, or an address behind a translation.
    endpoint.endpoint_url = UAString::from(target.endpoint.as_str());
    Ok(endpoint)
}

fn security(plan: &Plan) -> (SecurityPolicy, MessageSecurityMode) {
    let policy = match plan.settings.security.policy {
        Policy::None => SecurityPolicy::None,
        Policy::Basic256Sha256 => SecurityPolicy::Basic256Sha256,
        Policy::Aes128Sha256RsaOaep => SecurityPolicy::Aes128Sha256RsaOaep,
        Policy::Aes256Sha256RsaPss => SecurityPolicy::Aes256Sha256RsaPss,
        Policy::Basic256 => SecurityPolicy::Basic256,
        Policy::Basic128Rsa15 => SecurityPolicy::Basic128Rsa15,
    };
    let mode = match plan.settings.security.mode {
        SecurityMode::None => MessageSecurityMode::None,
        SecurityMode::Sign => MessageSecurityMode::Sign,
        SecurityMode::SignAndEncrypt => MessageSecurityMode::SignAndEncrypt,
    };
    (policy, mode)
}

fn identity(plan: &Plan) -> Result<IdentityToken, ConnectError> {
    match &plan.credentials {
        Credentials::Anonymous => Ok(IdentityToken::Anonymous),
        Credentials::Password { user, file } => {
            let file = file.clone()?;
            let password = fs::read_to_string(&file).map_err(|source| ConnectError::Secret {
                path: file.clone(),
                source,
            })?;
            let password = password.trim_end_matches(['\r', '\n']);
            Ok(IdentityToken::UserName(user.clone(), Password::new(password)))
        }
        Credentials::Certificate { certificate, key } => {
            IdentityToken::new_x509_path(certificate, &key.clone()?).map_err(|error| {
                ConnectError::UserCertificate {
                    path: certificate.clone(),
                    reason: error.to_string(),
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_file_cannot_be_read_is_said_once() {
        let path = PathBuf::from("/nonexistent/plc.password");
        let source = fs::read(&path).unwrap_err();
        let told = ConnectError::Secret { path, source }.with_causes();
        assert_eq!(
            told,
            "cannot read /nonexistent/plc.password: No such file or directory (os error 2)"
        );
        let key = ConnectError::Pki(PkiError::File {
            action: "write",
            path: PathBuf::from("/pki/private.pem"),
            source: std::io::Error::from(std::io::ErrorKind::PermissionDenied),
        });
        assert_eq!(
            key.with_causes(),
            "cannot write /pki/private.pem: permission denied"
        );
        let silent = ConnectError::Endpoints {
            endpoint: "opc.tcp://plc:4840".to_owned(),
            source: Error::new(opcua::types::StatusCode::BadTimeout, "no answer in time"),
        };
        let told = silent.with_causes();
        assert_eq!(told.matches("no answer in time").count(), 1, "{told}");
    }
}
