//! A gateway without clock, network and disk: a core, the cells that outlive it, and the time of the case.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use floorgate_config::Loaded;
use floorgate_core::plan::{Plan, Priority};
use floorgate_core::{Core, Encoding, Event, Input, Now, Request, Settings};
use floorgate_sample::{Answer, Continuity, Notice, Sample, SourceId, Timestamp};

use super::reader::{Action, Step};

/// The time 0 of every case: 2026-01-01T00:00:00Z.
pub(super) const ORIGIN: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);

/// Runs of the timers in one step after which they are taken to make each other due for ever.
const MOST_TIMERS: usize = 100_000;

/// What came out, and when.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Event(Duration, Box<Event>),
    /// What a rule could not do, and why.
    Failure(Duration, String),
}

impl Told {
    pub(super) fn is_of_a_source(&self) -> bool {
        matches!(self, Self::Event(_, event) if &*event.name == "SourceConnectionChanged")
    }
}

/// A core whose cells survive it.
pub(super) struct Gateway {
    plan: Arc<Plan>,
    type_prefix: Arc<str>,
    core: Core,
    cells: HashMap<Arc<str>, String>,
    /// How many processes there were: each has an incarnation of its own.
    processes: u64,
    /// When the process started.
    started: Duration,
    now: Duration,
    online: BTreeSet<usize>,
    /// Sources that began anew and have not sent anything since.
    silent: BTreeSet<usize>,
    /// Rules below this priority make no events.
    least: Option<Priority>,
    /// What sources are asked for and have not answered.
    asked: Vec<Request>,
    pub(super) told: Vec<Told>,
}

fn core(plan: &Arc<Plan>, type_prefix: &Arc<str>, process: u64, cells: &HashMap<Arc<str>, String>) -> Core {
    let incarnation = format!("00000000-0000-4000-8000-{process:012x}");
    let settings = Settings {
        gateway: "test".into(),
        type_prefix: Arc::clone(type_prefix),
        encoding: Encoding::Binary,
        stream_epoch: 1,
        incarnation: incarnation.parse().expect("an id"),
    };
    Core::new(Arc::clone(plan), settings, &|key| cells.get(key).cloned())
}

impl Gateway {
    pub(super) fn new(loaded: &Loaded) -> Self {
        let type_prefix: Arc<str> = loaded.settings.events.type_prefix.value.as_str().into();
        let cells = HashMap::new();
        Self {
            core: core(&loaded.plan, &type_prefix, 1, &cells),
            plan: Arc::clone(&loaded.plan),
            type_prefix,
            cells,
            processes: 1,
            started: Duration::ZERO,
            now: Duration::ZERO,
            online: BTreeSet::new(),
            silent: BTreeSet::new(),
            least: None,
            asked: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Brings every source online of which the steps do not say that it comes online first.
    pub(super) fn begin(&mut self, steps: &[Step]) {
        for (number, _) in (0..).map(SourceId).zip(&Arc::clone(&self.plan).sources) {
            let first = steps
                .iter()
                .flat_map(|step| &step.actions)
                .find_map(|action| match action {
                    Action::Batch { source, notices, .. } if *source == number => notices
                        .iter()
                        .find(|notice| !matches!(notice, Notice::Gap { .. })),
                    _ => None,
                });
            if !matches!(first, Some(Notice::Online(_))) {
                self.apply(number, &[Notice::Online(Continuity::New)], &[]);
            }
        }
        // Of what was never sent nothing is known, whatever a source says.
        self.silent.clear();
    }

    /// Lets everything happen that is due before the step, and then the step.
    pub(super) fn take(&mut self, step: &Step) -> Result<(), String> {
        self.timers(step.at)?;
        self.now = step.at;
        for action in &step.actions {
            match action {
                Action::Batch {
                    source,
                    notices,
                    samples,
                } => self.apply(*source, notices, samples),
                Action::Answer { source, samples } => self.answer(*source, samples.as_deref())?,
                Action::LeaveOutBelow(least) => {
                    self.least = *least;
                    self.core.leave_out_below(*least);
                }
                Action::Restart { after, continuity } => {
                    self.now += *after;
                    self.restart(*continuity);
                }
            }
        }
        // What can be made up for is due at once.
        self.timers(self.now)
    }

    /// A restart between two steps that takes no time, and of which no source has missed anything. There is none while a source
    /// that began anew has not sent anything: it cannot say then that nothing is to come.
    pub(super) fn restart_unnoticed(&mut self) -> Result<(), String> {
        if !self.silent.is_empty() {
            return Ok(());
        }
        self.restart(Continuity::Resumed);
        self.timers(self.now)
    }

    fn answer(&mut self, source: SourceId, samples: Option<&[Sample]>) -> Result<(), String> {
        self.asked.extend(self.core.take_requests());
        let (asked, others) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition::<Vec<_>, _>(|request| request.source == source);
        self.asked = others;
        if asked.is_empty() {
            return Err(format!("at {:?} nothing is read: no rule asks for it", self.now));
        }
        for request in asked {
            let answer = Answer {
                request: request.id,
                result: samples.map(|_| ()).ok_or_else(|| "the device is busy".to_owned()),
            };
            let now = self.clock();
            let input = Input {
                source,
                received: now.wall,
                notices: &[],
                samples: samples.unwrap_or_default(),
                now,
            };
            let mut events = Vec::new();
            self.core.answer(&answer, input, &mut events);
            self.keep(events);
        }
        Ok(())
    }

    fn restart(&mut self, continuity: Continuity) {
        self.store();
        self.processes += 1;
        self.started = self.now;
        self.core = core(&self.plan, &self.type_prefix, self.processes, &self.cells);
        self.core.leave_out_below(self.least);
        self.asked.clear();
        for source in self.online.clone() {
            let mut notices = vec![Notice::Online(continuity)];
            if continuity == Continuity::Resumed {
                notices.push(Notice::CaughtUp);
            }
            let source = SourceId(u16::try_from(source).expect("a source's number"));
            self.apply(source, &notices, &[]);
        }
    }

    /// Runs the timers that are due until then, each at its time.
    fn timers(&mut self, until: Duration) -> Result<(), String> {
        for _ in 0..MOST_TIMERS {
            let Some(deadline) = self.core.next_deadline().map(|due| self.started + due) else {
                return Ok(());
            };
            if deadline > until {
                return Ok(());
            }
            self.now = self.now.max(deadline);
            let mut events = Vec::new();
            self.core.advance(self.clock(), &mut events);
            self.keep(events);
        }
        Err(format!("timers do not come to rest at {:?}", self.now))
    }

    fn apply(&mut self, source: SourceId, notices: &[Notice], samples: &[Sample]) {
        for notice in notices {
            match notice {
                Notice::Online(continuity) => {
                    self.online.insert(source.index());
                    if *continuity == Continuity::New {
                        self.silent.insert(source.index());
                    }
                }
                Notice::Offline { .. } | Notice::Stale { .. } => {
                    self.online.remove(&source.index());
                    self.silent.remove(&source.index());
                }
                Notice::CaughtUp | Notice::Gap { .. } => {}
            }
        }
        if !samples.is_empty() {
            self.silent.remove(&source.index());
        }
        let now = self.clock();
        let input = Input {
            source,
            received: now.wall,
            notices,
            samples,
            now,
        };
        let mut events = Vec::new();
        self.core.apply(input, &mut events);
        self.keep(events);
    }

    fn keep(&mut self, events: Vec<Event>) {
        let at = self.now;
        self.told
            .extend(events.into_iter().map(|event| Told::Event(at, Box::new(event))));
        let failures = self.core.take_failures();
        let told = failures.first.len() as u64;
        let first = failures.first.into_iter();
        self.told
            .extend(first.map(|failure| Told::Failure(at, format!("{}: {}", failure.rule, failure.reason))));
        if failures.count > told {
            let more = format!("and {} more", failures.count - told);
            self.told.push(Told::Failure(at, more));
        }
        self.store();
    }

    fn store(&mut self) {
        let mut cells = Vec::new();
        self.core.save(&mut cells);
        self.cells.extend(cells);
    }

    fn clock(&self) -> Now {
        Now {
            wall: ORIGIN.after(self.now),
            monotonic: self.now.saturating_sub(self.started),
        }
    }
}
