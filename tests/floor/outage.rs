//! Faults of an OPC UA server that end, whoever wrote it: what is the same after each of them.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Counts, Delivery, Gateway, OpcUaServer, Patience, Reader, Wire, until};

use crate::counting::{compare, read_to};

const UP: &str = "floorgate_source_up{source=\"plc\"}";
/// What a source is given so that it is back soon. Beside it `reconnect_limit` is a second. A session that a server made too late to say so is forgotten soon.
pub const TIMES: &str = "keep_alive: 500ms\n    request_timeout: 1s\n    session_timeout: 8s";
/// That of [`TIMES`].
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Two keep-alives, the longest pause, and a second.
pub const WITHIN: Duration = Duration::from_secs(1 + 1 + 1);

/// Waits until the source `plc` is lost.
pub fn is_lost(gateway: &Gateway) -> Result<()> {
    gateway.wait_for_metric(UP, 0.0..=0.0, Patience::Long)
}

/// Waits until it is noticed that nothing comes from the source `plc` any more, which takes twice the keep-alive at most; a second is for a machine that is busy.
pub fn silence_is_noticed(gateway: &Gateway, begun: Instant) -> Result<()> {
    is_lost(gateway)?;
    let took = begun.elapsed();
    eprintln!("noticed after {took:.2?}");
    ensure!(took < KEEP_ALIVE * 2 + Duration::from_secs(1), "it took {took:?}");
    Ok(())
}

/// Waits until the source `plc` is back, which is so soon after a fault ended.
pub fn is_back(gateway: &Gateway, ended: Instant) -> Result<()> {
    gateway.wait_for_metric(UP, 1.0..=1.0, Patience::Long)?;
    let took = ended.elapsed();
    eprintln!("back after {took:.2?}");
    ensure!(took < WITHIN, "it took {took:?}");
    Ok(())
}

/// Waits until the server has one session with so many subscriptions and items, and nothing of any other.
pub fn holds(server: &mut dyn OpcUaServer, subscriptions: u64, items: u64) -> Result<Counts> {
    let mut last = None;
    until("one session", Patience::Long, || {
        let counts = server.counts()?;
        last = Some(counts);
        let held = (counts.sessions, counts.subscriptions, counts.items);
        Ok((held == (1, subscriptions, items)).then_some(counts))
    })
    .with_context(|| format!("it had {last:?}"))
}

/// A server with a counter that the gateway has seen at 0, as its source `plc`.
pub struct Outage<'a> {
    pub server: &'a mut dyn OpcUaServer,
    pub gateway: &'a Gateway,
    /// Reads what was counted, from the beginning.
    pub counts: Reader,
    pub counter: &'static str,
    /// The subscriptions and items that the gateway has there.
    pub holds: (u64, u64),
}

impl Outage<'_> {
    /// Has the server count on, no faster than is told, and compares what came since the beginning. Returns how many gaps were said.
    pub fn count(&mut self, written: RangeInclusive<i64>) -> Result<usize> {
        for value in written.clone() {
            self.server.write(self.counter, value.into())?;
            read_to(&mut self.counts, value)?;
        }
        let delivery = Delivery::of(self.counts.records())?;
        compare(&delivery.accepted, &(1..=*written.end()))
    }

    /// Waits until the server has one session of the gateway and nothing else. Returns how many it ever made.
    fn holds_one(&mut self) -> Result<u64> {
        let (subscriptions, items) = self.holds;
        Ok(holds(self.server, subscriptions, items)?.sessions_ever)
    }

    /// It is killed and started again: what was missed is a gap.
    pub fn dies(self) -> Result<()> {
        self.ends(|server| {
            server.kill();
            Ok(())
        })
    }

    /// It is shut down, so that it says goodbye to whoever is connected, and started again.
    pub fn restarts(self) -> Result<()> {
        self.ends(|server| server.shut_down())
    }

    fn ends(mut self, end: impl FnOnce(&mut dyn OpcUaServer) -> Result<()>) -> Result<()> {
        self.count(1..=1)?;
        end(self.server)?;
        is_lost(self.gateway)?;
        self.server.resume()?;
        is_back(self.gateway, Instant::now())?;
        // No more than the first step leads over the gap.
        let gaps = self.count(2..=4)?;
        ensure!(gaps == 1, "{gaps} gaps");
        self.holds_one().map(drop)
    }

    /// It stands still and goes on: nothing was missed.
    pub fn stands_still(mut self) -> Result<()> {
        self.count(1..=1)?;
        let sessions = self.holds_one()?;
        self.server.pause()?;
        silence_is_noticed(self.gateway, Instant::now())?;
        self.server.go_on()?;
        is_back(self.gateway, Instant::now())?;
        self.has_missed_nothing(2, sessions)
    }

    /// It is out of reach in silence, shorter than it remembers, and counts meanwhile, as far as it sees each of its numbers: nothing was missed.
    pub fn gets_out_of_reach(mut self, wire: &Wire, last: i64) -> Result<()> {
        self.count(1..=1)?;
        let sessions = self.holds_one()?;
        wire.cut()?;
        silence_is_noticed(self.gateway, Instant::now())?;
        for value in 2..=last {
            self.server.write(self.counter, value.into())?;
        }
        wire.mend()?;
        is_back(self.gateway, Instant::now())?;
        read_to(&mut self.counts, last)?;
        self.has_missed_nothing(last + 1, sessions)
    }

    /// The session is gone on with, so that no more were made than before, and each number came up to the next one.
    fn has_missed_nothing(&mut self, next: i64, sessions: u64) -> Result<()> {
        let gaps = self.count(next..=next)?;
        ensure!(gaps == 0, "{gaps} gaps, and the server kept what happened");
        let now = self.holds_one()?;
        ensure!(
            now == sessions,
            "{sessions} sessions were made before, and {now} now"
        );
        Ok(())
    }
}
