//! What of a source is there or away by itself, and when what is away is tried again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::settings::RevisedTags;
use crate::source::SourceMetrics;

/// How a station stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationState {
    /// Nothing was heard of it since the start, or since its source is back.
    Connecting,
    /// It answers.
    Online,
    /// It failed, and is tried again; until that fails too its values hold.
    LeftAlone,
    /// Its values are not known any more.
    Offline,
}

impl StationState {
    /// The state as it is told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Online => "online",
            Self::LeftAlone => "left alone",
            Self::Offline => "offline",
        }
    }
}

/// The next attempt at what is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it is made.
    pub at: SystemTime,
    /// The pause before it, which grows from one to the next.
    pub pause: Duration,
}

impl Attempt {
    /// One that is made so long from now, after a pause that may be over in part.
    #[must_use]
    pub fn within(left: Duration, pause: Duration) -> Self {
        let now = SystemTime::now();
        Self {
            at: now.checked_add(left).unwrap_or(now),
            pause,
        }
    }

    /// One after a pause that begins now.
    #[must_use]
    pub fn after(pause: Duration) -> Self {
        Self::within(pause, pause)
    }
}

/// A part of a source that can be away while others are there: a unit on a line of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Station {
    /// What the adapter calls it.
    pub name: String,
    /// How it stands.
    pub state: StationState,
    /// Since when.
    pub since: SystemTime,
    /// What it failed with last, in the device's or the system's own words; it stays when it is back.
    pub last_error: Option<String>,
    /// The paragraph of the adapter's runbook about that.
    pub see: Option<String>,
    /// When it is tried again.
    pub attempt: Option<Attempt>,
}

/// What an attempt failed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In the device's or the system's own words.
    pub told: String,
    /// The paragraph of the adapter's runbook about that.
    pub see: Option<String>,
}

impl Failure {
    fn new((told, see): (&str, Option<&str>)) -> Self {
        Self {
            told: told.to_owned(),
            see: see.map(str::to_owned),
        }
    }
}

/// What an adapter says of its source beside numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// When the source is tried again, where it is away.
    pub attempt: Option<Attempt>,
    /// What the last attempt at it failed with, where it is away.
    pub failure: Option<Failure>,
    /// When tags that it refuses are tried again, should there be any.
    pub retry: Option<Attempt>,
    /// Its stations, in the adapter's order.
    pub stations: Vec<Station>,
    /// What the device made of the settings of its tags.
    pub revised_tags: Arc<RevisedTags>,
}

/// The outlook of one source, which all its handles share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<Outlook>>);

impl Board {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Outlook> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SourceMetrics {
    /// A run begins with these stations, of which nothing is known, instead of those before.
    pub fn begin_stations(&self, names: impl IntoIterator<Item = String>) {
        self.forget_stations();
        for name in names {
            self.station(&name, StationState::Connecting, None, None);
        }
    }

    /// How a station stands, with what it failed with, the paragraph of the adapter's runbook about that, and when it is tried again.
    pub fn station(
        &self,
        name: &str,
        state: StationState,
        error: Option<(&str, Option<&str>)>,
        attempt: Option<Attempt>,
    ) {
        let is_up = matches!(state, StationState::Online | StationState::LeftAlone);
        self.station_up
            .with_label_values(&[self.source.as_str(), name])
            .set(is_up.into());
        let mut outlook = self.board.lock();
        let now = SystemTime::now();
        let known = outlook.stations.iter_mut().find(|station| station.name == name);
        let Some(known) = known else {
            outlook.stations.push(Station {
                name: name.to_owned(),
                state,
                since: now,
                last_error: error.map(|(error, _)| error.to_owned()),
                see: error.and_then(|(_, see)| see).map(str::to_owned),
                attempt,
            });
            return;
        };
        if known.state != state {
            known.since = now;
        }
        known.state = state;
        known.attempt = attempt;
        if let Some((error, see)) = error {
            error.clone_into(known.last_error.get_or_insert_default());
            known.see = see.map(str::to_owned);
        }
    }

    /// When the source is tried again, and what it failed with last, with the paragraph of the adapter's runbook about that; `None` where it is there.
    pub fn attempt(&self, attempt: Option<Attempt>, failure: Option<(&str, Option<&str>)>) {
        let mut outlook = self.board.lock();
        outlook.attempt = attempt;
        outlook.failure = failure.map(Failure::new);
    }

    /// What an attempt failed with, where it is not known when the next one is made.
    pub fn failed(&self, failure: (&str, Option<&str>)) {
        self.board.lock().failure = Some(Failure::new(failure));
    }

    /// When tags that it refuses are tried again; `None` where that has no time of its own.
    pub fn retry(&self, retry: Option<Attempt>) {
        self.board.lock().retry = retry;
    }

    /// What was said of the source.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        self.board.lock().clone()
    }

    /// Nothing is known of any station or attempt any more.
    fn forget_stations(&self) {
        let before = std::mem::take(&mut *self.board.lock());
        for station in before.stations {
            // Another handle may have removed it just now.
            let _ = self
                .station_up
                .remove_label_values(&[self.source.as_str(), &station.name]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_station_keeps_its_error_and_since_when_it_stands_so() -> Result<(), prometheus::Error> {
        let metrics = Metrics::new()?;
        let source = metrics.source("line");
        source.begin_stations(["unit 2".to_owned(), "unit 10".to_owned()]);
        let begun = source.outlook().stations[0].since;
        let pause = Duration::from_secs(8);
        let attempt = Some(Attempt::after(pause));
        source.station(
            "unit 2",
            StationState::Offline,
            Some(("no answer", Some("line-silent"))),
            attempt,
        );
        let lost = metrics.source("line").outlook();
        assert_eq!(lost.stations[0].last_error.as_deref(), Some("no answer"));
        assert_eq!(lost.stations[0].attempt, attempt);
        assert_eq!(
            (&*lost.stations[1].name, lost.stations[1].state),
            ("unit 10", StationState::Connecting)
        );
        assert!(lost.stations[0].since >= begun);
        source.station(
            "unit 2",
            StationState::Offline,
            Some(("reset", Some("line-broken"))),
            attempt,
        );
        assert_eq!(source.outlook().stations[0].since, lost.stations[0].since);
        source.station("unit 2", StationState::Online, None, None);
        let back = &source.outlook().stations[0];
        assert_eq!((back.last_error.as_deref(), back.attempt), (Some("reset"), None));
        assert_eq!(back.see.as_deref(), Some("line-broken"));
        let shown = |line: &str| -> Result<bool, prometheus::Error> {
            let text = prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather())?;
            Ok(text.lines().any(|shown| shown == line))
        };
        let line = |unit: u8, up: u8| {
            format!("floorgate_source_station_up{{source=\"line\",station=\"unit {unit}\"}} {up}")
        };
        assert!(shown(&line(2, 1))? && shown(&line(10, 0))?);
        // Another configuration has another one.
        source.begin_stations(["unit 3".to_owned()]);
        assert!(shown(&line(3, 0))? && !shown(&line(2, 1))? && !shown(&line(10, 0))?);
        metrics.forget_source("line");
        assert!(!shown(&line(3, 0))?);
        assert_eq!(metrics.source("line").outlook(), Outlook::default());
        Ok(())
    }
}
