//! A conveyor: it carries bottles, jams now and then, and its motor warms up.

use std::{collections::VecDeque, time::Duration};

use super::{
    states::PackState,
    tag::{Moment, Protocol, Tag, TagValue},
};
use crate::random::Random;

const STATE: usize = 0;
const TOTAL: usize = 1;
const JAM: usize = 2;
const SPEED: usize = 3;
const MOTOR_TEMPERATURE: usize = 4;

const SCRIPT: usize = 0;
const COUNT: usize = 1;
const MEASURE: usize = 2;

/// Speed of the running belt in metres a second.
const NOMINAL_SPEED: f32 = 0.8;

#[derive(Debug)]
pub(super) struct Conveyor {
    random: Random,
    /// What follows: the wait before it, the state, and whether the belt is jammed then.
    script: VecDeque<(Duration, PackState, bool)>,
    timers: [Option<Duration>; 3],
    state: PackState,
    total: u32,
    /// In degrees Celsius.
    temperature: f64,
}

impl Conveyor {
    pub(super) fn new(number: u8, random: Random, counter_start: u32) -> (Self, Vec<Tag>) {
        let mut conveyor = Self {
            random,
            script: VecDeque::new(),
            timers: [None; 3],
            state: PackState::Execute,
            total: counter_start,
            temperature: 25.0,
        };
        conveyor.timers[COUNT] = Some(Duration::from_millis(400));
        conveyor.timers[MEASURE] = Some(Duration::from_secs_f64(conveyor.random.between(0.1, 1.0)));
        conveyor.plan_jam(Duration::ZERO);
        let tags = [
            ("State", state_value(PackState::Execute)),
            ("Total", TagValue::UInt32(counter_start)),
            ("Jam", TagValue::Flag(false)),
            ("Speed", TagValue::Float(NOMINAL_SPEED)),
            ("MotorTemperature", TagValue::Int16(tenths(conveyor.temperature))),
        ]
        .map(|(name, value)| Tag {
            name: format!("Conveyor{number}.{name}"),
            protocol: Protocol::Modbus,
            value,
        });
        (conveyor, tags.into())
    }

    pub(super) fn due(&self) -> Duration {
        self.timers
            .iter()
            .flatten()
            .min()
            .copied()
            .unwrap_or(Duration::MAX)
    }

    fn plan_jam(&mut self, at: Duration) {
        let until = Duration::from_secs_f64(1.0 + self.random.wait(20.0));
        let repair = Duration::from_secs_f64(self.random.between(2.0, 6.0));
        self.script = [
            (until, PackState::Holding, true),
            (Duration::from_millis(300), PackState::Held, true),
            (repair, PackState::Unholding, false),
            (Duration::from_millis(500), PackState::Execute, false),
        ]
        .into();
        self.timers[SCRIPT] = Some(at + until);
    }

    pub(super) fn advance(&mut self, moment: &mut Moment<'_>) {
        let at = self.due();
        match self.timers.iter().position(|timer| *timer == Some(at)) {
            Some(SCRIPT) => self.play(at, moment),
            Some(COUNT) => {
                self.total = self.total.wrapping_add(1);
                moment.set(TOTAL, TagValue::UInt32(self.total));
                self.timers[COUNT] = Some(at + Duration::from_secs_f64(self.random.between(0.3, 0.5)));
            }
            Some(_) => self.measure(at, moment),
            None => {}
        }
    }

    fn play(&mut self, at: Duration, moment: &mut Moment<'_>) {
        let Some((_, state, jam)) = self.script.pop_front() else {
            self.timers[SCRIPT] = None;
            return;
        };
        self.state = state;
        moment.set(STATE, state_value(state));
        moment.set(JAM, TagValue::Flag(jam));
        if state == PackState::Execute {
            self.timers[COUNT] = Some(at + Duration::from_millis(400));
            moment.set(SPEED, TagValue::Float(NOMINAL_SPEED));
            self.plan_jam(at);
        } else {
            self.timers[COUNT] = None;
            moment.set(SPEED, TagValue::Float(0.0));
            self.timers[SCRIPT] = self.script.front().map(|(wait, ..)| at + *wait);
        }
    }

    fn measure(&mut self, at: Duration, moment: &mut Moment<'_>) {
        self.timers[MEASURE] = Some(at + Duration::from_secs(1));
        let (running, noise) = (self.state == PackState::Execute, self.random.noise());
        let target = if running { 58.0 } else { 25.0 };
        self.temperature += 0.02 * (target - self.temperature) + 0.1 * noise;
        moment.set(MOTOR_TEMPERATURE, TagValue::Int16(tenths(self.temperature)));
        if running {
            // A step of the speed transmitter is a hundredth of the nominal speed.
            let steps: f32 = if noise > 1.0 {
                0.01
            } else if noise < -1.0 {
                -0.01
            } else {
                0.0
            };
            moment.set(SPEED, TagValue::Float(NOMINAL_SPEED + steps));
        }
    }
}

fn state_value(state: PackState) -> TagValue {
    TagValue::UInt16(u16::from(state.code()))
}

/// Degrees as the whole tenths of the register.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and the model stays far inside the range"
)]
fn tenths(degrees: f64) -> i16 {
    (degrees * 10.0).round() as i16
}
