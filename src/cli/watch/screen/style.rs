//! PURE. Lines of a page as ratatui has them: in the tones of the look, cut or wrapped to the room that there is.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};

use crate::cli::text::page::{Piece, columns};
use crate::cli::text::{Line, Look, Tone};

/// A tone. Without colours there is none: a sign or a word says the same.
pub(crate) fn style(tone: Tone, look: Look) -> Style {
    let style = Style::default();
    if !look.colour {
        return style;
    }
    match tone {
        Tone::Plain => style,
        Tone::Strong => style.add_modifier(Modifier::BOLD),
        Tone::Dim => style.add_modifier(Modifier::DIM),
        Tone::Good => style.fg(Color::Green),
        Tone::Bad => style.fg(Color::Red),
        Tone::Warn => style.fg(Color::Yellow),
        Tone::Busy => style.fg(Color::Cyan),
    }
}

fn pieces(line: &Line, look: Look) -> impl Iterator<Item = (Tone, &str)> {
    line.pieces.iter().map(move |piece| match piece {
        Piece::Text(tone, text) => (*tone, text.as_str()),
        Piece::Sign(tone, glyph) => (*tone, look.glyph(*glyph)),
    })
}

/// The line, cut to the width.
pub(crate) fn cut(line: &Line, look: Look, width: usize) -> Row<'static> {
    let whole = line.width(look) <= width;
    let mut left = if whole { width } else { width.saturating_sub(1) };
    let mut row = Row::default();
    'pieces: for (tone, text) in pieces(line, look) {
        let mut shown = String::new();
        for c in text.chars() {
            let wide = columns(c.encode_utf8(&mut [0; 4]));
            if wide > left {
                row.push_span(Span::styled(shown, style(tone, look)));
                break 'pieces;
            }
            left -= wide;
            shown.push(c);
        }
        row.push_span(Span::styled(shown, style(tone, look)));
    }
    if !whole && width > 0 {
        row.push_span(Span::raw(if look.unicode { "…" } else { "~" }));
    }
    row
}

/// The line in as many rows as it needs, broken between words; rows after the first are indented.
pub(crate) fn wrap(line: &Line, look: Look, width: usize) -> Vec<Row<'static>> {
    let indent = leading(line, look).min(width / 2);
    let mut rows: Vec<Vec<(Tone, String)>> = vec![vec![]];
    let mut used = 0;
    for (tone, text) in pieces(line, look) {
        for word in text.split_inclusive(' ') {
            let bare = columns(word.trim_end());
            if used > 0 && used + bare > width {
                rows.push(vec![(Tone::Plain, " ".repeat(indent))]);
                used = indent;
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
    let span = |(tone, text): (Tone, String)| Span::styled(text, style(tone, look));
    rows.into_iter().map(|row| Row::from(row.into_iter().map(span).collect::<Vec<_>>())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Glyph;

    fn text(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|r| r.spans.iter().map(|s| s.content.as_ref()).collect::<String>()).collect()
    }

    #[test]
    fn lines_are_cut_and_wrapped_to_the_room() {
        let look = Look::plain();
        let line = Line::new().text("  ").sign(Tone::Warn, Glyph::Warn).text("a word and 漢字 more");
        assert_eq!(text(&[cut(&line, look, 10)]), ["  ⚠ a wor…"]);
        assert_eq!(text(&wrap(&line, look, 12)), ["  ⚠ a word ", "    and 漢字 ", "    more"]);
        for width in 1..40 {
            assert!(wrap(&line, look, width.max(4)).iter().all(|row| row.width() <= width.max(4) + 1), "{width}");
        }
        let long = Line::new().text("x".repeat(25));
        assert_eq!(text(&wrap(&long, look, 10)), ["x".repeat(10), "x".repeat(10), "x".repeat(5)]);
    }

    #[test]
    fn without_colours_nothing_is_styled() {
        for tone in [Tone::Strong, Tone::Dim, Tone::Good, Tone::Bad, Tone::Warn, Tone::Busy] {
            assert_eq!(style(tone, Look::plain()), Style::default());
            assert_ne!(style(tone, Look { colour: true, ..Look::plain() }), Style::default());
        }
    }
}
