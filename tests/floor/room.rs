//! A gateway that has no room on its disk, when it starts and while it runs.

use std::fs;
use std::os::unix::fs::FileExt as _;

use anyhow::{Result, ensure};
use floorgate_tests::{Delivery, Disk, Folder, Gateway, Kafka, Patience, until};

use crate::copies::copy_outbox;
use crate::counting::{COUNTER, compare, known, read_to, written};
use crate::delivery::backlog;
use crate::operator::waiting_counts;
use crate::plant::Plant;

const LAST: i64 = 600;
const STORED: &str = "floorgate_events_total{type=\"ProductionCountRecorded\"}";
const RESERVE: &str = "outbox.db.reserve";

/// Puts the outbox on a disk of its own, without its reserve.
fn on_a_small_disk(gateway: &Gateway) -> Result<Option<Disk>> {
    let other = Folder::new("outbox")?;
    copy_outbox(&gateway.state(), other.path())?;
    let Some(disk) = Disk::mount(&gateway.state(), 40)? else {
        return Ok(None);
    };
    copy_outbox(other.path(), &gateway.state())?;
    fs::remove_file(gateway.state().join(RESERVE))?;
    Ok(Some(disk))
}

/// The gateway is up and says that it waits.
fn waits(gateway: &mut Gateway) -> Result<()> {
    until("a gateway that waits for room", Patience::Long, || {
        ensure!(gateway.process()?.is_running()?, "it ended");
        let Ok(page) = gateway.get("/readyz") else {
            return Ok(None);
        };
        let says = page.status == 503
            && page.body.contains("\noutbox: no space left")
            && gateway.get("/healthz")?.status == 200;
        Ok(says.then_some(()))
    })
}

#[test]
fn a_damaged_outbox_without_room_for_its_copy_is_waited_for() -> Result<()> {
    let (_kafka, mut plant) = backlog(LAST)?;
    let gateway = &mut plant.gateway;
    let Some(disk) = on_a_small_disk(gateway)? else {
        return Ok(());
    };
    let store = fs::OpenOptions::new()
        .write(true)
        .open(gateway.state().join("outbox.db"))?;
    store.write_all_at(&[0; 512], 0)?;
    drop(store);
    disk.fill()?;
    gateway.spawn()?;
    waits(gateway)?;
    let found = fs::read_dir(gateway.state())?.filter_map(Result::ok);
    let left: Vec<_> = found.map(|file| file.file_name()).collect();
    let is_half = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.contains(".new") || name.contains(".copy") || name.contains(".salvaged")
    };
    ensure!(!left.iter().any(is_half), "half a copy takes room: {left:?}");
    // It can be stopped, and begins to wait again.
    let (status, took) = gateway.stop()?;
    ensure!(status.success(), "{status}");
    ensure!(took < Gateway::STOP_LIMIT, "{took:?}");
    gateway.spawn()?;
    waits(gateway)?;
    disk.make_room()?;
    gateway.wait_ready()?;
    gateway.wait_for_metric("floorgate_outbox_salvaged", 1.0..=1.0, Patience::Short)?;
    let counts = waiting_counts(gateway)?;
    // The first is delivered.
    ensure!(counts.len() >= 500, "{} are saved", counts.len());
    ensure!(counts.is_sorted() && counts.last() == Some(&LAST), "{counts:?}");
    Ok(())
}

/// What is set aside for that is enough to start, and the disk's room for all else.
#[test]
fn a_gateway_starts_on_a_full_disk() -> Result<()> {
    let (mut kafka, mut plant) = backlog(LAST)?;
    let gateway = &mut plant.gateway;
    let Some(disk) = on_a_small_disk(gateway)? else {
        return Ok(());
    };
    // Without what is set aside there is no room for a start.
    disk.fill()?;
    gateway.spawn()?;
    waits(gateway)?;
    gateway.stop()?;
    disk.make_room()?;
    fs::write(gateway.state().join(RESERVE), vec![0; 16 << 20])?;
    disk.fill()?;
    gateway.spawn()?;
    gateway.wait_ready()?;
    kafka.resume()?;
    gateway.wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Long)?;
    Ok(())
}

/// Something else fills the disk while Kafka is away and the plant lives on: what is set aside is used up, sources are left alone, and when
/// there is room again it goes on by itself.
#[test]
fn a_disk_that_is_filled_meanwhile_stops_the_sources_and_costs_nothing_that_was_stored() -> Result<()> {
    let mut kafka = Kafka::start()?;
    let mut plant = Plant::new(&kafka.bootstrap())?;
    plant.make_counts_large(20_000)?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.gateway.stop()?;
    let Some(disk) = on_a_small_disk(&plant.gateway)? else {
        return Ok(());
    };
    plant.gateway.start()?;
    kafka.stop()?;
    plant.plc.count_up(COUNTER, 1, i64::from(u32::MAX), 4)?;
    plant.gateway.wait_for_metric(STORED, 10.0.., Patience::Short)?;
    disk.fill()?;
    waits(&mut plant.gateway)?;
    let stored = plant.gateway.metric(STORED)?;
    // The plant lives on, and nothing is taken from it that cannot be kept.
    let now = plant.plc.progress(COUNTER)?.unwrap_or_default();
    written(&mut plant, now + 500)?;
    assert_eq!(
        plant.gateway.metric(STORED)?,
        stored,
        "it told what it cannot store"
    );
    waits(&mut plant.gateway)?;

    disk.make_room()?;
    plant.gateway.wait_ready()?;
    kafka.resume()?;
    let last = plant.plc.stop_counting(COUNTER)?;
    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut reader, last)?)?;
    assert_eq!(delivery.repeated, 0, "records came twice");
    let gaps = compare(&delivery.accepted, &(1..=last))?;
    let (events, last) = (delivery.accepted.len(), usize::try_from(last)?);
    println!("{events} events of {last} counts, {gaps} gaps");
    // A gap for each time in which it waited, of which there is more than one where what Kafka is to take fills the disk again.
    let output = plant.gateway.output()?;
    let waited = output.matches("cannot store: sources wait").count();
    ensure!(
        gaps <= waited + 1,
        "{gaps} gaps, and it waited {waited} times: {output}"
    );
    Ok(())
}
