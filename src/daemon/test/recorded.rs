//! `floorgate test --record`: a test of a part of a recording.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use floorgate_sample::Timestamp;
use floorgate_workbench::cases::{self, Moment, Part, RecordError, Recorded};
use floorgate_workbench::recording::Recording;
use floorgate_yaml::Duration;

use crate::exit::Refused;
use crate::printing::print;
use crate::registry::ADAPTERS;

/// When a part of a recording begins: a time, or how long after the recording's beginning.
#[derive(Clone, Copy, Debug)]
pub struct At(Moment);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(after) = text.parse::<Duration>() {
            return Ok(Self(Moment::Beginning(after.get())));
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            format!("{text:?} is neither a time, such as 2026-05-04T06:00:00Z, nor a length of time after the beginning, such as 90s")
        })?;
        let nanos =
            i64::try_from(time.as_nanosecond()).map_err(|_| format!("{text} is beyond the year 2261"))?;
        Ok(Self(Moment::Time(Timestamp::from_nanos(nanos))))
    }
}

/// Prints a file with a test of a part of a recording.
pub fn record(recording: &Path, mappings: &[PathBuf], at: At, length: Duration) -> anyhow::Result<()> {
    if let Some(folder) = mappings.iter().find(|path| path.is_dir()) {
        eprintln!(
            "floorgate: {} is a folder: name the mapping that the test is of, such as mappings/filling-line.yaml",
            folder.display()
        );
        return Err(Refused.into());
    }
    let file = File::open(recording).with_context(|| format!("cannot read {}", recording.display()))?;
    let part = Part {
        from: at.0,
        length: length.get(),
    };
    let mut recording_of =
        Recording::open(BufReader::new(file)).with_context(|| recording.display().to_string())?;
    let Recorded { text, notes } = match cases::record(&mut recording_of, mappings, part, ADAPTERS) {
        Ok(recorded) => recorded,
        Err(RecordError::Mapping(problems)) => {
            eprint!("{}", problems.render(io::stderr().is_terminal()));
            return Err(Refused.into());
        }
        Err(error) => return Err(anyhow::Error::from(error).context(recording.display().to_string())),
    };
    print(&text)?;
    for note in notes {
        eprintln!("note: {note}");
    }
    Ok(())
}
