//! What was found, in the form in which it is shown.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::look::most;
use super::reading::{self, Reading, Tally, TextFound};
use super::{Findings, Identity, Look, Queues, SecondConnection, TableFindings, UnitFindings};

/// What a look found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The device, as the setting `connect` names it.
    pub connect: String,
    /// Units that answer.
    pub units: Vec<UnitReport>,
    /// Units that do not, and what was said instead.
    pub silent: Vec<SilentUnit>,
    /// Whether a second connection is served beside the first; null where that was not tried.
    pub second_connection: Option<SecondConnection>,
    /// How many requests were made.
    pub requests: u64,
    /// The look came to its end.
    pub complete: bool,
    /// What could not be looked at or was not, and why.
    pub missed: Vec<String>,
}

/// A unit that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SilentUnit {
    /// Its id.
    pub unit: u8,
    /// `no answer within 1s`.
    pub reason: String,
    /// The paragraph of the runbook that is about it.
    pub see: &'static str,
}

/// A unit that answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnitReport {
    /// Its id.
    pub unit: u8,
    /// The exception that it answered when it was asked for register 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// What it says of itself.
    pub identification: Vec<Identity>,
    /// Whether it has queues of registers; null where it was not asked.
    pub queues: Option<Queues>,
    /// How long its answers took.
    pub response_time: Option<ResponseTime>,
    /// Of how many pairs each word order makes a plausible number.
    pub word_order: Tally,
    /// Its tables.
    pub tables: Vec<TableReport>,
}

/// How long answers took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ResponseTime {
    /// How many answers there were.
    pub answers: usize,
    /// The shortest.
    pub min_ms: f64,
    /// Half of them took longer.
    pub median_ms: f64,
    /// One in twenty took longer.
    pub p95_ms: f64,
}

/// Addresses, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AddressRange {
    /// The first.
    pub from: u32,
    /// The last.
    pub to: u32,
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            return self.from.fmt(f);
        }
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// The longest request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Largest {
    /// How many registers or bits.
    pub count: u32,
    /// No longer one is answered. Otherwise nothing longer could be tried.
    pub exact: bool,
}

/// A table of a unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableReport {
    /// `holding`.
    pub table: &'static str,
    /// The addresses that were looked at.
    pub looked_at: AddressRange,
    /// Where nothing is readable, so far apart are the addresses that were asked for.
    pub step: u32,
    /// The device has it at all.
    pub supported: bool,
    /// What can be read.
    pub ranges: Vec<AddressRange>,
    /// The longest request.
    pub largest_request: Option<Largest>,
    /// Addresses at which a request has to begin, though what is before them can be read.
    pub boundaries: Vec<u32>,
    /// Bits that are 1.
    pub set: Vec<u32>,
    /// Registers.
    pub registers: Vec<Reading>,
    /// Texts.
    pub texts: Vec<TextFound>,
}

impl Findings {
    /// What was found up to now, in so many requests.
    #[must_use]
    pub fn report(&self, look: &Look, requests: u64) -> Report {
        Report {
            connect: look.target.checked.endpoint.to_string(),
            units: self.units.iter().map(|unit| unit.report(look.wide)).collect(),
            silent: self.silent.clone(),
            second_connection: self.second.clone(),
            requests,
            complete: self.is_complete,
            missed: self.missed(look),
        }
    }

    /// What could not be looked at or was not, and why.
    pub(super) fn missed(&self, look: &Look) -> Vec<String> {
        of_units(self.missed_by_unit(look))
    }

    fn missed_by_unit(&self, look: &Look) -> Vec<String> {
        let mut missed = self.missed.clone();
        for unit in &self.units {
            for table in &unit.tables {
                table.say_missed(unit.unit, &mut missed);
            }
        }
        if self.is_complete {
            return missed;
        }
        if self.looked_at == 0 {
            let asked = self.units.len() + self.silent.len();
            let left: Vec<String> = look.units().iter().skip(asked).map(u8::to_string).collect();
            missed.push(format!("units that were not asked any more: {}", left.join(", ")));
        }
        for unit in &self.units[..self.looked_at] {
            for window in look.windows().iter().skip(unit.tables.len()) {
                let (name, extent) = (window.table.name(), window.extent);
                missed.push(format!(
                    "unit {}: {name} {}-{} was not looked at any more",
                    unit.unit,
                    extent.start,
                    extent.end() - 1
                ));
            }
        }
        missed
    }
}

/// Says once what is missed in the same way of several units: a gateway answers for each unit that is not there.
fn of_units(missed: Vec<String>) -> Vec<String> {
    let mut told: Vec<(Vec<u32>, String)> = Vec::new();
    for line in missed {
        let unit = line.strip_prefix("unit ").and_then(|rest| rest.split_once(": "));
        let unit = unit.and_then(|(unit, what)| Some((unit.parse().ok()?, what)));
        let Some((unit, what)) = unit else {
            told.push((Vec::new(), line));
            continue;
        };
        match told
            .iter_mut()
            .find(|(units, told)| !units.is_empty() && told == what)
        {
            Some((units, _)) => units.push(unit),
            None => told.push((vec![unit], what.to_owned())),
        }
    }
    let line = |(units, what): (Vec<u32>, String)| match units.as_slice() {
        [] => what,
        [unit] => format!("unit {unit}: {what}"),
        _ => format!("units {}: {what}", numbers(units.iter().copied())),
    };
    told.into_iter().map(line).collect()
}

/// Numbers in rising order, neighbours as ranges: `1-6, 8`.
#[must_use]
pub fn numbers(numbers: impl Iterator<Item = u32>) -> String {
    let mut sorted: Vec<u32> = numbers.collect();
    sorted.sort_unstable();
    let mut found: Vec<AddressRange> = Vec::new();
    for number in sorted {
        match found.last_mut() {
            Some(last) if last.to + 1 == number => last.to = number,
            _ => found.push(AddressRange {
                from: number,
                to: number,
            }),
        }
    }
    ranges(&found)
}

/// Ranges with commas between.
#[must_use]
pub fn ranges(ranges: &[AddressRange]) -> String {
    let ranges: Vec<String> = ranges.iter().map(AddressRange::to_string).collect();
    ranges.join(", ")
}

impl UnitFindings {
    fn report(&self, wide: bool) -> UnitReport {
        UnitReport {
            unit: self.unit,
            exception: self.first.clone(),
            identification: self.identity.clone(),
            queues: self.queues.clone(),
            response_time: response_time(&self.times),
            word_order: self.tally(),
            tables: self.tables.iter().map(|table| table.report(wide)).collect(),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        let tables = self.tables.iter().filter(|table| !table.window.table.has_bits());
        tables
            .flat_map(|table| &table.blocks)
            .for_each(|block| tally.add(block));
        tally
    }
}

fn response_time(times: &[Duration]) -> Option<ResponseTime> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    // Nearest rank.
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted
            .get(rank - 1)
            .map(|time| (time.as_secs_f64() * 1e5).round() / 100.0)
    };
    Some(ResponseTime {
        answers: sorted.len(),
        min_ms: at(0)?,
        median_ms: at(50)?,
        p95_ms: at(95)?,
    })
}

impl TableFindings {
    pub(super) fn largest(&self) -> Option<Largest> {
        let count = self.ranges.longest;
        (count > 0).then(|| Largest {
            count,
            exact: self.ranges.limit == Some(count) || count == most(self.window.table),
        })
    }

    fn report(&self, wide: bool) -> TableReport {
        let is_bits = self.window.table.has_bits();
        let extent = self.window.extent;
        let mut report = TableReport {
            table: self.window.table.name(),
            looked_at: AddressRange {
                from: extent.start,
                to: extent.end() - 1,
            },
            step: self.window.step,
            supported: !self.ranges.is_unsupported,
            ranges: self
                .ranges
                .stretches
                .iter()
                .map(|stretch| AddressRange {
                    from: stretch.start,
                    to: stretch.end() - 1,
                })
                .collect(),
            largest_request: self.largest(),
            boundaries: self.ranges.seams.clone(),
            set: Vec::new(),
            registers: Vec::new(),
            texts: Vec::new(),
        };
        for block in &self.blocks {
            if is_bits {
                let bits = (block.start..).zip(&block.words);
                report
                    .set
                    .extend(bits.filter(|(_, bit)| **bit == 1).map(|(address, _)| address));
            } else {
                report
                    .registers
                    .extend(reading::readings(block, if wide { 4 } else { 2 }));
                report.texts.extend(reading::texts(block));
            }
        }
        report
    }

    fn say_missed(&self, unit: u8, missed: &mut Vec<String>) {
        let name = self.window.table.name();
        let last = self.window.extent.end() - 1;
        if !self.is_done {
            let first = self.window.extent.start;
            missed.push(format!(
                "unit {unit}: {name} {first}-{last} was looked at in part only"
            ));
        }
        if let Some((at, why)) = &self.ranges.stopped {
            missed.push(format!(
                "unit {unit}: {name} {at}-{last} was not looked at: {why}"
            ));
        }
        if self.ranges.silences > 0 && self.ranges.stopped.is_none() {
            missed.push(format!(
                "unit {unit}: {name}: {} questions were taken for refused, since nothing came: {}",
                self.ranges.silences,
                self.ranges.silence.as_deref().unwrap_or_default()
            ));
        }
    }
}
