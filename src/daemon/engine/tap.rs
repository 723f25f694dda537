//! Copies of what the core is given, for whoever records them or looks at tags.
//!
//! They never hold anything up: what the other end does not take in time is left out, and how much it was is told. Samples are left out, and
//! what time alone makes; what sources say of themselves, that a request is answered, and that numbers are those of another plan are told
//! whatever waits, since all behind it would mean something else without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use floorgate_adapter_api::{Answer, Sample, Value};
use floorgate_core::plan::{Plan, Priority};
use floorgate_core::{Core, Input, Now};
use floorgate_workbench::recording::{Call, Entry, Names, state_of};

/// Entries that may wait.
const MOST_ENTRIES: usize = 4096;
/// Samples that may wait, or as much text: some megabytes.
const MOST_SAMPLES: usize = 65_536;
/// So many bytes of a text or a list count as another sample.
const A_SAMPLE: usize = 64;
/// Entries that may wait of what has to be told. A reader that is further behind gets no more.
const MOST_TOLD: usize = 2 * MOST_ENTRIES;
/// For so long nothing is recorded at most, so that a recording tells how long it lasted.
const QUIET: Duration = Duration::from_secs(1);

/// Everyone who takes copies.
#[derive(Default)]
pub struct Taps(Vec<Tap>);

impl Taps {
    /// Gives copies to one more. Nobody is waited for: of those that are added nobody may take anything any more.
    pub fn add(&mut self, tap: Tap) {
        self.drop_left();
        self.0.push(tap);
    }

    /// Has all of them do it.
    pub fn each(&mut self, tell: impl FnMut(&mut Tap)) {
        self.0.iter_mut().for_each(tell);
    }

    /// Says to those that are new how the core stands between two calls.
    pub fn begin(&mut self, core: &mut Core, now: Now) {
        self.drop_left();
        self.0.iter_mut().for_each(|tap| tap.begin(core, now));
    }

    fn drop_left(&mut self) {
        self.0.retain(|tap| !tap.is_left());
    }
}

/// What was given and not taken yet.
#[derive(Default)]
struct Waiting {
    entries: AtomicUsize,
    /// In samples.
    weight: AtomicUsize,
}

/// The end that takes.
pub struct Taken {
    entries: Receiver<(Vec<Entry>, usize)>,
    waiting: Arc<Waiting>,
}

/// The engine's end.
pub struct Tap {
    /// What is told, and what it weighs.
    entries: Sender<(Vec<Entry>, usize)>,
    waiting: Arc<Waiting>,
    /// Samples of calls that had no room since the last entry, where there were any.
    left_out: Option<u64>,
    /// Whether the core's cells are part of the beginning.
    with_cells: bool,
    /// Whether the beginning was given.
    has_begun: bool,
    /// Nobody takes any more, or too slowly.
    is_over: bool,
    last: Duration,
}

/// The two ends; the beginning has the core's cells where another core is to go on from there.
pub fn tap(with_cells: bool) -> (Tap, Taken) {
    let (sender, receiver) = channel();
    let waiting = Arc::new(Waiting::default());
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

/// What samples weigh: a text is as much as many numbers.
fn weight(samples: &[Sample]) -> usize {
    fn bytes(value: &Value) -> usize {
        match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => items.iter().map(|item| size_of::<Value>() + bytes(item)).sum(),
            Value::Record(parts) => parts
                .iter()
                .map(|(name, part)| size_of::<(Arc<str>, Value)>() + name.len() + bytes(part))
                .sum(),
            _ => 0,
        }
    }
    let weights = samples
        .iter()
        .map(|sample| 1 + sample.value.as_ref().map_or(0, bytes) / A_SAMPLE);
    weights.sum()
}

impl Taken {
    /// Waits for entries that long; none came in time, or `Err` where none will come any more.
    pub fn next(&self, within: Duration) -> Result<Option<Vec<Entry>>, ()> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.entries.recv_timeout(within) {
            Ok((entries, weight)) => {
                self.waiting.entries.fetch_sub(1, Ordering::Relaxed);
                self.waiting.weight.fetch_sub(weight, Ordering::Relaxed);
                Ok(Some(entries))
            }
            Err(Timeout) => Ok(None),
            Err(Disconnected) => Err(()),
        }
    }

    /// How often there is something to take.
    pub fn waiting(&self) -> usize {
        self.waiting.entries.load(Ordering::Relaxed)
    }
}

impl Tap {
    /// Whether nobody takes any more.
    fn is_left(&self) -> bool {
        self.is_over || Arc::strong_count(&self.waiting) == 1
    }

    /// Says how the core stands, the first time.
    pub fn begin(&mut self, core: &mut Core, now: Now) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let entries = state_of(core, now, self.with_cells);
            self.send(now, entries, 0);
        }
    }

    /// The core is given a batch.
    pub fn apply(&mut self, input: Input<'_>) {
        let weight = weight(input.samples);
        let has_room = self.has_room(weight);
        let (samples, weight) = if has_room {
            (input.samples, weight)
        } else {
            (&[][..], 0)
        };
        if has_room || !input.notices.is_empty() {
            let call = Call::Apply {
                source: input.source,
                now: input.now,
                received: input.received,
                notices: input.notices.to_vec(),
                samples: samples.to_vec(),
            };
            self.tell(input.now, Entry::Call(call), weight);
        }
        if !has_room {
            self.leave_out(input.samples.len());
        }
    }

    /// The core is given an answer to a request of a rule.
    pub fn answer(&mut self, answer: &Answer, rule: Option<&Arc<str>>, input: Input<'_>) {
        let weight = weight(input.samples);
        let (samples, weight, result) = if self.has_room(weight) {
            (input.samples, weight, answer.result.clone())
        } else {
            self.leave_out(input.samples.len());
            let reason = "the recorder had no room for what was read".to_owned();
            (&[][..], 0, Err(reason))
        };
        let call = Call::Answer {
            source: input.source,
            now: input.now,
            received: input.received,
            request: answer.request,
            rule: rule.cloned(),
            result,
            samples: samples.to_vec(),
        };
        self.tell(input.now, Entry::Call(call), weight);
    }

    /// The core runs its timers: it is told where any are due.
    pub fn advance(&mut self, due: Option<Duration>, now: Now) {
        let is_quiet = now.monotonic.saturating_sub(self.last) >= QUIET;
        if !is_quiet && due.is_none_or(|due| due > now.monotonic) {
            return;
        }
        if self.has_room(0) {
            self.tell(now, Entry::Call(Call::Advance { now }), 0);
        } else {
            self.leave_out(0);
        }
    }

    /// From now on numbers are those of another plan.
    pub fn rename(&mut self, plan: &Plan, now: Now) {
        self.tell(now, Entry::Names(Names::of(plan)), 0);
    }

    /// From now on events below this priority are left out.
    pub fn leave_out_below(&mut self, least: Option<Priority>, now: Now) {
        self.tell(now, Entry::Call(Call::LeaveOutBelow { least }), 0);
    }

    /// Whether there is room for something of this weight. What is heavier than all that may wait is taken where nothing else waits.
    fn has_room(&self, weight: usize) -> bool {
        let waiting = self.waiting.weight.load(Ordering::Relaxed);
        self.waiting.entries.load(Ordering::Relaxed) < MOST_ENTRIES
            && (waiting == 0 || waiting + weight <= MOST_SAMPLES)
    }

    /// Something is not told: where, and how many samples, stands before what is told next.
    fn leave_out(&mut self, samples: usize) {
        if self.has_begun {
            *self.left_out.get_or_insert(0) += samples as u64;
        }
    }

    fn tell(&mut self, now: Now, entry: Entry, weight: usize) {
        if self.has_begun {
            self.send(now, vec![entry], weight);
        }
    }

    fn send(&mut self, now: Now, mut entries: Vec<Entry>, weight: usize) {
        self.last = now.monotonic;
        if self.waiting.entries.load(Ordering::Relaxed) >= MOST_TOLD {
            self.is_over = true;
        }
        if self.is_over {
            return;
        }
        if let Some(samples) = self.left_out.take() {
            entries.insert(0, Entry::Hole(samples));
        }
        self.waiting.entries.fetch_add(1, Ordering::Relaxed);
        self.waiting.weight.fetch_add(weight, Ordering::Relaxed);
        self.is_over = self.entries.send((entries, weight)).is_err();
    }
}
