//! A server that does what no server should: it stands between a real one and the gateway, and changes what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The number of a `PublishResponse` in the binary encoding.
const PUBLISH_RESPONSE: u16 = 829;
/// The number of a `CreateSubscriptionRequest`.
const CREATE_SUBSCRIPTION_REQUEST: u16 = 787;
/// Before the body of a chunk of a message: type, size, channel, token, number, request.
const HEADER: usize = 24;

/// What is done with the answers to publish requests.
#[derive(Clone, Debug, Default)]
pub enum Trick {
    /// They are passed on.
    #[default]
    None,
    /// None arrives.
    Swallow,
    /// The next one has this body.
    Body(Vec<u8>),
    /// These bytes come in place of the next one.
    Raw(Vec<u8>),
    /// The next one never ends.
    Endless,
    /// The next one comes byte by byte, one every 200 ms.
    Trickle,
    /// No answer of another kind arrives.
    Deaf(u16),
    /// An answer of another kind ends the connection.
    Cut(u16),
    /// No answer arrives to a request that has these bytes.
    DeafTo(Vec<u8>),
    /// Such a request ends the connection.
    CutTo(Vec<u8>),
    /// An answer of another kind has this body instead, in chunks.
    Chunks(u16, Vec<u8>),
    /// The answer that opens the channel has this in the place of its diagnostics; where it is nothing, not even numbers.
    Opened(Vec<u8>),
    /// Subscriptions with this publishing interval, in milliseconds, give no signs of life, and are told to give them as they were asked to.
    Mute(f64),
    /// The next one ends the connection, and others that are made have a greeting and nothing else.
    Dumb,
}

pub struct Rogue {
    pub port: u16,
    trick: watch::Sender<Trick>,
    /// How often a trick was played.
    pub played: Arc<AtomicU64>,
    /// How many bytes of a message without an end were taken.
    pub taken: Arc<AtomicU64>,
}

impl Rogue {
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let trick = watch::Sender::new(Trick::None);
        let (played, taken) = (Arc::default(), Arc::default());
        let (tricks, plays, bytes) = (trick.clone(), Arc::clone(&played), Arc::clone(&taken));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                let (tricks, plays, bytes) = (tricks.clone(), Arc::clone(&plays), Arc::clone(&bytes));
                tokio::spawn(async move {
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = server.into_split();
                    let meant = Arc::<AtomicU32>::default();
                    let requests = Requests {
                        from: client_in,
                        to: server_out,
                        tricks: tricks.clone(),
                        plays: Arc::clone(&plays),
                        meant: Arc::clone(&meant),
                    };
                    let answers = Answers {
                        from: server_in,
                        to: client_out,
                        tricks,
                        plays,
                        bytes,
                        meant,
                        left_out: 0,
                    };
                    // Either end ends both.
                    tokio::select! {
                        _ = requests.pass() => {}
                        _ = answers.pass() => {}
                    }
                });
            }
        });
        Self {
            port,
            trick,
            played,
            taken,
        }
    }

    pub fn plays(&self, trick: Trick) {
        self.trick.send_replace(trick);
    }

    pub async fn has_played(&self, times: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.played.load(Ordering::SeqCst) < times {
            assert!(Instant::now() < deadline, "it was not played");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The gateway's side of a connection.
struct Requests {
    from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    tricks: watch::Sender<Trick>,
    plays: Arc<AtomicU64>,
    /// The request that is not to be answered.
    meant: Arc<AtomicU32>,
}

impl Requests {
    async fn pass(mut self) -> std::io::Result<()> {
        loop {
            let mut chunk = chunk(&mut self.from).await?;
            let trick = self.tricks.borrow().clone();
            if let Trick::Mute(interval) = trick
                && chunk.get(HEADER + 2..HEADER + 4) == Some(&CREATE_SUBSCRIPTION_REQUEST.to_le_bytes()[..])
            {
                // At the end: interval, lifetime, keep-alives, most notifications, and two bytes.
                let end = chunk.len() - 22;
                if chunk[end..end + 8] == interval.to_le_bytes() {
                    let request = u32::from_le_bytes(chunk[20..24].try_into().unwrap());
                    self.meant.store(request, Ordering::SeqCst);
                    chunk[end + 12..end + 16].copy_from_slice(&10_000_u32.to_le_bytes());
                }
            }
            let has = |bytes: &[u8]| chunk.windows(bytes.len()).any(|part| part == bytes);
            match trick {
                Trick::CutTo(bytes) if has(&bytes) => {
                    self.plays.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                Trick::DeafTo(bytes) if has(&bytes) => {
                    let request = u32::from_le_bytes(chunk[20..24].try_into().unwrap());
                    self.meant.store(request, Ordering::SeqCst);
                }
                _ => {}
            }
            self.to.write_all(&chunk).await?;
        }
    }
}

async fn chunk(from: &mut tokio::net::tcp::OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut chunk = vec![0; 8];
    from.read_exact(&mut chunk).await?;
    let size = u32::from_le_bytes(chunk[4..8].try_into().unwrap()) as usize;
    chunk.resize(size, 0);
    from.read_exact(&mut chunk[8..]).await?;
    Ok(chunk)
}

/// The server's side of a connection.
struct Answers {
    from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    tricks: watch::Sender<Trick>,
    plays: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    meant: Arc<AtomicU32>,
    /// Messages that were left out: those after them have smaller numbers.
    left_out: u32,
}

impl Answers {
    async fn pass(mut self) -> std::io::Result<()> {
        loop {
            let mut chunk = chunk(&mut self.from).await?;
            if &chunk[..3] == b"MSG" {
                let number = u32::from_le_bytes(chunk[16..20].try_into().unwrap());
                chunk[16..20].copy_from_slice(&(number - self.left_out).to_le_bytes());
            }
            let kind = chunk
                .get(HEADER + 2..HEADER + 4)
                .map(|id| u16::from_le_bytes([id[0], id[1]]));
            let trick = self.tricks.borrow().clone();
            if matches!(trick, Trick::Dumb) && chunk.starts_with(b"ACK") {
                self.to.write_all(&chunk).await?;
                self.plays.fetch_add(1, Ordering::SeqCst);
                return std::future::pending().await;
            }
            if let Trick::Opened(diagnostics) = &trick
                && chunk.starts_with(b"OPN")
            {
                // Behind the channel: policy, certificate, thumbprint, numbers; the message's own number, time, handle and result.
                let policy = u32::from_le_bytes(chunk[12..16].try_into().unwrap()) as usize;
                let header = 16 + policy + 4 + 4;
                let kept = if diagnostics.is_empty() { 3 } else { 8 + 4 + 16 };
                chunk.truncate(header + kept);
                chunk.extend(diagnostics);
                chunk = sized(chunk);
                self.plays.fetch_add(1, Ordering::SeqCst);
            }
            let is_meant = |of: u16| chunk.starts_with(b"MSG") && kind == Some(of);
            let is_meant_request = || {
                let request = u32::from_le_bytes(chunk[20..24].try_into().unwrap());
                self.meant.load(Ordering::SeqCst) == request
            };
            if let Trick::Chunks(of, body) = &trick
                && is_meant(*of)
            {
                let mut number = u32::from_le_bytes(chunk[16..20].try_into().unwrap());
                let mut parts = body.chunks(60_000).peekable();
                while let Some(part) = parts.next() {
                    chunk.truncate(HEADER);
                    chunk.extend(part);
                    chunk[3] = if parts.peek().is_some() { b'C' } else { b'F' };
                    chunk[16..20].copy_from_slice(&number.to_le_bytes());
                    number += 1;
                    chunk = sized(chunk);
                    self.to.write_all(&chunk).await?;
                }
                self.plays.fetch_add(1, Ordering::SeqCst);
            } else if matches!(trick, Trick::Mute(_)) && chunk.starts_with(b"MSG") && is_meant_request() {
                let keep_alives = chunk.len() - 4;
                chunk[keep_alives..].copy_from_slice(&12_u32.to_le_bytes());
                self.plays.fetch_add(1, Ordering::SeqCst);
                self.to.write_all(&chunk).await?;
            } else if matches!(trick, Trick::DeafTo(_)) && chunk.starts_with(b"MSG") && is_meant_request() {
                self.plays.fetch_add(1, Ordering::SeqCst);
                self.left_out += 1;
            } else if matches!(trick, Trick::Deaf(of) | Trick::Cut(of) if is_meant(of)) {
                self.plays.fetch_add(1, Ordering::SeqCst);
                if matches!(trick, Trick::Cut(_)) {
                    return Ok(());
                }
                self.left_out += 1;
            } else if is_meant(PUBLISH_RESPONSE) && chunk[3] == b'F' {
                self.play(chunk).await?;
            } else {
                self.to.write_all(&chunk).await?;
            }
        }
    }

    async fn play(&mut self, mut chunk: Vec<u8>) -> std::io::Result<()> {
        let trick = self.tricks.borrow().clone();
        if matches!(
            trick,
            Trick::DeafTo(_)
                | Trick::CutTo(_)
                | Trick::None
                | Trick::Deaf(_)
                | Trick::Cut(_)
                | Trick::Chunks(..)
                | Trick::Opened(_)
                | Trick::Mute(_)
        ) {
            return self.to.write_all(&chunk).await;
        }
        if matches!(trick, Trick::Dumb) {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        self.plays.fetch_add(1, Ordering::SeqCst);
        if matches!(trick, Trick::Swallow) {
            self.left_out += 1;
            return Ok(());
        }
        self.tricks.send_replace(Trick::None);
        match trick {
            Trick::Body(body) => {
                chunk.truncate(HEADER);
                chunk.extend(body);
                self.to.write_all(&sized(chunk)).await
            }
            Trick::Raw(bytes) => self.to.write_all(&bytes).await,
            Trick::Trickle => {
                for byte in chunk {
                    self.to.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(())
            }
            _ => {
                let mut number = u32::from_le_bytes(chunk[16..20].try_into().unwrap());
                chunk[3] = b'C';
                chunk.resize(8_192, 0);
                let mut chunk = sized(chunk);
                loop {
                    chunk[16..20].copy_from_slice(&number.to_le_bytes());
                    self.to.write_all(&chunk).await?;
                    self.bytes.fetch_add(chunk.len() as u64, Ordering::SeqCst);
                    number += 1;
                }
            }
        }
    }
}

fn sized(mut chunk: Vec<u8>) -> Vec<u8> {
    let size = u32::try_from(chunk.len()).unwrap().to_le_bytes();
    chunk[4..8].copy_from_slice(&size);
    chunk
}
