//! Connections that are lost again and again, and two servers of one plant.

use std::time::Instant;

use anyhow::Result;
use floorgate_tests::{Delivery, Framing, Gateway, Kafka, OpcUaOptions, OpcUaPeer, Patience, Table, until};

use crate::counting::{COUNTER, compare, known, read_to};
use crate::modbus::Conveyor;
use crate::outage::holds;
use crate::plant::{NO_SECURITY, Plant, plc};

const UP: &str = "floorgate_source_up{source=\"plc\"}";

/// How much the memory may grow from the tenth connection to the hundredth.
fn may_grow(after_ten: u64) -> u64 {
    after_ten / 20 + (2 << 20)
}

/// A gateway, and a device that loses its connections.
trait Floor {
    fn gateway(&mut self) -> &mut Gateway;
    fn lose(&mut self) -> Result<()>;
}

/// An OPC UA server: it loses the connection alone, or all that it knows of its clients.
struct Server {
    plant: Plant,
    forgets: bool,
}

impl Server {
    /// Its gateway comes back soon, and knows it.
    fn start(options: OpcUaOptions, security: &str, forgets: bool) -> Result<Self> {
        let special = format!("{security}\n    keep_alive: 500ms");
        let mut plant = Plant::with(&Kafka::shared()?.bootstrap(), options, &special)?;
        let settings = plant
            .settings()?
            .replace("reconnect_limit: 1s", "reconnect_limit: 500ms");
        plant.gateway.write("floorgate.yaml", &settings)?;
        plant.gateway.start()?;
        known(&plant)?;
        Ok(Self { plant, forgets })
    }

    /// In the end there is one session with one subscription, and one connection. Returns how many sessions there were.
    fn has_one_client(&mut self) -> Result<u64> {
        let plant = &mut self.plant;
        // One session for the values, and the short ones that ask for endpoints have none.
        let counts = holds(&mut plant.plc, 1, 12)?;
        until("one connection", Patience::Long, || {
            Ok((plant.plc.connections()? == 1).then_some(()))
        })?;
        Ok(counts.sessions_ever)
    }

    /// What it counts is told, and how many gaps are.
    fn counts(&mut self) -> Result<usize> {
        self.plant.plc.set(COUNTER, 1)?;
        let mut reader = self.plant.reader("production-count")?;
        compare(&Delivery::of(read_to(&mut reader, 1)?)?.accepted, &(1..=1))
    }
}

impl Floor for Server {
    fn gateway(&mut self) -> &mut Gateway {
        &mut self.plant.gateway
    }

    fn lose(&mut self) -> Result<()> {
        if self.forgets {
            self.plant.plc.forget_clients()
        } else {
            self.plant.plc.drop_connections()
        }
    }
}

impl Floor for Conveyor {
    fn gateway(&mut self) -> &mut Gateway {
        &mut self.gateway
    }

    fn lose(&mut self) -> Result<()> {
        self.plc.drop_connections()
    }
}

/// Each of the three has a device of its own; the one in the middle says how memory grows.
fn leave_nothing_behind(floors: &mut [impl Floor; 3]) -> Result<()> {
    let connects = "floorgate_source_connects_total{source=\"plc\"}";
    let begun = Instant::now();
    let mut after_ten = [0; 3];
    for lost in 1..=100_u32 {
        for floor in floors.iter_mut() {
            floor.lose()?;
        }
        for floor in floors.iter_mut() {
            let expected = f64::from(lost + 1)..;
            floor
                .gateway()
                .wait_for_metric(connects, expected, Patience::Long)?;
            floor.gateway().wait_for_metric(UP, 1.0..=1.0, Patience::Long)?;
        }
        if lost == 10 {
            for (floor, memory) in floors.iter_mut().zip(&mut after_ten) {
                *memory = floor.gateway().process()?.memory()?;
            }
        }
    }
    let mut grown = Vec::new();
    for (floor, before) in floors.iter_mut().zip(after_ten) {
        let last = floor.gateway().process()?.memory()?;
        eprintln!("{before} bytes after ten connections, {last} after a hundred");
        grown.push((last.saturating_sub(before), before));
    }
    eprintln!("a hundred connections took {:.1?}", begun.elapsed());
    grown.sort_unstable();
    let (growth, before) = grown[1];
    assert!(growth < may_grow(before), "{grown:?}");
    Ok(())
}

#[test]
fn a_hundred_lost_connections_leave_nothing_behind() -> Result<()> {
    let start = || Server::start(OpcUaOptions::default(), NO_SECURITY, false);
    let mut servers = [start()?, start()?, start()?];
    leave_nothing_behind(&mut servers)?;
    for server in &mut servers {
        let sessions = server.has_one_client()?;
        assert_eq!(sessions, 1, "a session that can be re-activated is not made anew");
        assert_eq!(server.counts()?, 0);
    }
    Ok(())
}

/// Session and subscription are made anew each time, encrypted.
#[test]
fn a_hundred_forgotten_sessions_leave_nothing_behind() -> Result<()> {
    let start = || {
        let options = OpcUaOptions {
            policies: vec!["Basic256Sha256-SignAndEncrypt"],
            ..OpcUaOptions::default()
        };
        Server::start(options, "trust_any_server_certificate: true", true)
    };
    let mut servers = [start()?, start()?, start()?];
    leave_nothing_behind(&mut servers)?;
    for server in &mut servers {
        let sessions = server.has_one_client()?;
        assert!(sessions > 100, "{sessions} sessions, each of which was forgotten");
        assert!(server.counts()? <= 1, "what was missed is one gap");
    }
    Ok(())
}

#[test]
fn a_hundred_lost_connections_of_modbus_leave_nothing_behind() -> Result<()> {
    let start = || Conveyor::start(Framing::Tcp);
    let mut conveyors = [start()?, start()?, start()?];
    leave_nothing_behind(&mut conveyors)?;
    for conveyor in &mut conveyors {
        until("one connection", Patience::Long, || {
            Ok((conveyor.plc.sockets()? == 1).then_some(()))
        })?;
        conveyor.plc.set_registers(1, Table::Input, 200, &[0, 1])?;
        let mut reader = conveyor.reader("production-count")?;
        compare(&Delivery::of(read_to(&mut reader, 1)?)?.accepted, &(1..=1))?;
    }
    Ok(())
}

/// A plant whose second server has its variables behind another number of their namespace.
fn of_two_servers() -> Result<(Plant, OpcUaPeer)> {
    let second = plc(OpcUaOptions {
        namespaces_before: vec!["urn:floorgate:test:intruder"],
        ..OpcUaOptions::default()
    })?;
    let special = format!(
        "{NO_SECURITY}\n    keep_alive: 500ms\n    redundant: [\"{}\"]",
        second.url()
    );
    let mut plant = Plant::with(&Kafka::shared()?.bootstrap(), OpcUaOptions::default(), &special)?;
    plant.gateway.start()?;
    known(&plant)?;
    Ok((plant, second))
}

#[test]
fn two_servers_of_one_plant_tell_everything_once() -> Result<()> {
    let (mut plant, mut second) = of_two_servers()?;
    for count in 1..=3 {
        plant.plc.set(COUNTER, count)?;
        second.set(COUNTER, count)?;
    }
    let mut reader = plant.reader("production-count")?;
    read_to(&mut reader, 3)?;
    assert_eq!(second.monitored_items()?, 0);

    plant.plc.kill();
    until("the other server's turn", Patience::Long, || {
        Ok((second.monitored_items()? == 12).then_some(()))
    })?;
    plant.gateway.wait_for_metric(UP, 1.0..=1.0, Patience::Long)?;
    second.set(COUNTER, 4)?;
    read_to(&mut reader, 4)?;
    // And back, to a server that knows nothing of before and has missed a count.
    plant.plc.resume()?;
    plant.plc.set(COUNTER, 5)?;
    second.kill();
    let delivery = Delivery::of(read_to(&mut reader, 5)?)?;
    compare(&delivery.accepted, &(1..=5))?;
    assert_eq!(delivery.repeated, 0);
    Ok(())
}

#[test]
fn the_healthier_of_two_servers_is_taken_while_both_count_and_everything_is_told_once() -> Result<()> {
    let (mut plant, mut second) = of_two_servers()?;
    let mut last = 0;
    let mut count = |plant: &mut Plant, second: &mut OpcUaPeer| -> Result<i64> {
        last += 1;
        second.set(COUNTER, last)?;
        plant.plc.set(COUNTER, last)?;
        Ok(last)
    };
    let mut reader = plant.reader("production-count")?;
    let seen = count(&mut plant, &mut second)?;
    read_to(&mut reader, seen)?;
    second.say_level(210)?;
    plant.plc.say_level(199)?;
    until("the other server's turn", Patience::Long, || {
        count(&mut plant, &mut second)?;
        Ok((second.monitored_items()? == 12).then_some(()))
    })?;
    plant.gateway.wait_for_metric(UP, 1.0..=1.0, Patience::Long)?;
    let output = plant.gateway.output()?;
    let why = "its service level is 199, and that of another server is 210";
    assert!(output.contains(why), "{output}");
    until("a server on which nothing is left behind", Patience::Long, || {
        Ok((plant.plc.monitored_items()? == 0).then_some(()))
    })?;
    let seen = count(&mut plant, &mut second)?;
    let delivery = Delivery::of(read_to(&mut reader, seen)?)?;
    let gaps = compare(&delivery.accepted, &(1..=seen))?;
    assert!(gaps <= 1, "the change of servers is one gap, and not {gaps}");
    assert_eq!(delivery.repeated, 0);

    // None of them is healthy then, which is said of the one that the gateway stays with.
    second.say_level(199)?;
    let said = "the server's service level is 199 (see opcua-server-not-healthy)";
    until("the server's health in the table", Patience::Long, || {
        let table = plant.gateway.command(&["sources"])?.output()?.stdout;
        Ok(String::from_utf8_lossy(&table).contains(said).then_some(()))
    })
}
