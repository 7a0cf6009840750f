//! Tables: columns as wide as their widest cell.

use super::look::{Look, Tone};
use super::page::{Line, Page};

/// Columns between two columns.
const GAP: usize = 3;

/// A table with a head. Its last column goes on below itself where it does not fit.
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
        // Where the last column begins.
        let last = indent + widths.iter().rev().skip(1).map(|w| w + GAP).sum::<usize>();
        let mut page = Page::new();
        for row in rows {
            let mut line = Line::new().text(" ".repeat(indent));
            for (cell, width) in row.iter().zip(&widths) {
                let gap = width.saturating_sub(cell.width(look)) + GAP;
                line = line.then(cell.clone()).text(" ".repeat(gap));
            }
            line.trim();
            page.push(Line { below: Some(last), ..line });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(who: &str) -> Table {
        let mut table = Table::new(&["RUN", "WHO", "CAUSE"]);
        table.row(vec!["web-6".into(), who.into(), "Service web was put back on blue by somebody else".into()]);
        table
    }

    #[test]
    fn the_last_column_goes_on_below_itself() {
        let look = Look { width: Some(42), ..Look::plain() };
        let shown = table("jane").page(look, 0).show(look);
        assert_eq!(
            shown,
            "RUN     WHO    CAUSE\n\
             web-6   jane   Service web was put back on\n\
             \x20              blue by somebody else\n"
        );
        // Where there is no room below it, further to the left.
        let narrow = Look { width: Some(30), ..Look::plain() };
        let shown = table("jane@example.com").page(narrow, 2).show(narrow);
        assert!(shown.split_whitespace().last() == Some("else") && !shown.contains('…'), "{shown}");
        assert!(shown.lines().all(|l| l.chars().count() <= 30), "{shown}");
        assert_eq!(table("jane").page(Look::plain(), 0).show(Look::plain()).lines().count(), 2);
    }
}
