//! What frames go over: connections, serial lines and sockets, opened by the form of the address.

use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use floorgate_adapter_api::{Counted, Traffic};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_serial::{DataBits, SerialPort, SerialPortBuilder, SerialPortBuilderExt, SerialStream, StopBits};
use tracing::debug;

use crate::ascii::Ascii;
use crate::endpoint::{Endpoint, Line, Parity, host};
use crate::tls::{Identity, explained};
use crate::udp::Datagrams;

/// Opens what leads to a device; the identity is for TLS. Its bytes are counted where there are counters.
pub(crate) async fn open(
    endpoint: &Endpoint,
    identity: Option<&Identity>,
    traffic: Option<Traffic>,
    within: Duration,
) -> io::Result<Context> {
    timeout(within, open_at_leisure(endpoint, identity, traffic))
        .await
        .map_err(|_| {
            let message = format!("no connection within {within:?}");
            io::Error::new(io::ErrorKind::TimedOut, message)
        })?
}

async fn open_at_leisure(
    endpoint: &Endpoint,
    identity: Option<&Identity>,
    traffic: Option<Traffic>,
) -> io::Result<Context> {
    Ok(match endpoint {
        Endpoint::Tcp(address) => tcp::attach(Wire::new(connect(address, traffic).await?, false)),
        Endpoint::Tls(address) => {
            let identity = identity.ok_or_else(|| io::Error::other("there are no certificates"))?;
            let stream = connect(address, traffic).await?;
            tcp::attach(Wire::new(identity.secure(stream, host(address)).await?, false))
        }
        Endpoint::Udp(address) => own(Datagrams::open(address, traffic).await?),
        Endpoint::RtuOverTcp(address) => rtu::attach(Wire::new(connect(address, traffic).await?, true)),
        Endpoint::AsciiOverTcp(address) => own(Ascii::new(Wire::new(connect(address, traffic).await?, true))),
        Endpoint::Rtu { path, line } => rtu::attach(Wire::new(serial(path, *line, traffic)?, true)),
        Endpoint::Ascii { path, line } => own(Ascii::new(Wire::new(serial(path, *line, traffic)?, true))),
    })
}

/// A client whose frames are our own.
fn own(client: impl Client + 'static) -> Context {
    let client: Box<dyn Client> = Box::new(client);
    client.into()
}

async fn connect(address: &str, traffic: Option<Traffic>) -> io::Result<Counted<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Counted::new(stream, traffic))
}

fn serial(path: &str, line: Line, traffic: Option<Traffic>) -> io::Result<Counted<SerialStream>> {
    let port = port(path, line).open_native_async()?;
    // What arrived while nobody listened answers nothing that will be asked.
    port.clear(tokio_serial::ClearBuffer::Input)?;
    Ok(Counted::new(port, traffic))
}

/// A port as the line is.
fn port(path: &str, line: Line) -> SerialPortBuilder {
    tokio_serial::new(path, line.baud)
        .data_bits(if line.data_bits == 7 {
            DataBits::Seven
        } else {
            DataBits::Eight
        })
        .parity(match line.parity {
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
            Parity::None => tokio_serial::Parity::None,
        })
        .stop_bits(if line.stop_bits == 2 {
            StopBits::Two
        } else {
            StopBits::One
        })
}

/// A transport that says when the other side has closed it (the library reports the last error of the system
/// instead, which is about something else), and that can throw away what arrived before a request is sent.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    transport: T,
    /// Frames of a serial line carry no transaction number: what came before the question is no answer to it, though it may look
    /// like one (a terminal server that hands late bytes to the next connection).
    drains: bool,
    /// On such a line: the request, whose echo may come before the answer. An adapter for two wires hears what it sends, and a request
    /// can be taken for an answer: it has a unit, a function and a check sum.
    sent: Vec<u8>,
    /// What came since, as long as it may be the echo.
    held: Vec<u8>,
    /// What came and is none.
    heard: Vec<u8>,
    is_read: bool,
}

impl<T> Wire<T> {
    pub(crate) fn new(transport: T, drains: bool) -> Self {
        Self {
            transport,
            drains,
            sent: Vec::new(),
            held: Vec::new(),
            heard: Vec::new(),
            is_read: false,
        }
    }

    /// Takes what came, but for the echo of what was sent.
    fn hear(&mut self, bytes: &[u8]) {
        self.held.extend(bytes);
        if self.held.starts_with(&self.sent) {
            self.heard.extend(self.held.drain(..).skip(self.sent.len()));
            self.sent.clear();
        } else if !self.sent.starts_with(&self.held) {
            self.heard.append(&mut self.held);
            self.sent.clear();
        }
    }

    /// What was sent, of which there may be an echo. With a new request what came before is over.
    fn say(&mut self, bytes: &[u8]) {
        if std::mem::take(&mut self.is_read) {
            for over in [&mut self.sent, &mut self.held, &mut self.heard] {
                over.clear();
            }
        }
        self.sent.extend(bytes);
    }
}

impl<T: AsyncRead + Unpin> Wire<T> {
    fn poll_fill(&mut self, cx: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buffer)).map_err(explained)?;
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
        if !self.drains {
            return self.poll_fill(cx, buffer);
        }
        self.is_read = true;
        while self.heard.is_empty() {
            let mut bytes = [0; 512];
            let mut fresh = ReadBuf::new(&mut bytes);
            ready!(self.poll_fill(cx, &mut fresh))?;
            self.hear(fresh.filled());
        }
        let len = self.heard.len().min(buffer.remaining());
        for byte in self.heard.drain(..len) {
            buffer.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.drains {
            return Pin::new(&mut self.transport).poll_write(cx, bytes);
        }
        self.drain(cx)?;
        let len = ready!(Pin::new(&mut self.transport).poll_write(cx, bytes))?;
        self.say(bytes.get(..len).unwrap_or_default());
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What is heard on a line after a request was sent, with these answers in pieces.
    async fn heard(drains: bool, pieces: &[&[u8]]) -> Vec<u8> {
        let (own, mut other) = tokio::io::duplex(64);
        let mut wire = Wire::new(own, drains);
        wire.write_all(&[1, 3, 0, 7, 0, 1, 9, 9])
            .await
            .expect("it is sent");
        let mut request = [0; 8];
        other.read_exact(&mut request).await.expect("it comes");
        for piece in pieces {
            other.write_all(piece).await.expect("it is taken");
        }
        drop(other);
        let mut all = Vec::new();
        let end = wire.read_to_end(&mut all).await;
        assert!(end.is_err(), "the device closed the connection");
        all
    }

    #[tokio::test]
    async fn the_echo_of_a_request_is_no_answer() {
        const ECHO: &[u8] = &[1, 3, 0, 7, 0, 1, 9, 9];
        const ANSWER: &[u8] = &[1, 3, 2, 0, 5, 9, 9];
        assert_eq!(heard(true, &[ECHO, ANSWER]).await, ANSWER);
        assert_eq!(heard(true, &[&ECHO[..3], &ECHO[3..], ANSWER]).await, ANSWER);
        let together = [ECHO, ANSWER].concat();
        assert_eq!(heard(true, &[&together]).await, ANSWER);
        assert_eq!(heard(true, &[ANSWER]).await, ANSWER);
        assert_eq!(heard(true, &[&ANSWER[..2], &ANSWER[2..]]).await, ANSWER);
        assert_eq!(heard(true, &[ECHO, ECHO]).await, ECHO, "once");
        assert_eq!(heard(false, &[ECHO]).await, ECHO, "where nothing can echo");
    }

    #[tokio::test]
    async fn what_may_be_an_echo_of_one_request_is_not_kept_for_the_next() {
        let (own, mut other) = tokio::io::duplex(64);
        let mut wire = Wire::new(own, true);
        let mut request = [0; 4];
        for answer in [[1, 2, 3, 4], [5, 6, 1, 2]] {
            wire.write_all(&[1, 2, 9, 9]).await.expect("it is sent");
            other.read_exact(&mut request).await.expect("it comes");
            other.write_all(&answer).await.expect("it is taken");
            let mut read = [0; 4];
            wire.read_exact(&mut read).await.expect("it is heard");
            assert_eq!(read, answer);
        }
    }

    #[test]
    fn a_port_is_opened_as_the_line_is() {
        let line = |baud, data_bits, parity, stop_bits| Line {
            baud,
            data_bits,
            parity,
            stop_bits,
        };
        let plain = |baud| tokio_serial::new("/dev/ttyUSB0", baud);
        for (line, expected) in [
            (
                line(19_200, 8, Parity::Even, 1),
                plain(19_200)
                    .data_bits(DataBits::Eight)
                    .parity(tokio_serial::Parity::Even)
                    .stop_bits(StopBits::One),
            ),
            (
                line(300, 7, Parity::Odd, 1),
                plain(300)
                    .data_bits(DataBits::Seven)
                    .parity(tokio_serial::Parity::Odd)
                    .stop_bits(StopBits::One),
            ),
            (
                line(115_200, 8, Parity::None, 2),
                plain(115_200)
                    .data_bits(DataBits::Eight)
                    .parity(tokio_serial::Parity::None)
                    .stop_bits(StopBits::Two),
            ),
        ] {
            assert_eq!(port("/dev/ttyUSB0", line), expected);
        }
    }
}
