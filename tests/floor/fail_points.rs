//! A gateway that dies at each call by which something becomes durable or leaves it: right before the call, and right after it.

use anyhow::{Context, Result, ensure};
use floorgate_tests::{
    Call, Delivery, Faults, Folder, Gateway, Kafka, Moment, Patience, Reader, Record, until,
};

use crate::counting::compare;
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
