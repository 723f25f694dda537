//! What a test holds in its hands: a device in memory that can be set, stopped and started, and triggers.

use std::collections::{BTreeMap, BTreeSet};

use floorgate_adapter_api::{Closed, Continuity, GapScope, Notice, Quality, SourceContext, Value};
use tokio::sync::watch;

use crate::Play;
use crate::board::Board;
use crate::script::send;

/// A device in memory.
#[derive(Debug)]
pub struct Stage(watch::Sender<State>);

#[derive(Clone, Debug, Default)]
struct State {
    up: bool,
    /// How often it was started: a source that finds another number has lost it meanwhile.
    starts: u64,
    /// How often a value was set: a source that finds it further on than by one has missed something.
    sets: u64,
    values: BTreeMap<String, Value>,
    refused: BTreeSet<String>,
    /// Signals that the device does not vouch for.
    spoilt: BTreeMap<String, Quality>,
    pulled: BTreeSet<String>,
}

impl State {
    fn shown(&self, signal: &str) -> Option<(Option<Value>, Quality)> {
        if self.refused.contains(signal) {
            return Some((None, Quality::BAD_OUT_OF_RANGE));
        }
        if let Some(quality) = self.spoilt.get(signal) {
            let value = self.values.get(signal).filter(|_| !quality.is_bad());
            return Some((value.cloned(), *quality));
        }
        let value = self.values.get(signal)?;
        Some((Some(value.clone()), Quality::GOOD))
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

impl Stage {
    /// The device can be reached from now on.
    pub fn start(&self) {
        self.0.send_modify(|state| {
            state.up = true;
            state.starts += 1;
        });
    }

    /// The device is gone.
    pub fn stop(&self) {
        self.0.send_modify(|state| state.up = false);
    }

    /// Sets the value of a signal.
    pub fn set(&self, signal: &str, value: Value) {
        self.0.send_modify(|state| {
            state.values.insert(signal.to_owned(), value);
            state.spoilt.remove(signal);
            state.sets += 1;
        });
    }

    /// The device refuses this signal from now on.
    pub fn refuse(&self, signal: &str) {
        self.0.send_modify(|state| {
            state.refused.insert(signal.to_owned());
        });
    }

    /// The device does not vouch for this signal, until it is set again.
    pub fn spoil(&self, signal: &str, quality: Quality) {
        self.0.send_modify(|state| {
            state.spoilt.insert(signal.to_owned(), quality);
            state.sets += 1;
        });
    }

    /// Pulls a trigger: scripts that wait for it go on, now and later.
    pub fn pull(&self, trigger: &str) {
        self.0.send_modify(|state| {
            state.pulled.insert(trigger.to_owned());
        });
    }

    /// What a signal shows now: a value, or that it is refused.
    pub(crate) fn shown(&self, signal: &str) -> Option<(Option<Value>, Quality)> {
        self.0.borrow().shown(signal)
    }

    /// Returns when the trigger is pulled.
    pub(crate) async fn pulled(&self, trigger: &str) {
        // The sender is this one: it cannot be gone.
        let _ = self
            .0
            .subscribe()
            .wait_for(|state| state.pulled.contains(trigger))
            .await;
    }
}

/// Follows the stage: what it shows now, then every change that is seen.
pub(crate) async fn follow(play: &Play, board: &Board, context: &SourceContext) -> Result<(), Closed> {
    let mut watched = play.stage.0.subscribe();
    let mut shown: BTreeMap<String, (Option<Value>, Quality)> = BTreeMap::new();
    let mut online = None;
    let mut sets = 0;
    loop {
        let state = watched.borrow_and_update().clone();
        let mut notices = Vec::new();
        if online.is_some_and(|starts| !state.up || starts != state.starts) {
            online = None;
            let reason = "the stage was stopped".into();
            send(context, board, vec![Notice::Offline { reason }], Vec::new(), None).await?;
        }
        if state.up {
            context.metrics.requests.inc();
            if online.is_none() {
                online = Some(state.starts);
                shown.clear();
                notices.push(Notice::Online(Continuity::New));
            } else if state.sets > sets + 1 {
                let reason = format!("{} changes were not looked at", state.sets - sets - 1);
                notices.push(Notice::Gap {
                    scope: GapScope::Source,
                    reason: reason.into(),
                });
            }
            sets = state.sets;
            let samples = changed(play, board, &state, &mut shown);
            context
                .metrics
                .failed_tags
                .set(i64::try_from(state.refused.len()).unwrap_or(i64::MAX));
            if !notices.is_empty() || !samples.is_empty() {
                send(context, board, notices, samples, None).await?;
            }
        }
        if watched.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Samples of the signals that show something else than they did; `None` is a refusal.
fn changed(
    play: &Play,
    board: &Board,
    state: &State,
    shown: &mut BTreeMap<String, (Option<Value>, Quality)>,
) -> Vec<floorgate_adapter_api::Sample> {
    let mut samples = Vec::new();
    for signal in play.signals.iter().map(|shown| &shown.signal) {
        let Some(now) = state.shown(signal) else {
            continue;
        };
        if shown.get(signal) != Some(&now) {
            let (value, quality) = &now;
            samples.extend(play.samples(board, signal, value.as_ref(), *quality));
            shown.insert(signal.clone(), now);
        }
    }
    samples
}
