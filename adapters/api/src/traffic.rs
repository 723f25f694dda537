//! Bytes on the way to a device and back, counted where they pass.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use floorgate_metrics::Traffic;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport whose bytes are counted, as they are handed to it and taken from it: of TLS that is what is on the wire where the
/// transport is the connection below it.
#[derive(Debug)]
pub struct Counted<T> {
    transport: T,
    traffic: Option<Traffic>,
}

impl<T> Counted<T> {
    /// Counts what goes over a transport from now on; without counters, of a look that is no source, nothing is.
    pub fn new(transport: T, traffic: Option<Traffic>) -> Self {
        Self { transport, traffic }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buffer))?;
        let received = buffer.filled().len() - before;
        if let Some(traffic) = &self.traffic {
            traffic.received.inc_by(received as u64);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Counted<T> {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some(traffic), Poll::Ready(Ok(sent))) = (&self.traffic, &written) {
            traffic.sent.inc_by(*sent as u64);
        }
        written
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write_vectored(cx, parts);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use floorgate_metrics::Metrics;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_passes_is_counted_each_way() {
        let metrics = Metrics::new().expect("metrics are registered").source("plc");
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Counted::new(near, Some(metrics.traffic()));
        // More than the other side takes at a time.
        let sent = tokio::join!(near.write_all(&[7; 40]), async {
            far.read_exact(&mut [0; 40]).await?;
            far.write_all(&[1; 5]).await
        });
        assert!(sent.0.is_ok() && sent.1.is_ok(), "{sent:?}");
        near.read_exact(&mut [0; 5]).await.expect("it is there");
        assert_eq!(metrics.reading().bytes, Some((5, 40)));
        drop(far);
        let ended = near.read(&mut [0; 5]).await;
        assert!(matches!(ended, Ok(0)), "{ended:?}");
        assert_eq!(metrics.reading().bytes, Some((5, 40)));
    }
}
