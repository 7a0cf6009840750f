//! The screen as it is drawn, compared with `snapshots/*.txt` (`UPDATE_EXPECT=1` writes them anew).

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Style};
use serde_json::json;

use super::*;
use crate::cli::status::model::Status;
use crate::cli::text::{Line, Look};
use crate::cli::watch::choose::Pick;
use crate::cli::watch::history::History;
use crate::cli::watch::keys::{Key, Mode, press};
use crate::cli::watch::screen::{Scene, Scroll, Shown, draw};
use crate::view;

pub(super) struct Stage {
    store: Store,
    mode: Mode,
    pub(super) look: Look,
    scroll: Scroll,
}

impl Stage {
    pub(super) fn of(status: Value) -> Self {
        Self::live_on("blue@2.3.0", status)
    }

    pub(super) fn live_on(live: &str, status: Value) -> Self {
        let store = whole(cutover("2.4.0", json!({"live": live})), vec![run(2, "2.4.0", Some(status))]);
        assert!(store.knows(&ALL));
        Self { store, mode: Mode::Watch, look: Look::plain(), scroll: Scroll::default() }
    }

    pub(super) fn draw(&mut self, width: u16, height: u16) -> Buffer {
        let reading = self.store.reading(&Pick::Newest).expect("a Cutover");
        let status = Status::of(&reading, " -n prod", time(10));
        let mut history = History::default();
        let run = reading.found.run.as_ref().expect("a run");
        let plan = view::plan_of(run);
        history.learn(&view::Run::of(run, plan.as_ref()).expect("a journal"));
        let events = self.store.events(Some("web-2"));
        let scene = Scene {
            shown: Some(Shown { status: &status, history: &history, events: &events, events_hidden: None }),
            lost: self.store.lost(),
            notice: None,
            mode: &self.mode,
            look: self.look,
            now: time(10),
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a backend");
        let scroll = &mut self.scroll;
        terminal.draw(|frame| draw(frame, &scene, scroll)).expect("a frame");
        terminal.backend().buffer().clone()
    }

    fn press(&mut self, keys: &str) {
        let reading = self.store.reading(&Pick::Newest).expect("a Cutover");
        let status = Status::of(&reading, " -n prod", time(10));
        for c in keys.chars() {
            press(Key::Char(c), &mut self.mode, &mut self.scroll, Some((&reading, &status)));
        }
    }
}

fn text(buffer: &Buffer) -> String {
    let (width, height) = (buffer.area.width, buffer.area.height);
    let row = |y: u16| {
        let row: String = (0..width).filter_map(|x| buffer.cell((x, y))).map(|c| c.symbol()).collect();
        row.trim_end().to_owned() + "\n"
    };
    (0..height).map(row).collect()
}

/// Compares a screen with the one that was looked at.
fn compare(name: &str, buffer: &Buffer) {
    current("src/cli/watch/snapshots", &format!("{name}.txt"), &text(buffer));
}

#[test]
fn a_wide_screen_has_two_columns() {
    compare("observing-160x50", &Stage::of(observing()).draw(160, 50));
}

#[test]
fn a_narrow_screen_scrolls() {
    let mut stage = Stage::of(observing());
    compare("observing-60x20", &stage.draw(60, 20));
    stage.scroll.by(7);
    compare("observing-60x20-below", &stage.draw(60, 20));
    stage.scroll.by(isize::MAX);
    stage.draw(60, 20);
    let end = stage.scroll;
    assert_eq!(end.at + end.page, end.all);
    // More room: the screen goes up as far as it can.
    stage.draw(160, 50);
    assert_eq!(stage.scroll.at, 0);
}

#[test]
fn a_terminal_without_utf_8_gets_ascii() {
    let mut stage = Stage::of(observing());
    stage.look = Look { unicode: false, ..Look::plain() };
    stage.press("r");
    let buffer = stage.draw(100, 40);
    assert!(text(&buffer).is_ascii(), "{}", text(&buffer));
    compare("rollback-ascii-100x40", &buffer);
}

#[test]
fn a_gate_says_what_to_look_at_and_what_to_say() {
    let mut stage = Stage::of(at_gate("t"));
    compare("gate-100x40", &stage.draw(100, 40));
    stage.press("a");
    compare("gate-asked-100x40", &stage.draw(100, 40));
}

#[test]
fn a_window_fits_the_smallest_screen_and_keeps_its_question() {
    let mut stage = Stage::of(observing());
    stage.press("r");
    compare("rollback-60x12", &stage.draw(60, 12));
    stage.mode = Mode::Help;
    compare("help-100x40", &stage.draw(100, 40));
    for (width, height) in [(1, 1), (20, 3), (5, 40), (300, 2)] {
        stage.draw(width, height);
        stage.press("q");
        stage.draw(width, height);
    }
}

#[test]
fn a_lost_connection_is_said_with_the_age_of_what_is_shown() {
    let mut stage = Stage::of(observing());
    stage.store.hear(Heard::Lost(Part::Pods, "connection refused".into()), time(9));
    let shown = text(&stage.draw(120, 30));
    assert!(shown.contains("connection lost, this is as old as 1m (trying again): connection refused"), "{shown}");
    list(&mut stage.store, Told::Pod, vec![]);
    assert!(!text(&stage.draw(120, 30)).contains("connection lost"));
}

#[test]
fn colours_are_used_where_they_are_wanted_and_nowhere_else() {
    let mut stage = Stage::of(observing());
    let plain = stage.draw(120, 40);
    assert!(plain.content.iter().all(|c| c.style().fg.is_none_or(|f| f == Color::Reset)), "NO_COLOR");
    assert!(plain.content.iter().all(|c| c.style().add_modifier == Style::default().add_modifier));
    stage.look.colour = true;
    let coloured = stage.draw(120, 40);
    assert_eq!(text(&coloured), text(&plain));
    let of = |symbol: &str| {
        let cells = coloured.content.iter().filter(|c| c.symbol() == symbol);
        cells.filter_map(|c| c.style().fg).collect::<Vec<_>>()
    };
    // The bar of a value past its limit.
    assert!(of("█").contains(&Color::Red), "{:?}", of("█"));
}

#[test]
fn names_and_messages_steer_no_terminal() {
    let mut status = observing();
    status["steps"][0]["evidence"] = json!({"log": "\u{1b}[2J\u{202e}"});
    status["decisions"][0]["comment"] = json!("\u{9b}31m");
    let mut stage = Stage::of(status);
    let shown = text(&stage.draw(160, 60));
    assert!(shown.contains("\\u{1b}[2J") && shown.contains("\\u{9b}31m"), "{shown}");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    stage.mode = Mode::Told("t".into(), vec![Line::new().text("\u{1b}]0;evil\u{7}")]);
    assert!(text(&stage.draw(60, 20)).contains("\\u{1b}]0;evil"));
}
