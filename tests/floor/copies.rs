//! An outbox of which there are two: a backup that was put back, a machine that was cloned.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Folder, Gateway, Kafka, Patience, Record, until};

use crate::counting::{COUNTER, known, read_to};
use crate::plant::Plant;
use crate::transactions::use_transactions;

/// The exit code of a gateway whose place another one has taken.
const FENCED: i32 = 6;

/// Deletes the outbox in a folder, if there is one, and puts a copy of the other's there.
pub fn copy_outbox(from: &Path, to: &Path) -> Result<()> {
    let is_outbox = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().starts_with("outbox.db");
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(to)? {
        let file = file?;
        if is_outbox(&file) {
            std::fs::remove_file(file.path())?;
        }
    }
    for file in std::fs::read_dir(from)? {
        let file = file?;
        if is_outbox(&file) {
            std::fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    Ok(())
}

/// A store that was put back from a backup does not know what it issued since: it goes on where no number can come again.
#[test]
fn an_outbox_from_a_backup_goes_on_in_new_epochs() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    let mut count = |plant: &mut Plant, first, last| -> Result<Vec<Record>> {
        plant.plc.count_up(COUNTER, first, last, 4)?;
        Ok(read_to(&mut reader, last)?.to_vec())
    };
    count(&mut plant, 1, 10)?;
    plant.gateway.stop()?;
    let backup = Folder::new("backup")?;
    copy_outbox(&plant.gateway.state(), backup.path())?;
    plant.gateway.start()?;
    known(&plant)?;
    let before = count(&mut plant, 11, 20)?;
    plant.gateway.stop()?;

    copy_outbox(backup.path(), &plant.gateway.state())?;
    // What the device has is of a later time: the same change of the same time would be the same event, by its id.
    plant.plc.set(COUNTER, 20)?;
    plant.gateway.start()?;
    let recognised = "floorgate_reconciliations_total{result=\"rolled_back\"}";
    plant.gateway.wait_for_metric(recognised, 1.0.., Patience::Long)?;
    known(&plant)?;
    let records = count(&mut plant, 21, 30)?;
    let epoch = |records: &[Record], name: &str| -> Result<String> {
        let text = records[records.len() - 1].header(name)?;
        Ok(text.split('-').next().unwrap_or_default().to_owned())
    };
    for name in ["ce_sequence", "floorgate_lane_epoch"] {
        let (last, now) = (epoch(&before, name)?, epoch(&records, name)?);
        ensure!(now > last, "{name}: epoch {now} after {last}");
    }
    // By the consumer's rule everything is taken, once.
    let delivery = Delivery::of(&records)?;
    let last = delivery.accepted.last().context("something was taken")?;
    assert_eq!(last.json()?["rawValue"], 30);
    assert_eq!(delivery.repeated, 0);
    Ok(())
}

/// Of two gateways with one name and one outbox, the one that came later stays. A stop and a start of the same is no such case.
#[test]
fn of_two_gateways_with_one_name_the_later_goes_on() -> Result<()> {
    later_goes_on(|_| Ok(()))
}

/// The same where each drives the other's producer out as well.
#[test]
fn of_two_gateways_that_use_transactions_the_later_goes_on() -> Result<()> {
    later_goes_on(use_transactions)
}

fn later_goes_on(configure: fn(&Gateway) -> Result<()>) -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    configure(&plant.gateway)?;
    let alone = format!("holds the place of gateway {}", plant.site());
    plant.gateway.start()?;
    known(&plant)?;
    let mut reader = plant.reader("production-count")?;
    plant.plc.count_up(COUNTER, 1, 10, 4)?;
    read_to(&mut reader, 10)?;
    plant.gateway.process()?.wait_for_output(&alone, Patience::Long)?;
    plant.gateway.stop()?;
    let mut clone = plant.another_gateway()?;
    configure(&clone)?;
    copy_outbox(&plant.gateway.state(), &clone.state())?;

    plant.gateway.start()?;
    until("the place after the second start", Patience::Long, || {
        let told = plant.gateway.output()?.matches(&alone).count();
        Ok((told == 2).then_some(()))
    })?;
    clone.start()?;
    let status = plant.gateway.process()?.wait(Patience::Long.duration())?;
    let output = plant.gateway.output()?;
    assert_eq!(status.code(), Some(FENCED), "{output}");
    assert!(
        output.contains("another gateway of this name publishes now"),
        "{output}"
    );
    plant.plc.count_up(COUNTER, 11, 20, 4)?;
    read_to(&mut reader, 20)?;
    assert!(clone.process()?.is_running()?, "{}", clone.output()?);
    Ok(())
}
