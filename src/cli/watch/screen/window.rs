//! PURE. Windows above the screen: the keys, what a word will touch, and the operator's answer.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::symbols::border;
use ratatui::text::Line as Row;
use ratatui::widgets::{Block, Paragraph};

use super::{Clear, Look, cut, style, wrap};
use crate::cli::text::{Line, Tone};
use crate::cli::watch::keys::Mode;

/// Columns at most.
const WIDEST: u16 = 96;

/// A window.
pub(super) struct Window {
    title: String,
    lines: Vec<Line>,
    /// The first row that is shown.
    at: usize,
    /// Below the lines, always to be seen.
    prompt: Vec<Line>,
}

/// The window that is open.
pub(super) fn of(mode: &Mode) -> Option<Window> {
    match mode {
        Mode::Watch => None,
        Mode::Help => Some(Window { title: "Keys".into(), lines: help(), at: 0, prompt: vec![close()] }),
        Mode::Ask(ask) => {
            Some(Window { title: ask.title.clone(), lines: ask.lines.clone(), at: ask.at, prompt: ask.prompt() })
        }
        Mode::Sent(what) => Some(Window {
            title: what.clone(),
            lines: vec![Line::new().tone(Tone::Busy, "said; the operator's answer is awaited")],
            at: 0,
            prompt: vec![Line::new().tone(Tone::Dim, "Ctrl-C leaves")],
        }),
        Mode::Told(title, lines) => {
            Some(Window { title: title.clone(), lines: lines.clone(), at: 0, prompt: vec![close()] })
        }
    }
}

fn close() -> Line {
    Line::new().tone(Tone::Dim, "Esc goes back")
}

fn help() -> Vec<Line> {
    let keys = [
        ("q, Esc", "quit; the run goes on"),
        ("arrows, PgUp, PgDn, Home, End", "scroll"),
        ("a, x", "approve or reject the gate that waits"),
        ("d", "decide: answer the question that is open"),
        ("s", "suspend the run, or resume it"),
        ("b", "abort before the switch"),
        ("r", "roll back after the switch"),
        ("Ctrl-C", "quit at once, with exit code 130"),
    ];
    let mut lines: Vec<Line> =
        keys.iter().map(|(key, does)| Line::new().tone(Tone::Strong, format!("{key:<30}")).text(*does)).collect();
    lines.push(Line::new());
    lines.push(Line::new().text("Each word to the operator is shown first with what it touches, and is said as you."));
    lines.push(
        Line::new().text(
            "Bars of a trigger: the highest is past an upper limit, the lowest past a lower one; ? is no verdict.",
        ),
    );
    lines
}

impl Window {
    pub(super) fn draw(&self, frame: &mut Frame, look: Look) {
        let area = frame.area();
        let width = area.width.saturating_sub(4).clamp(area.width.min(20), WIDEST);
        let inner = usize::from(width.saturating_sub(4));
        let rows: Vec<Row> = self.lines.iter().flat_map(|l| wrap(l, look, inner)).collect();
        let prompt: Vec<Row> = self.prompt.iter().flat_map(|l| wrap(l, look, inner)).collect();
        // Border above and below, and an empty row before the prompt.
        let most = usize::from(area.height).saturating_sub(2);
        let room = most.saturating_sub(prompt.len() + 3).max(1);
        let at = self.at.min(rows.len().saturating_sub(room));
        let more = rows.len().saturating_sub(at + room);
        let mut text: Vec<Row> = rows.into_iter().skip(at).take(room).collect();
        text.push(match (at, more) {
            (0, 0) => Row::default(),
            (_, 0) => Row::raw("(arrows: the lines above)"),
            (_, more) => Row::raw(format!("(arrows: {more} lines more)")),
        });
        text.extend(prompt);
        let height = u16::try_from(text.len() + 2).unwrap_or(u16::MAX).min(area.height);
        let place = Rect {
            x: area.x + (area.width.saturating_sub(width)) / 2,
            y: area.y + (area.height.saturating_sub(height)) / 2,
            width,
            height,
        };
        let set = if look.unicode { border::PLAIN } else { ASCII };
        let title = cut(&Line::new().tone(Tone::Strong, format!(" {} ", self.title)), look, inner);
        let block = Block::bordered().border_set(set).title(title);
        let block = block.border_style(style(Tone::Busy, look));
        let text: Vec<Row> = text.into_iter().map(indented).collect();
        frame.render_widget(Clear, place);
        frame.render_widget(Paragraph::new(text).block(block), place);
    }
}

fn indented(row: Row<'static>) -> Row<'static> {
    let mut spans = row.spans;
    spans.insert(0, " ".into());
    Row::from(spans)
}

const ASCII: border::Set = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
