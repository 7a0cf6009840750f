//! PURE. What a sheet consists of, whatever it is written in. Texts are as they came: each form makes them harmless.

use std::borrow::Cow;

use jiff::Timestamp;

use super::model::Measurement;
use crate::harmless;

/// A sheet.
#[derive(Clone, Debug)]
pub(super) struct Sheet<'a> {
    pub title: String,
    pub sections: Vec<Section<'a>>,
}

/// A section.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    pub title: &'static str,
    pub blocks: Vec<Block<'a>>,
}

/// A part of a section.
#[derive(Clone, Debug)]
pub(super) enum Block<'a> {
    /// Names and values.
    Facts(Vec<(&'static str, Cell)>),
    Table(&'static [&'static str], Vec<Vec<Cell>>),
    /// Words of our own.
    Words(&'static str),
    List(Vec<Cell>),
    /// What a step wrote, line by line, under its name.
    Lines(Cell, Vec<String>),
    Plot(&'a Measurement),
}

/// A text from outside, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    /// Set apart.
    Strong(String),
    NotRecorded,
    Empty,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Something that every run has, or not recorded.
    pub(super) fn of(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::NotRecorded, Self::text)
    }

    /// Something that a run may well not have.
    pub(super) fn may(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Empty, Self::text)
    }

    pub(super) fn at(at: Option<Timestamp>) -> Self {
        Self::of(at.map(time))
    }

    pub(super) fn list(list: &[String]) -> Self {
        Self::of((!list.is_empty()).then(|| list.join(", ")))
    }

    pub(super) fn seconds(seconds: Option<f64>) -> Self {
        Self::of(seconds.map(|s| format!("{s:.1} s")))
    }
}

/// A time, always whole and in UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Signs with which a spreadsheet begins a formula.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A text on one line that steers neither a terminal nor, once it is pasted, a spreadsheet.
pub(super) fn tame(text: &str) -> Cow<'_, str> {
    let line = harmless::line(text);
    let formula = line.trim_start().starts_with(FORMULA) && line.trim().parse::<f64>().is_err();
    if formula { Cow::Owned(format!("'{line}")) } else { line }
}
