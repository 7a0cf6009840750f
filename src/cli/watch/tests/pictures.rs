//! The pictures of the documents: what `status`, `watch` and `plan` show of one run.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::screen::Stage;
use super::*;
use crate::cli::plan::model::{Foreseen, Gate, Role};
use crate::cli::status::model::Status;
use crate::cli::status::page;
use crate::cli::text::picture::{self, Spot};
use crate::cli::text::{Look, Page};
use crate::cli::watch::choose::Pick;

const COLOUR: Look = Look { colour: true, unicode: true, width: Some(110) };

fn drawn(title: &str, page: &Page) -> String {
    picture::svg(title, &picture::rows(&page.show(COLOUR)))
}

#[test]
fn the_picture_of_status_is_current() {
    let store = whole(cutover("2.4.0", json!({})), vec![run(2, "2.4.0", Some(at_gate("t")))]);
    let reading = store.reading(&Pick::Newest).expect("a Cutover");
    let status = Status::of(&reading, " -n prod", time(10));
    picture::compare("status", &drawn("kubectl cutover status web -n prod", &page::page(&status, COLOUR, time(10))));
}

#[test]
fn the_picture_of_plan_is_current() {
    let run = run(2, "2.4.0", Some(observing()));
    let plan = crate::view::plan_of(&run).expect("a plan");
    let mut foreseen = Foreseen::of(&plan, "green", &[run]);
    let role = |name: &str, who: &[&str]| Role {
        name: name.to_owned(),
        wanted: 1,
        you: name == "qa",
        who: Some(who.iter().map(|w| (*w).to_owned()).collect()),
    };
    foreseen
        .gates
        .push(Gate { name: "go".into(), roles: vec![role("qa", &["jane@example.com"]), role("operations", &[])] });
    let page = crate::cli::plan::page::page(&foreseen, COLOUR);
    picture::compare("plan", &drawn("kubectl cutover plan web -n prod", &page));
}

#[test]
fn the_picture_of_watch_is_current() {
    let mut stage = Stage::live_on("green@2.4.0", observing());
    stage.look = Look { width: None, ..COLOUR };
    let buffer = stage.draw(110, 40);
    picture::compare("watch", &picture::svg("kubectl cutover watch web -n prod", &rows(&buffer)));
}

/// The cells of a screen, those of one style together.
fn rows(buffer: &Buffer) -> Vec<Vec<Spot>> {
    let (width, height) = (buffer.area.width, buffer.area.height);
    let row = |y: u16| {
        let mut spots: Vec<Spot> = vec![];
        for cell in (0..width).filter_map(|x| buffer.cell((x, y))) {
            let (colour, bold) = style(cell);
            match spots.last_mut().filter(|s| (s.colour, s.bold) == (colour, bold)) {
                Some(spot) => spot.text.push_str(cell.symbol()),
                None => spots.push(Spot { text: cell.symbol().to_owned(), colour, bold }),
            }
        }
        spots
    };
    let mut rows: Vec<Vec<Spot>> = (0..height).map(row).collect();
    while rows.last().is_some_and(|row| row.iter().all(|s| s.text.trim().is_empty())) {
        rows.pop();
    }
    rows
}

fn style(cell: &Cell) -> (&'static str, bool) {
    let code = match cell.fg {
        Color::Red => "31",
        Color::Green => "32",
        Color::Yellow => "33",
        Color::Cyan => "36",
        _ if cell.modifier.contains(Modifier::DIM) => "2",
        _ => "",
    };
    (picture::colour(code), cell.modifier.contains(Modifier::BOLD))
}
