//! What sources want to find again: cells of their own, stored with what came from them.

use std::collections::HashMap;
use std::sync::Arc;

use floorgate_adapter_api::{Batch, Bookmarks};
use floorgate_outbox::Cell;

use super::Running;

/// How the keys of such cells begin; the source's name and the bookmark's follow.
const PREFIX: &str = "bookmark:";

/// The bookmarks of all sources, by the source's name.
#[derive(Clone, Debug, Default)]
pub struct Shelf(HashMap<String, HashMap<String, String>>);

impl Shelf {
    /// Takes the bookmarks of a source out.
    pub fn take(&mut self, source: &str) -> Bookmarks {
        Bookmarks::new(self.0.remove(source).unwrap_or_default())
    }
}

/// The bookmarks among the cells.
pub fn of_sources<'a>(cells: impl IntoIterator<Item = (&'a Arc<str>, &'a String)>) -> Shelf {
    let mut shelf = Shelf::default();
    for (key, text) in cells {
        if let Some((name, source)) = key.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':')) {
            let of_source = shelf.0.entry(source.to_owned()).or_default();
            of_source.insert(name.to_owned(), text.clone());
        }
    }
    shelf
}

/// Deletes the bookmarks of sources that are not there any more: should one come back, it was not watched meanwhile.
pub fn of_gone_sources<'a>(
    cells: impl IntoIterator<Item = (&'a Arc<str>, &'a String)>,
    is_there: impl Fn(&str) -> bool,
) -> Vec<Cell> {
    let keys = cells.into_iter().map(|(key, _)| key);
    let gone = keys.filter(|key| {
        let source = key.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':'));
        source.is_some_and(|(_, source)| !is_there(source))
    });
    gone.map(|key| Cell {
        key: Arc::clone(key),
        value: None,
    })
    .collect()
}

impl Running {
    /// Has a batch's bookmarks stored with it. Of those of one name between two commits only the last counts.
    pub(super) fn keep_bookmarks(&mut self, batch: &mut Batch) {
        let source = self.engine.core.source_name(batch.source).unwrap_or_default();
        for bookmark in batch.bookmarks.drain(..) {
            let is_it = |(key, _): &&mut (Arc<str>, String)| {
                let rest = key
                    .strip_prefix(PREFIX)
                    .and_then(|rest| rest.strip_prefix(bookmark.name));
                rest.and_then(|rest| rest.strip_prefix(':')) == Some(source)
            };
            if let Some((_, text)) = self.bookmarks.iter_mut().find(is_it) {
                *text = bookmark.text;
            } else {
                let key = format!("{PREFIX}{}:{source}", bookmark.name);
                self.bookmarks.push((key.into(), bookmark.text));
            }
        }
    }
}
