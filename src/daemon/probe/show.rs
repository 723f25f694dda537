//! What a look at a device found, for people.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use crate::plain::plain;
use crate::registry::probe::{
    InOrder, ORDER_NAMES, Queues, Reading, Report, ResponseTime, TableReport, UnitReport, Wide, numbers,
    ranges,
};

/// Writes all of it.
pub fn report(out: &mut dyn Write, report: &Report, has_colour: bool) -> io::Result<()> {
    writeln!(out, "{}, {} requests", report.connect, report.requests)?;
    if let Some(second) = &report.second_connection {
        let told = second.reason.as_ref().map_or_else(
            || "a second one is taken".to_owned(),
            |reason| format!("a second one is refused: set second_connection: false ({reason})"),
        );
        writeln!(out, "connections             {told}")?;
    }
    // A gateway, or a device that looks at no unit id, answers for units that are not there.
    let is_barren = |unit: &&UnitReport| unit.identification.is_empty() && is_barren(unit);
    let barren: Vec<&UnitReport> = report.units.iter().filter(is_barren).collect();
    let is_told_together = barren.len() > 1;
    for unit in &report.units {
        if !(is_told_together && is_barren(&unit)) {
            writeln!(out)?;
            write_unit(out, unit)?;
        }
    }
    if is_told_together {
        let mut first: Vec<&str> = barren
            .iter()
            .filter_map(|unit| unit.exception.as_deref())
            .collect();
        first.sort_unstable();
        first.dedup();
        writeln!(
            out,
            "\nunits {}: they answer, and nothing is readable: {}",
            numbers(barren.iter().map(|unit| unit.unit.into())),
            first.join(", ")
        )?;
    }
    for unit in &report.units {
        for table in &unit.tables {
            write_values(out, unit.unit, table, has_colour)?;
        }
    }
    if !report.silent.is_empty() {
        let units = numbers(report.silent.iter().map(|silent| silent.unit.into()));
        let reason = &report.silent[0].reason;
        writeln!(out, "\nno answer from units {units}: {reason}")?;
    }
    if let Some(step) = coarse(report) {
        writeln!(
            out,
            "\nwhere nothing is readable, every {step}th address was asked for: a shorter range between two of them is not seen; \
             --step 1 misses nothing"
        )?;
    }
    for missed in &report.missed {
        writeln!(out, "not looked at: {missed}")?;
    }
    Ok(())
}

/// The step, where it may have missed something.
fn coarse(report: &Report) -> Option<u32> {
    let tables = report.units.iter().flat_map(|unit| &unit.tables);
    let is_whole = |table: &TableReport| table.ranges == [table.looked_at];
    let coarse = tables.filter(|table| table.step > 1 && table.supported && !is_whole(table));
    coarse.map(|table| table.step).max()
}

/// Nothing of it can be read.
fn is_barren(unit: &UnitReport) -> bool {
    unit.tables.iter().all(|table| table.ranges.is_empty())
}

fn write_unit(out: &mut dyn Write, unit: &UnitReport) -> io::Result<()> {
    writeln!(out, "unit {}", unit.unit)?;
    for identity in &unit.identification {
        let name = identity
            .name
            .map_or_else(|| format!("object {}", identity.id), str::to_owned);
        writeln!(out, "  {name:<22}{}", identity.text)?;
    }
    if let Some(ResponseTime {
        answers,
        min_ms,
        median_ms,
        p95_ms,
    }) = unit.response_time
    {
        writeln!(
            out,
            "  {:<22}min {min_ms} ms, median {median_ms} ms, 95 % within {p95_ms} ms, of {answers} answers",
            "response time"
        )?;
    }
    for table in &unit.tables {
        writeln!(out, "  {:<22}{}", table.table, described(table))?;
    }
    if let Some(queues) = &unit.queues {
        writeln!(out, "  {:<22}{}", "queues (function 24)", told_queues(queues))?;
    }
    if let Some(exception) = unit.exception.as_ref().filter(|_| is_barren(unit)) {
        writeln!(out, "  {:<22}{exception}", "its first answer")?;
    }
    let tally = unit.word_order;
    if tally.pairs > 0 {
        let orders: Vec<String> = ORDER_NAMES
            .iter()
            .zip(tally.plausible)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(
            out,
            "  {:<22}of {} pairs that are not 0, plausible as f32: {}",
            "word order",
            tally.pairs,
            orders.join(", ")
        )?;
    }
    Ok(())
}

/// What a unit says of queues.
fn told_queues(queues: &Queues) -> String {
    let answer = queues.answer.as_deref().unwrap_or_default();
    match (queues.supported, queues.at_0) {
        (_, Some(1)) => "1 register in that at 0".to_owned(),
        (_, Some(count)) => format!("{count} registers in that at 0"),
        (Some(false), None) => "not supported (exception 01)".to_owned(),
        (Some(true), None) => format!("none at 0, and perhaps elsewhere: {answer}"),
        (None, None) => format!("not known: {answer}"),
    }
}

fn described(table: &TableReport) -> String {
    if !table.supported {
        return "not supported (exception 01)".to_owned();
    }
    if table.ranges.is_empty() {
        return format!("nothing readable in {}", table.looked_at);
    }
    let mut parts = vec![ranges(&table.ranges)];
    let what = if is_bits(table) { "bits" } else { "registers" };
    if let Some(largest) = table.largest_request {
        let (count, least) = (largest.count, if largest.exact { "" } else { "at least " });
        parts.push(format!("largest request {least}{count} {what}"));
    }
    if !table.boundaries.is_empty() {
        let places = numbers(table.boundaries.iter().copied());
        parts.push(format!("a request has to begin anew at {places}"));
    }
    parts.join("; ")
}

fn is_bits(table: &TableReport) -> bool {
    matches!(table.table, "coil" | "discrete")
}

/// A cell, and whether it is marked.
type Cell = (String, bool);

fn write_values(out: &mut dyn Write, unit: u8, table: &TableReport, has_colour: bool) -> io::Result<()> {
    if !table.set.is_empty() {
        let set = numbers(table.set.iter().copied());
        writeln!(
            out,
            "\nunit {unit}, {}: these are 1, the others 0\n{set}",
            table.table
        )?;
    }
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut zeros = 0;
    for reading in &table.registers {
        if reading.u16 == 0 && reading.wide.is_empty() {
            zeros += 1;
        } else {
            add_rows(reading, &mut rows);
        }
    }
    if !rows.is_empty() {
        writeln!(
            out,
            "\nunit {unit}, {}: * is of a size that is usual in a plant{}",
            table.table,
            match zeros {
                0 => String::new(),
                zeros => format!("; {zeros} registers that are 0 are left out"),
            }
        )?;
        let titles = ["ADDRESS", "HEX", "U16", "I16", "TEXT", "WITH NEXT"];
        let head = titles.iter().chain(&ORDER_NAMES);
        rows.insert(0, head.map(|title| ((*title).to_owned(), false)).collect());
        write_table(out, &rows, has_colour)?;
    }
    for text in &table.texts {
        writeln!(
            out,
            "text at {} of {} registers, {}: {:?}",
            text.address, text.registers, text.word_order, text.text
        )?;
    }
    Ok(())
}

fn add_rows(reading: &Reading, rows: &mut Vec<Vec<Cell>>) {
    let plain = |text: String| (text, false);
    let mut first = vec![
        plain(reading.address.to_string()),
        plain(reading.hex.clone()),
        plain(reading.u16.to_string()),
        plain(reading.i16.to_string()),
        plain(reading.text.clone()),
    ];
    let mut wides = reading.wide.iter().filter(|wide| !is_repeated(wide));
    if let Some(wide) = wides.next() {
        first.extend(cells(wide));
    }
    rows.push(first);
    for wide in wides {
        let mut row = vec![plain(String::new()); 5];
        row.extend(cells(wide));
        rows.push(row);
    }
}

/// A signed number that is nowhere negative is the unsigned one.
fn is_repeated(wide: &Wide) -> bool {
    let is_negative = |number: &InOrder| number.value.to_string().starts_with('-');
    wide.kind.starts_with('i') && !wide.orders.iter().any(is_negative)
}

fn cells(wide: &Wide) -> impl Iterator<Item = Cell> {
    let number = |number: &InOrder| {
        let mark = if number.plausible { "*" } else { "" };
        (format!("{}{mark}", number.value), number.plausible)
    };
    std::iter::once((wide.kind.to_owned(), false)).chain(wide.orders.iter().map(number))
}

/// Columns as wide as their widest cell.
fn write_table(out: &mut dyn Write, rows: &[Vec<Cell>], has_colour: bool) -> io::Result<()> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, (text, _)) in row.iter().enumerate() {
            let width = plain(text).width();
            match widths.get_mut(at) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    for row in rows {
        let mut line = String::new();
        for (at, (text, is_marked)) in row.iter().enumerate() {
            let text = &*plain(text);
            if *is_marked && has_colour {
                line.extend(["\x1b[1;32m", text, "\x1b[0m"]);
            } else {
                line.push_str(text);
            }
            if at + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', widths[at] + 2 - text.width()));
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
