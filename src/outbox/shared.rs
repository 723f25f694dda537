//! Header texts that many events share, each stored once.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rusqlite::{Connection, params};

use crate::Event;
use crate::catalog::sequence;

/// The texts and their numbers in the `shared` table. Numbers are given out in memory first; [`Shared::keep`] or [`Shared::undo`]
/// ends that.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    numbers: HashMap<Arc<str>, i64, RandomState>,
    last: i64,
    /// Texts that are not stored yet.
    new: Vec<Arc<str>>,
}

impl Shared {
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut shared = Self::default();
        let mut statement = connection.prepare("SELECT id, headers FROM shared")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = sequence(row, 0)?.cast_signed();
            shared.last = shared.last.max(number);
            shared.numbers.insert(row.get(1)?, number);
        }
        Ok(shared)
    }

    /// The number of an event's text.
    pub(crate) fn number(&mut self, event: &Event) -> i64 {
        if let Some(number) = self.numbers.get(&event.shared_headers) {
            return *number;
        }
        self.last += 1;
        self.numbers.insert(Arc::clone(&event.shared_headers), self.last);
        self.new.push(Arc::clone(&event.shared_headers));
        self.last
    }

    /// Stores the new texts.
    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for text in &self.new {
            connection
                .prepare_cached("INSERT INTO shared (id, headers) VALUES (?1, ?2)")?
                .execute(params![self.numbers.get(text), text])?;
        }
        Ok(())
    }

    pub(crate) fn keep(&mut self) {
        self.new.clear();
    }

    pub(crate) fn undo(&mut self) {
        for text in self.new.drain(..) {
            self.numbers.remove(&text);
        }
    }
}
