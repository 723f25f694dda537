//! A Modbus device of the library's own server, and a bare loop over the library's client.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::client::{Reader, tcp};
use tokio_modbus::server::{Service, tcp::Server};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use crate::link::{REGISTERS, UNITS};

/// A device with units that answer, the last of which may be dead, and what it was asked.
#[derive(Clone, Debug)]
pub struct Device {
    address: SocketAddr,
    tables: Arc<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    requests: AtomicU64,
    is_last_dead: AtomicBool,
    notes: AtomicBool,
    asked: Mutex<Vec<(u8, Instant)>>,
}

/// A connection to it.
struct Session(Arc<Tables>);

impl Tables {
    fn asked(&self) -> MutexGuard<'_, Vec<(u8, Instant)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for Session {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let tables = &self.0;
        tables.requests.fetch_add(1, Ordering::Relaxed);
        if tables.notes.load(Ordering::Relaxed) {
            tables.asked().push((request.slave, Instant::now()));
        }
        if request.slave == UNITS && tables.is_last_dead.load(Ordering::Relaxed) {
            return ready(Ok(None));
        }
        ready(match request.request {
            Request::ReadHoldingRegisters(start, count) => {
                let words = (0..count).map(|place| start.wrapping_add(place)).collect();
                Ok(Some(Response::ReadHoldingRegisters(words)))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

impl Device {
    /// Serves on threads of its own until the end of the process.
    pub fn serve() -> Result<Self> {
        let tables: Arc<Tables> = Arc::default();
        let runtime = tokio::runtime::Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let device = Self {
            address,
            tables: Arc::clone(&tables),
        };
        std::thread::spawn(move || {
            let accept = |stream: TcpStream, _| {
                let session = Session(Arc::clone(&tables));
                async move {
                    stream.set_nodelay(true)?;
                    Ok(Some((session, stream)))
                }
            };
            let ended = runtime.block_on(Server::new(listener).serve(&accept, |_| {}));
            eprintln!("the device has ended: {ended:?}");
        });
        Ok(device)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came.
    pub fn requests(&self) -> u64 {
        self.tables.requests.load(Ordering::Relaxed)
    }

    /// The last unit answers no more, or again.
    pub fn let_last_unit_be_dead(&self, is_dead: bool) {
        self.tables.is_last_dead.store(is_dead, Ordering::Relaxed);
    }

    /// Notes from now on which unit is asked when.
    pub fn note(&self) {
        self.tables.asked().clear();
        self.tables.notes.store(true, Ordering::Relaxed);
    }

    /// What was noted; it notes no more.
    pub fn noted(&self) -> Vec<(u8, Instant)> {
        self.tables.notes.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.tables.asked())
    }
}

/// Requests a second of a loop over the library.
pub fn bare(address: SocketAddr, time: Duration) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.context("the device")?;
        stream.set_nodelay(true)?;
        let mut context = tcp::attach(stream);
        context.set_slave(Slave(1));
        let (begun, mut requests) = (Instant::now(), 0.0);
        while begun.elapsed() < time {
            context.read_holding_registers(0, REGISTERS).await??;
            requests += 1.0;
        }
        Ok(requests / begun.elapsed().as_secs_f64())
    })
}
