//! A server that is told, request by request, what bytes to send and when.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::device::{answer_pdu, crc};

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Number of the request since the server's start, from 0.
    pub number: usize,
    pub transaction: u16,
    pub unit: u8,
    pub function: u8,
    pub start: u16,
    pub count: u16,
}

/// What the server does about a request.
#[derive(Debug)]
pub enum Reply {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes after a while, on the connection that is then the newest, and takes other requests meanwhile.
    Late(Duration, Vec<u8>),
    /// Closes the connection.
    Close,
}

impl Asked {
    /// The answer in which every register holds its own address.
    pub fn own_addresses(&self) -> Vec<u8> {
        let words: Vec<u16> = (self.start..self.start + self.count).collect();
        answer_pdu(self.function, &words)
    }

    /// A TCP frame of an answer.
    pub fn tcp(&self, pdu: &[u8]) -> Vec<u8> {
        frame(self.transaction, self.unit, pdu)
    }

    /// An RTU frame of an answer.
    pub fn rtu(&self, pdu: &[u8]) -> Vec<u8> {
        let mut frame = vec![self.unit];
        frame.extend(pdu);
        frame.extend(crc(&frame));
        frame
    }
}

/// A TCP frame.
pub fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let len = u16::try_from(pdu.len() + 1).expect("a short frame");
    [
        &transaction.to_be_bytes()[..],
        &[0, 0],
        &len.to_be_bytes(),
        &[unit],
        pdu,
    ]
    .concat()
}

/// The running server.
#[derive(Clone, Debug)]
pub struct Rogue {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

type Newest = Arc<tokio::sync::Mutex<Option<OwnedWriteHalf>>>;

impl Rogue {
    /// A server of RTU frames or of TCP frames.
    pub async fn start(rtu: bool, reply: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(rtu, None, reply).await
    }

    /// A server that sends a greeting on every connection but the first.
    pub async fn start_with(
        rtu: bool,
        greeting: Option<Vec<u8>>,
        reply: impl Fn(Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let rogue = Self {
            address,
            connections: Arc::clone(&connections),
        };
        let reply = Arc::new(reply);
        let newest = Newest::default();
        let number = Arc::new(Mutex::new(0));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let earlier = connections.fetch_add(1, Ordering::SeqCst);
                if let Some(greeting) = greeting.as_ref().filter(|_| earlier > 0) {
                    stream.write_all(greeting).await.expect("the connection is new");
                }
                let session = session(
                    rtu,
                    stream,
                    Arc::clone(&newest),
                    Arc::clone(&reply),
                    Arc::clone(&number),
                );
                tokio::spawn(session);
            }
        });
        rogue
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn session(
    rtu: bool,
    stream: TcpStream,
    newest: Newest,
    reply: Arc<impl Fn(Asked) -> Reply + Send + Sync>,
    number: Arc<Mutex<usize>>,
) {
    let (mut reader, writer) = stream.into_split();
    *newest.lock().await = Some(writer);
    let header = if rtu { 1 } else { 7 };
    let mut request = vec![0; header + 5 + if rtu { 2 } else { 0 }];
    while reader.read_exact(&mut request).await.is_ok() {
        let word = |place: usize| u16::from_be_bytes([request[place], request[place + 1]]);
        let asked = Asked {
            number: {
                let mut next = number.lock().expect("no panic with the lock held");
                *next += 1;
                *next - 1
            },
            transaction: if rtu { 0 } else { word(0) },
            unit: request[header - 1],
            function: request[header],
            start: word(header + 1),
            count: word(header + 3),
        };
        match reply(asked) {
            Reply::Send(bytes) => send(&newest, &bytes).await,
            Reply::Close => *newest.lock().await = None,
            Reply::Late(delay, bytes) => {
                let newest = Arc::clone(&newest);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    send(&newest, &bytes).await;
                });
            }
        }
    }
}

async fn send(newest: &Newest, bytes: &[u8]) {
    if let Some(writer) = newest.lock().await.as_mut() {
        // The adapter may have left already; that is what is tested.
        let _ = writer.write_all(bytes).await;
    }
}
