//! `floorgate demo`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use floorgate_tests::{Folder, Kafka, Patience, Process, Reader, Signal, binary, repository, until};

/// Starts a lively demonstration.
fn start(folder: &Folder, log: &Path) -> Result<Process> {
    let mut command = Command::new(binary("floorgate")?);
    command
        .args(["demo", "--rate", "20"])
        .current_dir(repository())
        .env("TMPDIR", folder.path());
    Process::start("demo", &command, log)
}

/// Ends a demonstration in the middle, and gives what it printed.
fn ended_by(end: impl FnOnce(&mut Process) -> Result<()>) -> Result<String> {
    let folder = Folder::new("demo")?;
    let log = folder.path().join("demo.log");
    let mut demo = start(&folder, &log)?;
    demo.wait_for_output(" Running → ", Patience::Long)?;
    end(&mut demo)?;
    let status = demo.wait(Patience::Long.duration())?;
    let output = demo.output()?;
    ensure!(status.success(), "{status}: {output}");
    // Its folder is gone, and so is the gateway that had it.
    let left = std::fs::read_dir(folder.path())?.count();
    ensure!(left == 1, "{left} files are left");
    Ok(output)
}

#[test]
fn ctrl_c_in_a_terminal_ends_the_demonstration_without_a_loss() -> Result<()> {
    let output = ended_by(Process::interrupt)?;
    let last = output.lines().last().unwrap_or_default();
    assert_eq!(last, "lost 0   doubled 0   outbox depth 0", "{output}");
    Ok(())
}

#[test]
fn in_a_terminal_a_line_at_the_bottom_tells_how_it_stands() -> Result<()> {
    let folder = Folder::new("demo")?;
    let demo = format!("{} demo --rate 20 --for 4s", binary("floorgate")?.display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &demo, "/dev/null"])
        .current_dir(repository())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}");
    // It is written at the line's beginning, without a line feed, and wiped before what comes next.
    let lines: Vec<&str> = text.split("\r\u{1b}[2K").collect();
    ensure!(lines.len() > 8, "{text}");
    let states = lines.iter().filter_map(|line| line.rsplit('\n').next());
    let states: Vec<&str> = states.filter(|state| state.contains("   consumed ")).collect();
    ensure!(
        states.len() > 8 && states.iter().any(|state| state.contains("   latency p50 ")),
        "{states:?}"
    );
    ensure!(text.contains(" Running → ") || text.contains(" → "), "{text}");
    let last = text.trim_end().lines().last().unwrap_or_default();
    assert_eq!(last, "lost 0   doubled 0   outbox depth 0", "{text}");
    Ok(())
}

#[test]
fn a_hall_of_another_size_is_shown_on_a_real_broker_for_a_time() -> Result<()> {
    let kafka = Kafka::shared()?;
    let folder = Folder::new("demo")?;
    let output = Command::new(binary("floorgate")?)
        .args(["demo", "--for", "6s", "--lines", "2", "--rate", "20", "--quiet"])
        .args(["--kafka", &kafka.bootstrap()])
        .current_dir(repository())
        .env("TMPDIR", folder.path())
        .output()?;
    // A busy broker's warnings are on standard error.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{text}{errors}");
    assert!(text.starts_with("plant    2 lines on "), "{text}");
    assert!(!text.contains(" → "), "no event is shown: {text}");
    assert!(
        text.contains("EquipmentStateChanged"),
        "a summary by type: {text}"
    );
    assert!(text.ends_with("lost 0   doubled 0   outbox depth 0\n"), "{text}");

    let mut reader = Reader::new(&kafka.bootstrap(), "acme.busan.mes.equipment-state.v1")?;
    let mut keys: Vec<&str> = reader
        .to_end()?
        .iter()
        .filter_map(|record| record.key.as_deref())
        .filter(|key| key.ends_with("/filler"))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(
        keys,
        [
            "acme/busan/filling/line1/filler",
            "acme/busan/filling/line2/filler"
        ]
    );
    Ok(())
}

#[test]
fn a_number_of_lines_that_no_mapping_has_is_refused() -> Result<()> {
    let folder = Folder::new("demo")?;
    for file in ["config/floorgate.yaml", "mappings/conveyor.yaml"] {
        let text = std::fs::read_to_string(repository().join(file))?;
        folder.write(file, &text)?;
    }
    let line = std::fs::read_to_string(repository().join("mappings/filling-line.yaml"))?;
    folder.write(
        "mappings/filling-line.yaml",
        &line.replace("{line: 1..6}", "{line: 1..5}"),
    )?;
    let demo = |words: &[&str]| -> Result<String> {
        let output = Command::new(binary("floorgate")?)
            .arg("demo")
            .args(words)
            .current_dir(folder.path())
            .output()?;
        ensure!(!output.status.success(), "{words:?} is taken");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let said = demo(&["--lines", "2"])?;
    assert!(said.contains("leave --lines away"), "{said}");
    for rate in ["0", "-1", "nan"] {
        let said = demo(&[&format!("--rate={rate}")])?;
        assert!(said.contains("a number from 0.01 to 1000"), "{said}");
    }
    Ok(())
}

#[test]
fn a_demonstration_that_is_killed_leaves_no_gateway_behind() -> Result<()> {
    let folder = Folder::new("demo")?;
    let log = folder.path().join("demo.log");
    let mut demo = start(&folder, &log)?;
    demo.wait_for_output(" Running → ", Patience::Long)?;
    ensure!(gateways(&folder)? > 0, "the gateway runs");
    demo.kill()?;
    until("the gateway's end", Patience::Long, || {
        Ok((gateways(&folder)? == 0).then_some(()))
    })
}

/// How many processes have their state in a folder: a gateway, and the shell beside it.
fn gateways(folder: &Folder) -> Result<usize> {
    let state = format!("FLOORGATE_STATE_DIR={}", folder.path().display());
    let mut count = 0;
    for process in std::fs::read_dir("/proc")? {
        // What has ended meanwhile, or is another user's, has nothing to read.
        let environment = std::fs::read(process?.path().join("environ")).unwrap_or_default();
        count += usize::from(String::from_utf8_lossy(&environment).contains(&state));
    }
    Ok(count)
}

#[test]
fn a_demonstration_that_is_terminated_takes_its_gateway_along() -> Result<()> {
    let output = ended_by(|demo| demo.signal(Signal::Term))?;
    let last = output.lines().last().unwrap_or_default();
    assert_eq!(last, "lost 0   doubled 0   outbox depth 0", "{output}");
    Ok(())
}
