//! The benchmark itself: that it measures what it says, not how fast this machine is.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Folder, Patience, Process, binary};
use serde_json::Value;

/// Has it measure something for two seconds on a cold broker. What it wrote, and what it printed.
fn measure(what: &[&str]) -> Result<(Value, String)> {
    let folder = Folder::new("benchmark")?;
    let file = folder.path().join("result.json");
    let mut command = Command::new(binary("bench")?);
    command
        .args(what)
        .args(["--seconds", "2", "--cold", "--json"])
        .arg(&file);
    let mut bench = Process::start("bench", &command, &folder.path().join("bench.log"))?;
    let status = bench.wait(Patience::Long.duration() * 4)?;
    let output = bench.output()?;
    ensure!(status.success(), "{status}: {output}");
    let result = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    Ok((result, output))
}

#[test]
fn the_benchmark_measures_the_whole_way_and_both_halves() -> Result<()> {
    let (result, _) = measure(&["--scenario", "1k", "--scenario", "modbus", "--runs", "1"])?;
    let run = |scenario: usize| &result["scenarios"][scenario]["runs"][0];
    for (scenario, way, rate) in [
        (0, "gateway", 1_000.0),
        (0, "opcua", 1_000.0),
        (0, "kafka", 1_000.0),
        (1, "gateway", 500.0),
        (1, "kafka", 500.0),
    ] {
        let measured = &run(scenario)[way];
        let report = &measured["report"];
        for wrong in ["lost", "doubled", "disordered"] {
            ensure!(report[wrong] == 0, "{way}: {wrong}: {measured}");
        }
        let number = |value: &Value| value.as_f64().with_context(|| format!("{way}: {measured}"));
        let events = number(&report["events_per_second"])?;
        // A slow machine writes late, but never more than it was told to.
        ensure!(
            events > 0.1 * rate && events < 1.5 * rate,
            "{way}: {events} events a second"
        );
        let latency = &report["latency"];
        let (p50, p99) = (number(&latency["p50"])?, number(&latency["p99"])?);
        ensure!(0.0 < p50 && p50 <= p99, "{way}: p50 {p50}, p99 {p99}");
        ensure!(number(&measured["cores"])? > 0.0, "{way}: it took CPU time");
        ensure!(number(&measured["memory"])? > 1.0, "{way}: it had memory");
    }
    ensure!(run(1)["opcua"].is_null(), "Modbus has no OPC UA half");
    Ok(())
}

#[test]
fn a_benchmark_whose_runs_fail_is_no_success() -> Result<()> {
    let folder = Folder::new("benchmark")?;
    let mut command = Command::new(binary("bench")?);
    command
        .args(["--scenario", "1k", "--runs", "1", "--seconds", "2", "--cold"])
        .args(["--whole-only", "--gateway", "/bin/false", "--json"])
        .arg(folder.path().join("result.json"));
    let mut bench = Process::start("bench", &command, &folder.path().join("bench.log"))?;
    let status = bench.wait(Patience::Long.duration())?;
    let output = bench.output()?;
    ensure!(!status.success(), "{output}");
    let told = "Error: 1,000 tags, 1,000 changes/s: 1 runs failed";
    ensure!(output.lines().any(|line| line == told), "{output}");
    Ok(())
}

#[test]
fn the_benchmark_measures_tags_that_do_not_change() -> Result<()> {
    let (result, _) = measure(&["--rest"])?;
    let rest = &result["rests"][0];
    let number = |name: &str| rest[name].as_f64().with_context(|| format!("{name}: {result}"));
    ensure!(rest["tags"] == 100_000, "{rest}");
    ensure!(number("all")? > 0.0, "{rest}");
    let memory = number("memory")?;
    ensure!(0.0 < memory && memory <= 250.0, "{rest}");
    let cores = number("cores")?;
    ensure!((0.0..0.5).contains(&cores), "nothing happens: {rest}");
    Ok(())
}

#[test]
fn the_benchmark_measures_a_modbus_link_beside_a_bare_loop_and_a_dead_unit() -> Result<()> {
    let (result, output) = measure(&["--modbus-link"])?;
    let link = &result["links"][0];
    let share = link["share"].as_f64().with_context(|| result.to_string())?;
    // How near to one, and how calm, is the machine's business.
    ensure!(0.01 < share && share < 2.0, "{link}");
    let polls = |phase: &str| link[phase]["polls"].as_u64().with_context(|| result.to_string());
    for phase in ["alive", "dead"] {
        // 49 units, ten times a second, on a machine that may be a few times too slow.
        ensure!((200..1_200).contains(&polls(phase)?), "{phase}: {link}");
    }
    ensure!(polls("dead_on_one_connection")? > 0, "{link}");
    let tries = link["tries"].as_u64().with_context(|| result.to_string())?;
    ensure!(tries < 10, "a unit that is dead is polled no more: {link}");
    let later = link["dead"]["p99"].as_f64().zip(link["alive"]["p99"].as_f64());
    let later = later.map(|(dead, alive)| dead - alive);
    ensure!(later.is_some() && later == link["later_ms"].as_f64(), "{link}");
    for line in [
        "share of the bare loop, %",
        "difference, ms",
        "on one connection, p99, ms",
        "one Modbus link has ",
    ] {
        ensure!(output.contains(line), "{output}");
    }
    Ok(())
}
