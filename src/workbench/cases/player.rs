//! Plays steps to a gateway without clock, network and disk, and notes what comes of them.

use std::collections::BTreeSet;
use std::time::Duration;

use floorgate_core::plan::Priority;
use floorgate_core::{Event, Input, Now, Request, Settings};
use floorgate_sample::{Answer, Continuity, Notice, Sample, SourceId, Timestamp};
use floorgate_yaml::Span;

use super::steps::{Action, Step};
use super::subject::Subject;
use crate::offline::{Cells, Offline};

/// The time 0 of every case: 2026-01-01T00:00:00Z.
pub const ORIGIN: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);

/// What came out, and when.
#[derive(Clone, Debug)]
pub enum Told {
    /// An event.
    Event(Duration, Box<Event>),
    /// What a rule could not do, and why.
    Failure(Duration, String),
}

impl Told {
    /// Whether it is about a source's connection.
    #[must_use]
    pub fn is_of_a_source(&self) -> bool {
        matches!(self, Self::Event(_, event) if &*event.name == "SourceConnectionChanged")
    }
}

/// Why the steps cannot be played to their end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Stuck {
    /// The step at which it was.
    pub span: Span,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// A gateway to which steps are played.
pub struct Player {
    offline: Offline,
    /// How many processes there were: each has an incarnation of its own.
    processes: u64,
    /// When the process started.
    started: Duration,
    now: Duration,
    online: BTreeSet<SourceId>,
    /// Sources that began anew and have not sent anything since.
    silent: BTreeSet<SourceId>,
    /// Rules below this priority make no events.
    least: Option<Priority>,
    /// What sources are asked for and have not answered.
    asked: Vec<Request>,
    told: Vec<Told>,
}

fn incarnation(process: u64) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x4000_8000_0000_0000_0000 | u128::from(process))
}

impl Player {
    /// A gateway that begins anew.
    #[must_use]
    pub fn new(subject: &Subject) -> Self {
        let settings = Settings {
            gateway: subject.gateway.clone(),
            type_prefix: subject.type_prefix.clone(),
            encoding: floorgate_core::Encoding::Binary,
            stream_epoch: 1,
            incarnation: incarnation(1),
        };
        Self {
            offline: Offline::new(subject.plan.clone(), settings, Cells::new()),
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

    /// All that came out.
    #[must_use]
    pub fn told(self) -> Vec<Told> {
        self.told
    }

    /// What sources are asked for and have not answered.
    pub(crate) fn asked(&mut self) -> &[Request] {
        self.asked.extend(self.offline.take_requests());
        &self.asked
    }

    /// How much came out until now.
    #[must_use]
    pub fn told_so_far(&self) -> usize {
        self.told.len()
    }

    /// Brings every source online of which the steps do not say that it comes online first.
    pub fn begin(&mut self, steps: &[Step]) {
        let sources = self.offline.plan().sources.len();
        for number in (0..).map(SourceId).take(sources) {
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
    pub fn take(&mut self, step: &Step) -> Result<(), Stuck> {
        self.timers(step.at, step.span)?;
        self.now = step.at;
        for action in &step.actions {
            match action {
                Action::Batch {
                    source,
                    notices,
                    samples,
                } => self.apply(*source, notices, samples),
                Action::Answer {
                    source,
                    all,
                    samples,
                    span,
                } => self.answer((*source, *all), samples.as_deref(), *span)?,
                Action::LeaveOutBelow(least) => {
                    self.least = *least;
                    self.offline.leave_out_below(*least);
                }
                Action::Restart { after, continuity } => {
                    self.now += *after;
                    self.restart(*continuity);
                }
            }
        }
        // What can be made up for is due at once.
        self.timers(self.now, step.span)
    }

    /// A restart between two steps that takes no time, and of which no source has missed anything. There is none while a source
    /// that began anew has not sent anything: it cannot say then that nothing is to come.
    pub fn restart_unnoticed(&mut self, step: &Step) -> Result<(), Stuck> {
        if !self.silent.is_empty() {
            return Ok(());
        }
        self.restart(Continuity::Resumed);
        self.timers(self.now, step.span)
    }

    /// Answers everything that a source is asked for, or the oldest request alone.
    fn answer(
        &mut self,
        (source, all): (SourceId, bool),
        samples: Option<&[Sample]>,
        span: Span,
    ) -> Result<(), Stuck> {
        self.asked.extend(self.offline.take_requests());
        let mut asked = Vec::new();
        self.asked.retain(|request| {
            let is_meant = request.source == source && (all || asked.is_empty());
            if is_meant {
                asked.push(request.id);
            }
            !is_meant
        });
        if asked.is_empty() {
            return Err(Stuck {
                span,
                message: "nothing is read here: no rule asks for it".to_owned(),
                hint: "`read` belongs into the step in which a rule with `snapshot` is triggered, or a later one",
            });
        }
        for request in asked {
            let answer = Answer {
                request,
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
            self.offline.answer(&answer, input, &mut events);
            keep(&mut self.offline, &mut self.told, self.now, events);
        }
        Ok(())
    }

    fn restart(&mut self, continuity: Continuity) {
        self.processes += 1;
        self.started = self.now;
        self.offline.restart(incarnation(self.processes));
        self.offline.leave_out_below(self.least);
        self.asked.clear();
        for source in self.online.clone() {
            let mut notices = vec![Notice::Online(continuity)];
            if continuity == Continuity::Resumed {
                notices.push(Notice::CaughtUp);
            }
            self.apply(source, &notices, &[]);
        }
    }

    /// Runs the timers that are due until then, each at its time.
    fn timers(&mut self, until: Duration, span: Span) -> Result<(), Stuck> {
        let (now, started) = (self.clock(), self.started);
        let Some(until) = until.checked_sub(started) else {
            return Ok(());
        };
        let (told, at) = (&mut self.told, &mut self.now);
        let run = self.offline.run_timers(now, until, |offline, now, events| {
            *at = started + now.monotonic;
            keep(offline, told, *at, events);
        });
        run.map_err(|restless| Stuck {
            span,
            message: restless.to_string(),
            hint: "shorten the time that passes between the steps, or lengthen the intervals of the mapping",
        })
    }

    fn apply(&mut self, source: SourceId, notices: &[Notice], samples: &[Sample]) {
        for notice in notices {
            match notice {
                Notice::Online(continuity) => {
                    self.online.insert(source);
                    if *continuity == Continuity::New {
                        self.silent.insert(source);
                    }
                }
                Notice::Offline { .. } | Notice::Stale { .. } => {
                    self.online.remove(&source);
                    self.silent.remove(&source);
                }
                Notice::CaughtUp | Notice::History | Notice::Gap { .. } => {}
            }
        }
        if !samples.is_empty() {
            self.silent.remove(&source);
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
        self.offline.apply(input, &mut events);
        keep(&mut self.offline, &mut self.told, self.now, events);
    }

    fn clock(&self) -> Now {
        Now {
            wall: ORIGIN.after(self.now),
            monotonic: self.now.saturating_sub(self.started),
        }
    }
}

/// Notes what came out of a call, and stores what it changed.
fn keep(offline: &mut Offline, told: &mut Vec<Told>, at: Duration, events: Vec<Event>) {
    told.extend(events.into_iter().map(|event| Told::Event(at, Box::new(event))));
    let failures = offline.take_failures();
    let shown = failures.first.len() as u64;
    let first = failures.first.into_iter();
    told.extend(first.map(|failure| Told::Failure(at, format!("{}: {}", failure.rule, failure.reason))));
    if failures.count > shown {
        let more = format!("and {} more", failures.count - shown);
        told.push(Told::Failure(at, more));
    }
    offline.store();
}
