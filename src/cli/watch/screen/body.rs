//! PURE. The parts of the screen between head and foot, as rows.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use ratatui::text::Line as Row;

use super::spark::{Bound, spark};
use super::style::{cut, wrap};
use crate::cli::status::model::{Status, Trigger};
use crate::cli::status::page;
use crate::cli::text::{Glyph, Line, Look, Page, Tone, time};
use crate::cli::watch::history::History;
use crate::cli::watch::store::event_time;

/// From so many columns on, what the new side does stands beside the steps.
const TWO_COLUMNS: usize = 120;
/// Events shown.
const EVENTS: usize = 30;

/// What is shown.
pub(crate) struct Shown<'a> {
    pub status: &'a Status,
    pub history: &'a History,
    /// The newest first.
    pub events: &'a [&'a Event],
    /// The Events cannot be seen.
    pub events_hidden: Option<String>,
}

/// The rows, in one column or two, of so many columns each.
pub(crate) fn columns(shown: &Shown, look: Look, width: usize, now: Timestamp) -> Vec<(usize, Vec<Row<'static>>)> {
    if width < TWO_COLUMNS {
        let mut rows = story(shown, look, width, now);
        add(&mut rows, sides(shown, look, width, now));
        add(&mut rows, ends(shown, look, width, now));
        return vec![(width, rows)];
    }
    let left = (width - 3) / 2;
    let right = width - 3 - left;
    let mut first = story(shown, look, left, now);
    add(&mut first, ends(shown, look, left, now));
    vec![(left, first), (right, sides(shown, look, right, now))]
}

/// Rows below others, after an empty one.
fn add(rows: &mut Vec<Row<'static>>, more: Vec<Row<'static>>) {
    if !rows.is_empty() && !more.is_empty() {
        rows.push(Row::default());
    }
    rows.extend(more);
}

/// What people are asked, and the steps.
fn story(shown: &Shown, look: Look, width: usize, now: Timestamp) -> Vec<Row<'static>> {
    let (mut asks, mut steps) = (Page::new(), Page::new());
    page::asks(&mut asks, shown.status, now);
    page::steps(&mut steps, shown.status, now);
    // What is to be read and copied is wrapped.
    let mut rows: Vec<Row> = asks.lines.iter().flat_map(|l| wrap(l, look, width)).collect();
    add(&mut rows, cut_all(&steps, look, width));
    rows
}

/// The triggers, and what runs on both sides.
fn sides(shown: &Shown, look: Look, width: usize, now: Timestamp) -> Vec<Row<'static>> {
    let mut lines = Page::new();
    triggers(&mut lines, shown, look, width, now);
    page::sides(&mut lines, &shown.status.sides, now);
    cut_all(&lines, look, width)
}

/// What comes, what was decided, and what was told.
fn ends(shown: &Shown, look: Look, width: usize, now: Timestamp) -> Vec<Row<'static>> {
    let mut lines = Page::new();
    page::deadlines(&mut lines, shown.status, now);
    page::decisions(&mut lines, shown.status, now);
    events(&mut lines, shown, now);
    page::hidden(&mut lines, shown.status);
    if let Some(why) = &shown.events_hidden {
        lines.push(Line::new().sign(Tone::Dim, Glyph::Unknown).tone(Tone::Dim, why));
    }
    cut_all(&lines, look, width)
}

fn cut_all(page: &Page, look: Look, width: usize) -> Vec<Row<'static>> {
    page.lines.iter().map(|l| cut(l, look, width)).collect()
}

fn triggers(page: &mut Page, shown: &Shown, look: Look, width: usize, now: Timestamp) {
    if shown.status.triggers.is_empty() {
        return;
    }
    page.heading("Triggers");
    for t in &shown.status.triggers {
        page.push(trigger(t, now));
        let bound = t.bound.map(|at| Bound { at, above: t.limit.as_ref().is_none_or(|l| l.starts_with('>')) });
        let points = shown.history.of(&t.name);
        if !points.is_empty() {
            page.push(Line::new().text("    ").then(spark(&points, bound, width.saturating_sub(4).min(60), look)));
        }
    }
}

/// `✔ errors → rollback  0.02  bad: > 0.05  0.0300 (60 %) left  3s ago`.
fn trigger(t: &Trigger, now: Timestamp) -> Line {
    let mut line = Line::new().text("  ").then(page::row_mark(t)).tone(Tone::Strong, &t.name).text(" ");
    line = line.sign(Tone::Dim, Glyph::Arrow).tone(Tone::Dim, page::severity(t.severity));
    line = line.text("  ").text(t.saw.as_deref().unwrap_or("nothing seen yet"));
    if let Some(limit) = &t.limit {
        let past = t.distance.is_some_and(|d| d < 0.0);
        line = line.tone(if past { Tone::Bad } else { Tone::Plain }, format!("  bad: {limit}"));
        line = match t.distance {
            _ if t.evidence.is_some() && t.fired.is_none() => {
                line.tone(Tone::Dim, format!("  fires after {}", page::nearness(t)))
            }
            Some(_) if past => line.tone(Tone::Bad, format!("  past it: {}", page::distance(t))),
            Some(_) => line.tone(Tone::Dim, format!("  {} left", page::distance(t))),
            None => line,
        };
    }
    if let Some(at) = t.fired {
        line = line.tone(Tone::Bad, format!("  fired {} ago", time::ago(at, now)));
    } else if let Some(at) = t.bad_since {
        line = line.tone(Tone::Warn, format!("  bad for {}", time::ago(at, now)));
    } else if let Some(at) = t.last {
        line = line.tone(Tone::Dim, format!("  {} ago", time::ago(at, now)));
    }
    line
}

fn events(page: &mut Page, shown: &Shown, now: Timestamp) {
    if shown.events.is_empty() {
        return;
    }
    page.heading("Events");
    for e in shown.events.iter().take(EVENTS) {
        let at = event_time(e).map(|at| time::clock(at, now)).unwrap_or_default();
        let warns = e.type_.as_deref() == Some("Warning");
        let line = Line::new().text("  ").tone(Tone::Dim, at).text("  ");
        let line = match warns {
            true => line.sign(Tone::Warn, Glyph::Warn),
            false => line.text("  "),
        };
        let reason = e.reason.as_deref().unwrap_or_default();
        page.push(line.tone(Tone::Strong, reason).text(" ").text(e.message.as_deref().unwrap_or_default()));
    }
}
