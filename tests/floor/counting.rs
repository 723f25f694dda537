//! The ground truth of the tests in which something dies: a counter that the PLC counts up by itself, one after the other.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Gateway, Patience, Reader, Record, until};
use serde_json::Value;

use crate::plant::{Plant, topic};

/// The counter that the PLC counts up with one after the other, and its journal.
pub const COUNTER: &str = "Line1.Good";

fn number(data: &Value, field: &str) -> Result<i64> {
    data[field]
        .as_i64()
        .with_context(|| format!("no number {field} in {data}"))
}

/// Compares what a consumer got with what the PLC wrote: each number of the range in a step of its own, unless the event
/// says that there is a gap. Returns the steps that lead over a gap.
pub fn compare(records: &[Record], written: &RangeInclusive<i64>) -> Result<usize> {
    let mut before = written.start() - 1;
    let mut gaps = 0;
    for record in records {
        let data = record.json()?;
        // The baseline and the event are one transaction: each step begins where the one before ended.
        ensure!(
            number(&data, "rawPrevious")? == before,
            "after {before} comes {data}"
        );
        let value = number(&data, "rawValue")?;
        ensure!(number(&data, "delta")? == value - before, "{data}");
        if data["gap"] == true {
            gaps += 1;
        } else {
            ensure!(
                value == before + 1,
                "{} left out without a gap: {data}",
                value - before - 1
            );
        }
        before = value;
    }
    ensure!(
        before == *written.end(),
        "the last value is {before} and not {}",
        written.end()
    );
    Ok(gaps)
}

/// Reads until the counter's event has this value.
pub fn read_to(reader: &mut Reader, value: i64) -> Result<&[Record]> {
    let reached = |record: &Record| record.json().is_ok_and(|data| data["rawValue"] == value);
    reader.until(&format!("the count {value}"), Patience::Long, |records| {
        records.iter().any(reached)
    })
}

/// Waits until the PLC has written this number.
pub fn written(plant: &mut Plant, value: i64) -> Result<()> {
    until(&format!("the PLC's {value}"), Patience::Long, || {
        Ok(plant
            .plc
            .progress(COUNTER)?
            .filter(|last| *last >= value)
            .map(drop))
    })
}

/// The counts that the running process of a gateway knows to be on the log; nothing where it does not answer.
pub fn published(gateway: &Gateway, site: &str) -> Option<f64> {
    let counts = topic(site, "production-count");
    let line = format!("floorgate_published_total{{topic=\"{counts}\"}}");
    gateway.metric(&line).ok().flatten()
}

/// Waits until the running process of a gateway knows that so many counts are on the log.
pub fn told(gateway: &Gateway, site: &str, counts: u32) -> Result<()> {
    until("counts that are told", Patience::Long, || {
        let told = published(gateway, site);
        Ok(told.filter(|told| *told >= f64::from(counts)).map(drop))
    })
}

/// Waits until the gateway knows the lines, so that what comes is a change.
pub fn known(plant: &Plant) -> Result<()> {
    plant
        .reader("equipment-state")?
        .at_least(2, Patience::Long)
        .map(drop)
}
