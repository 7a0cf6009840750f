//! PURE. The live screen: head, gauges, what `status` shows, and the foot with the keys; windows for questions above it.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line as Row;
use ratatui::widgets::{Clear, Paragraph};

use super::keys::Mode;
use super::store::Lost;
use crate::cli::status::model::Status;
use crate::cli::status::page;
use crate::cli::text::{Glyph, Line, Look, Page, Tone, time};
use style::{cut, style, wrap};

pub(crate) mod body;
mod spark;
mod style;
mod window;

pub(crate) use body::Shown;

/// All that a screen is made of.
pub(crate) struct Scene<'a> {
    /// None before the API server has told what there is.
    pub shown: Option<Shown<'a>>,
    pub lost: Option<&'a Lost>,
    /// Something to be known about the run that is shown.
    pub notice: Option<String>,
    pub mode: &'a Mode,
    pub look: Look,
    pub now: Timestamp,
}

/// Where in the body the screen is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scroll {
    /// The first row that is shown.
    pub at: usize,
    /// Rows that are shown.
    pub page: usize,
    /// Rows that there are.
    pub all: usize,
}

impl Scroll {
    /// Goes so many rows down, or up.
    pub(crate) fn by(&mut self, rows: isize) {
        self.at = self.at.saturating_add_signed(rows).min(self.last());
    }

    fn last(self) -> usize {
        self.all.saturating_sub(self.page)
    }
}

/// Draws. `scroll` is put right where the body has become shorter.
pub(crate) fn draw(frame: &mut Frame, scene: &Scene, scroll: &mut Scroll) {
    let area = frame.area();
    let (look, width) = (scene.look, usize::from(area.width));
    let head = head(scene, width);
    // However small the screen is, some rows are left for the body and the foot.
    let tall = head.len().min(usize::from(area.height).saturating_sub(3).max(1));
    let tall = u16::try_from(tall).unwrap_or(1);
    let [top, body, foot] =
        Layout::vertical([Constraint::Length(tall), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(head), top);
    if let Some(shown) = &scene.shown {
        let columns = body::columns(shown, look, width, scene.now);
        scroll.page = usize::from(body.height.saturating_sub(1));
        scroll.all = columns.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
        scroll.by(0);
        let mut x = body.x;
        for (wide, rows) in columns {
            let wide = u16::try_from(wide).unwrap_or(u16::MAX);
            // An empty row below the head.
            let place = Rect { x, y: body.y.saturating_add(1), width: wide, height: body.height.saturating_sub(1) };
            let rows: Vec<Row> = rows.into_iter().skip(scroll.at).collect();
            frame.render_widget(Paragraph::new(rows), place.intersection(body));
            x = x.saturating_add(wide).saturating_add(3);
        }
    }
    frame.render_widget(Paragraph::new(self::foot(scene, *scroll, width)), foot);
    if let Some(window) = window::of(scene.mode) {
        window.draw(frame, look);
    }
}

/// The answer, what is live, how far it is, and whether that is still so.
fn head(scene: &Scene, width: usize) -> Vec<Row<'static>> {
    let look = scene.look;
    let Some(shown) = &scene.shown else {
        let line = match scene.lost {
            Some(lost) => Line::new().sign(Tone::Warn, Glyph::Warn).text(format!("no connection: {}", lost.why)),
            None => Line::new().sign(Tone::Busy, Glyph::Busy).text("reading …"),
        };
        return wrap(&line, look, width);
    };
    let mut page = Page::new();
    // How many steps are over is said by the gauge.
    let status = Status { progress: None, ..shown.status.clone() };
    page::head(&mut page, &status, scene.now);
    let mut rows: Vec<Row> = page.lines.iter().flat_map(|l| wrap(l, look, width)).collect();
    if let Some(gauges) = gauges(shown.status, look, width) {
        rows.push(cut(&gauges, look, width));
    }
    if let Some(lost) = scene.lost {
        let since = time::ago(lost.since, scene.now);
        let text = format!("connection lost, this is as old as {since} (trying again): {}", lost.why);
        rows.push(cut(&Line::new().sign(Tone::Warn, Glyph::Warn).tone(Tone::Warn, text), look, width));
    }
    if let Some(notice) = &scene.notice {
        rows.extend(wrap(&Line::new().sign(Tone::Warn, Glyph::Warn).text(notice), look, width));
    }
    rows
}

/// `steps [████░░░░] 4 of 8   observed [██░░░░░░] 2m of 10m`.
fn gauges(status: &Status, look: Look, width: usize) -> Option<Line> {
    let room = match width {
        ..70 => 6,
        70..80 => 10,
        _ => 20,
    };
    let mut line = Line::new().text("  ");
    if let Some(p) = status.progress {
        line = line.text("steps ").then(bar(p.done as f64, p.all as f64, room, Tone::Good, look));
        line = line.text(format!(" {} of {}", p.done, p.all));
    }
    let observation = status.observation.and_then(|o| Some((o.seen_seconds, o.wanted_seconds?)));
    if let Some((seen, wanted)) = observation {
        let long = |s: u64| time::long(jiff::SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX)));
        line = line.text("   observed ").then(bar(seen as f64, wanted as f64, room, Tone::Busy, look));
        line = line.text(format!(" {} of {}", long(seen.min(wanted)), long(wanted)));
    }
    (line.pieces.len() > 1).then_some(line)
}

fn bar(done: f64, all: f64, room: usize, tone: Tone, look: Look) -> Line {
    let share = if all > 0.0 { (done / all).clamp(0.0, 1.0) } else { 0.0 };
    // At most the room.
    let full = (share * room as f64).floor() as usize;
    let (yes, no) = if look.unicode { ("█", "░") } else { ("#", ".") };
    Line::new()
        .text("[")
        .tone(tone, yes.repeat(full.min(room)))
        .tone(Tone::Dim, no.repeat(room.saturating_sub(full)))
        .text("]")
}

/// The keys, and where the screen is.
fn foot(scene: &Scene, scroll: Scroll, width: usize) -> Row<'static> {
    let asked = scene.shown.as_ref().is_some_and(|s| s.status.question.is_some());
    let keys = match (width, asked) {
        (..80, _) => "q quit  ? keys",
        (_, true) => "q quit  ? keys  d decide  s suspend  b abort  r roll back",
        (_, false) => "q quit  ? keys  a approve  x reject  s suspend  b abort  r roll back",
    };
    let place = match scroll.all > scroll.page {
        true => {
            let arrows = if scene.look.unicode { "↑↓" } else { "arrows" };
            let last = (scroll.at + scroll.page).min(scroll.all);
            format!("  {arrows} {}-{last} of {}", scroll.at + 1, scroll.all)
        }
        false => String::new(),
    };
    let gap = width.saturating_sub(keys.chars().count() + place.chars().count());
    cut(&Line::new().tone(Tone::Dim, format!("{keys}{}{place}", " ".repeat(gap))), scene.look, width)
}
