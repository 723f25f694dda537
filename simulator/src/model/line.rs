//! A filling line: orders, states, counters, alarms and measured values.

use std::{collections::VecDeque, time::Duration};

use super::{
    rounded,
    states::{JobState, PackState},
    tag::{Moment, Protocol, Tag, TagValue},
};
use crate::random::Random;

const WORK_ORDER: usize = 0;
const STATUS: usize = 1;
const STATE: usize = 2;
const GOOD: usize = 3;
const SCRAP: usize = 4;
const ALARMS: usize = 5;
const TEMPERATURE: usize = 6;
const VIBRATION: usize = 7;
const POWER: usize = 8;

/// Bits of the alarm word.
const EMERGENCY_STOP: u16 = 1 << 0;
const CAP_HOPPER_EMPTY: u16 = 1 << 1;
const OUTFEED_BLOCKED: u16 = 1 << 2;
const VIBRATION_HIGH: u16 = 1 << 3;

/// Limits of the vibration alarm in mm/s: raised above the first, cleared below the second.
const VIBRATION_ALARM: (f64, f64) = (4.5, 3.5);

/// What can be due. The numbers are places in [`Line::timers`].
const SCRIPT: usize = 0;
const COUNT: usize = 1;
const STOP: usize = 2;
const MEASURE: usize = 3;

/// One step of what a line goes through: what is set, together, and how long after the step before.
#[derive(Debug, Default)]
struct Step {
    after: Duration,
    state: Option<PackState>,
    job: Option<JobState>,
    raise: u16,
    clear: u16,
    new_order: bool,
}

impl Step {
    fn after(seconds: f64, state: PackState) -> Self {
        Self {
            after: Duration::from_secs_f64(seconds),
            state: Some(state),
            ..Self::default()
        }
    }

    fn job(self, job: JobState) -> Self {
        Self {
            job: Some(job),
            ..self
        }
    }

    fn raise(self, bits: u16) -> Self {
        Self { raise: bits, ..self }
    }

    fn clear(self, bits: u16) -> Self {
        Self { clear: bits, ..self }
    }
}

#[derive(Debug)]
pub(super) struct Line {
    number: u32,
    random: Random,
    script: VecDeque<Step>,
    /// When each thing is due. Counting and stopping are due only while the line executes.
    timers: [Option<Duration>; 6],
    state: PackState,
    alarms: u16,
    good: u32,
    scrap: u32,
    order: u32,
    /// Bottles that the order still asks for.
    left: u32,
    temperature: f64,
    vibration: f64,
    power: f64,
    /// Where vibration tends to; a worn bearing raises it for a while.
    vibration_target: f64,
}

impl Line {
    pub(super) fn new(number: u32, mut random: Random, counter_start: u32) -> (Self, Vec<Tag>) {
        let first_measure = Duration::from_secs_f64(random.between(0.1, 0.5));
        let mut line = Self {
            number,
            script: VecDeque::new(),
            timers: [None; 6],
            state: PackState::Idle,
            alarms: 0,
            good: counter_start,
            scrap: counter_start,
            order: 1,
            left: 0,
            temperature: rounded(random.between(19.0, 22.0), 100.0),
            vibration: 0.5,
            power: 1.5,
            vibration_target: 1.8,
            random,
        };
        for (place, offset) in [(0, 0), (1, 333), (2, 667)] {
            line.timers[MEASURE + place] = Some(first_measure + Duration::from_millis(offset));
        }
        let tags = [
            ("WorkOrderId", TagValue::Text(line.order_id())),
            ("Status", job_value(JobState::AllowedToStart)),
            ("State", state_value(PackState::Idle)),
            ("Good", TagValue::UInt32(line.good)),
            ("Scrap", TagValue::UInt32(line.scrap)),
            ("Alarms", TagValue::UInt16(0)),
            ("Temperature", TagValue::Double(line.temperature)),
            ("Vibration", TagValue::Double(line.vibration)),
            ("Power", TagValue::Double(line.power)),
        ]
        .map(|(name, value)| Tag {
            name: format!("Line{number}.{name}"),
            protocol: Protocol::OpcUa,
            value,
        });
        line.plan_start(Duration::ZERO);
        (line, tags.into())
    }

    pub(super) fn due(&self) -> Duration {
        self.timers
            .iter()
            .flatten()
            .min()
            .copied()
            .unwrap_or(Duration::MAX)
    }

    pub(super) fn advance(&mut self, moment: &mut Moment<'_>) {
        let at = self.due();
        match self.timers.iter().position(|timer| *timer == Some(at)) {
            Some(SCRIPT) => self.play(at, moment),
            Some(COUNT) => self.count(at, moment),
            Some(STOP) => self.stop(at),
            Some(timer) => self.measure(timer, at, moment),
            None => {}
        }
    }

    fn order_id(&self) -> String {
        format!("WO-L{}-{:05}", self.number, self.order)
    }

    /// Sets what happens next; the first step is due its own time after `at`.
    fn plan<const N: usize>(&mut self, at: Duration, steps: [Step; N]) {
        self.timers[SCRIPT] = steps.first().map(|step| at + step.after);
        self.script = steps.into();
    }

    fn plan_start(&mut self, at: Duration) {
        self.left = self.random.whole(40, 120);
        let wait = self.random.between(1.0, 4.0);
        self.plan(
            at,
            [
                Step::after(wait, PackState::Starting),
                Step::after(0.8, PackState::Execute).job(JobState::Running),
            ],
        );
    }

    fn next_order_steps(from: f64) -> [Step; 2] {
        let idle = Step::after(1.0, PackState::Idle).job(JobState::AllowedToStart);
        [
            Step::after(from, PackState::Resetting),
            Step {
                new_order: true,
                ..idle
            },
        ]
    }

    fn play(&mut self, at: Duration, moment: &mut Moment<'_>) {
        let Some(step) = self.script.pop_front() else {
            self.timers[SCRIPT] = None;
            return;
        };
        self.timers[SCRIPT] = self.script.front().map(|next| at + next.after);
        if step.new_order {
            self.order += 1;
            moment.set(WORK_ORDER, TagValue::Text(self.order_id()));
        }
        if let Some(job) = step.job {
            moment.set(STATUS, job_value(job));
        }
        self.set_alarms(self.alarms | step.raise, step.clear, moment);
        if let Some(state) = step.state {
            moment.set(STATE, state_value(state));
            self.enter(state, at);
        }
        if step.new_order {
            self.plan_start(at);
        }
    }

    fn enter(&mut self, state: PackState, at: Duration) {
        self.state = state;
        if state == PackState::Execute {
            self.timers[COUNT] = Some(at + Duration::from_millis(500));
            self.timers[STOP] = Some(at + Duration::from_secs_f64(self.random.wait(25.0)));
        } else {
            self.timers[COUNT] = None;
            self.timers[STOP] = None;
        }
    }

    fn set_alarms(&mut self, raised: u16, clear: u16, moment: &mut Moment<'_>) {
        self.alarms = raised & !clear;
        moment.set(ALARMS, TagValue::UInt16(self.alarms));
    }

    /// One bottle leaves the filler.
    fn count(&mut self, at: Duration, moment: &mut Moment<'_>) {
        if self.random.chance(0.03) {
            self.scrap = self.scrap.wrapping_add(1);
            moment.set(SCRAP, TagValue::UInt32(self.scrap));
        } else {
            self.good = self.good.wrapping_add(1);
            self.left = self.left.saturating_sub(1);
            moment.set(GOOD, TagValue::UInt32(self.good));
        }
        self.timers[COUNT] = Some(at + Duration::from_secs_f64(self.random.between(0.4, 0.6)));
        if self.left == 0 {
            self.timers[COUNT] = None;
            self.timers[STOP] = None;
            let [resetting, idle] = Self::next_order_steps(2.0);
            let complete = Step::after(0.7, PackState::Complete).job(JobState::Ended);
            self.plan(
                at,
                [Step::after(0.2, PackState::Completing), complete, resetting, idle],
            );
        }
    }

    /// Something stops the line: mostly a cause inside (held) or outside (suspended), seldom the emergency stop.
    fn stop(&mut self, at: Duration) {
        self.timers[COUNT] = None;
        self.timers[STOP] = None;
        let repair = self.random.between(2.0, 8.0);
        let resume = Step::after(0.6, PackState::Execute).job(JobState::Running);
        let kind = self.random.unit();
        if kind < 0.05 {
            let [resetting, idle] = Self::next_order_steps(1.0);
            let aborting = Step::after(0.0, PackState::Aborting)
                .job(JobState::Aborted)
                .raise(EMERGENCY_STOP);
            let clearing = Step::after(repair, PackState::Clearing).clear(EMERGENCY_STOP);
            let (aborted, stopped) = (
                Step::after(0.3, PackState::Aborted),
                Step::after(0.5, PackState::Stopped),
            );
            self.plan(at, [aborting, aborted, clearing, stopped, resetting, idle]);
        } else if kind < 0.6 {
            let holding = Step::after(0.0, PackState::Holding)
                .job(JobState::Interrupted)
                .raise(CAP_HOPPER_EMPTY);
            let unholding = Step::after(repair, PackState::Unholding).clear(CAP_HOPPER_EMPTY);
            self.plan(
                at,
                [holding, Step::after(0.5, PackState::Held), unholding, resume],
            );
        } else {
            let suspending = Step::after(0.0, PackState::Suspending)
                .job(JobState::Interrupted)
                .raise(OUTFEED_BLOCKED);
            let unsuspending = Step::after(repair, PackState::Unsuspending).clear(OUTFEED_BLOCKED);
            self.plan(
                at,
                [
                    suspending,
                    Step::after(0.4, PackState::Suspended),
                    unsuspending,
                    resume,
                ],
            );
        }
    }

    fn measure(&mut self, timer: usize, at: Duration, moment: &mut Moment<'_>) {
        self.timers[timer] = Some(at + Duration::from_secs(1));
        let executing = self.state == PackState::Execute;
        let noise = self.random.noise();
        match timer - MEASURE {
            0 => {
                let target = if executing { 62.0 } else { 24.0 };
                self.temperature = rounded(
                    self.temperature + 0.03 * (target - self.temperature) + 0.15 * noise,
                    100.0,
                );
                moment.set(TEMPERATURE, TagValue::Double(self.temperature));
            }
            1 => {
                if self.random.chance(0.02) {
                    self.vibration_target = if self.vibration_target > 2.0 { 1.8 } else { 5.2 };
                }
                let target = if executing { self.vibration_target } else { 0.3 };
                self.vibration = rounded(
                    (self.vibration + 0.3 * (target - self.vibration) + 0.1 * noise).max(0.0),
                    1000.0,
                );
                moment.set(VIBRATION, TagValue::Double(self.vibration));
                if self.vibration > VIBRATION_ALARM.0 {
                    self.set_alarms(self.alarms | VIBRATION_HIGH, 0, moment);
                } else if self.vibration < VIBRATION_ALARM.1 {
                    self.set_alarms(self.alarms, VIBRATION_HIGH, moment);
                }
            }
            _ => {
                let target = if executing { 11.0 } else { 1.5 };
                self.power = rounded(
                    (self.power + 0.5 * (target - self.power) + 0.2 * noise).max(0.0),
                    1000.0,
                );
                moment.set(POWER, TagValue::Double(self.power));
            }
        }
    }
}

fn job_value(job: JobState) -> TagValue {
    TagValue::Int32(i32::from(job.code()))
}

fn state_value(state: PackState) -> TagValue {
    TagValue::Int32(i32::from(state.code()))
}
