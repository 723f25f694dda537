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

use crate::call::Call;

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
    /// Where the server calls, if it does.
    pub call: Option<Call>,
}

impl ConnectionSource for Limited {
    type Builder = LimitedConnector;

    fn get_connector(&self, endpoint: &EndpointDescription) -> Result<Self::Builder, Error> {
        Ok(LimitedConnector {
            direct: TcpConnector::new(endpoint.endpoint_url.as_ref())?,
            endpoint: endpoint.clone(),
            limits: self.clone(),
        })
    }
}

/// A [`TcpConnector`] under [`Limited`], or one that waits for the server's call.
pub struct LimitedConnector {
    direct: TcpConnector,
    endpoint: EndpointDescription,
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
        let limit = self.limits.timeout;
        let connecting = async {
            match &self.limits.call {
                None => self.direct.connect(channel, outgoing, configuration).await,
                Some(call) => {
                    let url = self.endpoint.endpoint_url.as_ref();
                    call.connect(url, channel, outgoing, configuration).await
                }
            }
        };
        let inner = tokio::time::timeout(limit, connecting).await.map_err(|_| {
            let waited = limit.as_secs_f64();
            let what = self.limits.call.as_ref().map_or_else(
                || "no connection".to_owned(),
                |call| format!("no call of the server at {}", call.listen),
            );
            Error::new(StatusCode::BadTimeout, format!("{what} within {waited} s"))
        })??;
        Ok(CuttableTransport {
            inner,
            cut: self.limits.cutter.renew(),
        })
    }

    fn default_endpoint(&self) -> EndpointDescription {
        self.direct.default_endpoint()
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
