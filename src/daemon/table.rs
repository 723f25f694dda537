//! Tables in a terminal.

use std::io::{self, Write};

/// Columns as wide as their widest cell.
pub fn write_table<const N: usize>(out: &mut dyn Write, table: &[[String; N]]) -> io::Result<()> {
    let mut widths = [0; N];
    for row in table {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in table {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
