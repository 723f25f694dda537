//! The behaviour of the filling hall: pure, seeded, and driven by a clock that is handed in.
//!
//! A [`Hall`] knows no protocol, thread or clock. Its life is a row of *moments*; a moment is what one machine does at one time
//! and changes each tag at most once, so everything of it can be written with one time-stamp. The same seed gives the same row.

mod conveyor;
mod line;
mod states;
mod tag;

use std::time::Duration;

use conveyor::Conveyor;
use line::Line;
pub use states::{JobState, PackState};
use tag::Moment;
pub use tag::{Change, Protocol, Tag, TagValue};

use crate::random::Random;

#[derive(Debug)]
enum Machine {
    Line(Line),
    Conveyor(Conveyor),
}

impl Machine {
    fn due(&self) -> Duration {
        match self {
            Self::Line(line) => line.due(),
            Self::Conveyor(conveyor) => conveyor.due(),
        }
    }
}

/// A filling hall: lines, which are read by OPC UA, and conveyors, which are read by Modbus.
#[derive(Debug)]
pub struct Hall {
    tags: Vec<Tag>,
    /// Each machine with the place of its first tag; its tags follow each other.
    machines: Vec<(usize, Machine)>,
}

impl Hall {
    /// A hall at time zero. All counters start at `counter_start`, so that their wrap-around can be brought near.
    #[must_use]
    pub fn new(lines: u32, conveyors: u8, seed: u64, counter_start: u32) -> Self {
        let mut hall = Self {
            tags: Vec::new(),
            machines: Vec::new(),
        };
        for number in 1..=lines {
            let (line, tags) = Line::new(
                number,
                Random::new(seed ^ (u64::from(number) << 32)),
                counter_start,
            );
            hall.add(Machine::Line(line), tags);
        }
        for number in 1..=conveyors {
            let random = Random::new(seed ^ (u64::from(number) << 48));
            let (conveyor, tags) = Conveyor::new(number, random, counter_start);
            hall.add(Machine::Conveyor(conveyor), tags);
        }
        hall
    }

    fn add(&mut self, machine: Machine, tags: Vec<Tag>) {
        self.machines.push((self.tags.len(), machine));
        self.tags.extend(tags);
    }

    /// All tags with their present values. Their places never change.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// When the next moment is due, in the hall's time. `None` in a hall without machines.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.machines.iter().map(|(_, machine)| machine.due()).min()
    }

    /// Plays the next moment if it is due at `now`, appends its changes to `changes` and tells when it was due. A moment may
    /// change nothing, as when a measured value did not move.
    pub fn advance(&mut self, now: Duration, changes: &mut Vec<Change>) -> Option<Duration> {
        let place = (0..self.machines.len()).min_by_key(|&place| self.machines[place].1.due())?;
        let end = self
            .machines
            .get(place + 1)
            .map_or(self.tags.len(), |(first, _)| *first);
        let (first, machine) = &mut self.machines[place];
        let due = machine.due();
        if due > now {
            return None;
        }
        let mut moment = Moment {
            tags: &mut self.tags[*first..end],
            first: *first,
            changes,
        };
        match machine {
            Machine::Line(line) => line.advance(&mut moment),
            Machine::Conveyor(conveyor) => conveyor.advance(&mut moment),
        }
        Some(due)
    }
}

/// Rounds a measured value to the resolution of its transmitter.
fn rounded(value: f64, steps_per_unit: f64) -> f64 {
    (value * steps_per_unit).round() / steps_per_unit
}

#[cfg(test)]
mod tests;
