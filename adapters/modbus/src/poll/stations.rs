//! How the units stand, for people: shown when it is another than it was.

use std::time::Duration;

use floorgate_adapter_api::{Attempt, Reason, StationState};
use tokio::time::Instant;

use super::{Poller, Presence};
use crate::unit::Unit;

/// How a unit stands, what it failed with, and when it is tried again after which pause.
type Standing<'a> = (StationState, Option<&'a Reason>, Option<(Instant, Duration)>);

fn name(unit: u8) -> String {
    format!("unit {unit}")
}

fn attempt((at, pause): (Instant, Duration)) -> Attempt {
    Attempt::within(at.saturating_duration_since(Instant::now()), pause)
}

impl Poller {
    /// All units that are polled are there to be shown, and nothing is known of them. What is only read on demand is not: nobody knows how
    /// it stands until somebody asks.
    pub(super) fn begin_showing(&self) {
        let names = self.polled().map(|unit| name(unit.id));
        self.context.metrics.begin_stations(names);
    }

    fn polled(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|unit| self.is_polled(unit.id))
    }

    /// Shows how a unit stands, where it is polled.
    pub(super) fn show(&mut self, unit: u8) {
        if !self.is_polled(unit) {
            return;
        }
        let Ok(place) = self.units.binary_search_by_key(&unit, |unit| unit.id) else {
            return;
        };
        let (state, error, next) = self.stands(&self.units[place]);
        let shown = Some((state, next.map(|(at, _)| at)));
        if self.units[place].shown == shown {
            return;
        }
        let error = error.map(Reason::words);
        self.context
            .metrics
            .station(&name(unit), state, error, next.map(attempt));
        self.units[place].shown = shown;
    }

    /// Shows how all units stand, and when a source that is away is tried again.
    pub(super) fn show_all(&mut self) {
        let units: Vec<u8> = self.units.iter().map(|unit| unit.id).collect();
        for unit in units {
            self.show(unit);
        }
        let is_away = self.presence != Presence::Online;
        let next = self.polled().filter_map(|unit| self.next_try(unit));
        let next = next.min_by_key(|(at, _)| *at).filter(|_| is_away);
        let failure = self.loss.as_ref().filter(|_| is_away);
        self.context
            .metrics
            .attempt(next.map(attempt), failure.map(Reason::words));
    }

    fn stands<'a>(&'a self, unit: &'a Unit) -> Standing<'a> {
        let is_away = self.presence == Presence::Offline;
        let (state, error) = match &unit.trouble {
            Some(trouble) if trouble.told || is_away => (StationState::Offline, Some(&trouble.reason)),
            Some(trouble) => (StationState::LeftAlone, Some(&trouble.reason)),
            None if unit.is_heard => (StationState::Online, None),
            None if is_away => (StationState::Offline, self.loss.as_ref()),
            None => (StationState::Connecting, None),
        };
        let next = self.next_try(unit).filter(|_| state != StationState::Online);
        (state, error, next)
    }

    /// When a unit is tried again: neither before its own pause nor before that of the connection is over.
    fn next_try(&self, unit: &Unit) -> Option<(Instant, Duration)> {
        let own = unit.trouble.as_ref();
        let own = own.map(|trouble| (trouble.next_try, trouble.pause));
        let is_waited_for = !self.link.is_open() && self.presence == Presence::Offline;
        let link = is_waited_for.then_some((self.link_retry, self.link_pause));
        let link = link.filter(|(_, pause)| !pause.is_zero());
        own.into_iter().chain(link).max_by_key(|(at, _)| *at)
    }
}
