//! A server that does what no server should: it stands between a real one and the gateway, and changes what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Notice, Value};
use opcua::types::{ExtensionObject, Range};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::run::{Folder, Run, Seen, addresses, settings};
use crate::server::{Manner, TestServer};

/// The number of a `PublishResponse` in the binary encoding.
const PUBLISH_RESPONSE: u16 = 829;
/// The number of a `GetEndpointsResponse`.
const GET_ENDPOINTS_RESPONSE: u16 = 431;
/// The number of a `BrowseResponse`.
const BROWSE_RESPONSE: u16 = 530;
/// Before the body of a chunk of a message: type, size, channel, token, number, request.
const HEADER: usize = 24;

/// What is done with the answers to publish requests.
#[derive(Clone, Debug, Default)]
enum Trick {
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
    /// No answer of another kind arrives.
    Deaf(u16),
    /// An answer of another kind ends the connection.
    Cut(u16),
    /// An answer of another kind has this body instead, in chunks.
    Chunks(u16, Vec<u8>),
    /// The next one ends the connection, and others that are made have a greeting and nothing else.
    Dumb,
}

struct Rogue {
    port: u16,
    trick: watch::Sender<Trick>,
    /// How often a trick was played.
    played: Arc<AtomicU64>,
    /// How many bytes of a message without an end were taken.
    taken: Arc<AtomicU64>,
}

impl Rogue {
    async fn before(server: u16) -> Self {
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
                    let (mut client_in, client_out) = client.into_split();
                    let (server_in, mut server_out) = server.into_split();
                    let answers = Answers {
                        from: server_in,
                        to: client_out,
                        tricks,
                        plays,
                        bytes,
                        left_out: 0,
                    };
                    // Either end ends both.
                    tokio::select! {
                        _ = tokio::io::copy(&mut client_in, &mut server_out) => {}
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

    fn plays(&self, trick: Trick) {
        self.trick.send_replace(trick);
    }

    async fn has_played(&self, times: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.played.load(Ordering::SeqCst) < times {
            assert!(Instant::now() < deadline, "it was not played");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The server's side of a connection.
struct Answers {
    from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    tricks: watch::Sender<Trick>,
    plays: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    /// Messages that were left out: those after them have smaller numbers.
    left_out: u32,
}

impl Answers {
    async fn pass(mut self) -> std::io::Result<()> {
        loop {
            let mut chunk = vec![0; 8];
            self.from.read_exact(&mut chunk).await?;
            let size = u32::from_le_bytes(chunk[4..8].try_into().unwrap()) as usize;
            chunk.resize(size, 0);
            self.from.read_exact(&mut chunk[8..]).await?;
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
            let is_meant = |of: u16| chunk.starts_with(b"MSG") && kind == Some(of);
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
            Trick::None | Trick::Deaf(_) | Trick::Cut(_) | Trick::Chunks(..)
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

/// A `PublishResponse` with one value, whose variant has these bytes.
fn with_variant(variant: &[u8]) -> Vec<u8> {
    let null = (-1_i32).to_le_bytes();
    let mut value = Vec::new();
    value.extend(1_i32.to_le_bytes()); // one item
    value.extend(1_u32.to_le_bytes()); // of the first tag
    value.push(0x01); // a value and nothing else
    value.extend(variant);
    value.extend(null); // no diagnostics
    let mut body = vec![0x01, 0x00, 0x3D, 0x03];
    body.extend([0; 8]); // time
    body.extend([0; 4]); // handle
    body.extend([0; 4]); // good
    body.push(0); // no diagnostics
    body.extend(null);
    body.extend([0, 0, 0]); // no additional header
    body.extend(1_u32.to_le_bytes()); // subscription
    body.extend(null); // available numbers
    body.push(0); // no more
    body.extend(2_u32.to_le_bytes()); // number
    body.extend([0; 8]); // time
    body.extend(1_i32.to_le_bytes()); // one notification
    body.extend([0x01, 0x00, 0x2B, 0x03, 0x01]); // of changes, in bytes
    body.extend(i32::try_from(value.len()).unwrap().to_le_bytes());
    body.extend(value);
    body.extend(null);
    body.extend(null);
    body
}

/// Variants of variants, so many deep.
fn nested(levels: usize) -> Vec<u8> {
    [0x98, 1, 0, 0, 0].repeat(levels)
}

/// What no server says, by name.
fn malformed() -> Vec<(&'static str, Trick)> {
    let variant = |bytes: &[u8]| Trick::Body(with_variant(bytes));
    let chunk = |kind: &[u8], size: u32| {
        let mut bytes = kind.to_vec();
        bytes.extend(size.to_le_bytes());
        bytes.extend([0xAA; 64]);
        Trick::Raw(bytes)
    };
    vec![
        ("variants 12,000 deep", variant(&nested(12_000))),
        (
            "a text that is no UTF-8",
            variant(&[0x0C, 4, 0, 0, 0, 0xFF, 0xFE, 0xFD, 0xFC]),
        ),
        (
            "a text of negative length",
            variant(&[0x0C, 0xFB, 0xFF, 0xFF, 0xFF]),
        ),
        ("a text of 2 GiB", variant(&[0x0C, 0xFF, 0xFF, 0xFF, 0x7F])),
        ("bytes of 2 GiB", variant(&[0x0F, 0xFF, 0xFF, 0xFF, 0x7F])),
        (
            "an array of 2,147,483,647",
            variant(&[0x86, 0xFF, 0xFF, 0xFF, 0x7F]),
        ),
        (
            "dimensions whose product is too large",
            variant(&[
                0xC6, 1, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0x7F,
            ]),
        ),
        ("a type that is not there", variant(&[0x3F, 0, 0])),
        ("a body of nothing", Trick::Body(Vec::new())),
        ("another kind of message", chunk(b"XYZF", 72)),
        ("a chunk smaller than its header", chunk(b"MSGF", 3)),
        ("a chunk of no size", chunk(b"MSGF", 0)),
        ("a chunk of 4 GiB", chunk(b"MSGF", u32::MAX)),
        ("an answer on another channel", chunk(b"MSGF", 72)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_server_says_the_source_lives_and_the_next_value_comes() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    for (value, (name, trick)) in (1..).zip(malformed()) {
        println!("{name}");
        let before = rogue.played.load(Ordering::SeqCst);
        rogue.plays(trick);
        server.set(0, value);
        rogue.has_played(before + 1).await;
        // The value that was kept from it, or one after it.
        run.shows(0, value).await;
    }
    let wrong: Vec<i64> = run
        .shown(0)
        .into_iter()
        .filter(|value| !(0..=14).contains(value))
        .collect();
    assert!(wrong.is_empty(), "values that nobody set: {wrong:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_an_end_is_cut_off() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    rogue.plays(Trick::Endless);
    server.set(0, 1);
    rogue.has_played(1).await;
    run.shows(0, 1).await;
    // 256 chunks, which are of 8 KiB here, and what is in the buffers of the system on both sides.
    let taken = rogue.taken.load(Ordering::SeqCst);
    assert!(taken < 16 << 20, "{taken} bytes were taken");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_silent_while_its_server_answers_is_rebuilt() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    rogue.plays(Trick::Swallow);
    rogue.has_played(1).await;
    let begun = Instant::now();
    run.notice(
        "the silence is told",
        |notice| matches!(notice, Notice::Gap { reason, .. } if reason.contains("silent")),
    )
    .await;
    // Two keep-alives of 300 ms, and how late a sign of life may be and is looked for.
    assert!(
        begun.elapsed() < Duration::from_millis(600 + 250 + 250 + 400),
        "{:?}",
        begun.elapsed()
    );
    rogue.plays(Trick::None);
    server.set(0, 1);
    run.shows(0, 1).await;
    assert_eq!(run.metrics.connects.get(), 1, "the session was good all the time");
    server.holds_subscriptions(1).await;
    run.stop().await;
}

/// A server that does not tell its types: the structure is bad, and all else goes on.
async fn types_that_are_not_told(trick: Trick, connects: u64) {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(2));
    run.shows(0, 0).await;
    rogue.plays(trick);
    let range = Range { low: 1.0, high: 2.0 };
    server.set(0, ExtensionObject::from_message(range));
    rogue.has_played(1).await;
    server.set(1, 7);
    let mut is_bad = false;
    run.until("what is beside the structure", |seen| {
        is_bad |= matches!(seen, Seen::Sample(s) if s.tag.0 == 0 && s.quality.is_bad());
        seen.shows(1, &Value::Int(7))
    })
    .await;
    assert!(is_bad, "a structure of which nothing is known is not good");
    assert_eq!(run.metrics.connects.get(), connects);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_that_a_server_does_not_tell_hold_nothing_else_up() {
    types_that_are_not_told(Trick::Deaf(BROWSE_RESPONSE), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_breaks_when_asked_for_its_types_is_not_asked_for_ever() {
    types_that_are_not_told(Trick::Cut(BROWSE_RESPONSE), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_connections_and_goes_no_further_is_tried_again() {
    let mut server = TestServer::started(Manner::default()).await;
    let rogue = Rogue::before(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
    run.shows(0, 0).await;
    rogue.plays(Trick::Dumb);
    // The library would wait for half a minute.
    rogue.has_played(2).await;
    rogue.plays(Trick::None);
    server.set(0, 1);
    run.shows(0, 1).await;
    run.stop().await;
}

/// What a stranger may answer at most, as deep as it can be nested: neither is bounded by the library, and each level is a call.
fn as_deep_as_can_be() -> [Vec<u8>; 2] {
    let most = 2 * 60_000;
    let mut header = vec![0x01, 0x00];
    header.extend(GET_ENDPOINTS_RESPONSE.to_le_bytes());
    header.extend([0; 16]); // time, handle, good
    // Diagnostic information that has an inner one and nothing else.
    let diagnostics = [header.clone(), vec![0x40; most - header.len()]].concat();
    // An additional header that holds a data value, of a variant, of a data value.
    let mut value = header;
    value.push(0); // no diagnostics
    value.extend((-1_i32).to_le_bytes()); // no texts
    value.extend([0x01, 0x00, 0x28, 0x03, 0x01]); // a MonitoredItemNotification, in bytes
    let inner = [0x01, 0x17].repeat((most - value.len() - 8) / 2);
    value.extend(i32::try_from(inner.len() + 4).unwrap().to_le_bytes());
    value.extend([0; 4]); // its handle
    value.extend(inner);
    [diagnostics, value]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_end_the_gateway_with_what_it_says_of_its_endpoints() {
    let mut server = TestServer::started(Manner::default()).await;
    for body in as_deep_as_can_be() {
        let rogue = Rogue::before(server.port).await;
        rogue.plays(Trick::Chunks(GET_ENDPOINTS_RESPONSE, body));
        let folder = Folder::new();
        let mut run = Run::new(&folder, &settings(rogue.port, ""), &addresses(1));
        rogue.has_played(1).await;
        run.notice(
            "it is told",
            |notice| matches!(notice, Notice::Offline { reason } if reason.contains("does not answer")),
        )
        .await;
        rogue.plays(Trick::None);
        server.set(0, 5);
        run.shows(0, 5).await;
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_server_at_all_is_told_and_does_no_harm() {
    let greetings: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"ACKF\x1c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"ACKF\xff\xff\xff\xff",
        b"ERRF\x10\0\0\0\0\0\x01\x80\xff\xff\xff\x7f",
        b"",
    ];
    for greeting in greetings {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(greeting).await;
                open.push(stream);
            }
        });
        let folder = Folder::new();
        let mut run = Run::new(&folder, &settings(port, ""), &addresses(1));
        run.notice(
            "it is told",
            |notice| matches!(notice, Notice::Offline { reason } if reason.contains("does not answer")),
        )
        .await;
        run.stop().await;
        task.abort();
    }
}
