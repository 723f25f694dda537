//! A gateway that dies at each call by which something becomes durable or leaves it: right before the call, and right after it.

use std::fs;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{
    Call, Delivery, Faults, Folder, Gateway, Kafka, Moment, Patience, Reader, Record, until,
};

use crate::copies::copy_outbox;
use crate::counting::compare;
use crate::delivery::{backlog, page_of};
use crate::operator::waiting_counts;
use crate::plant::{topic, unique_site};
use crate::takeover::{count, gateway, simulator};

/// The steps of the plant's counter in a second: each is on the log before the next one.
const RATE: usize = 8;

/// The counts that the running gateway has stored, once all of them are on the log.
fn told(gateway: &Gateway) -> Option<f64> {
    let metric = |line| gateway.metric(line).ok().flatten();
    let stored = metric("floorgate_events_total{type=\"ProductionCountRecorded\"}")?;
    (metric("floorgate_outbox_depth")? == 0.0).then_some(stored)
}

/// Waits until the gateway has told more counts than these, so many times; returns how many it then has told, or nothing when it has
/// ended before.
fn tells_more(gateway: &mut Gateway, mut than: f64, times: usize) -> Result<Option<f64>> {
    for _ in 0..times {
        let more = until("an end or a count that is told", Patience::Long, || {
            if !gateway.process()?.is_running()? {
                return Ok(Some(None));
            }
            Ok(told(gateway).filter(|now| *now > than).map(Some))
        })?;
        let Some(more) = more else { return Ok(None) };
        than = more;
    }
    Ok(Some(than))
}

/// Lets the gateway die at each call of a kind that it makes for a count, on one side of it; returns their number.
fn die_at_each(gateway: &mut Gateway, faults: &Faults, call: Call, moment: Moment) -> Result<i32> {
    for number in 1.. {
        // What came while there was no gateway is told at once.
        let before = tells_more(gateway, 0.0, 2)?.context("it ended by itself")?;
        faults.die_at(call, moment, number)?;
        // The first may have been under way already.
        if tells_more(gateway, before, 3)?.is_some() {
            faults.live()?;
            return Ok(number - 1);
        }
        gateway.spawn()?;
    }
    Ok(i32::MAX)
}

#[test]
fn whichever_call_a_gateway_dies_at_nothing_is_lost_or_doubled() -> Result<()> {
    let folder = Folder::new("plant")?;
    let (_plant, url) = simulator(&folder, 1, RATE)?;
    let kafka = Kafka::shared()?;
    let site = unique_site();
    let mut gateway = gateway(&site, &url, kafka, 1)?;
    let faults = Faults::under(&mut gateway)?;
    gateway.start()?;
    let port = |address: &str| -> Result<u16> {
        let (_, port) = address
            .trim_end_matches('/')
            .rsplit_once(':')
            .context("no port")?;
        Ok(port.parse()?)
    };
    let calls = [
        ("writes", Call::Write, 6),
        ("syncs", Call::Sync, 1),
        ("sends to Kafka", Call::Send(port(&kafka.bootstrap())?), 2),
        ("sends to the PLC", Call::Send(port(&url)?), 1),
    ];
    for (name, call, least) in calls {
        for moment in [Moment::Before, Moment::After] {
            let number = die_at_each(&mut gateway, &faults, call, moment)?;
            println!("died {moment:?} each of {number} {name}");
            ensure!(number >= least, "only {number} {name}");
        }
    }
    let mut reader = Reader::new(&kafka.bootstrap(), &topic(&site, "production-count"))?;
    let records = reader.to_end()?;
    // What the process before sent was looked for on the log.
    let marked = |record: &Record| record.has_header("floorgate_possible_duplicate");
    assert!(!records.iter().any(marked), "sent on suspicion");
    let delivery = Delivery::of(records)?;
    let counts: Vec<i64> = delivery.accepted.iter().map(count).collect();
    let (first, last) = counts.first().zip(counts.last()).context("nothing came")?;
    let gaps = compare(&delivery.accepted, &(*first..=*last))?;
    assert_eq!(gaps, 0, "the server gives over what is not stored");
    println!(
        "{} events, {} doubles on the log",
        counts.len(),
        delivery.repeated
    );
    Ok(())
}

/// Whether the gateway is ready, and has not ended before.
fn gets_ready(gateway: &mut Gateway) -> Result<bool> {
    until("an end or a ready gateway", Patience::Long, || {
        if !gateway.process()?.is_running()? {
            return Ok(Some(false));
        }
        let ready = gateway.get("/readyz").is_ok_and(|page| page.status == 200);
        Ok(ready.then_some(true))
    })
}

/// The counts that wait in the store of a gateway that salvaged it. The damaged one is still there, as it was.
fn salvaged(gateway: &mut Gateway, damaged: &Folder) -> Result<Vec<i64>> {
    ensure!(gets_ready(gateway)?, "it ended: {}", gateway.output()?);
    let counts = waiting_counts(gateway)?;
    gateway.kill()?;
    let before = fs::read(damaged.path().join("outbox.db"))?;
    for file in fs::read_dir(gateway.state())? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("outbox.db.damaged-") && fs::read(&path)? == before {
            return Ok(counts);
        }
    }
    anyhow::bail!("the damaged store is gone")
}

#[test]
fn whichever_call_a_salvage_dies_at_the_next_start_completes_it() -> Result<()> {
    const LAST: i64 = 600;
    let (mut kafka, mut plant) = backlog(LAST)?;
    let gateway = &mut plant.gateway;
    let faults = Faults::under(gateway)?;
    let store = gateway.state().join("outbox.db");
    let mut bytes = fs::read(&store)?;
    let page = page_of(&bytes, 300)?;
    bytes[page][..1024].fill(0xff);
    fs::write(&store, &bytes)?;
    gateway.spawn()?;
    // It is noticed when the events are read.
    kafka.resume()?;
    gateway.process()?.wait(Patience::Long.duration())?;
    kafka.stop()?;
    let damaged = Folder::new("damaged")?;
    copy_outbox(&gateway.state(), damaged.path())?;
    gateway.spawn()?;
    let counts = salvaged(gateway, &damaged)?;
    ensure!(
        counts.len() > 200 && counts.is_sorted() && counts.last() == Some(&LAST),
        "{counts:?}"
    );
    for (name, call, least) in [("renames", Call::Rename, 3), ("deletions", Call::Unlink, 3)] {
        for moment in [Moment::Before, Moment::After] {
            let mut number = 0;
            loop {
                copy_outbox(damaged.path(), &gateway.state())?;
                faults.die_at(call, moment, number + 1)?;
                gateway.spawn()?;
                if gets_ready(gateway)? {
                    break;
                }
                number += 1;
                gateway.spawn()?;
                let after = salvaged(gateway, &damaged)?;
                assert_eq!(after, counts, "{moment:?} {name} {number}");
            }
            faults.live()?;
            gateway.kill()?;
            println!("died {moment:?} each of {number} {name}");
            ensure!(number >= least, "only {number} {name}");
        }
    }
    Ok(())
}
