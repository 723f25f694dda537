//! What recording costs the gateway, how large a recording is, and how fast it is played.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Folder, Gateway, Kafka, Process};
use serde::Serialize;

use crate::configuration::{mappings, settings};
use crate::plant::Plant;
use crate::scenario::Scenario;
use crate::stop::Stop;
use crate::usage::Cpu;

/// How long the gateway works with and without a recording, and how often in turn.
const TURN: Duration = Duration::from_secs(10);
const TURNS: usize = 4;
/// How long the demonstration's plant is recorded.
const DEMO: Duration = Duration::from_mins(10);
/// How many times as much CPU the gateway may take while it is recorded.
const MOST_CPU: f64 = 1.10;
/// Bytes that a sample of the demonstration's plant may take.
const MOST_BYTES: f64 = 12.0;
/// Samples a second that are played at least.
const LEAST_PLAYED: f64 = 500_000.0;

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Recording {
    /// Cores of the gateway at 10,000 changes a second, and while it is recorded.
    cores: f64,
    cores_recorded: f64,
    /// Samples in the recordings, and those that they had no room for.
    samples: f64,
    left_out: f64,
    /// Bytes a sample of that plant, and of ten minutes of the demonstration's.
    bytes: f64,
    bytes_of_demo: Option<f64>,
    /// Samples a second when it is played.
    played: f64,
}

impl Recording {
    /// Lets a gateway work with and without a recording in turn.
    pub fn measure(kafka: &Kafka, program: &Path, is_quick: bool, stop: &Stop) -> Result<Self> {
        let scenario = Scenario::named("10k").map_err(anyhow::Error::msg)?;
        let folder = Folder::new("bench")?;
        kafka.create_topic("bench-recording", 1)?;
        let plant = Plant::start(&scenario, folder.path())?;
        let settings = settings(&scenario, &plant.addresses, &kafka.bootstrap(), 1);
        let mappings = mappings(&scenario, &plant.addresses.namespace, "bench-recording")?;
        let mappings: Vec<_> = mappings.iter().map(|(name, text)| (&**name, &**text)).collect();
        let mut gateway = Gateway::new(&settings, &mappings)?.with_program(program);
        gateway.start()?;
        let pid = gateway.process()?.id();
        // The first turn warms up.
        cores_over(pid, stop)?;
        let (mut alone, mut beside, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..TURNS {
            alone.push(cores_over(pid, stop)?);
            let file = folder.path().join(format!("{turn}.rec"));
            let command = record(&gateway.config(), program, &file, None, &[]);
            let log = folder.path().join("record.log");
            let mut recorder = Process::start("floorgate record", &command, &log)?;
            let begun = Instant::now();
            while !file.metadata().is_ok_and(|file| file.len() > 0) {
                stop.check()?;
                ensure!(begun.elapsed() < TURN, "{}", recorder.output()?);
                std::thread::sleep(Duration::from_millis(20));
            }
            beside.push(cores_over(pid, stop)?);
            recorder.interrupt()?;
            ensure!(recorder.wait(TURN)?.success(), "{}", recorder.output()?);
            told.push(Told::of(&recorder.output()?)?);
        }
        gateway.stop()?;
        drop(plant);
        let last = folder.path().join(format!("{}.rec", TURNS - 1));
        let mut played = Vec::new();
        for _ in 0..3 {
            let begun = Instant::now();
            let mut command = Command::new(program);
            command
                .arg("simulate")
                .arg(&last)
                .arg("--config")
                .arg(gateway.config());
            // What is printed is as long as the terminal is slow.
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            ensure!(status.success(), "floorgate simulate: {status}");
            let samples = told.last().context("nothing was recorded")?.samples;
            played.push(samples / begun.elapsed().as_secs_f64());
        }
        let samples: f64 = told.iter().map(|told| told.samples).sum();
        let bytes_of_demo = if is_quick {
            None
        } else {
            Some(bytes_of_demo(program, &folder, stop)?)
        };
        Ok(Self {
            cores: median(&mut alone),
            cores_recorded: median(&mut beside),
            samples,
            left_out: told.iter().map(|told| told.left_out).sum(),
            bytes: told.iter().map(|told| told.bytes).sum::<f64>() / samples,
            bytes_of_demo,
            played: median(&mut played),
        })
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let ratio = self.cores_recorded / self.cores;
        let kept = ratio <= MOST_CPU
            && self.bytes_of_demo.unwrap_or_default() <= MOST_BYTES
            && self.played >= LEAST_PLAYED
            && self.left_out == 0.0;
        let demo = self.bytes_of_demo.map_or_else(String::new, |bytes| {
            format!(", and {bytes:.1} bytes a sample (≤ {MOST_BYTES}) of the demonstration's plant")
        });
        format!(
            "at 10,000 changes a second a recording costs {ratio:.3} times the CPU ({:.3} cores, {:.3} without; ≤ {MOST_CPU}); {:.0} samples, \
             {:.0} left out (0), {:.1} bytes a sample{demo}; played at {:.0} samples a second (≥ {LEAST_PLAYED}): {}",
            self.cores_recorded,
            self.cores,
            self.samples,
            self.left_out,
            self.bytes,
            self.played,
            if kept { "kept" } else { "missed" }
        )
    }
}

/// What the recorder said at its end.
struct Told {
    samples: f64,
    left_out: f64,
    bytes: f64,
}

impl Told {
    fn of(output: &str) -> Result<Self> {
        let last = output.lines().last().context("the recorder said nothing")?;
        let told: serde_json::Value = serde_json::from_str(last).with_context(|| last.to_owned())?;
        let number = |name: &str| {
            told[name]
                .as_f64()
                .with_context(|| format!("no {name} in {told}"))
        };
        Ok(Self {
            samples: number("samples")?,
            left_out: number("left_out")?,
            bytes: number("bytes")?,
        })
    }
}

fn record(
    config: &Path,
    program: &Path,
    file: &Path,
    lasts: Option<Duration>,
    variables: &[(&str, &Path)],
) -> Command {
    let mut command = Command::new(program);
    command
        .arg("record")
        .arg("--json")
        .arg("--config")
        .arg(config)
        .arg("--output")
        .arg(file);
    if let Some(lasts) = lasts {
        command.arg("--for").arg(format!("{}s", lasts.as_secs()));
    }
    command.envs(variables.iter().copied());
    command
}

/// Cores that a process uses in a turn.
fn cores_over(pid: u32, stop: &Stop) -> Result<f64> {
    let before = Cpu::of(pid)?;
    std::thread::sleep(TURN);
    stop.check()?;
    Ok(Cpu::of(pid)?.cores_since(before))
}

/// Records the demonstration's plant with its default settings.
fn bytes_of_demo(program: &Path, folder: &Folder, stop: &Stop) -> Result<f64> {
    let config = floorgate_tests::repository().join("config/floorgate.yaml");
    let mut command = Command::new(program);
    command.args(["demo", "--quiet", "--config"]).arg(&config);
    let temporary = folder.path().join("demo");
    std::fs::create_dir_all(&temporary)?;
    command.env("TMPDIR", &temporary);
    let mut demo = Process::start("floorgate demo", &command, &folder.path().join("demo.log"))?;
    let begun = Instant::now();
    let state = loop {
        stop.check()?;
        ensure!(begun.elapsed() < TURN, "no demonstration: {}", demo.output()?);
        let found = std::fs::read_dir(&temporary)?
            .flatten()
            .map(|entry| entry.path().join("state"));
        if let Some(state) = found
            .into_iter()
            .find(|state| state.join("control.sock").exists())
        {
            break state;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let file = folder.path().join("demo.rec");
    let command = record(
        &config,
        program,
        &file,
        Some(DEMO),
        &[("FLOORGATE_STATE_DIR", &state)],
    );
    let mut recorder = Process::start(
        "floorgate record",
        &command,
        &folder.path().join("demo-record.log"),
    )?;
    let status = recorder.wait(DEMO + TURN)?;
    ensure!(status.success(), "{}", recorder.output()?);
    let told = Told::of(&recorder.output()?)?;
    demo.interrupt()?;
    demo.wait(Duration::from_secs(30))?;
    Ok(told.bytes / told.samples)
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
