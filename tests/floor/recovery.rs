//! Faults that end: the source is back within two keep-alives, the longest pause between attempts and a second, with what was missed said, and no session left behind on the server.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Kafka, OpcUaOptions, OpcUaServer, Patience, Wire, until};

use crate::counting::{COUNTER, known};
use crate::outage::{Outage, TIMES, holds, is_back, is_lost, silence_is_noticed};
use crate::plant::{NO_SECURITY, Plant};

/// A gateway that knows its PLC, which has counted to one.
fn plant(options: OpcUaOptions, security: &str) -> Result<Plant> {
    let special = format!("{security}\n    {TIMES}\n    retry_refused_nodes: 1s");
    Plant::with(&Kafka::shared()?.bootstrap(), options, &special)
}

fn begin(plant: &mut Plant) -> Result<()> {
    plant.gateway.start()?;
    known(plant)
}

fn outage(plant: &mut Plant) -> Result<Outage<'_>> {
    Ok(Outage {
        counts: plant.reader("production-count")?,
        server: &mut plant.plc,
        gateway: &plant.gateway,
        counter: COUNTER,
        holds: (1, 12),
    })
}

/// Has the PLC count on; how many gaps were said since the beginning.
fn count(plant: &mut Plant, written: std::ops::RangeInclusive<i64>) -> Result<usize> {
    outage(plant)?.count(written)
}

#[test]
fn a_plc_that_is_killed_comes_back_by_itself() -> Result<()> {
    let mut plant = plant(OpcUaOptions::default(), NO_SECURITY)?;
    begin(&mut plant)?;
    outage(&mut plant)?.dies()
}

#[test]
fn a_plc_that_restarts_in_order_comes_back_by_itself() -> Result<()> {
    let mut plant = plant(OpcUaOptions::default(), NO_SECURITY)?;
    begin(&mut plant)?;
    outage(&mut plant)?.restarts()
}

#[test]
fn a_plc_that_stands_still_is_noticed_and_comes_back_by_itself() -> Result<()> {
    let mut plant = plant(OpcUaOptions::default(), NO_SECURITY)?;
    begin(&mut plant)?;
    outage(&mut plant)?.stands_still()
}

/// A PLC of which the same is read every 20 ms: no server keeps anything for that.
fn polled(options: OpcUaOptions) -> Result<Plant> {
    let mut plant = plant(
        options,
        &format!("{NO_SECURITY}\n    mode: poll\n    poll_interval: 20ms"),
    )?;
    begin(&mut plant)?;
    Ok(plant)
}

fn outage_of_polls(plant: &mut Plant) -> Result<Outage<'_>> {
    let outage = outage(plant)?;
    Ok(Outage {
        holds: (0, 0),
        ..outage
    })
}

#[test]
fn a_polled_plc_that_is_killed_comes_back_by_itself() -> Result<()> {
    let mut plant = polled(OpcUaOptions::default())?;
    outage_of_polls(&mut plant)?.dies()
}

#[test]
fn a_polled_plc_that_stands_still_is_noticed_and_what_was_missed_is_a_gap() -> Result<()> {
    let mut plant = polled(OpcUaOptions::default())?;
    count(&mut plant, 1..=1)?;
    plant.plc.pause()?;
    silence_is_noticed(&plant.gateway, Instant::now())?;
    plant.plc.go_on()?;
    is_back(&plant.gateway, Instant::now())?;
    assert_eq!(count(&mut plant, 2..=4)?, 1, "nobody looked meanwhile");
    holds(&mut plant.plc, 0, 0).map(drop)
}

#[test]
fn a_network_that_is_cut_in_silence_is_noticed_and_what_was_missed_comes_or_is_said() -> Result<()> {
    let wire = Arc::new(Wire::lay()?);
    let options = OpcUaOptions {
        behind: Some(Arc::clone(&wire)),
        ..OpcUaOptions::default()
    };
    let mut plant = plant(options, NO_SECURITY)?;
    begin(&mut plant)?;
    outage(&mut plant)?.gets_out_of_reach(&wire, 4)?;

    // Until the server has forgotten the gateway.
    wire.cut()?;
    is_lost(&plant.gateway)?;
    until("the end of session and subscription", Patience::Long, || {
        let counts = plant.plc.counts()?;
        Ok(((counts.sessions, counts.subscriptions) == (0, 0)).then_some(()))
    })?;
    for value in 6..=8 {
        plant.plc.set(COUNTER, value)?;
    }
    wire.mend()?;
    is_back(&plant.gateway, Instant::now())?;
    assert_eq!(count(&mut plant, 9..=9)?, 1, "what happened meanwhile is a gap");
    holds(&mut plant.plc, 1, 12).map(drop)
}

#[test]
fn a_plc_that_comes_back_with_other_namespaces_and_without_some_of_its_nodes_is_bound_again() -> Result<()> {
    let mut plant = plant(OpcUaOptions::default(), NO_SECURITY)?;
    begin(&mut plant)?;
    count(&mut plant, 1..=1)?;
    plant.plc.kill();
    is_lost(&plant.gateway)?;
    plant.plc.options().namespaces_before = vec!["urn:floorgate:test:intruder"];
    plant.plc.resume()?;
    let ended = Instant::now();
    // A download of the PLC's program has lost one.
    plant.plc.delete("Line2.Temp")?;
    is_back(&plant.gateway, ended)?;
    // No more than the first step leads over the gap.
    assert_eq!(count(&mut plant, 2..=4)?, 1);
    plant.gateway.wait_for_metric(
        "floorgate_source_failed_tags{source=\"plc\"}",
        1.0..=1.0,
        Patience::Long,
    )?;
    holds(&mut plant.plc, 1, 11).map(drop)
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
    count(&mut plant, 1..=1)?;
    plant.plc.kill();
    is_lost(&plant.gateway)?;
    std::fs::remove_file(&certificate)?;
    std::fs::remove_file(certificate.with_file_name("server.key.pem"))?;
    plant.plc.resume()?;
    plant
        .gateway
        .process()?
        .wait_for_output("is not trusted", Patience::Long)?;
    // What keeps it away now is shown, not that its connection was closed.
    until("the reason in the table", Patience::Long, || {
        let table = plant.gateway.command(&["sources"])?.output()?.stdout;
        let table = String::from_utf8_lossy(&table).into_owned();
        Ok(
            (table.contains("is not trusted") && table.contains("(see opcua-server-not-trusted)"))
                .then_some(()),
        )
    })?;
    assert_eq!(
        plant.plc.monitored_items()?,
        0,
        "nobody who is not known is let in"
    );
    pki(&plant, &["trust", file])?;
    is_back(&plant.gateway, Instant::now())?;
    assert_eq!(count(&mut plant, 2..=3)?, 1);
    holds(&mut plant.plc, 1, 12).map(drop)
}
