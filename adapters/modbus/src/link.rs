//! The connection: one request at a time, each answer checked, dropped on any doubt.

use std::io;
use std::time::Duration;

use floorgate_adapter_api::Traffic;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_modbus::client::{Client, Context};
use tokio_modbus::prelude::{ReadCode, ReadDeviceIdentificationResponse};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{ExceptionCode, ProtocolError, Request, Response};

use crate::address::Table;
use crate::endpoint::Endpoint;
use crate::planner::Extent;
use crate::settings::Checked;
use crate::tls::{Fault, Identity};
use crate::transport;
use crate::unit::{Reaction, reaction};

/// How long a new connection with frames of a serial line is left alone: what a terminal server kept for the one before arrives meanwhile, and
/// is thrown away when the first request is sent.
const SETTLE: Duration = Duration::from_millis(20);

/// How long a connection must have been unused for its end to be taken for the device's idle time-out, of which the
/// shortest are about a second.
const IDLE: Duration = Duration::from_millis(500);

/// The function that reads a queue, which the library has no name for.
const READ_FIFO: u8 = 24;
/// Most registers in a queue.
const LONGEST_QUEUE: usize = 31;

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
    /// The paragraph of `RUNBOOK.md` that is about it.
    pub(crate) fn see(&self) -> &'static str {
        match self {
            Self::Exception(exception) => match reaction(*exception) {
                Reaction::Refused { .. } => "modbus-tag-refused",
                Reaction::Failing(_) => "modbus-device-failure",
                Reaction::Busy(_) => "modbus-device-busy",
                Reaction::Unreachable(_) => "modbus-unit-behind-gateway",
            },
            Self::Timeout(_) => "modbus-no-answer",
            Self::Protocol(_) => "modbus-answer-wrong",
            Self::Transport(error) => fault(error).map_or("modbus-connection-closed", Fault::see),
        }
    }

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

/// The ways to the device, and why none of them could be taken.
#[derive(Debug)]
pub(crate) struct Unreachable(Vec<(Endpoint, io::Error)>);

impl Unreachable {
    /// The paragraph of `RUNBOOK.md` that is about the first of them.
    pub(crate) fn see(&self) -> &'static str {
        let first = self.0.first();
        if let Some(fault) = first.and_then(|(_, error)| fault(error)) {
            return fault.see();
        }
        match first {
            Some((Endpoint::Rtu { .. } | Endpoint::Ascii { .. }, _)) => "modbus-serial-line-not-opened",
            _ => "modbus-device-unreachable",
        }
    }
}

/// What is wrong with TLS, where it is that.
fn fault(error: &io::Error) -> Option<&Fault> {
    error.get_ref()?.downcast_ref()
}

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, (endpoint, error)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{endpoint}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unreachable {}

/// A connection, or the way to make one.
pub(crate) struct Link {
    /// Where the device is: the one that is tried first, and perhaps another one.
    endpoints: Vec<Endpoint>,
    identity: Option<Identity>,
    /// Where the bytes of its connections are counted.
    traffic: Option<Traffic>,
    timeout: Duration,
    /// Least time between a connection and the first request.
    settle: Duration,
    /// Least time between an answer and the next request.
    pause: Duration,
    /// Least time between an answer and a request to another unit.
    turnaround: Duration,
    context: Option<Context>,
    /// Where it led last.
    last: Option<Endpoint>,
    /// [`Link::overslept`].
    overslept: Duration,
    /// When the last answer came on the connection.
    answered: Option<Instant>,
    /// Which unit was asked last.
    unit: Option<u8>,
    ready: Instant,
}

impl Link {
    pub(crate) fn new(settings: &Checked) -> Self {
        let silence = match &settings.endpoint {
            Endpoint::Rtu { line, .. } => line.silence(),
            _ => Duration::ZERO,
        };
        let settle = if settings.endpoint.is_serial() {
            SETTLE
        } else {
            Duration::ZERO
        };
        let backup = settings.backup.iter().cloned();
        Self {
            endpoints: [settings.endpoint.clone()].into_iter().chain(backup).collect(),
            identity: settings.identity.clone(),
            traffic: None,
            timeout: settings.timeout,
            settle: settings.pause_after_connect.max(settle),
            pause: settings.request_pause.max(silence),
            turnaround: settings.turnaround,
            context: None,
            last: None,
            overslept: Duration::ZERO,
            answered: None,
            unit: None,
            ready: Instant::now(),
        }
    }

    /// A connection that is open already.
    #[cfg(test)]
    pub(crate) fn over(context: Context, settings: &Checked) -> Self {
        Self {
            context: Some(context),
            ..Self::new(settings)
        }
    }

    /// Another connection to where this one leads, not open yet.
    pub(crate) fn another(&self) -> Self {
        Self {
            endpoints: vec![self.endpoints[0].clone()],
            identity: self.identity.clone(),
            traffic: self.traffic.clone(),
            context: None,
            last: None,
            overslept: Duration::ZERO,
            answered: None,
            unit: None,
            ready: Instant::now(),
            ..*self
        }
    }

    /// The same, and the bytes of its connections are counted from now on.
    pub(crate) fn counted(self, traffic: Traffic) -> Self {
        Self {
            traffic: Some(traffic),
            ..self
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.context.is_some()
    }

    /// Where it leads, or led last.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoints[0]
    }

    /// The other way to the device is tried first from now on: this one leads nowhere.
    pub(crate) async fn turn_away(&mut self) {
        self.close().await;
        self.endpoints.rotate_left(1);
    }

    /// Connects, or opens the serial line: where it did before, or else the other way. Returns whether it leads elsewhere than
    /// it did last.
    pub(crate) async fn open(&mut self) -> Result<bool, Unreachable> {
        let mut reasons = Vec::new();
        for turns in 0..self.endpoints.len() {
            let endpoint = &self.endpoints[turns];
            let (identity, traffic) = (self.identity.as_ref(), self.traffic.clone());
            match transport::open(endpoint, identity, traffic, self.timeout).await {
                Ok(context) => {
                    let last = self.last.replace(endpoint.clone());
                    self.endpoints.rotate_left(turns);
                    self.context = Some(context);
                    self.answered = None;
                    self.unit = None;
                    self.ready = Instant::now() + self.settle;
                    return Ok(last.map_or(turns > 0, |last| last != self.endpoints[0]));
                }
                Err(error) => reasons.push((endpoint.clone(), error)),
            }
        }
        Err(Unreachable(reasons))
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
        if self.unit.replace(unit).is_some_and(|last| last != unit)
            && let Some(answered) = self.answered
        {
            self.ready = self.ready.max(answered + self.turnaround);
        }
        self.wait_ready().await;
        context.set_slave(Slave(unit));
        let begun = Instant::now();
        let called = timeout(self.timeout, context.call(request)).await;
        self.overslept = begun.elapsed().saturating_sub(self.timeout);
        let answer = match called {
            Err(_) => return Err(Failure::Timeout(self.timeout)),
            // The library has two names for a function that it does not know itself.
            Ok(Err(tokio_modbus::Error::Protocol(ProtocolError::FunctionCodeMismatch {
                request,
                result: Err(exception),
            }))) if request.value() == exception.function.value() => Err(exception.exception),
            Ok(Err(tokio_modbus::Error::Protocol(mismatch))) => {
                return Err(Failure::Protocol(told(&mismatch)));
            }
            Ok(Err(tokio_modbus::Error::Transport(error))) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Failure::Protocol(format!("malformed answer: {error}")));
            }
            Ok(Err(tokio_modbus::Error::Transport(error))) => return Err(self.broken(error)),
            Ok(Ok(answer)) => answer,
        };
        let taken = match answer {
            Ok(response) => Ok(take(response)?),
            Err(exception) => Err(Failure::Exception(exception)),
        };
        let now = Instant::now();
        self.answered = Some(now);
        self.ready = now + self.pause;
        self.context = Some(context);
        taken
    }

    /// How much longer the last question took than it can where the gateway itself does not stand still; asked once for each.
    pub(crate) fn overslept(&mut self) -> Duration {
        std::mem::take(&mut self.overslept)
    }

    /// Why the connection broke.
    fn broken(&self, error: io::Error) -> Failure {
        let failure = Failure::Transport(error);
        if self.answered.is_some() || !failure.is_closed() || !matches!(self.endpoints[0], Endpoint::Tls(_)) {
            return failure;
        }
        io::Error::new(io::ErrorKind::ConnectionReset, Fault::GatewayPerhaps).into()
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

fn request(table: Table, extent: Extent) -> io::Result<Request<'static>> {
    let beyond = |_| io::Error::new(io::ErrorKind::InvalidInput, "address beyond 65535");
    let start = u16::try_from(extent.start).map_err(beyond)?;
    let count = u16::try_from(extent.len).map_err(beyond)?;
    Ok(match table {
        Table::Coil => Request::ReadCoils(start, count),
        Table::Discrete => Request::ReadDiscreteInputs(start, count),
        Table::Input => Request::ReadInputRegisters(start, count),
        Table::Holding => Request::ReadHoldingRegisters(start, count),
        Table::Fifo => Request::Custom(READ_FIFO, start.to_be_bytes().to_vec().into()),
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
        Response::Custom(READ_FIFO, data) => return queue(&data),
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

/// What is in a queue: the number of bytes that follow, of registers, and these (V1.1b3 §6.18).
fn queue(data: &[u8]) -> Result<Vec<u16>, Failure> {
    let words: Vec<u16> = data
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    match words[..] {
        [bytes, count, ref queued @ ..]
            if queued.len() <= LONGEST_QUEUE
                && usize::from(count) == queued.len()
                && usize::from(bytes) == data.len() - 2 =>
        {
            Ok(queued.to_vec())
        }
        _ => Err(Failure::Protocol(
            "malformed answer: a queue of another length than it says".to_owned(),
        )),
    }
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
