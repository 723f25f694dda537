//! A server whose clock is wrong: times stay as they came, and by how much it is wrong is told.

use anyhow::{Context, Result};
use floorgate_tests::{Kafka, OpcUaOptions, Patience, Record, until};
use serde_json::Value;

use crate::counting::known;
use crate::plant::{NO_SECURITY, Plant};

const SKEW: &str = "floorgate_source_clock_skew_seconds{source=\"plc\"}";

/// By how much the clock is ahead, as `floorgate sources --json` and `/status` have it.
fn shown(plant: &Plant) -> Result<[Option<f64>; 2]> {
    let output = plant.gateway.command(&["sources", "plc", "--json"])?.output()?;
    let row: Value = serde_json::from_slice(&output.stdout)?;
    let status: Value = serde_json::from_str(&plant.gateway.get("/status")?.body)?;
    let sources = status["sources"].as_array().context("no sources")?;
    let told = sources.first().context("no source")?;
    Ok([&row, told].map(|row| row["server"]["clock_skew_s"].as_f64()))
}

#[test]
fn a_server_whose_clock_is_wrong_is_told_and_its_times_are_kept() -> Result<()> {
    let special = format!("{NO_SECURITY}\n    keep_alive: 100ms");
    let mut plant = Plant::with(&Kafka::shared()?.bootstrap(), OpcUaOptions::default(), &special)?;
    plant.gateway.start()?;
    known(&plant)?;
    // The server writes its time once a second.
    plant.gateway.wait_for_metric(SKEW, -2.0..=0.5, Patience::Long)?;
    assert!(!plant.gateway.output()?.contains("the server's clock"));

    let mut states = plant.reader("equipment-state")?;
    let moment = "2020-02-02T02:02:02.25";
    let is_of_then = |record: &&Record| record.header("ce_time").is_ok_and(|at| at.starts_with(moment));
    for (ahead, state, told) in [(3_600.0, 6, 1), (-60.0, 4, 2)] {
        plant.plc.say_clock(ahead)?;
        let around = ahead - 2.0..=ahead + 0.5;
        plant
            .gateway
            .wait_for_metric(SKEW, around.clone(), Patience::Long)?;
        until("what is shown", Patience::Short, || {
            let are = shown(&plant)?.map(|skew| skew.is_some_and(|skew| around.contains(&skew)));
            Ok((are == [true, true]).then_some(()))
        })?;
        let time = format!("{moment}+00:00");
        plant.plc.set_with("Line1.State", &state.into(), 0, Some(&time))?;
        states.until("the state", Patience::Long, |records| {
            records.iter().filter(is_of_then).count() == told
        })?;
    }
    let output = plant.gateway.output()?;
    assert_eq!(output.matches("opcua-clock-differs").count(), 1, "{output}");
    assert!(output.contains("3600.") || output.contains("3599."), "{output}");
    assert!(output.contains("s ahead of the gateway's"), "{output}");
    plant.plc.say_clock(0.0)?;
    plant
        .gateway
        .process()?
        .wait_for_output("the server's clock is right again", Patience::Long)?;
    Ok(())
}
