//! A core as the engine drives it, sources that come and go, and what is recorded of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use floorgate_core::plan::{Plan, Priority};
use floorgate_core::{Core, Event, Input, Now, Request};
use floorgate_sample::{Answer, Continuity, GapScope, Notice, Reason, Sample, SourceId, TagId, Timestamp};
use floorgate_workbench::recording::{Call, Entry, Names};

use super::plant::TEMPERATURE;
use super::random::{BEAT, TAGS, one_value, values};
use super::{SECOND, settings};

/// What a source is, as the plant has it.
#[derive(Clone, Copy)]
pub(super) enum Link {
    Up,
    Stale,
    /// Since this time.
    Down(i64),
    /// It is back, and has handed over what happened up to this time.
    Behind(i64),
}

/// A core as the engine drives it, and what is recorded of it.
pub(super) struct Floor {
    pub(super) plan: Arc<Plan>,
    pub(super) core: Core,
    /// The monotonic clock, and what the wall clock is ahead of it.
    pub(super) time: i64,
    pub(super) ahead: i64,
    pub(super) links: Vec<Link>,
    pub(super) open: Vec<Request>,
    pub(super) recorded: Vec<Entry>,
    pub(super) is_recorded: bool,
    pub(super) events: Vec<Event>,
}

impl Floor {
    pub(super) fn of(plan: Plan, random: &mut Rng) -> Self {
        let plan = Arc::new(plan);
        let mut floor = Self {
            core: Core::new(Arc::clone(&plan), settings(), &|_| None),
            links: vec![Link::Up; plan.sources.len()],
            plan,
            time: 0,
            ahead: 1_786_975_512 * SECOND,
            open: Vec::new(),
            recorded: Vec::new(),
            is_recorded: false,
            events: Vec::new(),
        };
        for source in floor.sources() {
            if random.u8(..6) > 0 {
                floor.notice(source, Notice::Online(Continuity::New));
            } else {
                floor.links[source.index()] = Link::Down(0);
            }
        }
        floor
    }

    /// The configuration is read again, and nothing of it is another one: all sources run on.
    pub(super) fn reload(&mut self) {
        let cells: HashMap<Arc<str>, String> = self.core.export().into_iter().collect();
        let stored = |key: &str| cells.get(key).cloned();
        let mut core = Core::new(Arc::clone(&self.plan), settings(), &stored);
        let now = self.now();
        core.go_on_from(&mut self.core, |_| true, now);
        let least = self.core.leaves_out_below();
        if self.is_recorded {
            self.recorded.push(Entry::Names(Names::of(&self.plan)));
        }
        self.keep(Call::LeaveOutBelow { least });
        core.leave_out_below(least);
        self.core = core;
    }

    pub(super) fn sources(&self) -> Vec<SourceId> {
        (0..).map(SourceId).take(self.plan.sources.len()).collect()
    }

    pub(super) fn now(&self) -> Now {
        Now {
            wall: Timestamp::from_nanos(self.time + self.ahead),
            monotonic: Duration::from_nanos(self.time.unsigned_abs()),
        }
    }

    pub(super) fn keep(&mut self, call: Call) {
        if self.is_recorded {
            self.recorded.push(Entry::Call(call));
        }
    }

    pub(super) fn apply(
        &mut self,
        source: SourceId,
        delay: i64,
        notices: &[Notice],
        mut samples: Vec<Sample>,
    ) {
        samples.retain(|sample| self.plan.tags[sample.tag.index()].source == source);
        let received = Timestamp::from_nanos(self.time + self.ahead);
        self.time += delay;
        let now = self.now();
        self.keep(Call::Apply {
            source,
            now,
            received,
            notices: notices.to_vec(),
            samples: samples.clone(),
        });
        let input = Input {
            source,
            received,
            notices,
            samples: &samples,
            now,
        };
        self.core.apply(input, &mut self.events);
        self.store();
    }

    pub(super) fn notice(&mut self, source: SourceId, notice: Notice) {
        self.apply(source, 1000, &[notice], Vec::new());
    }

    pub(super) fn advance(&mut self) {
        let now = self.now();
        let due = self.core.next_deadline();
        if due.is_some_and(|due| due <= now.monotonic) {
            self.keep(Call::Advance { now });
        }
        self.core.advance(now, &mut self.events);
        self.store();
    }

    pub(super) fn store(&mut self) {
        self.core.save(&mut Vec::new());
        self.open.extend(self.core.take_requests());
    }

    /// What time alone makes: timers run a little after they are due.
    pub(super) fn pass(&mut self, until: i64, random: &mut Rng) {
        for _ in 0..1000 {
            let due = self.core.next_deadline();
            let due = due.map(|due| i64::try_from(due.as_nanos()).unwrap_or(i64::MAX));
            let Some(due) = due.filter(|due| *due <= until) else {
                break;
            };
            let due = self.time.max(due) + random.i64(0..50) * 1000 * random.i64(0..3);
            self.time = due.div_ceil_to(1000);
            self.advance();
        }
        self.time = self.time.max(until);
    }

    pub(super) fn answer(&mut self, random: &mut Rng) {
        for request in std::mem::take(&mut self.open) {
            if random.u8(..3) > 0 {
                self.open.push(request);
                continue;
            }
            let read = request.tags.iter().filter(|_| random.u8(..10) > 0);
            let read: Vec<TagId> = read.copied().collect();
            let received = Timestamp::from_nanos(self.time + self.ahead);
            let samples: Vec<Sample> = read
                .into_iter()
                .map(|tag| one_value(tag, received, random))
                .collect();
            let result = match random.u8(..10) {
                0 => Err("device is busy".to_owned()),
                _ => Ok(()),
            };
            self.time += random.i64(0..5) * 1000;
            let now = self.now();
            let source = request.source;
            self.keep(Call::Answer {
                source,
                now,
                received,
                request: request.id,
                rule: self.core.asking(request.id).cloned(),
                result: result.clone(),
                samples: samples.clone(),
            });
            let answer = Answer {
                request: request.id,
                result,
            };
            let input = Input {
                source,
                received,
                notices: &[],
                samples: &samples,
                now,
            };
            self.core.answer(&answer, input, &mut self.events);
            self.store();
        }
    }

    pub(super) fn step(&mut self, source: SourceId, random: &mut Rng) {
        let reason = || Reason::new("test", "pump-lost");
        let now = self.time;
        let delay = random.i64(0..20) * 1000 * random.i64(0..3) * random.i64(0..100);
        let ahead = self.ahead;
        let at = |time: i64| Timestamp::from_nanos(time + ahead - 300_000);
        self.links[source.index()] = match self.links[source.index()] {
            Link::Up => {
                let late = random.i64(0..2) * random.i64(0..400_000_000);
                let samples = values(at(now - late), random);
                self.apply(source, delay, &[], samples);
                match random.u8(..24) {
                    0 => self.notice(
                        source,
                        Notice::Gap {
                            scope: GapScope::Source,
                            reason: reason(),
                        },
                    ),
                    1 => {
                        let scope = GapScope::Tags(vec![TEMPERATURE, BEAT]);
                        self.notice(
                            source,
                            Notice::Gap {
                                scope,
                                reason: reason(),
                            },
                        );
                    }
                    _ => {}
                }
                match random.u8(..16) {
                    0 => {
                        self.notice(source, Notice::Offline { reason: reason() });
                        Link::Down(now)
                    }
                    1 => {
                        self.notice(source, Notice::Stale { reason: reason() });
                        Link::Stale
                    }
                    _ => Link::Up,
                }
            }
            Link::Stale => match random.u8(..3) {
                0 => {
                    self.notice(source, Notice::Online(Continuity::Resumed));
                    Link::Behind(now)
                }
                1 => {
                    self.notice(source, Notice::Offline { reason: reason() });
                    Link::Down(now)
                }
                _ => Link::Stale,
            },
            Link::Down(since) => match random.u8(..4) {
                0 => {
                    self.notice(source, Notice::Online(Continuity::New));
                    let time = at(now);
                    let samples = TAGS.into_iter().map(|tag| one_value(tag, time, random)).collect();
                    self.apply(source, delay, &[], samples);
                    Link::Up
                }
                1 | 2 => {
                    self.notice(source, Notice::Online(Continuity::Resumed));
                    Link::Behind(since)
                }
                _ => Link::Down(since),
            },
            Link::Behind(_) if random.u8(..3) == 0 => {
                self.notice(source, Notice::CaughtUp);
                Link::Up
            }
            Link::Behind(before) => {
                let then = random.i64(before..=now);
                let samples = values(at(then), random);
                self.apply(source, delay, &[], samples);
                Link::Behind(then)
            }
        };
    }

    pub(super) fn leave_out(&mut self, random: &mut Rng) {
        let least = [None, Some(Priority::Normal), Some(Priority::High)][random.usize(..3)];
        self.keep(Call::LeaveOutBelow { least });
        self.core.leave_out_below(least);
    }
}

pub(super) trait Whole {
    fn div_ceil_to(self, unit: i64) -> i64;
}

impl Whole for i64 {
    fn div_ceil_to(self, unit: i64) -> i64 {
        (self + unit - 1) / unit * unit
    }
}
