//! A program under test.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::wait::{Patience, fail, failed, until};

/// A signal that a test sends.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Re-read the configuration.
    Hup,
    /// Stop in order.
    Term,
    /// Die at once.
    Kill,
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
}

impl Signal {
    /// Sends it to a process.
    pub(crate) fn send(self, process: u32) -> Result<()> {
        let name = match self {
            Self::Hup => "HUP",
            Self::Term => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        };
        let sent = Command::new("sh")
            .args(["-c", "kill -$0 $1", name, &process.to_string()])
            .status()?;
        ensure!(sent.success(), "cannot send SIG{name} to process {process}");
        Ok(())
    }
}

/// A running program whose output goes to a file.
///
/// It dies with the test process: beside it, in its process group, a shell waits for the end of a pipe whose other
/// end this handle holds, and kills it then. (`prctl(PR_SET_PDEATHSIG)` would fire when the *thread* that started it
/// ends, which in a test harness is a test.)
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// The shell becomes the program, so that the program has the pid that is known here.
const GUARD: &str = r#"
exec 3<&0 </dev/null
{ read -r _ || kill -KILL $$; } <&3 >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"#;

impl Process {
    /// Starts a program; both its outputs are appended to `log`.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut guarded = Command::new("sh");
        guarded
            .args(["-c", GUARD, "guard"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guarded.current_dir(folder);
        }
        let child = guarded.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it has now, in bytes.
    pub fn memory(&self) -> Result<u64> {
        self.bytes_of("VmRSS:")
    }

    /// The most memory that it ever had, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        self.bytes_of("VmHWM:")
    }

    /// A figure of the kernel.
    fn bytes_of(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kibibytes
            .with_context(|| format!("no {name} in {path}"))?
            .parse::<u64>()?
            * 1024)
    }

    /// What it wrote so far.
    pub fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal; an error when the program has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(self.is_running()?, "{} has ended: {}", self.name, self.output()?);
        signal.send(self.id())
    }

    /// Sends SIGINT to it and all that it started in its group, as Ctrl-C in a terminal does.
    pub fn interrupt(&mut self) -> Result<()> {
        ensure!(self.is_running()?, "{} has ended: {}", self.name, self.output()?);
        let sent = Command::new("sh")
            .args(["-c", "kill -s INT -- -$0", &self.id().to_string()])
            .status()?;
        ensure!(sent.success(), "cannot interrupt {}", self.name);
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.release();
                return Ok(status);
            }
            if started.elapsed() >= limit {
                let output = self.output()?;
                return Err(fail(anyhow!(
                    "{} still runs after {limit:?}: {output}",
                    self.name
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        if self.is_running()? {
            self.signal(Signal::Kill)?;
        }
        self.wait(Patience::Short.duration()).map(drop)
    }

    /// Waits until its output contains a text; an error when it ends first.
    pub fn wait_for_output(&mut self, text: &str, patience: Patience) -> Result<()> {
        let what = format!("{text:?} in the output of {}", self.name);
        until(&what, patience, || {
            // The order matters: what it wrote before its end counts.
            let running = self.is_running()?;
            let output = self.output()?;
            if output.contains(text) {
                return Ok(Some(()));
            }
            ensure!(running, "{} has ended: {output}", self.name);
            Ok(None)
        })
    }

    /// Closes the pipe that the guard watches, as the kernel does when the test process dies.
    pub fn abandon(&mut self) {
        self.child.stdin = None;
    }

    /// Lets the guard go without a kill: the pid may soon be another's.
    fn release(&mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            // The guard may have been killed with the group: then there is nothing to let go.
            let _ = pipe.write_all(b"ended\n");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("cannot end {}: {error:#}", self.name);
        }
        if failed()
            && let Ok(output) = self.output()
        {
            let lines: Vec<&str> = output.lines().collect();
            let tail = lines.len().saturating_sub(60);
            eprintln!(
                "--- the end of {}'s output\n{}\n---",
                self.name,
                lines[tail..].join("\n")
            );
        }
    }
}
