//! Tables: columns as wide as their widest cell.

use super::look::{Look, Tone};
use super::page::{Line, Page};

/// A table with a head.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Line>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: vec![] }
    }

    pub(crate) fn row(&mut self, cells: Vec<Line>) {
        self.rows.push(cells);
    }

    /// Its lines, each begun by `indent` spaces.
    pub(crate) fn page(&self, look: Look, indent: usize) -> Page {
        let head: Vec<Line> = self.head.iter().map(|h| Line::new().tone(Tone::Dim, h)).collect();
        let rows: Vec<&Vec<Line>> = std::iter::once(&head).chain(&self.rows).collect();
        let widest =
            |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.width(look)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(widest).collect();
        let mut page = Page::new();
        for row in rows {
            let mut line = Line::new().text(" ".repeat(indent));
            for (cell, width) in row.iter().zip(&widths) {
                let gap = width.saturating_sub(cell.width(look)) + 3;
                line = line.then(cell.clone()).text(" ".repeat(gap));
            }
            page.push(line);
        }
        page
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Line::new().text(text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Line::new().text(text)
    }
}
