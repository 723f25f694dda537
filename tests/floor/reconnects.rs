//! Connections to an OPC UA server that are lost again and again, and two servers of one plant.

use anyhow::Result;
use floorgate_tests::{Delivery, Kafka, OpcUaOptions, Patience, until};

use crate::counting::{COUNTER, compare, known, read_to};
use crate::outage::holds;
use crate::plant::{NO_SECURITY, Plant, plc};

const UP: &str = "floorgate_source_up{source=\"plc\"}";

/// How much the memory may grow from the tenth connection to the hundredth.
fn may_grow(after_ten: u64) -> u64 {
    after_ten / 20 + (2 << 20)
}

/// A plant whose gateway comes back soon, and knows it.
fn known_plant() -> Result<Plant> {
    let special = format!("{NO_SECURITY}\n    keep_alive: 500ms");
    let mut plant = Plant::with(&Kafka::shared()?.bootstrap(), OpcUaOptions::default(), &special)?;
    let settings = plant
        .settings()?
        .replace("reconnect_limit: 1s", "reconnect_limit: 500ms");
    plant.gateway.write("floorgate.yaml", &settings)?;
    plant.gateway.start()?;
    known(&plant)?;
    Ok(plant)
}

/// Each of the three has a server of its own; the one in the middle says how memory grows.
#[test]
fn a_hundred_lost_connections_leave_nothing_behind() -> Result<()> {
    let mut plants = [known_plant()?, known_plant()?, known_plant()?];
    let connects = "floorgate_source_connects_total{source=\"plc\"}";
    let mut after_ten = [0; 3];
    for lost in 1..=100_u32 {
        for plant in &mut plants {
            plant.plc.drop_connections()?;
        }
        for plant in &plants {
            plant
                .gateway
                .wait_for_metric(connects, f64::from(lost + 1).., Patience::Long)?;
        }
        if lost == 10 {
            for (plant, memory) in plants.iter_mut().zip(&mut after_ten) {
                *memory = plant.gateway.process()?.memory()?;
            }
        }
    }
    let mut grown = Vec::new();
    for (plant, before) in plants.iter_mut().zip(after_ten) {
        let last = plant.gateway.process()?.memory()?;
        eprintln!("{before} bytes after ten connections, {last} after a hundred");
        grown.push((last.saturating_sub(before), before));
    }
    grown.sort_unstable();
    let (growth, before) = grown[1];
    assert!(growth < may_grow(before), "{grown:?}");
    for plant in &mut plants {
        // One session for the values, and the short ones that ask for endpoints have none.
        let counts = holds(&mut plant.plc, 1, 12)?;
        assert_eq!(
            counts.sessions_ever, 1,
            "a session that can be re-activated is not made anew"
        );
        until("one connection", Patience::Long, || {
            Ok((plant.plc.connections()? == 1).then_some(()))
        })?;
        plant.plc.set(COUNTER, 1)?;
        let mut reader = plant.reader("production-count")?;
        compare(&Delivery::of(read_to(&mut reader, 1)?)?.accepted, &(1..=1))?;
    }
    Ok(())
}

#[test]
fn two_servers_of_one_plant_tell_everything_once() -> Result<()> {
    let mut second = plc(OpcUaOptions {
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
