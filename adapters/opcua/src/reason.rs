//! Why a connection is not there, and which paragraph of the runbook says what to do about it.

use std::fmt;

use opcua::types::{Error, StatusCode};

use crate::items::{failed, is_node_refused};
use crate::server::reason;

/// The connection broke, and what broke it has no better name.
const CONNECTION_LOST: &str = "opcua-connection-lost";
/// Nobody is there who takes a connection.
const UNREACHABLE: &str = "opcua-server-unreachable";

/// Why a connection was lost, was left, or could not be made.
#[derive(Clone, Debug)]
pub struct Reason {
    /// In the server's or the system's own words.
    pub told: String,
    /// The paragraph of `RUNBOOK.md` that is about it.
    pub see: &'static str,
}

impl Default for Reason {
    fn default() -> Self {
        Self::new(String::new(), CONNECTION_LOST)
    }
}

impl From<Reason> for floorgate_adapter_api::Reason {
    fn from(reason: Reason) -> Self {
        Self::new(reason.told, reason.see)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl Reason {
    /// A reason of which it is known what to do.
    pub fn new(told: impl Into<String>, see: &'static str) -> Self {
        let told = told.into();
        Self { told, see }
    }

    /// Both, as they are shown beside the next attempt.
    pub fn words(&self) -> (&str, Option<&str>) {
        (&self.told, Some(self.see))
    }

    /// A request failed that the connection cannot do without.
    pub fn failed(what: &str, error: &Error) -> Self {
        Self::new(failed(what, error), see(error.status()))
    }

    /// A request failed, in the words of server and system.
    pub fn of(error: &Error) -> Self {
        Self::new(reason(error), see(error.status()))
    }

    /// The session ended without a word.
    pub fn given_up() -> Self {
        Self::new("the session was given up", CONNECTION_LOST)
    }

    /// A connection that was there ended with this status.
    pub fn ended(status: StatusCode) -> Self {
        let see = match see(status) {
            // Whoever was there can be reached.
            UNREACHABLE => CONNECTION_LOST,
            see => see,
        };
        Self::new(status.to_string(), see)
    }

    /// The gateway goes on purpose: to another server, or to come back with other certificates.
    pub fn on_purpose(told: impl Into<String>) -> Self {
        Self::new(told, "opcua-connection-left")
    }
}

/// The paragraph about a status with which a server, or the way to it, refused what a connection cannot do without.
pub fn see(status: StatusCode) -> &'static str {
    use StatusCode as S;
    match status {
        S::BadCertificateUntrusted
        | S::BadSecurityChecksFailed
        | S::BadCertificateInvalid
        | S::BadCertificateTimeInvalid
        | S::BadCertificateIssuerTimeInvalid
        | S::BadCertificateHostNameInvalid
        | S::BadCertificateUriInvalid
        | S::BadCertificateUseNotAllowed
        | S::BadCertificateChainIncomplete
        | S::BadCertificateRevocationUnknown
        | S::BadCertificateRevoked
        | S::BadCertificateIssuerRevoked
        | S::BadCertificatePolicyCheckFailed
        | S::BadApplicationSignatureInvalid => "opcua-gateway-not-trusted",
        S::BadUserAccessDenied
        | S::BadIdentityTokenRejected
        | S::BadIdentityTokenInvalid
        | S::BadUserSignatureInvalid => "opcua-login-refused",
        S::BadSecurityPolicyRejected | S::BadSecurityModeRejected | S::BadSecurityModeInsufficient => {
            "opcua-no-endpoint"
        }
        S::BadTooManySessions
        | S::BadTooManySubscriptions
        | S::BadTooManyMonitoredItems
        | S::BadTooManyOperations
        | S::BadTooManyPublishRequests
        | S::BadMaxConnectionsReached
        | S::BadTcpServerTooBusy
        | S::BadTcpNotEnoughResources
        | S::BadServerTooBusy
        | S::BadResourceUnavailable
        | S::BadOutOfMemory => "opcua-server-full",
        S::BadTimeout | S::BadRequestTimeout => "opcua-server-silent",
        S::BadCommunicationError
        | S::BadNotConnected
        | S::BadTcpEndpointUrlInvalid
        | S::BadServerUriInvalid => UNREACHABLE,
        S::BadConnectionClosed
        | S::BadConnectionRejected
        | S::BadSecureChannelClosed
        | S::BadSecureChannelIdInvalid
        | S::BadSecureChannelTokenUnknown
        | S::BadSessionIdInvalid
        | S::BadSessionClosed
        | S::BadSessionNotActivated
        | S::BadShutdown
        | S::BadServerHalted
        | S::BadTcpInternalError => CONNECTION_LOST,
        S::BadEncodingLimitsExceeded
        | S::BadRequestTooLarge
        | S::BadResponseTooLarge
        | S::BadTcpMessageTooLarge
        | S::BadDecodingError => "opcua-message-too-large",
        _ => "opcua-server-refuses",
    }
}

/// The paragraph about a tag that is told with this status.
pub fn see_of_tag(status: StatusCode) -> &'static str {
    use StatusCode as S;
    match status {
        _ if is_node_refused(status) => "opcua-node-refused",
        S::BadMonitoredItemFilterInvalid
        | S::BadMonitoredItemFilterUnsupported
        | S::BadDeadbandFilterInvalid
        | S::BadFilterNotAllowed
        | S::BadTooManyMonitoredItems => "opcua-node-refused",
        // What the adapter itself says of what it cannot read.
        S::BadDecodingError => "opcua-type-not-supported",
        _ => "opcua-value-not-good",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_is_refused_is_told_apart_from_a_value_that_is_not_good() {
        assert_eq!(see_of_tag(StatusCode::BadNodeIdUnknown), "opcua-node-refused");
        assert_eq!(see_of_tag(StatusCode::BadFilterNotAllowed), "opcua-node-refused");
        assert_eq!(
            see_of_tag(StatusCode::BadDecodingError),
            "opcua-type-not-supported"
        );
        assert_eq!(see_of_tag(StatusCode::BadSensorFailure), "opcua-value-not-good");
        let uncertain = StatusCode::UncertainLastUsableValue;
        assert_eq!(see_of_tag(uncertain), "opcua-value-not-good");
    }

    #[test]
    fn what_broke_a_connection_is_told_apart_from_what_let_none_come_about() {
        assert_eq!(see(StatusCode::BadCommunicationError), UNREACHABLE);
        assert_eq!(
            Reason::ended(StatusCode::BadCommunicationError).see,
            CONNECTION_LOST
        );
        let full = Reason::ended(StatusCode::BadTooManySessions);
        assert_eq!(
            (full.to_string(), full.see),
            ("BadTooManySessions".to_owned(), "opcua-server-full")
        );
        assert_eq!(see(StatusCode::BadInternalError), "opcua-server-refuses");
    }
}
