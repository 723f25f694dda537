//! The connection: one request at a time, each answer checked, dropped on any doubt.

use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_modbus::prelude::{ReadCode, ReadDeviceIdentificationResponse};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{ExceptionCode, ProtocolError, Request, Response};
use tokio_serial::{SerialPort, SerialPortBuilderExt};
use tracing::debug;

use crate::address::Table;
use crate::planner::Extent;
use crate::settings::{Checked, Endpoint, Parity};

/// How long a new RTU connection is left alone: what a terminal server kept for the one before arrives meanwhile, and
/// is thrown away when the first request is sent.
const SETTLE: Duration = Duration::from_millis(20);

/// How long a connection must have been unused for its end to be taken for the device's idle time-out, of which the
/// shortest are about a second.
const IDLE: Duration = Duration::from_millis(500);

/// Waits until a moment that may have passed. The timer counts whole milliseconds, rounded up: without the question a
/// moment that is just over would cost one.
pub(crate) async fn wait_until(moment: Instant) {
    if moment > Instant::now() {
        sleep_until(moment).await;
    }
}

/// Why a request brought no values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The device answered that it does not do this. The connection is sound.
    #[error("exception {:02X} ({})", u8::from(*.0), .0.to_string().to_lowercase())]
    Exception(ExceptionCode),
    /// No answer in time. The connection was dropped.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An answer that is not to this request. The connection was dropped.
    #[error("{0}")]
    Protocol(String),
    /// The connection broke.
    #[error("{0}")]
    Transport(#[from] io::Error),
}

impl Failure {
    /// Whether the other side has closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let Self::Transport(error) = self else {
            return false;
        };
        matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        )
    }
}

/// A connection, or the way to make one.
pub(crate) struct Link {
    endpoint: Endpoint,
    timeout: Duration,
    /// Least time between an answer and the next request.
    pause: Duration,
    context: Option<Context>,
    /// When the last answer came on the connection.
    answered: Option<Instant>,
    ready: Instant,
}

impl Link {
    pub(crate) fn new(settings: &Checked) -> Self {
        let silence = match &settings.endpoint {
            Endpoint::Rtu { line, .. } => line.silence(),
            Endpoint::Tcp(_) | Endpoint::RtuOverTcp(_) => Duration::ZERO,
        };
        Self {
            endpoint: settings.endpoint.clone(),
            timeout: settings.timeout,
            pause: settings.request_pause.max(silence),
            context: None,
            answered: None,
            ready: Instant::now(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.context.is_some()
    }

    /// Connects, or opens the serial line.
    pub(crate) async fn open(&mut self) -> io::Result<()> {
        let context = match &self.endpoint {
            Endpoint::Tcp(address) => tcp::attach(Wire::new(connect(address, self.timeout).await?, false)),
            Endpoint::RtuOverTcp(address) => {
                rtu::attach(Wire::new(connect(address, self.timeout).await?, true))
            }
            Endpoint::Rtu { path, line } => {
                let stop_bits = if line.stop_bits == 2 {
                    tokio_serial::StopBits::Two
                } else {
                    tokio_serial::StopBits::One
                };
                let parity = match line.parity {
                    Parity::Even => tokio_serial::Parity::Even,
                    Parity::Odd => tokio_serial::Parity::Odd,
                    Parity::None => tokio_serial::Parity::None,
                };
                let port = tokio_serial::new(path, line.baud)
                    .data_bits(tokio_serial::DataBits::Eight)
                    .parity(parity)
                    .stop_bits(stop_bits)
                    .open_native_async()?;
                // What arrived while nobody listened answers nothing that will be asked.
                port.clear(tokio_serial::ClearBuffer::Input)?;
                rtu::attach(Wire::new(port, true))
            }
        };
        self.context = Some(context);
        self.answered = None;
        let settle = if self.endpoint.is_rtu() {
            SETTLE
        } else {
            Duration::ZERO
        };
        self.ready = Instant::now() + settle;
        Ok(())
    }

    /// Waits until the next request may be sent, which a request does by itself.
    pub(crate) async fn wait_ready(&mut self) {
        wait_until(self.ready).await;
    }

    /// Reads registers, or bits as words of 0 and 1. After any failure but an exception the connection is gone.
    pub(crate) async fn read(&mut self, unit: u8, table: Table, extent: Extent) -> Result<Vec<u16>, Failure> {
        let request = request(table, extent)?;
        self.call(unit, request, |answer| words(answer, extent)).await
    }

    /// Reads a part of the device identification (function 43/14), from an object on. Failures are as of `read`.
    pub(crate) async fn identify(
        &mut self,
        unit: u8,
        code: ReadCode,
        object: u8,
    ) -> Result<ReadDeviceIdentificationResponse, Failure> {
        let request = Request::ReadDeviceIdentification(code, object);
        self.call(unit, request, |answer| match answer {
            Response::ReadDeviceIdentification(part) => Ok(part),
            other => Err(unexpected(&other)),
        })
        .await
    }

    /// Asks, and takes what is right of the answer.
    async fn call<T>(
        &mut self,
        unit: u8,
        request: Request<'static>,
        take: impl FnOnce(Response) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // Out of its place while in use: an answer that is not waited for (the run is dropped, the time is over) closes
        // the connection with it.
        let mut context = self
            .context
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        self.wait_ready().await;
        context.set_slave(Slave(unit));
        let answer = match timeout(self.timeout, context.call(request)).await {
            Err(_) => return Err(Failure::Timeout(self.timeout)),
            Ok(Err(tokio_modbus::Error::Protocol(mismatch))) => {
                return Err(Failure::Protocol(told(&mismatch)));
            }
            Ok(Err(tokio_modbus::Error::Transport(error))) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Failure::Protocol(format!("malformed answer: {error}")));
            }
            Ok(Err(tokio_modbus::Error::Transport(error))) => return Err(Failure::Transport(error)),
            Ok(Ok(answer)) => answer,
        };
        let taken = match answer {
            Ok(response) => Ok(take(response)?),
            Err(exception) => Err(Failure::Exception(exception)),
        };
        self.answered = Some(Instant::now());
        self.ready = Instant::now() + self.pause;
        self.context = Some(context);
        taken
    }

    /// Whether the connection is open and was used last so long ago that the device may have closed it for that.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_open() && self.answered.is_some_and(|answered| answered.elapsed() >= IDLE)
    }

    /// Ends the connection in order.
    pub(crate) async fn close(&mut self) {
        if let Some(mut context) = self.context.take() {
            // The device may be gone; nothing depends on a farewell.
            let _ = timeout(Duration::from_millis(200), context.disconnect()).await;
        }
    }
}

async fn connect(address: &str, within: Duration) -> io::Result<TcpStream> {
    let stream = timeout(within, TcpStream::connect(address)).await.map_err(|_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no connection within {within:?}"),
        )
    })??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn request(table: Table, extent: Extent) -> io::Result<Request<'static>> {
    let beyond = |_| io::Error::new(io::ErrorKind::InvalidInput, "address beyond 65535");
    let start = u16::try_from(extent.start).map_err(beyond)?;
    let count = u16::try_from(extent.len).map_err(beyond)?;
    Ok(match table {
        Table::Coil => Request::ReadCoils(start, count),
        Table::Discrete => Request::ReadDiscreteInputs(start, count),
        Table::Input => Request::ReadInputRegisters(start, count),
        Table::Holding => Request::ReadHoldingRegisters(start, count),
    })
}

/// The words of an answer of the right length. The library takes whatever length the device sends.
fn words(response: Response, extent: Extent) -> Result<Vec<u16>, Failure> {
    let (words, expected) = match response {
        Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words) => (words, extent.len),
        Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => (
            bits.into_iter().map(u16::from).collect(),
            extent.len.div_ceil(8) * 8,
        ),
        other => return Err(unexpected(&other)),
    };
    if u32::try_from(words.len()) != Ok(expected) {
        return Err(Failure::Protocol(format!(
            "answer with {} values instead of {expected}",
            words.len()
        )));
    }
    Ok(words)
}

fn unexpected(response: &Response) -> Failure {
    Failure::Protocol(format!(
        "answer with function {}",
        response.function_code().value()
    ))
}

fn told(mismatch: &ProtocolError) -> String {
    match mismatch {
        ProtocolError::HeaderMismatch { message, .. } => format!("answer to another request: {message}"),
        ProtocolError::FunctionCodeMismatch { request, .. } => {
            format!("answer with another function than {}", request.value())
        }
    }
}

/// A transport that says when the other side has closed it (the library reports the last error of the system
/// instead, which is about something else), and that can throw away what arrived before a request is sent.
#[derive(Debug)]
struct Wire<T> {
    transport: T,
    /// RTU frames carry no transaction number: what came before the question is no answer to it, though it may look
    /// like one (a terminal server that hands late bytes to the next connection).
    drains: bool,
}

impl<T> Wire<T> {
    fn new(transport: T, drains: bool) -> Self {
        Self { transport, drains }
    }
}

impl<T: AsyncRead + Unpin> Wire<T> {
    fn poll_fill(&mut self, cx: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "the device closed the connection");
            return Poll::Ready(Err(closed));
        }
        Poll::Ready(Ok(()))
    }

    /// Throws away what can be read without waiting, at most a few frames: a line that never falls silent is not
    /// listened to for ever.
    fn drain(&mut self, cx: &mut TaskContext<'_>) -> io::Result<()> {
        let mut bytes = [0; 512];
        for _ in 0..16 {
            let mut buffer = ReadBuf::new(&mut bytes);
            match self.poll_fill(cx, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) => debug!(bytes = buffer.filled().len(), "late bytes thrown away"),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the line is never silent",
        ))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_fill(cx, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.drains {
            self.drain(cx)?;
        }
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
