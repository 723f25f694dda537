//! What the machine under the gateway does: a disk that fails, a disk that stands still, a clock that is set.

use anyhow::{Context, Result};
use floorgate_tests::{Delivery, Faults, Kafka, Patience, Reader, Unreadable, until};

use crate::counting::{COUNTER, compare, known, read_to, written};
use crate::delivery::{backlog, page_of, saved_counts};
use crate::plant::Plant;

/// The exit code of a storage that failed.
const STORAGE: i32 = 4;

/// A plant whose counter counts up to a number, with a gateway that knows it and has no faults yet, and a reader of the counts.
fn counting(last: i64) -> Result<(Plant, Faults, Reader)> {
    counting_with(last, |_| Ok(()))
}

/// The same with a plant whose configuration was changed before.
fn counting_with(
    last: i64,
    change: impl FnOnce(&mut Plant) -> Result<()>,
) -> Result<(Plant, Faults, Reader)> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    change(&mut plant)?;
    let faults = Faults::under(&mut plant.gateway)?;
    plant.gateway.start()?;
    known(&plant)?;
    let reader = plant.reader("production-count")?;
    plant.plc.count_up(COUNTER, 1, last, 4)?;
    Ok((plant, faults, reader))
}

#[test]
fn a_disk_that_fails_ends_the_gateway_and_loses_nothing() -> Result<()> {
    const LAST: i64 = 1_000;
    let (mut plant, faults, mut reader) = counting(LAST)?;
    written(&mut plant, 200)?;
    faults.fail_syncs(true)?;
    // What a failed sync has written is unknown: nothing is tried again on that handle.
    let status = plant.gateway.process()?.wait(Patience::Short.duration())?;
    assert_eq!(status.code(), Some(STORAGE), "{}", plant.gateway.output()?);
    let output = plant.gateway.output()?;
    assert!(output.contains("disk I/O error"), "{output}");
    plant.gateway.spawn()?;
    let status = plant.gateway.process()?.wait(Patience::Short.duration())?;
    assert_eq!(
        status.code(),
        Some(STORAGE),
        "it fails still: {}",
        plant.gateway.output()?
    );

    faults.fail_syncs(false)?;
    plant.gateway.start()?;
    let delivery = Delivery::of(read_to(&mut reader, LAST)?)?;
    let gaps = compare(&delivery.accepted, &(1..=LAST))?;
    assert!(gaps <= 1, "{gaps} gaps of one end");
    Ok(())
}

/// Events that cannot be read when they are to go out: the gateway ends, and the next start goes on with all others.
#[test]
fn what_cannot_be_read_ends_the_gateway_once() -> Result<()> {
    const LAST: i64 = 600;
    for why in [Unreadable::Sector, Unreadable::Checksum] {
        let (mut kafka, mut plant) = backlog(LAST)?;
        let faults = Faults::under(&mut plant.gateway)?;
        let store = plant.gateway.state().join("outbox.db");
        let page = page_of(&std::fs::read(&store)?, 300)?;
        faults.fail_reads(&store, &(page.start as u64..page.end as u64), why)?;
        plant.gateway.spawn()?;
        kafka.resume()?;
        let status = plant.gateway.process()?.wait(Patience::Long.duration())?;
        assert_eq!(
            status.code(),
            Some(STORAGE),
            "{why:?}: {}",
            plant.gateway.output()?
        );
        plant.gateway.start()?;
        let values = saved_counts(&plant, LAST)?;
        assert!(!values.contains(&300), "{why:?}");
        assert!(values.len() > 500, "{why:?}: {} of {LAST}", values.len());
    }
    Ok(())
}

#[test]
fn a_disk_that_stands_still_is_told_and_waited_for() -> Result<()> {
    const LAST: i64 = 4_000;
    let (mut plant, faults, mut reader) = counting(LAST)?;
    written(&mut plant, 200)?;
    let before = plant.gateway.process()?.memory()?;
    faults.stall(true)?;
    until("the gateway that says so", Patience::Long, || {
        Ok((plant.gateway.get("/readyz")?.status == 503).then_some(()))
    })?;
    let after = plant.gateway.process()?.memory()?;
    assert!(after < before + 30_000_000, "{after} bytes after {before}");
    faults.stall(false)?;
    plant.gateway.wait_ready()?;
    let delivery = Delivery::of(read_to(&mut reader, LAST)?)?;
    // The server's own queue holds so much and no more; what it dropped, it tells.
    let gaps = compare(&delivery.accepted, &(1..=LAST))?;
    assert!(gaps <= 2, "{gaps} gaps of one stall");
    Ok(())
}

#[test]
fn a_clock_that_is_set_disturbs_neither_order_nor_timers() -> Result<()> {
    const LAST: i64 = 4_000;
    const HOUR: i64 = 3_600;
    const DEBOUNCE: i64 = 2;
    let (mut plant, faults, mut reader) = counting_with(LAST, |plant| {
        let path = plant.gateway.folder().join("mappings/filling.yaml");
        let state = "values: packml-state";
        let debounced = format!("{state}, debounce: {DEBOUNCE}s");
        let mapping = std::fs::read_to_string(path)?.replace(state, &debounced);
        plant.gateway.write("mappings/filling.yaml", &mapping).map(drop)
    })?;
    let mut states = plant.reader("equipment-state")?;
    for (step, (state, seconds)) in [(6, HOUR), (11, -HOUR), (6, 0), (11, -HOUR)]
        .into_iter()
        .enumerate()
    {
        plant.plc.set("Line1.State", state)?;
        // A count that was written later is there: the state has been seen, and waits.
        let later = plant.plc.progress(COUNTER)?.unwrap_or_default() + 1;
        read_to(&mut reader, later)?;
        faults.step_clock(seconds)?;
        let told = states.at_least(2 + step + 1, Patience::Long)?;
        let mut event = told
            .iter()
            .filter(|record| record.key.as_ref().is_some_and(|key| key.contains("line1")));
        let event = event.next_back().context("no state of line 1")?;
        // When it was first seen is the PLC's time, when it was told the gateway's, which is off by whole hours.
        let time = |name: &str| -> Result<jiff::Timestamp> { Ok(event.header(name)?.parse()?) };
        let took = time("ce_recordedtime")?.duration_since(time("ce_time")?);
        let took = took.as_secs().rem_euclid(HOUR);
        let patience = i64::try_from(Patience::Long.duration().as_secs())?;
        assert!(
            (DEBOUNCE..patience).contains(&took),
            "step {step}: the debounce took {took} s"
        );
    }
    // Also a start on a clock that is behind the one of the start before.
    let now = plant.plc.progress(COUNTER)?.unwrap_or_default();
    assert!(now < LAST, "the counter ended before the last step");
    plant.gateway.kill()?;
    plant.gateway.start()?;
    let delivery = Delivery::of(read_to(&mut reader, LAST)?)?;
    let gaps = compare(&delivery.accepted, &(1..=LAST))?;
    assert!(gaps <= 1, "{gaps} gaps of one kill");
    assert_eq!(delivery.repeated, 0);
    // The steps were seen.
    let hour = |record: &floorgate_tests::Record| -> Result<Option<bool>> {
        let time: jiff::Timestamp = record.header("ce_recordedtime")?.parse()?;
        let ahead = time.duration_since(jiff::Timestamp::now()).as_secs();
        Ok((ahead.abs() > HOUR / 2).then_some(ahead > 0))
    };
    let seen: Vec<bool> = delivery
        .accepted
        .iter()
        .filter_map(|record| hour(record).transpose())
        .collect::<Result<_>>()?;
    assert!(
        seen.contains(&true) && seen.contains(&false),
        "no record of another hour"
    );
    Ok(())
}
