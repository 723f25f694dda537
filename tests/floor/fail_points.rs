//! A gateway that dies at each call by which something becomes durable, leaves it or comes to it: right before the call, and right after it.

use std::fs;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{
    Call, Delivery, Faults, Folder, Gateway, Kafka, Moment, Patience, Process, Reader, Record, until,
};

use crate::copies::copy_outbox;
use crate::counting::{compare, published};
use crate::delivery::{backlog, page_of};
use crate::operator::waiting_counts;
use crate::plant::{topic, unique_site};
use crate::takeover::{count, gateway, simulator};
use crate::transactions::use_transactions;

/// The steps of the plant's counter in a second: each is on the log before the next one.
const RATE: usize = 8;
/// What they are called.
const COUNTS: &str = "production-count";

/// A gateway that counts the steps of a plant, with faults under it.
struct Counted {
    // They end with it.
    _plant: Process,
    _folder: Folder,
    url: String,
    site: String,
    gateway: Gateway,
    faults: Faults,
}

impl Counted {
    fn new() -> Result<Self> {
        let folder = Folder::new("plant")?;
        let (plant, url) = simulator(&folder, 1, RATE)?;
        let site = unique_site();
        let mut gateway = gateway(&site, &url, Kafka::shared()?, 1)?;
        let faults = Faults::under(&mut gateway)?;
        Ok(Self {
            _plant: plant,
            _folder: folder,
            url,
            site,
            gateway,
            faults,
        })
    }

    /// The calls by which something becomes durable or leaves the gateway.
    fn calls(&self) -> Result<[(&'static str, Call); 4]> {
        let (kafka, plc) = self.ports()?;
        Ok([
            ("writes", Call::Write),
            ("syncs", Call::Sync),
            ("sends to Kafka", Call::Send(kafka)),
            ("sends to the PLC", Call::Send(plc)),
        ])
    }

    /// The calls by which something comes.
    fn receipts(&self) -> Result<[(&'static str, Call); 2]> {
        let (kafka, plc) = self.ports()?;
        Ok([
            ("receipts from Kafka", Call::Receive(kafka)),
            ("receipts from the PLC", Call::Receive(plc)),
        ])
    }

    fn ports(&self) -> Result<(u16, u16)> {
        let port = |address: &str| -> Result<u16> {
            let address = address.trim_end_matches('/').rsplit_once(':');
            let (_, port) = address.context("no port")?;
            Ok(port.parse()?)
        };
        Ok((port(&Kafka::shared()?.bootstrap())?, port(&self.url)?))
    }

    /// Waits until the gateway has told more counts than these, so many times; returns how many it then has told, or nothing when it
    /// has ended before.
    fn tells_more(&mut self, mut than: f64, times: usize) -> Result<Option<f64>> {
        for _ in 0..times {
            let more = until("an end or a count that is told", Patience::Long, || {
                if !self.gateway.process()?.is_running()? {
                    return Ok(Some(None));
                }
                Ok(published(&self.gateway, &self.site)
                    .filter(|now| *now > than)
                    .map(Some))
            })?;
            let Some(more) = more else { return Ok(None) };
            than = more;
        }
        Ok(Some(than))
    }

    /// How often the running gateway has taken over another configuration.
    fn reloads(&self) -> f64 {
        let reloads = self.gateway.metric("floorgate_reloads_total{result=\"ok\"}");
        reloads.ok().flatten().unwrap_or_default()
    }

    /// Lets it die at each call of each kind that it makes for a count.
    fn die_at_each(&mut self, least: [i32; 6]) -> Result<()> {
        let calls = self.calls()?.into_iter().chain(self.receipts()?);
        for ((name, call), least) in calls.zip(least) {
            for moment in call.moments().iter().copied() {
                let mut number = 0;
                loop {
                    // What came while there was no gateway is told at once.
                    let Some(before) = self.tells_more(0.0, 2)? else {
                        // The call of the round before came when nobody waited for it any more.
                        Faults::have_killed(&mut self.gateway)?;
                        self.gateway.spawn()?;
                        continue;
                    };
                    self.faults.die_at(call, moment, number + 1)?;
                    // The first may have been under way already.
                    if self.tells_more(before, 3)?.is_some() {
                        break;
                    }
                    number += 1;
                    Faults::have_killed(&mut self.gateway)?;
                    self.gateway.spawn()?;
                }
                self.faults.live()?;
                println!("died {moment:?} each of {number} {name}");
                ensure!(number >= least, "only {number} {name}");
            }
        }
        Ok(())
    }

    /// Each step of the plant is on the log, once by the consumer's rule, and none of them with a gap. Returns how many came twice.
    fn is_whole(&self) -> Result<usize> {
        let mut reader = Reader::new(&Kafka::shared()?.bootstrap(), &topic(&self.site, COUNTS))?;
        let records = reader.to_end()?;
        // What the process before sent was looked for on the log.
        let marked = |record: &Record| record.has_header("floorgate_possible_duplicate");
        ensure!(!records.iter().any(marked), "sent on suspicion");
        let delivery = Delivery::of(records)?;
        let counts: Vec<i64> = delivery.accepted.iter().map(count).collect();
        let (first, last) = counts.first().zip(counts.last()).context("nothing came")?;
        let gaps = compare(&delivery.accepted, &(*first..=*last))?;
        assert_eq!(gaps, 0, "the server gives over what is not stored");
        let repeated = delivery.repeated;
        println!("{} events, {repeated} doubles on the log", counts.len());
        Ok(repeated)
    }
}

#[test]
fn whichever_call_a_gateway_dies_at_nothing_is_lost_or_doubled() -> Result<()> {
    let mut counted = Counted::new()?;
    counted.gateway.start()?;
    counted.die_at_each([6, 1, 2, 1, 1, 1])?;
    counted.is_whole()?;
    Ok(())
}

/// In transactions nothing is on the log twice for who reads committed records, wherever the gateway died in one.
#[test]
fn whichever_call_a_gateway_in_transactions_dies_at_nothing_is_committed_twice() -> Result<()> {
    let mut counted = Counted::new()?;
    use_transactions(&counted.gateway)?;
    counted.gateway.start()?;
    counted.die_at_each([6, 1, 4, 1, 1, 1])?;
    ensure!(counted.is_whole()? == 0, "committed twice");
    Ok(())
}

/// How many calls there are from one death at a start to the next.
const STRIDE: i32 = 4;

/// A gateway that dies again and again on its way up, with what its predecessor left unsent or unsure.
#[test]
fn whichever_call_of_its_start_a_gateway_dies_at_nothing_is_lost_or_doubled() -> Result<()> {
    let mut counted = Counted::new()?;
    counted.gateway.start()?;
    counted.tells_more(0.0, 1)?.context("it ended by itself")?;
    counted.gateway.kill()?;
    let mut random = fastrand::Rng::new();
    for ((name, call), least) in counted.calls()?.into_iter().zip([10, 3, 10, 5]) {
        for moment in [Moment::Before, Moment::After] {
            let mut number = random.i32(1..=STRIDE);
            loop {
                counted.faults.die_at(call, moment, number)?;
                counted.gateway.spawn()?;
                if counted.tells_more(0.0, 2)?.is_some() {
                    break;
                }
                Faults::have_killed(&mut counted.gateway)?;
                number += STRIDE;
            }
            counted.faults.live()?;
            counted.gateway.kill()?;
            println!("died {moment:?} one of each {STRIDE} of {number} {name}");
            ensure!(number >= least, "only {number} {name}");
        }
    }
    counted.gateway.start()?;
    counted.tells_more(0.0, 2)?.context("it ended by itself")?;
    counted.is_whole()?;
    Ok(())
}

/// A gateway that dies while it takes over another configuration: the next start has the one or the other, and every count.
#[test]
fn whichever_call_of_a_reload_a_gateway_dies_at_nothing_is_lost_or_doubled() -> Result<()> {
    let mut counted = Counted::new()?;
    let settings = fs::read_to_string(counted.gateway.config())?;
    counted.gateway.start()?;
    let mut limit = 1;
    for ((name, call), least) in counted.calls()?.into_iter().zip([6, 1, 1, 2]) {
        for moment in [Moment::Before, Moment::After] {
            let mut number = 0;
            loop {
                if counted.tells_more(0.0, 2)?.is_none() {
                    // The call of the round before came when nobody waited for it any more.
                    Faults::have_killed(&mut counted.gateway)?;
                    counted.gateway.spawn()?;
                    continue;
                }
                // The source is made anew, and takes its subscription over.
                limit += 1;
                let changed = settings.replace("reconnect_limit: 1s", &format!("reconnect_limit: {limit}s"));
                ensure!(changed != settings, "nothing is changed");
                counted.gateway.write("floorgate.yaml", &changed)?;
                counted.faults.die_at(call, moment, number + 1)?;
                let reloads = counted.reloads();
                let asked = counted.gateway.reload();
                ensure!(
                    asked.is_ok() || !counted.gateway.process()?.is_running()?,
                    "{asked:?}"
                );
                let is_over = until("an end or a reload", Patience::Long, || {
                    let runs = counted.gateway.process()?.is_running()?;
                    let reloaded = counted.reloads() > reloads;
                    Ok((!runs || reloaded).then_some(runs))
                })?;
                let then = published(&counted.gateway, &counted.site).unwrap_or_default();
                if is_over && counted.tells_more(then, 2)?.is_some() {
                    break;
                }
                number += 1;
                Faults::have_killed(&mut counted.gateway)?;
                counted.gateway.spawn()?;
            }
            counted.faults.live()?;
            println!("died {moment:?} each of {number} {name}");
            ensure!(number >= least, "only {number} {name}");
        }
    }
    counted.is_whole()?;
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

/// The counts that wait in the store of a gateway that salvaged it, or whose last process did and told it or not. The damaged one is still
/// there, as it was.
fn salvaged(gateway: &mut Gateway, damaged: &Folder, told: bool) -> Result<Vec<i64>> {
    ensure!(gets_ready(gateway)?, "it ended: {}", gateway.output()?);
    let alarm = gateway.metric("floorgate_outbox_salvaged")?;
    ensure!(told || alarm == Some(1.0), "nobody is told of the damage");
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
    const TOLD: &str = "the outbox was damaged";
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
    let counts = salvaged(gateway, &damaged, false)?;
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
                let before = gateway.output()?.len();
                gateway.spawn()?;
                if gets_ready(gateway)? {
                    break;
                }
                number += 1;
                let told = gateway.output()?[before..].contains(TOLD);
                Faults::have_killed(gateway)?;
                gateway.spawn()?;
                let after = salvaged(gateway, &damaged, told)?;
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
