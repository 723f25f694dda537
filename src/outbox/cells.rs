//! State cells: the journal, what of it is not in `cell` yet, and the rounds that write it there.
//!
//! A *round* freezes the dirty cells and writes them to `cell` in small steps while commits go on. A cell that changes meanwhile is dirty
//! again and has a younger journal row. When the round is through, the journal before the commit at which it froze them is superfluous and
//! is deleted in small steps from the oldest row on.
//!
//! Start reads `cell` and applies all of the journal in order. That is right at every moment: what a row of `cell` has missed since it was
//! written is in the journal, and what it is ahead of the journal's older rows is brought back by the younger ones.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use memchr::memchr3;
use rusqlite::{Connection, params};

use crate::Cell;
use crate::catalog::sequence;
use crate::error::Unreadable;

/// A round is due when the journal has grown by this many bytes …
const ROUND_BYTES: usize = 1 << 20;
/// … and by this many times what the round will have to write: start replays at most about this much more than it restores.
const ROUND_FACTOR: usize = 4;
/// What a row of `cell` costs beside key and value, roughly.
const CELL_OVERHEAD: usize = 16;
/// How many cells one step writes, and how many journal rows one step deletes.
const CELLS_A_STEP: usize = 256;
const JOURNAL_ROWS_A_STEP: u64 = 64;

/// The cells that are not in `cell` yet.
#[derive(Debug, Default)]
struct Dirty {
    /// Their content; `None`: removed.
    cells: HashMap<Arc<str>, Option<String>, RandomState>,
    /// What writing them costs.
    bytes: usize,
}

impl Dirty {
    fn insert(&mut self, key: Arc<str>, value: Option<String>) {
        let length = value.as_ref().map_or(0, String::len);
        let key_cost = key.len() + CELL_OVERHEAD;
        self.bytes += length;
        match self.cells.insert(key, value) {
            Some(old) => self.bytes -= old.map_or(0, |old| old.len()),
            None => self.bytes += key_cost,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Cells {
    /// The number of the youngest journal row.
    last: u64,
    dirty: Dirty,
    journal_bytes: usize,
    round: Option<Round>,
    /// The oldest journal row that may still be there, and up to where they may be deleted.
    oldest: u64,
    superfluous: u64,
    /// The text of the journal row that is being made.
    text: String,
}

#[derive(Debug)]
struct Round {
    /// The commit as of which the cells are frozen.
    at: u64,
    /// What is left, in the reverse of the table's order, so that a step takes neighbours from the end.
    left: Vec<(Arc<str>, Option<String>)>,
}

/// A step of maintenance that was written and waits for its transaction to be kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Snapshot(usize),
    Trim(u64),
}

impl Cells {
    /// Reads all cells and applies the journal.
    pub(crate) fn read(connection: &Connection) -> Result<(Self, HashMap<Arc<str>, String>), Unreadable> {
        let mut this = Self::default();
        let mut cells: HashMap<Arc<str>, String> = connection
            .prepare("SELECT key, value FROM cell")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut statement = connection.prepare("SELECT number, cells FROM journal ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = sequence(row, 0)?;
            if number == 0 {
                return Err(Unreadable::Damaged("a journal row has no number".to_owned()));
            }
            let text = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            if this.oldest == 0 {
                this.oldest = number;
            }
            this.last = this.last.max(number);
            this.journal_bytes += text.len();
            let applied = decode(text, |key, value| {
                let known = cells.get_key_value(key.as_str()).map(|(key, _)| key);
                let known =
                    known.or_else(|| this.dirty.cells.get_key_value(key.as_str()).map(|(key, _)| key));
                let key = known.map_or_else(|| Arc::from(key), Arc::clone);
                match &value {
                    Some(value) => cells.insert(Arc::clone(&key), value.clone()),
                    None => cells.remove(&key),
                };
                this.dirty.insert(key, value);
            });
            if let Err(line) = applied {
                return Err(Unreadable::Damaged(format!(
                    "journal row {number} has an incomplete line {line}"
                )));
            }
        }
        if this.oldest == 0 {
            this.oldest = this.last + 1;
        }
        Ok((this, cells))
    }

    /// All cells as of the last commit: the table's, with what a round has not written yet, with what changed since.
    pub(crate) fn current(&self, connection: &Connection) -> rusqlite::Result<HashMap<Arc<str>, String>> {
        let mut cells: HashMap<Arc<str>, String> = connection
            .prepare("SELECT key, value FROM cell")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let round = self.round.iter().flat_map(|round| &round.left);
        for (key, value) in round.map(|(key, value)| (key, value)).chain(&self.dirty.cells) {
            match value {
                Some(value) => cells.insert(Arc::clone(key), value.clone()),
                None => cells.remove(key),
            };
        }
        Ok(cells)
    }

    /// The number of the youngest journal row, which only rises.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Writes the journal row of a commit.
    pub(crate) fn write(&mut self, connection: &Connection, cells: &[Cell]) -> rusqlite::Result<()> {
        if cells.is_empty() {
            return Ok(());
        }
        self.text.clear();
        for cell in cells {
            encode(&mut self.text, &cell.key, cell.value.as_deref());
        }
        connection
            .prepare_cached("INSERT INTO journal (number, cells) VALUES (?1, ?2)")?
            .execute(params![(self.last + 1).cast_signed(), self.text])?;
        Ok(())
    }

    /// Takes over the cells of a commit that is stored.
    pub(crate) fn keep(&mut self, cells: &mut Vec<Cell>) {
        if cells.is_empty() {
            return;
        }
        self.last += 1;
        self.journal_bytes += self.text.len();
        for cell in cells.drain(..) {
            self.dirty.insert(cell.key, cell.value);
        }
    }

    /// Starts a round when one is due. Says whether a step is to be made.
    pub(crate) fn due(&mut self) -> bool {
        if self.round.is_none()
            && self.superfluous < self.oldest
            && self.journal_bytes >= ROUND_BYTES.max(ROUND_FACTOR * self.dirty.bytes)
        {
            self.begin_round();
        }
        self.round.is_some() || self.superfluous >= self.oldest
    }

    fn begin_round(&mut self) {
        let mut left: Vec<_> = std::mem::take(&mut self.dirty).cells.into_iter().collect();
        left.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        self.journal_bytes = 0;
        self.round = Some(Round { at: self.last, left });
    }

    /// Writes one step of the round, or deletes some of the superfluous journal.
    pub(crate) fn step(&self, connection: &Connection) -> rusqlite::Result<Option<Step>> {
        if let Some(round) = &self.round {
            let take = round.left.len().min(CELLS_A_STEP);
            for (key, value) in round.left.iter().rev().take(take) {
                match value {
                    Some(value) => connection
                        .prepare_cached(
                            "INSERT INTO cell (key, value) VALUES (?1, ?2)
                             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                        )?
                        .execute(params![key, value])?,
                    None => connection
                        .prepare_cached("DELETE FROM cell WHERE key = ?1")?
                        .execute([key])?,
                };
            }
            return Ok(Some(Step::Snapshot(take)));
        }
        if self.superfluous < self.oldest {
            return Ok(None);
        }
        let end = self.superfluous.min(self.oldest + JOURNAL_ROWS_A_STEP - 1);
        connection
            .prepare_cached("DELETE FROM journal WHERE number BETWEEN ?1 AND ?2")?
            .execute([self.oldest.cast_signed(), end.cast_signed()])?;
        Ok(Some(Step::Trim(end)))
    }

    /// Takes note of a step that is stored.
    pub(crate) fn keep_step(&mut self, step: &Step) {
        match step {
            Step::Snapshot(count) => {
                if let Some(round) = &mut self.round {
                    round
                        .left
                        .truncate(round.left.len() - (*count).min(round.left.len()));
                    if round.left.is_empty() {
                        // The youngest row stays, so that the next start counts on from it.
                        self.superfluous = round.at.saturating_sub(1);
                        self.round = None;
                    }
                }
            }
            Step::Trim(end) => self.oldest = end + 1,
        }
    }
}

/// A journal row is a line for each cell: key, tab, value; a removed cell has no tab. Backslash, tab and line feed are `\\`, `\t`, `\n`.
fn encode(text: &mut String, key: &str, value: Option<&str>) {
    escape(text, key);
    if let Some(value) = value {
        text.push('\t');
        escape(text, value);
    }
    text.push('\n');
}

fn escape(text: &mut String, part: &str) {
    let mut rest = part;
    while let Some(at) = memchr3(b'\\', b'\t', b'\n', rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        text.push_str(match special.as_bytes().first() {
            Some(b'\\') => "\\\\",
            Some(b'\t') => "\\t",
            _ => "\\n",
        });
        rest = special.get(1..).unwrap_or_default();
    }
    text.push_str(rest);
}

/// Gives each cell of a journal row to `take`. `Err`: the number of a line that does not end.
pub(crate) fn decode(text: &str, mut take: impl FnMut(String, Option<String>)) -> Result<(), usize> {
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let line = line.strip_suffix('\n').ok_or(number + 1)?;
        match line.split_once('\t') {
            Some((key, value)) => take(unescape(key), Some(unescape(value))),
            None => take(unescape(line), None),
        }
    }
    Ok(())
}

fn unescape(part: &str) -> String {
    let mut plain = String::with_capacity(part.len());
    let mut rest = part;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some(other) => plain.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_text_round_trips() {
        let cells = [
            ("tag:a", Some("{\"v\":1,\"t\":\"x\\\"y\"}")),
            ("a\\tb\tc\nd", Some("\\")),
            ("", Some("")),
            ("gone", None),
            ("µ\u{1f980}\\n", Some("line\nline\\n\t")),
        ];
        let mut text = String::new();
        for (key, value) in cells {
            encode(&mut text, key, value);
        }
        assert_eq!(text.matches('\n').count(), cells.len());
        let mut back = Vec::new();
        assert_eq!(decode(&text, |key, value| back.push((key, value))), Ok(()));
        let given: Vec<_> = cells
            .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
            .into();
        assert_eq!(back, given);
    }

    #[test]
    fn any_text_is_decoded_or_refused() {
        const PIECES: [&str; 8] = ["k", "\t", "\n", "\\", "\\t", "-", "\u{0}", "ü"];
        let mut random: u64 = 1;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..random >> 33 & 15 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                text.push_str(PIECES[usize::try_from(random >> 61).unwrap()]);
            }
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            let mut cells = 0;
            let decoded = decode(&text, |_, _| cells += 1);
            assert!(decoded.is_err() || cells <= text.len(), "{text:?}");
        }
    }

    #[test]
    fn a_cut_journal_row_is_noticed() {
        assert_eq!(decode("a\t1\nb\t2", |_, _| {}), Err(2));
    }
}
