//! What is to be looked at, as the command line says it.

use std::str::FromStr;
use std::time::Duration;

use super::target::Target;
use crate::address::Table;
use crate::planner::Extent;
use crate::settings::{MOST_BITS, MOST_REGISTERS};

/// The largest address.
const LAST_ADDRESS: u32 = 65_535;
/// Slave addresses of devices (serial line specification V1.02 §2.2).
const LAST_UNIT: u8 = 247;

/// A word of the command line cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongWord(String);

/// Unit ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units(pub(super) Vec<u8>);

impl FromStr for Units {
    type Err = WrongWord;

    fn from_str(text: &str) -> Result<Self, WrongWord> {
        if text == "all" {
            return Ok(Self((1..=LAST_UNIT).collect()));
        }
        let mut units = Vec::new();
        for part in text.split(',') {
            let (first, last) = bounds(part)
                .and_then(|(first, last)| Some((u8::try_from(first).ok()?, u8::try_from(last).ok()?)))
                .ok_or_else(|| {
                    WrongWord(format!(
                        "`{part}` is no unit id and no range of them; 0 to 255, as in 1-10,255, or all for 1 to {LAST_UNIT}"
                    ))
                })?;
            for unit in first..=last {
                if !units.contains(&unit) {
                    units.push(unit);
                }
            }
        }
        Ok(Self(units))
    }
}

/// One of the four tables of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableName(pub(super) Table);

impl FromStr for TableName {
    type Err = WrongWord;

    fn from_str(text: &str) -> Result<Self, WrongWord> {
        let is_named = |table: &Table| text == table.name() || text.strip_suffix('s') == Some(table.name());
        // A queue is no table: its addresses tell nothing of each other.
        let mut tables = Table::ALL.into_iter().filter(|table| *table != Table::Fifo);
        let table = tables.find(is_named);
        table.map(Self).ok_or_else(|| {
            WrongWord(format!(
                "`{text}` is no table; they are holding, input, coil and discrete"
            ))
        })
    }
}

/// Addresses of a table, counted from 0 as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses(pub(super) Extent);

impl FromStr for Addresses {
    type Err = WrongWord;

    fn from_str(text: &str) -> Result<Self, WrongWord> {
        let (first, last) = bounds(text).filter(|(_, last)| *last <= LAST_ADDRESS).ok_or_else(|| {
            WrongWord(format!(
                "`{text}` is no range of addresses; 0 to {LAST_ADDRESS}, as in 0-999, counted from 0 as on the wire"
            ))
        })?;
        Ok(Self(Extent {
            start: first,
            len: last - first + 1,
        }))
    }
}

/// Addresses of one table: `holding:100-109`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) table: Table,
    pub(super) extent: Extent,
}

impl FromStr for Place {
    type Err = WrongWord;

    fn from_str(text: &str) -> Result<Self, WrongWord> {
        let (table, addresses) = text.split_once(':').ok_or_else(|| {
            WrongWord(format!(
                "`{text}` names no table and addresses of it, as in holding:100-109"
            ))
        })?;
        Ok(Self {
            table: table.parse::<TableName>()?.0,
            extent: addresses.parse::<Addresses>()?.0,
        })
    }
}

/// `7` or `1-10`.
fn bounds(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// Where.
    pub target: Target,
    /// Which units; without it a few usual ones.
    pub units: Option<Units>,
    /// Which tables.
    pub tables: Vec<TableName>,
    /// Which addresses of each.
    pub ranges: Vec<Addresses>,
    /// Where nothing is readable, how far apart are the addresses that are asked for.
    pub step: u32,
    /// Only these, instead of tables and ranges.
    pub at: Vec<Place>,
    /// Numbers of 64 bits too.
    pub wide: bool,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long nothing is asked after an answer.
    pub pace: Duration,
}

/// A stretch of one table that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub table: Table,
    pub extent: Extent,
    pub step: u32,
}

impl Look {
    /// What is looked at of each unit.
    pub(super) fn windows(&self) -> Vec<Window> {
        if !self.at.is_empty() {
            let window = |place: &Place| Window {
                table: place.table,
                extent: place.extent,
                step: 1,
            };
            return self.at.iter().map(window).collect();
        }
        let ranges = || self.ranges.iter().map(|range| range.0);
        let tables = self.tables.iter().map(|table| table.0);
        tables
            .flat_map(|table| {
                ranges().map(move |extent| Window {
                    table,
                    extent,
                    step: self.step,
                })
            })
            .collect()
    }

    /// The units that are asked, in order.
    pub(super) fn units(&self) -> Vec<u8> {
        match &self.units {
            Some(units) => units.0.clone(),
            None if self.target.checked.endpoint.is_serial() => (1..=10).collect(),
            // A device that is no gateway is mostly 1, 255 or 0 (MODBUS Messaging on TCP/IP V1.0b §4.4.1.2).
            None => (1..=10).chain([255, 0]).collect(),
        }
    }
}

/// The longest request of a table that the protocol knows.
pub(super) fn most(table: Table) -> u32 {
    if table.has_bits() {
        MOST_BITS.into()
    } else {
        MOST_REGISTERS.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line_are_understood_or_refused_with_a_way_out() {
        assert_eq!("1-3,255,2".parse(), Ok(Units(vec![1, 2, 3, 255])));
        assert_eq!("all".parse::<Units>().map(|units| units.0.len()), Ok(247));
        assert_eq!("coils".parse(), Ok(TableName(Table::Coil)));
        let extent = Extent { start: 100, len: 10 };
        let table = Table::Holding;
        assert_eq!("holding:100-109".parse(), Ok(Place { table, extent }));
        for wrong in ["", "256", "3-1", "1-10;255"] {
            let told = wrong.parse::<Units>().expect_err(wrong).to_string();
            assert!(told.contains("1-10,255"), "{told}");
        }
        for wrong in ["0-65536", "-5", "x"] {
            let told = wrong.parse::<Addresses>().expect_err(wrong).to_string();
            assert!(told.contains("0-999"), "{told}");
        }
        assert!("registers:1-2".parse::<Place>().is_err() && "100-109".parse::<Place>().is_err());
    }
}
