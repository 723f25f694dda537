//! A tool that takes copies of what the engine is given, until it has enough.

use std::io::Read as _;
use std::os::unix::net::UnixStream as Stream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use floorgate_workbench::recording::beginning;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::server::{PATIENCE, Server};
use super::{Fault, Line, Request};
use crate::engine::{Message, tap};
use crate::exit;
use crate::record::{LONGEST_BLOCK, pump};

/// How long somebody who watches waits for what is new at most.
const LONGEST_LOOK: Duration = Duration::from_millis(200);
/// The longest first line of an answer.
const LONGEST_LINE: usize = 64 * 1024;

impl Server {
    /// Answers with one line, and then with a recording.
    pub(super) async fn stream(
        self: Arc<Self>,
        with_cells: bool,
        (mut read, mut write): (OwnedReadHalf, OwnedWriteHalf),
    ) {
        let (tap, taken) = tap(with_cells);
        let is_there = self.engine.send(Message::Tap(tap)).is_ok();
        let line = if is_there {
            Line::End
        } else {
            Line::Error(Fault {
                text: "the gateway stops".to_owned(),
                code: exit::UNEXPECTED,
            })
        };
        let Ok(mut first) = serde_json::to_vec(&line) else {
            return;
        };
        first.push(b'\n');
        if is_there {
            first.extend(beginning(&self.header));
        }
        if write.write_all(&first).await.is_err() || !is_there {
            return;
        }
        let longest = if with_cells { LONGEST_BLOCK } else { LONGEST_LOOK };
        let stop = CancellationToken::new();
        let mut packed = match pump(taken, stop.clone(), longest) {
            Ok((packed, _)) => packed,
            Err(problem) => {
                tracing::warn!(%problem, see = "gateway-side-door", "cannot start the recorder's thread");
                return;
            }
        };
        let mut asked = [0; 64];
        loop {
            tokio::select! {
                read = read.read(&mut asked), if !stop.is_cancelled() => {
                    // It says nothing more: an end, of whatever kind, is an end.
                    if !matches!(read, Ok(1..)) {
                        stop.cancel();
                    }
                }
                block = packed.recv() => {
                    let Some(block) = block else { return };
                    if !matches!(timeout(PATIENCE, write.write_all(&block)).await, Ok(Ok(()))) {
                        return;
                    }
                }
            }
        }
    }
}

/// Connects to the gateway at a socket; `None` where none runs.
pub fn connect(socket: &Path) -> anyhow::Result<Option<Stream>> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    match Stream::connect(socket) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot reach the gateway at {}; run this as the gateway's user, such as `sudo -u floorgate floorgate …`",
                socket.display()
            )
        }),
    }
}

/// Asks for what a stream follows, and takes the line before it.
pub fn begin_stream(stream: &mut Stream, socket: &Path, request: &Request) -> anyhow::Result<()> {
    use std::io::Write as _;
    let broken = || format!("the gateway at {} does not answer", socket.display());
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    stream.write_all(&text).with_context(broken)?;
    let mut line = Vec::new();
    // Byte by byte, since what follows is not a line.
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        stream.read_exact(&mut byte).with_context(broken)?;
        line.extend(byte);
        anyhow::ensure!(line.len() <= LONGEST_LINE, broken());
    }
    match serde_json::from_slice(&line).with_context(broken)? {
        Line::Error(fault) => Err(fault.into()),
        Line::End | Line::Row(_) => Ok(()),
    }
}
