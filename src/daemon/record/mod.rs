//! `floorgate record`: what the gateway is given, in a file. From the gateway that runs, or else from the sources themselves.

mod alone;
mod pump;
mod tally;

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use floorgate_workbench::recording::Recording;

use crate::check;
use crate::cli::ConfigArgs;
use crate::control::{self, Request};
use tally::Tally;

#[cfg(test)]
pub use pump::pack;
pub use pump::pump;

/// How long what was recorded may wait for its block to be full: that much a power cut costs, and small blocks pack badly.
pub const LONGEST_BLOCK: Duration = Duration::from_secs(5);

/// What is recorded, and where to.
#[derive(Debug, Args)]
pub struct RecordOptions {
    #[command(flatten)]
    config: ConfigArgs,
    /// The file that is written; it must not be there yet.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How long to record, such as `10m`; until Ctrl-C without it.
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<floorgate_yaml::Duration>,
    /// Print what was recorded as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Records until the time is over, Ctrl-C, or the gateway stops.
pub fn record(options: &RecordOptions) -> anyhow::Result<()> {
    let loaded = check::read(&options.config.config)?;
    let socket = control::socket(&loaded.state_dir());
    let lasts = options.lasts.map(Duration::from);
    let file = File::create_new(&options.output).with_context(|| {
        format!(
            "cannot create {}; name a file that is not there yet",
            options.output.display()
        )
    })?;
    let recorded = if let Some(stream) = control::connect(&socket)? {
        from_gateway(stream, &socket, lasts, &file)
    } else {
        eprintln!("No gateway runs here: connecting to its sources instead.");
        alone::record(loaded, lasts, &file)
    };
    let tally = match recorded {
        Ok(tally) => tally,
        Err(error) => {
            let is_empty = file.metadata().is_ok_and(|file| file.len() == 0);
            if is_empty {
                // Nothing is in it, and it would be in the way of the next try.
                let _ = std::fs::remove_file(&options.output);
            }
            return Err(error);
        }
    };
    let bytes = file.metadata().map_or(0, |file| file.len());
    tally.print(&options.output, bytes, options.json)
}

/// Lets the running gateway record, which goes on with its work.
fn from_gateway(
    mut stream: UnixStream,
    socket: &Path,
    lasts: Option<Duration>,
    file: &File,
) -> anyhow::Result<Tally> {
    let end = stream.try_clone()?;
    control::begin_stream(&mut stream, socket, &Request::Record)?;
    let runtime = ends_at(lasts, move || {
        // The gateway sends what it has, and closes its end.
        let _ = end.shutdown(Shutdown::Write);
    })?;
    let recorded = write(stream, file);
    runtime.shutdown_background();
    recorded
}

/// Calls `end` when the time is over, or at Ctrl-C.
pub fn ends_at(
    lasts: Option<Duration>,
    end: impl FnOnce() + Send + 'static,
) -> anyhow::Result<tokio::runtime::Runtime> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let _entered = runtime.enter();
    let (mut interrupt, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    runtime.spawn(async move {
        let over = async {
            match lasts {
                Some(lasts) => tokio::time::sleep(lasts).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            _ = interrupt.recv() => {}
            _ = term.recv() => {}
        }
        end();
    });
    Ok(runtime)
}

/// Writes a recording as it comes, and counts what is in it.
fn write(from: impl Read, file: &File) -> anyhow::Result<Tally> {
    let tee = Tee { from, to: file };
    let mut recording = Recording::open(tee).context("the gateway sent no recording")?;
    let mut tally = Tally::new(io::stderr().is_terminal());
    while let Some(entries) = recording.next_block()? {
        tally.add(&entries);
    }
    anyhow::ensure!(
        !recording.is_cut(),
        "the recording ended in the middle of a block; what is in the file is whole up to there"
    );
    tally.finish();
    Ok(tally)
}

/// Hands on what it reads, and writes it too.
struct Tee<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.to.write_all(&buffer[..read])?;
        Ok(read)
    }
}
