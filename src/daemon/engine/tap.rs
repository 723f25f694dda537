//! Copies of what the core is given, for whoever records them or looks at tags.
//!
//! They never hold anything up: what the other end does not take in time is left out, and how much it was is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use floorgate_adapter_api::{Answer, Sample};
use floorgate_core::plan::{Plan, Priority};
use floorgate_core::{Core, Input, Now};
use floorgate_workbench::recording::{Call, Entry, Names, state_of};

/// Entries that may wait.
const MOST_ENTRIES: usize = 4096;
/// Samples that may wait: a few megabytes.
const MOST_SAMPLES: usize = 65_536;
/// For so long nothing is recorded at most, so that a recording tells how long it lasted.
const QUIET: Duration = Duration::from_secs(1);

/// Everyone who takes copies.
#[derive(Default)]
pub struct Taps(Vec<Tap>);

impl Taps {
    /// Gives copies to one more, once the timers have run.
    pub fn add(&mut self, tap: Tap) {
        self.0.push(tap);
    }

    /// Has all of them do it.
    pub fn each(&mut self, tell: impl FnMut(&mut Tap)) {
        self.0.iter_mut().for_each(tell);
    }

    /// What is behind the timers' turn can be told as it stands.
    pub fn begin(&mut self, core: &mut Core, now: Now) {
        self.0.iter_mut().for_each(|tap| tap.begin(core, now));
        self.0.retain(|tap| !tap.is_over);
    }
}

/// The end that takes.
pub struct Taken {
    entries: Receiver<Vec<Entry>>,
    waiting: Arc<AtomicUsize>,
}

/// The engine's end.
pub struct Tap {
    entries: SyncSender<Vec<Entry>>,
    waiting: Arc<AtomicUsize>,
    /// Samples of calls that had no room since the last entry, where there were any.
    left_out: Option<u64>,
    /// Whether the core's cells are part of the beginning.
    with_cells: bool,
    /// Whether the beginning was given.
    has_begun: bool,
    /// Nobody takes any more.
    is_over: bool,
    last: Duration,
}

/// The two ends; the beginning has the core's cells where another core is to go on from there.
pub fn tap(with_cells: bool) -> (Tap, Taken) {
    let (sender, receiver) = sync_channel(MOST_ENTRIES);
    let waiting = Arc::new(AtomicUsize::new(0));
    let tap = Tap {
        entries: sender,
        waiting: Arc::clone(&waiting),
        left_out: None,
        with_cells,
        has_begun: false,
        is_over: false,
        last: Duration::ZERO,
    };
    let taken = Taken {
        entries: receiver,
        waiting,
    };
    (tap, taken)
}

fn samples_of(entries: &[Entry]) -> usize {
    let samples = entries.iter().map(|entry| match entry {
        Entry::Call(Call::Apply { samples, .. } | Call::Answer { samples, .. }) => samples.len(),
        _ => 0,
    });
    samples.sum()
}

impl Taken {
    /// Waits for entries that long; none came in time, or `Err` where none will come any more.
    pub fn next(&self, within: Duration) -> Result<Option<Vec<Entry>>, ()> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.entries.recv_timeout(within) {
            Ok(entries) => {
                self.waiting.fetch_sub(samples_of(&entries), Ordering::Relaxed);
                Ok(Some(entries))
            }
            Err(Timeout) => Ok(None),
            Err(Disconnected) => Err(()),
        }
    }
}

impl Tap {
    /// Says how the core stands, the first time that it has run its timers up to now.
    pub fn begin(&mut self, core: &mut Core, now: Now) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let entries = state_of(core, now, self.with_cells);
        self.send(now, entries);
    }

    /// The core is given a batch.
    pub fn apply(&mut self, input: Input<'_>) {
        if self.has_room(input.samples) {
            let call = Call::Apply {
                source: input.source,
                now: input.now,
                received: input.received,
                notices: input.notices.to_vec(),
                samples: input.samples.to_vec(),
            };
            self.send(input.now, vec![Entry::Call(call)]);
        }
    }

    /// The core is given an answer to a request of a rule.
    pub fn answer(&mut self, answer: &Answer, rule: Option<&Arc<str>>, input: Input<'_>) {
        if self.has_room(input.samples) {
            let call = Call::Answer {
                source: input.source,
                now: input.now,
                received: input.received,
                request: answer.request,
                rule: rule.cloned(),
                result: answer.result.clone(),
                samples: input.samples.to_vec(),
            };
            self.send(input.now, vec![Entry::Call(call)]);
        }
    }

    /// The core runs its timers: it is told where any are due.
    pub fn advance(&mut self, due: Option<Duration>, now: Now) {
        let is_quiet = now.monotonic.saturating_sub(self.last) >= QUIET;
        if self.has_begun && (is_quiet || due.is_some_and(|due| due <= now.monotonic)) {
            self.send(now, vec![Entry::Call(Call::Advance { now })]);
        }
    }

    /// From now on numbers are those of another plan.
    pub fn rename(&mut self, plan: &Plan, now: Now) {
        if self.has_begun {
            self.send(now, vec![Entry::Names(Names::of(plan))]);
        }
    }

    /// From now on events below this priority are left out.
    pub fn leave_out_below(&mut self, least: Option<Priority>, now: Now) {
        if self.has_begun {
            self.send(now, vec![Entry::Call(Call::LeaveOutBelow { least })]);
        }
    }

    /// Whether there is room for samples; where there is none, they are counted.
    fn has_room(&mut self, samples: &[Sample]) -> bool {
        let has_room = self.waiting.load(Ordering::Relaxed) + samples.len() <= MOST_SAMPLES;
        if self.has_begun && !has_room {
            *self.left_out.get_or_insert(0) += samples.len() as u64;
        }
        self.has_begun && has_room
    }

    fn send(&mut self, now: Now, mut entries: Vec<Entry>) {
        self.last = now.monotonic;
        let samples = samples_of(&entries);
        if let Some(samples) = self.left_out {
            entries.insert(0, Entry::Hole(samples));
        }
        self.waiting.fetch_add(samples, Ordering::Relaxed);
        match self.entries.try_send(entries) {
            Ok(()) => self.left_out = None,
            Err(TrySendError::Full(_)) => {
                self.waiting.fetch_sub(samples, Ordering::Relaxed);
                *self.left_out.get_or_insert(0) += samples as u64;
            }
            Err(TrySendError::Disconnected(_)) => self.is_over = true,
        }
    }
}
