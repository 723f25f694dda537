//! A server that says what none should, against the whole gateway: it lives, tells nothing wrong, and its memory is bounded.

use anyhow::{Result, ensure};
use floorgate_tests::{Delivery, Kafka, OpcUaOptions, Patience, Rogue, until};

use crate::counting::{COUNTER, compare, known, read_to};
use crate::plant::{NO_SECURITY, Plant};

/// How often each is said.
const TIMES: i64 = 3;
/// How much more memory it may cost at its peak than the gateway had: the largest message that is taken, in as many copies as reading it needs.
const MOST: u64 = 6 * (16 << 20);

#[test]
fn whatever_a_server_says_the_gateways_memory_is_bounded() -> Result<()> {
    let mut plant = Plant::with(
        &Kafka::shared()?.bootstrap(),
        OpcUaOptions::default(),
        NO_SECURITY,
    )?;
    let mut rogue = Rogue::before(&plant.plc)?;
    let settings = plant.settings()?.replace(&plant.plc.url(), &rogue.url());
    plant.gateway.write("floorgate.yaml", &settings)?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    let before = plant.gateway.process()?.peak_memory()?;
    let mut count = 0;
    for trick in rogue.tricks()? {
        for _ in 0..TIMES {
            let played = rogue.played()? + 1;
            rogue.play(&trick)?;
            count += 1;
            plant.plc.set(COUNTER, count)?;
            until(&trick, Patience::Long, || {
                Ok((rogue.played()? == played).then_some(()))
            })?;
            // What it held back, and nothing else.
            let delivery = Delivery::of(read_to(&mut reader, count)?)?;
            compare(&delivery.accepted, &(1..=count))?;
        }
        let peak = plant.gateway.process()?.peak_memory()?;
        eprintln!(
            "{trick}: {} KiB above {} KiB",
            (peak - before) >> 10,
            before >> 10
        );
        ensure!(peak < before + MOST, "{trick}: {before} bytes became {peak}");
    }
    let log = plant.gateway.output()?;
    let warnings: Vec<&str> = log.lines().filter(|line| is_warning(line)).collect();
    ensure!(!warnings.is_empty(), "it is told: {log}");
    let unnamed: Vec<&&str> = warnings.iter().filter(|line| !line.contains(" see=\"")).collect();
    ensure!(unnamed.is_empty(), "no paragraph of the runbook: {unnamed:#?}");
    Ok(())
}

/// Whether a line of the log is a warning or an error, whoever says it.
fn is_warning(line: &str) -> bool {
    let level = line.split_whitespace().nth(1);
    matches!(level, Some("WARN" | "ERROR"))
}
