//! What the gateway makes of a Modbus link: how many requests a second, beside a bare loop over the library; and what a unit that is dead
//! costs the others.
//!
//! Bare loop and gateway take turns at one device in one run, and so do the times before and after the unit's death: the bars are ratios and
//! differences, which are the same on a fast machine and a slow one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use floorgate_tests::{Gateway, Kafka, Signal};
use serde::Serialize;

use crate::device::{Device, bare};
use crate::latency::median;
use crate::stop::Stop;

/// Least share of the bare loop's requests that the gateway makes.
const LEAST_SHARE: f64 = 0.9;
/// Most milliseconds that the 99th percentile of the others' jitter grows by when a unit is dead.
const MOST_LATER: f64 = 5.0;
/// Turns of the bare loop and of the gateway.
const TURNS: usize = 5;
/// Requests of the gateway that are waited for before its turn: it has a connection, and its first values are told.
const WARM: u64 = 1_000;
/// Values that are read in a request each. More than there is time for.
const VALUES: u16 = 500;
/// Registers of each.
pub const REGISTERS: u16 = 10;
/// Units of the link on which one dies.
pub const UNITS: u8 = 50;
/// How often each is polled.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long polls are let settle before they are measured.
const SETTLING: Duration = Duration::from_secs(2);
/// How long a link may take until it works.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(20);

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Link {
    /// The program that was the gateway.
    program: PathBuf,
    /// Requests a second, turn by turn.
    turns: Vec<Turn>,
    /// The gateway's by the bare loop's: the median of the turns.
    share: f64,
    least_share: f64,
    /// How far the times between two polls of a unit are from the interval, over all units but the last one, while that one is alive.
    alive: Jitter,
    /// The same while that one is dead.
    dead: Jitter,
    /// How much the 99th percentile grew, in milliseconds.
    later_ms: f64,
    most_later_ms: f64,
    /// How often the dead unit was tried.
    tries: usize,
    /// The same where the device takes one connection only, as on a serial line: each try of the dead unit is a time-out of the others. There is no bar.
    dead_on_one_connection: Jitter,
    tries_on_one_connection: usize,
}

/// Requests a second.
#[derive(Clone, Copy, Debug, Serialize)]
struct Turn {
    bare: f64,
    gateway: f64,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Jitter {
    polls: usize,
    p50: f64,
    p99: f64,
    longest: f64,
}

impl Link {
    /// Measures both, in windows that are so long together.
    pub fn measure(kafka: &Kafka, program: &Path, seconds: f64, stop: &Stop) -> Result<Self> {
        kafka.create_topic("bench-link", 1)?;
        let bench = Bench {
            broker: kafka.bootstrap(),
            program,
            window: Duration::from_secs_f64(seconds),
            stop,
        };
        let turns = bench.turns().context("requests a second")?;
        let share = median(turns.iter().map(|turn| turn.gateway / turn.bare)).unwrap_or_default();
        let both = bench.dead_unit(&[false, true], true).context("a dead unit")?;
        let alone = bench
            .dead_unit(&[true], false)
            .context("a dead unit on one connection")?;
        let ([(alive, _), (dead, tries)], [(single, single_tries)]) = (&both[..], &alone[..]) else {
            bail!("{} and {} phases", both.len(), alone.len());
        };
        Ok(Self {
            program: program.to_path_buf(),
            turns,
            share,
            least_share: LEAST_SHARE,
            alive: *alive,
            dead: *dead,
            later_ms: dead.p99 - alive.p99,
            most_later_ms: MOST_LATER,
            tries: *tries,
            dead_on_one_connection: *single,
            tries_on_one_connection: *single_tries,
        })
    }

    fn is_fast(&self) -> bool {
        self.share >= LEAST_SHARE
    }

    fn is_undisturbed(&self) -> bool {
        self.later_ms <= MOST_LATER
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let requests = |of: fn(&Turn) -> f64| median(self.turns.iter().map(of)).unwrap_or_default();
        let mark = |kept| if kept { "ok" } else { "MISS" };
        let others = UNITS - 1;
        let mut text = format!(
            "\nModbus, one link ({} turns of {})\n{:46} {:>10} {:>9}\n",
            self.turns.len(),
            self.program.display(),
            "",
            "figure",
            "bar"
        );
        let bars = [
            (format!("≥ {:.0}", 100.0 * LEAST_SHARE), mark(self.is_fast())),
            (format!("≤ {MOST_LATER}"), mark(self.is_undisturbed())),
        ];
        let [share, later] = bars;
        let none = || (String::new(), "");
        let lines = [
            (
                "requests a second, bare loop".to_owned(),
                format!("{:.0}", requests(|turn| turn.bare)),
                none(),
            ),
            (
                "requests a second".to_owned(),
                format!("{:.0}", requests(|turn| turn.gateway)),
                none(),
            ),
            (
                "share of the bare loop, %".to_owned(),
                format!("{:.1}", 100.0 * self.share),
                share,
            ),
            (
                format!("p99 jitter of {others} units, ms"),
                format!("{:.2}", self.alive.p99),
                none(),
            ),
            (
                "the same beside a dead unit, ms".to_owned(),
                format!("{:.2}", self.dead.p99),
                none(),
            ),
            (
                "difference, ms".to_owned(),
                format!("{:+.2}", self.later_ms),
                later,
            ),
            (
                "on one connection, p99, ms".to_owned(),
                format!("{:.2}", self.dead_on_one_connection.p99),
                none(),
            ),
            (
                format!("the same, longest, {} tries, ms", self.tries_on_one_connection),
                format!("{:.2}", self.dead_on_one_connection.longest),
                none(),
            ),
        ];
        for (name, figure, (bar, mark)) in lines {
            // Writing to text does not fail.
            let _ = writeln!(text, "{name:46} {figure:>10} {bar:>9} {mark}");
        }
        text
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let kept = self.is_fast() && self.is_undisturbed();
        format!(
            "one Modbus link has {:.1} % of the requests a second of a bare loop (≥ {:.0}); a dead unit of {UNITS} adds {:.2} ms to the p99 \
             jitter of the others (≤ {MOST_LATER}): {}",
            100.0 * self.share,
            100.0 * LEAST_SHARE,
            self.later_ms,
            if kept { "kept" } else { "missed" }
        )
    }
}

struct Bench<'a> {
    broker: String,
    program: &'a Path,
    window: Duration,
    stop: &'a Stop,
}

impl Bench<'_> {
    /// A running gateway with such a source and such tags.
    fn gateway(&self, device: &Device, source: &str, tags: &str) -> Result<Gateway> {
        let address = device.address();
        let settings = format!(
            r#"gateway: bench
state_dir: "{{state}}"
mappings: ["mappings/*.yaml"]
sources:
  link: {{adapter: modbus, connect: "tcp://{address}", {source}}}
kafka:
  brokers: ["{}"]
  security: {{protocol: plaintext}}
  topics: {{partitions: 1, replication: 1}}
http: {{listen: "127.0.0.1:{{http}}"}}
"#,
            self.broker
        );
        let mapping = format!(
            "mapping: link\nsource: link\nequipment: bench/plant/hall/line1\ntags:\n{tags}events:\n  \
             - {{type: LinkChanged, trigger: t1, topic: bench-link, data: {{value: t1}}}}\n"
        );
        let gateway = Gateway::new(&settings, &[("link.yaml", &mapping)])?;
        let mut gateway = gateway.with_program(self.program);
        gateway.start()?;
        Ok(gateway)
    }

    /// Waits until something is so.
    fn until(&self, what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !is()? {
            self.stop.check()?;
            ensure!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn wait(&self, time: Duration) -> Result<()> {
        std::thread::sleep(time);
        self.stop.check()
    }

    /// Lets the bare loop and the gateway ask in turn.
    fn turns(&self) -> Result<Vec<Turn>> {
        let device = Device::serve()?;
        let tag = |place: u16| {
            let (start, length) = (place * REGISTERS, 2 * REGISTERS);
            format!("  t{place}: {{holding: {start}, type: string, encoding: latin1, length: {length}}}\n")
        };
        let tags: String = (0..VALUES).map(tag).collect();
        let source = "poll_interval: 1ms, one_request_per_value: true";
        let mut gateway = self.gateway(&device, source, &tags)?;
        let each = self.window / 10;
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            gateway.process()?.signal(Signal::Stop)?;
            let bare = bare(device.address(), each)?;
            gateway.process()?.signal(Signal::Continue)?;
            // What it missed of its connection while it stood still is over then.
            let before = device.requests();
            self.until(
                "the gateway's requests",
                || Ok(device.requests() >= before + WARM),
            )?;
            let (begun, before) = (Instant::now(), device.requests());
            self.wait(each)?;
            let requests = device.requests() - before;
            turns.push(Turn {
                bare,
                gateway: requests as f64 / begun.elapsed().as_secs_f64(),
            });
        }
        gateway.stop()?;
        Ok(turns)
    }

    /// Polls a link of which one unit dies; the jitter of the others, and how often that one was asked, in each phase.
    fn dead_unit(&self, phases: &[bool], has_second_connection: bool) -> Result<Vec<(Jitter, usize)>> {
        let device = Device::serve()?;
        let tag = |unit: u8| format!("  t{unit}: {{holding: 1, unit_id: {unit}}}\n");
        let tags: String = (1..=UNITS).map(tag).collect();
        let interval = INTERVAL.as_millis();
        let source = format!(
            "poll_interval: {interval}ms, timeout: 500ms, second_connection: {has_second_connection}"
        );
        let mut gateway = self.gateway(&device, &source, &tags)?;
        let up = format!("floorgate_source_station_up{{source=\"link\",station=\"unit {UNITS}\"}}");
        let state = |expected: f64| {
            let is_so = || Ok(gateway.metric(&up)? == Some(expected));
            self.until("the last unit's state", is_so)
        };
        let mut found = Vec::new();
        state(1.0)?;
        for is_dead in phases.iter().copied() {
            device.let_last_unit_be_dead(is_dead);
            state(if is_dead { 0.0 } else { 1.0 })?;
            self.wait(SETTLING)?;
            device.note();
            self.wait(self.window)?;
            let asked = device.noted();
            let tries = asked.iter().filter(|(unit, _)| *unit == UNITS).count();
            found.push((jitter(&asked)?, tries));
        }
        gateway.stop()?;
        Ok(found)
    }
}

/// How far the times between polls of all units but the last one are from the interval.
fn jitter(asked: &[(u8, Instant)]) -> Result<Jitter> {
    let mut all: Vec<f64> = Vec::new();
    for unit in 1..UNITS {
        let own = asked.iter().filter(|(id, _)| *id == unit);
        let times: Vec<Instant> = own.map(|(_, at)| *at).collect();
        ensure!(times.len() > 1, "unit {unit} was polled {} times", times.len());
        let between = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        all.extend(between.map(|time| 1e3 * (time - INTERVAL.as_secs_f64()).abs()));
    }
    all.sort_by(f64::total_cmp);
    let at = |place: usize| all.get(place).copied().unwrap_or_default();
    Ok(Jitter {
        polls: all.len(),
        p50: at(all.len() / 2),
        p99: at(all.len() * 99 / 100),
        longest: at(all.len() - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(share: f64, later_ms: f64) -> Link {
        let jitter = Jitter {
            polls: 10,
            p50: 0.1,
            p99: 0.5,
            longest: 1.0,
        };
        Link {
            program: PathBuf::from("floorgate"),
            turns: vec![Turn {
                bare: 1_000.0,
                gateway: 1_000.0 * share,
            }],
            share,
            least_share: LEAST_SHARE,
            alive: jitter,
            dead: jitter,
            later_ms,
            most_later_ms: MOST_LATER,
            tries: 3,
            dead_on_one_connection: jitter,
            tries_on_one_connection: 2,
        }
    }

    #[test]
    fn each_bar_can_be_missed() {
        let kept = link(0.9, 5.0);
        assert!(kept.line().ends_with(": kept") && !kept.table().contains("MISS"));
        for missed in [link(0.89, 0.0), link(1.0, 5.1)] {
            assert!(missed.line().ends_with(": missed"), "{}", missed.line());
            assert_eq!(missed.table().matches("MISS").count(), 1, "{}", missed.table());
        }
    }

    #[test]
    fn the_jitter_is_that_of_the_units_that_live() -> Result<()> {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let mut asked: Vec<(u8, Instant)> = Vec::new();
        for unit in 1..UNITS {
            let last = if unit == 1 { 207 } else { 200 };
            asked.extend([0, 100, last].map(|millis| (unit, at(millis))));
        }
        asked.extend([0, 700].map(|millis| (UNITS, at(millis))));
        let found = jitter(&asked)?;
        assert_eq!(
            (found.polls, found.p50.round(), found.longest.round()),
            (98, 0.0, 7.0)
        );
        assert!(jitter(&asked[..1]).is_err(), "what was not polled is no jitter");
        Ok(())
    }
}
