//! The program under test.

use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::folder::Folder;
use crate::http::{Response, get};
use crate::installation::binary;
use crate::ports::free_port;
use crate::process::{Process, Signal};
use crate::wait::{Patience, until};

/// What `floorgate check` said.
#[derive(Clone, Debug)]
pub struct Check {
    /// The exit code.
    pub code: Option<i32>,
    /// Both outputs, one after the other.
    pub output: String,
}

/// A gateway with a folder of its own for configuration and state. In the texts of the configuration, `{state}` stands
/// for the state folder and `{http}` for the port of its HTTP server.
#[derive(Debug)]
pub struct Gateway {
    http: u16,
    program: PathBuf,
    variables: Vec<(&'static str, PathBuf)>,
    process: Option<Process>,
    // Deleted after the process is gone.
    folder: Folder,
}

impl Gateway {
    /// How long a stop on SIGTERM may take.
    pub const STOP_LIMIT: Duration = Duration::from_secs(10);

    /// Writes the configuration and mappings (file name and text each); starts nothing.
    pub fn new(settings: &str, mappings: &[(&str, &str)]) -> Result<Self> {
        let gateway = Self {
            http: free_port()?,
            program: binary("floorgate")?,
            variables: Vec::new(),
            process: None,
            folder: Folder::new("gateway")?,
        };
        gateway.write("floorgate.yaml", settings)?;
        for (name, text) in mappings {
            gateway.write(&format!("mappings/{name}"), text)?;
        }
        Ok(gateway)
    }

    /// The same with another program than the one that is built beside the tests.
    #[must_use]
    pub fn with_program(mut self, program: &Path) -> Self {
        self.program = program.to_path_buf();
        self
    }

    /// Writes a file of the configuration folder, with `{state}` and `{http}` filled in.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let state = self.state().display().to_string();
        let text = text
            .replace("{state}", &state)
            .replace("{http}", &self.http.to_string());
        self.folder.write(name, &text)
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The configuration's path.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("floorgate.yaml")
    }

    /// A command of the program, with `--config` appended.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .arg("--config")
            .arg(self.config())
            .current_dir(self.folder.path());
        // Settings of the machine's own must not change a test.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLOORGATE_") {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().cloned());
        Ok(command)
    }

    /// Sets a variable of the environment for all commands from now on.
    pub fn set_variable(&mut self, name: &'static str, value: PathBuf) {
        self.variables.push((name, value));
    }

    /// Starts `floorgate run` and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts `floorgate run` without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        let command = self.command(&["run"])?;
        self.process = Some(Process::start("floorgate", &command, &self.log())?);
        Ok(())
    }

    /// Waits until `/readyz` answers 200.
    pub fn wait_ready(&mut self) -> Result<()> {
        let port = self.http;
        let process = self.process()?;
        until("/readyz", Patience::Short, || {
            anyhow::ensure!(
                process.is_running()?,
                "floorgate has ended: {}",
                process.output()?
            );
            Ok(get(port, "/readyz")
                .ok()
                .filter(|answer| answer.status == 200)
                .map(drop))
        })
        .with_context(|| self.output().unwrap_or_default())
    }

    /// Runs `floorgate check` on the configuration.
    pub fn check(&self) -> Result<Check> {
        let output = self.command(&["check"])?.output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Check {
            code: output.status.code(),
            output: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.process()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// Asks it to stop (SIGTERM), waits for the end, and says how it ended and how long that took.
    pub fn stop(&mut self) -> Result<(ExitStatus, Duration)> {
        let started = Instant::now();
        let process = self.process()?;
        process.signal(Signal::Term)?;
        let status = process.wait(Self::STOP_LIMIT * 2)?;
        self.process = None;
        Ok((status, started.elapsed()))
    }

    /// Asks it to read its configuration again (SIGHUP).
    pub fn reload(&mut self) -> Result<()> {
        self.process()?.signal(Signal::Hup)
    }

    /// The running process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("floorgate does not run")
    }

    /// All that it wrote to its outputs, over all its starts.
    pub fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.log())?).into_owned())
    }

    /// GETs a path of its HTTP server.
    pub fn get(&self, path: &str) -> Result<Response> {
        get(self.http, path)
    }

    /// The value of a metric's line, found by the beginning of the line (name and labels); `None` when there is none.
    pub fn metric(&self, line: &str) -> Result<Option<f64>> {
        let body = self.get("/metrics")?.body;
        let found = body
            .lines()
            .find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
        found
            .map(|value| value.trim().parse().with_context(|| format!("{line} {value}")))
            .transpose()
    }

    /// Waits until a metric's line has a value within the range.
    pub fn wait_for_metric(
        &self,
        line: &str,
        range: impl RangeBounds<f64>,
        patience: Patience,
    ) -> Result<()> {
        let mut last = None;
        until(&format!("the metric {line}"), patience, || {
            last = self.metric(line)?;
            Ok(last.filter(|value| range.contains(value)).map(drop))
        })
        .with_context(|| format!("it was {last:?} in the end"))
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("floorgate.log")
    }
}
