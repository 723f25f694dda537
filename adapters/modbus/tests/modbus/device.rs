//! A Modbus device: tables in memory, served over TCP, over RTU frames through TCP, and over a pair of terminals.

use std::collections::{HashMap, HashSet};
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_modbus::server::{Service, rtu_over_tcp, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// A device on the link.
#[derive(Debug, Default)]
pub struct Unit {
    pub holding: HashMap<u16, u16>,
    pub input: HashMap<u16, u16>,
    pub coils: HashMap<u16, bool>,
    pub discrete: HashMap<u16, bool>,
    /// Registers that are not there; every other reads as 0 where nothing was set.
    pub missing: HashSet<u16>,
    /// It answers that it failed, where another would say that a register is not there.
    pub says_failure: bool,
    /// Most registers of a request.
    pub most: Option<u16>,
    /// How many of the next requests it refuses.
    pub refuses: usize,
    /// What it answers to everything.
    pub exception: Option<ExceptionCode>,
    /// It does not answer.
    pub silent: bool,
}

/// A request as the device saw it: unit, function, first register, count.
pub type Asked = (u8, u8, u16, u16);

#[derive(Debug, Default)]
pub struct Tables {
    pub units: HashMap<u8, Unit>,
    pub asked: Vec<Asked>,
    pub connections: usize,
}

/// Tables that servers share with the test.
#[derive(Clone, Debug, Default)]
pub struct Device(Arc<Mutex<Tables>>);

impl Device {
    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("no test panics with the lock held")
    }

    pub fn with_unit(self, id: u8, change: impl FnOnce(&mut Unit)) -> Self {
        self.unit(id, change);
        self
    }

    pub fn unit(&self, id: u8, change: impl FnOnce(&mut Unit)) {
        change(self.tables().units.entry(id).or_default());
    }

    /// A function that it does not have.
    fn other(&self, unit: u8, function: u8) -> Result<Option<Response>, ExceptionCode> {
        self.tables().asked.push((unit, function, 0, 0));
        Err(ExceptionCode::IllegalFunction)
    }

    /// Words or bits, an exception, or silence.
    fn answer(
        &self,
        unit: u8,
        function: u8,
        start: u16,
        count: u16,
    ) -> Result<Option<Vec<u16>>, ExceptionCode> {
        let mut tables = self.tables();
        tables.asked.push((unit, function, start, count));
        let Some(unit) = tables.units.get_mut(&unit) else {
            return Err(ExceptionCode::GatewayTargetDevice);
        };
        if unit.silent {
            return Ok(None);
        }
        if let Some(exception) = unit.exception {
            return Err(exception);
        }
        if unit.refuses > 0 {
            unit.refuses -= 1;
            return Err(ExceptionCode::IllegalDataAddress);
        }
        let places = start..=start + (count - 1);
        if unit.most.is_some_and(|most| count > most)
            || places.clone().any(|place| unit.missing.contains(&place))
        {
            return Err(if unit.says_failure {
                ExceptionCode::ServerDeviceFailure
            } else {
                ExceptionCode::IllegalDataAddress
            });
        }
        let word = |table: &HashMap<u16, u16>, place| table.get(&place).copied().unwrap_or(0);
        let bit = |table: &HashMap<u16, bool>, place| u16::from(table.get(&place).copied().unwrap_or(false));
        Ok(Some(match function {
            1 => places.map(|place| bit(&unit.coils, place)).collect(),
            2 => places.map(|place| bit(&unit.discrete, place)).collect(),
            3 => places.map(|place| word(&unit.holding, place)).collect(),
            4 => places.map(|place| word(&unit.input, place)).collect(),
            _ => return Err(ExceptionCode::IllegalFunction),
        }))
    }
}

impl Service for Device {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let bits = |words: Vec<u16>| words.into_iter().map(|word| word == 1).collect();
        let unit = request.slave;
        ready(match request.request {
            Request::ReadCoils(start, count) => self
                .answer(unit, 1, start, count)
                .map(|words| words.map(|words| Response::ReadCoils(bits(words)))),
            Request::ReadDiscreteInputs(start, count) => self
                .answer(unit, 2, start, count)
                .map(|words| words.map(|words| Response::ReadDiscreteInputs(bits(words)))),
            Request::ReadHoldingRegisters(start, count) => self
                .answer(unit, 3, start, count)
                .map(|words| words.map(Response::ReadHoldingRegisters)),
            Request::ReadInputRegisters(start, count) => self
                .answer(unit, 4, start, count)
                .map(|words| words.map(Response::ReadInputRegisters)),
            other => self.other(unit, other.function_code().value()),
        })
    }
}

/// How the device is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Tcp,
    RtuOverTcp,
    Serial,
}

/// A server of a device that can be stopped and started at the same place.
#[derive(Debug)]
pub struct Server {
    wire: Wire,
    device: Device,
    address: SocketAddr,
    terminal: PathBuf,
    task: Option<JoinHandle<()>>,
}

/// An address of its own for each server, so that no other program's connection takes its port while it is stopped.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((
        [127, 64 + (high & 63), low, NEXT.fetch_add(1, Ordering::Relaxed)],
        5020,
    ))
}

impl Server {
    pub fn new(wire: Wire, device: Device) -> Self {
        let address = own_address();
        let terminal = std::env::temp_dir().join(format!("floorgate-modbus-{}", address.ip()));
        Self {
            wire,
            device,
            address,
            terminal,
            task: None,
        }
    }

    /// The setting `connect`.
    pub fn connect(&self) -> String {
        match self.wire {
            Wire::Tcp => format!("tcp://{}", self.address),
            Wire::RtuOverTcp => format!("rtu+tcp://{}", self.address),
            Wire::Serial => format!("rtu://{}", self.terminal.display()),
        }
    }

    pub async fn start(&mut self) {
        let device = self.device.clone();
        self.task = Some(match self.wire {
            Wire::Serial => {
                let (master, slave) = tokio_serial::SerialStream::pair().expect("a pair of terminals");
                let name = tokio_serial::SerialPort::name(&slave).expect("the terminal has a name");
                let _ = std::fs::remove_file(&self.terminal);
                std::os::unix::fs::symlink(name, &self.terminal).expect("the temporary folder takes a link");
                tokio::spawn(serve_rtu(master, slave, device))
            }
            Wire::Tcp | Wire::RtuOverTcp => {
                let listener = TcpListener::bind(self.address)
                    .await
                    .expect("the address is free");
                tokio::spawn(serve(self.wire, listener, device))
            }
        });
    }

    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Only then is the port closed.
            let _ = task.await;
        }
        if self.wire == Wire::Serial {
            let _ = std::fs::remove_file(&self.terminal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.terminal);
    }
}

async fn serve(wire: Wire, listener: TcpListener, device: Device) {
    let accept = |stream: TcpStream, _| {
        let device = device.clone();
        async move {
            device.tables().connections += 1;
            Ok(Some((device, stream)))
        }
    };
    let ended = match wire {
        Wire::RtuOverTcp => rtu_over_tcp::Server::new(listener).serve(&accept, |_| {}).await,
        Wire::Tcp | Wire::Serial => tcp::Server::new(listener).serve(&accept, |_| {}).await,
    };
    ended.expect("the server runs until it is stopped");
}

/// RTU frames on a terminal. `_other_end` is kept open, so that the adapter may close and open it as it likes.
async fn serve_rtu<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, _other_end: impl Send, device: Device) {
    let mut request = [0; 8];
    while stream.read_exact(&mut request[..2]).await.is_ok() {
        // The device identification (43) is asked for with a byte less.
        let len = if request[1] == 43 { 7 } else { 8 };
        if stream.read_exact(&mut request[2..len]).await.is_err() {
            break;
        }
        let [unit, function, a, b, c, d, ..] = request;
        assert_eq!(
            request[len - 2..len],
            crc(&request[..len - 2]),
            "the adapter's frames have the right checksum"
        );
        let answer = if function == 43 {
            device.other(unit, function).map(|_| None)
        } else {
            device.answer(
                unit,
                function,
                u16::from_be_bytes([a, b]),
                u16::from_be_bytes([c, d]),
            )
        };
        let mut frame = match answer {
            Ok(None) => continue,
            Ok(Some(words)) => answer_pdu(function, &words),
            Err(exception) => vec![function | 0x80, exception.into()],
        };
        frame.insert(0, unit);
        frame.extend(crc(&frame));
        if stream.write_all(&frame).await.is_err() {
            break;
        }
    }
}

/// Function, byte count and data of an answer.
pub fn answer_pdu(function: u8, words: &[u16]) -> Vec<u8> {
    let data: Vec<u8> = if function <= 2 {
        words
            .chunks(8)
            .map(|bits| {
                (0u8..)
                    .zip(bits)
                    .fold(0, |byte, (place, bit)| byte | u8::from(*bit == 1) << place)
            })
            .collect()
    } else {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    };
    let count = u8::try_from(data.len()).expect("an answer of at most 250 bytes");
    [vec![function, count], data].concat()
}

/// CRC-16 of the serial line specification (V1.02 §6.2.2), low byte first.
pub fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc.to_le_bytes()
}
