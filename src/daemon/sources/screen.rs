//! The view of the whole terminal.

use std::time::Instant;

use floorgate_sample::Timestamp;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, TableState};

use super::{Asker, EVERY, HEAD, lines, summary};
use crate::ending::{Ending, LONGEST_WAIT};
use crate::plain::plain;
use crate::scroll::scroll;
use crate::standing::SourceRow;

/// Shows sources until `q`, or until the gateway stops.
pub fn show(asker: &Asker) -> anyhow::Result<()> {
    let mut rows = asker.rows()?;
    let ending = Ending::heed()?;
    let mut terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
    let mut table = TableState::default();
    let mut looked = Instant::now();
    let shown = loop {
        if looked.elapsed() >= EVERY {
            match asker.rows() {
                Ok(now) => rows = now,
                Err(error) => break Err(error.context("the gateway has stopped")),
            }
            looked = Instant::now();
        }
        if let Err(error) = terminal.draw(|frame| draw(frame, &rows, &mut table)) {
            break Err(error.into());
        }
        match key(looked, &mut table) {
            Ok(goes_on) if goes_on && !ending.is_told() => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    ratatui::restore();
    shown
}

/// Takes a key, where one comes before it is time to ask again. Returns whether to go on.
fn key(looked: Instant, table: &mut TableState) -> std::io::Result<bool> {
    let wait = EVERY.saturating_sub(looked.elapsed()).min(LONGEST_WAIT);
    if !event::poll(wait)? {
        return Ok(true);
    }
    let Event::Key(key) = event::read()? else {
        return Ok(true);
    };
    match key.code {
        _ if key.kind == KeyEventKind::Release => {}
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(false),
        KeyCode::Char('q') | KeyCode::Esc => return Ok(false),
        code => drop(scroll(table, code)),
    }
    Ok(true)
}

fn draw(frame: &mut Frame<'_>, rows: &[SourceRow], state: &mut TableState) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(rows)), top);
    let now = Timestamp::now();
    let shown = rows.iter().flat_map(|row| {
        let style = if row.state == "online" {
            Style::new()
        } else {
            Style::new().fg(Color::Yellow)
        };
        let shown = move |cells: [String; 13]| {
            Cells::new(cells.map(|cell| Cell::from(plain(&cell).into_owned()))).style(style)
        };
        lines(row, now).into_iter().map(shown)
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Length(20),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Fill(4),
    ];
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let table = Table::new(shown, widths)
        .header(Cells::new(HEAD).style(bold))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, middle, state);
    let help = Paragraph::new("q ends   arrows scroll");
    frame.render_widget(help.style(Style::new().add_modifier(Modifier::DIM)), bottom);
}
