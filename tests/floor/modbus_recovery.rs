//! Modbus devices whose faults end: the source is back within two time-outs, the longest pause between attempts and a second, with what was
//! missed said, and one connection at the device.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use floorgate_tests::{
    Authority, Delivery, Framing, Gateway, Kafka, LibmodbusPeer, ModbusPeer, Patience, Reader, Record, Table,
    Wire, until,
};

use crate::counting::{compare, read_to};
use crate::plant::{settings, topic, unique_site};

const UP: &str = "floorgate_source_up{source=\"plc\"}";
const TIMES: &str = "poll_interval: 20ms\n    timeout: 500ms\n    backoff_max: 1s";
/// Two time-outs of half a second, the longest pause, and a second.
const WITHIN: Duration = Duration::from_secs(1 + 1 + 1);
/// The last count that nobody saw, with more than one word.
const LAST_UNSEEN: i64 = 70_000;

/// The state and the counter are of two units, where the device has two.
const MAPPING: &str = r"
mapping: press
source: plc
equipment: acme/{site}/forming/line1/press
tags:
  state: {holding: 100, values: packml-state}
  total: {input: 200, type: u32, counter: {width: 32}, unit_id: {counting}}
events:
  - {type: EquipmentStateChanged, trigger: state}
  - {type: ProductionCountRecorded, trigger: total, kind: total}
";

/// What a test does to a device, whosever make it is.
trait Device {
    /// Sets what stands in the registers of the state or the counter.
    fn set(&mut self, table: Table, address: u16, values: &[u16]) -> Result<()>;
    /// How many connections it has.
    fn sockets(&self) -> Result<usize>;
    /// The unit that counts.
    fn counting(&self) -> u8;
}

impl Device for ModbusPeer {
    fn set(&mut self, table: Table, address: u16, values: &[u16]) -> Result<()> {
        let unit = if matches!(table, Table::Input) { 2 } else { 1 };
        self.set_registers(unit, table, address, values)
    }

    fn sockets(&self) -> Result<usize> {
        Self::sockets(self)
    }

    fn counting(&self) -> u8 {
        2
    }
}

impl Device for LibmodbusPeer {
    fn set(&mut self, table: Table, address: u16, values: &[u16]) -> Result<()> {
        self.set_registers(table, address, values)
    }

    fn sockets(&self) -> Result<usize> {
        Self::sockets(self)
    }

    fn counting(&self) -> u8 {
        1
    }
}

/// A press, and the gateway that reads it.
struct Press<D> {
    device: D,
    gateway: Gateway,
    site: String,
    bootstrap: String,
}

impl<D: Device> Press<D> {
    /// The gateway knows it, and it has counted to one.
    fn start(connect: &str, mut device: D) -> Result<Self> {
        let bootstrap = Kafka::shared()?.bootstrap();
        let site = unique_site();
        let source = format!("adapter: modbus\n    connect: {connect}\n    {TIMES}");
        let mapping = MAPPING
            .replace("{site}", &site)
            .replace("{counting}", &device.counting().to_string());
        device.set(Table::Holding, 100, &[4])?;
        let settings = settings(&site, &bootstrap, &source);
        let mut press = Self {
            gateway: Gateway::new(&settings, &[("press.yaml", &mapping)])?,
            device,
            site,
            bootstrap,
        };
        press.gateway.start()?;
        press.reader("equipment-state")?.at_least(1, Patience::Long)?;
        let tags = "floorgate_source_samples_total{source=\"plc\"}";
        press.gateway.wait_for_metric(tags, 2.0.., Patience::Long)?;
        ensure!(press.count(1..=1)? == 0, "nothing was missed yet");
        Ok(press)
    }

    fn reader(&self, entity: &str) -> Result<Reader> {
        Reader::new(&self.bootstrap, &topic(&self.site, entity))
    }

    fn counts(&mut self, value: i64) -> Result<()> {
        // The high word first.
        let words = [value >> 16, value & 0xFFFF].map(u16::try_from);
        let [high, low] = words;
        self.device.set(Table::Input, 200, &[high?, low?])
    }

    /// Counts on, and compares what came since the beginning. Returns how many gaps were said.
    fn count(&mut self, values: RangeInclusive<i64>) -> Result<usize> {
        for value in values.clone() {
            self.counts(value)?;
            read_to(&mut self.reader("production-count")?, value)?;
        }
        let mut reader = self.reader("production-count")?;
        let delivery = Delivery::of(read_to(&mut reader, *values.end())?)?;
        compare(&delivery.accepted, &(1..=*values.end()))
    }

    /// How many requests and connections have failed.
    fn failures(&self) -> Result<f64> {
        let kinds = ["timeout", "link", "protocol"].map(|kind| {
            let line = format!("floorgate_source_errors_total{{kind=\"{kind}\",source=\"plc\"}}");
            Ok(self.gateway.metric(&line)?.unwrap_or_default())
        });
        kinds.into_iter().sum()
    }

    /// Waits until the source is lost, and was tried so often that the pauses between attempts are as long as they become.
    fn is_lost(&self) -> Result<()> {
        self.gateway.wait_for_metric(UP, 0.0..=0.0, Patience::Long)?;
        let before = self.failures()?;
        until("the longest pause", Patience::Long, || {
            Ok((self.failures()? >= before + 6.0).then_some(()))
        })
    }

    /// The device runs through states and counts on, over the bound of a word, while nobody looks.
    fn runs_unseen(&mut self) -> Result<()> {
        for (state, value) in [(5, 2), (6, LAST_UNSEEN)] {
            self.counts(value)?;
            self.device.set(Table::Holding, 100, &[state])?;
        }
        Ok(())
    }

    /// Waits until the source is back, which is so soon after the fault ended, and the device has one connection, or none where it needs none.
    fn is_back(&mut self, ended: Instant, connections: usize) -> Result<()> {
        self.gateway.wait_for_metric(UP, 1.0..=1.0, Patience::Long)?;
        let took = ended.elapsed();
        eprintln!("back after {took:.2?}");
        ensure!(took < WITHIN, "it took {took:?}");
        let mut last = 0;
        let waited = until("one connection", Patience::Long, || {
            last = self.device.sockets()?;
            Ok((last == connections).then_some(()))
        });
        waited.map_err(|error| error.context(format!("there were {last} in the end")))
    }

    /// What it did unseen is one gap of each of its tags.
    fn has_missed_once(&mut self) -> Result<()> {
        let gaps = self.count(LAST_UNSEEN + 1..=LAST_UNSEEN + 2)?;
        ensure!(gaps == 1, "what was missed is one gap, and not {gaps}");
        self.told(&[("Idle", false), ("Execute", true)])
    }

    /// Compares the states that were told, and those among them that came with a gap. That a state is unknown may be told between them.
    fn told(&self, expected: &[(&str, bool)]) -> Result<()> {
        let state = |record: &Record| {
            let data = record.json()?;
            let state = data["state"].as_str().unwrap_or_default().to_owned();
            Ok((state, data["gap"] == true))
        };
        let known = |records: &[Record]| -> Result<Vec<(String, bool)>> {
            let all: Vec<_> = records.iter().map(state).collect::<Result<_>>()?;
            Ok(all.into_iter().filter(|(state, _)| state != "unknown").collect())
        };
        let mut reader = self.reader("equipment-state")?;
        let records = reader.until("the last state", Patience::Long, |records| {
            known(records).is_ok_and(|known| known.len() >= expected.len())
        })?;
        let known = known(&Delivery::of(records)?.accepted)?;
        let known: Vec<_> = known.iter().map(|(state, gap)| (&**state, *gap)).collect();
        ensure!(known == expected, "{known:?}");
        Ok(())
    }
}

/// A connection where there are such.
fn connections(framing: Framing) -> usize {
    usize::from(framing != Framing::Udp)
}

const FRAMINGS: [Framing; 4] = [Framing::Tcp, Framing::Rtu, Framing::Ascii, Framing::Udp];

fn over(framing: Framing) -> Result<Press<ModbusPeer>> {
    let device = ModbusPeer::start(framing, &[1, 2])?;
    Press::start(&format!("{}://{}", framing.scheme(), device.address()), device)
}

#[test]
fn a_modbus_device_that_is_killed_and_restarted_is_back_soon_on_one_connection() -> Result<()> {
    for framing in FRAMINGS {
        let mut press = over(framing)?;
        press.device.kill();
        press.is_lost()?;
        press.runs_unseen()?;
        press.device.resume()?;
        press.is_back(Instant::now(), connections(framing))?;
        press.has_missed_once()?;
    }
    Ok(())
}

#[test]
fn a_modbus_device_that_stands_still_is_back_soon_and_keeps_none_of_the_connections_that_were_tried()
-> Result<()> {
    for framing in FRAMINGS {
        let mut press = over(framing)?;
        press.device.pause()?;
        press.is_lost()?;
        if framing != Framing::Udp {
            // Its operating system takes what is tried meanwhile.
            until("connections that wait", Patience::Long, || {
                Ok((press.device.sockets()? > 2).then_some(()))
            })?;
        }
        press.device.go_on()?;
        press.is_back(Instant::now(), connections(framing))?;
        ensure!(press.count(2..=3)? == 1, "it may have counted twice meanwhile");
        press.told(&[("Idle", false), ("Idle", true)])?;
    }
    Ok(())
}

#[test]
fn a_libmodbus_device_that_stands_still_is_back_soon_over_tcp_and_on_a_serial_line() -> Result<()> {
    for (device, connections) in [(LibmodbusPeer::tcp()?, 1), (LibmodbusPeer::serial(1)?, 0)] {
        let mut press = Press::start(&device.connect(), device)?;
        press.device.pause()?;
        press.is_lost()?;
        press.device.go_on()?;
        press.is_back(Instant::now(), connections)?;
        ensure!(press.count(2..=3)? == 1, "it may have counted twice meanwhile");
        press.told(&[("Idle", false), ("Idle", true)])?;
    }
    Ok(())
}

/// Of the serial line the adapter goes with the device, as when it is pulled out and put back.
#[test]
fn a_libmodbus_device_that_is_killed_and_restarted_is_back_soon_over_tcp_and_on_a_serial_line() -> Result<()>
{
    for (device, connections) in [(LibmodbusPeer::tcp()?, 1), (LibmodbusPeer::serial(1)?, 0)] {
        let mut press = Press::start(&device.connect(), device)?;
        press.device.kill();
        press.is_lost()?;
        press.runs_unseen()?;
        press.device.resume()?;
        press.is_back(Instant::now(), connections)?;
        press.has_missed_once()?;
    }
    Ok(())
}

#[test]
fn a_secured_device_whose_certificate_was_exchanged_is_back_soon_after_the_gateway_is_given_its_authority()
-> Result<()> {
    let (authority, renewed) = (authority()?, authority()?);
    let device = ModbusPeer::secured(&authority, "plc", &[1, 2])?;
    let files = [
        ("ca_file", authority.certificate()),
        ("certificate_file", authority.certificate_of("gateway")),
        ("key_file", authority.key_of("gateway")),
    ];
    let files = files
        .map(|(setting, file)| format!("{setting}: {}, ", file.display()))
        .concat();
    let connect = format!(
        "tls://127.0.0.1:{}\n    tls: {{{files}server_name: plc.example}}",
        device.port()
    );
    let mut press = Press::start(&connect, device)?;
    press.device.kill();
    // The device has a certificate of another authority, and takes the gateway's only from that.
    for name in ["plc", "gateway"] {
        std::fs::copy(renewed.certificate_of(name), authority.certificate_of(name))?;
        std::fs::copy(renewed.key_of(name), authority.key_of(name))?;
    }
    let known = std::fs::read(authority.certificate())?;
    std::fs::copy(renewed.certificate(), authority.certificate())?;
    press.runs_unseen()?;
    press.device.resume()?;
    // What the gateway is given is what it had.
    std::fs::write(authority.certificate(), known)?;
    press.is_lost()?;
    // What keeps it away now is said and shown, not that its connection was closed.
    let process = press.gateway.process()?;
    process.wait_for_output("see=\"modbus-device-not-accepted\"", Patience::Short)?;
    until("the reason in the table", Patience::Long, || {
        let table = press.gateway.command(&["sources"])?.output()?.stdout;
        let is_shown = String::from_utf8_lossy(&table).contains("(see modbus-device-not-accepted)");
        Ok(is_shown.then_some(()))
    })?;
    std::fs::copy(renewed.certificate(), authority.certificate())?;
    press.is_back(Instant::now(), 1)?;
    press.has_missed_once()
}

fn authority() -> Result<Authority> {
    Authority::new(&["plc=plc.example", "gateway"])
}

#[test]
fn a_network_that_is_cut_in_silence_costs_a_modbus_device_no_connection() -> Result<()> {
    let wire = Arc::new(Wire::lay()?);
    let device = ModbusPeer::behind(Arc::clone(&wire), &[1, 2])?;
    let mut press = Press::start(&format!("tcp://{}", device.address()), device)?;
    wire.cut()?;
    press.is_lost()?;
    press.runs_unseen()?;
    wire.mend()?;
    press.is_back(Instant::now(), 1)?;
    ensure!(
        press.count(LAST_UNSEEN + 1..=LAST_UNSEEN + 2)? == 1,
        "what was missed is one gap"
    );

    // The device forgets the connection meanwhile, of which neither end tells the other.
    wire.cut()?;
    press.is_lost()?;
    press.device.kill();
    press.device.resume()?;
    press.counts(LAST_UNSEEN + 4)?;
    wire.mend()?;
    press.is_back(Instant::now(), 1)?;
    ensure!(
        press.count(LAST_UNSEEN + 5..=LAST_UNSEEN + 6)? == 2,
        "and so is this"
    );
    press.told(&[("Idle", false), ("Execute", true), ("Execute", true)])
}
