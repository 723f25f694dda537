//! Keys that move through a table of the whole terminal.

use ratatui::crossterm::event::KeyCode;
use ratatui::widgets::TableState;

/// Moves as a key says. Returns whether it is one of those.
pub fn scroll(table: &mut TableState, key: KeyCode) -> bool {
    match key {
        KeyCode::Down | KeyCode::Char('j') => table.select_next(),
        KeyCode::Up | KeyCode::Char('k') => table.select_previous(),
        KeyCode::PageDown => table.scroll_down_by(20),
        KeyCode::PageUp => table.scroll_up_by(20),
        KeyCode::Home => table.select_first(),
        KeyCode::End => table.select_last(),
        _ => return false,
    }
    true
}
