//! Faults that end: the source is back within two keep-alives, the longest pause between attempts and a second, with what was missed said, and nothing left behind on the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Kafka, OpcUaOptions, Patience, Wire, until};

use crate::counting::{COUNTER, compare, known, read_to};
use crate::plant::{NO_SECURITY, Plant};

const UP: &str = "floorgate_source_up{source=\"plc\"}";
const TIMES: &str = "keep_alive: 500ms\n    request_timeout: 1s\n    retry_refused_nodes: 1s";
/// Two keep-alives, the longest pause with its jitter, and a second.
const WITHIN: Duration = Duration::from_millis(1_000 + 1_500 + 1_000);

/// A gateway that knows its PLC, which has counted to one.
fn plant(options: OpcUaOptions, security: &str) -> Result<Plant> {
    let special = format!("{security}\n    {TIMES}");
    Plant::with(&Kafka::shared()?.bootstrap(), options, &special)
}

fn begin(plant: &mut Plant) -> Result<()> {
    plant.gateway.start()?;
    known(plant)?;
    count(plant, 1..=1).map(drop)
}

/// Has the PLC count on, and compares what came since the beginning. Returns how many gaps were said.
fn count(plant: &mut Plant, written: std::ops::RangeInclusive<i64>) -> Result<usize> {
    for value in written.clone() {
        plant.plc.set(COUNTER, value)?;
    }
    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut reader, *written.end())?)?;
    compare(&delivery.accepted, &(1..=*written.end()))
}

fn is_lost(plant: &Plant) -> Result<()> {
    plant.gateway.wait_for_metric(UP, 0.0..=0.0, Patience::Long)
}

/// Waits until the source is back, which is so soon after a fault ended.
fn is_back(plant: &Plant, ended: Instant) -> Result<()> {
    plant.gateway.wait_for_metric(UP, 1.0..=1.0, Patience::Long)?;
    let took = ended.elapsed();
    eprintln!("back after {took:.2?}");
    ensure!(took < WITHIN, "it took {took:?}");
    Ok(())
}

/// Waits until the server has one connection with one subscription of so many items.
fn holds(plant: &mut Plant, items: u64) -> Result<()> {
    until("one subscription", Patience::Long, || {
        let plc = &mut plant.plc;
        let counted = (plc.connections()?, plc.subscriptions()?, plc.monitored_items()?);
        Ok((counted == (1, 1, items)).then_some(()))
    })
}

#[test]
fn a_network_that_is_cut_in_silence_is_noticed_and_what_was_missed_comes_or_is_said() -> Result<()> {
    let wire = Arc::new(Wire::lay()?);
    let options = OpcUaOptions {
        behind: Some(Arc::clone(&wire)),
        ..OpcUaOptions::default()
    };
    let mut plant = plant(options, &format!("{NO_SECURITY}\n    session_timeout: 6s"))?;
    begin(&mut plant)?;
    wire.cut()?;
    is_lost(&plant)?;
    for value in 2..=4 {
        plant.plc.set(COUNTER, value)?;
    }
    wire.mend()?;
    is_back(&plant, Instant::now())?;
    assert_eq!(count(&mut plant, 5..=5)?, 0, "the server kept what happened");
    holds(&mut plant, 12)?;
    assert_eq!(plant.plc.sessions()?, 1, "the session was gone on with");

    // Until the server has forgotten the gateway.
    wire.cut()?;
    is_lost(&plant)?;
    until("the end of the subscription", Patience::Long, || {
        Ok((plant.plc.subscriptions()? == 0).then_some(()))
    })?;
    for value in 6..=8 {
        plant.plc.set(COUNTER, value)?;
    }
    wire.mend()?;
    is_back(&plant, Instant::now())?;
    assert_eq!(count(&mut plant, 9..=9)?, 1, "what happened meanwhile is a gap");
    holds(&mut plant, 12)
}

#[test]
fn a_plc_that_comes_back_with_other_namespaces_and_without_some_of_its_nodes_is_bound_again() -> Result<()> {
    let mut plant = plant(OpcUaOptions::default(), NO_SECURITY)?;
    begin(&mut plant)?;
    plant.plc.kill();
    is_lost(&plant)?;
    plant.plc.options().namespaces_before = vec!["urn:floorgate:test:intruder"];
    plant.plc.resume()?;
    let ended = Instant::now();
    // A download of the PLC's program has lost one.
    plant.plc.delete("Line2.Temp")?;
    is_back(&plant, ended)?;
    // No more than the first step leads over the gap.
    assert_eq!(count(&mut plant, 2..=4)?, 1);
    plant.gateway.wait_for_metric(
        "floorgate_source_failed_tags{source=\"plc\"}",
        1.0..=1.0,
        Patience::Long,
    )?;
    holds(&mut plant, 11)
}

#[test]
fn a_plc_with_another_certificate_is_let_in_as_soon_as_it_is_trusted() -> Result<()> {
    let options = OpcUaOptions {
        policies: vec!["Basic256Sha256-SignAndEncrypt"],
        ..OpcUaOptions::default()
    };
    let mut plant = plant(options, "login: anonymous")?;
    let pki = |plant: &Plant, words: &[&str]| -> Result<()> {
        let output = plant.gateway.command(&[&["pki"], words].concat())?.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "pki {words:?}: {said}");
        Ok(())
    };
    let certificate = plant.plc.certificate();
    let file = certificate.to_str().context("the path")?;
    pki(&plant, &["init"])?;
    pki(&plant, &["trust", file])?;
    begin(&mut plant)?;
    plant.plc.kill();
    is_lost(&plant)?;
    std::fs::remove_file(&certificate)?;
    std::fs::remove_file(certificate.with_file_name("server.key.pem"))?;
    plant.plc.resume()?;
    plant
        .gateway
        .process()?
        .wait_for_output("is not trusted", Patience::Long)?;
    assert_eq!(
        plant.plc.monitored_items()?,
        0,
        "nobody who is not known is let in"
    );
    pki(&plant, &["trust", file])?;
    is_back(&plant, Instant::now())?;
    assert_eq!(count(&mut plant, 2..=3)?, 1);
    holds(&mut plant, 12)
}
