//! A process at the end of a way, followed from the outside, and what the process in question uses meanwhile.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use floorgate_tests::Process;
use serde::Serialize;

use crate::observer::{Report, Said};
use crate::plant::{check as check_running, totals};
use crate::scenario::{Access, Scenario};
use crate::stop::Stop;
use crate::usage::{Cpu, peak_memory, reset_peak_memory};

/// Longest wait for the first values of all tags.
const FILLING: Duration = Duration::from_mins(3);
/// Longest wait for what is under way when the plant has ended.
const DRAINING: Duration = Duration::from_mins(3);

/// What was measured of one way.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// What came at its end.
    pub report: Report,
    /// Cores that the measured process used within the window.
    pub cores: f64,
    /// Peak memory of the measured process from its start on, in megabytes.
    pub memory: f64,
    /// Peak memory within the window.
    pub steady_memory: f64,
    /// Cores in use on the whole machine within the window.
    pub machine_cores: f64,
    /// Writes that the plant made late.
    pub late: u64,
}

/// The process at the end.
#[derive(Debug)]
pub struct Watcher {
    process: Process,
    lines: usize,
    total: PathBuf,
    window: f64,
    /// Writes at the end that do not count: those of the last moments before the plant ends, which it need not have
    /// shown to anyone.
    tail: u64,
}

/// Seconds before the plant's end whose writes do not count as lost. Well above a publishing interval, and short
/// enough that a loss at any other time shows.
const TAIL: f64 = 0.3;

impl Watcher {
    /// Starts this program's own sub-command `words` with a scenario's window.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of writes within a second"
    )]
    pub fn start(words: &[&str], scenario: &Scenario, window: f64, folder: &Path) -> Result<Self> {
        let total = folder.join("total");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words);
        command.args(["--tags", &scenario.tags.to_string()]);
        command.args(["--warm-up", "3", "--window", &window.to_string()]);
        command.arg("--total").arg(&total);
        if scenario.access == Access::Modbus {
            let period = scenario.tags as f64 / scenario.rate;
            command.args(["--times", &period.to_string()]);
        }
        let process = Process::start(words[0], &command, &folder.join("watcher.log"))?;
        Ok(Self {
            process,
            lines: 0,
            total,
            window,
            tail: (scenario.rate * TAIL).ceil() as u64,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it says something new.
    pub fn next(
        &mut self,
        limit: Duration,
        stop: &Stop,
        check: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Said> {
        let started = Instant::now();
        loop {
            let running = self.process.is_running()?;
            let output = self.process.output()?;
            // The last line may not be whole yet.
            let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let mut said = whole.lines().filter(|line| line.starts_with(['{', '"']));
            if let Some(line) = said.nth(self.lines) {
                self.lines += 1;
                return serde_json::from_str(line).with_context(|| line.to_owned());
            }
            if !running {
                bail!("the process at the end has ended: {output}");
            }
            check()?;
            stop.check()?;
            if started.elapsed() > limit {
                bail!("waited {limit:?} for the process at the end: {output}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Follows it through its window, measuring the process `pid`; then stops the process that makes the load.
    pub fn follow(
        mut self,
        pid: u32,
        mut load: Process,
        stop: &Stop,
        check: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Way> {
        let check = &mut || {
            check_running(&mut load, "what makes the load")?;
            check()
        };
        self.expect("open", FILLING, stop, check)?;
        let (cpu, machine) = (Cpu::of(pid)?, Cpu::of_machine()?);
        let memory = peak_memory(pid)?;
        reset_peak_memory(pid)?;
        let patience = Duration::from_secs_f64(self.window + 30.0);
        self.expect("closed", patience, stop, check)?;
        let cores = Cpu::of(pid)?.cores_since(cpu);
        let machine_cores = Cpu::of_machine()?.cores_since(machine);
        let steady_memory = peak_memory(pid)?;
        let totals = totals(load)?;
        // The file appears whole.
        let draft = self.total.with_extension("draft");
        let written = totals.load + totals.modbus_load;
        std::fs::write(&draft, written.saturating_sub(self.tail).to_string())?;
        std::fs::rename(&draft, &self.total)?;
        let report = match self.next(DRAINING, stop, &mut || Ok(()))? {
            Said::Report(report) => report,
            other => bail!("a report was expected, not {other:?}"),
        };
        Ok(Way {
            report,
            cores,
            memory: memory.max(steady_memory),
            steady_memory,
            machine_cores,
            late: totals.late,
        })
    }

    fn expect(
        &mut self,
        what: &str,
        limit: Duration,
        stop: &Stop,
        check: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let said = self.next(limit, stop, check)?;
        match (what, &said) {
            ("open", Said::Open) | ("closed", Said::Closed) | ("ready", Said::Ready) => Ok(()),
            _ => bail!("{what} was expected, not {said:?}"),
        }
    }

    /// Waits until it listens.
    pub fn ready(&mut self, stop: &Stop) -> Result<()> {
        self.expect("ready", Duration::from_mins(1), stop, &mut || Ok(()))
    }
}
