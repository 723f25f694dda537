//! A server that lets its clients renew the keys of their connections every second, while values flow.

use anyhow::{Result, ensure};
use floorgate_tests::{Delivery, Kafka, OpcUaOptions};

use crate::counting::{COUNTER, compare, known, read_to};
use crate::outage::holds;
use crate::plant::Plant;

const LAST: i64 = 2_000;

#[test]
fn a_connection_whose_keys_are_renewed_under_load_loses_nothing() -> Result<()> {
    let options = OpcUaOptions {
        policies: vec!["Basic256Sha256-SignAndEncrypt"],
        ..OpcUaOptions::default()
    };
    let special = "trust_any_server_certificate: true";
    let mut plant = Plant::with(&Kafka::shared()?.bootstrap(), options, special)?;
    plant.plc.limit_channels(1_000)?;
    plant.gateway.start()?;
    known(&plant)?;
    let before = plant.plc.renewals()?;
    plant.plc.count_up(COUNTER, 1, LAST, 5)?;
    let mut counts = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut counts, LAST)?)?;
    let renewals = plant.plc.renewals()? - before;
    eprintln!("{LAST} values over {renewals} renewals");
    ensure!(renewals >= 5, "{renewals} renewals");
    let gaps = compare(&delivery.accepted, &(1..=LAST))?;
    ensure!(
        (gaps, delivery.repeated) == (0, 0),
        "{gaps} gaps, {} repeated",
        delivery.repeated
    );
    let connects = plant
        .gateway
        .metric("floorgate_source_connects_total{source=\"plc\"}")?;
    ensure!(connects == Some(1.0), "it was one connection: {connects:?}");
    let counts = holds(&mut plant.plc, 1, 12)?;
    ensure!(counts.sessions_ever == 1, "{counts:?}");
    Ok(())
}
