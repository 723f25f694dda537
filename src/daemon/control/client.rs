//! A tool's end: it asks the gateway that runs, or else the store itself.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use floorgate_outbox::{Commit, Options, Reader, Store, log_of};

use super::answer::{Desk, Stop};
use super::{Fault, Line, Request, connect, socket};
use crate::engine::Order;
use crate::exit;

/// Who answers.
pub enum Client {
    /// The gateway that runs.
    Gateway(PathBuf),
    /// Nobody else has the store.
    Store(Box<Store>, PathBuf),
}

impl Client {
    /// Finds out who answers for a state folder. `options` name the store in it.
    pub fn of(state: &Path, options: &Options) -> anyhow::Result<Self> {
        let socket = socket(state);
        if connect(&socket)?.is_some() {
            return Ok(Self::Gateway(socket));
        }
        match std::fs::metadata(&options.path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!(
                    "there is no outbox at {}; the gateway has not run yet",
                    options.path.display()
                )
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot look at {}; run this as the gateway's user, such as `sudo -u floorgate floorgate …`",
                        options.path.display()
                    )
                });
            }
        }
        let (store, _) =
            Store::open(options).context("no gateway answers, and its outbox cannot be opened")?;
        Ok(Self::Store(Box::new(store), options.path.clone()))
    }

    /// Whether a gateway runs.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Gateway(_))
    }

    /// Lets go of the store, which a gateway that starts would find taken: from now on only such a one answers.
    pub fn leave_store(&mut self, state: &Path) {
        *self = Self::Gateway(socket(state));
    }

    /// Whether anybody answers.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Gateway(socket) => UnixStream::connect(socket).is_ok(),
            Self::Store(..) => true,
        }
    }
}

/// Asks, and takes the answer row by row; `false` ends it.
pub fn ask(
    client: &mut Client,
    request: &Request,
    mut row: impl FnMut(serde_json::Value) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    match client {
        Client::Gateway(socket) => ask_gateway(socket, request, row),
        Client::Store(store, path) => {
            let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
            let mut failed = Ok(());
            let mut desk = Desk {
                reader: Reader::open(&*path)?,
                publishing: None,
                sizes: (size(path), size(&log_of(path))),
                order: &mut |order| store_order(store, order),
            };
            let answered = desk.answer(request.clone(), &mut |value| match row(value) {
                Ok(goes_on) => goes_on,
                Err(error) => {
                    failed = Err(error);
                    false
                }
            });
            failed?;
            match answered {
                Ok(()) | Err(Stop::Gone) => Ok(()),
                Err(Stop::Fault(fault)) => Err(fault.into()),
            }
        }
    }
}

fn store_order(store: &mut Store, order: Order) -> Result<(), Fault> {
    let done = match order {
        Order::Resend(order) => {
            let mut commit = Commit {
                events: order.events,
                settled_letters: order.letters,
                ..Commit::default()
            };
            store.commit(&mut commit).map(drop)
        }
        Order::Repartition(topic) => store.unpin_topic(&topic),
    };
    done.map_err(|error| Fault {
        code: error.exit_code(),
        text: format!("{:#}", anyhow::Error::from(error)),
    })
}

fn ask_gateway(
    socket: &Path,
    request: &Request,
    mut row: impl FnMut(serde_json::Value) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let broken = || format!("the gateway at {} does not answer to its end", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(broken)?;
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    stream.write_all(&text).with_context(broken)?;
    for line in BufReader::new(stream).lines() {
        let line = line.with_context(broken)?;
        match serde_json::from_str(&line).with_context(broken)? {
            Line::Row(value) => {
                if !row(value)? {
                    return Ok(());
                }
            }
            Line::End => return Ok(()),
            Line::Error(fault) => return Err(fault.into()),
        }
    }
    Err(Fault {
        text: broken(),
        code: exit::UNEXPECTED,
    }
    .into())
}
