//! Tables in a terminal.

use std::borrow::Cow;
use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use crate::plain::plain;

/// Columns as wide as their widest cell, on a screen: some characters take two places and some none.
pub fn write_table<const N: usize>(out: &mut dyn Write, table: &[[String; N]]) -> io::Result<()> {
    let table: Vec<[Cow<'_, str>; N]> = table
        .iter()
        .map(|row| row.each_ref().map(|cell| plain(cell)))
        .collect();
    let mut widths = [0; N];
    for row in &table {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    for row in &table {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.width()));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_is_in_them() {
        let table =
            [["TAG", "VALUE"], ["充填機", "1"], ["a\u{1b}[1m", "2"]].map(|row| row.map(str::to_owned));
        let mut out = Vec::new();
        write_table(&mut out, &table).expect("it is written");
        let text = String::from_utf8(out).expect("it is text");
        assert_eq!(text, "TAG         VALUE\n充填機      1\na\\u{1b}[1m  2\n");
    }
}
