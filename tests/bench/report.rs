//! What is printed, and what is written as JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::drain::Drain;
use crate::latency::median;
use crate::link::Link;
use crate::recording::Recording;
use crate::rest::Rest;
use crate::restart::Restart;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::watcher::Way;

/// Everything, as it is written.
#[derive(Debug, Serialize)]
pub struct Results {
    /// When it was written, RFC 3339.
    at: String,
    /// Cores of the machine.
    cores: usize,
    /// Seconds of each window.
    seconds: f64,
    /// Runs of each scenario.
    runs: u32,
    /// By scenario.
    pub scenarios: Vec<Outcome>,
    /// How fast a backlog goes out, where that was measured.
    pub backlog: Option<Drain>,
    /// How long a start with a large store takes, of each program, where that was measured.
    pub restarts: Vec<Restart>,
    /// What tags take that do not change, of each program, where that was measured.
    pub rests: Vec<Rest>,
    /// What was made of a Modbus link, by program, where that was measured.
    pub links: Vec<Link>,
    /// What recording costs, by program.
    pub recordings: Vec<Recording>,
}

/// A scenario's runs.
#[derive(Debug, Serialize)]
pub struct Outcome {
    scenario: Scenario,
    /// The program that was the gateway.
    program: PathBuf,
    /// The runs that came to their end.
    pub runs: Vec<Run>,
    /// Why the others did not.
    pub failures: Vec<String>,
    figures: Vec<Figure>,
}

/// A line of the table: medians over the runs, but the sums of lost and doubled.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    name: &'static str,
    gateway: Option<f64>,
    bar: Option<f64>,
    opcua: Option<f64>,
    kafka: Option<f64>,
    /// The gateway's figure by the sum of the halves'.
    ratio: Option<f64>,
    telegraf: Option<f64>,
    #[serde(skip)]
    digits: usize,
}

impl Figure {
    /// Whether the bar is kept; `None` where there is none, or nothing was measured.
    fn passes(&self) -> Option<bool> {
        Some(self.gateway? <= self.bar?)
    }
}

impl Outcome {
    /// One without runs.
    pub fn new(scenario: Scenario, program: &Path) -> Self {
        Self {
            scenario,
            program: program.to_path_buf(),
            runs: Vec::new(),
            failures: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Reckons the figures from the runs.
    #[allow(clippy::too_many_lines)] // a table of figures, one after the other
    pub fn conclude(&mut self) {
        type Part = fn(&Way) -> f64;
        let (bars, telegraf) = (self.scenario.bars, self.scenario.telegraf);
        let middle = |name, digits, part: Part, bar, telegraf, adds_up: bool| {
            let of = |way: fn(&Run) -> Option<&Way>| median(self.runs.iter().filter_map(way).map(part));
            let gateway = of(|run| run.gateway.as_ref());
            let opcua = of(|run| run.opcua.as_ref());
            let kafka = of(|run| run.kafka.as_ref());
            let ratio = match (gateway, opcua, kafka) {
                (Some(gateway), Some(opcua), Some(kafka)) if adds_up => Some(gateway / (opcua + kafka)),
                _ => None,
            };
            Figure {
                name,
                gateway,
                bar,
                opcua,
                kafka,
                ratio,
                telegraf,
                digits,
            }
        };
        let sum = |name, part: Part, bar| {
            let of = |way: fn(&Run) -> Option<&Way>| {
                let parts: Vec<f64> = self.runs.iter().filter_map(way).map(part).collect();
                (!parts.is_empty()).then(|| parts.iter().sum())
            };
            Figure {
                name,
                gateway: of(|run| run.gateway.as_ref()),
                bar,
                opcua: of(|run| run.opcua.as_ref()),
                kafka: of(|run| run.kafka.as_ref()),
                ratio: None,
                telegraf: None,
                digits: 0,
            }
        };
        self.figures = vec![
            middle(
                "latency p50, ms",
                2,
                |way| way.report.latency.p50,
                bars.p50,
                telegraf.p50,
                true,
            ),
            middle(
                "latency p99, ms",
                2,
                |way| way.report.latency.p99,
                bars.p99,
                telegraf.p99,
                true,
            ),
            middle(
                "latency p99.9, ms",
                2,
                |way| way.report.latency.p999,
                None,
                None,
                false,
            ),
            middle(
                "latency max, ms",
                2,
                |way| way.report.latency.max,
                None,
                None,
                false,
            ),
            middle("CPU, cores", 3, |way| way.cores, bars.cores, telegraf.cores, true),
            middle(
                "peak memory, MB",
                1,
                |way| way.memory,
                bars.memory,
                telegraf.memory,
                false,
            ),
            middle(
                "peak memory in the window, MB",
                1,
                |way| way.steady_memory,
                None,
                None,
                false,
            ),
            middle(
                "events a second",
                0,
                |way| way.report.events_per_second,
                None,
                None,
                false,
            ),
            middle(
                "machine, cores in use",
                2,
                |way| way.machine_cores,
                None,
                None,
                false,
            ),
            sum("lost", |way| way.report.lost as f64, Some(0.0)),
            sum("doubled", |way| way.report.doubled as f64, Some(0.0)),
            sum("out of order", |way| way.report.disordered as f64, Some(0.0)),
            sum("written late by the plant", |way| way.late as f64, None),
        ];
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "\n{} ({} runs of {})\n{:30} {:>10} {:>9}      {:>10} {:>10} {:>7} {:>9}",
            self.scenario.title,
            self.runs.len(),
            self.program.display(),
            "",
            "gateway",
            "bar",
            "OPC UA",
            "Kafka",
            "ratio",
            "Telegraf"
        );
        for figure in &self.figures {
            let digits = figure.digits;
            let show =
                |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.digits$}"));
            let bar = figure.bar.map_or_else(String::new, |bar| format!("≤ {bar}"));
            let mark = match figure.passes() {
                Some(true) => "ok",
                Some(false) => "MISS",
                None => "",
            };
            let ratio = figure
                .ratio
                .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let telegraf = figure
                .telegraf
                .map_or_else(String::new, |value| value.to_string());
            let _ = writeln!(
                text,
                "{:30} {:>10} {bar:>9} {mark:4} {:>10} {:>10} {ratio:>7} {telegraf:>9}",
                figure.name,
                show(figure.gateway),
                show(figure.opcua),
                show(figure.kafka),
            );
        }
        for failure in &self.failures {
            let _ = writeln!(
                text,
                "a run failed: {}",
                failure.lines().next().unwrap_or_default()
            );
        }
        text
    }
}

impl Results {
    /// None yet.
    pub fn new(seconds: f64, runs: u32) -> Self {
        Self {
            at: jiff::Timestamp::now().to_string(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            seconds,
            runs,
            scenarios: Vec::new(),
            backlog: None,
            restarts: Vec::new(),
            rests: Vec::new(),
            links: Vec::new(),
            recordings: Vec::new(),
        }
    }

    /// Writes them.
    pub fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }

    /// What no machine excuses: runs that failed, and a gateway that lost, doubled or disordered. That a bar of speed was
    /// missed is none of these.
    pub fn wrongs(&self) -> Vec<String> {
        let mut wrongs = Vec::new();
        for outcome in &self.scenarios {
            let title = outcome.scenario.title;
            if !outcome.failures.is_empty() {
                wrongs.push(format!("{title}: {} runs failed", outcome.failures.len()));
            }
            let broken = outcome.figures.iter().filter(|figure| figure.bar == Some(0.0));
            for figure in broken.filter(|figure| figure.passes() == Some(false)) {
                let count = figure.gateway.unwrap_or_default();
                wrongs.push(format!("{title}: {count} {}", figure.name));
            }
        }
        wrongs
    }

    /// All bars at a glance.
    pub fn bars(&self) -> String {
        let mut text = String::from("\nBars\n");
        for outcome in &self.scenarios {
            let mut missed = Vec::new();
            let mut kept = 0;
            for figure in &outcome.figures {
                match figure.passes() {
                    Some(true) => kept += 1,
                    Some(false) => missed.push(figure.name),
                    None => {}
                }
            }
            let failed = outcome.failures.len();
            let verdict = match (missed.is_empty(), failed, kept) {
                (_, _, 0) if missed.is_empty() => "nothing measured".to_owned(),
                (true, 0, _) => format!("all {kept} kept"),
                (true, ..) => format!("{kept} kept, {failed} runs failed"),
                (false, ..) => format!("{kept} kept, missed: {}", missed.join("; ")),
            };
            let _ = writeln!(text, "  {:55} {verdict}", outcome.scenario.title);
        }
        if let Some(backlog) = &self.backlog {
            let _ = writeln!(text, "  {}", backlog.line());
        }
        for restart in &self.restarts {
            let _ = writeln!(text, "  {}", restart.line());
        }
        for rest in &self.rests {
            let _ = writeln!(text, "  {}", rest.line());
        }
        for link in &self.links {
            let _ = writeln!(text, "  {}", link.line());
        }
        for recording in &self.recordings {
            let _ = writeln!(text, "  {}", recording.line());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    fn figure(name: &'static str, gateway: f64, bar: f64) -> Figure {
        Figure {
            name,
            gateway: Some(gateway),
            bar: Some(bar),
            opcua: None,
            kafka: None,
            ratio: None,
            telegraf: None,
            digits: 0,
        }
    }

    fn wrongs(figures: Vec<Figure>, failures: Vec<String>) -> Vec<String> {
        let mut results = Results::new(1.0, 1);
        let scenario = Scenario {
            title: "a load",
            ..SCENARIOS[0]
        };
        results.scenarios.push(Outcome {
            failures,
            figures,
            ..Outcome::new(scenario, Path::new("floorgate"))
        });
        results.wrongs()
    }

    #[test]
    fn a_loss_is_wrong_and_slowness_is_not() {
        let slow = figure("latency p50, ms", 9.0, 8.0);
        assert!(wrongs(vec![slow.clone(), figure("lost", 0.0, 0.0)], Vec::new()).is_empty());
        let found = wrongs(
            vec![slow, figure("lost", 2.0, 0.0), figure("doubled", 1.0, 0.0)],
            vec!["no broker".to_owned()],
        );
        assert_eq!(
            found,
            ["a load: 1 runs failed", "a load: 2 lost", "a load: 1 doubled"]
        );
    }
}
