//! The TCP connection, with the four things that a daemon needs beyond the library's: a limit on the time a
//! connection may take to be made, a way to cut it at once when the peer is frozen, a [gate](Gate) for what comes, and the [nonces](Nonces) that let a
//! session go on over another one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Counted, Traffic};
use opcua::client::ConnectionSource;
use opcua::client::transport::{
    Connector, RequestRecv, SecureChannelState, StreamConnection, StreamConnector, StreamTransport,
    Transport, TransportConfiguration, TransportPollResult,
};
use opcua::core::comms::tcp_codec::TcpCodec;
use opcua::core::comms::url::hostname_port_from_url;
use opcua::core::constants::DEFAULT_OPC_UA_SERVER_PORT;
use opcua::types::{DecodingOptions, EndpointDescription, Error, StatusCode};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;

use crate::bodies;
use crate::call::Call;
use crate::gate::Gate;
use crate::nonce::Nonces;
use crate::reason::Reason;

type Reader = Gate<ReadHalf<Counted<TcpStream>>>;
type Writer = WriteHalf<Counted<TcpStream>>;
/// A connection on which nothing was said.
pub type Stream = StreamConnection<Reader, Writer>;
/// A connection of which the bytes are counted.
pub type CountedTransport = StreamTransport<Reader, Writer>;

/// Cuts the connection that is up at the time.
#[derive(Clone, Debug, Default)]
pub struct Cutter(Arc<Mutex<Cut>>);

/// The present connection's end, and why it was cut.
#[derive(Debug, Default)]
struct Cut {
    token: CancellationToken,
    reason: Option<Reason>,
    /// Since when it is there, while the session is not.
    opening: Option<Instant>,
    /// Where the bytes of connections are counted that are made from now on.
    traffic: Option<Traffic>,
    /// How long the server keeps the session that it made last.
    session_timeout: Option<Duration>,
}

impl Cutter {
    /// Drops the TCP connection without a word to the peer, so that the session can be re-activated on another.
    pub fn cut(&self, reason: Reason) {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.reason = Some(reason);
        cut.opening = None;
        cut.token.cancel();
    }

    /// Cuts a connection on which the session does not come about in time.
    pub fn cut_opening(&self, limit: Duration) {
        let opening = self.0.lock().unwrap_or_else(PoisonError::into_inner).opening;
        if opening.is_some_and(|since| since.elapsed() > limit) {
            let waited = limit.as_secs_f64();
            let told = format!("the server took the connection and made no session within {waited} s");
            self.cut(Reason::new(told, "opcua-server-silent"));
        }
    }

    /// The peer said what cannot be taken: its connection ends by that.
    pub fn refuse(&self, reason: Reason) {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.reason.get_or_insert(reason);
    }

    /// The server made a session, which it keeps for so long without a request.
    pub fn session_made(&self, timeout: Duration) {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.session_timeout = Some(timeout);
    }

    /// How long the server keeps the session without a request, where it said so.
    pub fn session_timeout(&self) -> Option<Duration> {
        let cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.session_timeout
    }

    /// The session is there, or the attempt is over.
    pub fn opened(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).opening = None;
    }

    /// Counts the bytes of each connection that is made from now on.
    pub fn count(&self, traffic: Traffic) {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.traffic = Some(traffic);
    }

    fn traffic(&self) -> Option<Traffic> {
        let cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.traffic.clone()
    }

    /// Why the last connection was cut, if it was.
    pub fn take_reason(&self) -> Option<Reason> {
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
        cut.token = token.clone();
        cut.reason = None;
        cut.opening = Some(Instant::now());
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
            endpoint: endpoint.clone(),
            limits: self.clone(),
            nonces: Arc::default(),
        })
    }
}

/// A connector under [`Limited`]: to the server, or one that waits for its call.
pub struct LimitedConnector {
    endpoint: EndpointDescription,
    limits: Limited,
    /// Those of the session that is made over its connections.
    nonces: Arc<Mutex<Nonces>>,
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
        // What was said over another connection is no reason of this one.
        self.limits.cutter.take_reason();
        let context = channel.secure_channel().read().context_arc();
        *context.write().loaders_mut() = bodies::loaders();
        look(&self.nonces, &channel);
        let state = Arc::clone(&channel);
        let url = self.endpoint.endpoint_url.as_ref();
        let wire = Wire {
            traffic: self.limits.cutter.traffic(),
            channel: Arc::clone(&channel),
            cutter: self.limits.cutter.clone(),
            most: (configuration.max_message_size, configuration.max_chunk_count),
        };
        let connecting = async {
            match &self.limits.call {
                None => {
                    let open = |url: String, options: DecodingOptions| direct(url, options, &wire);
                    let connector = StreamConnector::new(open, url.to_owned());
                    connector.connect(state, outgoing, configuration).await
                }
                Some(call) => call.connect((url, &wire), state, outgoing, configuration).await,
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
            channel,
            nonces: Arc::clone(&self.nonces),
        })
    }

    fn default_endpoint(&self) -> EndpointDescription {
        EndpointDescription::from(self.endpoint.endpoint_url.as_ref())
    }
}

/// What a connection goes through on its way to the library.
#[derive(Clone)]
pub struct Wire {
    traffic: Option<Traffic>,
    channel: Arc<SecureChannelState>,
    cutter: Cutter,
    /// Largest message, in bytes and in chunks.
    most: (usize, usize),
}

impl Wire {
    /// What a caller said is forgotten with it.
    pub fn forget(&self) {
        self.cutter.take_reason();
    }

    /// The two sides of a connection: its bytes are counted, and what comes passes the [gate](Gate).
    pub fn of(&self, socket: TcpStream, options: DecodingOptions) -> (FramedRead<Reader, TcpCodec>, Writer) {
        let (reader, writer) = tokio::io::split(Counted::new(socket, self.traffic.clone()));
        let gate = Gate::new(reader, Arc::clone(&self.channel), self.cutter.clone(), self.most);
        (FramedRead::new(gate, TcpCodec::new(options)), writer)
    }
}

/// Connects to a server.
async fn direct(url: String, options: DecodingOptions, wire: &Wire) -> Result<Stream, Error> {
    let (host, port) = hostname_port_from_url(&url, DEFAULT_OPC_UA_SERVER_PORT)
        .map_err(|status| Error::new(status, format!("{url} names no host")))?;
    // A host that is an address of IPv6 has its brackets.
    let address = format!("{host}:{port}");
    let socket = TcpStream::connect(&address).await.map_err(|error| {
        let what = format!("cannot connect to {address}: {error}");
        Error::new(StatusCode::BadCommunicationError, what)
    })?;
    let (reader, writer) = wire.of(socket, options);
    Ok(StreamConnection::new(reader, writer, url))
}

/// A [`CountedTransport`] that ends when it is cut.
pub struct CuttableTransport {
    inner: CountedTransport,
    cut: CancellationToken,
    channel: Arc<SecureChannelState>,
    nonces: Arc<Mutex<Nonces>>,
}

fn look(nonces: &Mutex<Nonces>, channel: &SecureChannelState) {
    nonces
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .look(channel);
}

impl Transport for CuttableTransport {
    async fn poll(&mut self) -> TransportPollResult {
        look(&self.nonces, &self.channel);
        // Both branches are cancel safe, which the trait asks for; the cut is looked at first, as a cut connection may still be readable.
        let result = tokio::select! {
            biased;
            () = self.cut.cancelled() => TransportPollResult::Closed(StatusCode::BadConnectionClosed),
            result = self.inner.poll() => result,
        };
        look(&self.nonces, &self.channel);
        result
    }

    fn connected_url(&self) -> &str {
        self.inner.connected_url()
    }
}
