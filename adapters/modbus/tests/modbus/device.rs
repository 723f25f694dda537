//! A Modbus device: tables in memory, served over every kind of wire.

use std::collections::{HashMap, HashSet};
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_modbus::server::{Service, rtu_over_tcp, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use crate::wires::{certificate, serve_ascii, serve_ascii_over_tcp, serve_rtu, serve_tls, serve_udp};

/// A device on the link.
#[derive(Debug, Default)]
pub struct Unit {
    pub holding: HashMap<u16, u16>,
    pub input: HashMap<u16, u16>,
    pub coils: HashMap<u16, bool>,
    pub discrete: HashMap<u16, bool>,
    /// Queues of registers.
    pub queues: HashMap<u16, Vec<u16>>,
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
    /// Registers to which it does not answer, where others would be refused.
    pub mute: HashSet<u16>,
    /// What it answers to requests for these registers.
    pub answers: HashMap<u16, ExceptionCode>,
}

/// A request as the device saw it: unit, function, first register, count.
pub type Asked = (u8, u8, u16, u16);

#[derive(Debug, Default)]
pub struct Tables {
    pub units: HashMap<u8, Unit>,
    pub asked: Vec<Asked>,
    /// When each of these came.
    pub asked_at: Vec<Instant>,
    pub connections: usize,
    /// How many it takes at a time; others are closed at once.
    pub most_connections: Option<usize>,
    open: Arc<()>,
}

/// A connection to the device.
struct Session {
    device: Device,
    _open: Arc<()>,
}

impl Service for Session {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        self.device.call(request)
    }
}

impl Tables {
    fn note(&mut self, asked: Asked) {
        self.asked.push(asked);
        self.asked_at.push(Instant::now());
    }
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

    /// Connections that it has now.
    pub fn open_connections(&self) -> usize {
        Arc::strong_count(&self.tables().open) - 1
    }

    /// A connection, for as long as this is held.
    pub fn open(&self) -> Arc<()> {
        let mut tables = self.tables();
        tables.connections += 1;
        Arc::clone(&tables.open)
    }

    /// A function that it does not have.
    fn other(&self, unit: u8, function: u8) -> Result<Option<Response>, ExceptionCode> {
        self.tables().note((unit, function, 0, 0));
        Err(ExceptionCode::IllegalFunction)
    }

    /// Length in bytes, in registers, and what is in a queue.
    fn queue(&self, unit: u8, at: u16) -> Result<Vec<u8>, ExceptionCode> {
        let mut tables = self.tables();
        tables.note((unit, 24, at, 1));
        let unit = tables.units.get(&unit);
        if let Some(exception) = unit.and_then(|unit| unit.exception) {
            return Err(exception);
        }
        let queue = unit.and_then(|unit| unit.queues.get(&at));
        let queue = queue.ok_or(ExceptionCode::IllegalDataAddress)?;
        let count = u16::try_from(queue.len()).expect("a short queue");
        let words = [2 + 2 * count, count].into_iter().chain(queue.iter().copied());
        Ok(words.flat_map(u16::to_be_bytes).collect())
    }

    /// The PDU that answers another, or silence.
    pub fn reply(&self, unit: u8, request: &[u8]) -> Option<Vec<u8>> {
        let function = request[0];
        let answer = match request[1..] {
            [a, b, c, d] => {
                let (start, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                self.answer(unit, function, start, count)
            }
            [a, b] if function == 24 => {
                let queue = self.queue(unit, u16::from_be_bytes([a, b]));
                return Some(match queue {
                    Ok(data) => [vec![function], data].concat(),
                    Err(exception) => vec![function | 0x80, exception.into()],
                });
            }
            _ => self.other(unit, function).map(|_| None),
        };
        match answer {
            Ok(words) => words.map(|words| answer_pdu(function, &words)),
            Err(exception) => Some(vec![function | 0x80, exception.into()]),
        }
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
        tables.note((unit, function, start, count));
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
        if places.clone().any(|place| unit.mute.contains(&place)) {
            return Ok(None);
        }
        if let Some(exception) = places.clone().find_map(|place| unit.answers.get(&place)) {
            return Err(*exception);
        }
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
            Request::Custom(24, at) => {
                let at = u16::from_be_bytes([at[0], at[1]]);
                let queue = self.queue(unit, at);
                queue.map(|data| Some(Response::Custom(24, data.into())))
            }
            other => self.other(unit, other.function_code().value()),
        })
    }
}

/// How the device is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Tcp,
    Tls,
    Udp,
    RtuOverTcp,
    AsciiOverTcp,
    Rtu,
    Ascii,
}

impl Wire {
    pub const ALL: [Self; 7] = [
        Self::Tcp,
        Self::Tls,
        Self::Udp,
        Self::RtuOverTcp,
        Self::AsciiOverTcp,
        Self::Rtu,
        Self::Ascii,
    ];
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

    /// Where it is.
    pub fn url(&self) -> String {
        let (address, terminal) = (self.address, self.terminal.display());
        match self.wire {
            Wire::Tcp => format!("tcp://{address}"),
            Wire::Tls => format!("tls://{address}"),
            Wire::Udp => format!("udp://{address}"),
            Wire::RtuOverTcp => format!("rtu+tcp://{address}"),
            Wire::AsciiOverTcp => format!("ascii+tcp://{address}"),
            Wire::Rtu => format!("rtu://{terminal}"),
            Wire::Ascii => format!("ascii://{terminal}"),
        }
    }

    /// What else is needed to get there.
    fn certificates(&self) -> Vec<(&'static str, String)> {
        if self.wire != Wire::Tls {
            return Vec::new();
        }
        let file = |name| certificate(name).display().to_string();
        vec![
            ("ca_file", file("authority")),
            ("certificate_file", file("gateway")),
            ("key_file", file("gateway.key")),
            ("server_name", "plc.test".to_owned()),
        ]
    }

    /// The setting `connect`, and what belongs to it.
    pub fn connect(&self) -> String {
        let lines = self.certificates().into_iter();
        let lines: Vec<String> = lines.map(|(key, value)| format!("{key}: {value}")).collect();
        if lines.is_empty() {
            return self.url();
        }
        format!("{}\ntls: {{{}}}", self.url(), lines.join(", "))
    }

    /// The same for the command line.
    pub fn target(&self) -> String {
        let parameters = self.certificates().into_iter();
        let parameters: Vec<String> = parameters.map(|(key, value)| format!("{key}={value}")).collect();
        format!("{}?{}", self.url(), parameters.join("&"))
    }

    pub async fn start(&mut self) {
        let device = self.device.clone();
        self.task = Some(match self.wire {
            Wire::Rtu | Wire::Ascii => {
                let (master, slave) = tokio_serial::SerialStream::pair().expect("a pair of terminals");
                let name = tokio_serial::SerialPort::name(&slave).expect("the terminal has a name");
                let _ = std::fs::remove_file(&self.terminal);
                std::os::unix::fs::symlink(name, &self.terminal).expect("the temporary folder takes a link");
                if self.wire == Wire::Rtu {
                    tokio::spawn(serve_rtu(master, slave, device))
                } else {
                    tokio::spawn(serve_ascii(master, slave, device))
                }
            }
            Wire::Udp => {
                let socket = UdpSocket::bind(self.address).await.expect("the address is free");
                tokio::spawn(serve_udp(socket, device))
            }
            Wire::Tcp | Wire::Tls | Wire::RtuOverTcp | Wire::AsciiOverTcp => {
                let listener = TcpListener::bind(self.address)
                    .await
                    .expect("the address is free");
                match self.wire {
                    Wire::Tls => tokio::spawn(serve_tls(listener, device)),
                    Wire::AsciiOverTcp => tokio::spawn(serve_ascii_over_tcp(listener, device)),
                    wire => tokio::spawn(serve(wire, listener, device)),
                }
            }
        });
    }

    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Only then is the port closed.
            let _ = task.await;
        }
        if matches!(self.wire, Wire::Rtu | Wire::Ascii) {
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
            let most = device.tables().most_connections;
            if most.is_some_and(|most| device.open_connections() >= most) {
                return Ok(None);
            }
            let open = device.open();
            Ok(Some((Session { device, _open: open }, stream)))
        }
    };
    let ended = match wire {
        Wire::RtuOverTcp => rtu_over_tcp::Server::new(listener).serve(&accept, |_| {}).await,
        _ => tcp::Server::new(listener).serve(&accept, |_| {}).await,
    };
    ended.expect("the server runs until it is stopped");
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
