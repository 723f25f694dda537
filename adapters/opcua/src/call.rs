//! Reverse connect: the server opens the connection, and says who it is (OPC 10000-6 §7.1.3).
//!
//! The port is open while the gateway wants a connection, and no longer: what calls in between is refused by the system, so that no dead
//! connections wait in line. A stranger that calls costs no attempt: it is turned away, and the next caller is heard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opcua::client::transport::{
    Connector, RequestRecv, SecureChannelState, StreamConnection, StreamConnector, TransportConfiguration,
    wait_for_reverse_hello,
};
use opcua::types::{DecodingOptions, Error, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::transport::{CountedTransport, Stream, Wire};

/// How long a caller may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// Where a server calls.
#[derive(Clone, Debug)]
pub struct Call {
    /// The address.
    pub listen: SocketAddr,
    /// The application that has to call; any where it is not given.
    pub server_uri: Option<String>,
    /// Whether another connection is wanted right after this one, so that the port stays open until then.
    pub goes_on: bool,
    /// The open port; it belongs to no runtime while nobody waits at it.
    listener: Arc<Mutex<Option<std::net::TcpListener>>>,
}

impl Call {
    /// Nobody has called yet, and the port is not open.
    pub fn new(listen: SocketAddr, server_uri: Option<String>) -> Self {
        Self {
            listen,
            server_uri,
            goes_on: false,
            listener: Arc::default(),
        }
    }

    /// Waits for the server, and makes its connection one of ours.
    pub async fn connect(
        &self,
        (url, wire): (&str, &Wire),
        channel: Arc<SecureChannelState>,
        outgoing: RequestRecv,
        configuration: TransportConfiguration,
    ) -> Result<CountedTransport, Error> {
        let mut open = self.listener.lock().await;
        let listener = match open.take() {
            Some(listener) => TcpListener::from_std(listener),
            None => TcpListener::bind(self.listen).await,
        };
        let listener = listener.map_err(|error| {
            let what = format!("cannot wait for the server at {}: {error}", self.listen);
            Error::new(StatusCode::BadCommunicationError, what)
        })?;
        let answer = |_: String, options: DecodingOptions| self.answer(&listener, options, wire);
        let connector = StreamConnector::new(answer, url.to_owned());
        let connected = connector.connect(channel, outgoing, configuration).await;
        if self.goes_on {
            *open = listener.into_std().ok();
        }
        connected
    }

    /// The first caller that is the server.
    async fn answer(
        &self,
        listener: &TcpListener,
        options: DecodingOptions,
        wire: &Wire,
    ) -> Result<Stream, Error> {
        loop {
            let (stream, from) = listener.accept().await.map_err(|error| {
                Error::new(
                    StatusCode::BadCommunicationError,
                    format!("cannot take a call: {error}"),
                )
            })?;
            let (mut reader, writer) = wire.of(stream, options.clone());
            let hello = tokio::time::timeout(INTRODUCTION, wait_for_reverse_hello(&mut reader)).await;
            let Ok(Ok(hello)) = hello else {
                tracing::debug!("{from} called and did not say who it is");
                wire.forget();
                continue;
            };
            let uri = hello.server_uri.as_ref();
            if self.server_uri.as_ref().is_some_and(|wanted| wanted != uri) {
                tracing::warn!(
                    see = "opcua-caller-unknown",
                    "{from} called as `{uri}`, which is not the server that is waited for"
                );
                continue;
            }
            return Ok(StreamConnection::new(
                reader,
                writer,
                hello.endpoint_url.as_ref().to_owned(),
            ));
        }
    }
}
