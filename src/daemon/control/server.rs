//! The daemon's end of the socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context as _;
use floorgate_outbox::Reader;
use floorgate_publisher::Status;
use floorgate_workbench::recording::Header;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::{Desk, Stop, give};
use super::{Fault, Line, Request};
use crate::engine::{Message, Order};
use crate::exit;
use crate::standing::Standings;

/// Tools that are served at a time.
const MOST_TOOLS: usize = 4;
/// The longest request in bytes.
const LONGEST_REQUEST: u64 = 64 * 1024;
/// How long a tool may take to send its request, and how long it may not read its answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Rows that wait to be written.
const ROWS_AHEAD: usize = 64;

/// What is served.
pub struct Server {
    /// The store's file.
    pub store: PathBuf,
    /// How publishing stands.
    pub publishing: Arc<dyn Fn() -> Status + Send + Sync>,
    /// How sources and tags stand.
    pub standings: Arc<Standings>,
    /// The engine, for orders.
    pub engine: Sender<Message>,
    /// What a recording begins with.
    pub header: Header,
}

/// Listens at a path, for the user of this process alone. A socket that is there already is that of a dead process: the store's lock says so.
pub fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    let listen = || {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    listen().with_context(|| format!("cannot listen at {} for tools", path.display()))
}

impl Server {
    /// Serves until `stop`; the socket goes then.
    pub async fn serve(self, listener: UnixListener, path: PathBuf, stop: CancellationToken) {
        let server = Arc::new(self);
        let room = Arc::new(Semaphore::new(MOST_TOOLS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(problem) => {
                        tracing::warn!(%problem, see = "gateway-side-door", "a tool could not connect");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (server, stop) = (Arc::clone(&server), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = server.attend(stream) => {}
                }
                drop(place);
            });
        }
        let _ = std::fs::remove_file(&path);
    }

    /// One request and its answer.
    async fn attend(self: Arc<Self>, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut request = String::new();
        let mut limited = BufReader::new(read.take(LONGEST_REQUEST));
        if !matches!(
            timeout(PATIENCE, limited.read_line(&mut request)).await,
            Ok(Ok(_))
        ) {
            return;
        }
        let with_cells = match serde_json::from_str(&request) {
            Ok(Request::Record) => Some(true),
            Ok(Request::Watch) => Some(false),
            _ => None,
        };
        if let Some(with_cells) = with_cells {
            // It closes its end when it has enough.
            let ends = (limited.into_inner().into_inner(), write);
            return self.stream(with_cells, ends).await;
        }
        let (rows, mut lines) = mpsc::channel::<Line>(ROWS_AHEAD);
        tokio::task::spawn_blocking(move || {
            let last = match self.answer(&request, &rows) {
                Ok(()) => Line::End,
                Err(Stop::Fault(fault)) => Line::Error(fault),
                Err(Stop::Gone) => return,
            };
            let _ = rows.blocking_send(last);
        });
        while let Some(line) = lines.recv().await {
            let Ok(mut text) = serde_json::to_vec(&line) else {
                return;
            };
            text.push(b'\n');
            if !matches!(timeout(PATIENCE, write.write_all(&text)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn answer(&self, request: &str, rows: &mpsc::Sender<Line>) -> Result<(), Stop> {
        let request: Request = serde_json::from_str(request).map_err(|error| Fault {
            text: format!(
                "the gateway does not understand the tool, which may be of another version: {error}"
            ),
            code: exit::UNEXPECTED,
        })?;
        let mut give_row = |row| rows.blocking_send(Line::Row(row)).is_ok();
        match request {
            Request::Sources => {
                let mut standing = self.standings.rows().into_iter();
                return standing.try_for_each(|row| give(&mut give_row, &row));
            }
            Request::LateTags => {
                let mut late = self.standings.late().into_iter();
                return late.try_for_each(|row| give(&mut give_row, &row));
            }
            Request::BadTags => {
                let mut bad = self.standings.bad().into_iter();
                return bad.try_for_each(|row| give(&mut give_row, &row));
            }
            Request::RevisedTags => {
                let mut revised = self.standings.revised_rows().into_iter();
                return revised.try_for_each(|row| give(&mut give_row, &row));
            }
            Request::LastGood => {
                let (told, values) = oneshot::channel();
                self.engine.send(Message::LastGood(told)).map_err(|_| stops())?;
                let mut values = values.blocking_recv().map_err(|_| stops())?.into_iter();
                return values.try_for_each(|row| give(&mut give_row, &row));
            }
            _ => {}
        }
        let wal = floorgate_outbox::log_of(&self.store);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let mut desk = Desk {
            reader: Reader::open(&self.store)?,
            publishing: Some((self.publishing)()),
            sizes: (size(&self.store), size(&wal)),
            order: &mut |order| self.order(order),
        };
        desk.answer(request, &mut give_row)
    }

    /// Waits until the engine has stored it.
    fn order(&self, order: Order) -> Result<(), Fault> {
        let (done, stored) = oneshot::channel();
        self.engine
            .send(Message::Order(order, done))
            .map_err(|_| stops())?;
        stored.blocking_recv().map_err(|_| stops())
    }
}

/// Nobody is there any more who could answer.
fn stops() -> Fault {
    Fault {
        text: "the gateway stops; what was not confirmed is not done".to_owned(),
        code: exit::UNEXPECTED,
    }
}
