//! What was found, as the beginning of a mapping.
//!
//! A Modbus device does not say what its registers mean, so a type is a guess: the word order that makes sense of most numbers, and
//! `u16` where it makes none. What else a register may be stands beside it. Registers and bits that are 0 are left out: nothing can be
//! seen of them.

use floorgate_adapter_api::{Point, PointKind, Scalar, Survey};

use super::reading::{self, InOrder, ORDER_NAMES, Reading, TextFound};
use super::{Findings, Look, TableFindings, UnitFindings};
use crate::address::Table;

/// Longest text of a tag, in bytes.
const MOST_BYTES: usize = 250;

impl Findings {
    /// A first guess at what a mapping may read, and how many registers and bits are left out since they were 0.
    #[must_use]
    pub fn survey(&self, look: &Look) -> (Survey, usize) {
        let mut survey = Survey {
            settings: self.settings(look),
            points: Vec::new(),
            missed: self.missed(look),
            is_partial: !self.is_complete,
        };
        let with_values: Vec<&UnitFindings> = self.units.iter().filter(|unit| unit.has_values()).collect();
        let is_alone = with_values.len() < 2;
        let mut zeros = 0;
        for unit in with_values {
            zeros += unit.add(is_alone, &mut survey.points);
        }
        (survey, zeros)
    }

    fn settings(&self, look: &Look) -> Vec<(String, Scalar)> {
        let target = look.target.clone().with_times(look.timeout, look.pace);
        let mut settings = target.settings;
        let mut with_values = self.units.iter().filter(|unit| unit.has_values());
        if let (Some(unit), None) = (with_values.next(), with_values.next()) {
            settings.push(("unit".to_owned(), Scalar::Int(unit.unit.into())));
        }
        if self.second.as_ref().is_some_and(|second| !second.taken) {
            settings.push(("second_connection".to_owned(), Scalar::Bool(false)));
        }
        let tables = || self.units.iter().flat_map(|unit| &unit.tables);
        for (key, is_bits) in [("max_registers", false), ("max_bits", true)] {
            let of_kind = tables().filter(|table| table.window.table.has_bits() == is_bits);
            if let Some(limit) = of_kind.filter_map(|table| table.ranges.limit).min() {
                settings.push((key.to_owned(), Scalar::Int(limit.into())));
            }
        }
        settings
    }
}

impl UnitFindings {
    fn has_values(&self) -> bool {
        let mut blocks = self.tables.iter().flat_map(|table| &table.blocks);
        blocks.any(|block| block.words.iter().any(|word| *word != 0))
    }

    /// Adds what is not 0, and says how many are.
    fn add(&self, is_alone: bool, points: &mut Vec<Point>) -> usize {
        let best = self.tally().best();
        let mut place = Place {
            unit: self.unit,
            is_alone,
            table: Table::Holding,
        };
        let mut zeros = 0;
        for table in &self.tables {
            place.table = table.window.table;
            zeros += if table.window.table.has_bits() {
                add_bits(table, place, points)
            } else {
                add_registers(table, place, best, points)
            };
        }
        zeros
    }
}

#[derive(Clone, Copy)]
struct Place {
    unit: u8,
    is_alone: bool,
    table: Table,
}

impl Place {
    fn point(self, address: u32, kind: PointKind) -> Point {
        let own = format!("{} {address}", self.table.name());
        let mut keys = vec![(self.table.name(), Scalar::Int(address.into()))];
        let mut path = vec![own];
        if !self.is_alone {
            path.insert(0, format!("unit {}", self.unit));
            keys.push(("unit_id", Scalar::Int(self.unit.into())));
        }
        Point {
            path,
            address: keys,
            kind,
            unit: None,
            range: None,
            states: Vec::new(),
            description: None,
            value: None,
            role: None,
        }
    }
}

/// Adds bits that are 1, and says how many are not.
fn add_bits(table: &TableFindings, place: Place, points: &mut Vec<Point>) -> usize {
    let mut zeros = 0;
    for block in &table.blocks {
        for (address, bit) in (block.start..).zip(&block.words) {
            if *bit == 0 {
                zeros += 1;
                continue;
            }
            let mut point = place.point(address, PointKind::Bit);
            point.value = Some("true".to_owned());
            points.push(point);
        }
    }
    zeros
}

/// Adds what registers that are not 0 may be, and says how many are 0.
fn add_registers(table: &TableFindings, place: Place, best: Option<usize>, points: &mut Vec<Point>) -> usize {
    let mut zeros = 0;
    let text_order = if best.is_some_and(|best| best >= 2) {
        "BADC"
    } else {
        "ABCD"
    };
    for block in &table.blocks {
        let readings = reading::readings(block, 2);
        let mut texts = reading::texts(block);
        texts.retain(|text| text.word_order == text_order);
        let mut at = 0;
        while let Some(reading) = readings.get(at) {
            let is_pair_start = at % 2 == 0;
            if let Some(text) = texts.iter().find(|text| text.address == reading.address) {
                points.push(text_point(place, text));
                at += text.registers;
                continue;
            }
            let number = best
                .and_then(|best| float(reading, best))
                .filter(|_| is_pair_start);
            if let Some(number) = number {
                points.push(float_point(place, reading, number));
                at += 2;
                continue;
            }
            if reading.u16 == 0 {
                zeros += 1;
            } else {
                points.push(word_point(place, reading));
            }
            at += 1;
        }
    }
    zeros
}

/// The number that begins here in this word order, where it is plausible.
fn float(reading: &Reading, order: usize) -> Option<&InOrder> {
    let wide = reading.wide.iter().find(|wide| wide.kind == "f32")?;
    let number = wide
        .orders
        .iter()
        .find(|number| number.word_order == ORDER_NAMES[order])?;
    number.plausible.then_some(number)
}

fn text_point(place: Place, text: &TextFound) -> Point {
    let mut point = place.point(text.address, PointKind::Text);
    let bytes = (text.registers * 2).min(MOST_BYTES);
    let mut keys = vec![
        ("type", Scalar::Text("string".to_owned())),
        ("length", Scalar::Int(i64::try_from(bytes).unwrap_or_default())),
    ];
    if text.word_order != ORDER_NAMES[0] {
        keys.push(("word_order", Scalar::Text(text.word_order.to_owned())));
    }
    point.address.splice(1..1, keys);
    point.description = Some("its length is a guess".to_owned());
    point.value = Some(text.text.clone());
    point
}

fn float_point(place: Place, reading: &Reading, number: &InOrder) -> Point {
    let mut point = place.point(reading.address, PointKind::Float);
    let mut keys = vec![("type", Scalar::Text("f32".to_owned()))];
    if number.word_order != ORDER_NAMES[0] {
        keys.push(("word_order", Scalar::Text(number.word_order.to_owned())));
    }
    point.address.splice(1..1, keys);
    point.description = Some(candidates(reading, ("f32", number.word_order)));
    point.value = Some(number.value.to_string());
    point
}

fn word_point(place: Place, reading: &Reading) -> Point {
    let mut point = place.point(reading.address, PointKind::Whole);
    point.description = Some(candidates(reading, ("u16", "")));
    point.value = Some(reading.u16.to_string());
    point
}

/// What a register may be besides what was taken.
fn candidates(reading: &Reading, taken: (&str, &str)) -> String {
    let mut others: Vec<String> = Vec::new();
    if taken.0 != "u16" {
        others.push(format!("u16 {}", reading.u16));
    }
    if reading.i16 < 0 {
        others.push(format!("i16 {}", reading.i16));
    }
    for wide in &reading.wide {
        // An i32 that is not negative is the u32.
        let unsigned = |number: &InOrder| matches!(number.value, reading::Number::Int(0..));
        for number in wide
            .orders
            .iter()
            .filter(|number| number.plausible && !unsigned(number))
        {
            if (wide.kind, number.word_order) != taken {
                others.push(format!("{} {} {}", wide.kind, number.word_order, number.value));
            }
        }
    }
    if others.is_empty() {
        return "a guess".to_owned();
    }
    format!("a guess; or {}", others.join(", "))
}
