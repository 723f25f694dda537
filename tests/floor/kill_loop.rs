//! A gateway that is killed again and again, at any moment, before a plant that lives on and a broker that keeps what it got.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Delivery, Kafka};

use crate::counting::{COUNTER, compare, known, read_to, told};
use crate::hall::Hall;
use crate::plant::Plant;

/// How often the gateway is killed, where the environment does not say it (`KILLS`).
const KILLS: usize = 50;
/// How many counts a process tells before it is killed, at most.
const COUNTS: u32 = 40;
/// What the hall writes to its journal while a process comes up that is killed on its way, at most: a second of its life.
const BYTES: u64 = 16_000;

/// How often a test kills.
pub fn kills() -> Result<usize> {
    match std::env::var("KILLS") {
        Ok(number) => number.parse().context("KILLS is no number"),
        Err(_) => Ok(KILLS),
    }
}

/// Two of three processes die while they tell, the others on their way up or, if they are quick, later.
#[test]
fn a_gateway_that_is_killed_again_and_again_loses_and_doubles_nothing() -> Result<()> {
    let kills = kills()?;
    let mut random = fastrand::Rng::new();
    let seed = random.get_seed();
    let mut hall = Hall::new(Kafka::shared()?)?;
    hall.gateway.start()?;
    let begin = hall.known()?;
    for kill in 0..kills {
        if kill % 3 > 0 {
            hall.tells(random.u32(1..=COUNTS))?;
        } else {
            hall.lives_on(random.u64(1..=BYTES))?;
        }
        hall.gateway.kill()?;
        hall.gateway.spawn()?;
    }
    hall.tells(1)?;
    let delivery = hall
        .compare(begin, hall.now()?)
        .with_context(|| format!("the kills of seed {seed}"))?;
    let processes: BTreeSet<&str> = delivery
        .accepted
        .iter()
        .map(|record| record.header("floorgate_incarnation"))
        .collect::<Result<_>>()?;
    // The last one was not killed.
    let telling = processes.len() - 1;
    let (events, doubles) = (delivery.accepted.len(), delivery.repeated);
    println!(
        "{kills} kills, {telling} of a process that was telling, {events} events, {doubles} doubles on the log"
    );
    ensure!(
        telling >= kills / 2,
        "only {telling} of {kills} had told something"
    );
    // What a dead process had on its way and came when its successor had looked at the log: rare, where the log is looked at.
    ensure!(doubles <= events / 100, "{doubles} doubles of {events} events");
    Ok(())
}

/// The same before a server that gives nothing over: what the gateway did not see is a gap, and only that.
#[test]
fn a_gateway_that_is_killed_before_a_server_that_gives_nothing_over_marks_each_gap() -> Result<()> {
    let kills = kills()? / 5;
    let mut random = fastrand::Rng::new();
    let seed = random.get_seed();
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, i64::from(u32::MAX), 4)?;
    for _ in 0..kills {
        told(&plant.gateway, plant.site(), random.u32(1..=COUNTS))?;
        plant.gateway.kill()?;
        plant.gateway.spawn()?;
    }
    told(&plant.gateway, plant.site(), 1)?;
    let last = plant.plc.stop_counting(COUNTER)?;
    let mut reader = plant.reader("production-count")?;
    let delivery = read_to(&mut reader, last).and_then(Delivery::of);
    let delivery = delivery.with_context(|| format!("the kills of seed {seed}"))?;
    let gaps =
        compare(&delivery.accepted, &(1..=last)).with_context(|| format!("the kills of seed {seed}"))?;
    ensure!(gaps <= kills, "{gaps} gaps of {kills} kills");
    Ok(())
}
