//! Modbus equipment over every kind of connection, by two libraries that others have written.

use anyhow::{Context, Result};
use floorgate_tests::{
    Authority, Framing, Gateway, Kafka, LibmodbusPeer, ModbusPeer, Patience, Reader, Record, Table, until,
};

use crate::plant::{settings, topic, unique_site};

const MAPPING: &str = r"
mapping: press
source: plc
equipment: acme/{site}/forming/line1/press
tags:
  state:   {holding: 100, values: packml-state}
  total:   {input: 200, type: u32, counter: {width: 32}, read_twice: true}
  running: {coil: 5}
events:
  - {type: EquipmentStateChanged, trigger: state}
  - {type: ProductionCountRecorded, trigger: total, kind: total}
  - {type: PressSwitched, trigger: running, data: {running: running}}
";

/// A press, its gateway, and where its events are.
struct Press {
    gateway: Gateway,
    site: String,
    bootstrap: String,
}

impl Press {
    /// A gateway whose source has these settings, flow style, beside the usual ones.
    fn start(connect: &str, special: &str) -> Result<Self> {
        let bootstrap = Kafka::shared()?.bootstrap();
        let site = unique_site();
        let source = format!(
            "adapter: modbus\n    connect: {connect}\n    poll_interval: 20ms\n    backoff_max: 1s\n    {special}"
        );
        let mapping = MAPPING.replace("{site}", &site);
        let settings = settings(&site, &bootstrap, &source);
        let mut gateway = Gateway::new(&settings, &[("press.yaml", &mapping)])?;
        gateway.start()?;
        Ok(Self {
            gateway,
            site,
            bootstrap,
        })
    }

    fn reader(&self, entity: &str) -> Result<Reader> {
        Reader::new(&self.bootstrap, &topic(&self.site, entity))
    }

    fn wait_for_state(&self, state: &str) -> Result<()> {
        let mut reader = self.reader("equipment-state")?;
        let is_there = |record: &Record| record.json().is_ok_and(|data| data["state"] == state);
        reader
            .until("the state", Patience::Long, |records| {
                records.iter().any(is_there)
            })
            .map(drop)
    }
}

/// Idle and nothing made; then executing, 70,000 made, and switched on.
fn runs(press: &mut Press, mut set: impl FnMut(Table, u16, &[u16]) -> Result<()>) -> Result<()> {
    press.wait_for_state("Idle")?;
    set(Table::Holding, 100, &[6])?;
    set(Table::Input, 200, &[1, 4_464])?;
    set(Table::Coil, 5, &[1])?;
    press.wait_for_state("Execute")?;
    let mut reader = press.reader("production-count")?;
    let made = |record: &Record| record.json().is_ok_and(|data| data["rawValue"] == 70_000);
    reader.until("the count", Patience::Long, |records| records.iter().any(made))?;
    let mut reader = press.reader("press-switched")?;
    let on = |record: &Record| record.json().is_ok_and(|data| data["running"] == true);
    reader.until("the switch", Patience::Long, |records| records.iter().any(on))?;
    let (status, _) = press.gateway.stop()?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[test]
fn a_libmodbus_device_is_read_over_tcp_and_on_a_serial_line() -> Result<()> {
    for mut plc in [LibmodbusPeer::tcp()?, LibmodbusPeer::serial(7)?] {
        plc.set_registers(Table::Holding, 100, &[4])?;
        let mut press = Press::start(&plc.connect(), "unit: 7")?;
        runs(&mut press, |table, address, values| {
            plc.set_registers(table, address, values)
        })?;
        assert!(plc.requests()? > 3);
    }
    Ok(())
}

/// The source's part for certificates: the gateway's own name, and what the server's certificate is to be for.
fn certificates(authority: &Authority, own: &str, server: &str) -> String {
    format!(
        "tls: {{ca_file: {}, certificate_file: {}, key_file: {}, server_name: {server}}}",
        authority.certificate().display(),
        authority.certificate_of(own).display(),
        authority.key_of(own).display()
    )
}

#[test]
fn a_device_with_certificates_is_read_and_comes_back_after_a_restart_with_renewed_ones() -> Result<()> {
    let authority = Authority::new(&["plc=plc.example", "gateway"])?;
    let renewed = Authority::new(&["plc=plc.example", "gateway"])?;
    let mut plc = ModbusPeer::secured(&authority, "plc", &[1])?;
    plc.set_registers(1, Table::Holding, 100, &[4])?;
    let connect = format!("tls://127.0.0.1:{}", plc.port());
    let mut press = Press::start(&connect, &certificates(&authority, "gateway", "plc.example"))?;
    press.wait_for_state("Idle")?;
    let up = "floorgate_source_up{source=\"plc\"}";
    plc.kill();
    press.gateway.wait_for_metric(up, 0.0..=0.0, Patience::Long)?;
    // All certificates are renewed, by another authority: neither side takes one of the other's old ones. The gateway is not told.
    for name in ["authority", "plc", "gateway"] {
        std::fs::copy(renewed.certificate_of(name), authority.certificate_of(name))?;
        if name != "authority" {
            std::fs::copy(renewed.key_of(name), authority.key_of(name))?;
        }
    }
    plc.resume()?;
    press.gateway.wait_for_metric(up, 1.0..=1.0, Patience::Long)?;
    runs(&mut press, |table, address, values| match table {
        Table::Coil | Table::Discrete => plc.set_bits(1, table, address, &[values[0] == 1]),
        Table::Input | Table::Holding => plc.set_registers(1, table, address, values),
    })
}

#[test]
fn certificates_that_do_not_fit_are_refused_with_the_reason() -> Result<()> {
    let authority = Authority::new(&["plc=plc.example", "gateway"])?;
    let stranger = Authority::new(&["gateway"])?;
    let mut plc = ModbusPeer::secured(&authority, "plc", &[1])?;
    let connect = format!("tls://127.0.0.1:{}", plc.port());
    let by_stranger = format!(
        "tls: {{ca_file: {}, certificate_file: {}, key_file: {}, server_name: plc.example}}",
        authority.certificate().display(),
        stranger.certificate_of("gateway").display(),
        stranger.key_of("gateway").display()
    );
    let cases = [
        (
            certificates(&authority, "gateway", "other.example"),
            "the device's certificate is not accepted",
            "modbus-device-not-accepted",
        ),
        (
            certificates(&stranger, "gateway", "plc.example"),
            "the device's certificate is not accepted",
            "modbus-device-not-accepted",
        ),
        (
            by_stranger,
            "does not accept the gateway",
            "modbus-gateway-not-accepted",
        ),
    ];
    for (special, reason, see) in cases {
        let mut press = Press::start(&connect, &special)?;
        press
            .gateway
            .process()?
            .wait_for_output(reason, Patience::Short)?;
        let output = press.gateway.output()?;
        let told = output.lines().find(|line| line.contains(reason));
        let end = format!(" see=\"{see}\"");
        assert!(told.is_some_and(|line| line.ends_with(&end)), "no{end}: {output}");
        assert_eq!(
            press.gateway.metric("floorgate_source_up{source=\"plc\"}")?,
            Some(0.0)
        );
    }
    assert_eq!(plc.requests()?, 0);
    Ok(())
}

#[test]
fn a_second_address_takes_over() -> Result<()> {
    let mut plcs = [
        ModbusPeer::start(Framing::Tcp, &[1])?,
        ModbusPeer::start(Framing::Tcp, &[1])?,
    ];
    plcs[0].set_registers(1, Table::Holding, 100, &[4])?;
    plcs[1].set_registers(1, Table::Holding, 100, &[6])?;
    let [first, second] = plcs
        .each_ref()
        .map(|plc| format!("tcp://127.0.0.1:{}", plc.port()));
    let mut press = Press::start(&first, &format!("backup: {second}"))?;
    press.wait_for_state("Idle")?;
    plcs[0].kill();
    press.wait_for_state("Execute")?;
    let told = format!("the connection leads to {second} now");
    press.gateway.process()?.wait_for_output(&told, Patience::Short)?;
    let requests = until("requests to the second", Patience::Short, || {
        Ok(Some(plcs[1].requests()?).filter(|requests| *requests > 0))
    })?;
    assert!(requests > 0);
    let (status, _) = press.gateway.stop().context("the gateway")?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// The library answers for a queue of its own with four values.
#[test]
fn a_queue_is_read_over_each_framing() -> Result<()> {
    for framing in [Framing::Tcp, Framing::Rtu, Framing::Ascii, Framing::Udp] {
        let plc = ModbusPeer::start(framing, &[1])?;
        let connect = format!("{}://{}", framing.scheme(), plc.address());
        let site = unique_site();
        let mapping = format!(
            "mapping: press\nsource: plc\nequipment: acme/{site}/forming/line1/press\ntags:\n  queue: {{fifo: 1200}}\n\
             events:\n  - {{type: QueueChanged, trigger: queue, data: {{queue: queue}}}}\n"
        );
        let settings = settings(
            &site,
            &Kafka::shared()?.bootstrap(),
            &format!("adapter: modbus\n    connect: {connect}"),
        );
        let mut gateway = Gateway::new(&settings, &[("press.yaml", &mapping)])?;
        gateway.start()?;
        until("the queue", Patience::Long, || {
            let output = gateway.command(&["tags", "--json"])?.output()?.stdout;
            let text = String::from_utf8_lossy(&output).into_owned();
            Ok(text.contains("\"value\":[0,1,2,3]").then_some(()))
        })
        .with_context(|| format!("{framing:?}"))?;
    }
    Ok(())
}
