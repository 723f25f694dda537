//! A way to a broker on which answers are lost, and requests are slow.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::ports::free_port;

/// The number of a request that has records (Kafka's protocol, API keys).
const PRODUCE: [u8; 2] = [0, 0];

/// Lies between the clients of a broker and the broker ([`crate::Kafka::start_behind`]), and passes all on: but for the
/// answers that it is told to lose, and slowly where it is told so.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    broker: u16,
    whims: Arc<Whims>,
}

#[derive(Debug, Default)]
struct Whims {
    /// The next request with records goes without an answer.
    loses_next: AtomicBool,
    /// Answers that were lost.
    lost: AtomicUsize,
    /// Milliseconds that a request with records is on its way.
    delay: AtomicU64,
    has_ended: AtomicBool,
}

impl Proxy {
    /// Listens, and finds a port for the broker, which need not be there yet.
    pub fn new() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", free_port()?))?;
        let proxy = Self {
            port: listener.local_addr()?.port(),
            broker: free_port()?,
            whims: Arc::default(),
        };
        let (broker, whims) = (proxy.broker, Arc::clone(&proxy.whims));
        thread::spawn(move || {
            for client in listener.incoming() {
                if whims.has_ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that finds nobody tries again.
                let connected =
                    client.and_then(|client| Ok((client, TcpStream::connect(("127.0.0.1", broker))?)));
                if let Ok((client, broker)) = connected {
                    let _ = pass_on(&client, &broker, &whims);
                }
            }
        });
        Ok(proxy)
    }

    /// Where clients find it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the broker has to listen.
    #[must_use]
    pub fn broker(&self) -> u16 {
        self.broker
    }

    /// Lets the next request with records reach the broker, and loses the answer together with the connection.
    pub fn lose_an_answer(&self) {
        self.whims.loses_next.store(true, Ordering::SeqCst);
    }

    /// Lets requests with records take so long from now on, one after the other on each connection.
    pub fn delay_records(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.whims.delay.store(millis, Ordering::SeqCst);
    }

    /// How many answers are lost: the broker had given each of them.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.whims.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.whims.has_ended.store(true, Ordering::SeqCst);
        // It looks at that when somebody comes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Passes on what two connections say, each way on a thread of its own, until one of them ends.
fn pass_on(client: &TcpStream, broker: &TcpStream, of_proxy: &Arc<Whims>) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    // The number of the request whose answer is to be lost.
    let unanswered: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let (whims, noted) = (Arc::clone(of_proxy), Arc::clone(&unanswered));
    one_way(client, broker, move |request| {
        // Behind the length: what is asked, in which version, and the number that the answer will have.
        if request.get(4..6) == Some(&PRODUCE) {
            thread::sleep(Duration::from_millis(whims.delay.load(Ordering::SeqCst)));
            if whims.loses_next.swap(false, Ordering::SeqCst) {
                *lock(&noted) = request.get(8..12).map(<[u8]>::to_vec);
            }
        }
        true
    })?;
    let whims = Arc::clone(of_proxy);
    one_way(broker, client, move |answer| {
        let is_lost = lock(&unanswered)
            .as_deref()
            .is_some_and(|number| answer.get(4..8) == Some(number));
        whims.lost.fetch_add(usize::from(is_lost), Ordering::SeqCst);
        !is_lost
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes messages on, each behind its length, until a connection ends or one does not pass: then both end.
fn one_way(
    from: &TcpStream,
    to: &TcpStream,
    mut passes: impl FnMut(&[u8]) -> bool + Send + 'static,
) -> io::Result<()> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    thread::spawn(move || {
        while pass_one(&mut from, &mut to, &mut passes).unwrap_or(false) {}
        // One that has ended already is none the worse for it.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
    Ok(())
}

/// Passes the next message on; whether it was to pass.
fn pass_one(
    from: &mut TcpStream,
    to: &mut TcpStream,
    passes: &mut impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message)?;
    let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
    io::copy(&mut from.take(length.into()), &mut message)?;
    if !passes(&message) {
        return Ok(false);
    }
    to.write_all(&message)?;
    Ok(true)
}
