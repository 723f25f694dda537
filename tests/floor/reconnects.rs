//! Connections to an OPC UA server that are lost again and again, a server that stands still, and two servers of one plant.

use std::time::{Duration, Instant};

use anyhow::Result;
use floorgate_tests::{Delivery, Kafka, OpcUaOptions, Patience, until};

use crate::counting::{COUNTER, compare, known, read_to};
use crate::plant::{NO_SECURITY, Plant, plc};

const UP: &str = "floorgate_source_up{source=\"plc\"}";

/// The gateway's memory in bytes: the middle one of three looks.
fn memory(plant: &mut Plant) -> Result<u64> {
    let mut looks = [0; 3];
    for look in &mut looks {
        plant.gateway.get("/metrics")?;
        *look = plant.gateway.process()?.memory()?;
    }
    looks.sort_unstable();
    Ok(looks[1])
}

#[test]
fn a_hundred_lost_connections_leave_nothing_behind() -> Result<()> {
    let special = format!("{NO_SECURITY}\n    keep_alive: 500ms");
    let mut plant = Plant::with(&Kafka::shared()?.bootstrap(), OpcUaOptions::default(), &special)?;
    let settings = plant
        .settings()?
        .replace("reconnect_limit: 1s", "reconnect_limit: 500ms");
    plant.gateway.write("floorgate.yaml", &settings)?;
    plant.gateway.start()?;
    known(&plant)?;
    let connects = "floorgate_source_connects_total{source=\"plc\"}";
    let mut after_ten = 0;
    for lost in 1..=100_u32 {
        plant.plc.drop_connections()?;
        plant
            .gateway
            .wait_for_metric(connects, f64::from(lost + 1).., Patience::Long)?;
        if lost == 10 {
            after_ten = memory(&mut plant)?;
        }
    }
    let last = memory(&mut plant)?;
    eprintln!("{after_ten} bytes after ten connections, {last} after a hundred");
    assert!(
        last < after_ten + after_ten / 20 + (2 << 20),
        "{after_ten} bytes became {last}"
    );
    until("one subscription", Patience::Long, || {
        let counted = (
            plant.plc.connections()?,
            plant.plc.subscriptions()?,
            plant.plc.monitored_items()?,
        );
        Ok((counted == (1, 1, 12)).then_some(()))
    })?;
    // One session for the values, and the short ones that ask for endpoints have none.
    assert_eq!(
        plant.plc.sessions()?,
        1,
        "a session that can be re-activated is not made anew"
    );
    plant.plc.set(COUNTER, 1)?;
    let mut reader = plant.reader("production-count")?;
    compare(&Delivery::of(read_to(&mut reader, 1)?)?.accepted, &(1..=1))?;
    Ok(())
}

#[test]
fn a_plc_that_stands_still_is_noticed_and_comes_back_by_itself() -> Result<()> {
    let special = format!("{NO_SECURITY}\n    keep_alive: 500ms\n    request_timeout: 1s");
    let mut plant = Plant::with(&Kafka::shared()?.bootstrap(), OpcUaOptions::default(), &special)?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.set(COUNTER, 1)?;
    let mut reader = plant.reader("production-count")?;
    read_to(&mut reader, 1)?;

    plant.plc.pause()?;
    plant.gateway.wait_for_metric(UP, 0.0..=0.0, Patience::Long)?;
    plant.plc.go_on()?;
    let begun = Instant::now();
    plant.gateway.wait_for_metric(UP, 1.0..=1.0, Patience::Long)?;
    // Two keep-alives, the longest pause with its jitter, and a second.
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1_000 + 1_500 + 1_000), "{took:?}");
    plant.plc.set(COUNTER, 2)?;
    let delivery = Delivery::of(read_to(&mut reader, 2)?)?;
    compare(&delivery.accepted, &(1..=2))?;
    until("one subscription", Patience::Long, || {
        Ok((plant.plc.subscriptions()? == 1 && plant.plc.monitored_items()? == 12).then_some(()))
    })
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
