//! A machine with systemd, for what only a service manager shows.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::folder::Folder;
use crate::installation::repository;
use crate::wait::{Patience, until};

/// A real systemd as PID 1 of its own namespaces, over a copy-on-write view of this machine (`tests/systemd/boot.sh`).
/// It ends, and everything that changed in it is gone, when this handle is dropped or the test process dies.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    pid: String,
    // Deleted after the machine is gone.
    folder: Folder,
}

impl Machine {
    /// Why this machine cannot boot another, `None` where it can.
    #[must_use]
    pub fn missing() -> Option<&'static str> {
        if std::fs::metadata("/proc/self").map_or(1, |own| own.uid()) != 0 {
            return Some("a systemd of its own needs root");
        }
        if !PathBuf::from("/lib/systemd/systemd").exists() {
            return Some("there is no /lib/systemd/systemd");
        }
        None
    }

    /// Boots it. The repository and the folders of `visible` are seen inside under their own paths, read-only.
    pub fn boot(visible: &[PathBuf]) -> Result<Self> {
        let folder = Folder::new("machine")?;
        let log = File::create(folder.path().join("boot.log"))?;
        let mut child = Command::new(repository().join("tests/systemd/boot.sh"))
            .arg(folder.path().join("view"))
            .arg(repository().canonicalize()?)
            .args(visible)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let pid = line.trim().strip_prefix("booted ").unwrap_or_default().to_owned();
        let machine = Self { child, pid, folder };
        if machine.pid.is_empty() {
            let log = std::fs::read_to_string(machine.folder.path().join("boot.log"))?;
            bail!("it does not boot: {log}");
        }
        until("the machine's start", Patience::Long, || {
            let state = machine.run(&["systemctl", "is-system-running"])?;
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            ensure!(
                state != "degraded",
                "units failed: {}",
                machine.text(&["systemctl", "--failed"])?
            );
            Ok((state == "running").then_some(()))
        })?;
        Ok(machine)
    }

    /// Runs a program inside.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target", &self.pid, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd",
                "--",
            ])
            .args(words)
            .stdin(Stdio::null());
        command.output().with_context(|| format!("cannot run {words:?}"))
    }

    /// Runs a program inside that must succeed, and gives what it wrote.
    pub fn text(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words)?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
            .trim()
            .to_owned();
        ensure!(
            output.status.success(),
            "{words:?} ended with {}: {text}",
            output.status
        );
        Ok(text)
    }

    /// Writes a file inside.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        self.text(&[
            "sh",
            "-c",
            "mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" >\"$1\"",
            "write",
            path,
            text,
        ])
        .map(drop)
    }

    /// A property of a unit, as `systemctl show` gives it.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        self.text(&["systemctl", "show", "--value", "--property", name, unit])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The script ends with its standard input, and takes the machine and its control groups with it.
        self.child.stdin = None;
        if let Err(error) = self.child.wait() {
            eprintln!("cannot end the machine: {error}");
        }
    }
}
