//! Measures the adapter against what it is made with, and what a dead unit costs the others of its link.
//!
//! `cargo run --release -p floorgate-adapter-modbus --example measure [SECONDS]`
//!
//! - Requests a second beside a bare loop over the library on the same server, in turn.
//! - The poll jitter of 49 units whose 50th is alive, and of the same units when it is dead.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use floorgate_adapter_api::conformance::{AMPLE, Planned};
use floorgate_adapter_modbus::Modbus;
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::client::{Reader, tcp};
use tokio_modbus::server::{Service, tcp::Server};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// Units of the link whose jitter is measured.
const UNITS: u8 = 50;
/// How often each is polled.
const INTERVAL: Duration = Duration::from_millis(100);
/// Registers of a request when requests are counted.
const REGISTERS: u16 = 10;

/// A device whose last unit may be dead, and when each unit was asked.
#[derive(Clone, Default)]
struct Device {
    is_dead: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<(u8, Instant)>>>,
    /// Whether it notes what it is asked.
    notes: bool,
}

impl Service for Device {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        if self.notes {
            let mut asked = self.asked.lock().expect("nobody panics with the lock held");
            asked.push((request.slave, Instant::now()));
        }
        if request.slave == UNITS && self.is_dead.load(Ordering::Relaxed) {
            return ready(Ok(None));
        }
        ready(match request.request {
            Request::ReadHoldingRegisters(start, count) => {
                let words = (start..start + count).collect();
                Ok(Some(Response::ReadHoldingRegisters(words)))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// Serves on threads of its own.
fn serve(device: Device) -> SocketAddr {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("a bound socket has an address");
            sender.send(address).expect("the address is waited for");
            let accept = |stream: TcpStream, _| {
                let device = device.clone();
                async move {
                    stream.set_nodelay(true)?;
                    Ok(Some((device, stream)))
                }
            };
            let ended = Server::new(listener).serve(&accept, |_| {}).await;
            ended.expect("the server runs until the end");
        });
    });
    address.recv().expect("the server starts")
}

/// Requests a second of a loop over the library.
async fn bare(address: SocketAddr, time: Duration) -> f64 {
    let stream = TcpStream::connect(address).await.expect("the server is there");
    stream.set_nodelay(true).expect("it is TCP");
    let mut context = tcp::attach(stream);
    context.set_slave(Slave(1));
    let (begun, mut requests) = (Instant::now(), 0.0);
    while begun.elapsed() < time {
        let answer = context.read_holding_registers(0, REGISTERS).await;
        answer.expect("the server answers").expect("it is no exception");
        requests += 1.0;
    }
    requests / begun.elapsed().as_secs_f64()
}

fn planned(settings: &str, addresses: &[String]) -> Planned {
    Planned::new(
        &Modbus,
        settings,
        addresses,
        &std::env::temp_dir(),
        Duration::from_secs(30),
    )
}

/// Requests a second of a source that has more to read than there is time for.
async fn adapter(address: SocketAddr, time: Duration) -> f64 {
    let settings = format!("connect: tcp://{address}\npoll_interval: 1ms\none_request_per_value: true\n");
    let tag = |place: u16| {
        let (start, length) = (place * REGISTERS, REGISTERS * 2);
        format!("{{holding: {start}, type: string, encoding: latin1, length: {length}}}")
    };
    let addresses: Vec<String> = (0..500).map(tag).collect();
    let mut run = planned(&settings, &addresses).run(AMPLE);
    while run.metrics.requests.get() < 1_000 {
        run.next(Duration::from_millis(10)).await;
    }
    let (begun, before) = (Instant::now(), run.metrics.requests.get());
    tokio::time::sleep(time).await;
    let requests = (run.metrics.requests.get() - before) as f64;
    let rate = requests / begun.elapsed().as_secs_f64();
    run.stop("while connected").await;
    rate
}

/// How far the times between polls of the units that are alive are from the interval: p50, p99 and the longest, in milliseconds.
fn jitter(asked: &[(u8, Instant)]) -> [f64; 3] {
    let mut all: Vec<f64> = Vec::new();
    for unit in 1..UNITS {
        let times: Vec<Instant> = asked
            .iter()
            .filter(|(id, _)| *id == unit)
            .map(|(_, at)| *at)
            .collect();
        let between = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        all.extend(between.map(|time| 1e3 * (time - INTERVAL.as_secs_f64()).abs()));
    }
    all.sort_by(f64::total_cmp);
    [all.len() / 2, all.len() * 99 / 100, all.len() - 1].map(|place| all[place])
}

async fn dead_unit(time: Duration) {
    let device = Device {
        notes: true,
        ..Device::default()
    };
    let address = serve(device.clone());
    let settings = format!("connect: tcp://{address}\npoll_interval: 100ms\ntimeout: 500ms\n");
    let addresses: Vec<String> = (1..=UNITS)
        .map(|unit| format!("{{holding: 1, unit_id: {unit}}}"))
        .collect();
    let mut p99 = Vec::new();
    for is_dead in [false, true] {
        device.is_dead.store(is_dead, Ordering::Relaxed);
        let run = planned(&settings, &addresses).run(AMPLE);
        // The first time-out of a dead unit is borne by all.
        tokio::time::sleep(Duration::from_secs(2)).await;
        device
            .asked
            .lock()
            .expect("nobody panics with the lock held")
            .clear();
        tokio::time::sleep(time).await;
        let asked = std::mem::take(&mut *device.asked.lock().expect("nobody panics with the lock held"));
        run.stop("while connected").await;
        let [median, nearly_all, longest] = jitter(&asked);
        let tries = asked.iter().filter(|(unit, _)| *unit == UNITS).count();
        let state = if is_dead { "dead" } else { "alive" };
        println!(
            "unit {UNITS} {state}: jitter of the others p50 {median:.2} ms, p99 {nearly_all:.2} ms, longest {longest:.2} ms; \
             it was asked {tries} times"
        );
        p99.push(nearly_all);
    }
    println!(
        "p99 with a dead unit less p99 without: {:+.2} ms",
        p99[1] - p99[0]
    );
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(20));
    let address = serve(Device::default());
    let mut ratios = Vec::new();
    for round in 1..=5 {
        let bare = bare(address, time / 10).await;
        let adapter = adapter(address, time / 10).await;
        println!("round {round}: {bare:.0} requests/s bare, {adapter:.0} by the adapter");
        ratios.push(adapter / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "median: {:.1} % of the bare loop",
        100.0 * ratios[ratios.len() / 2]
    );
    dead_unit(time).await;
}
