//! Pages: lines of styled pieces. Whatever is pushed is made harmless, so no command can forget it.

use super::harmless;
use super::look::{Glyph, Look, Tone};
use super::wrap::wrap;

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Tone, String),
    Sign(Tone, Glyph),
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub pieces: Vec<Piece>,
    /// The column below which the rest of it goes on in the next row; otherwise that of its first word.
    pub below: Option<usize>,
    /// It is cut where it does not fit: the line of a tree.
    pub cut: bool,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The same with a text after it.
    pub(crate) fn text(self, text: impl AsRef<str>) -> Self {
        self.tone(Tone::Plain, text)
    }

    /// The same with a text in a tone.
    pub(crate) fn tone(mut self, tone: Tone, text: impl AsRef<str>) -> Self {
        self.pieces.push(Piece::Text(tone, harmless::line(text.as_ref()).into_owned()));
        self
    }

    /// The same with a sign and a space.
    pub(crate) fn sign(mut self, tone: Tone, glyph: Glyph) -> Self {
        self.pieces.push(Piece::Sign(tone, glyph));
        self.pieces.push(Piece::Text(Tone::Plain, " ".to_owned()));
        self
    }

    /// The same with another line's pieces.
    pub(crate) fn then(mut self, other: Line) -> Self {
        self.pieces.extend(other.pieces);
        self
    }

    /// The same, cut where it does not fit.
    pub(crate) fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    /// Takes away what stands empty at its end.
    pub(crate) fn trim(&mut self) {
        while let Some(Piece::Text(_, text)) = self.pieces.last_mut() {
            text.truncate(text.trim_end().len());
            if !text.is_empty() {
                return;
            }
            self.pieces.pop();
        }
    }

    /// Columns that it takes.
    pub(crate) fn width(&self, look: Look) -> usize {
        self.pieces.iter().map(|p| columns(piece(p, look))).sum()
    }

    /// The line as it is printed, cut to the width.
    pub(crate) fn show(&self, look: Look) -> String {
        let room = look.width.unwrap_or(usize::MAX);
        let whole = self.width(look) <= room;
        let mut left = if whole { room } else { room.saturating_sub(1) };
        let mut out = String::new();
        for p in &self.pieces {
            let text: String = piece(p, look).chars().scan(&mut left, |left, c| take(left, c)).collect();
            out.push_str(&look.paint(tone(p), &text));
        }
        if !whole {
            out.push(if look.unicode { '…' } else { '~' });
        }
        out.truncate(out.trim_end().len());
        out
    }
}

fn take(left: &mut usize, c: char) -> Option<char> {
    let wide = columns(c.encode_utf8(&mut [0; 4]));
    if wide > *left {
        *left = 0;
        return None;
    }
    *left -= wide;
    Some(c)
}

fn tone(piece: &Piece) -> Tone {
    match piece {
        Piece::Text(tone, _) | Piece::Sign(tone, _) => *tone,
    }
}

fn piece(piece: &Piece, look: Look) -> &str {
    match piece {
        Piece::Text(_, text) => text,
        Piece::Sign(_, glyph) => look.glyph(*glyph),
    }
}

/// Columns of a text.
pub(crate) fn columns(text: &str) -> usize {
    ratatui::text::Line::raw(text).width()
}

/// Lines, one below the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub lines: Vec<Line>,
}

impl Page {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// A heading, after an empty line where something stands above.
    pub(crate) fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::new());
        }
        self.lines.push(Line::new().tone(Tone::Strong, text));
    }

    /// The page as it is printed: what does not fit goes on in the next row.
    pub(crate) fn show(&self, look: Look) -> String {
        let mut out = String::new();
        for line in &self.lines {
            match look.width {
                Some(width) if !line.cut && line.width(look) > width => {
                    for row in wrap(line, look, width) {
                        let row: String = row.iter().map(|(tone, text)| look.paint(*tone, text)).collect();
                        out.push_str(row.trim_end());
                        out.push('\n');
                    }
                }
                _ => {
                    out.push_str(&line.show(look));
                    out.push('\n');
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_width_and_harmless() {
        let line = Line::new().sign(Tone::Good, Glyph::Good).tone(Tone::Bad, "evil\u{1b}[2J name");
        assert_eq!(line.show(Look::plain()), "✔ evil\\u{1b}[2J name");
        let narrow = Look { width: Some(8), ..Look::plain() };
        assert_eq!(line.show(narrow), "✔ evil\\…");
        let colour = Look { colour: true, unicode: false, width: None };
        assert!(line.show(colour).starts_with("\u{1b}[32m+\u{1b}[0m \u{1b}[31mevil\\u{1b}"));
    }

    #[test]
    fn what_does_not_fit_goes_on_below_its_first_word_and_only_trees_are_cut() {
        let mut page = Page::new();
        page.push(Line::new().sign(Tone::Bad, Glyph::Bad).text("refused; next: kubectl cutover status web -n prod"));
        page.push(Line::new().text("  ").sign(Tone::Dim, Glyph::Last).text("a long line of a tree").cut());
        let narrow = Look { width: Some(20), ..Look::plain() };
        assert_eq!(
            page.show(narrow),
            "✖ refused; next:\n  kubectl cutover\n  status web -n prod\n  └─ a long line of…\n"
        );
        assert_eq!(page.show(Look::plain()).lines().count(), 2, "a pipeline gets whole lines");
    }

    #[test]
    fn wide_characters_count_as_two_columns() {
        let line = Line::new().text("漢字漢字");
        assert_eq!(line.width(Look::plain()), 8);
        assert_eq!(line.show(Look { width: Some(6), ..Look::plain() }), "漢字…");
    }
}
