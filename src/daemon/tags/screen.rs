//! The view of the whole terminal.

use std::fmt::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use floorgate_sample::Timestamp;
use floorgate_workbench::recording::Entry;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, TableState};

use super::board::{Board, Row};
use super::{Asker, follow};
use crate::ending::{Ending, LONGEST_WAIT};
use crate::plain::plain;
use crate::scroll::scroll;

/// How often it is drawn: calm enough to be read.
const FRAME: Duration = LONGEST_WAIT;

/// What the user sees beside the tags.
#[derive(Default)]
struct View {
    /// Text that names must contain.
    filter: String,
    /// The filter is being typed.
    is_typing: bool,
    table: TableState,
    /// Tags that come most often first.
    by_rate: bool,
    is_over: bool,
}

/// Shows tags until `q`, or until the gateway stops.
pub fn show(stream: &UnixStream, mut board: Board, mut asker: Asker) -> anyhow::Result<()> {
    let (sender, entries) = channel::<Vec<Entry>>();
    let reading = follow(stream.try_clone()?, move |block| sender.send(block).is_ok())?;
    let ending = Ending::heed()?;
    let mut terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
    let mut view = View::default();
    let mut has_ended = false;
    let shown = loop {
        let mut drawn = Instant::now();
        loop {
            match entries.try_recv() {
                Ok(block) => block.into_iter().for_each(|entry| drop(board.take(entry))),
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    has_ended = true;
                    break;
                }
            }
        }
        // Where it does not answer, the stream ends and says so.
        let _ = asker.tell(&mut board);
        if let Err(error) = terminal.draw(|frame| draw(frame, &board, &mut view)) {
            break Err(error);
        }
        if let Err(error) = keys(&mut view, &mut drawn) {
            break Err(error);
        }
        view.is_over |= ending.is_told();
        if view.is_over || has_ended {
            break Ok(());
        }
    };
    ratatui::restore();
    let _ = stream.shutdown(Shutdown::Both);
    shown?;
    if has_ended && !view.is_over {
        match reading.join() {
            Ok(read) => read?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        anyhow::bail!("the gateway has stopped");
    }
    Ok(())
}

/// Takes keys until the next frame.
fn keys(view: &mut View, drawn: &mut Instant) -> std::io::Result<()> {
    while event::poll(FRAME.saturating_sub(drawn.elapsed()))? {
        let Event::Key(key) = event::read()? else {
            // Another size: it is drawn anew.
            return Ok(());
        };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => view.is_over = true,
            KeyCode::Esc if view.is_typing => {
                view.filter.clear();
                view.is_typing = false;
            }
            KeyCode::Enter if view.is_typing => view.is_typing = false,
            KeyCode::Backspace if view.is_typing => drop(view.filter.pop()),
            KeyCode::Char(letter) if view.is_typing => view.filter.push(letter),
            KeyCode::Char('q') | KeyCode::Esc => view.is_over = true,
            KeyCode::Char('/') => view.is_typing = true,
            KeyCode::Char('r') => view.by_rate = !view.by_rate,
            code if scroll(&mut view.table, code) => {}
            _ => continue,
        }
        return Ok(());
    }
    Ok(())
}

fn draw(frame: &mut Frame<'_>, board: &Board, view: &mut View) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    let mut rows: Vec<&Row> = board
        .rows()
        .into_iter()
        .filter(|row| row.key.contains(&view.filter))
        .collect();
    if view.by_rate {
        rows.sort_by(|a, b| b.rate(board.begun).total_cmp(&a.rate(board.begun)));
    }
    let bad = rows.iter().filter(|row| !row.is_good()).count();
    let rate: f64 = rows.iter().map(|row| row.rate(board.begun)).sum();
    let mut head = format!("{} tags, {bad} not good, {rate:.1} values a second", rows.len());
    if board.left_out > 0 {
        // Writing to text does not fail.
        let _ = write!(head, ", {} not shown since they came too fast", board.left_out);
    }
    frame.render_widget(Paragraph::new(head), top);
    let now = Timestamp::now();
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let lines = rows.iter().map(|row| {
        let style = if row.is_good() {
            Style::new()
        } else {
            Style::new().fg(Color::Yellow)
        };
        let cells = [
            plain(&row.key).into_owned(),
            row.value(),
            row.quality().to_owned(),
            row.age(now),
            format!("{:.1}", row.rate(board.begun)),
            row.rules.join(", "),
            row.remarks(),
        ];
        Cells::new(cells.map(Cell::from)).style(style)
    });
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(9),
        Constraint::Length(13),
        Constraint::Length(8),
        Constraint::Fill(4),
        Constraint::Fill(2),
    ];
    let table = Table::new(lines, widths)
        .header(Cells::new(["TAG", "VALUE", "QUALITY", "AGE", "A SECOND", "RULES", "REASON"]).style(bold))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, middle, &mut view.table);
    let help = if view.is_typing {
        format!("names with: {}_   Enter keeps it, Esc shows all", view.filter)
    } else {
        "q ends   / filters   r sorts by rate   arrows scroll".to_owned()
    };
    frame.render_widget(
        Paragraph::new(Line::from(help)).style(Style::new().add_modifier(Modifier::DIM)),
        bottom,
    );
}
