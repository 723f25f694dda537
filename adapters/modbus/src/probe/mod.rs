//! A look at a device that nobody has configured yet (`floorgate probe`).
//!
//! Which units answer, what each says of itself, which registers can be read (`ranges`), how long a request may be and how
//! long an answer takes; the registers in all types and word orders (`reading`), so that the right one is seen; and at the end whether a
//! second connection is served.
//!
//! It reads gently: functions 1 to 4, 24 and 43/14, one request at a time, a pause after each. It never writes. What was found is in
//! [`Findings`] at every moment, so that a look that is ended in the middle keeps it.

mod asker;
mod identity;
mod look;
mod queues;
mod ranges;
mod reading;
mod report;
mod second;
mod survey;
mod target;

use std::time::Duration;

pub use asker::Lost;
pub use identity::Identity;
pub use look::{Addresses, Look, Place, TableName, Units, WrongWord};
pub use queues::Queues;
pub use reading::{InOrder, Number, ORDER_NAMES, Reading, Tally, TextFound, Wide};
pub use report::{
    AddressRange, Largest, Report, ResponseTime, SilentUnit, TableReport, UnitReport, numbers, ranges,
};
pub use second::SecondConnection;
pub use target::{Target, WrongTarget};

use crate::address::Table;
use crate::planner::Extent;
use asker::{Asker, Question};
use look::{Window, most};
use ranges::{Answer, Ranges};
use reading::Block;

/// How far a look has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// The unit that was asked last.
    pub unit: u8,
    /// The table.
    pub table: &'static str,
    /// The address.
    pub at: u32,
    /// How many requests were made.
    pub requests: u64,
    /// How many units and addresses were looked at, out of `total`.
    pub done: u64,
    /// How many there are to look at; it changes when the units are known.
    pub total: u64,
}

/// Who watches a look.
pub trait Watch {
    /// A request was made.
    fn asked(&self, progress: &Progress);
}

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    units: Vec<UnitFindings>,
    silent: Vec<SilentUnit>,
    /// How many of the units are looked at.
    looked_at: usize,
    /// `None` where that was not tried.
    second: Option<SecondConnection>,
    missed: Vec<String>,
    is_complete: bool,
}

#[derive(Clone, Debug)]
struct UnitFindings {
    unit: u8,
    /// The table whose first register it was asked for first.
    known: Table,
    /// The exception that it answered to that.
    first: Option<String>,
    identity: Vec<Identity>,
    /// What it says when it is asked for a queue; `None` where it was not asked.
    queues: Option<Queues>,
    times: Vec<Duration>,
    tables: Vec<TableFindings>,
}

#[derive(Clone, Debug)]
struct TableFindings {
    window: Window,
    ranges: Ranges,
    blocks: Vec<Block>,
    /// It was looked at up to its end, and what could be read was read.
    is_done: bool,
}

/// Looks at a device. What it finds is in `findings`, also where it fails or is given up in the middle.
pub async fn probe(look: &Look, watch: &dyn Watch, findings: &mut Findings) -> Result<(), Lost> {
    let target = look.target.clone().with_times(look.timeout, look.pace);
    let mut asker = Asker::new(&target.checked, watch);
    let looked = look_at(look, &mut asker, findings).await;
    asker.close().await;
    findings.is_complete = looked.is_ok();
    looked
}

async fn look_at(look: &Look, asker: &mut Asker<'_>, findings: &mut Findings) -> Result<(), Lost> {
    let windows = look.windows();
    let known = windows.first().map_or(Table::Holding, |window| window.table);
    find_units(look, known, asker, findings).await?;
    let only_first = seem_to_be_one(look, findings);
    let units = if only_first { 1 } else { findings.units.len() };
    findings.looked_at = units;
    let each: u64 = windows.iter().map(|window| u64::from(window.extent.len)).sum();
    asker.progress.total = asker.progress.done + each * units as u64;
    let Findings {
        units: found, missed, ..
    } = findings;
    for unit in &mut found[..units] {
        if look.at.is_empty()
            && let Err(why) = identity::identify(asker, unit.unit, &mut unit.identity).await?
            && !unit.identity.is_empty()
        {
            missed.push(format!("unit {}: device identification: {why}", unit.unit));
        }
        if look.at.is_empty() {
            unit.queues = Some(queues::look(asker, unit.unit).await?);
        }
        for window in &windows {
            look_at_table(asker, unit, *window, missed).await?;
            unit.times.append(&mut asker.times);
        }
    }
    findings.second = second::look(look, asker, findings).await;
    Ok(())
}

/// A unit is there when it answers, an exception included; those of a gateway say that it is not.
async fn find_units(
    look: &Look,
    known: Table,
    asker: &mut Asker<'_>,
    findings: &mut Findings,
) -> Result<(), Lost> {
    let mut units = look.units();
    if look.target.checked.endpoint.is_serial() && units.contains(&0) {
        units.retain(|unit| *unit != 0);
        findings.missed.push(
            "unit 0 is the broadcast address of a serial line, which no device answers: it was not asked"
                .to_owned(),
        );
    }
    asker.progress.total = units.len() as u64;
    for unit in units {
        let first = match asker.read(unit, known, Extent { start: 0, len: 1 }).await? {
            Answer::Silence(why) => {
                findings.silent.push(SilentUnit {
                    unit,
                    reason: why.to_string(),
                    see: why.see(),
                });
                asker.progress.done += 1;
                continue;
            }
            Answer::Words(_) => None,
            Answer::Exception(code) => Some(crate::link::Failure::Exception(code).to_string()),
        };
        asker.progress.done += 1;
        findings.units.push(UnitFindings {
            unit,
            known,
            first,
            identity: Vec::new(),
            queues: None,
            times: std::mem::take(&mut asker.times),
            tables: Vec::new(),
        });
    }
    Ok(())
}

/// A device that is no gateway mostly answers whatever unit it is asked for. Where nobody named the units, and all that were tried answer
/// alike, one of them is looked at.
fn seem_to_be_one(look: &Look, findings: &mut Findings) -> bool {
    let Some((first, others)) = findings.units.split_first() else {
        return false;
    };
    let is_one = look.units.is_none()
        && findings.silent.is_empty()
        && others.len() > 1
        && others.iter().all(|other| other.first == first.first);
    if is_one {
        findings.missed.push(format!(
            "all {} units that were asked answer alike, so that they seem to be one device that takes any unit id: only unit {} \
             was looked at; --units names others",
            findings.units.len(),
            first.unit
        ));
    }
    is_one
}

async fn look_at_table(
    asker: &mut Asker<'_>,
    unit: &mut UnitFindings,
    window: Window,
    missed: &mut Vec<String>,
) -> Result<(), Lost> {
    let (id, known) = (unit.unit, unit.known);
    unit.tables.push(TableFindings {
        window,
        ranges: Ranges::default(),
        blocks: Vec::new(),
        is_done: false,
    });
    let Some(table) = unit.tables.last_mut() else {
        return Ok(());
    };
    asker.enter(window.extent);
    let mut question = Question {
        asker,
        unit: id,
        table: window.table,
        known,
    };
    let longest = most(window.table);
    ranges::find(
        &mut question,
        window.extent,
        window.step,
        longest,
        &mut table.ranges,
    )
    .await?;
    read_values(asker, id, table, missed).await?;
    table.is_done = true;
    asker.leave();
    Ok(())
}

/// Reads what can be read, in requests of even length, so that few numbers are split over two of them.
async fn read_values(
    asker: &mut Asker<'_>,
    unit: u8,
    table: &mut TableFindings,
    missed: &mut Vec<String>,
) -> Result<(), Lost> {
    let longest = table.ranges.longest;
    let most = if longest > 1 { longest & !1 } else { 1 };
    let name = table.window.table.name();
    let mut wanted: Vec<Extent> = Vec::new();
    for stretch in table.ranges.stretches.iter().rev() {
        let mut parts: Vec<Extent> = Vec::new();
        let mut start = stretch.start;
        while start < stretch.end() {
            let seam = table.ranges.seams.iter().find(|seam| **seam > start);
            let end = stretch
                .end()
                .min(start + most)
                .min(seam.copied().unwrap_or(u32::MAX));
            parts.push(Extent {
                start,
                len: end - start,
            });
            start = end;
        }
        wanted.extend(parts.into_iter().rev());
    }
    while let Some(extent) = wanted.pop() {
        match asker.read(unit, table.window.table, extent).await? {
            Answer::Words(mut words) => {
                words.truncate(extent.len as usize);
                table.keep(extent.start, words);
            }
            answer => missed.push(format!(
                "unit {unit}: {name} {}-{} could be read, and then not again: {}",
                extent.start,
                extent.end() - 1,
                match answer {
                    Answer::Exception(code) => crate::link::Failure::Exception(code).to_string(),
                    Answer::Silence(why) => why.to_string(),
                    Answer::Words(_) => String::new(),
                }
            )),
        }
    }
    Ok(())
}

impl TableFindings {
    /// Keeps what was read, as one block with what is before it.
    fn keep(&mut self, start: u32, words: Vec<u16>) {
        match self.blocks.last_mut() {
            Some(last) if last.start as usize + last.words.len() == start as usize => {
                last.words.extend(words);
            }
            _ => self.blocks.push(Block { start, words }),
        }
    }
}
