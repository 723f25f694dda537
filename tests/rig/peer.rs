//! A peer written in Python, Java or for Node.js: a process and the line protocol of `tests/peers/line_protocol.py`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::installation::{python, repository, target};
use crate::process::Signal;
use crate::wait::Patience;
use crate::wire::Wire;

/// The command that runs a script of `tests/peers`; its arguments are still to be added.
pub fn peer_command(script: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command
        .arg(repository().join("tests/peers").join(script))
        // No compiled modules beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// The command that runs a script of `tests/peers/node`; its arguments are still to be added.
fn node_command(script: &str) -> Result<Command> {
    let modules = target()?.join("test/node/node_modules");
    if !modules.is_dir() {
        bail!("{} is missing: run `make setup`", modules.display());
    }
    let mut command = Command::new("node");
    command
        .arg(repository().join("tests/peers/node").join(script))
        .env("NODE_PATH", modules);
    Ok(command)
}

/// The command that runs a source file of `tests/peers/milo`; its arguments are still to be added.
fn java_command(source: &str) -> Result<Command> {
    let jars = target()?.join("test/milo");
    if !jars.is_dir() {
        bail!("{} is missing: run `make setup`", jars.display());
    }
    let mut command = Command::new("java");
    command
        // It is to start fast.
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(jars.join("*"))
        .arg(repository().join("tests/peers/milo").join(source));
    Ok(command)
}

/// The command that runs a script of `examples`; its arguments are still to be added.
pub fn example_script(script: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command
        .arg(repository().join("examples").join(script))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// A command as it runs at the far end of a wire.
fn behind(wire: &Wire, command: &Command) -> Command {
    let [program, arguments @ ..] = wire.prefix();
    let mut there = Command::new(program);
    there
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => there.env(name, value),
            None => there.env_remove(name),
        };
    }
    there
}

/// A running peer. It ends by itself when its standard input is closed, so also when the test process dies.
#[derive(Debug)]
pub(crate) struct Peer {
    script: String,
    child: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Peer {
    /// Starts a script of `tests/peers` and waits until it is ready; its errors are appended to `log`.
    pub(crate) fn start(script: &str, arguments: &[String], log: &Path) -> Result<Self> {
        Self::start_behind(None, script, arguments, log)
    }

    /// The same, at the far end of a wire where there is one.
    pub(crate) fn start_behind(
        wire: Option<&Wire>,
        script: &str,
        arguments: &[String],
        log: &Path,
    ) -> Result<Self> {
        let errors = File::options().create(true).append(true).open(log)?;
        let extension = Path::new(script).extension();
        let mut command = match extension.and_then(|extension| extension.to_str()) {
            Some("js") => node_command(script)?,
            Some("java") => java_command(script)?,
            _ => peer_command(script)?,
        };
        command.args(arguments);
        if let Some(wire) = wire {
            command = behind(wire, &command);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {script}"))?;
        let requests = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the peer's output")?);
        // A thread of its own, so that an answer that never comes is a time-out and not a test that hangs.
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let peer = Self {
            script: script.to_owned(),
            child,
            requests,
            answers,
        };
        peer.answer().with_context(|| {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            format!("{script} does not start: {log}")
        })?;
        Ok(peer)
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value> {
        let requests = self.requests.as_mut().context("the peer is stopped")?;
        writeln!(requests, "{request}").with_context(|| format!("{} has ended", self.script))?;
        self.answer()
            .with_context(|| format!("{} was asked {request}", self.script))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        signal.send(self.child.id())
    }

    /// Lets it end in order: connections are closed.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.requests = None;
        crate::wait::until("the peer's end", Patience::Short, || Ok(self.child.try_wait()?)).map(drop)
    }

    fn answer(&self) -> Result<Value> {
        let line = self
            .answers
            .recv_timeout(Patience::Long.duration())
            .map_err(|error| anyhow!("no answer: {error}"))?;
        let mut answer: Value = serde_json::from_str(&line)?;
        if let Some(error) = answer.get("error") {
            bail!("{error}");
        }
        Ok(answer["ok"].take())
    }
}

impl Drop for Peer {
    /// Kills it: its connections break as those of a device that loses power and is restarted.
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = killed {
            eprintln!("cannot end {}: {error}", self.script);
        }
    }
}
