//! Lines in as many rows as they need, broken between words.

use super::look::{Look, Tone};
use super::page::{Line, Piece, columns};

/// Fewer columns than this are no room for a text: it then goes on further to the left.
const NARROW: usize = 24;

/// A row: pieces of text in their tones.
pub(crate) type Row = Vec<(Tone, String)>;

/// The line in rows of so many columns; rows after the first begin below the first word, or where the line says.
pub(crate) fn wrap(line: &Line, look: Look, width: usize) -> Vec<Row> {
    let first = leading(line, look);
    let indent = line.below.filter(|at| at + NARROW <= width).unwrap_or(first).min(width / 2);
    let mut rows: Vec<Row> = vec![vec![]];
    let mut used = 0;
    for (tone, text) in pieces(line, look) {
        for word in text.split_inclusive(' ') {
            let bare = columns(word.trim_end());
            if used > 0 && used + bare > width {
                rows.push(vec![(Tone::Plain, " ".repeat(indent))]);
                used = indent;
            }
            // What parts columns from each other begins no row.
            if bare == 0 && rows.len() > 1 && used == indent {
                continue;
            }
            for part in parts(word, width.saturating_sub(used).max(1), width.saturating_sub(indent).max(1)) {
                if used + columns(part.trim_end()) > width && used > indent {
                    rows.push(vec![(Tone::Plain, " ".repeat(indent))]);
                    used = indent;
                }
                used += columns(&part);
                if let Some(row) = rows.last_mut() {
                    row.push((tone, part));
                }
            }
        }
    }
    rows
}

/// The pieces as they are printed.
pub(crate) fn pieces(line: &Line, look: Look) -> impl Iterator<Item = (Tone, &str)> {
    line.pieces.iter().map(move |piece| match piece {
        Piece::Text(tone, text) => (*tone, text.as_str()),
        Piece::Sign(tone, glyph) => (*tone, look.glyph(*glyph)),
    })
}

/// Columns of the spaces and the sign that a line begins with.
fn leading(line: &Line, look: Look) -> usize {
    let mut all = 0;
    for piece in &line.pieces {
        match piece {
            Piece::Sign(_, glyph) => all += columns(look.glyph(*glyph)),
            Piece::Text(_, text) => {
                let spaces = text.len() - text.trim_start_matches(' ').len();
                all += spaces;
                if spaces < text.len() {
                    break;
                }
            }
        }
    }
    all
}

/// A word in parts that fit: the first one into `first` columns, the others into `rest`.
fn parts(word: &str, first: usize, rest: usize) -> Vec<String> {
    if columns(word.trim_end()) <= first {
        return vec![word.to_owned()];
    }
    let (mut all, mut part, mut room, mut used) = (vec![], String::new(), first, 0);
    for c in word.chars() {
        let wide = columns(c.encode_utf8(&mut [0; 4]));
        if used + wide > room && !part.is_empty() {
            all.push(std::mem::take(&mut part));
            (room, used) = (rest, 0);
        }
        used += wide;
        part.push(c);
    }
    all.push(part);
    all
}
