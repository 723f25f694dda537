//! The TCP connection, with the two things that a daemon needs beyond the library's: a limit on the time a
//! connection may take to be made, and a way to cut it at once when the peer is frozen.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opcua::client::ConnectionSource;
use opcua::client::transport::{
    Connector, RequestRecv, SecureChannelState, TcpConnector, TcpTransport, Transport,
    TransportConfiguration, TransportPollResult,
};
use opcua::types::{EndpointDescription, Error, StatusCode};
use tokio_util::sync::CancellationToken;

/// Cuts the connection that is up at the time.
#[derive(Clone, Debug, Default)]
pub struct Cutter(Arc<Mutex<Cut>>);

/// The present connection's end, and why it was cut.
#[derive(Debug, Default)]
struct Cut {
    token: CancellationToken,
    reason: Option<String>,
}

impl Cutter {
    /// Drops the TCP connection without a word to the peer, so that the session can be re-activated on another.
    pub fn cut(&self, reason: String) {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.reason = Some(reason);
        cut.token.cancel();
    }

    /// Why the last connection was cut, if it was.
    pub fn take_reason(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reason
            .take()
    }

    /// The token of a new connection; the one before is not used any more.
    fn renew(&self) -> CancellationToken {
        let token = CancellationToken::new();
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *cut = Cut {
            token: token.clone(),
            reason: None,
        };
        token
    }
}

/// Makes connections that are limited in time and can be cut.
#[derive(Clone, Debug)]
pub struct Limited {
    /// How long a connection may take to be made, the exchange of Hello and Acknowledge included.
    pub timeout: Duration,
    /// Cuts it.
    pub cutter: Cutter,
}

impl ConnectionSource for Limited {
    type Builder = LimitedConnector;

    fn get_connector(&self, endpoint: &EndpointDescription) -> Result<Self::Builder, Error> {
        Ok(LimitedConnector {
            inner: TcpConnector::new(endpoint.endpoint_url.as_ref())?,
            limits: self.clone(),
        })
    }
}

/// A [`TcpConnector`] under [`Limited`].
pub struct LimitedConnector {
    inner: TcpConnector,
    limits: Limited,
}

impl Connector for LimitedConnector {
    type Transport = CuttableTransport;

    async fn connect(
        &self,
        channel: Arc<SecureChannelState>,
        outgoing: RequestRecv,
        configuration: TransportConfiguration,
    ) -> Result<CuttableTransport, Error> {
        let connecting = self.inner.connect(channel, outgoing, configuration);
        let inner = tokio::time::timeout(self.limits.timeout, connecting)
            .await
            .map_err(|_| {
                let waited = self.limits.timeout.as_secs_f64();
                Error::new(StatusCode::BadTimeout, format!("no connection within {waited} s"))
            })??;
        Ok(CuttableTransport {
            inner,
            cut: self.limits.cutter.renew(),
        })
    }

    fn default_endpoint(&self) -> EndpointDescription {
        self.inner.default_endpoint()
    }
}

/// A [`TcpTransport`] that ends when it is cut.
pub struct CuttableTransport {
    inner: TcpTransport,
    cut: CancellationToken,
}

impl Transport for CuttableTransport {
    async fn poll(&mut self) -> TransportPollResult {
        // Both branches are cancel safe, which the trait asks for; the cut is looked at first, as a cut connection may still be readable.
        tokio::select! {
            biased;
            () = self.cut.cancelled() => TransportPollResult::Closed(StatusCode::BadConnectionClosed),
            result = self.inner.poll() => result,
        }
    }

    fn connected_url(&self) -> &str {
        self.inner.connected_url()
    }
}
